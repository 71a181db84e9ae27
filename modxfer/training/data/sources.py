"""Where data lies: one file, a folder of files, a folder of the `datasets` library, or a data set on the Hub."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modxfer.alignments.corpora.hub import DatasetId, is_saved, parse_id
from modxfer.alignments.corpora.lines import hash_files
from modxfer.alignments.corpus import KINDS
from modxfer.errors import CorpusError, DataError, DependencyError, HubError
from modxfer.registry.hub.calls import call
from modxfer.registry.hub.repositories import resolve_dataset
from modxfer.training.data.choice import ColumnChoice
from modxfer.training.data.files import kind_of, read_file
from modxfer.training.data.presets import Preset, find_preset
from modxfer.training.data.rows import SplitRecord
from modxfer.training.data.tables import Table, as_data_error, shorten, table_of_dataset
from modxfer.training.tasks import Task

ROLES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "dev", "valid"),
    "test": ("test",),
}
"""What a split is for, to its usual names."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST_LISTED = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A split as it was read.

    Attributes:
        table: Its rows.
        record: Where it comes from; all its rows.
    """

    table: Table
    record: SplitRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A place that holds data.

    Attributes:
        name: What the user sees.
        splits: Names of its splits; empty for a file that is one split.
        roles: "train", "validation" and "test" to the split that serves for it, as far as there is one.
        columns: Columns that are known.
        language: Language of every row, where it is known.
        has_parts: Whether parts of splits, and several together, can be read.
        read: Reads a split; None for a file that is one.
    """

    name: str
    splits: tuple[str, ...]
    roles: Mapping[str, str]
    columns: ColumnChoice = field(default_factory=ColumnChoice)
    language: str = ""
    has_parts: bool = False
    read: Callable[[str | None], Opened] = field(repr=False)

    def choose(self, wanted: str, *, flag: str) -> str:
        """Find a split that is asked for.

        Args:
            wanted: Its name, or a usual one; of a data set also a part, as in "train[:90%]".
            flag: The flag that asks for it.

        Returns:
            Its name.

        Raises:
            DataError: there is no such split.
        """
        if not self.splits:
            raise DataError(f"`{self.name}` is one file, and has no split `{shorten(wanted)}`.", do=f"Leave `{flag}` out.")
        if wanted in self.splits or (self.has_parts and all(name in self.splits for name in split_names(wanted))):
            return wanted
        role = next((role for role, names in ROLES.items() if wanted.lower() in names), None)
        if role is not None and role in self.roles:
            return self.roles[role]
        raise DataError(
            f"`{self.name}` has no split `{shorten(wanted)}` (splits: {self.listed()}).",
            do=f"Name one that it has with `{flag}`.",
        )

    def listed(self) -> str:
        """Name the splits, for messages.

        Returns:
            Their names in backticks, separated by commas.
        """
        more = f" and {len(self.splits) - _MOST_LISTED} more" if len(self.splits) > _MOST_LISTED else ""
        return (", ".join(f"`{shorten(name)}`" for name in self.splits[:_MOST_LISTED]) or "none") + more


def split_names(asked: str) -> list[str]:
    """Name the splits that rows are asked of.

    Args:
        asked: A split, a part of one, or several, as `datasets` writes them: "train[:90%]+validation".

    Returns:
        The names.
    """
    return [re.split(r"[\[(]", part, maxsplit=1)[0].strip() for part in asked.split("+")]


def open_source(spec: str, *, task: Task, flag: str = "--data") -> Source:
    """Find data, and say which splits it has. Files are not read yet.

    Args:
        spec: A file, a folder, or a data set's id, `ID[:CONFIG][@REVISION]`.
        task: The task that it is for.
        flag: The flag that names it, for messages.

    Returns:
        The source.

    Raises:
        DataError: there is nothing there, or it is no data.
        UsageError: there is no such data set on the Hub.
        HubError: the Hub refuses, or cannot be reached.
        DependencyError: `datasets` is needed and not installed.
    """
    path = _find_path(spec)
    try:
        if path is not None and path.is_dir():
            return _open_saved(path) if is_saved(path) else _open_folder(path, task=task, flag=flag)
        if path is not None and path.exists():
            return _open_file(path, task=task, flag=flag)
        return _open_hub(spec, flag=flag)
    except CorpusError as error:
        raise as_data_error(error) from error


def _find_path(spec: str) -> Path | None:
    """Give the path that a spec is, if anything is there."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # too long, a NUL byte, a home that is not there
        path = Path(spec).expanduser()
        return path if spec.strip() and path.exists() else None
    return None


def _open_file(path: Path, *, task: Task, flag: str) -> Source:
    if not path.is_file():
        raise DataError(f"`{path}` is no regular file.", do=f"Give a file or a folder with `{flag}`.")
    kind_of(path, task=task)
    return Source(name=str(path), splits=(), roles={}, read=lambda _: _read_files([path], None, task=task))


def _open_folder(folder: Path, *, task: Task, flag: str) -> Source:
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in KINDS)
    files = [file for file in files if file.stem.lower() not in ("readme", "license", "licence")]
    by_role = {role: [file for file in files if _role(file) == role] for role in ROLES}
    found = {role: paths for role, paths in by_role.items() if paths}
    if not found and len(files) == 1:
        return _open_file(files[0], task=task, flag=flag)
    if not found:
        names = ", ".join(file.name for file in files[:10]) or "no data files"
        raise DataError(
            f"The folder `{folder}` holds {names}, and none is called train, validation or test.",
            do=f"Name one file with `{flag}`.",
        )
    kinds = sorted({path.suffix.lower() for paths in found.values() for path in paths})
    if len({kind_of(path, task=task) for paths in found.values() for path in paths}) > 1:
        raise DataError(
            f"The splits in `{folder}` are files of several kinds: {', '.join(kinds)}.", do="Keep those of one kind."
        )
    return Source(
        name=str(folder),
        splits=tuple(found),
        roles={role: role for role in found},
        read=lambda split: _read_files(found[str(split)], split, task=task),
    )


def _role(path: Path) -> str | None:
    """Say what a file's name says it is for, as in `en_train.tsv` or `test-00000-of-00001.parquet`."""
    words = set(re.split(r"[^a-z]+", path.stem.lower()))
    found = [role for role, names in ROLES.items() if words & set(names)]
    return found[0] if len(found) == 1 else None


def _read_files(paths: list[Path], split: str | None, *, task: Task) -> Opened:
    try:
        digest = hash_files(paths)
    except CorpusError as error:
        raise as_data_error(error) from error
    tables = [read_file(path, task=task) for path in paths]
    table = tables[0] if len(tables) == 1 else _join(tables)
    short = "/".join(paths[0].resolve().parts[-2:])
    name = short if len(paths) == 1 else f"{short} and {len(paths) - 1} more"
    return Opened(table=table, record=_record(name, table, split=None, sha256=digest))


def _join(tables: list[Table]) -> Table:
    """Put the parts of a split, in the order of their files, into one table."""
    starts = [sum(table.count for table in tables[:number]) for number in range(len(tables))]

    def where(row: int) -> str:
        part = max(number for number, start in enumerate(starts) if start <= row and tables[number].count)
        return tables[part].where(row - starts[part])

    different = next((table for table in tables if set(table.columns) != set(tables[0].columns)), None)
    if different is not None:
        raise DataError(
            f"`{different.name}` has the columns {different.listed()}, and `{tables[0].name}` has {tables[0].listed()}.",
            do="Give the parts of a split the same columns.",
        )
    return replace(
        tables[0],
        count=sum(table.count for table in tables),
        cells=lambda column: [cell for table in tables for cell in table.cells(column)],
        where=where,
        floating=frozenset().union(*(table.floating for table in tables)),
        warnings=tuple(warning for table in tables for warning in table.warnings),
    )


def _open_saved(folder: Path) -> Source:
    library = _import_datasets(str(folder))
    try:
        loaded = library.load_from_disk(str(folder))
    except Exception as error:  # the library has no root error of its own
        raise DataError(
            f"Cannot read the data set in `{folder}`: {shorten(error)}.", do="Save it anew with `save_to_disk`."
        ) from error
    splits = dict(loaded) if isinstance(loaded, dict) else {}

    def read(split: str | None) -> Opened:
        dataset, files = (splits[str(split)], folder / str(split)) if splits else (loaded, folder)
        table = table_of_dataset(dataset, name=f"{folder}/{split}" if splits else str(folder))
        digest = hash_files(sorted(path for path in files.rglob("*") if path.is_file()))
        return Opened(table=table, record=_record("/".join(folder.resolve().parts[-2:]), table, split=split, sha256=digest))

    return Source(name=str(folder), splits=tuple(splits), roles=_find_roles(tuple(splits)), read=read)


def _open_hub(spec: str, *, flag: str) -> Source:
    asked = parse_id(spec)
    looks_like_file = spec.startswith(("/", "./", "../", "~")) or Path(spec).suffix.lower() in KINDS
    if asked is None or looks_like_file:
        raise DataError(
            f"There is no data `{shorten(spec)}`: no such file or folder, and not the id of a data set.",
            do=f"Check the path, or give `ID[:CONFIG][@REVISION]` of a data set on the Hub with `{flag}`.",
        )
    preset = find_preset(asked.name)
    language = asked.config
    known = preset or Preset(name=asked.name, config="{language}")
    dataset = DatasetId(name=known.name, config=known.find_config(language), revision=asked.revision)
    library = _import_datasets(dataset.name)
    commit = resolve_dataset(dataset.name, dataset.revision)
    splits = tuple(
        _ask(
            lambda: library.get_dataset_split_names(dataset.name, dataset.config, revision=commit),
            dataset,
            library,
        )
    )
    roles = {role: split for role, split in known.find_splits(language).items() if split in splits}
    if language is not None and known.splits and not roles:
        raise DataError(
            f"The data set `{known.name}` has no splits for `{shorten(language)}` (splits: {', '.join(splits)}).",
            do=f"Name a language that it has, as in `{known.name}:en`.",
        )
    return Source(
        name=spec,
        splits=splits,
        roles=roles or _find_roles(splits),
        columns=known.columns,
        language=(language or "") if preset else "",
        has_parts=True,
        read=lambda split: _read_hub(dataset, str(split), commit, known=known, library=library),
    )


def _read_hub(dataset: DatasetId, split: str, commit: str, *, known: Preset, library: Any) -> Opened:
    loaded = _ask(lambda: library.load_dataset(dataset.name, dataset.config, split=split, revision=commit), dataset, library)
    table = table_of_dataset(loaded, name=f"{dataset.name}, split {split}")
    names = {column: names for column, names in known.names.items() if column in table.columns}
    table = replace(table, declared={**names, **table.declared})
    record = _record(dataset.name, table, split=split, sha256=None)
    revision = _cached_commit(loaded) or commit
    if dataset.revision is not None and revision != commit:
        raise HubError(
            f"The cache holds `{dataset.name}` at commit {revision[:12]}, and `{shorten(dataset.revision)}` is asked for.",
            do="Let the Hub be asked: unset HF_HUB_OFFLINE.",
        )
    return Opened(table=table, record=replace(record, dataset=dataset.name, config=dataset.config, revision=revision))


def _ask(function: Callable[[], Any], dataset: DatasetId, library: Any) -> Any:
    """Ask the library for something of the Hub: no bars, and its many kinds of errors turned into ours."""

    def ask() -> Any:
        try:
            return function()
        except (ValueError, library.exceptions.DatasetGenerationError) as error:
            reason = shorten(error.__cause__ or error, most=300).rstrip(".")
            raise DataError(
                f"The data set `{dataset.name}` cannot be loaded: {reason}.",
                do="Name a config that it has (`ID:CONFIG`), or another data set, with `--data`.",
            ) from error

    with _without_bars(library):
        return call(ask, name=dataset.name, revision=dataset.revision)


def _cached_commit(loaded: Any) -> str | None:
    """Read the commit that a data set was made of from where the library keeps it; offline it may take another than asked."""
    folders = [part for file in loaded.cache_files for part in Path(str(file["filename"])).parts]
    return next((part for part in folders if _COMMIT.fullmatch(part)), None)


@contextlib.contextmanager
def _without_bars(library: Any) -> Iterator[None]:
    shown = library.utils.are_progress_bars_disabled() is False
    library.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            library.enable_progress_bars()


def _find_roles(splits: tuple[str, ...]) -> dict[str, str]:
    found = {role: next((name for name in names if name in splits), None) for role, names in ROLES.items()}
    return {role: name for role, name in found.items() if name is not None}


def _record(name: str, table: Table, *, split: str | None, sha256: str | None) -> SplitRecord:
    return SplitRecord(
        name=name, dataset=None, config=None, split=split, revision=None, sha256=sha256, part="", rows=table.count
    )


def _import_datasets(name: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DependencyError(
            f"Reading `{name}` needs `datasets`, which is not installed.", do="Install it with `pip install 'modxfer[data]'`."
        ) from error
    return datasets
