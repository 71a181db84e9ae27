"""Read one column of a CSV, TSV or Parquet file."""

import csv
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modxfer.alignments.corpora.columns import choose_column, read_cell, read_texts
from modxfer.alignments.corpora.lines import read_lines
from modxfer.errors import CorpusError

_BATCH_ROWS = 256


def read_csv(path: Path, column: str | None) -> Iterator[str]:
    """Stream one column of a table with a header line.

    Args:
        path: A UTF-8 file; columns are separated by tabs in a `.tsv`, else by commas, or by semicolons where
            the header has these and no comma.
        column: The name of the column, or None to choose.

    Yields:
        The texts, in the order of the file.

    Raises:
        CorpusError: the file cannot be read, a cell is never closed, or the column cannot be chosen.
    """
    yield from read_texts(_read_rows(path), wanted=column, name=str(path))


def _read_rows(path: Path) -> Iterator[Mapping[str, object]]:
    lines = itertools.dropwhile(lambda line: not line.strip(), read_lines(path))
    header = next(lines, "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ";" if ";" in header and "," not in header else ","
    broken = (f"{line}\n" for line in itertools.chain([header], lines))
    reader = csv.DictReader(broken, delimiter=delimiter)
    try:
        for row in reader:
            if None in row:
                raise CorpusError(
                    f"Line {reader.line_num} of the corpus `{path}` has more cells than the header.",
                    do=f"Put cells that hold a `{delimiter}` in quotation marks.",
                )
            yield row
    except csv.Error as error:
        raise CorpusError(
            f"The corpus `{path}` is not a CSV table: line {reader.line_num}, {error}.",
            do="Check the quotation marks there, or give another file with `--corpus`.",
        ) from error


def read_parquet(path: Path, column: str | None) -> Iterator[str]:
    """Stream one column of a Parquet file, a batch of rows at a time.

    Args:
        path: The file.
        column: The name of the column, or None to choose.

    Yields:
        The texts, in the order of the file.

    Raises:
        CorpusError: pyarrow is not installed, the file is not Parquet, or the column cannot be chosen.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise CorpusError(
            f"Reading the Parquet file `{path}` needs pyarrow, which is not installed.",
            do='Install it with `pip install "modxfer[data]"`.',
        ) from error
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            columns = {field.name: _holds_text(field.type, pa.types) for field in file.schema_arrow}
            chosen = choose_column(columns, wanted=column, name=str(path))
            row = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[chosen]):
                for value in batch.column(chosen).to_pylist():
                    row += 1
                    yield from read_cell(value, where=f"row {row}, column `{chosen}` of the corpus `{path}`")
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise CorpusError(
            f"Cannot read the Parquet file `{path}`: {reason}.",
            do="Write it anew, or give another with `--corpus`.",
        ) from error


def _holds_text(kind: Any, types: Any) -> bool:
    if types.is_list(kind) or types.is_large_list(kind):
        kind = kind.value_type
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
