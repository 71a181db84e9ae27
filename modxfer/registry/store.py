"""The local store: alignment maps by what they were computed from. Many processes may use one store."""

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.alignments.files import FORMAT_VERSION, read_alignment, write_alignment
from modxfer.errors import FormatError, OutputError, StoreError
from modxfer.paths import staged_folder
from modxfer.registry.upkeep import (
    DAMAGED,
    HASHES,
    KEYS,
    LOCKS,
    MAPS,
    Item,
    Pruned,
    damaged,
    delete,
    is_older,
    locked,
    prunable,
    size_of,
)

logger = logging.getLogger(__name__)

_ORIGIN = "origin.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAlignment:
    """One alignment map in the store.

    Attributes:
        key: What it is stored under.
        folder: Where it lies.
        alignment: The map; None if it is damaged.
        origin: Where it was fetched from (`repository`, `revision`); None if it was computed here, empty if nobody can tell.
        size_bytes: Size of its files.
        used: When it was last used, in seconds since the epoch.
    """

    key: str
    folder: Path
    alignment: AlignmentMap | None
    origin: Mapping[str, str] | None
    size_bytes: int
    used: float


@dataclass(frozen=True, slots=True)
class Store:
    """The store in one folder.

    Attributes:
        root: The folder; made when something is first stored.
    """

    root: Path

    @property
    def hashes(self) -> Path:
        """Where hashes of base models' files are remembered."""
        return self.root / HASHES

    def find(self, key: str, *, is_use: bool = True) -> AlignmentMap | None:
        """Look a map up. A damaged one is set aside and counts as absent.

        Args:
            key: Its key.
            is_use: Whether this makes the map recent; not where it is only looked at, see `mark_used`.

        Returns:
            The map, or None.
        """
        try:
            found = self._read(key)
        except FormatError:
            with locked(self.root, key):
                found = self._read_or_set_aside(key)
        if is_use and found is not None:
            self.mark_used(key)
        return found

    def mark_used(self, key: str) -> None:
        """Make a map recent, so that pruning leaves it; a store that cannot be written stays as it is.

        Args:
            key: Its key.
        """
        with contextlib.suppress(OSError):
            os.utime(self._folder(key))

    def find_or_compute(self, key: str, compute: Callable[[], AlignmentMap]) -> tuple[AlignmentMap, bool]:
        """Look a map up, or compute and store it; of several processes that ask for one key, one computes and the others wait.

        Args:
            key: Its key.
            compute: Computes it.

        Returns:
            The map, read back from the store, and whether it was there.

        Raises:
            StoreError: the store cannot be written.
        """
        found = self.find(key)
        if found is not None:
            return found, True
        with locked(self.root, key):
            found = self._read_or_set_aside(key)
            if found is not None:
                self.mark_used(key)
                return found, True
            self.add(key, compute())
            stored = self._read_or_set_aside(key)
        if stored is None:
            raise StoreError(
                f"The map `{key[:12]}` was damaged as soon as it was stored in `{self.root}`.", do="Check the disk."
            )
        return stored, False

    def add(self, key: str, alignment: AlignmentMap, *, origin: Mapping[str, str] | None = None) -> Path:
        """Store a map under a key.

        Args:
            key: The key.
            alignment: The map.
            origin: Where it was fetched from (`repository`, `revision`); None if it was computed here.

        Returns:
            The folder that holds it.

        Raises:
            StoreError: the store cannot be written.
        """
        folder = self._folder(key)
        try:
            with staged_folder(folder, force=True) as staging:
                write_alignment(replace(alignment, key=key), staging)
                if origin is not None:
                    (staging / _ORIGIN).write_text(json.dumps(dict(origin), indent=2) + "\n", encoding="utf-8")
        except OutputError as error:
            raise StoreError(error.what, do="Make room, or choose another store with MODXFER_HOME.") from error
        return folder

    def list(self) -> Iterator[StoredAlignment]:
        """List what is stored. To look at a map is no use of it.

        Yields:
            The maps, by key, damaged ones included.
        """
        for folder in sorted(self.root.glob(f"{MAPS}/{KEYS}")):
            alignment = None
            with contextlib.suppress(FormatError, OSError):
                alignment = _read_object(folder)
            try:
                stored = StoredAlignment(
                    key=folder.name,
                    folder=folder,
                    alignment=alignment,
                    origin=_read_origin(folder),
                    size_bytes=size_of(folder),
                    used=folder.stat().st_mtime,
                )
            except FileNotFoundError:  # another process has removed it meanwhile
                continue
            yield stored

    def keep(self, key: str, alignment: AlignmentMap, *, origin: Mapping[str, str]) -> None:
        """Store a map that was fetched, unless the same one is there; of several processes that do so, one writes.

        Args:
            key: The key.
            alignment: The map.
            origin: Where it was fetched from, and how.

        Raises:
            StoreError: the store cannot be written.
        """
        with locked(self.root, key):
            if self._read_or_set_aside(key) is None or _read_origin(self._folder(key)) != dict(origin):
                self.add(key, alignment, origin=origin)

    def locate(self, prefix: str) -> Path:
        """Find the folder of the one map whose key begins with a prefix.

        Args:
            prefix: The first digits of a key, or all of it.

        Returns:
            The folder.

        Raises:
            StoreError: none or several begin with it.
        """
        return self._folder(self.resolve(prefix))

    def pulled(self) -> Iterator[tuple[str, dict[str, str]]]:
        """List the maps that came from the Hub.

        Yields:
            Key, and where the map came from.
        """
        for folder in sorted(self.root.glob(f"{MAPS}/{KEYS}")):
            if (origin := _read_origin(folder)) is not None:
                yield folder.name, origin

    def set_aside(self) -> tuple[Item, ...]:
        """List the damaged maps that were moved out of the way.

        Returns:
            They, by key and age.
        """
        return tuple(damaged(self.root))

    def resolve(self, prefix: str) -> str:
        """Find the one key that begins with a prefix.

        Args:
            prefix: The first digits of a key, or all of it.

        Returns:
            The key.

        Raises:
            StoreError: none or several begin with it.
        """
        keys = [path.name for path in sorted(self.root.glob(f"{MAPS}/{KEYS}")) if path.name.startswith(prefix)]
        if len(keys) != 1 or not prefix:
            found = "no alignment map" if not keys else f"{len(keys)} alignment maps"
            raise StoreError(
                f"{found.capitalize()} in `{self.root}` begins with `{prefix}`.", do="See `modxfer align list` for the ids."
            )
        return keys[0]

    def remove(self, key: str) -> None:
        """Remove a map, damaged or not.

        Args:
            key: Its key.

        Raises:
            StoreError: it is not there, or cannot be removed.
        """
        folder = self._folder(key)
        with locked(self.root, key):
            if not folder.exists():
                raise StoreError(f"Cannot remove `{folder}`: it is not there.", do="See `modxfer align list` for the ids.")
            delete(folder)

    def prune(self, *, older_than_days: int | float, now: float, only_damaged: bool = False, dry_run: bool = False) -> Pruned:
        """Remove what has not been used for some time, and what nothing will ever use again.

        Maps, damaged ones that were set aside and remembered hashes go by their age. What killed processes left of maps that
        they were writing goes after a day, and locks go that nobody holds. What another process is at work on stays.

        Args:
            older_than_days: Age from which something goes, in days; 0 for all.
            now: The time, in seconds since the epoch.
            only_damaged: Remove nothing but maps that were set aside as damaged.
            dry_run: Remove nothing, and tell what would go.

        Returns:
            What was removed, and what stayed because it is in use.

        Raises:
            UsageError: the age is no number of days.
            StoreError: something cannot be removed.
        """
        removed, in_use = [], []
        for item, oldest in prunable(self.root, older_than_days=older_than_days, now=now, only_damaged=only_damaged):
            with self._lock_if_free(item, create=not dry_run) as is_free:
                if not is_free and item.kind != "lock":
                    in_use.append(item)
                if is_free and is_older(item, oldest):  # nobody has used it while we got its lock
                    removed.append(item)
                    if not dry_run:
                        delete(item.path)
        return Pruned(removed=tuple(removed), in_use=tuple(in_use))

    def _read(self, key: str) -> AlignmentMap | None:
        """Read and verify a map; None if there is none, FormatError if it is damaged."""
        folder = self._folder(key)
        if not folder.is_dir():
            return None
        return _read_object(folder)

    def _read_or_set_aside(self, key: str) -> AlignmentMap | None:
        """Read a map, or move a damaged one away; whoever calls holds the lock, so nobody is rebuilding it."""
        try:
            return self._read(key)
        except FormatError as error:
            self._set_aside(self._folder(key), error)
            return None

    def _folder(self, key: str) -> Path:
        return self.root / MAPS / key

    @contextlib.contextmanager
    def _lock_if_free(self, item: Item, *, create: bool) -> Iterator[bool]:
        """Hold the lock of an item's key, unless another process does; gives whether that is so.

        Nobody works on hashes, listings and what was set aside. A lock that was never made is free.
        """
        from filelock import FileLock, Timeout

        path = self.root / LOCKS / f"{item.key}.lock"
        if item.kind in ("hash", "listing", "damaged") or not (create or path.exists()):
            yield True
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock, is_free = FileLock(path), True
            lock.acquire(blocking=False)
        except Timeout:
            is_free = False
        except OSError as error:
            raise StoreError(f"Cannot lock `{path}`: {error.strerror or error}.", do="Remove it by hand.") from error
        try:
            yield is_free
        finally:
            if is_free:
                lock.release()

    def _set_aside(self, folder: Path, error: FormatError) -> None:
        """Move a damaged object out of the way, so that it is rebuilt and can still be looked at."""
        aside = self.root / DAMAGED / f"{folder.name}-{time.time_ns()}"
        logger.warning("%s It was moved to `%s`.", error.what, aside)
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(aside)
        except FileNotFoundError:
            return
        except OSError as reason:
            raise StoreError(
                f"Cannot set the damaged `{folder}` aside: {reason.strerror}.", do="Remove it by hand."
            ) from reason


def _read_object(folder: Path) -> AlignmentMap:
    """Read and verify what lies under a key."""
    alignment = read_alignment(folder)
    if alignment.key != folder.name:
        raise FormatError(f"`{folder}` holds the map `{alignment.key[:12]}`.", do="Compute it again.")
    return alignment


def _read_origin(folder: Path) -> dict[str, str] | None:
    """Read where a map was fetched from; empty if what is there says nothing."""
    try:
        content = json.loads((folder / _ORIGIN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return {}
    return {key: value for key, value in content.items() if isinstance(value, str)} if isinstance(content, dict) else {}


def alignment_key(inputs: Mapping[str, Any]) -> str:
    """Name an alignment map by everything that it is computed from.

    Args:
        inputs: JSON values: fingerprints, request, aligner, parameters.

    Returns:
        sha256 of their canonical JSON, 64 hexadecimal digits.
    """
    text = json.dumps({"format": FORMAT_VERSION, **inputs}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
