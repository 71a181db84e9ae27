"""Modules of the real `adapters` on tiny models of every family that it has, and their way to planted students."""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

from modxfer.alignments.layer_maps import layer_map
from modxfer.architectures import FAMILIES, Architecture
from modxfer.converters.convert import convert_module
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.formats.classes import in_adapters
from modxfer.converters.module import BaseReference, Module
from tests.builders import load_adapters_module, randomise
from tests.planting import Planted, architecture_of, assert_differ, assert_same, inputs, plant, run, tiny

_ONE_WIDTH = {"hidden_size": 32}
"""Heads whose width is hidden size / heads: `adapters` takes no other for prefixes."""

FAMILY_CHANGES: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {},
    "llama": _ONE_WIDTH,
    "mistral": _ONE_WIDTH,
    "deberta-v2": {},
    "t5": {},
    "mt5": {},
    "bart": {},
    "mbart": {},
    "vit": {},
    "clip": {},
    "clip_vision_model": {},
    "clip_text_model": {},
}
"""`model_type` to other keys of the tiny config."""

EVERYWHERE = {"mh_adapter": True, "output_adapter": True, "cross_adapter": True}
SMALL: Mapping[str, Any] = {"reduction_factor": 4, "non_linearity": "relu"}
_PREFIX = ("PrefixTuningConfig", {"prefix_length": 4, "bottleneck_size": 5, "use_gating": True})

METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "seq_bn": ("SeqBnConfig", {"reduction_factor": 4}),
    "seq_bn, post_add": ("SeqBnConfig", {"reduction_factor": 4, "residual_before_ln": "post_add"}),
    "seq_bn_inv": ("SeqBnInvConfig", {"reduction_factor": 4}),
    "double_seq_bn": ("BnConfig", {**EVERYWHERE, **SMALL}),
    "par_bn": ("ParBnConfig", {"reduction_factor": 4}),
    "by layer": (
        "BnConfig",
        {**EVERYWHERE, **SMALL, "reduction_factor": {"0": 4, "3": 6, "default": 3}, "leave_out": [1], "scaling": "learned"},
    ),
    "compacter": ("CompacterConfig", {"reduction_factor": 4, "phm_dim": 2}),
    "lora, gated": ("LoRAConfig", {"r": 3, "alpha": 7, "use_gating": True}),
    "lora, query and value": ("LoRAConfig", {"r": 3, "alpha": 7}),
    "lora, everywhere": (
        "LoRAConfig",
        {"r": 3, "alpha": 7, "attn_matrices": ["q", "k", "v"], "intermediate_lora": True, "output_lora": True},
    ),
    "dora": ("LoRAConfig", {"r": 3, "alpha": 7, "use_dora": True}),
    "vera": ("VeraConfig", {"r": 3}),
    "ia3": ("IA3Config", {}),
    "prefix": _PREFIX,
    "prefix, flat": ("PrefixTuningConfig", {"prefix_length": 4, "flat": True}),
    "prompt": ("PromptTuningConfig", {"prompt_length": 4}),
    "loreft": ("LoReftConfig", {}),
    "mam": ("ConfigUnion", {"": (_PREFIX, ("ParBnConfig", {"reduction_factor": 4}))}),
    "unipelt": (
        "ConfigUnion",
        {
            "": (
                _PREFIX,
                ("LoRAConfig", {"r": 3, "use_gating": True}),
                ("SeqBnConfig", {"reduction_factor": 4, "use_gating": True}),
            )
        },
    ),
}
"""Method to the class of its config in `adapters` and what it is given; a union is given others."""

ROUNDING = 2e-4
"""T5 computes its softmax in float32, whatever the precision of the model."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A teacher in `adapters` and its planted student."""

    teacher: Any
    base: Architecture
    planted: Planted
    given: Mapping[str, Any]
    plain: Mapping[str, torch.Tensor]


def model_of(family: str, **changes: Any) -> Any:
    """Make the model class of `adapters` for a family, all parameters random; CLIP's single towers have none of their own."""
    import adapters

    torch.manual_seed(0)
    config = tiny(family, **{**FAMILY_CHANGES.get(family, {}), **changes})
    if FAMILIES[family].adapters_class or not FAMILIES[family].in_adapters:
        model = transformers.AutoModel.from_config(config)
        adapters.init(model)
    else:
        model = adapters.AutoAdapterModel.from_config(config)
    randomise(model.parameters())
    return model.double().eval()


def task_model_of(name: str, **changes: Any) -> Any:
    """Make a class of `transformers` with `adapters` in it, all parameters random."""
    import adapters

    torch.manual_seed(0)
    made = getattr(transformers, name)
    family = made.config_class.model_type
    model = made(tiny(family, architectures=[name], **{**FAMILY_CHANGES[family], **changes}))
    adapters.init(model)
    randomise(model.parameters())
    return model.double().eval()


@cache
def pair_of(family: str, *, blocks: int = 1) -> Pair:
    """Plant a student once for all modules of a family; the halves of its units stay apart where there are two blocks."""
    return planted_pair(model_of(family), blocks=blocks)


def planted_pair(teacher: Any, *, blocks: int = 1) -> Pair:
    """Plant a student of a model."""
    config = teacher.config
    base = architecture_of(config)
    planted = plant(teacher, in_adapters(base), blocks=blocks)
    given = inputs(config)
    if hasattr(config, "text_config"):
        given |= inputs(config.text_config)
    if teacher.__class__.__name__.endswith("EncoderModel"):
        given.pop("decoder_input_ids", None)
    plain = run(teacher, given)
    assert_same(run(planted.student, given), planted.as_student(plain), tolerance=ROUNDING)
    return Pair(teacher=teacher, base=base, planted=planted, given=given, plain=plain)


def config_of(method: str) -> Any:
    """Make the config of a method."""
    return _made(METHODS[method])


def _made(spec: Any) -> Any:
    import adapters

    name, values = spec
    return getattr(adapters, name)(*[_made(each) for each in values[""]]) if "" in values else getattr(adapters, name)(**values)


def make_module(model: Any, config: Any, folder: Path, *, head: str | None = None) -> Any:
    """Let `adapters` put a random module (and a head) on a model and save it; gives the model."""
    model.add_adapter("mine", config=config)
    if head is not None:
        getattr(model, f"add_{head}_head")("mine")
    own = {name: value for name, value in model.named_parameters(remove_duplicate=False) if ".mine." in f"{name}."}
    randomise({id(value): value for value in own.values()}.values(), seed=1)
    in_one_place = len({id(value) for value in own.values()}) == len(own)  # safetensors does not store a tensor twice
    model.double().eval().save_adapter(str(folder), "mine", use_safetensors=in_one_place)
    model.set_active_adapters("mine")
    return model


@contextlib.contextmanager
def borrowed(model: Any) -> Iterator[Any]:
    """Take what was put on a model off again."""
    try:
        yield model
    finally:
        model.set_active_adapters(None)
        for name in list(getattr(model, "heads", {})):
            model.delete_head(name)
        model.delete_adapter("mine")


def convert(module: Module, pair: Pair, folder: Path) -> tuple[str, ...]:
    """Convert a module through the planted map and write it; gives what is not exact."""
    depths = pair.base.depths
    layers = layer_map("skip", teacher=depths, student=depths)
    made = convert_module(module, teacher=pair.base, student=pair.base, layers=layers, alignment=pair.planted.alignment)
    assert made.dropped == ()
    assert made.tensors == sum(len(piece.parts) for piece in module.pieces.values())
    folder.mkdir()
    reference = BaseReference(name="student", model_type=pair.base.model_type)
    write_module(replace(made.module, base=reference), pair.base, folder)
    return made.approximated


def check(
    pair: Pair, config: Any, folder: Path, *, head: str | None = None, given: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Move a module to the student, and hold its outputs against the teacher's; gives what is not exact."""
    given = pair.given if given is None else given
    with borrowed(pair.teacher) as teacher:
        expected = run(make_module(teacher, config, folder / "made", head=head), given)
    approximated = convert(read_module(inspect_files(folder / "made"), pair.base), pair, folder / "converted")
    with borrowed(pair.planted.student) as student:
        found = run(load_adapters_module(folder / "converted", student).double(), given)
    assert_same(found, pair.planted.as_student(expected), tolerance=ROUNDING)
    without = pair.planted.as_student(pair.plain)
    if head is None and all(found[key].shape == value.shape for key, value in without.items()):  # a prompt adds positions
        assert_differ(found, without)
    return approximated


def check_fusion(pair: Pair, folder: Path) -> None:
    """Move two bottlenecks and the layers that fuse them, and hold the student's outputs against the teacher's."""
    from adapters.composition import Fuse

    teacher, student = copy.deepcopy(pair.teacher), copy.deepcopy(pair.planted.student)
    for name in ("a", "b"):
        teacher.add_adapter(name, config=config_of("seq_bn"))
    teacher.add_adapter_fusion(["a", "b"])
    own = (".a.", ".b.", ".adapter_fusion_layer.")
    randomise([value for name, value in teacher.named_parameters() if any(part in name for part in own)], seed=3)
    for name in ("a", "b"):
        teacher.save_adapter(str(folder / name), name, use_safetensors=True)
        convert(read_module(inspect_files(folder / name), pair.base), pair, folder / f"{name} converted")
        student.load_adapter(str(folder / f"{name} converted"), use_safetensors=True)
    teacher.save_adapter_fusion(str(folder / "both"), "a,b", use_safetensors=True)
    assert convert(read_module(inspect_files(folder / "both"), pair.base), pair, folder / "both converted") == ()
    student.load_adapter_fusion(str(folder / "both converted"), use_safetensors=True)
    for model in (teacher, student):
        model.double().eval().set_active_adapters(Fuse("a", "b"))
    found = run(student, pair.given)
    assert_same(found, pair.planted.as_student(run(teacher, pair.given)), tolerance=ROUNDING)
    assert_differ(found, pair.planted.as_student(pair.plain))
