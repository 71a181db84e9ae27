"""Fetching a module or an alignment map from the Hub, and saying what came."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modxfer.alignments.files import RECORD, TENSORS, hash_file
from modxfer.converters.formats import inspect_files
from modxfer.converters.formats.needed import CARD
from modxfer.converters.module import BaseReference
from modxfer.errors import UsageError
from modxfer.paths import check_free, home, is_folder, staged_folder
from modxfer.registry.hub.repositories import open_repository
from modxfer.registry.locate import locate_module
from modxfer.registry.origin import write_origin
from modxfer.registry.published import PublishedMap, fetch_map
from modxfer.registry.store import Store, alignment_key

HOW, PULLED, FOUND = "how", "pulled", "found"
"""In the origin of a stored map: whether the user asked for it, or it was found for one conversion."""


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
    """

    kind: str
    repository: str
    revision: str
    folder: Path
    files: Mapping[str, str]
    size_bytes: int
    base: BaseReference | None = None
    key: str | None = None

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
        }


def pull(reference: str, *, output: Path | None = None, force: bool = False) -> Pulled:
    """Fetch a module or an alignment map: only the files that it needs, and never a pickle where there is a safetensors file.

    An alignment map is also kept in the store, where conversions of its pair find it.

    Args:
        reference: Its Hub id with an optional `@revision`.
        output: A folder to copy the files to, with `origin.json` that says where they came from; None for the cache only.
        force: Replace an output that exists.

    Returns:
        What was fetched.

    Raises:
        UsageError: there is no such repository.
        FormatError: it holds neither, or something damaged.
        HubError: the Hub refuses or cannot be reached.
        OutputError: the output cannot be written.
    """
    if is_folder(reference):
        raise UsageError(f"`{reference}` is on this machine already.", do="Give a Hub id, as in `organisation/name`.")
    if output is not None:
        check_free(output, force=force)
    pulled = _pull_map(reference) if RECORD in open_repository(reference).files else _pull_module(reference)
    return pulled if output is None else _copy(pulled, output, force=force)


def pull_map(reference: str, *, output: Path | None = None, force: bool = False) -> Pulled:
    """Fetch an alignment map, and keep it in the store, where conversions of its pair find it.

    Args:
        reference: Its Hub id with an optional `@revision`.
        output: A folder to copy the files to; None for the cache and the store only.
        force: Replace an output that exists.

    Returns:
        What was fetched.

    Raises:
        UsageError: there is no such repository.
        FormatError: it holds no alignment map, or a damaged one.
        HubError: the Hub refuses or cannot be reached.
        OutputError: the output cannot be written.
    """
    if output is not None:
        check_free(output, force=force)
    pulled = _pull_map(reference)
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


def _pull_map(reference: str) -> Pulled:
    published = fetch_map(reference)
    paths = [published.folder / name for name in (RECORD, TENSORS, CARD) if (published.folder / name).is_file()]
    return Pulled(
        kind="alignment map",
        repository=published.repository,
        revision=published.revision,
        folder=published.folder,
        files={path.name: hash_file(path) for path in sorted(paths)},
        size_bytes=sum(path.stat().st_size for path in paths),
        key=keep(published, is_asked_for=True),
    )


def _pull_module(reference: str) -> Pulled:
    located = locate_module(reference)
    assert located.revision is not None
    return Pulled(
        kind="module",
        repository=located.name,
        revision=located.revision,
        folder=located.folder,
        files={name: hash_file(located.folder / name) for name in located.files},
        size_bytes=sum((located.folder / name).stat().st_size for name in located.files),
        base=inspect_files(located.folder).base,
    )


def _copy(pulled: Pulled, output: Path, *, force: bool) -> Pulled:
    with staged_folder(output, force=force) as staging:
        for name in pulled.files:
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(pulled.folder / name, staging / name)
        write_origin(staging, repository=pulled.repository, revision=pulled.revision)
    return replace(pulled, folder=output)
