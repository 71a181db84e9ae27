"""Read local files of data into tables; what is wrong with one is said with file and line."""

import csv
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from modxfer.alignments.corpora.conll import Line, has_index, is_word, read_sentences
from modxfer.alignments.corpora.json_values import read_values
from modxfer.alignments.corpora.lines import read_lines
from modxfer.alignments.corpus import KINDS
from modxfer.errors import CorpusError, DataError
from modxfer.training.data.bio import looks_like_tag
from modxfer.training.data.tables import Table, as_data_error, shorten, table_of_dataset, table_of_rows
from modxfer.training.tasks import Task

_MOST_LINES = 1_000  # of one row
_SAMPLE = 200  # sentences
_Rows = tuple[list[dict[str, object]], list[int]]


def read_file(path: Path, *, task: Task) -> Table:
    """Read a file.

    Args:
        path: A file whose suffix says what it is. A `.txt` holds what the task needs: one token a line for tagging, a
            table with tabs and a header for classification, one text a line for language modelling.
        task: The task.

    Returns:
        The table.

    Raises:
        DataError: the file cannot be read, is not what its suffix says, or has ragged rows.
    """
    kind = kind_of(path, task=task)
    try:
        return _READERS[kind](path)
    except CorpusError as error:
        raise as_data_error(error) from error


def kind_of(path: Path, *, task: Task) -> str:
    """Say how a file is to be read.

    Args:
        path: The file.
        task: The task.

    Returns:
        The kind: a key of the table of readers.

    Raises:
        DataError: its suffix says nothing.
    """
    kind = KINDS.get(path.suffix.lower())
    if kind == "text":
        return {"tagging": "conll", "classification": "tsv", "causal-lm": "text"}[task.kind]
    if kind is None:
        raise DataError(
            f"The suffix `{shorten(path.suffix)}` of `{path}` says nothing about what is in it.",
            do=f"Rename or convert it to one of {', '.join(KINDS)}.",
        )
    return "tsv" if path.suffix.lower() == ".tsv" else kind


def _read_text(path: Path) -> Table:
    numbered = [(number, line) for number, line in enumerate(read_lines(path), start=1) if line.strip()]
    return table_of_rows([{"text": line} for _, line in numbered], [number for number, _ in numbered], name=str(path))


def _read_json(path: Path) -> Table:
    rows: list[Mapping[str, object]] = []
    lines = []
    for line, value in read_values(path):
        rows.append(value if isinstance(value, dict) else {"text": value})
        lines.append(line)
    return table_of_rows(rows, lines, name=str(path))


def _read_parquet(path: Path) -> Table:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"Cannot read the Parquet file `{path}`: {shorten(error)}.", do="Write it anew, or give another."
        ) from error
    return table_of_dataset(datasets.Dataset(table), name=str(path))


def _read_conll(path: Path) -> Table:
    sentences = [sentence for sentence in read_sentences(read_lines(path)) if sentence]
    indexed = has_index(path)
    if indexed:
        sentences = [[line for line in sentence if line[1][0].isdecimal() or is_word(line[1])] for sentence in sentences]
    column = _tag_column(sentences[:_SAMPLE], first=2 if indexed else 1)
    rows: list[dict[str, object]] = []
    width = len(sentences[0][0][1]) if sentences else 0
    for sentence in sentences:
        for number, fields in sentence:
            if len(fields) != width or width < (3 if indexed else 2):
                raise _ragged_line(path, number, fields, width=width, indexed=indexed)
        token = 1 if indexed else 0
        words, tags = [fields[token] for _, fields in sentence], [fields[column].strip() for _, fields in sentence]
        rows.append({"tokens": words, "tags": tags})
    return table_of_rows(rows, [sentence[0][0] for sentence in sentences], name=str(path))


def _ragged_line(path: Path, number: int, fields: list[str], *, width: int, indexed: bool) -> DataError:
    least = 3 if indexed else 2
    found = f"Line {number} of `{path}` has {len(fields)} column{'s' * (len(fields) != 1)}"
    if len(fields) == width:
        return DataError(
            f"{found}, and a token and its tag need {least}: it begins with `{shorten(fields[0])}`.",
            do="Give a file with a token and its tag in every line.",
        )
    return DataError(f"{found}, and the first token's line has {width}.", do="Put that line right.")


def _tag_column(sentences: list[list[Line]], *, first: int) -> int:
    """Find the column of the tags: the last one that holds nothing else, or else the last one."""
    lines = [fields for sentence in sentences for _, fields in sentence]
    width = min((len(fields) for fields in lines), default=0)
    return next((column for column in range(width - 1, first - 1, -1) if all(looks_like_tag(f[column]) for f in lines)), -1)


def _read_csv(path: Path) -> Table:
    numbered = _from_header(path)
    number, header = next(numbered, (1, ""))
    delimiter = ";" if ";" in header and "," not in header else ","
    columns = _check_header(_parse(header, delimiter) or header.split(delimiter), path=path, line=number)
    (rows, lines), spanning = _read_spanning(numbered, columns, delimiter=delimiter, path=path)
    count = f"{spanning} rows of `{path}` have" if spanning > 1 else f"1 row of `{path}` has"
    warning = f"{count} cells of more than one line."
    return table_of_rows(rows, lines, name=str(path), warnings=(warning,) if spanning else ())


def _read_tsv(path: Path) -> Table:
    """Read a table with tabs: a row is a line, whose cells are quoted if it has as many cells as the header only then."""
    numbered = _from_header(path)
    number, header = next(numbered, (1, ""))
    if "\t" not in header and path.suffix.lower() != ".tsv":
        raise DataError(
            f"The first line of `{path}` holds no tab, so it is no table with a header: `{shorten(header)}`.",
            do="Give a table with tabs, or rename the file so that its suffix says what it is.",
        )
    columns = _check_header(_parse(header, "\t") or header.split("\t"), path=path, line=number)
    rows: list[dict[str, object]] = []
    lines = []
    for number, line in numbered:
        if not line.strip():
            continue
        cells = next((cells for cells in (_parse(line, "\t"), line.split("\t")) if cells and len(cells) == len(columns)), None)
        if cells is None:
            raise _ragged_row(path, number, cells=len(line.split("\t")), columns=len(columns))
        rows.append(dict(zip(columns, cells, strict=True)))
        lines.append(number)
    return table_of_rows(rows, lines, name=str(path))


def _read_spanning(numbered: Iterator[tuple[int, str]], columns: list[str], *, delimiter: str, path: Path) -> tuple[_Rows, int]:
    """Read rows whose quoted cells may go on in the next line; count those rows."""
    rows: list[dict[str, object]] = []
    lines: list[int] = []
    spanning = 0
    for number, line in numbered:
        if not line.strip():
            continue
        cells, last = _parse(line, delimiter), number
        while cells is None and line.count('"') % 2 and last - number < _MOST_LINES:
            last, more = next(numbered, (last, None))
            if more is None:
                break
            line = f"{line}\n{more}"
            cells = _parse(line, delimiter)
        if cells is None:
            raise DataError(f"Line {number} of `{path}` has a quotation mark too many.", do=_CLOSE)
        if len(cells) != len(columns):
            raise _ragged_row(path, number, cells=len(cells), columns=len(columns))
        rows.append(dict(zip(columns, cells, strict=True)))
        lines.append(number)
        spanning += last > number
    return (rows, lines), spanning


_CLOSE = "Double the marks that are part of a text, and close every cell that begins with one."


def _ragged_row(path: Path, number: int, *, cells: int, columns: int) -> DataError:
    return DataError(
        f"Line {number} of `{path}` has {cells} cell{'s' * (cells != 1)}, and the header has {columns}.",
        do="Put that line right.",
    )


def _from_header(path: Path) -> Iterator[tuple[int, str]]:
    """Number the lines, from the first that is not blank."""
    return itertools.dropwhile(lambda numbered: not numbered[1].strip(), enumerate(read_lines(path), start=1))


def _parse(line: str, delimiter: str) -> list[str] | None:
    """Take a line with quoted cells apart; None if its quotation marks do not pair."""
    try:
        rows = list(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _check_header(cells: list[str], *, path: Path, line: int) -> list[str]:
    columns = [cell.strip() for cell in cells]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise DataError(
            f"The header of `{path}` (line {line}) has two columns `{shorten(twice[0])}`.", do="Give every column its own name."
        )
    return columns


_READERS: Mapping[str, Callable[[Path], Table]] = {
    "text": _read_text,
    "conll": _read_conll,
    "json": _read_json,
    "csv": _read_csv,
    "tsv": _read_tsv,
    "parquet": _read_parquet,
}
