"""What `modxfer experiment` shows: the cells of a plan, and how far a run is."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modxfer.cli.output import Output, Report
from modxfer.experiments.results import shown_layers

if TYPE_CHECKING:
    from rich.table import Table

    from modxfer.experiments.cells import Cell
    from modxfer.experiments.results import ResultRow
    from modxfer.experiments.running import ExperimentResult, State

_MOST_FAILURES = 5


@dataclass(frozen=True, slots=True)
class Follower:
    """Shows how far a run is: in a bar on a terminal, and one line for each cell that ended.

    Attributes:
        out: The sink.
        report: The bar.
    """

    out: Output
    report: Report

    def follow(self, state: "State") -> None:
        """Show a state.

        Args:
            state: The state.
        """
        if state.row is None:
            self.out.note(f"{state.done} of {state.total} cells have a result.")
        elif not self.out.shows_bars:
            self.out.note(f"{_count(state)}  {cell_line(state.row)}")
        title = "Cells" if state.row is None else cell_line(state.row)
        self.report(state.done, state.total, title)


def _count(state: "State") -> str:
    left = "" if state.seconds_left is None else f", {duration(state.seconds_left)} left"
    return f"{state.done}/{state.total}{left}"


def duration(seconds: int | float) -> str:
    """Write a time for people.

    Args:
        seconds: The time.

    Returns:
        Seconds, minutes or hours.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def cell_line(row: "ResultRow") -> str:
    """Say in one line what a cell was and gave.

    Args:
        row: Its row.

    Returns:
        The line.
    """
    what = [row.control or row.kind, row.layers or "", row.aligner or "", "head kept" if row.head == "kept" else ""]
    name = f"{row.pair}, {row.method}, {row.task} {row.language}: {' '.join(word for word in what if word)}, seed {row.seed}"
    if row.error is not None:
        return f"{name}: failed: {row.error}"
    value = row.validation if row.value is None else row.value
    where = " on validation" if row.value is None else ""
    shown = "no value" if value is None else f"{row.metric} {value:.2f}{where}"
    return f"{name}, rate {row.learning_rate:g}: {shown} ({duration(row.seconds)})"


def failure_lines(result: "ExperimentResult") -> Iterator[str]:
    """Tell which cells failed.

    Args:
        result: What was run.

    Yields:
        A sentence for each of the first few, and one for the others.
    """
    for row in result.failed[:_MOST_FAILURES]:
        yield cell_line(row)
    if len(result.failed) > _MOST_FAILURES:
        yield f"{len(result.failed) - _MOST_FAILURES} more cells failed."


def cells_table(cells: "Sequence[Cell]") -> "Table":
    """Show the cells of a plan, those that differ in seed or learning rate together.

    Args:
        cells: The cells.

    Returns:
        A table.
    """
    from modxfer.cli.tables import grid

    numbers = Counter(
        (
            cell.pair,
            f"{cell.method} {cell.task} {cell.language}",
            cell.control or cell.kind,
            " ".join(word for word in (shown_layers(cell.layers) or "", cell.aligner or "") if word),
            cell.head,
        )
        for cell in cells
    )
    table = grid("pair", "method and data", "what", "layers, aligner", "head", "cells", right=["cells"])
    for words, number in numbers.items():
        table.add_row(*words, str(number))
    return table
