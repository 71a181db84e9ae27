"""The plans in `examples/plans`."""

from collections import Counter
from pathlib import Path

import pytest

from modxfer.experiments.cells import Cell, first_stage, second_stage
from modxfer.experiments.inputs import Inputs, Pinned
from modxfer.experiments.plan import Plan, read_plan

PLANS = Path(__file__).parents[2] / "examples" / "plans"
FOLDERS = {"DATA": "/data", "STUDENTS": "/students"}

CELLS = {
    "small": {"teacher": 2, "sweep": 12, "default": 12, "transferred": 72, "control": 36},
    "tiny": {"teacher": 1, "default": 1, "transferred": 2, "control": 1},
    "paper-matching": {"teacher": 62, "default": 186, "transferred": 372},
    "paper-incompatible": {"teacher": 32, "default": 96, "transferred": 192, "control": 96},
}
"""Plan to the number of its cells of each kind."""


def read(name: str) -> Plan:
    """Read a plan of the examples."""
    return read_plan(PLANS / f"{name}.yaml", FOLDERS)


def cells_of(plan: Plan) -> tuple[Cell, ...]:
    """List the cells of a plan, none of whose base models and data have to be there."""
    data = [data for task in plan.tasks for data in task.languages.values()]
    inputs = Inputs(
        bases=_pinned({teacher.model for teacher in plan.teachers} | {student.model for student in plan.students}),
        data=_pinned({spec for item in data for spec in (item.train, item.validation, item.test) if spec}),
        modules={},
        corpus="",
    )
    return (*first_stage(plan, inputs), *second_stage(plan, inputs, {}))


def _pinned(specs: set[str]) -> dict[str, Pinned]:
    return {spec: Pinned(reference=spec, fingerprint=spec) for spec in specs}


def test_every_plan_of_the_examples_is_tested() -> None:
    """The table above names all of them."""
    assert {path.stem for path in PLANS.glob("*.yaml")} == CELLS.keys()


@pytest.mark.parametrize("name", CELLS)
def test_plan_has_the_cells_that_it_promises(name: str) -> None:
    """It can be read, is named like its file, and has so many cells of each kind, all of them different."""
    plan = read(name)
    cells = cells_of(plan)
    assert plan.name == name
    assert Counter(cell.kind for cell in cells) == CELLS[name]
    assert len({cell.id for cell in cells}) == len(cells)


@pytest.mark.parametrize(("name", "languages"), [("paper-matching", (9, 7, 15)), ("paper-incompatible", (9, 7))])
def test_paper_plans_train_as_the_paper_does(name: str, languages: tuple[int, ...]) -> None:
    """Languages, batch, rate and epochs, widths of the modules and new heads are the paper's, for teachers too."""
    plan = read(name)
    assert tuple(len(task.languages) for task in plan.tasks) == languages
    assert {method.name: method.options for method in plan.methods} == {"bottleneck": {"size": 96}, "lora": {"rank": 8}}
    assert plan.transfers.heads == ("drop",)
    for cell in cells_of(plan):
        assert (cell.settings["batch_size"], cell.learning_rate) == (64, 1e-5)
        assert cell.settings["epochs"] == (30 if cell.task == "pi" else 10)
        assert cell.head == "new"


def test_small_plan_compares_what_it_must() -> None:
    """Three layer maps with and without head for each student and method, three seeds, and every control once a seed."""
    cells = cells_of(read("small"))
    assert {cell.seed for cell in cells if cell.kind == "transferred"} == {0, 1, 2}
    for student in ("matching", "incompatible"):
        for method in ("lora", "bottleneck"):
            own = [cell for cell in cells if (cell.student, cell.method, cell.seed) == (student, method, 1)]
            moved = {(cell.layers, cell.head) for cell in own if cell.kind == "transferred"}
            assert moved == {(layers, head) for layers in ("skip", "avg", "last") for head in ("kept", "new")}
            controls = [cell.control for cell in own if cell.kind == "control"]
            assert sorted(map(str, controls)) == ["head-only", "random-gather", "random-norm"]
            rates = {cell.learning_rate for cell in cells if cell.kind == "sweep" and cell.student == student}
            assert len(rates) == 3
    assert all(cell.data["limit_test"] == 300 for cell in cells if cell.kind != "sweep")
