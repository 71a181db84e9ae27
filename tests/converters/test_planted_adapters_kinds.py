"""Ground truth for every kind of `adapters` module: on a student that is its teacher with units permuted, it computes the same.

Modules are made by the real `adapters` on the teacher, and loaded by it on the student.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modxfer.alignments.alignment_map import AlignmentMap, SiteMap
from modxfer.alignments.layer_maps import layer_map
from modxfer.architectures import Architecture
from modxfer.converters.convert import Conversion, convert_module
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.module import BaseReference, Module
from modxfer.errors import ConversionError
from tests.builders import randomise
from tests.planting import Planted, architecture_of, assert_differ, assert_same, inputs, make, plant, run, tiny

pytestmark = pytest.mark.adapters

HALVES = 2


def union(*configs: str) -> Callable[[], Any]:
    """Describe a module of several kinds."""

    def build() -> Any:
        import adapters

        return adapters.ConfigUnion(*(adapters.AdapterConfig.load(config) for config in configs))

    return build


CASES: dict[str, str | Callable[[], Any]] = {
    "bottleneck": "double_seq_bn[reduction_factor=4]",
    "adapter+": (
        "seq_bn[reduction_factor=4,original_ln_after=False,residual_before_ln=False,scaling='channel',init_weights='houlsby']"
    ),
    "compacter": "compacter[reduction_factor=3,phm_dim=2]",
    "compacter, all factors": "compacter[reduction_factor=3,phm_dim=4,phm_rank=2,factorized_phm_rule=True,shared_W_phm=True]",
    "compacter, nothing shared": (
        "compacter++[reduction_factor=3,phm_dim=2,shared_phm_rule=False,factorized_phm_W=False,phm_bias=False,"
        "ln_before=True,use_gating=True,scaling='learned',learn_phm=False]"
    ),
    "lora": "lora[r=3,alpha=7,attn_matrices=['q','k'],leave_out=[1],output_lora=True]",
    "gated lora": "lora[r=3,alpha=7,use_gating=True,intermediate_lora=True]",
    "dora": "dora[r=3,alpha=7,output_lora=True]",
    "gated dora": "dora[r=3,alpha=7,use_gating=True]",
    "vera": "vera[r=3,alpha=7]",
    "dvora": "dvora[r=3,alpha=7,attn_matrices=['k']]",
    "ia3": "ia3[alpha=3]",
    "gated ia3": "ia3[alpha=3,use_gating=True,output_lora=True]",
    "prefix": "prefix_tuning[prefix_length=5,bottleneck_size=6]",
    "prefix, one gate": "prefix_tuning[prefix_length=5,bottleneck_size=6,non_linearity='relu',use_gating=True]",
    "flat prefix, two gates": "prefix_tuning_flat[prefix_length=5,use_gating=True,shared_gating=False,leave_out=[0]]",
    "prompt": "prompt_tuning[prompt_length=4]",
    "prompt behind the first token": "prompt_tuning[prompt_length=4,combine='prefix_after_bos']",
    "loreft": "loreft[r=3,suffix_positions=2]",
    "noreft": "noreft[r=3,tied_weights=True,suffix_positions=1,non_linearity='relu',layers=[1]]",
    "mam": union("prefix_tuning[prefix_length=5,bottleneck_size=6]", "par_bn[reduction_factor=4]"),
    "unipelt": union(
        "prefix_tuning[prefix_length=5,bottleneck_size=6,use_gating=True]",
        "seq_bn[reduction_factor=4,use_gating=True]",
        "lora[r=3,alpha=2,use_gating=True]",
    ),
    "two bottlenecks": union(
        "double_seq_bn[reduction_factor=4,output_adapter=False]",
        "par_bn[reduction_factor=6]",
        "prompt_tuning[prompt_length=3]",
        "noreft[r=2,suffix_positions=1]",
    ),
}
"""Name to config; the options are no default wherever one may go wrong unseen."""

ELSEWHERE = {
    "distilbert": ("compacter", "dora", "ia3", "prefix, one gate", "prompt", "loreft", "unipelt"),
    "electra": ("prompt", "flat prefix, two gates", "two bottlenecks"),
}
"""Kinds that meet something of their own in another family."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A teacher, a student that is the teacher permuted, and their structure."""

    teacher: Any
    planted: Planted
    base: Architecture
    given: dict[str, Any]


@cache
def pair(family: str, blocks: int = 1) -> Pair:
    """Plant a family once; teacher and student must agree before any module is there."""
    teacher = make(tiny(family))
    base = architecture_of(teacher.config)
    planted = plant(teacher, base, blocks=blocks)
    given = inputs(teacher.config)
    assert_same(run(planted.student, given), planted.as_student(run(teacher, given)))
    return Pair(teacher=teacher, planted=planted, base=base, given=given)


def with_adapters(model: Any) -> Any:
    """Make the model of `adapters` that has a base model's weights."""
    import adapters

    made = adapters.AutoAdapterModel.from_config(copy.deepcopy(model.config))
    made.base_model.load_state_dict(model.state_dict(), strict=False)
    return made.double().eval()


def make_module(folder: Path, model: Any, config: Any, *, name: str = "mine", seed: int = 1) -> Any:
    """Put a module on a model, nothing in it zero, and save it."""
    model.add_adapter(name, config=config)
    own = [(key, parameter) for key, parameter in model.named_parameters() if f".{name}." in key]
    randomise((parameter for _, parameter in own), seed=seed)
    for key, parameter in own:
        if key.endswith("parametrizations.weight.original"):  # torch knows -1 and 1 only on its diagonal
            with torch.no_grad():
                parameter.fill_diagonal_(-1.0)
                parameter[1, 1] = 1.0
    folder.mkdir(parents=True)
    model.save_adapter(str(folder), name, use_safetensors=False)  # prefixes are stored under several keys
    model.set_active_adapters(name)
    return model.double().eval()


def load_module(folder: Path, model: Any) -> Any:
    """Load a module; a missing or unexpected tensor fails."""
    info: dict[str, list[str]] = {}
    name = model.load_adapter(str(folder), loading_info=info, use_safetensors=True)
    assert info == {"missing_keys": [], "unexpected_keys": []}
    model.set_active_adapters(name)
    return model.double().eval()


def convert(module: Module, found: Pair, alignment: AlignmentMap | None = None) -> Conversion:
    """Convert a module with the planted map, or with another one."""
    return convert_module(
        module,
        teacher=found.base,
        student=found.base,
        layers=layer_map("skip", teacher=found.base.depths, student=found.base.depths),
        alignment=alignment or found.planted.alignment,
    )


def write(module: Module, found: Pair, folder: Path) -> Path:
    """Write a converted module."""
    folder.mkdir()
    base = BaseReference(name="student", model_type=found.base.model_type, hidden_size=found.base.dimensions["hidden"])
    write_module(replace(module, base=base), found.base, folder)
    return folder


def moved(found: Pair, config: Any, folder: Path, *, name: str = "mine", seed: int = 1) -> tuple[Any, Path]:
    """Make a module on the teacher and convert it: gives the teacher with it, and the converted module's folder."""
    teacher = make_module(folder / "made", with_adapters(found.teacher), config, name=name, seed=seed)
    conversion = convert(read_module(inspect_files(folder / "made"), found.base), found)
    assert conversion.dropped == ()
    assert all("stands for the norms" in sentence for sentence in conversion.approximated)  # DoRA; here they are the same
    return teacher, write(conversion.module, found, folder / "written")


def check(found: Pair, config: Any, folder: Path) -> None:
    """Hold a converted module's outputs on the student against the teacher's."""
    teacher, written = moved(found, config, folder)
    student = load_module(written, with_adapters(found.planted.student))
    mine, expected = run(student, found.given), found.planted.as_student(run(teacher, found.given))
    assert_same(mine, expected)
    student.set_active_adapters(None)
    bare = run(student, found.given)
    if mine["last_hidden_state"].shape == bare["last_hidden_state"].shape:  # a prompt adds positions
        assert_differ(mine, bare)


@pytest.mark.parametrize("case", CASES)
def test_a_module_computes_the_same_on_the_student(case: str, tmp_path: Path) -> None:
    """Every kind gives the teacher's outputs on the student, and changes them."""
    config = CASES[case]
    check(pair("bert"), config() if callable(config) else config, tmp_path)


@pytest.mark.parametrize(("family", "case"), [(family, case) for family, cases in ELSEWHERE.items() for case in cases])
def test_a_module_computes_the_same_in_other_families(family: str, case: str, tmp_path: Path) -> None:
    """Kinds that hang elsewhere in a family, or at another width, give the teacher's outputs there too."""
    config = CASES[case]
    check(pair(family), config() if callable(config) else config, tmp_path)


@pytest.mark.parametrize("said", [{}, {"subtract_projection": False}])
def test_a_direft_is_to_adapters_what_the_teachers_file_is(said: dict[str, bool], tmp_path: Path) -> None:
    """`adapters` neither saves nor loads what tells a DiReFT from a NoReFT; a config that says it goes on saying it."""
    found = pair("bert")
    make_module(tmp_path / "made", with_adapters(found.teacher), "direft[r=3,suffix_positions=2]")
    path = tmp_path / "made" / "adapter_config.json"
    config = json.loads(path.read_text())
    assert "subtract_projection" not in config["config"]
    path.write_text(json.dumps({**config, "config": {**config["config"], **said}}))
    conversion = convert(read_module(inspect_files(tmp_path / "made"), found.base), found)
    written = write(conversion.module, found, tmp_path / "written")
    assert said.items() <= json.loads((written / "adapter_config.json").read_text())["config"].items()
    teacher = load_module(tmp_path / "made", with_adapters(found.teacher))
    student = load_module(written, with_adapters(found.planted.student))
    assert_same(run(student, found.given), found.planted.as_student(run(teacher, found.given)))


@pytest.mark.parametrize("family", ["bert", "electra", "distilbert"])
def test_a_mad_x_stack_computes_the_same_where_the_halves_stay_apart(family: str, tmp_path: Path) -> None:
    """A language adapter with its invertible half and a task adapter, converted one by one, stack on the student as before."""
    import adapters.composition

    found = pair(family, HALVES)
    teacher, student = with_adapters(found.teacher), with_adapters(found.planted.student)
    for name, config in (("language", "seq_bn_inv[reduction_factor=4]"), ("task", "seq_bn[reduction_factor=6]")):
        folder = tmp_path / name
        make_module(folder / "made", teacher, config, name=name, seed=len(name))
        conversion = convert(read_module(inspect_files(folder / "made"), found.base), found)
        assert (conversion.dropped, conversion.approximated) == ((), ())
        load_module(write(conversion.module, found, folder / "written"), student)
    outputs = {}
    for names in (("language",), ("task",), ("language", "task")):
        for model in (teacher, student):
            model.set_active_adapters(adapters.composition.Stack(*names))
        outputs[names] = run(student, found.given)
        assert_same(outputs[names], found.planted.as_student(run(teacher, found.given)))
    assert_differ(outputs["language",], outputs["language", "task"])
    assert_differ(outputs["task",], outputs["language", "task"])


def test_an_invertible_adapter_is_refused_where_the_halves_mix(tmp_path: Path) -> None:
    """A map that serves units of one half by units of the other has no invertible adapter, and the refusal says how many."""
    found = pair("bert")
    make_module(tmp_path / "made", with_adapters(found.teacher), "seq_bn_inv[reduction_factor=4]")
    with pytest.raises(ConversionError, match=r"`first.down.weight` needs blocks .* student's 12 units"):
        convert(read_module(inspect_files(tmp_path / "made"), found.base), found)


def dense(alignment: AlignmentMap) -> AlignmentMap:
    """Say an alignment map's assignments as matrices."""
    maps = {}
    for sites, site_map in alignment.maps.items():
        assert site_map.assignment is not None
        size = len(site_map.assignment)
        writing = np.eye(size, dtype=np.float32)[site_map.assignment]
        covariance = np.eye(size, dtype=np.float32)
        maps[sites] = SiteMap(
            correlation=site_map.correlation,
            reading=np.ascontiguousarray(writing.T),
            writing=writing,
            teacher_covariance=covariance,
            student_covariance=covariance,
            teacher_size=1.0,
            student_size=1.0,
        )
    return replace(alignment, maps=maps)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("loreft[r=3]", r"`encoder.0..*reft_first` `projection` reads and writes with one matrix"),
        ("seq_bn_inv[reduction_factor=4]", r"coupling` `first.down.weight` keeps two halves of units"),
    ],
)
def test_what_a_dense_map_would_break_is_refused(config: str, said: str, tmp_path: Path) -> None:
    """A tensor that means the same only under a one-to-one map is not moved through a matrix."""
    found = pair("bert", HALVES)
    make_module(tmp_path / "made", with_adapters(found.teacher), config)
    module = read_module(inspect_files(tmp_path / "made"), found.base)
    convert(module, found)
    with pytest.raises(ConversionError, match=said):
        convert(module, found, dense(found.planted.alignment))


@pytest.mark.parametrize("case", ["compacter", "gated lora", "gated ia3", "flat prefix, two gates", "prompt", "mam"])
def test_a_dense_map_that_is_a_permutation_gives_the_same(case: str, tmp_path: Path) -> None:
    """What can be moved through matrices is the same as through the assignments that they state."""
    found, config = pair("bert"), CASES[case]
    make_module(tmp_path / "made", with_adapters(found.teacher), config() if callable(config) else config)
    module = read_module(inspect_files(tmp_path / "made"), found.base)
    one, other = (convert(module, found, alignment) for alignment in (None, dense(found.planted.alignment)))
    assert one.approximated == ()
    assert other.approximated != ()
    for place, piece in one.module.pieces.items():
        for part, tensor in piece.parts.items():
            np.testing.assert_allclose(other.module.pieces[place].parts[part], tensor, rtol=1e-6, atol=1e-7)
