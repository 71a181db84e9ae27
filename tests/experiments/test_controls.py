"""Controls: exactly what is said to be random is random, and the rest is the transfer's bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modxfer import api
from modxfer.converters.formats import inspect_files, read_module
from modxfer.converters.module import Module
from modxfer.errors import TrainingError
from modxfer.experiments.controls import (
    head_only,
    random_assignment,
    random_norm,
    write_head_only,
    write_random_gather,
    write_random_norm,
)
from modxfer.paths import home
from modxfer.registry.locate import LocatedBase, locate_base
from modxfer.registry.store import Store
from tests.builders import make_peft_module, tiny_model

RANK = 3


def _base(folder: Path) -> LocatedBase:
    return locate_base(str(folder), memory=Store(home()).hashes)


def _tensors(module: Module, *, head: bool) -> dict[str, Any]:
    return {
        f"{place} {part}": tensor
        for place, piece in module.pieces.items()
        if place.is_head is head
        for part, tensor in piece.parts.items()
    }


@pytest.fixture
def teacher_module(world: Path, tmp_path: Path) -> Path:
    """Write a LoRA with a head on the world's teacher."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(str(world / "teacher"), num_labels=3)
    model = tiny_model(config, task="TOKEN_CLS")
    make_peft_module(tmp_path / "module", model, r=RANK, task_type="TOKEN_CLS")
    return tmp_path / "module"


@pytest.fixture
def converted(world: Path, teacher_module: Path, tmp_path: Path) -> api.Converted:
    """Convert it to the world's student."""
    choice = api.AlignmentChoice(aligner="lsa", corpus=str(world / "data" / "train.conllu"), tokens=200)
    output = tmp_path / "converted"
    teacher, student = str(world / "teacher"), str(world / "student")
    return api.convert(str(teacher_module), to=student, teacher=teacher, align=choice, output=output)


def _written(folder: Path, base: LocatedBase) -> Module:
    return read_module(inspect_files(folder), base.architecture)


def test_random_norm_keeps_norms_and_head_and_nothing_else(world: Path, converted: api.Converted, tmp_path: Path) -> None:
    """Each tensor has the norm of the converted one, none of its values; the head is the converted one's, bit for bit."""
    student = _base(world / "student")
    write_random_norm(converted, str(world / "student"), tmp_path / "a", seed=1)
    write_random_norm(converted, str(world / "student"), tmp_path / "b", seed=1)
    write_random_norm(converted, str(world / "student"), tmp_path / "c", seed=2)
    assert converted.output is not None
    before, noise, again, other = (
        _tensors(_written(folder, student), head=False)
        for folder in (converted.output, tmp_path / "a", tmp_path / "b", tmp_path / "c")
    )
    assert noise.keys() == before.keys()
    for name, tensor in before.items():
        np.testing.assert_allclose(np.linalg.norm(noise[name]), np.linalg.norm(tensor), rtol=1e-6)  # float32 rounding
        assert abs(np.corrcoef(noise[name].ravel(), tensor.ravel())[0, 1]) < 0.9
        np.testing.assert_array_equal(noise[name], again[name])
        assert not np.array_equal(noise[name], other[name])
    heads = _tensors(_written(tmp_path / "a", student), head=True)
    for name, tensor in _tensors(_written(converted.output, student), head=True).items():
        np.testing.assert_array_equal(heads[name], tensor)
    assert len(heads) == 2


def test_random_norm_leaves_zeros_and_dtypes(world: Path, converted: api.Converted) -> None:
    """A tensor of zeros has norm 0 and stays so; a tensor's precision stays its own."""
    from dataclasses import replace

    assert converted.output is not None
    module = _written(converted.output, _base(world / "student"))
    pieces = {
        place: replace(piece, parts={part: (tensor * 0).astype(np.float16) for part, tensor in piece.parts.items()})
        for place, piece in module.pieces.items()
    }
    for tensor in _tensors(random_norm(replace(module, pieces=pieces), seed=0), head=False).values():
        assert tensor.dtype == np.float16
        assert not tensor.any()


@pytest.mark.parametrize(("student", "teacher"), [(5, 9), (9, 9), (9, 4), (1, 1)])
def test_random_assignment_repeats_no_unit_before_all_are_used(student: int, teacher: int) -> None:
    """Every teacher unit serves as often as every other, give or take one."""
    found = random_assignment(student, teacher, np.random.default_rng(0))
    assert found.shape == (student,)
    counts = np.bincount(found, minlength=teacher)
    assert counts.max() - counts.min() <= 1
    assert len(counts) == teacher


def test_random_gather_takes_the_teachers_units_at_random(world: Path, teacher_module: Path, tmp_path: Path) -> None:
    """Each student layer's columns and rows are columns and rows of the teacher's layer of SKIP, none twice; by seed."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / f"work-{name}").mkdir()
        write_random_gather(
            str(teacher_module),
            model=str(world / "student"),
            teacher=str(world / "teacher"),
            layers="skip",
            work=tmp_path / f"work-{name}",
            target=tmp_path / name,
            seed=seed,
        )
    teacher, student = _base(world / "teacher"), _base(world / "student")
    before = {str(place): piece for place, piece in _written(teacher_module, teacher).pieces.items()}
    gathered = _written(tmp_path / "a", student)
    assert len(gathered.pieces) == 2 * 2 + 1
    for place, piece in gathered.pieces.items():
        if place.is_head:
            continue
        source = before[str(place).replace(f".{place.layer}.", f".{2 * place.layer}.")]
        assert piece.scaling == source.scaling
        for part, ours, theirs in (
            ("down", piece.parts["down"].T, source.parts["down"].T),
            ("up", piece.parts["up"], source.parts["up"]),
        ):
            places = [[np.array_equal(row, other) for other in theirs].index(True) for row in ours]
            assert len(set(places)) == len(ours), f"{place} {part}"
            assert places != sorted(places)
    same, other = (
        _tensors(_written(tmp_path / "b", student), head=False),
        _tensors(_written(tmp_path / "c", student), head=False),
    )
    for name, tensor in _tensors(gathered, head=False).items():
        np.testing.assert_array_equal(tensor, same[name])
        assert not np.array_equal(tensor, other[name])


def test_head_only_is_a_new_module_with_the_moved_head(world: Path, converted: api.Converted, tmp_path: Path) -> None:
    """LoRA's up factors are zero as in any new one, the head is the transfer's bit for bit."""
    (tmp_path / "work").mkdir()
    write_head_only(
        converted,
        model=str(world / "student"),
        task="ner",
        method="lora",
        options={"rank": RANK},
        work=tmp_path / "work",
        target=tmp_path / "control",
        seed=3,
    )
    student = _base(world / "student")
    assert converted.output is not None
    moved, control = _written(converted.output, student), _written(tmp_path / "control", student)
    heads = _tensors(moved, head=True)
    assert heads.keys() == _tensors(control, head=True).keys()
    for name, tensor in _tensors(control, head=True).items():
        np.testing.assert_array_equal(tensor, heads[name])
    body = _tensors(control, head=False)
    assert body.keys() == _tensors(moved, head=False).keys()
    assert not any(tensor.any() for name, tensor in body.items() if name.endswith("up"))
    assert all(tensor.any() for name, tensor in body.items() if name.endswith("down"))


def test_head_only_refuses_another_shape_and_no_head(world: Path, converted: api.Converted) -> None:
    """A new module of another rank would be no control of this transfer, and one without a head has nothing to keep."""
    from dataclasses import replace

    assert converted.output is not None
    moved = _written(converted.output, _base(world / "student"))
    half = {
        place: replace(piece, parts={part: tensor[..., :1] for part, tensor in piece.parts.items()})
        for place, piece in moved.pieces.items()
    }
    with pytest.raises(TrainingError, match="other shapes"):
        head_only(moved, replace(moved, pieces=half))
    with pytest.raises(TrainingError, match="head"):
        head_only(replace(moved, head=None), moved)
