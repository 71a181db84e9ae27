"""Make a task's rows of a table's cells, and find the labels that they use."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modxfer.errors import DataError
from modxfer.training.data.bio import as_bio
from modxfer.training.data.choice import ColumnChoice
from modxfer.training.data.columns import Columns, find_columns
from modxfer.training.data.rows import Row, TaggedRow, TextRow
from modxfer.training.data.tables import Table, shorten
from modxfer.training.tasks import Task

_FRACTION = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(\.\d*)?[eE][+-]?\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A table as rows.

    Attributes:
        rows: The rows.
        labels: The labels that the data declares or uses, in order.
        warnings: What to tell the user.
    """

    rows: Sequence[Row]
    labels: tuple[str, ...]
    warnings: tuple[str, ...]


def build_rows(task: Task, table: Table, choice: ColumnChoice, *, language: str = "") -> Built:
    """Make rows of a table.

    Args:
        task: The task.
        table: The table.
        choice: The columns that are known.
        language: The language of rows of which the data says nothing.

    Returns:
        The rows, with their labels.

    Raises:
        UsageError: a column is named that the task has no use for.
        DataError: a column is missing, or a cell is not what the task needs.
    """
    if not table.count:
        raise _empty(table)
    columns = find_columns(task, table, choice)
    languages = _read_languages(table, columns.language, language)
    if task.kind == "tagging":
        built = _build_tagged(table, columns, languages)
    elif task.kind == "classification":
        built = _build_labelled(table, columns, languages)
    else:
        built = _build_texts(table, columns, languages)
    if not built.rows:
        raise _empty(table)
    return Built(rows=built.rows, labels=built.labels, warnings=(*table.warnings, *built.warnings))


def _empty(table: Table) -> DataError:
    return DataError(f"`{table.name}` has no rows.", do="Give data that has some, or name another split.")


def _read_languages(table: Table, column: str | None, language: str) -> list[str]:
    if column is None:
        return [language] * table.count
    names = table.declared.get(column)
    cells = table.cells(column)
    if names is not None:
        cells = [names[cell] if isinstance(cell, int) and 0 <= cell < len(names) else "" for cell in cells]
    return [cell.strip() or language if isinstance(cell, str) else language for cell in cells]


def _build_tagged(table: Table, columns: Columns, languages: list[str]) -> Built:
    assert columns.tokens is not None
    assert columns.tags is not None
    names = table.declared.get(columns.tags)
    words, tags, places, kept = [], [], [], []
    for number, (tokens, cell) in enumerate(zip(table.cells(columns.tokens), table.cells(columns.tags), strict=True)):
        place = table.where(number)
        row_words = _read_words(tokens, place=place, column=columns.tokens)
        row_tags = _read_tags(cell, names, place=place, column=columns.tags)
        if len(row_words) != len(row_tags):
            raise DataError(
                f"{_capital(place)} has {len(row_words)} words and {len(row_tags)} tags.", do="Give every word one tag."
            )
        if row_words:
            words.append(row_words)
            tags.append(row_tags)
            places.append(place)
            kept.append(number)
    bio, warnings = as_bio(tags, name=table.name, places=places)
    rows = [
        TaggedRow(words=row_words, tags=row_tags, language=languages[number])
        for row_words, row_tags, number in zip(words, bio, kept, strict=True)
    ]
    used = {tag for row in bio for tag in row}
    if bio is not tags:
        names = None  # declared for the other scheme
    return Built(rows=rows, labels=_order(used, names), warnings=(*_left_out(table, kept), *warnings))


def _read_words(cell: Any, *, place: str, column: str) -> tuple[str, ...]:
    if not isinstance(cell, list) or not all(isinstance(word, str) for word in cell):
        raise DataError(
            f"{_capital(place)} has no list of words in column `{shorten(column)}`, but {_describe(cell)}.",
            do="Name the column of the words with `--tokens-column`.",
        )
    return tuple(cell)


def _read_tags(cell: Any, names: tuple[str, ...] | None, *, place: str, column: str) -> tuple[str, ...]:
    if not isinstance(cell, list):
        raise DataError(
            f"{_capital(place)} has no list of tags in column `{shorten(column)}`, but {_describe(cell)}.",
            do="Name the column of the tags with `--tags-column`.",
        )
    return tuple(_read_label(tag, names, place=place, column=column) for tag in cell)


def _build_labelled(table: Table, columns: Columns, languages: list[str]) -> Built:
    assert columns.label is not None
    if columns.label in table.floating:
        raise _floating(table, columns.label)
    names = table.declared.get(columns.label)
    cells = table.cells(columns.label)
    labels = [
        _read_label(cell, names, place=table.where(number), column=columns.label, flag="--label-column")
        for number, cell in enumerate(cells)
    ]
    used = set(labels)
    if names is None and any(_FRACTION.fullmatch(label) for label in used) and all(_is_number(label) for label in used):
        raise _floating(table, columns.label)
    texts = _read_texts(table, columns)
    for number, row in enumerate(texts):
        for text, column in zip(row, columns.texts, strict=True):
            if not text.strip():
                raise DataError(
                    f"{_capital(table.where(number))} has no text in column `{shorten(column)}`.",
                    do="Leave that row out, or give it a text.",
                )
    rows = [
        TextRow(texts=row, label=label, language=language)
        for row, label, language in zip(texts, labels, languages, strict=True)
    ]
    return Built(rows=rows, labels=_order(used, names), warnings=())


def _build_texts(table: Table, columns: Columns, languages: list[str]) -> Built:
    texts = _read_texts(table, columns)
    kept = [number for number, row in enumerate(texts) if row[0].strip()]
    rows = [TextRow(texts=texts[number], language=languages[number]) for number in kept]
    return Built(rows=rows, labels=(), warnings=_left_out(table, kept))


def _read_texts(table: Table, columns: Columns) -> list[tuple[str, ...]]:
    by_column = []
    for column, flag in zip(columns.texts, ("--text-column", "--second-text-column"), strict=False):
        cells = table.cells(column)
        for number, cell in enumerate(cells):
            if cell is not None and not isinstance(cell, str):
                raise DataError(
                    f"{_capital(table.where(number))} has no text in column `{shorten(column)}`, but {_describe(cell)}.",
                    do=f"Name a column of texts with `{flag}`.",
                )
        by_column.append([cell or "" for cell in cells])
    return list(zip(*by_column, strict=True))


def _read_label(cell: Any, names: tuple[str, ...] | None, *, place: str, column: str, flag: str = "--tags-column") -> str:
    """Give the name of a label: its own text, or that of its number."""
    if isinstance(cell, str) and cell.strip():
        return cell.strip()
    if cell is None or isinstance(cell, str) or (names is not None and cell == -1):
        raise DataError(
            f"{_capital(place)} has no label in column `{shorten(column)}`.",
            do=f"Leave that row out, or name another column with `{flag}`.",
        )
    if isinstance(cell, bool):
        return str(cell).lower()
    if not isinstance(cell, int):
        kind = "the fraction" if isinstance(cell, float) else "no label but"
        raise DataError(
            f"{_capital(place)} has {kind} {_describe(cell)} in column `{shorten(column)}`.",
            do=f"Name a column of names or whole numbers with `{flag}`.",
        )
    if names is None:
        return str(cell)
    if not 0 <= cell < len(names):
        raise DataError(
            f"{_capital(place)} has the label {cell} in column `{shorten(column)}`, and the data declares {len(names)} labels.",
            do="Put the number right; the first label is 0.",
        )
    return names[cell]


def _floating(table: Table, column: str) -> DataError:
    return DataError(
        f"Column `{shorten(column)}` of `{table.name}` holds fractions, and a label is a name or a whole number.",
        do="Name the column of the labels with `--label-column`.",
    )


def _order(used: set[str], declared: tuple[str, ...] | None) -> tuple[str, ...]:
    """Put labels in order: as the data declares them, else "O" first and the others sorted."""
    first = tuple(dict.fromkeys(declared or ()))
    return (*first, *sorted(used - set(first), key=lambda label: (label != "O", label)))


def _left_out(table: Table, kept: list[int]) -> tuple[str, ...]:
    missing = table.count - len(kept)
    if not missing or not kept:
        return ()
    return (f"{missing} empty row{'s' * (missing > 1)} of `{table.name}` {'are' if missing > 1 else 'is'} left out.",)


def labels_of(row: Row) -> tuple[str, ...]:
    """Give the labels that a row uses.

    Args:
        row: The row.

    Returns:
        Its tags, or its label.
    """
    return row.tags if isinstance(row, TaggedRow) else (row.label,) if row.label else ()


def count_labels(rows: Sequence[Row]) -> Counter[str]:
    """Count in how many rows each label is.

    Args:
        rows: The rows.

    Returns:
        Label to number of rows.
    """
    return Counter(label for row in rows for label in set(labels_of(row)))


def _describe(cell: Any) -> str:
    if cell is None:
        return "nothing"
    return f"{type(cell).__name__} `{shorten(cell)}`"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _capital(place: str) -> str:
    return place[:1].upper() + place[1:]
