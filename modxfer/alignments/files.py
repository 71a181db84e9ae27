"""The files of an alignment map: `alignment.safetensors`, and `alignment.json` that says what is in it and pins its hash."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from modxfer.alignments.alignment_map import (
    ARRAYS,
    SIZES,
    AlignmentMap,
    BaseRecord,
    CorpusRecord,
    SiteMap,
    SitePair,
    SiteScore,
)
from modxfer.errors import FormatError

FORMAT_VERSION = 1
TENSORS, RECORD = "alignment.safetensors", "alignment.json"


def write_alignment(alignment: AlignmentMap, folder: Path) -> None:
    """Write an alignment map into an empty folder.

    Args:
        alignment: The map.
        folder: The folder.
    """
    from safetensors.numpy import save

    tensors = {
        f"{pair}/{name}": np.ascontiguousarray(array)
        for pair, site_map in sorted(alignment.maps.items(), key=lambda item: str(item[0]))
        for name in ARRAYS
        if (array := getattr(site_map, name)) is not None
    }
    content = save(tensors, metadata={"format": "modxfer.alignment"})  # of two entries, the order varies
    (folder / TENSORS).write_bytes(content)
    record: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "key": alignment.key,
        "teacher": asdict(alignment.teacher),
        "student": asdict(alignment.student),
        "corpus": asdict(alignment.corpus),
        "aligner": alignment.aligner,
        "requested": alignment.requested,
        "reason": alignment.reason,
        "parameters": dict(alignment.parameters),
        "mean_correlation": alignment.mean_correlation,
        "sites": [
            {"student": str(pair.student), "teacher": str(pair.teacher)}
            | asdict(alignment.scores[pair])
            | {name: getattr(alignment.maps[pair], name) for name in SIZES}
            for pair in sorted(alignment.scores, key=str)
        ],
        "warnings": list(alignment.warnings),
        "versions": dict(alignment.versions),
        "files": {TENSORS: hash_file(folder / TENSORS)},
    }
    record["sha256"] = _hash_record(record)
    (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """Read what an alignment map says of itself, without its tensors, and check it against its own hash.

    Args:
        folder: The folder that holds `alignment.json`.

    Returns:
        The record.

    Raises:
        FormatError: it is missing, damaged, of another version, or no record of an alignment map.
    """
    record = _read_record(folder / RECORD)
    if record.get("sha256") != _hash_record(record):
        raise FormatError(
            f"`{folder / RECORD}` is damaged: it was changed after it was written.",
            do="Fetch the map again, or compute it with `modxfer align compute`.",
        )
    return record


def read_alignment(folder: Path, *, verify: bool = True) -> AlignmentMap:
    """Read an alignment map. Its arrays stay on disk until they are asked for.

    Args:
        folder: The folder that holds it.
        verify: Check the hashes of record and tensors.

    Returns:
        The map.

    Raises:
        FormatError: a file is missing, damaged, of another version, or not an alignment map.
    """
    record = _read_record(folder / RECORD)
    _check_files(folder, record, verify=verify)
    return alignment_of(record, folder)


def alignment_of(record: Mapping[str, Any], folder: Path) -> AlignmentMap:
    """Give an alignment map whose record was read.

    Args:
        record: What `alignment.json` holds.
        folder: The folder that holds its tensors; without them all but its maps is there.

    Returns:
        The map.

    Raises:
        FormatError: this is no record of an alignment map.
    """
    try:
        sites = record["sites"]
        pairs = [SitePair.parse(f"{site['student']}<-{site['teacher']}") for site in sites]
        scores = {
            pair: SiteScore(**{field.name: site[field.name] for field in fields(SiteScore)})
            for pair, site in zip(pairs, sites, strict=True)
        }
        sizes = {pair: {name: float(site[name]) for name in SIZES} for pair, site in zip(pairs, sites, strict=True)}
        alignment = AlignmentMap(
            teacher=BaseRecord(**record["teacher"]),
            student=BaseRecord(**record["student"]),
            corpus=CorpusRecord(**record["corpus"]),
            aligner=record["aligner"],
            requested=record["requested"],
            reason=record["reason"],
            parameters=record["parameters"],
            maps=_MapsOnDisk(path=folder / TENSORS, sizes=sizes) if (folder / TENSORS).is_file() else {},
            scores=scores,
            warnings=tuple(record["warnings"]),
            versions=record["versions"],
            key=record["key"],
        )
    except (LookupError, TypeError, ValueError) as error:
        raise FormatError(
            f"`{folder / RECORD}` is not the record of an alignment map: {type(error).__name__} {error}.",
            do="Compute the map again with `modxfer align compute`.",
        ) from error
    return alignment


def _check_files(folder: Path, record: Mapping[str, Any], *, verify: bool) -> None:
    """Hold record and tensors against the hashes in the record."""
    if not (folder / TENSORS).is_file():
        raise FormatError(f"`{folder}` holds no `{TENSORS}`.", do="Compute the map again with `modxfer align compute`.")
    if not verify:
        return
    what = None
    try:
        found = hash_file(folder / TENSORS)
    except OSError as error:  # another process removes it at this moment, or the disk fails
        raise FormatError(
            f"Cannot read `{folder / TENSORS}`: {error}.", do="Compute the map again with `modxfer align compute`."
        ) from error
    if record.get("sha256") != _hash_record(record):
        what = f"`{folder / RECORD}` is damaged: it was changed after it was written."
    elif found != record.get("files", {}).get(TENSORS):
        what = f"`{folder / TENSORS}` is damaged: its sha256 is not the one that `{RECORD}` says."
    if what is not None:
        raise FormatError(what, do="Fetch the map again, or compute it with `modxfer align compute`.")


def _hash_record(record: Mapping[str, Any]) -> str:
    """Hash what a record says, whatever its layout."""
    content = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Hash a file without reading it whole.

    Args:
        path: The file.

    Returns:
        sha256, 64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class _MapsOnDisk(Mapping[SitePair, SiteMap]):
    """The maps of a file, each read when it is asked for."""

    path: Path
    sizes: Mapping[SitePair, Mapping[str, float]]

    def __getitem__(self, pair: SitePair) -> SiteMap:
        sizes: Mapping[str, Any] = self.sizes[pair]
        with self._open(f"`{pair}` in `{self.path}`") as file:
            names = [name for name in ARRAYS if f"{pair}/{name}" in file.keys()]  # noqa: SIM118 (not a mapping)
            arrays: dict[str, Any] = {name: file.get_tensor(f"{pair}/{name}") for name in names}
            return SiteMap(**arrays, **sizes)

    def arrays(self) -> Mapping[SitePair, frozenset[str]]:
        """Name the arrays of each pair of sites, which are not read for that.

        Returns:
            Pair of sites to the fields of its map that are there.
        """
        with self._open(f"`{self.path}`") as file:
            keys = frozenset(file.keys())
        return {pair: frozenset(name for name in ARRAYS if f"{pair}/{name}" in keys) for pair in self.sizes}

    @contextlib.contextmanager
    def _open(self, what: str) -> Iterator[Any]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="np") as file:
                yield file
        except (OSError, SafetensorError, TypeError) as error:
            raise FormatError(
                f"Cannot read {what}: {error}.", do="Compute the map again with `modxfer align compute`."
            ) from error

    def __iter__(self) -> Iterator[SitePair]:
        return iter(self.sizes)

    def __len__(self) -> int:
        return len(self.sizes)


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError(
            f"`{path.parent}` is no alignment map: it holds no `{RECORD}`.",
            do="Name a folder that `modxfer align compute` wrote.",
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FormatError(f"Cannot read `{path}`: {error}.", do="Fetch or compute the map again.") from error
    version = record.get("format_version") if isinstance(record, dict) else None
    if version != FORMAT_VERSION:
        raise FormatError(
            f"`{path}` has format version {version}, and this modxfer reads version {FORMAT_VERSION}.",
            do="Compute the map again, or install the modxfer that wrote it.",
        )
    return dict(record)
