"""Ground truth for later encoders, encoder-decoders and image encoders: a LoRA made by the real `peft` on a planted teacher,
converted and loaded by `peft` on the student, gives the teacher's outputs.
"""

import importlib
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from modxfer.alignments.layer_maps import layer_map
from modxfer.architectures import FAMILIES, VOCABULARY, Architecture
from modxfer.converters.convert import convert_module
from modxfer.converters.formats import head_shape, inspect_files, read_module, write_module
from modxfer.converters.formats.classes import library_of
from modxfer.converters.heads import fit_head
from modxfer.converters.module import BaseReference, Module, Place
from tests.builders import randomise
from tests.planting import Planted, architecture_of, assert_differ, assert_same, inputs, make, plant, run, tiny

CLASSES: dict[str, tuple[str, str | None]] = {
    "TOKEN_CLS": ("AutoModelForTokenClassification", "TOKEN_CLS"),
    "SEQ_CLS": ("AutoModelForSequenceClassification", "SEQ_CLS"),
    "QUESTION_ANS": ("AutoModelForQuestionAnswering", "QUESTION_ANS"),
    "SEQ_2_SEQ_LM": ("AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM"),
    "IMAGE_CLS": ("AutoModelForImageClassification", None),
    "base": ("AutoModel", None),
    "encoder": ("AutoModelForTextEncoding", None),
}
"""What a module is for, to the class of its task model and `peft`'s task type."""

CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "deberta-v2, SEQ_CLS": ("deberta-v2", {}, "SEQ_CLS"),
    "deberta-v2 with projections for positions, TOKEN_CLS": ("deberta-v2", {"share_att_key": False}, "TOKEN_CLS"),
    "deberta-v2 with narrow embeddings, QUESTION_ANS": ("deberta-v2", {"embedding_size": 10}, "QUESTION_ANS"),
    "modernbert, SEQ_CLS": ("modernbert", {}, "SEQ_CLS"),
    "mpnet, SEQ_CLS": ("mpnet", {}, "SEQ_CLS"),
    "t5, SEQ_2_SEQ_LM": ("t5", {}, "SEQ_2_SEQ_LM"),
    "t5 with a gate, SEQ_CLS": ("t5", {"feed_forward_proj": "gated-gelu"}, "SEQ_CLS"),
    "t5 encoder": ("t5", {"architectures": ["T5EncoderModel"]}, "encoder"),
    "t5, its encoder": ("t5", {}, "encoder"),
    "t5, TOKEN_CLS": ("t5", {}, "TOKEN_CLS"),
    "t5 encoder, TOKEN_CLS": ("t5", {"architectures": ["T5EncoderModel"]}, "TOKEN_CLS"),
    "mt5, QUESTION_ANS": ("mt5", {}, "QUESTION_ANS"),
    "bart, SEQ_CLS": ("bart", {"decoder_layers": 3, "decoder_ffn_dim": 44}, "SEQ_CLS"),
    "bart, SEQ_2_SEQ_LM": ("bart", {}, "SEQ_2_SEQ_LM"),
    "mbart, QUESTION_ANS": ("mbart", {}, "QUESTION_ANS"),
    "vit, IMAGE_CLS": ("vit", {}, "IMAGE_CLS"),
    "vit, base": ("vit", {}, "base"),
    "clip, base": ("clip", {}, "base"),
    "clip, IMAGE_CLS": ("clip", {}, "IMAGE_CLS"),
    "clip_vision_model, base": ("clip_vision_model", {}, "base"),
    "clip_text_model, base": ("clip_text_model", {}, "base"),
}
"""Name to `model_type`, what else the config says, and what the module is for."""

ROUNDING = 1e-4
"""T5 normalises in float32 whatever the model's precision, and CLIP runs in float32: sums come in another order there."""


def teacher_of(case: str) -> Any:
    """Make the task model of a case."""
    model_type, changes, purpose = CASES[case]
    dtype = torch.float32 if model_type == "clip_text_model" or model_type == "clip" else torch.float64
    return make(tiny(model_type, **changes), getattr(transformers, CLASSES[purpose][0]), dtype=dtype)


def given_to(model: Any, purpose: str) -> dict[str, Any]:
    """Make what a task model takes."""
    config = model.config
    made = inputs(config, dtype=model.dtype)
    if hasattr(config, "text_config") and purpose == "base":
        made |= inputs(config.text_config)
    if purpose in ("SEQ_CLS", "TOKEN_CLS", "encoder"):  # it takes the decoder's input from the encoder's, or has no decoder
        made.pop("decoder_input_ids", None)
    return made


def every_role(base: Architecture, model: Any, heads: list[str]) -> list[str]:
    """Name all matrices in roles that a task model has, its head's left out."""
    real = {path for path, submodule in model.named_modules() if isinstance(submodule, torch.nn.Linear)}
    rows = (row for *_, row in base.roles() if not row.elementwise and VOCABULARY not in (row.reads, row.writes))
    paths = {row.path for row in rows}
    return sorted(path for path in paths if path not in heads and any(name.endswith(path) for name in real))


def make_lora(model: Any, folder: Path, **options: Any) -> Any:
    """Let `peft` put a random LoRA on a model and save it."""
    options.setdefault("r", 3)
    made = peft.get_peft_model(model, peft.LoraConfig(lora_alpha=7, **options))
    randomise([parameter for parameter in made.parameters() if parameter.requires_grad], seed=3)
    made.save_pretrained(str(folder))
    return made.eval()


def load(model: Any, folder: Path) -> Any:
    """Let `peft` load a module; a warning, as of a missing key, fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=FutureWarning)  # transformers 5 has renamed what peft asks for
        return peft.PeftModel.from_pretrained(model, folder).eval()


def convert(module: Module, base: Architecture, planted: Planted, folder: Path) -> Path:
    """Convert a module through the planted map, and write it."""
    layers = layer_map("skip", teacher=base.depths, student=base.depths)
    made = convert_module(module, teacher=base, student=base, layers=layers, alignment=planted.alignment)
    assert (made.dropped, made.approximated) == ((), ())
    assert made.tensors == sum(len(piece.parts) for piece in module.pieces.values())
    folder.mkdir()
    write_module(replace(made.module, base=BaseReference(name="student", model_type=base.model_type)), base, folder)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_lora_on_every_role_gives_the_teachers_outputs(case: str, tmp_path: Path) -> None:
    """The planted student computes what its teacher does, and with the converted LoRA and head what that does with its own."""
    purpose = CASES[case][2]
    model = teacher_of(case)
    base = architecture_of(model.config)
    given = given_to(model, purpose)
    planted, before = plant(model, base), run(model, given)
    assert_same(run(planted.student, given), planted.as_student(before), tolerance=ROUNDING)

    heads = sorted(path.partition(".")[0] for path in base.family.heads.get(purpose, {}).values())
    targets = [path for path in every_role(base, model, heads) if path.partition(".")[0] not in heads]
    task = CLASSES[purpose][1]
    made = make_lora(model, tmp_path / "teacher", target_modules=targets, modules_to_save=heads or None, task_type=task)
    after = run(made, given)
    assert_differ(after, before)

    module = read_module(inspect_files(tmp_path / "teacher"), base)
    assert fit_head(module, base, base) == (module, [])
    assert len([place for place in module.pieces if place.is_head]) == len(base.family.heads.get(purpose, {}))
    student = load(planted.student, convert(module, base, planted, tmp_path / "student"))
    assert_same(run(student, given), planted.as_student(after), tolerance=ROUNDING)


def test_separate_updates_become_one_on_a_fused_matrix(tmp_path: Path) -> None:
    """A LoRA on BERT's queries and values is on ModernBERT's fused matrix exactly the same update, with nothing at the keys."""
    bert, modern = tiny("bert"), make(tiny("modernbert", num_hidden_layers=2))
    teacher, student = architecture_of(bert, "bert"), architecture_of(modern.config, "modernbert")
    make_lora(make(bert), tmp_path / "bert", target_modules=["query", "value"], rank_pattern={"value": 2})
    module = read_module(inspect_files(tmp_path / "bert"), teacher)
    layers = layer_map("skip", teacher=teacher.depths, student=student.depths)
    made = convert_module(module, teacher=teacher, student=student, layers=layers, alignment=None)
    (tmp_path / "modern").mkdir()
    write_module(replace(made.module, base=BaseReference(name="modern")), student, tmp_path / "modern")

    fused = load(modern, tmp_path / "modern").base_model.model
    for layer in range(2):
        found = fused.layers[layer].attn.Wqkv.get_delta_weight("default").detach().numpy()
        expected = [delta(module.pieces.get(Place("encoder", layer, role))) for role in ("query", "key", "value")]
        np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-6)
        assert not found[24:48].any()
        assert np.abs(found[:24]).max() > 0.1


def delta(piece: Any) -> np.ndarray:
    """Multiply the factors of a LoRA; nothing is nothing."""
    if piece is None:
        return np.zeros((24, 24))
    return np.asarray(piece.scaling.factor * piece.parts["up"] @ piece.parts["down"])


@pytest.mark.parametrize(
    ("case", "targets"),
    [("vit, IMAGE_CLS", ["query", "ffn_up"]), ("vit, base", ["value"]), ("clip_vision_model, base", ["key", "ffn_up"])],
)
def test_modules_of_other_versions_of_transformers_are_read(case: str, targets: list[str], tmp_path: Path) -> None:
    """A module whose keys have the names from before (or since) transformers 5 is the same module, and is written with those
    that the installed version knows.
    """
    model = teacher_of(case)
    base = architecture_of(model.config)
    roles = base.family.stacks["encoder"].roles
    heads = ["classifier"] if "IMAGE_CLS" in case else None
    make_lora(model, tmp_path / "mine", target_modules=[roles[role].path for role in targets], modules_to_save=heads)
    renamed = rename(tmp_path / "mine", tmp_path / "theirs", base, targets)
    mine, theirs = (read_module(inspect_files(folder), base) for folder in (tmp_path / "mine", renamed))
    assert mine.pieces.keys() == theirs.pieces.keys()
    for place, piece in mine.pieces.items():
        for part, tensor in piece.parts.items():
            np.testing.assert_array_equal(theirs.pieces[place].parts[part], tensor)
    (tmp_path / "written").mkdir()
    write_module(theirs, base, tmp_path / "written")
    tensors = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("mine", "written")]
    assert tensors[0].keys() == tensors[1].keys()
    load(teacher_of(case), tmp_path / "written")


def rename(folder: Path, target: Path, base: Architecture, roles: list[str]) -> Path:
    """Give a module's submodules the names of other versions of transformers, as `peft` would have saved it there."""
    tensors, other = load_file(folder / "adapter_model.safetensors"), base.with_other_names()
    names = {
        f".{base.role_path('encoder', layer, role)}.": f".{other.role_path('encoder', layer, role)}."
        for layer in range(2)
        for role in roles
    }
    renamed = {}
    for key, tensor in tensors.items():
        old = next((name for name in names if name in key), None)
        renamed[key if old is None else key.replace(old, names[old])] = tensor
    assert renamed.keys() != tensors.keys()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"] = [other.family.stacks["encoder"].roles[role].path for role in roles]
    target.mkdir()
    save_file(renamed, target / "adapter_model.safetensors", metadata={"format": "pt"})
    (target / "adapter_config.json").write_text(json.dumps(config))
    return target


def test_head_of_deberta_without_its_pooler_is_left_behind(tmp_path: Path) -> None:
    """`peft` saves DeBERTa's classifier without the pooler before it, which is not pre-trained: alone it means nothing."""
    model = teacher_of("deberta-v2, SEQ_CLS")
    base = architecture_of(model.config)
    make_lora(model, tmp_path / "m", target_modules=["query_proj"], task_type="SEQ_CLS")
    module = read_module(inspect_files(tmp_path / "m"), base)
    left, said = fit_head(module, base, base)
    assert left.head is None
    assert said == [
        "prediction head: it has two layers with gelu between on the final hidden state, and the module holds only the last of "
        "them; train a new one"
    ]


def test_heads_behind_modernberts_own_layers_stay_there() -> None:
    """A token classifier of BERT reads the final hidden state, ModernBERT's reads what a layer of its own makes of that."""
    bert, modern = (architecture_of(tiny(name), name) for name in ("bert", "modernbert"))
    for task in ("TOKEN_CLS", "SEQ_CLS", "QUESTION_ANS"):
        assert head_shape(bert, task) != head_shape(modern, task)
    assert str(head_shape(modern, "TOKEN_CLS")) == "one layer on the pooler with gelu"


def test_token_classifier_of_t5_reads_the_encoder(tmp_path: Path) -> None:
    """Of T5's heads the token classifier alone reads the encoder, whose final state is another space than the decoder's."""
    model = make(tiny("t5"), transformers.AutoModelForTokenClassification)
    make_lora(model, tmp_path / "m", target_modules=["q"], task_type="TOKEN_CLS")
    module = read_module(inspect_files(tmp_path / "m"), architecture_of(model.config))
    (route,) = [piece.route for place, piece in module.pieces.items() if place.is_head]
    assert str(route.reads) == str(route.writes) == "encoder_norm.output"


@pytest.mark.parametrize("model_type", [*sorted({model_type for model_type, _, _ in CASES.values()}), "gemma3_text"])
def test_classes_of_a_family_are_in_its_library(model_type: str) -> None:
    """The module of transformers that a config names is there, and has the class of the bare base model."""
    family = FAMILIES[model_type]
    base = Architecture(name="", model_type=model_type, family=family, dimensions={}, depths={})
    assert hasattr(importlib.import_module(library_of(base)), f"{family.classes}Model")
