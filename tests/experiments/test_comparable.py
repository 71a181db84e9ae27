"""Comparisons that would be unfair are refused before any cell is run."""

from pathlib import Path
from typing import Any

import pytest

from modxfer.errors import UsageError
from modxfer.experiments.plan import read_plan
from modxfer.experiments.running import list_cells
from modxfer.training.libraries.choosing import library_for_method
from modxfer.training.libraries.library import Wanted
from modxfer.training.tasks import find_task
from tests.experiments.worlds import plan_values, settings, write_plan


def _list(world: Path, folder: Path, **changes: Any) -> int:
    """Count the cells of a plan for a world."""
    values = plan_values(**changes)
    for item in (*values["teachers"], *values["students"]):
        item["model"] = str(world / item["model"])
    values["alignment"]["corpus"] = str(world / "data" / "train.conllu")
    return len(list_cells(read_plan(write_plan(folder, values), settings(world))))


def _module(world: Path, folder: Path, **options: Any) -> str:
    """Write a new LoRA on the world's teacher."""
    task = find_task("ner")
    wanted = Wanted(base=world / "teacher", task=task, labels=("O", "B-PER"), method="lora", options=options, seed=0)
    library = library_for_method("lora")
    library.save(library.start(wanted), folder)
    return str(folder)


def _teachers(module: str) -> list[dict[str, Any]]:
    return [{"name": "big", "model": "teacher", "modules": {"lora/ner/en": module}}]


def test_splits_of_the_same_rows_are_refused(world: Path, tmp_path: Path) -> None:
    """What is measured on the rows that checkpoints are chosen by, or that were trained on, is no result."""
    data = {"train": "${DATA}/train.conllu", "validation": "${DATA}/test.conllu", "test": "${DATA}/../data/test.conllu"}
    with pytest.raises(UsageError, match="`ner` `en` has the same rows for `validation` and `test`"):
        _list(world, tmp_path, tasks=[{"name": "ner", "languages": {"en": data}}])
    data |= {"validation": "${DATA}/validation.conllu"}
    assert _list(world, tmp_path, tasks=[{"name": "ner", "languages": {"en": data}}]) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": 3}, "has the inner size `3` where a new one has `2`"),
        ({"rank": 2, "alpha": 1}, "has the scaling `0.5` where a new one has `2`"),
        ({"rank": 2, "targets": ["query"]}, "has the targets `query` where a new one has `query`, `value`"),
    ],
)
def test_modules_of_another_shape_than_new_ones_are_refused(
    world: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    """A default student of rank 2 and a transferred one of rank 3 do not compare."""
    with pytest.raises(UsageError, match=said):
        _list(world, tmp_path, teachers=_teachers(_module(world, tmp_path / "module", **options)))


def test_modules_like_new_ones_are_taken(world: Path, tmp_path: Path) -> None:
    """One that the method itself would make is moved."""
    assert _list(world, tmp_path, teachers=_teachers(_module(world, tmp_path / "module", rank=2))) == 3


def test_modules_of_another_method_are_refused(world: Path, tmp_path: Path) -> None:
    """A LoRA under the name of a bottleneck would be trained and reported as one."""
    modules = {"bottleneck/ner/en": _module(world, tmp_path / "module", rank=2)}
    with pytest.raises(UsageError, match="`bottleneck/ner/en` is of the method `lora`"):
        _list(
            world,
            tmp_path,
            teachers=[{"name": "big", "model": "teacher", "modules": modules}],
            methods=[{"name": "bottleneck", "size": 3}],
        )
