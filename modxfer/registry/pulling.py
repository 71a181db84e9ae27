"""Fetching a module or an alignment map from the Hub, and saying what came."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modxfer.alignments.files import RECORD, TENSORS, hash_file
from modxfer.converters.formats import inspect_files
from modxfer.converters.formats.needed import CARD
from modxfer.converters.module import BaseReference
from modxfer.errors import UsageError
from modxfer.paths import check_free, home, is_folder, staged_folder
from modxfer.registry.entries.references import is_registered, resolve
from modxfer.registry.hub.repositories import open_repository
from modxfer.registry.locate import LocatedModule, locate_module, locate_registered
from modxfer.registry.origin import write_origin
from modxfer.registry.published import PublishedMap, fetch_map, fetch_registered
from modxfer.registry.store import Store, alignment_key

if TYPE_CHECKING:
    from modxfer.registry.entries.models import AlignmentEntry, Entry

HOW, PULLED, FOUND, REGISTERED = "how", "pulled", "found", "registry"
"""In the origin of a stored map: whether the user asked for it, or it was found for one conversion: at its owner's, or in a
registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What was fetched.

    Attributes:
        kind: "module" or "alignment map".
        repository: The Hub id, as the Hub calls it now.
        revision: Commit hash.
        folder: Where the files lie: in the cache of `huggingface_hub`, or where they were asked for.
        files: File to sha256.
        size_bytes: Size of all files.
        base: What a module says of its base model; None for an alignment map.
        key: Id of an alignment map in the store; None for a module.
        entry: Id of the entry that it was named by; None if it was not.
    """

    kind: str
    repository: str
    revision: str
    folder: Path
    files: Mapping[str, str]
    size_bytes: int
    base: BaseReference | None = None
    key: str | None = None
    entry: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Give what `pull --json` prints.

        Returns:
            Plain values.
        """
        return {
            "kind": self.kind,
            "repository": self.repository,
            "revision": self.revision,
            "folder": str(self.folder),
            "files": dict(self.files),
            "size_bytes": self.size_bytes,
            "base_model": {"name": self.base.name, "revision": self.base.revision} if self.base else None,
            "id": self.key,
            "entry": self.entry,
        }


def pull(reference: str, *, output: Path | None = None, force: bool = False, registry: str | None = None) -> Pulled:
    """Fetch a module or an alignment map: only the files that it needs, and never a pickle where there is a safetensors file.

    An alignment map is also kept in the store, where conversions of its pair find it.

    Args:
        reference: Its Hub id with an optional `@revision`, or `registry:` with the id of an entry.
        output: A folder to copy the files to, with `origin.json` that says where they came from; None for the cache only.
        force: Replace an output that exists.
        registry: The registry that has the entry; None for what `MODXFER_REGISTRY` names.

    Returns:
        What was fetched.

    Raises:
        UsageError: there is no such repository, or no registry is named.
        FormatError: it holds neither, or something damaged.
        EntryError: there is no such entry, or its files are not what it pins.
        HubError: the Hub refuses or cannot be reached.
        OutputError: the output cannot be written.
    """
    if not is_registered(reference) and is_folder(reference):
        raise UsageError(f"`{reference}` is on this machine already.", do="Give a Hub id, as in `organisation/name`.")
    if output is not None:
        check_free(output, force=force)
    if is_registered(reference):
        pulled = _pull_entry(resolve(reference, registry))
    elif RECORD in open_repository(reference).files:
        pulled = _pull_map(fetch_map(reference))
    else:
        pulled = _pull_module(locate_module(reference))
    return pulled if output is None else _copy(pulled, output, force=force)


def pull_map(reference: str, *, output: Path | None = None, force: bool = False, registry: str | None = None) -> Pulled:
    """Fetch an alignment map, and keep it in the store, where conversions of its pair find it.

    Args:
        reference: Its Hub id with an optional `@revision`, or `registry:` with the id of an entry.
        output: A folder to copy the files to; None for the cache and the store only.
        force: Replace an output that exists.
        registry: The registry that has the entry; None for what `MODXFER_REGISTRY` names.

    Returns:
        What was fetched.

    Raises:
        UsageError: there is no such repository, or no registry is named.
        FormatError: it holds no alignment map, or a damaged one.
        EntryError: there is no such entry, or its files are not what it pins.
        HubError: the Hub refuses or cannot be reached.
        OutputError: the output cannot be written.
    """
    if output is not None:
        check_free(output, force=force)
    pulled = _pull_map(fetch_map(reference, registry=registry))
    return pulled if output is None else _copy(pulled, output, force=force)


def keep(published: PublishedMap, *, is_asked_for: bool) -> str:
    """Put a fetched map into the store, under a key of its own: what it says of itself is not taken for what we would compute.

    Args:
        published: The map.
        is_asked_for: Whether the user named it; it then serves every conversion of its pair, and else only those whose module
            or models are its owner's.

    Returns:
        Its key.

    Raises:
        StoreError: the store cannot be written.
    """
    how = {HOW: PULLED if is_asked_for else FOUND}
    key = alignment_key({"published": published.repository, "revision": published.revision, **how})
    Store(home()).keep(key, published.alignment, origin={**published.origin, **how})
    return key


def place(origin: Mapping[str, str] | None) -> dict[str, str] | None:
    """Say where a stored map is on the Hub.

    Args:
        origin: What is noted of where it was fetched from; None if it was computed here.

    Returns:
        Repository, revision and the id of the entry that led to it, as far as they are noted.
    """
    return {key: origin[key] for key in ("repository", "revision", "entry") if key in origin} if origin else None


def keep_registered(published: PublishedMap, *, key: str) -> None:
    """Put a map that a registry led to into the store: for conversions that look into a registry that has the same entry.

    Args:
        published: The map.
        key: From `registered_key`.

    Raises:
        StoreError: the store cannot be written.
    """
    Store(home()).keep(key, published.alignment, origin={**published.origin, HOW: REGISTERED})


def registered_key(entry: "AlignmentEntry") -> str:
    """Say under which key the map of an entry is stored, by what the entry pins.

    Args:
        entry: The entry.

    Returns:
        The key.
    """
    files = {file.path: file.sha256 for file in entry.source.files}
    return alignment_key(
        {"registered": entry.source.repository, "revision": entry.source.revision, "files": files, HOW: REGISTERED}
    )


def _pull_entry(entry: "Entry") -> Pulled:
    from modxfer.registry.entries.models import AlignmentEntry  # takes a while to import

    return _pull_map(fetch_registered(entry)) if isinstance(entry, AlignmentEntry) else _pull_module(locate_registered(entry))


def _pull_map(published: PublishedMap) -> Pulled:
    paths = [published.folder / name for name in (RECORD, TENSORS, CARD) if (published.folder / name).is_file()]
    return Pulled(
        kind="alignment map",
        repository=published.repository,
        revision=published.revision,
        folder=published.folder,
        files={path.name: hash_file(path) for path in sorted(paths)},
        size_bytes=sum(path.stat().st_size for path in paths),
        key=keep(published, is_asked_for=True),
        entry=published.entry,
    )


def _pull_module(located: LocatedModule) -> Pulled:
    assert located.revision is not None
    return Pulled(
        kind="module",
        repository=located.name,
        revision=located.revision,
        folder=located.folder,
        files={name: hash_file(located.folder / name) for name in located.files},
        size_bytes=sum((located.folder / name).stat().st_size for name in located.files),
        base=inspect_files(located.folder).base,
        entry=located.registered,
    )


def _copy(pulled: Pulled, output: Path, *, force: bool) -> Pulled:
    with staged_folder(output, force=force) as staging:
        for name in pulled.files:
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(pulled.folder / name, staging / name)
        write_origin(staging, repository=pulled.repository, revision=pulled.revision)
    return replace(pulled, folder=output)
