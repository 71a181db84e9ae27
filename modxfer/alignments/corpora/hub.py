"""Read data sets through the `datasets` library: by their Hub id, or saved in a folder."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modxfer.alignments.corpora.columns import read_texts
from modxfer.errors import CorpusError

SPLIT = "train"

_ID = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[\w.+-]+))?(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetId:
    """One data set on the Hub, as the user names it: `name[:config][@revision]`."""

    name: str
    config: str | None
    revision: str | None

    @property
    def fingerprint(self) -> str:
        """The sha256 of name, config, revision and split, as 64 hexadecimal digits."""
        parts = (self.name, self.config or "", self.revision or "", SPLIT)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def parse_id(spec: str) -> DatasetId | None:
    """Read `name[:config][@revision]`.

    Args:
        spec: What the user gave.

    Returns:
        Its parts, or None where it does not have that shape.
    """
    match = _ID.fullmatch(spec)
    return DatasetId(**match.groupdict()) if match else None


def read_hub(dataset: DatasetId, column: str | None) -> Iterator[str]:
    """Stream one column of a data set's `train` split.

    Args:
        dataset: The data set.
        column: The name of the column, or None to choose.

    Yields:
        The texts, in the order of the data set.

    Raises:
        CorpusError: `datasets` is not installed, the data set cannot be reached or has no such split, or the
            column cannot be chosen.
    """
    library = _import_datasets(dataset.name)
    where = dataset.name + (f" ({dataset.config})" if dataset.config else "")

    def stream() -> Iterable[Mapping[str, object]]:
        yield from library.load_dataset(dataset.name, dataset.config, split=SPLIT, revision=dataset.revision, streaming=True)

    yield from read_texts(_guard(stream(), f"Cannot load the data set `{where}`"), wanted=column, name=where)


def is_saved(folder: Path) -> bool:
    """Tell whether a folder was written by `save_to_disk` of the `datasets` library."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def read_saved(folder: Path, column: str | None) -> Iterator[str]:
    """Stream one column of a data set that `save_to_disk` wrote: its `train` split, else its first.

    Args:
        folder: The folder that it was saved in.
        column: The name of the column, or None to choose.

    Yields:
        The texts, in the order of the data set.

    Raises:
        CorpusError: `datasets` is not installed, the folder is damaged, or the column cannot be chosen.
    """
    library = _import_datasets(str(folder))

    def stream() -> Iterable[Mapping[str, object]]:
        dataset = library.load_from_disk(str(folder))
        if isinstance(dataset, dict):
            dataset = dataset[SPLIT] if SPLIT in dataset else next(iter(dataset.values()))
        yield from dataset

    yield from read_texts(_guard(stream(), f"Cannot read the data set in `{folder}`"), wanted=column, name=str(folder))


def _guard(rows: Iterable[Mapping[str, object]], what: str) -> Iterator[Mapping[str, object]]:
    """Pass rows on, and turn whatever the library raises (it has no root error of its own) into ours."""
    try:
        yield from rows
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise CorpusError(
            f"{what}: {reason}.",
            do="Check name and connection (`HF_HUB_OFFLINE` must not be 1), or give a file with `--corpus`.",
        ) from error


def _import_datasets(name: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise CorpusError(
            f"Reading the data set `{name}` needs `datasets`, which is not installed.",
            do='Install it with `pip install "modxfer[data]"`, or give a file with `--corpus`.',
        ) from error
    return datasets
