"""Rows in order: which cells belong together, and what is refused."""

import pytest

from modxfer.errors import TrainingError, UsageError
from modxfer.experiments.report.blocks import failure, latest, make_blocks
from tests.experiments.report.rows import over_seeds, row


def test_make_blocks_puts_matching_pairs_first_and_adapters_before_lora() -> None:
    """Blocks have the paper's order, whatever the order of the rows."""
    rows = [
        row("default", pair=pair, relation=relation, method=method, task=task, metric=metric)
        for pair, relation in (("a", "incompatible"), ("z", "matching"))
        for method in ("lora", "bottleneck")
        for task, metric in (("nli", "accuracy"), ("ner", "f1"))
    ]
    assert [(block.pair, block.method, block.task) for block in make_blocks(rows)] == [
        (pair, method, task) for pair in "za" for method in ("bottleneck", "lora") for task in ("ner", "nli")
    ]


def test_make_blocks_orders_students_as_the_paper_does() -> None:
    """AVG comes before SKIP and that before other layer maps; new heads come before kept ones, and controls in their order."""
    rows = [
        *(row("transferred", layers=layers, head=head) for head in ("kept", "new") for layers in ("last", "skip", "avg")),
        row("control", control="random-gather"),
        row("control", control="head-only"),
        row("default"),
        row("teacher"),
    ]
    (block,) = make_blocks(rows)
    assert [(v.key.layers, v.key.head) for v in block.transferred] == [
        (layers, head) for head in ("new", "kept") for layers in ("avg", "skip", "last")
    ]
    assert [variant.key.control for variant in block.controls] == ["head-only", "random-gather"]
    assert [variant.key.kind for variant in block.variants[:2]] == ["teacher", "default"]


def test_make_blocks_gives_every_pair_its_own_teacher() -> None:
    """A teacher's own rows go with each pair that it teaches, by method and task."""
    rows = [row("teacher", 80.0), row("teacher", 70.0, method="bottleneck"), row("default"), row("default", pair="other")]
    teachers = [block.teacher for block in make_blocks(rows)]
    assert [teacher.values for teacher in teachers if teacher] == [{("en", 0): 80.0}] * 2


def test_make_blocks_shares_a_default_student_that_was_run_for_another_pair() -> None:
    """Two teachers of one student can share the default student's cells."""
    rows = [row("default", 40.0), row("transferred", 45.0, pair="other-to-small", teacher="other")]
    other = next(block for block in make_blocks(rows) if block.pair == "other-to-small")
    assert other.default is not None
    assert other.default.values == {("en", 0): 40.0}


def test_make_blocks_refuses_two_results_for_one_place() -> None:
    """Cells that differ only in settings that tables do not show are not averaged."""
    with pytest.raises(TrainingError, match=r"`first` and `second` are both the default student .* seed 3"):
        make_blocks([row("default", seed=3, cell="first"), row("default", seed=3, cell="second")])


def test_make_blocks_refuses_an_unknown_task() -> None:
    """Without the task nobody knows whether more of its metric is better."""
    with pytest.raises(UsageError, match="`poetry`"):
        make_blocks([row("default", task="poetry")])


def test_latest_keeps_the_last_row_of_a_cell_that_measured_something() -> None:
    """A cell that was run again counts once, and a later failure does not undo a number."""
    failed = row("default", None, cell="a", error="Killed.")
    assert latest([failed, row("default", 1.0, cell="a"), row("default", 2.0, cell="a"), failed]) == [
        row("default", 2.0, cell="a")
    ]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_failure_takes_a_cell_without_a_finite_number_for_failed(value: float | None) -> None:
    """Neither a missing value nor a NaN is a result; a cell of the sweep needs none on the test split."""
    assert failure(row("default", value)) == "It has no finite test value."
    assert failure(row("sweep", None, validation=40.0)) is None
    assert failure(row("sweep", None, validation=value)) == "It has no finite validation value."


def test_failed_cells_are_asked_for_but_not_measured() -> None:
    """A failed cell leaves a gap: it is never a 0."""
    (block,) = make_blocks([*over_seeds("default", [40.0, 42.0]), row("default", None, seed=2, error="Killed.")])
    assert block.default is not None
    assert block.default.values == {("en", 0): 40.0, ("en", 1): 42.0}
    assert block.seeds == (0, 1, 2)


def test_head_only_control_is_named_without_layers() -> None:
    """The control that moves no layer has no layer map in its row, unless there are several such rows to tell apart."""
    (one,) = make_blocks([row("default"), row("control", layers="skip"), row("control", layers="skip", seed=1)])
    assert [(variant.key.layers, len(variant.rows)) for variant in one.controls] == [("", 2)]
    (several,) = make_blocks([row("default"), row("control", layers="skip"), row("control", layers="avg")])
    assert [variant.key.layers for variant in several.controls] == ["avg", "skip"]
