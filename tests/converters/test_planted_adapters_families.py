"""Modules of the real `adapters` on every family that it has model classes for, moved onto planted students.

The library makes a module on a tiny random teacher; it is read, converted through the planted map, written, and loaded by the
library on the student, which has to compute what the teacher does. BERT and its relatives are in `formats/test_adapters.py`.
"""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
import transformers

from modxfer.architectures import FAMILIES
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.formats.adapters.reading import kinds_on
from modxfer.converters.formats.classes import in_adapters
from modxfer.converters.formats.reformatting import reformat
from modxfer.errors import ConversionError, FormatError
from tests.builders import load_adapters_module, make_peft_module
from tests.planted_adapters import (
    FAMILY_CHANGES,
    METHODS,
    ROUNDING,
    borrowed,
    check,
    config_of,
    make_module,
    model_of,
    pair_of,
    planted_pair,
    task_model_of,
)
from tests.planting import architecture_of, assert_differ, assert_same, inputs, run, tiny

pytestmark = pytest.mark.adapters

_ENCODER = ("bert", "roberta", "xlm-roberta", "electra", "distilbert")
"""Their modules are tested with the format."""

_NOT_THERE = "is not supported by this model"
_NO_RESIDUAL = "cannot access local variable 'residual'"
_TWO_WIDTHS = "different hidden sizes"
_NO_SQUARES = "shapes cannot be multiplied"

LIBRARY_CANNOT: Mapping[str, Mapping[str, str]] = {
    "prompt": dict.fromkeys(set(FAMILY_CHANGES) - {"deberta-v2", "vit"}, _NOT_THERE),
    "seq_bn_inv": {"vit": _NOT_THERE, "clip_vision_model": _NOT_THERE},
    "seq_bn, post_add": dict.fromkeys(set(FAMILY_CHANGES) - {"deberta-v2", "bart"}, _NO_RESIDUAL),
    "dora": {"gpt2": "must match the size"},
    "vera": {
        "gpt2": "has no attribute 'lora_A'",
        "llama": _NO_SQUARES,
        "mistral": _NO_SQUARES,
        "clip": _TWO_WIDTHS,
    },
    "compacter": {"clip": _TWO_WIDTHS},
    "loreft": {"clip": _NO_SQUARES},
}
"""Method to the families on which the library itself fails, and what it says then."""

LIBRARY_LOSES: Mapping[str, tuple[str, ...]] = dict.fromkeys(("vera", "compacter"), ("clip_vision_model", "clip_text_model"))
"""Method to the families of whose modules the library stores only a part."""

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "by layer": ("gpt2", "t5", "clip"),
    "lora, gated": ("gpt2", "llama", "bart"),
    "lora, query and value": ("gpt2", "llama", "deberta-v2", "t5", "vit"),
    "prefix, flat": ("gpt2", "mbart"),
}
"""Variants of methods that are tested as another variant on all families, and those on which they are tested too."""

_EVERY = 4
"""One in so many: `make cells` runs all that the support table has."""

CELLS = [
    (family, method)
    for family in FAMILY_CHANGES
    for method in METHODS
    if family not in LIBRARY_CANNOT.get(method, {}) and family not in LIBRARY_LOSES.get(method, ())
    if method not in VARIANTS or family in VARIANTS[method]
]


@pytest.fixture(autouse=True, scope="module")
def in_float64() -> Iterator[None]:
    """`adapters` makes what it adds in torch's own precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("family", "method"), CELLS[::_EVERY])
def test_module_gives_the_teachers_outputs(family: str, method: str, tmp_path: Path) -> None:
    """On the planted student a converted module computes exactly what it did on its teacher."""
    pair = pair_of(family, blocks=2 if method == "seq_bn_inv" else 1)
    approximated = check(pair, config_of(method), tmp_path)
    assert all("`magnitude` stands for" in note for note in approximated)
    assert bool(approximated) is (method == "dora")


@pytest.mark.parametrize(
    ("family", "method"), [(family, method) for method, families in LIBRARY_CANNOT.items() for family in sorted(families)]
)
def test_library_fails_where_the_table_says_so(family: str, method: str, tmp_path: Path) -> None:
    """What the table calls impossible fails in the library itself."""
    pair = pair_of(family)
    with pytest.raises(Exception, match=LIBRARY_CANNOT[method][family]):
        run(make_module(copy.deepcopy(pair.teacher), config_of(method), tmp_path), pair.given)


@pytest.mark.parametrize(
    ("method", "family"), [(method, family) for method, names in LIBRARY_LOSES.items() for family in names]
)
def test_module_that_the_library_stores_in_part_is_refused(method: str, family: str, tmp_path: Path) -> None:
    """A module whose tensors are not all there is not read."""
    pair = pair_of(family)
    with borrowed(pair.teacher) as teacher:
        make_module(teacher, config_of(method), tmp_path)
    with pytest.raises(FormatError, match="the module does not hold that"):
        read_module(inspect_files(tmp_path), pair.base)


@pytest.mark.parametrize(
    ("kind", "method"), [("prompt", "prompt"), ("invertible", "seq_bn_inv"), ("dora", "dora"), ("reft", "loreft")]
)
def test_what_the_library_cannot_run_is_not_written(kind: str, method: str) -> None:
    """The rows say just what the library fails at, and such a config is refused on these families."""
    assert {family for family in FAMILY_CHANGES if kind in FAMILIES[family].adapters_lacks} == set(LIBRARY_CANNOT[method])
    config = {"config": {"architecture": None, **config_of(method).to_dict()}}
    for family in LIBRARY_CANNOT[method]:
        base = architecture_of(tiny(family, **FAMILY_CHANGES[family]))
        with pytest.raises(ConversionError, match="`adapters` cannot run"):
            _ = [each.owners(setup) for each, setup in kinds_on(config, in_adapters(base), where="it")]


def test_every_family_in_adapters_is_tested() -> None:
    """No row says that it is in `adapters` without a test that it is."""
    assert {family for family, row in FAMILIES.items() if row.in_adapters} == {*FAMILY_CHANGES, *_ENCODER}


def test_prefix_on_heads_of_another_width_is_refused(tmp_path: Path) -> None:
    """The library gives Llama's heads prefixes of hidden size / heads units, and fails where they have another width."""
    wide = model_of("llama", hidden_size=24)
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        run(make_module(wide, config_of("prefix"), tmp_path / "wide"), inputs(wide.config))
    pair = pair_of("llama")
    with borrowed(pair.teacher) as teacher:
        make_module(teacher, config_of("prefix"), tmp_path / "made")
    module = read_module(inspect_files(tmp_path / "made"), pair.base)
    with pytest.raises(ConversionError, match="heads of hidden size / heads units"):
        write_module(module, architecture_of(wide.config), tmp_path)


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("gpt2", "tagging"),
        ("gpt2", "classification"),
        ("llama", "classification"),
        ("mistral", "qa"),
        ("deberta-v2", "classification"),
        ("t5", "qa"),
        ("bart", "classification"),
    ],
)
def test_flexible_head_comes_along(family: str, head: str, tmp_path: Path) -> None:
    """A head of a kind that modxfer moves gives the teacher's logits on the student."""
    pair = pair_of(family)
    given = {key: value for key, value in pair.given.items() if key != "decoder_input_ids"}  # `adapters` shifts the encoder's
    assert check(pair, config_of("seq_bn"), tmp_path, head=head, given=given) == ()


@pytest.mark.parametrize("name", ["GPT2ForSequenceClassification", "LlamaForQuestionAnswering", "T5EncoderModel"])
def test_module_of_a_task_model_comes_along_with_its_head(name: str, tmp_path: Path) -> None:
    """Under a class of `transformers`, whose head and whose base model's attribute are its own, a module moves as well."""
    changes = {"num_labels": 2, "pad_token_id": 1} if "For" in name else {}
    assert check(planted_pair(task_model_of(name, **changes)), config_of("lora, everywhere"), tmp_path) == ()


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "BartForConditionalGeneration", "ViTForImageClassification"])
def test_other_task_models_heads_are_refused(name: str, tmp_path: Path) -> None:
    """A head that predicts tokens, or sees images, is refused, and without its files the module can be read."""
    model = task_model_of(name)
    make_module(model, config_of("seq_bn"), tmp_path)
    with pytest.raises(ConversionError, match=f"the head that is part of `{name}`"):
        read_module(inspect_files(tmp_path), architecture_of(model.config))
    for path in tmp_path.glob("*head*"):
        path.unlink()
    assert read_module(inspect_files(tmp_path), architecture_of(model.config)).method == "bottleneck"


@pytest.mark.parametrize(
    ("family", "head"),
    [("gpt2", "causal_lm"), ("bart", "seq2seq_lm"), ("deberta-v2", "masked_lm"), ("vit", "image_classification")],
)
def test_other_heads_are_refused(family: str, head: str, tmp_path: Path) -> None:
    """Heads that predict tokens, or see images, are refused in a sentence that says how the module moves without."""
    pair = pair_of(family)
    with borrowed(pair.teacher) as teacher:
        make_module(teacher, config_of("seq_bn"), tmp_path, head=head)
    with pytest.raises(ConversionError, match=f"a head of the kind `{head}`"):
        read_module(inspect_files(tmp_path), pair.base)


@pytest.mark.parametrize(
    ("family", "targets"), [("gpt2", ["c_attn"]), ("llama", ["q_proj", "up_proj"]), ("bart", ["q_proj", "fc2"])]
)
def test_lora_of_peft_gives_the_same_in_adapters(family: str, targets: list[str], tmp_path: Path) -> None:
    """A LoRA of `peft`, also one on a fused matrix, gives the same outputs written as one of `adapters`."""
    model = copy.deepcopy(model_of(family))
    base = architecture_of(model.config)
    plain = transformers.AutoModel.from_config(copy.deepcopy(model.config)).double().eval()
    plain.load_state_dict(model.base_model.state_dict(), strict=False)
    made = make_peft_module(tmp_path / "made", plain, target_modules=targets, fan_in_fan_out=family == "gpt2")
    module, _ = reformat(read_module(inspect_files(tmp_path / "made"), base), base, format="adapters")
    (tmp_path / "written").mkdir()
    write_module(module, base, tmp_path / "written")
    given = inputs(model.config)
    before = run(model, given)
    found = run(load_adapters_module(tmp_path / "written", model).double(), given)
    assert_same(found, run(made, given), tolerance=ROUNDING)
    assert_differ(found, before)


def test_modules_of_the_plugin_interface_are_refused(tmp_path: Path) -> None:
    """On a family without a class `adapters` has modules of another layout, which say so in a file of their own."""
    qwen = model_of("qwen2")
    make_module(qwen, config_of("seq_bn"), tmp_path)
    with pytest.raises(ConversionError, match="made through the plugin interface"):
        read_module(inspect_files(tmp_path), architecture_of(qwen.config))
    (tmp_path / "adapter_interface.json").unlink()
    with pytest.raises(ConversionError, match="has no model class for `qwen2`"):
        read_module(inspect_files(tmp_path), architecture_of(qwen.config))
