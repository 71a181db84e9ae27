"""The support table: every cell that says it works does, on models and modules that the real libraries make.

`make cells` runs all of them, in both worlds; `make test` one family of each method, and one method of each family.
"""

import copy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from modxfer.alignments.layer_maps import layer_map
from modxfer.architectures import FAMILIES
from modxfer.converters.convert import convert_module
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.lora_conversion import convert_to_lora, is_convertible
from modxfer.converters.module import BaseReference, Module
from modxfer.converters.support import Cell, Verdict, support
from modxfer.converters.support_page import markdown
from modxfer.converters.support_samples import LIMITS, SAMPLES
from modxfer.errors import UsageError
from tests import planted_adapters
from tests.builders import warnings_fail
from tests.differences import apply, fine_tune
from tests.planting import run
from tests.support_modules import Pair, make_sample, pair_of, parameters_of

CELLS = {f"{cell.family}, {cell.sample.method}, {cell.sample.format}": cell for cell in support()}
WORKING = {name: cell for name, cell in CELLS.items() if cell.verdict is not Verdict.REFUSED}
PEFT = {name: cell for name, cell in WORKING.items() if cell.sample.format == "peft"}
DIFFERENCES = {name: cell for name, cell in WORKING.items() if cell.sample.format == "diff"}
ADAPTERS = {name: cell for name, cell in WORKING.items() if cell.sample.format == "adapters"}
SMALL: dict[str, dict[str, Any]] = {
    "double_seq_bn": {"reduction_factor": 4},
    "scaled_par_bn": {"reduction_factor": 4},
    "compacter++": {"reduction_factor": 4, "phm_dim": 2},
    "lora": {"r": 3, "alpha": 7},
    "prefix_tuning": {"prefix_length": 4, "bottleneck_size": 5},
    "prompt_tuning": {"prompt_length": 4},
}
"""Name of a config of `adapters` to options that keep its modules tiny."""

FULL_RANK = 64
"""A rank at which a LoRA says every update of the tiny models."""

TOLERANCE = {Verdict.EXACT: 1e-4, Verdict.APPROXIMATE: 5e-3}
"""Relative to the largest output: models and modules are float32, and what `peft` multiplies out is rounded several times."""


def _few(cells: dict[str, Cell]) -> list[str]:
    """Choose a cell of each method and one of each family."""
    chosen: dict[str, None] = {}
    for index, method in enumerate(dict.fromkeys(cell.sample.method for cell in cells.values())):
        names = [name for name, cell in cells.items() if cell.sample.method == method]
        chosen[names[index * 7 % len(names)]] = None
    for family in dict.fromkeys(cell.family for cell in cells.values()):
        if not any(cells[name].family == family for name in chosen):
            chosen[next(name for name, cell in cells.items() if cell.family == family)] = None
    return list(chosen)


def cells_of(cells: dict[str, Cell]) -> list[Any]:
    """List cells as parameters, most of them for `make cells` only."""
    few = set(_few(cells))
    return [pytest.param(name, marks=() if name in few else pytest.mark.cells, id=name) for name in cells]


def read(folder: Path, pair: Pair) -> Module:
    """Read a module; of a method that `peft` makes a LoRA of, that LoRA."""
    files = inspect_files(folder)
    if is_convertible(files):
        return convert_to_lora(files, pair.base, weights=pair.folder, rank=FULL_RANK).module
    return read_module(files, pair.base)


def move(module: Module, pair: Pair, folder: Path) -> None:
    """Convert a module through the planted map, and write it."""
    conversion = convert_module(
        module,
        teacher=pair.base,
        student=pair.base,
        layers=layer_map("skip", teacher=pair.base.depths, student=pair.base.depths),
        alignment=pair.planted.alignment,
    )
    assert conversion.dropped == ()
    reference = BaseReference(name="student", model_type=pair.base.model_type, hidden_size=pair.base.dimensions["hidden"])
    folder.mkdir()
    write_module(replace(conversion.module, base=reference), pair.base, folder)


def load_peft(folder: Path, student: Any) -> Any:
    """Let `peft` load a module; a warning, as of a missing key, fails."""
    import peft

    said = ("Unsupported layer type", "`lora_bias=True` was passed", "Model has `tie_word_embeddings=True`")
    with warnings_fail(*said):  # said when it was made, too, and true
        return peft.PeftModel.from_pretrained(copy.deepcopy(student), str(folder)).eval()


def check_outputs(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], *, tolerance: float) -> None:
    """Hold outputs against each other, relative to the largest."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert (found[key] - value).abs().max() <= tolerance * value.abs().max(), key


@pytest.mark.parametrize("name", cells_of(PEFT))
def test_peft_cell_works(name: str, tmp_path: Path) -> None:
    """A module that `peft` makes on the teacher, moved and loaded by `peft` on the permuted student, gives the same outputs."""
    cell, pair = PEFT[name], pair_of(PEFT[name].family)
    made = make_sample(cell.sample, pair, tmp_path / "teacher")
    expected = pair.planted.as_student(run(made, pair.given))
    plain = pair.planted.as_student(run(pair.teacher, pair.given))
    move(read(tmp_path / "teacher", pair), pair, tmp_path / "student")
    found = run(load_peft(tmp_path / "student", pair.planted.student), pair.given)
    check_outputs(found, expected, tolerance=TOLERANCE[cell.verdict])
    same_shape = [key for key, value in plain.items() if value.shape == expected[key].shape]
    assert not same_shape or any((expected[key] - plain[key]).abs().max() > 1e-2 for key in same_shape)


@pytest.fixture
def in_float64() -> Iterator[None]:
    """`adapters` makes what it adds in torch's own precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.adapters
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("name", cells_of(ADAPTERS))
def test_adapters_cell_works(name: str, tmp_path: Path) -> None:
    """A module that `adapters` makes on the teacher, moved and loaded by it on the permuted student, gives the same outputs."""
    import adapters

    cell = ADAPTERS[name]
    named = str(cell.sample.config["config"])
    pair = planted_adapters.pair_of(cell.family, blocks=2 if named.endswith("_inv") else 1)
    if cell.sample.method == "AdapterFusion":
        planted_adapters.check_fusion(pair, tmp_path)
        return
    known = planted_adapters.METHODS
    config = planted_adapters.config_of(named) if named in known else adapters.AdapterConfig.load(named, **SMALL.get(named, {}))
    planted_adapters.check(pair, config, tmp_path)


@pytest.mark.parametrize("name", cells_of(DIFFERENCES))
def test_difference_cell_works(name: str, tmp_path: Path) -> None:
    """What fine-tuning added to the teacher, moved and added to the permuted student, gives the same outputs."""
    cell, pair = DIFFERENCES[name], pair_of(DIFFERENCES[name].family)
    trained = copy.deepcopy(pair.teacher)
    chosen = parameters_of(cell.sample, pair)
    fine_tune(trained, tmp_path / "teacher", trained=lambda parameter: parameter in chosen)
    expected = pair.planted.as_student(run(trained, pair.given))
    move(read(tmp_path / "teacher", pair), pair, tmp_path / "student")
    student = copy.deepcopy(pair.planted.student)
    plain = run(student, pair.given)
    apply(tmp_path / "student", student)
    check_outputs(run(student, pair.given), expected, tolerance=TOLERANCE[cell.verdict])
    assert any((expected[key] - plain[key]).abs().max() > 1e-2 for key in plain)


def test_every_cell_is_decided() -> None:
    """Each family has a cell of each method in each format, and none is refused without a reason."""
    assert len(CELLS) == len(FAMILIES) * len(SAMPLES)
    assert [name for name, cell in CELLS.items() if cell.verdict is not Verdict.EXACT and not cell.why] == []


def test_table_names_every_method_of_peft() -> None:
    """A method that a new `peft` brings has no cell until somebody decides: this fails then."""
    import peft

    named = {str(sample.config["peft_type"]) for sample in SAMPLES if sample.format == "peft"}
    assert {kind.value for kind in peft.PeftType} <= named


def test_limits_are_of_methods_and_families_in_the_table() -> None:
    """What the libraries cannot do is said of cells that there are."""
    methods = {sample.method for sample in SAMPLES}
    assert all(limit.methods <= methods and limit.families <= set(FAMILIES) for limit in LIMITS)


def test_page_is_the_table() -> None:
    """The page in docs is what the table says now."""
    assert (Path(__file__).parents[1] / "docs" / "support.md").read_text(encoding="utf-8") == markdown()


def test_support_can_be_asked_in_part() -> None:
    """By family, by a part of a method's name and by format; what is not there is named, with what is."""
    assert {(cell.family, cell.sample.method) for cell in support(family="llama", method="dora", format="peft")} == {
        ("llama", "DoRA")
    }
    with pytest.raises(UsageError, match=r"no family `lamma`.*Use one of .*llama"):
        support(family="lamma")
    with pytest.raises(UsageError, match=r"no method `lorra` in the format `peft`.*Use one of `LoRA`, `rsLoRA`"):
        support(method="lorra", format="peft")
    with pytest.raises(UsageError, match=r"no format `pt`.*adapters, diff, peft"):
        support(format="pt")


def test_support_loads_no_library() -> None:
    """What can be moved is said without loading what runs models."""
    code = (
        "import sys; from modxfer.converters.support_page import markdown; markdown();"
        "sys.exit(', '.join({'torch', 'transformers', 'peft', 'adapters'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""
