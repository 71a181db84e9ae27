"""Ground truth for every kind of `peft` module: on a student that is its teacher with units permuted, what the real `peft`
loads of the converted module computes what the teacher's did.
"""

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers

from modxfer.alignments.alignment_map import AlignmentMap, SiteMap
from modxfer.alignments.layer_maps import layer_map
from modxfer.architectures import Architecture, Point, Side, Site
from modxfer.converters.convert import Conversion, convert_module
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.module import BaseReference, Module
from modxfer.errors import ConversionError
from tests.builders import randomise, warnings_fail
from tests.planting import Planted, architecture_of, assert_differ, assert_same, inputs, make, plant, run, tiny

_CLASSES = {
    "SEQ_CLS": transformers.AutoModelForSequenceClassification,
    "TOKEN_CLS": transformers.AutoModelForTokenClassification,
    "CAUSAL_LM": transformers.AutoModelForCausalLM,
    None: transformers.AutoModel,
}
NAMES: Mapping[str, Mapping[str, Any]] = {
    "bert": {
        "query": ["query"],
        "ends": ["query", "value"],
        "into_ffn": ["intermediate.dense"],
        "norms": ["LayerNorm"],
        "embeddings": ["word_embeddings"],
        "task": "TOKEN_CLS",
    },
    "gpt2": {
        "query": ["c_attn"],
        "ends": ["c_attn", "mlp.c_proj"],
        "into_ffn": ["mlp.c_fc"],
        "norms": ["ln_1", "ln_2", "ln_f"],
        "embeddings": ["wte"],
        "task": "CAUSAL_LM",
    },
    "llama": {
        "query": ["q_proj"],
        "ends": ["q_proj", "v_proj", "down_proj"],
        "into_ffn": ["up_proj"],
        "norms": ["input_layernorm", "post_attention_layernorm", "norm"],
        "embeddings": ["embed_tokens"],
        "task": "CAUSAL_LM",
    },
}
"""What each family calls what the modules sit beside."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """A planted pair in memory."""

    teacher: Any
    architecture: Architecture
    planted: Planted
    given: Mapping[str, torch.Tensor]


@cache
def base_of(family: str, task: str | None) -> Base:
    """Plant a family's task model, and check that the student computes what the teacher does."""
    teacher = make(tiny(family), _CLASSES[task])
    architecture = architecture_of(teacher.config)
    planted = plant(teacher, architecture)
    given = inputs(teacher.config)
    assert_same(run(planted.student, given), planted.as_student(run(teacher, given)))
    return Base(teacher=teacher, architecture=architecture, planted=planted, given=given)


def save(folder: Path, model: Any, config: Any, *, seed: int = 3) -> Any:
    """Let `peft` put a module on a copy of a model, fill what it trains with noise and save it; gives the `PeftModel`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = peft.get_peft_model(copy.deepcopy(model), config)
        trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        randomise((trained[name] for name in trained if "ranknum" not in name), seed=seed)  # AdaLoRA's ranks are not saved
        module.eval().save_pretrained(str(folder))
    return module


def load(folder: Path, model: Any) -> Any:
    """Let `peft` load a module on a copy of a model; a warning, or a tensor too many or too few, fails."""
    with warnings_fail(".*merging LoRA weights won't be possible|Unsupported layer type"):
        module = peft.PeftModel.from_pretrained(copy.deepcopy(model), str(folder))
    result: Any = peft.set_peft_model_state_dict(module, peft.load_peft_weights(str(folder), device="cpu"))
    assert [key for key in result.unexpected_keys if key != "prompt_embeddings"] == []  # no parameter has that name
    marks = ("lora_", "ia3_", "ln_tuning", "modules_to_save")
    assert [key for key in result.missing_keys if any(mark in key for mark in marks)] == []
    return module.eval()


def convert(module: Module, base: Base, alignment: AlignmentMap | None = None) -> Conversion:
    """Move a module to the planted student."""
    return convert_module(
        module,
        teacher=base.architecture,
        student=base.architecture,
        layers=layer_map("skip", teacher=base.architecture.depths, student=base.architecture.depths),
        alignment=alignment or base.planted.alignment,
    )


def read(folder: Path, base: Base) -> Module:
    """Read a module on the teacher."""
    return read_module(inspect_files(folder), base.architecture)


def write(folder: Path, module: Module, base: Base) -> Path:
    """Write a converted module."""
    folder.mkdir()
    write_module(replace(module, base=BaseReference(name="student")), base.architecture, folder)
    return folder


Case = Callable[[Mapping[str, Any]], Any]
CASES: Mapping[str, tuple[str, Case]] = {
    "dora": ("lora", lambda names: peft.LoraConfig(r=3, lora_alpha=7, target_modules=names["ends"], use_dora=True)),
    "dora on embeddings": (
        "lora",
        lambda names: peft.LoraConfig(r=3, target_modules=[*names["ends"], *names["embeddings"]], use_dora=True),
    ),
    "lora with bias": ("lora", lambda names: peft.LoraConfig(r=3, target_modules=names["ends"], lora_bias=True)),
    "rslora with ranks": (
        "lora",
        lambda names: peft.LoraConfig(
            r=3,
            target_modules=names["ends"],
            use_rslora=True,
            rank_pattern={names["query"][0]: 2},
            alpha_pattern={names["ends"][1]: 5},
        ),
    ),
    "lora on embeddings": ("lora", lambda names: peft.LoraConfig(r=3, target_modules=[*names["query"], *names["embeddings"]])),
    "only embeddings": ("lora", lambda names: peft.LoraConfig(r=3, target_modules=names["embeddings"])),
    "saved embeddings": (
        "lora",
        lambda names: peft.LoraConfig(r=3, target_modules=names["ends"], modules_to_save=names["embeddings"]),
    ),
    "saved normalisations": (
        "lora",
        lambda names: peft.LoraConfig(r=3, target_modules=names["ends"], modules_to_save=names["norms"]),
    ),
    "adalora": (
        "adalora",
        lambda names: peft.AdaLoraConfig(init_r=4, lora_alpha=7, target_modules=names["ends"], total_step=9),
    ),
    "ia3": (
        "ia3",
        lambda names: peft.IA3Config(
            target_modules=[*names["query"], *names["into_ffn"]], feedforward_modules=names["into_ffn"]
        ),
    ),
    "ia3 on inputs of a fused matrix": (
        "ia3",
        lambda names: peft.IA3Config(target_modules=names["query"], feedforward_modules=names["query"]),
    ),
    "normalisations": ("norm", lambda names: peft.LNTuningConfig(target_modules=names["norms"])),
    "prompt": ("prompt", lambda names: peft.PromptTuningConfig(num_virtual_tokens=4)),
    "p-tuning": ("prompt", lambda names: peft.PromptEncoderConfig(num_virtual_tokens=4, encoder_hidden_size=10)),
    "prefix": ("prefix", lambda names: peft.PrefixTuningConfig(num_virtual_tokens=4)),
    "projected prefix": (
        "prefix",
        lambda names: peft.PrefixTuningConfig(num_virtual_tokens=4, prefix_projection=True, encoder_hidden_size=10),
    ),
    "cartridge": ("prefix", lambda names: peft.CartridgeConfig(num_virtual_tokens=4, num_frozen_tokens=1)),
}
"""Name to modxfer's name for the method, and how `peft` makes it."""


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_module_gives_the_teachers_outputs(family: str, case: str, tmp_path: Path) -> None:
    """A converted module gives the teacher's logits on the student, and does so by what it adds."""
    names, (method, made) = NAMES[family], CASES[case]
    base = base_of(family, names["task"])
    config = made(copy.deepcopy(names))  # peft writes into the lists
    config.task_type = names["task"]
    model = save(tmp_path / "teacher", base.teacher, config)
    module = read(tmp_path / "teacher", base)
    assert inspect_files(tmp_path / "teacher").method == method
    conversion = convert(module, base)
    assert conversion.dropped == ()
    assert all("norms of the teacher's rows" in note for note in conversion.approximated)
    assert bool(conversion.approximated) == ("dora" in case)
    expected = run(model, base.given)
    found = run(load(write(tmp_path / "student", conversion.module, base), base.planted.student), base.given)
    assert_same(found, expected)
    bare = run(base.planted.student, base.given)
    assert_differ({key: value[:, -bare[key].shape[1] :] for key, value in found.items()}, bare)  # behind virtual tokens


TOKENS: Mapping[str, dict[str, Any]] = {
    "lora": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    "dora": {"target_modules": ["embed_tokens", "lm_head"], "use_dora": True},
    "saved embeddings": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "saved output layer": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
}
"""What can be trained of a vocabulary."""


def with_other_tokens(base: Base, order: np.ndarray) -> tuple[Base, AlignmentMap]:
    """Give the planted student other numbers for its tokens: for each of the student's, the teacher's."""
    student = copy.deepcopy(base.planted.student)
    with torch.no_grad():
        for table in (student.get_input_embeddings(), student.get_output_embeddings()):
            table.weight.copy_(table.weight[torch.from_numpy(np.maximum(order, 0))])
    correlation = np.ones(len(order), dtype=np.float32)
    vocabulary = SiteMap(correlation=correlation, assignment=order.astype(np.int32))
    at = Site("", None, Point("embeddings", Side.INPUT))
    planted = base.planted.alignment
    maps = {pair: vocabulary if pair.student == at else site_map for pair, site_map in planted.maps.items()}
    given = {key: torch.from_numpy(np.argsort(order))[value] for key, value in base.given.items()}
    return replace(base, planted=replace(base.planted, student=student), given=given), replace(planted, maps=maps)


@pytest.mark.parametrize("case", TOKENS)
def test_what_is_trained_of_a_vocabulary_follows_the_tokens(case: str, tmp_path: Path) -> None:
    """Where the same tokens have other numbers, what is trained of embeddings and output layer means the same tokens."""
    base = base_of("llama", "CAUSAL_LM")
    model = save(tmp_path / "teacher", base.teacher, peft.LoraConfig(r=3, task_type="CAUSAL_LM", **TOKENS[case]))
    order = np.random.default_rng(5).permutation(50)
    other, alignment = with_other_tokens(base, order)
    assert_same(run(other.planted.student, other.given), {"logits": run(base.teacher, base.given)["logits"][..., order]})
    module = convert(read(tmp_path / "teacher", base), base, alignment).module
    found = run(load(write(tmp_path / "student", module, base), other.planted.student), other.given)
    assert_same(found, {"logits": run(model, base.given)["logits"][..., order]})
    assert_differ(found, run(other.planted.student, other.given))


def test_only_a_lora_can_leave_tokens_out(tmp_path: Path) -> None:
    """A LoRA gives a token that the teacher lacks no update; whole embeddings and DoRA's rows need every token."""
    base = base_of("llama", "CAUSAL_LM")
    order = np.random.default_rng(5).permutation(50)
    order[[3, 7]] = -1
    new = SiteMap(correlation=np.ones(50, dtype=np.float32), assignment=order.astype(np.int32))
    at = Site("", None, Point("embeddings", Side.INPUT))
    maps = {pair: new if pair.student == at else site_map for pair, site_map in base.planted.alignment.maps.items()}
    alignment = replace(base.planted.alignment, maps=maps)
    for case, options in TOKENS.items():
        save(tmp_path / case, base.teacher, peft.LoraConfig(r=3, task_type="CAUSAL_LM", **options))
        module = read(tmp_path / case, base)
        if case == "lora":
            conversion = convert(module, base, alignment)
            place = next(place for place in module.pieces if place.name == "embeddings")
            down = conversion.module.pieces[place].parts["down"]
            assert (down[:, [3, 7]] == 0).all()
            assert (np.delete(down, [3, 7], axis=1) == module.pieces[place].parts["down"][:, np.delete(order, [3, 7])]).all()
            assert any(
                note.startswith("embeddings: student units that no teacher unit serves") for note in conversion.approximated
            )
        else:
            with pytest.raises(ConversionError, match="2 of the student's 50 have none in the teacher"):
                convert(module, base, alignment)


def test_pruned_adalora_keeps_peft_s_divisor(tmp_path: Path) -> None:
    """What AdaLoRA pruned is left out, down to nothing, and the rest is divided by the rank before pruning, as peft does."""
    base = base_of("bert", "TOKEN_CLS")
    config = peft.AdaLoraConfig(init_r=4, lora_alpha=-1, target_modules=["query"], total_step=9, task_type="TOKEN_CLS")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(copy.deepcopy(base.teacher), config)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    randomise((trained[name] for name in trained if "ranknum" not in name), seed=3)
    layers = "bert.encoder.layer.{}.attention.self.query.lora_E"
    config.rank_pattern = {layers.format(0): [True, False, True, True], layers.format(1): [False] * 4}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(str(tmp_path / "teacher"))
    expected = run(load_quietly(tmp_path / "teacher", base.teacher), base.given)
    module = read(tmp_path / "teacher", base)
    assert {len(piece.parts["down"]) for place, piece in module.pieces.items() if not place.is_head} == {3, 1}
    student = load(write(tmp_path / "student", convert(module, base).module, base), base.planted.student)
    assert_same(run(student, base.given), expected)


def load_quietly(folder: Path, model: Any) -> Any:
    """Let `peft` load a module with whatever it has to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.PeftModel.from_pretrained(copy.deepcopy(model), str(folder)).eval()
