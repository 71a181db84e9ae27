"""LoRAs that `peft` makes of other methods: they compute what the module did, and what they lack is what is said."""

import inspect
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file

from modxfer.architectures import Architecture
from modxfer.converters.convert import convert_module
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.lora_conversion import CONVERTIBLE, convert_to_lora, is_convertible
from modxfer.converters.module import ModuleFiles
from modxfer.errors import ConversionError, FormatError, UsageError
from tests.builders import load_peft_module, make_peft_module, outputs, randomise, tiny_architecture, tiny_config, tiny_inputs
from tests.modules import layers_of
from tests.planting import architecture_of, assert_differ, assert_same, inputs, make, plant, run, tiny

CONFIG = tiny_config("bert", hidden=12, ffn=20, layers=2)
TARGETS = ["query", "intermediate.dense"]
WHOLE = 12
"""The largest rank that an update of `TARGETS` can have."""

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "c3a": {"block_size": 4},
    "delora": {"r": 2},
    "fourierft": {"n_frequency": 20},
    "gralora": {"r": 4, "gralora_k": 2},
    "loha": {"r": 2},
    "lokr": {"r": 3},
    "miss": {"r": 2},
    "psoft": {"r": 4},
    "randlora": {"r": 4},
    "tinylora": {},
    "unilora": {"r": 3, "theta_d_length": 64},
    "vblora": {"r": 2, "vector_length": 4, "num_vectors": 16},
    "vera": {"r": 4},
    "waveft": {"n_frequency": 20},
    "adalora": {"total_step": 10},
    "hira": {},
    "shira": {"r": 2},
}
"""What a method's config needs beside its targets, on widths of 12 and 20."""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random BERT."""
    folder = tmp_path_factory.mktemp("teacher") / "bert"
    model = transformers.AutoModel.from_config(CONFIG)
    randomise(model.parameters())
    model.save_pretrained(folder)
    return folder


def task_model(folder: Path) -> Any:
    """Load the teacher under a head for 4 labels."""
    return transformers.AutoModelForTokenClassification.from_pretrained(folder, num_labels=4).eval()


def make_module(folder: Path, model: Any, method: str, **options: Any) -> Any:
    """Let `peft` put a module on a model, fill what it trains with noise and save it."""
    config = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType[method.upper()]]
    made = peft.get_peft_model(model, config(**{"target_modules": TARGETS, **OPTIONS[method], **options})).eval()
    randomise((parameter for parameter in made.parameters() if parameter.requires_grad), seed=3)
    made.save_pretrained(str(folder))
    return made


def on_teacher() -> Architecture:
    """Describe the teacher."""
    return tiny_architecture(CONFIG, name="bert")


def written(files: ModuleFiles, teacher: Path, folder: Path, *, rank: int | None) -> tuple[Path, tuple[str, ...], list[int]]:
    """Convert a module to LoRA and write it; gives the folder, what is not exact, and the ranks."""
    made = convert_to_lora(files, on_teacher(), weights=teacher, rank=rank)
    folder.mkdir()
    write_module(made.module, on_teacher(), folder)
    ranks = [piece.scaling.rank for piece in made.module.pieces.values() if piece.scaling]
    return folder, made.approximated, ranks


@pytest.mark.parametrize(
    ("method", "options"),
    [
        *((method, {}) for method in sorted(CONVERTIBLE.values())),
        ("vera", {"save_projection": False}),
        ("vblora", {"save_only_topk_weights": True}),
        ("miss", {"init_weights": "bat"}),
    ],
)
def test_lora_computes_what_the_module_did(method: str, options: dict[str, Any], teacher: Path, tmp_path: Path) -> None:
    """At the rank of the update, the LoRA with its head gives the module's logits, and no loss is reported."""
    module = make_module(tmp_path / "module", task_model(teacher), method, task_type="TOKEN_CLS", **options)
    ids = tiny_inputs(CONFIG)
    expected = outputs(module, ids)[0]
    with module.disable_adapter():
        assert (outputs(module, ids)[0] - expected).abs().max() > 0.1
    files = inspect_files(tmp_path / "module")
    assert (files.method, is_convertible(files)) == (method, True)
    folder, lost, ranks = written(files, teacher, tmp_path / "lora", rank=WHOLE)
    assert lost == ()
    assert max(ranks) <= WHOLE
    found = outputs(load_peft_module(folder, task_model(teacher)), ids)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # peft's decomposition is in float32


@pytest.mark.parametrize(("method", "rank"), [("loha", 4), ("vera", 4), ("miss", 2), ("delora", 2)])
def test_a_low_rank_is_found(method: str, rank: int, teacher: Path, tmp_path: Path) -> None:
    """Where the update has a rank at which a LoRA is smaller than the weight, that is the LoRA's, without a loss."""
    make_module(tmp_path / "module", task_model(teacher), method, task_type="TOKEN_CLS")
    made = convert_to_lora(inspect_files(tmp_path / "module"), on_teacher(), weights=teacher)
    assert {piece.scaling.rank for piece in made.module.pieces.values() if piece.scaling} == {rank}
    assert made.approximated == ()
    assert made.notes == (f"{method}: `peft` made a LoRA of rank {rank} of it",)
    assert made.module.config["rank_pattern"] == {}


@pytest.mark.parametrize("rank", [3, None])
def test_the_stated_error_is_the_one_that_is_measured_on_merged_weights(
    rank: int | None, teacher: Path, tmp_path: Path
) -> None:
    """Mean and worst error are those of what peft merges into the weights, of the module and of the LoRA."""
    make_module(tmp_path / "module", task_model(teacher), "lokr", task_type="TOKEN_CLS")
    folder, lost, ranks = written(inspect_files(tmp_path / "module"), teacher, tmp_path / "lora", rank=rank)
    assert rank is None or set(ranks) == {rank}
    errors = {}
    plain = merged(None, teacher)
    whole, low = merged(tmp_path / "module", teacher), merged(folder, teacher)
    for path, weight in plain.items():
        if any(path.endswith(f"{name}.weight") for name in TARGETS):
            update = whole[path] - weight
            errors[path.removesuffix(".weight")] = float((low[path] - whole[path]).norm() / update.norm())
    worst = max(errors, key=lambda path: errors[path])
    (sentence,) = lost
    said = re.search(r"lack ([\d.]+)% of their size on average, ([\d.]+)% at worst \(`(.+)`\)", sentence)
    assert said is not None, sentence
    mean, most, where = said.groups()
    assert where == worst
    assert float(most) / 100 == pytest.approx(errors[worst], abs=2e-4)
    assert float(mean) / 100 == pytest.approx(sum(errors.values()) / len(errors), abs=2e-4)
    if rank is None:
        assert 0 < errors[worst] < 0.04  # at least 99.9 % of the squared size is kept


def merged(folder: Path | None, teacher: Path) -> dict[str, torch.Tensor]:
    """Give the weights of the teacher with a module merged into them, in float64."""
    model = task_model(teacher)
    if folder is not None:
        model = peft.PeftModel.from_pretrained(model, str(folder)).double().merge_and_unload()
    return dict(model.double().state_dict())


@pytest.mark.parametrize(
    ("family", "method", "targets"),
    [("bert", "loha", TARGETS), ("bert", "lokr", TARGETS), ("bert", "vera", TARGETS), ("gpt2", "vera", ["c_attn", "c_fc"])],
)
def test_planted_student_computes_the_same(family: str, method: str, targets: list[str], tmp_path: Path) -> None:
    """Moved onto a permuted student, the LoRA of the module gives the module's outputs on the teacher."""
    config = tiny(family)
    model = make(config, dtype=torch.float32)
    model.save_pretrained(tmp_path / "teacher")
    base = architecture_of(config)
    planted = plant(model, base)
    given = inputs(config)
    bare = run(model, given)
    assert_same(run(planted.student, given), planted.as_student(bare), tolerance=1e-4)
    module = make_module(tmp_path / "module", model, method, r=2, target_modules=targets)
    expected = run(module, given)
    assert_differ(expected, bare)
    made = convert_to_lora(inspect_files(tmp_path / "module"), base, weights=tmp_path / "teacher", rank=24)
    assert made.approximated == ()
    moved = convert_module(
        made.module, teacher=base, student=base, layers=layers_of("skip", base, base), alignment=planted.alignment
    )
    (tmp_path / "out").mkdir()
    write_module(replace(moved.module, base=made.module.base), base, tmp_path / "out")
    found = run(load_peft_module(tmp_path / "out", planted.student), given)
    assert_same(found, planted.as_student(expected), tolerance=1e-4)


def overrides(layer: type) -> bool:
    """Say whether a class of the layer's file, or one that it inherits from, has something of its own to say on LoRA."""
    classes = [each for _, each in inspect.getmembers(sys.modules[layer.__module__], inspect.isclass)]
    own = BaseTunerLayer.supports_lora_conversion
    return any(issubclass(each, BaseTunerLayer) and each.supports_lora_conversion is not own for each in classes)


def test_the_list_is_that_of_peft() -> None:
    """Of every method for which peft may offer LoRA, a real module is asked; the list has those that say yes."""
    model = transformers.AutoModel.from_config(CONFIG)
    found = {}
    for peft_type, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items():
        layer = getattr(tuner, "tuner_layer_cls", None)
        if layer is None or not overrides(layer) or peft_type == "LORA":
            continue
        config: Any = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type]
        made = peft.get_peft_model(model, config(target_modules=TARGETS, **OPTIONS[peft_type.value.lower()]))
        found[peft_type.value] = made.supports_lora_conversion()
        model = made.unload()
    found.pop("ADALORA", None)  # a LoRA already, and read as one
    assert {name for name, offers in found.items() if offers} == set(CONVERTIBLE)


def test_half_precision_is_not_lost(teacher: Path, tmp_path: Path) -> None:
    """The factors of a module in bfloat16 are float32, since rounding them would change the update."""
    make_module(tmp_path / "module", task_model(teacher), "vera", task_type="TOKEN_CLS")
    path = tmp_path / "module" / "adapter_model.safetensors"
    save_file({key: tensor.bfloat16() for key, tensor in load_file(path).items()}, path)
    made = convert_to_lora(inspect_files(tmp_path / "module"), on_teacher(), weights=teacher)
    assert made.approximated == ()
    assert {str(piece.parts["up"].dtype) for piece in made.module.pieces.values() if piece.scaling} == {"float32"}


def test_what_is_no_such_module_is_left_alone(teacher: Path, tmp_path: Path) -> None:
    """A LoRA needs no conversion; a LoHa cannot be read without one, and the message says what to do."""
    make_peft_module(tmp_path / "lora", task_model(teacher), task_type="TOKEN_CLS")
    assert not is_convertible(inspect_files(tmp_path / "lora"))
    make_module(tmp_path / "loha", task_model(teacher), "loha")
    with pytest.raises(ConversionError, match=r"'LOHA'.*modxfer convert"):
        read_module(inspect_files(tmp_path / "loha"), on_teacher())


def test_wrong_modules_are_refused(teacher: Path, tmp_path: Path) -> None:
    """Trained biases, tensors that are missing, weights that are missing and ranks that are none are refused by name."""
    make_module(tmp_path / "module", task_model(teacher), "vera", task_type="TOKEN_CLS")
    files = inspect_files(tmp_path / "module")
    with pytest.raises(ConversionError, match="bias='all'"):
        convert_to_lora(replace(files, config={**files.config, "bias": "all"}), on_teacher(), weights=teacher)
    with pytest.raises(UsageError, match="--rank 0"):
        convert_to_lora(files, on_teacher(), weights=teacher, rank=0)
    with pytest.raises(FormatError, match="cannot be loaded"):
        convert_to_lora(files, on_teacher(), weights=tmp_path / "module")
    config = json.loads((tmp_path / "module/adapter_config.json").read_text())
    (tmp_path / "module/adapter_config.json").write_text(json.dumps({**config, "target_modules": ["query", "key"]}))
    with pytest.raises(FormatError, match=r"do not agree on .*intermediate\.dense"):
        convert_to_lora(inspect_files(tmp_path / "module"), on_teacher(), weights=teacher)


def test_teacher_whose_weights_are_made_up_is_refused(teacher: Path, tmp_path: Path) -> None:
    """A tensor that transformers would draw at random is named."""
    make_module(tmp_path / "module", task_model(teacher), "psoft", task_type="TOKEN_CLS")
    model = transformers.AutoModel.from_pretrained(teacher)
    state = {key: tensor for key, tensor in model.state_dict().items() if "layer.1.attention.self.query" not in key}
    model.save_pretrained(tmp_path / "partial", state_dict=state)
    with pytest.raises(FormatError, match=r"lack .*layer\.1\.attention\.self\.query"):
        convert_to_lora(inspect_files(tmp_path / "module"), on_teacher(), weights=tmp_path / "partial")
