"""Running an experiment for real: rows on disk, going on after an interrupt, cells that fail."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from modxfer.errors import UsageError
from modxfer.experiments.plan import Plan, read_plan
from modxfer.experiments.results import RESULTS, ResultRow, append_row, read_results
from modxfer.experiments.run_cell import TEACHERS, WORK, Workspace, run_cell
from modxfer.experiments.running import LOCK, State, list_cells, run_experiment
from tests.experiments.worlds import plan_values, settings, write_plan


def _plan(world: Path, folder: Path) -> Plan:
    """Plan one language whose data is right, and one whose data is none."""
    for name in ("broken", "also-broken"):
        (folder / f"{name}.conllu").write_text("0\tada\tPERSON\n", encoding="utf-8")
    values: dict[str, Any] = plan_values()
    for item in (*values["teachers"], *values["students"]):
        item["model"] = str(world / item["model"])
    values["alignment"]["corpus"] = str(world / "data" / "train.conllu")
    values["tasks"][0]["languages"]["xx"] = {"train": "broken.conllu", "test": "also-broken.conllu"}
    return read_plan(write_plan(folder, values), settings(world))


def test_run_experiment_goes_on_where_it_was_killed(world: Path, tmp_path: Path) -> None:
    """A cell with a result is not run again; the others are, those that fail leave the rest alone, and nothing stays behind."""
    plan, output = _plan(world, tmp_path), tmp_path / "out"
    teacher_cell = next(cell for cell in list_cells(plan) if (cell.kind, cell.language) == ("teacher", "en"))
    teacher = ResultRow.from_json(run_cell(teacher_cell.as_json(), Workspace(folder=str(output), device="cpu")))
    assert teacher.error is None
    append_row(output / RESULTS, teacher)
    with (output / RESULTS).open("ab") as file:
        file.write(b'{"cell": "torn')
    (output / WORK / "left-over").mkdir()

    states: list[State] = []
    result = run_experiment(plan, output, jobs=1, device="cpu", progress=states.append)
    assert not multiprocessing.active_children()
    assert (result.run, len(result.rows), len(result.failed)) == (5, 6, 3)
    assert (states[0].done, states[0].total) == (1, 6)
    assert (states[-1].done, states[-1].seconds_left) == (6, 0)
    rows = {(row.language, row.kind): row for row in read_results(output)}
    assert rows["en", "teacher"] == teacher
    moved = rows["en", "transferred"]
    assert (moved.error, moved.used_aligner, moved.head, moved.metric) == (None, "lsa", "kept", "f1")
    assert moved.value is not None
    assert moved.zero_shot is not None
    assert moved.interval is not None
    assert moved.interval[0] <= moved.value <= moved.interval[1]
    assert [step for step, _ in moved.curve] == [0, 1, 2]
    assert moved.test["rows"] == 8
    assert moved.versions["device"] == "cpu"
    assert "PERSON" in str(rows["xx", "teacher"].error)
    assert "PERSON" in str(rows["xx", "default"].error)
    assert "The teacher's module could not be had" in str(rows["xx", "transferred"].error)
    found = {path.name for path in output.iterdir()}
    assert found == {".lock", "cells.json", "log.txt", "plan.yaml", "results.jsonl", "teachers"}
    assert [path.name for path in (output / "teachers").iterdir()] == [teacher.cell]


def test_run_cell_measures_a_module_that_is_there(world: Path, tmp_path: Path) -> None:
    """A teacher's module that the plan names is measured and not trained, and is what is moved."""
    plan, folder = _plan(world, tmp_path), str(tmp_path / "out")
    made = run_cell(list_cells(plan)[0].as_json(), Workspace(folder=folder, device="cpu"))
    module = tmp_path / "out" / TEACHERS / made["cell"]
    teacher = plan.teachers[0].model_copy(update={"modules": {"lora/ner/en": str(module)}})
    cells = list_cells(plan.model_copy(update={"teachers": (teacher,)}))
    row = run_cell(cells[0].as_json(), Workspace(folder=folder, device="cpu"))
    assert row["error"] is None
    assert (row["value"], row["interval"], row["steps"]) == (made["value"], made["interval"], 0)
    assert {cell.module for cell in cells if cell.language == "en"} == {None, str(module)}


def test_run_experiment_refuses_a_folder_in_use(world: Path, tmp_path: Path) -> None:
    """Two runs would write the same rows."""
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / LOCK), pytest.raises(UsageError, match=r"Another run is at work in .*out"):
        run_experiment(_plan(world, tmp_path), tmp_path / "out")


def test_run_experiment_refuses_no_jobs(world: Path, tmp_path: Path) -> None:
    """0 cells at a time would never end."""
    with pytest.raises(UsageError, match="--jobs 0"):
        run_experiment(_plan(world, tmp_path), tmp_path / "out", jobs=0)
    assert not (tmp_path / "out").exists()
