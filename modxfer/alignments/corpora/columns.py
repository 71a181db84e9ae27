"""Choose the column of a table that holds the text, and turn its cells into texts."""

from collections.abc import Iterable, Iterator, Mapping

from modxfer.alignments.corpora.lines import split_long
from modxfer.errors import CorpusError

PREFERRED = ("text", "sentence", "tokens")


def choose_column(columns: Mapping[str, bool], *, wanted: str | None, name: str) -> str:
    """Choose the column that holds the text.

    Args:
        columns: For every column, whether it holds text (strings, or lists of strings).
        wanted: The column that the user asked for.
        name: The corpus, for messages.

    Returns:
        `wanted`; else `text`, `sentence` or `tokens`, whichever comes first and holds text; else the only
        column that holds text.

    Raises:
        CorpusError: there is no such column, or it does not hold text, or more than one could be meant.
    """
    listed = ", ".join(f"`{column}`" for column in columns) or "none"
    if wanted is not None:
        if wanted not in columns:
            raise CorpusError(
                f"The corpus `{name}` has no column `{wanted}` (columns: {listed}).",
                do="Name one that it has.",
            )
        if not columns[wanted]:
            raise CorpusError(
                f"Column `{wanted}` of the corpus `{name}` does not hold text (columns: {listed}).",
                do="Name a column of strings or of lists of strings.",
            )
        return wanted
    texts = [column for column, is_text in columns.items() if is_text]
    for column in PREFERRED:
        if column in texts:
            return column
    if len(texts) == 1:
        return texts[0]
    count = f"{len(texts)} columns" if texts else "no column"
    raise CorpusError(
        f"The corpus `{name}` has {count} that could hold its text (columns: {listed}).",
        do="Name the column: `--corpus FILE:COLUMN`.",
    )


def is_text(value: object, *, named: bool) -> bool:
    """Tell whether a cell can hold text: an empty one, a list of strings, a string that is no number.

    Args:
        value: The first cell of a column.
        named: The column is named for text, or asked for, so that a number in a string counts as text too.

    Returns:
        Whether the column may be meant.
    """
    if isinstance(value, str):
        return named or not _is_number(value)
    return value is None or (isinstance(value, list) and all(isinstance(token, str) for token in value))


def read_texts(rows: Iterable[Mapping[str, object]], *, wanted: str | None, name: str) -> Iterator[str]:
    """Stream the texts of rows whose columns are known from the first row only.

    Args:
        rows: The rows, in order.
        wanted: The column that the user asked for.
        name: The corpus, for messages.

    Yields:
        The texts; empty cells are left out.

    Raises:
        CorpusError: the column cannot be chosen, or a cell holds something else than text.
    """
    column: str | None = None
    for number, row in enumerate(rows, start=1):
        if column is None:
            columns = {key: is_text(value, named=key in (wanted, *PREFERRED)) for key, value in row.items()}
            column = choose_column(columns, wanted=wanted, name=name)
        yield from read_cell(row.get(column), where=f"row {number}, column `{column}` of the corpus `{name}`")


def read_cell(value: object, *, where: str) -> Iterator[str]:
    """Turn one cell into texts: none for an empty cell, several for a very long one.

    Args:
        value: A string, a list of strings (joined by single spaces), or None.
        where: The place of the cell, for messages.

    Yields:
        The cell's text, cut into pieces of a bounded length.

    Raises:
        CorpusError: the cell holds something else.
    """
    if value is None:
        return
    if isinstance(value, list) and all(isinstance(token, str) for token in value):
        value = " ".join(value)
    if not isinstance(value, str):
        raise CorpusError(
            f"There is no text but {type(value).__name__} `{str(value)[:40]}` in {where}.",
            do="Name a column of strings or of lists of strings.",
        )
    yield from split_long(value.encode("utf-8", "replace").decode("utf-8"))


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
