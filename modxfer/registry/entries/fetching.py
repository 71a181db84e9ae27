"""Registries on the Hub: a data set at one commit becomes a plain folder in the store, which is never there by halves.

Only what can be an entry is fetched. A file that has not changed since the last commit that was fetched is copied from there.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from modxfer.errors import ModxferError, OutputError, StoreError, UsageError
from modxfer.paths import home, staged_folder
from modxfer.registry.entries.fields import ID_PART, shown
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import FOLDERS, SETTINGS, Aliases
from modxfer.registry.entries.opening import HUB, no_registry
from modxfer.registry.entries.reading import LARGEST_BYTES
from modxfer.registry.hub.repositories import (
    Kind,
    RemoteFile,
    Repository,
    is_unreachable,
    last_seen,
    open_repository,
    parse_reference,
    say_once,
)
from modxfer.registry.upkeep import REGISTRIES, locked

logger = logging.getLogger(__name__)

_KIND: Kind = "dataset"
_MANIFEST = ".fetched.json"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_AT_ONCE = 8
_PLACES = re.compile(
    "|".join(
        [
            re.escape(SETTINGS),
            *(
                rf"{folder}/{ID_PART}\.yaml" if model is Aliases else rf"{folder}/{ID_PART}/{ID_PART}\.yaml"
                for folder, model in FOLDERS.items()
            ),
        ]
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a registry is on the Hub.

    Attributes:
        name: Id of the data set.
        revision: Branch, tag or commit; None for the main branch.
    """

    name: str
    revision: str | None

    @property
    def title(self) -> str:
        """What the registry is called."""
        return f"{HUB}{self.name}"

    def folder(self, commit: str) -> Path:
        """Where a commit of it is kept."""
        return home() / REGISTRIES / hashlib.sha256(f"{self.name}@{commit}".encode()).hexdigest()

    def registry(self, commit: str) -> Registry:
        """The registry that is kept there."""
        return Registry(root=self.folder(commit), name=self.title, revision=commit)

    def kept(self, commit: str | None) -> Registry | None:
        """The same, if it is there whole."""
        if commit is None or not _is_whole(self.folder(commit)):
            return None
        with contextlib.suppress(OSError):
            os.utime(self.folder(commit))  # that it is in use keeps it in the store
        return self.registry(commit)


def fetch_registry(reference: str) -> Registry:
    """Fetch a registry from the Hub, as far as it is not here.

    Args:
        reference: `hf://datasets/<organisation>/<name>` with an optional `@revision`.

    Returns:
        The registry, at the commit that the revision is at; if the Hub cannot be reached, at the last one that was seen.

    Raises:
        UsageError: there is no such data set or revision.
        EntryError: it is no registry.
        HubError: the Hub refuses, or cannot be reached and no copy is here.
        StoreError: the copy cannot be written.
    """
    place = _parse(reference)
    is_pinned = place.revision is not None and _COMMIT.fullmatch(place.revision) is not None
    seen = place.revision if is_pinned else last_seen(place.name, place.revision, kind=_KIND)
    before = place.kept(seen)
    if is_pinned and before is not None:
        return before
    at = f"@{place.revision}" if place.revision else ""
    try:
        repository = open_repository(f"{place.name}{at}", kind=_KIND, from_cache=False, optional=before is not None)
    except ModxferError as error:
        if before is None or not is_unreachable(error):
            raise
        say_once(f"The Hub could not be reached; `{place.title}` is taken at commit {str(seen)[:12]}, as last seen.")
        return before
    found = before if before is not None and repository.commit == seen else place.kept(repository.commit)
    if found is not None:
        return found
    files = _entry_files(repository, place)
    with locked(home(), place.folder(repository.commit).name):
        return place.kept(repository.commit) or _keep(repository, files, place, older=seen)


def _parse(reference: str) -> _Place:
    name, revision = parse_reference(reference.removeprefix(HUB))
    if "/" not in name:
        raise UsageError(
            f"{shown(reference)} does not say whose data set it is.", do=f"Name one as in `{HUB}organisation/name`."
        )
    return _Place(name=name, revision=revision)


def _entry_files(repository: Repository, place: _Place) -> list[RemoteFile]:
    """Choose the files of a registry, by what the Hub says of them; nothing else is asked for."""
    if SETTINGS not in repository.files:
        raise no_registry(place.title)
    inside = [file for path, file in repository.files.items() if path == SETTINGS or path.partition("/")[0] in FOLDERS]
    chosen = [file for file in inside if _PLACES.fullmatch(file.path) and file.size_bytes <= LARGEST_BYTES]
    kept = {file.path for file in chosen}
    left = sorted(file.path for file in inside if file.path not in kept and not file.path.endswith("/.gitkeep"))
    if left:
        logger.warning(
            "%d %s of `%s` cannot be an entry, by name or size, and is not fetched: %s%s",
            len(left),
            "file" if len(left) == 1 else "files",
            place.title,
            ", ".join(map(shown, left[:3])),
            ", ..." if len(left) > 3 else "",
        )
    return chosen


def _keep(repository: Repository, files: Iterable[RemoteFile], place: _Place, *, older: str | None) -> Registry:
    """Write the copy: beside its place, and put there in one step."""
    folder = place.folder(repository.commit)
    sources = [folder] if older is None else [folder, place.folder(older)]
    try:
        with staged_folder(folder, force=True) as staging:
            _fill(staging, repository, files, sources)
            _write_manifest(staging, repository)
    except OutputError as error:
        raise StoreError(error.what, do="Make room, or choose another store with MODXFER_HOME.") from error
    return place.registry(repository.commit)


def _fill(staging: Path, repository: Repository, files: Iterable[RemoteFile], sources: Iterable[Path]) -> None:
    """Write the files: what has not changed from an older copy, the rest from the Hub, some at once."""
    missing = []
    for file in files:
        (staging / file.path).parent.mkdir(parents=True, exist_ok=True)
        content = next((found for source in sources if (found := _read_same(source, file)) is not None), None)
        if content is None:
            missing.append(file.path)
        else:
            (staging / file.path).write_bytes(content)

    def fetch(path: str) -> None:
        (staging / path).write_bytes(repository.read(path))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for job in [pool.submit(fetch, path) for path in missing]:
                job.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)  # the rest would be fetched in vain
            raise


def _read_same(source: Path, file: RemoteFile) -> bytes | None:
    """Read a file from an older copy, if it is the same there."""
    path = source / file.path
    try:
        content = b"" if path.is_symlink() or path.stat().st_size != file.size_bytes else path.read_bytes()
    except OSError:
        return None
    return content if (file.sha256 or file.git_hash) and file.is_content(content) else None


def _write_manifest(folder: Path, repository: Repository) -> None:
    found = Registry(root=folder, name="").list_files().files
    files = {
        file.path: {
            "size": file.size_bytes,
            "changed": file.modified_ns,
            "sha256": hashlib.sha256((folder / file.path).read_bytes()).hexdigest(),
        }
        for file in found
    }
    content = {"name": repository.name, "commit": repository.commit, "files": files}
    (folder / _MANIFEST).write_text(json.dumps(content), encoding="utf-8")


def _is_whole(folder: Path) -> bool:
    """Say whether a copy holds what was fetched, and nothing else. What seems untouched is not read."""
    try:
        noted = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["files"]
        listing = Registry(root=folder, name="").list_files()
        return (
            not listing.problems
            and SETTINGS in noted
            and {file.path for file in listing.files} == set(noted)
            and all(
                (file.size_bytes, file.modified_ns) == (noted[file.path]["size"], noted[file.path]["changed"])
                or _has_hash(folder / file.path, noted[file.path])
                for file in listing.files
            )
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def _has_hash(path: Path, noted: Mapping[str, object]) -> bool:
    return hashlib.sha256(path.read_bytes()).hexdigest() == noted["sha256"]
