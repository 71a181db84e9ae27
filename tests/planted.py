"""Planted pairs: a tiny random teacher with weights and a tokenizer on disk, and a student that is the teacher with its units
permuted, so that what an alignment must find is known.

The residual stream has one permutation; every layer has its own for each head's query and key units, for its value units, for
the order of the heads, and for its FFN units. All weights follow, so the student computes what the teacher computes.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from modxfer.alignments.alignment_map import BaseRecord, SitePair
from modxfer.alignments.compute import BaseModel
from modxfer.alignments.corpus import open_corpus
from modxfer.architectures import Architecture, architecture_from_config, read_config
from tests.builders import tiny_config, tiny_model

SPECIAL = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
"""The padding is token 1, as in the configs of `builders`."""

NEW = -1
"""In a permutation: a student unit that the teacher does not have."""


def tiny_tokenizer(size: int = 300) -> Any:
    """Train a small fast tokenizer on the text that ships with the package; once, for training is not deterministic."""
    return _train_tokenizer(size)


@cache
def _train_tokenizer(size: int) -> Any:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, limit_alphabet=size // 2, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(open_corpus(None).texts(), trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def save_base(folder: Path, model: Any, *, vocab: int = 300) -> Path:
    """Save a base model with its tokenizer."""
    model.save_pretrained(folder)
    tiny_tokenizer(vocab).save_pretrained(folder)
    return folder


def make_teacher(folder: Path, family: str, *, seed: int = 0, vocab: int = 300, **sizes: int) -> Path:
    """Save a random teacher; `sizes` as in `tiny_config`."""
    config = tiny_config(family, vocab=len(tiny_tokenizer(vocab)), **sizes)
    return save_base(folder, tiny_model(config, seed=seed), vocab=vocab)


@cache
def small_text(lines: int = 90) -> str:
    """Give lines from all over the text that ships with the package: enough for tiny models, and quick."""
    texts = list(open_corpus(None).texts())
    return "\n".join(texts[:: len(texts) // lines]) + "\n"


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """Where one student layer's units come from: index of the teacher unit of each student unit."""

    teacher: int
    query: np.ndarray
    value: np.ndarray
    ffn: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where a student's units come from."""

    hidden: np.ndarray
    embedding: np.ndarray
    layers: Sequence[LayerPlan]

    def units(self, role: str, side: str, layer: int | None) -> np.ndarray:
        """Give the teacher unit of each student unit at a role's input or output."""
        if layer is None:
            embeds = role in ("embeddings", "embeddings_norm") or (role, side) == ("embeddings_project", "input")
            return self.embedding if embeds else self.hidden
        plan = self.layers[layer]
        table = {
            ("query", "output"): plan.query,
            ("key", "output"): plan.query,
            ("value", "output"): plan.value,
            ("attention_output", "input"): plan.value,
            ("ffn_up", "output"): plan.ffn,
            ("ffn_down", "input"): plan.ffn,
        }
        return table.get((role, side), self.hidden)

    def expected(self, pair: SitePair) -> np.ndarray:
        """Give the assignment that an alignment must find at a pair of sites."""
        site = pair.student
        return self.units(site.point.role, site.point.side.value, site.layer)


def draw_plan(
    architecture: Architecture, *, heads: int, seed: int = 1, layers: Sequence[int] | None = None, shuffle: bool = True
) -> Plan:
    """Draw the permutations of a student with some of the teacher's layers (all of them by default)."""
    rng = np.random.default_rng(seed)
    widths = architecture.dimensions

    def permutation(size: int) -> np.ndarray:
        return rng.permutation(size) if shuffle else np.arange(size)

    def within(order: np.ndarray, size: int) -> np.ndarray:
        return np.concatenate([head * size + permutation(size) for head in order])

    hidden = permutation(widths["hidden"])
    plans = []
    for teacher in range(architecture.depths["encoder"]) if layers is None else layers:
        order, size = permutation(heads), widths["heads"] // heads
        query, value = within(order, size), within(order, size)
        plans.append(LayerPlan(teacher=teacher, query=query, value=value, ffn=permutation(widths["ffn"])))
    embedding = permutation(widths["embedding"]) if "embedding" in widths else hidden
    return Plan(hidden=hidden, embedding=embedding, layers=plans)


def with_ffn(plan: Plan, ffn: np.ndarray) -> Plan:
    """Give all layers of a plan other FFN units: fewer, or some that are `NEW`."""
    return replace(plan, layers=[replace(layer, ffn=ffn) for layer in plan.layers])


def make_student(folder: Path, teacher: Path, plan: Plan, *, vocab: int = 300) -> Path:
    """Save the student of a plan.

    New FFN units read at random and write nothing; units that are left out must write nothing in the teacher for the student to
    compute the same.
    """
    config = transformers.AutoConfig.from_pretrained(teacher)
    source = transformers.AutoModel.from_pretrained(teacher).state_dict()
    structure = architecture_from_config(read_config(teacher), name="teacher")
    head_size = structure.dimensions["heads"] // config.num_attention_heads
    sized = _resize(
        config,
        layers=len(plan.layers),
        ffn=len(plan.layers[0].ffn),
        hidden=len(plan.hidden),
        heads=len(plan.layers[0].value) // head_size,
    )
    student = transformers.AutoModel.from_config(sized)
    own = architecture_from_config(sized.to_dict(), name="student")
    state = {
        key: tensor[:, plan.embedding]
        for key, tensor in source.items()
        if key.startswith("embeddings.") and key.endswith("_embeddings.weight")
    }
    for stack, layer, role, row in own.roles():
        if role == "embeddings":  # there already
            continue
        path = own.role_path(stack, layer, role)
        original = structure.role_path(stack, None if layer is None else plan.layers[layer].teacher, role)
        writes = plan.units(role, "output", layer)
        reads = None if row.elementwise else plan.units(role, "input", layer)
        state[f"{path}.weight"] = _pick(source[f"{original}.weight"], writes, reads)
        state[f"{path}.bias"] = _pick(source[f"{original}.bias"], writes, None)
    missing, unexpected = student.load_state_dict(state, strict=False)
    assert all("position_ids" in key or "token_type_ids" in key for key in missing), missing
    assert not unexpected, unexpected
    return save_base(folder, student.eval(), vocab=vocab)


def _pick(tensor: torch.Tensor, writes: np.ndarray, reads: np.ndarray | None) -> torch.Tensor:
    picked = tensor[np.maximum(writes, 0)].clone()
    picked[writes == NEW] = torch.randn(picked[writes == NEW].shape, generator=torch.Generator().manual_seed(7))
    if reads is not None:
        times = torch.from_numpy(np.bincount(reads[reads != NEW], minlength=tensor.shape[1]))
        picked = (picked / times.clamp(min=1))[:, np.maximum(reads, 0)]  # what is there twice is read half each time
        picked[:, reads == NEW] = 0
    return picked


def _resize(config: Any, *, layers: int, ffn: int, hidden: int, heads: int) -> Any:
    resized = copy.deepcopy(config)
    names = ("num_hidden_layers", "intermediate_size", "hidden_size", "num_attention_heads")
    if config.model_type == "distilbert":
        names = ("n_layers", "hidden_dim", "dim", "n_heads")
    for name, value in zip(names, (layers, ffn, hidden, heads), strict=True):
        setattr(resized, name, value)
    return resized


def base_model(folder: Path) -> BaseModel:
    """Describe a base model on disk, ready to be run; its fingerprint is its folder's name."""
    architecture = architecture_from_config(read_config(folder), name=folder.name)
    record = BaseRecord(name=folder.name, revision=None, fingerprint=folder.name, model_type=architecture.model_type)
    return BaseModel(folder=folder, architecture=architecture, record=record)


def hidden_states(folder: Path, text: str = "Water boils at 100 degrees.") -> np.ndarray:
    """Run a base model on a text; gives the final hidden state, shape (tokens, units)."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    ids = tiny_tokenizer()(text, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        return np.asarray(model(**ids).last_hidden_state[0])


@dataclass(frozen=True, kw_only=True)
class PlantedPair:
    """A teacher, a student made from it, and where the student's units come from."""

    family: str
    teacher: Path
    student: Path
    plan: Plan


def planted_pair(folder: Path, family: str, *, seed: int = 0, shuffle: bool = True) -> PlantedPair:
    """Save a teacher of a family, and a student that is the teacher with its units permuted."""
    teacher = make_teacher(folder / f"{family}-teacher", family, seed=seed)
    structure = architecture_from_config(read_config(teacher), name="teacher")
    plan = draw_plan(structure, heads=3, seed=seed + 1, shuffle=shuffle)
    student = make_student(folder / f"{family}-student", teacher, plan)
    return PlantedPair(family=family, teacher=teacher, student=student, plan=plan)
