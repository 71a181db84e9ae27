"""The local store: alignment maps by what they were computed from. Many processes may use one store."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.alignments.files import FORMAT_VERSION, read_alignment, write_alignment
from modxfer.errors import FormatError, OutputError, StoreError
from modxfer.paths import staged_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAlignment:
    """One alignment map in the store.

    Attributes:
        key: What it is stored under.
        folder: Where it lies.
        alignment: The map; None if it is damaged.
        size_bytes: Size of its files.
        used: When it was last used, in seconds since the epoch.
    """

    key: str
    folder: Path
    alignment: AlignmentMap | None
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
        return self.root / "hashes"

    def find(self, key: str) -> AlignmentMap | None:
        """Look a map up. A damaged one is set aside and counts as absent.

        Args:
            key: Its key.

        Returns:
            The map, or None.
        """
        try:
            return self._read(key)
        except FormatError:
            with self._lock(key):
                return self._read_or_set_aside(key)

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
        with self._lock(key):
            found = self._read_or_set_aside(key)
            if found is not None:
                return found, True
            self.add(key, compute())
        stored = self.find(key)
        if stored is None:
            raise StoreError(
                f"The map `{key[:12]}` was damaged as soon as it was stored in `{self.root}`.", do="Check the disk."
            )
        return stored, False

    def add(self, key: str, alignment: AlignmentMap) -> Path:
        """Store a map under a key.

        Args:
            key: The key.
            alignment: The map.

        Returns:
            The folder that holds it.

        Raises:
            StoreError: the store cannot be written.
        """
        folder = self._folder(key)
        try:
            with staged_folder(folder, force=True) as staging:
                write_alignment(replace(alignment, key=key), staging)
        except OutputError as error:
            raise StoreError(error.what, do="Make room, or choose another store with MODXFER_HOME.") from error
        return folder

    def list(self) -> Iterator[StoredAlignment]:
        """List what is stored.

        Yields:
            The maps, by key, damaged ones included.
        """
        for folder in sorted(self.root.glob("alignments/[0-9a-f]*")):
            try:
                alignment = read_alignment(folder)
            except FormatError:
                alignment = None
            size = sum(path.stat().st_size for path in folder.iterdir())
            yield StoredAlignment(
                key=folder.name, folder=folder, alignment=alignment, size_bytes=size, used=folder.stat().st_mtime
            )

    def resolve(self, prefix: str) -> str:
        """Find the one key that begins with a prefix.

        Args:
            prefix: The first digits of a key, or all of it.

        Returns:
            The key.

        Raises:
            StoreError: none or several begin with it.
        """
        keys = [path.name for path in sorted(self.root.glob("alignments/[0-9a-f]*")) if path.name.startswith(prefix)]
        if len(keys) != 1 or not prefix:
            found = "no alignment map" if not keys else f"{len(keys)} alignment maps"
            raise StoreError(
                f"{found.capitalize()} in `{self.root}` begins with `{prefix}`.", do="See `modxfer align list` for the ids."
            )
        return keys[0]

    def remove(self, key: str) -> None:
        """Remove a map.

        Args:
            key: Its key.

        Raises:
            StoreError: it cannot be removed.
        """
        with self._lock(key):
            try:
                shutil.rmtree(self._folder(key))
            except OSError as error:
                raise StoreError(f"Cannot remove `{self._folder(key)}`: {error.strerror}.", do="Remove it by hand.") from error

    def _read(self, key: str) -> AlignmentMap | None:
        """Read and verify a map; None if there is none, FormatError if it is damaged."""
        folder = self._folder(key)
        if not folder.is_dir():
            return None
        alignment = read_alignment(folder)
        if alignment.key != key:
            raise FormatError(f"`{folder}` holds the map `{alignment.key[:12]}`.", do="Compute it again.")
        with contextlib.suppress(OSError):
            os.utime(folder)
        return alignment

    def _read_or_set_aside(self, key: str) -> AlignmentMap | None:
        """Read a map, or move a damaged one away; whoever calls holds the lock, so nobody is rebuilding it."""
        try:
            return self._read(key)
        except FormatError as error:
            self._set_aside(self._folder(key), error)
            return None

    def _folder(self, key: str) -> Path:
        return self.root / "alignments" / key

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        from filelock import FileLock

        path = self.root / "locks" / f"{key}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            lock.acquire()
        except OSError as error:
            raise StoreError(
                f"Cannot lock `{path}`: {error.strerror or error}.", do="Choose another store with MODXFER_HOME."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _set_aside(self, folder: Path, error: FormatError) -> None:
        """Move a damaged object out of the way, so that it is rebuilt and can still be looked at."""
        aside = self.root / "damaged" / f"{folder.name}-{time.time_ns()}"
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


def alignment_key(inputs: Mapping[str, Any]) -> str:
    """Name an alignment map by everything that it is computed from.

    Args:
        inputs: JSON values: fingerprints, request, aligner, parameters.

    Returns:
        sha256 of their canonical JSON, 64 hexadecimal digits.
    """
    text = json.dumps({"format": FORMAT_VERSION, **inputs}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
