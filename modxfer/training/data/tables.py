"""A table of data in memory, whatever it was read from: columns of cells, and the place of each row for messages."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modxfer.errors import CorpusError, DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows and columns.

    Attributes:
        name: What to call it in messages: a path, or a data set's id.
        columns: Names of the columns, in order.
        count: How many rows it has.
        cells: Gives the cells of a column, one a row; None where a row has none.
        where: Gives the place of a row, counted from 0, for messages.
        declared: Column to the names that its numbers stand for, in order.
        floating: Columns that hold fractions, as far as their type tells.
        warnings: What to tell the user about the reading.
    """

    name: str
    columns: tuple[str, ...]
    count: int
    cells: Callable[[str], Sequence[Any]] = field(repr=False)
    where: Callable[[int], str] = field(repr=False)
    declared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    floating: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()

    def listed(self) -> str:
        """Name the columns, for messages.

        Returns:
            Their names in backticks, separated by commas.
        """
        return ", ".join(f"`{shorten(column)}`" for column in self.columns) or "none"


def table_of_rows(
    rows: Sequence[Mapping[str, object]], lines: Sequence[int], *, name: str, warnings: tuple[str, ...] = ()
) -> Table:
    """Make a table of a file's rows.

    Args:
        rows: The rows; a row may lack columns.
        lines: The line that each row begins in, from 1.
        name: The file's path.
        warnings: What to tell the user about the reading.

    Returns:
        The table.
    """
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    return Table(
        name=name,
        columns=columns,
        count=len(rows),
        cells=lambda column: [row.get(column) for row in rows],
        where=lambda row: f"line {lines[row]} of `{name}`",
        warnings=warnings,
    )


def table_of_dataset(dataset: Any, *, name: str) -> Table:
    """Make a table of a data set of the `datasets` library.

    Args:
        dataset: The `datasets.Dataset`.
        name: What to call it.

    Returns:
        The table; names that its features declare are in it.
    """
    features = {column: _innermost(feature) for column, feature in dataset.features.items()}
    types = {column: str(getattr(feature, "dtype", "")) for column, feature in features.items()}
    return Table(
        name=name,
        columns=tuple(dataset.column_names),
        count=len(dataset),
        cells=functools.partial(_read_column, dataset),
        where=lambda row: f"row {row + 1} of `{name}`",
        declared={column: tuple(feature.names) for column, feature in features.items() if hasattr(feature, "names")},
        floating=frozenset(column for column, kind in types.items() if kind.startswith(("float", "decimal"))),
    )


def shorten(value: object, *, most: int = 80) -> str:
    """Put a value from outside on one short line, without what would end its backticks.

    Args:
        value: Any value.
        most: How many characters it may have.

    Returns:
        Its text.
    """
    line = " ".join("".join(char if char.isprintable() else " " for char in str(value)[: 4 * most]).split()).replace("`", "'")
    return line if len(line) <= most else f"{line[: most - 1]}…"


def as_data_error(error: CorpusError) -> DataError:
    """Say what the readers of corpora found wrong in terms of a task's data.

    Args:
        error: What they raised.

    Returns:
        The error to raise.
    """
    what = error.what.replace("The corpus `", "The file `", 1).replace("the corpus `", "the file `", 1)
    return DataError(what, do=error.do.replace("`--corpus`", "`--data`"))


def _read_column(dataset: Any, column: str) -> Sequence[Any]:
    cells: Sequence[Any] = dataset.select_columns([column])[:][column]
    return cells


def _innermost(feature: Any) -> Any:
    """Give what a column, or a list in it, holds."""
    if isinstance(feature, list) and feature:
        return feature[0]
    return getattr(feature, "feature", feature)
