"""What takes room in the store, how old it is, and how it goes without anybody meeting half of it."""

import contextlib
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modxfer.errors import StoreError, UsageError

MAPS, DAMAGED, LOCKS, HASHES, LISTINGS, REGISTRIES = "alignments", "damaged", "locks", "hashes", "listings", "registries"
"""The store's folders."""

KEYS = "[0-9a-f]*"
"""What names of maps look like; those of unfinished ones begin with a dot."""

_DAY_SECONDS = 86_400
_UNFINISHED_DAYS = 1
"""Nothing that is younger was left behind for sure: a process may be writing it."""


@contextlib.contextmanager
def locked(root: Path, key: str) -> Iterator[None]:
    """Let one process at a time work on something in the store; the others find it afterwards.

    Args:
        root: The store's folder.
        key: What is worked on.

    Yields:
        Nothing, while the lock is held.

    Raises:
        StoreError: the lock cannot be made.
    """
    from filelock import FileLock

    path = root / LOCKS / f"{key}.lock"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something that takes room in the store.

    Attributes:
        kind: "map", "damaged" (set aside), "unfinished" (left by a process that was killed), "hash",
            "listing" (what the Hub said of a repository), "registry" (a copy of one on the Hub) or "lock".
        path: Where it lies.
        key: The key of the map or registry that it belongs to; empty for a hash or a listing.
        size_bytes: Its size.
    """

    kind: str
    path: Path
    key: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What pruning did.

    Attributes:
        removed: What was removed, or would have been.
        in_use: What stayed because another process works on it.
    """

    removed: tuple[Item, ...]
    in_use: tuple[Item, ...]

    @property
    def size_bytes(self) -> int:
        """Size of all that was removed."""
        return sum(item.size_bytes for item in self.removed)


def prunable(root: Path, *, older_than_days: int | float, now: float, only_damaged: bool) -> Iterator[tuple[Item, float]]:
    """List what is old enough to go; each kind is looked for when it is its turn, locks last.

    Args:
        root: The store's folder.
        older_than_days: Age from which something goes, in days; 0 for all.
        now: The time, in seconds since the epoch.
        only_damaged: List nothing but maps that were set aside as damaged.

    Yields:
        Maps, those set aside as damaged, copies of registries, and remembered hashes and listings of that age; what is
        unfinished after a day; all locks. With each comes the time since which nothing may have touched it, in seconds since
        the epoch.

    Raises:
        UsageError: the age is no number of days.
    """
    if not 0 <= older_than_days < math.inf:
        raise UsageError(f"`--keep-days {older_than_days:g}` is no number of days.", do="Give 0 to remove all, or more.")
    limit, day_ago = now - older_than_days * _DAY_SECONDS, now - _UNFINISHED_DAYS * _DAY_SECONDS
    places = [("damaged", f"{DAMAGED}/{KEYS}", limit)]
    if not only_damaged:
        places += [
            ("map", f"{MAPS}/{KEYS}", limit),
            ("registry", f"{REGISTRIES}/{KEYS}", limit),
            ("unfinished", f"{MAPS}/.{KEYS}-*", day_ago),
            ("unfinished", f"{REGISTRIES}/.{KEYS}-*", day_ago),
            ("hash", f"{HASHES}/*", limit),
            ("listing", f"{LISTINGS}/*", limit),
            ("lock", f"{LOCKS}/*.lock", math.inf),
        ]
    for kind, pattern, oldest in places:
        yield from ((item, oldest) for item in _items(root, kind, pattern) if is_older(item, oldest))


def damaged(root: Path) -> Iterator[Item]:
    """List the damaged maps that were moved out of the way.

    Args:
        root: The store's folder.

    Yields:
        They, by key and age.
    """
    yield from _items(root, "damaged", f"{DAMAGED}/{KEYS}")


def is_older(item: Item, limit: float) -> bool:
    """Say whether something was left alone since some time.

    Args:
        item: What it is.
        limit: The time, in seconds since the epoch.

    Returns:
        Whether it was last used, set aside, or written to by then; not if it is gone.
    """
    path, moment = item.path, item.path.name.rpartition("-")[2]
    try:
        if item.kind == "damaged" and moment.isdecimal():  # when it was set aside; moving a folder leaves its time alone
            return int(moment) <= limit * 1e9
        times = [path.stat().st_mtime]
        if item.kind == "unfinished":
            times += [file.stat().st_mtime for file in _files(path)]
    except FileNotFoundError:
        return False
    return max(times) <= limit


def delete(path: Path) -> None:
    """Delete a file or a folder; a map or registry goes out of sight first, so that nobody meets half of it.

    Args:
        path: The file or folder; it may be gone.

    Raises:
        StoreError: it cannot be removed.
    """
    try:
        gone = path
        if path.parent.name in (MAPS, REGISTRIES) and not path.name.startswith("."):
            gone = path.rename(path.with_name(f".{path.name}-{time.time_ns()}"))  # as what is unfinished
        if gone.is_dir() and not gone.is_symlink():
            shutil.rmtree(gone)
        else:
            gone.unlink()
    except FileNotFoundError:  # another process removes it too
        return
    except OSError as error:
        raise StoreError(f"Cannot remove `{path}`: {error.strerror}.", do="Remove it by hand.") from error


def size_of(path: Path) -> int:
    """Add up the sizes of a folder's files.

    Args:
        path: A folder, or a file.

    Returns:
        The size in bytes; what goes away meanwhile does not count.
    """
    total = 0
    for file in _files(path):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def _files(path: Path) -> Iterator[Path]:
    """List the files of a folder, or the file itself; folders that go away meanwhile are passed over."""
    if not path.is_dir():
        yield path
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in names)


def _items(root: Path, kind: str, pattern: str) -> Iterator[Item]:
    for path in sorted(root.glob(pattern)):
        key = "" if kind in ("hash", "listing") else path.name.removeprefix(".").removesuffix(".lock").partition("-")[0]
        yield Item(kind=kind, path=path, key=key, size_bytes=size_of(path))
