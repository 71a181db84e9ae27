"""`modxfer demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

COLUMNS = {
    "student": "student",
    "method": "method",
    "model": "model",
    "head": "head",
    "steps": "steps",
    "zero_shot_f1": "F1 before",
    "f1": "F1 after",
}
"""Key of a row to the title of its column; the JSON has more."""


def demo(
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Folder to write.  [default: modxfer-demo]"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of everything random.")] = 0,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Train, convert, fine-tune and compare on a real base model, in a few minutes."""
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.demo.run import run_demo

        with out.progress("Demo") as report:
            result = run_demo(output=output, seed=seed, progress=out.follow(report))
        out.note(f"Everything is in {result.output}", result.declaration, *result.notes)
        out.result(result.as_json(), rows_table(result.rows))


def rows_table(rows: "Sequence[Mapping[str, Any]]") -> "Table":
    """Show the demo's result.

    Args:
        rows: One for each model: key to value.

    Returns:
        The table.
    """
    from modxfer.cli.tables import grid

    table = grid(*COLUMNS.values(), right=("steps", "F1 before", "F1 after"))
    for row in rows:
        table.add_row(*(_cell(row.get(key)) for key in COLUMNS))
    return table


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)
