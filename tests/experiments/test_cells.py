"""From a plan to cells: which there are, what their ids depend on, and which learning rate they get."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from modxfer.errors import UsageError
from modxfer.experiments.cells import Cell, Rate, choose_rates, first_stage, second_stage
from modxfer.experiments.inputs import find_inputs
from modxfer.experiments.plan import Plan, read_plan
from modxfer.experiments.run_cell import failed_row
from modxfer.experiments.running import list_cells
from tests.experiments.worlds import plan_values, settings, write_sentences
from tests.hub.server import HubServer


def _plan(world: Path, folder: Path, **changes: Any) -> Plan:
    """Read a plan that lies elsewhere than the world that it is about."""
    values = plan_values(**changes)
    values.setdefault("alignment", {})
    for item in (*values["teachers"], *values["students"]):
        item["model"] = str(world / item["model"])
    values["alignment"] = {"corpus": str(world / "data" / "train.conllu"), "tokens": 200}
    folder.mkdir(exist_ok=True)
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return read_plan(path, settings(world))


def _ids(plan: Plan) -> dict[str, str]:
    return {cell.control or cell.kind: cell.id for cell in list_cells(plan)}


def test_cells_are_every_combination(world: Path, tmp_path: Path) -> None:
    """Layer maps by aligners by heads for each seed, one default student a seed, controls, one teacher, sweeps by rate."""
    plan = _plan(
        world,
        tmp_path,
        transfers={"layers": ["skip", "avg", "last"], "aligners": ["auto", "paper"], "heads": ["keep", "drop"]},
        controls=["random-norm", "random-gather", "head-only"],
        seeds=[0, 1, 2],
        sweep={"learning_rates": [0.001, 0.01], "seeds": [0, 1]},
    )
    cells = list_cells(plan)
    assert Counter(cell.kind for cell in cells) == {
        "teacher": 1,
        "sweep": 4,
        "default": 3,
        "transferred": 3 * 2 * 2 * 3,
        "control": 3 * 3,
    }
    assert len({cell.id for cell in cells}) == len(cells)
    controls = {cell.control: (cell.aligner, cell.head) for cell in cells if cell.kind == "control"}
    assert controls == {"random-norm": ("auto", "new"), "random-gather": (None, "new"), "head-only": ("auto", "kept")}
    teacher = next(cell for cell in cells if cell.kind == "teacher")
    assert {cell.teacher_cell for cell in cells if cell.kind in ("transferred", "control")} == {teacher.id}
    assert all(cell.data["test"] is None for cell in cells if cell.kind == "sweep")


def test_cells_follow_the_teacher_of_their_seed(world: Path, tmp_path: Path) -> None:
    """With a teacher for each seed, each student gets the module of its own seed."""
    cells = list_cells(_plan(world, tmp_path, seeds=[3, 4], teacher_seeds="each"))
    teachers = {cell.id: cell.seed for cell in cells if cell.kind == "teacher"}
    assert sorted(teachers.values()) == [3, 4]
    assert all(teachers[cell.teacher_cell] == cell.seed for cell in cells if cell.teacher_cell is not None)


def test_cell_survives_json(world: Path, tmp_path: Path) -> None:
    """A worker process gets the same cell."""
    for cell in list_cells(_plan(world, tmp_path)):
        assert Cell.from_json(json.loads(json.dumps(cell.as_json()))) == cell


def test_ids_do_not_change_with_places(world: Path, tmp_path: Path) -> None:
    """The same models and data in another folder, under another name of the plan, give the same ids."""
    before = _ids(_plan(world, tmp_path / "a"))
    elsewhere = tmp_path / "moved"
    shutil.copytree(world, elsewhere)
    assert _ids(_plan(elsewhere, tmp_path / "b", name="other", description="moved")) == before


def test_ids_change_with_what_decides_the_result(world: Path, tmp_path: Path) -> None:
    """Data, weights, settings, options, seed, layer map, aligner and head each change the ids of the cells that they decide."""
    plain = _ids(_plan(world, tmp_path / "a", controls=["random-norm"]))
    every = {"teacher", "default", "transferred", "random-norm"}

    def changed(**changes: Any) -> set[str]:
        after = _ids(_plan(world, tmp_path / "a", **{"controls": ["random-norm"], **changes}))
        return {name for name in plain if after[name] != plain[name]}

    assert changed() == set()
    assert changed(methods=[{"name": "lora", "rank": 3}]) == every
    assert changed(methods=[{"name": "lora", "rank": 2, "alpha": 4}]) == set()  # what it is by default
    assert changed(seeds=[5]) == every
    assert changed(training={"max_steps": 3, "batch_size": 4, "eval_steps": 1}) == every
    same = {"max_steps": 2, "batch_size": 4, "eval_steps": 1}
    assert changed(teacher_training={**same, "batch_size": 2}) == every - {"default"}
    assert changed(teacher_training=same) == set()
    assert changed(transfers={"layers": ["last"], "aligners": ["lsa"], "heads": ["keep"]}) == {"transferred", "random-norm"}
    assert changed(transfers={"layers": ["skip"], "aligners": ["auto"], "heads": ["keep"]}) == {"transferred", "random-norm"}
    assert changed(transfers={"layers": ["skip"], "aligners": ["lsa"], "heads": ["drop"]}) == {"transferred"}

    other = tmp_path / "other"
    shutil.copytree(world, other)
    write_sentences(other / "data" / "test.conllu", number=9, seed=5)
    moved = _ids(_plan(other, tmp_path / "a", controls=["random-norm"]))
    assert all(moved[name] != plain[name] for name in every)


def test_find_inputs_tells_all_that_is_not_there(world: Path, tmp_path: Path) -> None:
    """A base model, data and a module that are not to be had are told together."""
    values = {"teachers": [{"name": "big", "model": "teacher", "modules": {"lora/ner/en": str(tmp_path / "no-module")}}]}
    plan = _plan(world, tmp_path, **values)
    data = plan.tasks[0].languages["en"].model_copy(update={"test": "/nowhere/test.conllu"})
    student = plan.students[0].model_copy(update={"model": "/nowhere/student"})
    task = plan.tasks[0].model_copy(update={"languages": {"en": data}})
    with pytest.raises(UsageError) as caught:
        find_inputs(plan.model_copy(update={"students": (student,), "tasks": (task,)}))
    for name in ("no-module", "/nowhere/test.conllu", "/nowhere/student"):
        assert name in caught.value.what


def test_find_inputs_tells_of_layer_maps_that_there_are_not(world: Path, tmp_path: Path) -> None:
    """A word that is none is told before teachers are trained for hours; lists are for the models to judge."""
    plan = _plan(world, tmp_path, transfers={"layers": ["Skip", "0,2"]}, control_layers=["lastt"])
    with pytest.raises(UsageError) as caught:
        find_inputs(plan)
    assert "no layer map `Skip`" in caught.value.what
    assert "no layer map `lastt`" in caught.value.what
    assert "`0,2`" not in caught.value.what


def test_list_cells_fetches_no_weights(world: Path, tmp_path: Path, hub: HubServer) -> None:
    """A dry run of a plan for large models is a look at it, and has the ids of a real one."""
    hub.add_repo("acme/small", {path.name: path.read_bytes() for path in (world / "student").iterdir()})
    plan = _plan(world, tmp_path)
    student = plan.students[0].model_copy(update={"model": "acme/small"})
    plan = plan.model_copy(update={"students": (student,)})
    listed = list_cells(plan)
    asked = {request.path.rpartition("/")[2] for request in hub.requests(path="/resolve/")}
    assert not {name for name in asked if name.endswith(".safetensors")}
    inputs = find_inputs(plan)
    assert inputs.bases["acme/small"].size_bytes > 0
    assert (*first_stage(plan, inputs), *second_stage(plan, inputs, {})) == listed


def test_find_inputs_pins_the_commit_of_a_branch(world: Path, tmp_path: Path, hub: HubServer) -> None:
    """The id of a cell follows the commit that a data set's branch is at, not the branch's name."""
    hub.add_repo("acme/names", {"train.conllu": b"0\tada\tB-PER\n"}, repo_type="dataset")
    commit = hub.head("acme/names", repo_type="dataset")
    plan = _plan(world, tmp_path)
    data = plan.tasks[0].languages["en"].model_copy(update={"train": "acme/names@main"})
    task = plan.tasks[0].model_copy(update={"languages": {"en": data}})
    pinned = find_inputs(plan.model_copy(update={"tasks": (task,)})).data["acme/names@main"]
    assert (pinned.reference, pinned.fingerprint) == (f"acme/names@{commit}", commit)


def test_choose_rates_takes_the_best_mean_over_seeds(world: Path, tmp_path: Path) -> None:
    """A rate that is best for one seed only is not chosen, nor is one of which a cell failed; all students' cells get it."""
    plan = _plan(world, tmp_path, sweep={"learning_rates": [0.001, 0.01, 0.1], "seeds": [0, 1]})
    inputs = find_inputs(plan)
    sweep = [cell for cell in first_stage(plan, inputs) if cell.kind == "sweep"]
    values = {(0.001, 0): 50.0, (0.001, 1): 50.0, (0.01, 0): 70.0, (0.01, 1): 20.0, (0.1, 0): 90.0}
    rows = {}
    for cell in sweep:
        found = values.get((cell.learning_rate, cell.seed))
        row = failed_row(cell, "diverged")
        rows[cell.id] = row if found is None else replace(row, error=None, validation=found)
    rates = choose_rates(plan, sweep, rows)

    (rate,) = rates.values()
    assert rate.value == 0.001
    assert "0.1 failed" in rate.note
    cells = second_stage(plan, inputs, rates)
    assert {cell.learning_rate for cell in cells} == {0.001}
    assert all(cell.notes == (rate.note,) for cell in cells)


def test_choose_rates_takes_the_lowest_where_lower_is_better(world: Path, tmp_path: Path) -> None:
    """Perplexity is better when it is lower."""
    plan = _plan(world, tmp_path, sweep={"learning_rates": [0.001, 0.01]})
    sweep = [replace(cell, task="causal-lm") for cell in first_stage(plan, find_inputs(plan)) if cell.kind == "sweep"]
    rows = {
        cell.id: replace(failed_row(cell, ""), error=None, validation=10.0 if cell.learning_rate == 0.01 else 30.0)
        for cell in sweep
    }
    assert [rate.value for rate in choose_rates(plan, sweep, rows).values()] == [0.01]


def test_choose_rates_says_so_where_all_failed(world: Path, tmp_path: Path) -> None:
    """There is no rate then, and not just any."""
    plan = _plan(world, tmp_path, sweep={"learning_rates": [0.001]})
    sweep = [cell for cell in first_stage(plan, find_inputs(plan)) if cell.kind == "sweep"]
    (rate,) = choose_rates(plan, sweep, {}).values()
    assert isinstance(rate, Rate)
    assert rate.failure is not None
