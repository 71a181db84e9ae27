"""The index of a registry: one SQLite file in the local store, made from the registry's files and brought up to date with them.

No file changes. A new one is written beside it, with what has changed, and put in its place in one step; so a reader sees
all of one or all of the other, whatever happens to the one who writes, and no lock is needed to read. Writers take turns.
"""

import contextlib
import hashlib
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from modxfer.errors import DependencyError
from modxfer.paths import home
from modxfer.registry.entries.folder import FoundFile, Registry
from modxfer.registry.entries.models import AlignmentEntry, ModuleEntry
from modxfer.registry.entries.reading import read_file
from modxfer.registry.search.rows import SCHEMA, Writer
from modxfer.registry.upkeep import LOCKS

logger = logging.getLogger(__name__)

SEARCH = "search"
"""The store's folder of indices."""

_APPLICATION, _VERSION = 0x6D786673, 1
_SLACK_NS = 2 * 10**9
"""A file may change again without its time of change showing it, for as long as the coarsest clock of a file system stands."""

_UNREADABLE = b""
"""What stands for the hash of a file that cannot be read."""

_FOLDERS = (f"{ModuleEntry.folder}/", f"{AlignmentEntry.folder}/")

_DAMAGED = (sqlite3.DatabaseError, ValueError, TypeError)
"""What reading a damaged index raises. If it was something else, it is raised again when a new one is read."""

Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index that agrees with its registry.

    Attributes:
        registry: The registry.
        connection: For reading.
        problems: Number of files that are left out, because something is wrong with them.
        warnings: What the user should know.
    """

    registry: Registry
    connection: sqlite3.Connection
    problems: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What a registry's files are now.

    Attributes:
        digest: Changes when a file does; for a fetched registry its commit.
        files: The entries' files.
        misplaced: Number of files that lie where they should not.
        seen: When this was asked, in nanoseconds since the epoch.
    """

    digest: str
    files: tuple[FoundFile, ...]
    misplaced: int
    seen: int


def use_index(registry: Registry, work: Callable[[Index], T], *, report: Progress | None = None) -> T:
    """Do something with a registry's index, after bringing it up to date.

    Args:
        registry: The registry.
        work: What is done; again with a new index, if the index turns out to be damaged.
        report: Called with the number of files read so far, and of all that are to be read.

    Returns:
        What `work` returns.

    Raises:
        DependencyError: this SQLite cannot search texts.
        OSError: the registry cannot be read.
    """
    with contextlib.suppress(*_DAMAGED), _open_fresh(registry, report, is_damaged=False) as index:
        return work(index)
    logger.warning("The index of `%s` was damaged, and is made anew.", registry.name)
    with _open_fresh(registry, report, is_damaged=True) as index:
        return work(index)


def index_path(registry: Registry) -> Path:
    """Say where a registry's index is kept.

    Args:
        registry: The registry.

    Returns:
        The file.
    """
    named = str(registry.root.resolve()) if registry.revision is None else f"{registry.name}@{registry.revision}"
    return home() / SEARCH / f"{hashlib.sha256(os.fsencode(named)).hexdigest()[:32]}.sqlite"


@contextlib.contextmanager
def _open_fresh(registry: Registry, report: Progress | None, *, is_damaged: bool) -> Iterator[Index]:
    path = index_path(registry)
    connection = None if is_damaged else _open(path)
    warnings: tuple[str, ...] = ()
    if connection is None or not _is_fresh(connection, registry):
        connection, warnings = _renew(path, registry, report, is_damaged=is_damaged)
    try:
        problems = _fact(connection, "problems")
        yield Index(
            registry=registry,
            connection=connection,
            problems=problems if isinstance(problems, int) else 0,
            warnings=warnings,
        )
    finally:
        connection.close()


def _open(path: Path) -> sqlite3.Connection | None:
    """Open an index for reading; None if there is none, or something else."""
    if not path.is_file():
        return None
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
    try:
        marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        if marks == [_APPLICATION, _VERSION] and _fact(connection, "digest") is not None:
            return connection
    except _DAMAGED:
        pass
    connection.close()
    return None


def _fact(connection: sqlite3.Connection, name: str) -> object:
    row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if row is None else row[0]


def _state(registry: Registry) -> _State:
    seen = time.time_ns()
    listing = registry.list_files()
    files = tuple(file for file in listing.files if file.path.startswith(_FOLDERS))
    digest = registry.revision or _digest(files, [problem.path for problem in listing.problems])
    return _State(digest=digest, files=files, misplaced=len(listing.problems), seen=seen)


def _digest(files: tuple[FoundFile, ...], others: list[str]) -> str:
    lines = [f"{file.path}\0{file.size_bytes}\0{file.modified_ns}" for file in files]
    text = "\n".join([*lines, "", *others])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _is_fresh(connection: sqlite3.Connection, registry: Registry, state: _State | None = None) -> bool:
    """Say whether an index agrees with the files, and close it if not. Of a fetched registry, files never change."""
    with contextlib.suppress(*_DAMAGED):
        digest = _fact(connection, "digest")
        if registry.revision is not None:
            is_fresh = digest == registry.revision
        else:
            state = state or _state(registry)
            is_fresh = digest == state.digest and _is_settled(connection, registry, state)
        if is_fresh:
            return True
    connection.close()
    return False


def _is_settled(connection: sqlite3.Connection, registry: Registry, state: _State) -> bool:
    """Say whether files that could have changed unseen are what they were, and none of them could be remembered as such now."""
    if _fact(connection, "unsettled") == 0:
        return True
    rows = connection.execute("SELECT path, changed, sha256 FROM files WHERE changed >= read - ?", (_SLACK_NS,))
    return all(changed >= state.seen - _SLACK_NS and _hash(registry, path) == sha256 for path, changed, sha256 in rows)


def _hash(registry: Registry, path: str) -> bytes:
    try:
        return hashlib.sha256((registry.root / path).read_bytes()).digest()
    except OSError:
        return _UNREADABLE


def _renew(
    path: Path, registry: Registry, report: Progress | None, *, is_damaged: bool
) -> tuple[sqlite3.Connection, tuple[str, ...]]:
    """Bring an index up to date, in the store or, if that cannot be written, in memory."""
    try:
        with _turn(path):
            state = _state(registry)
            found = None if is_damaged else _open(path)
            if found is not None and _is_fresh(found, registry, state):  # another process has done it meanwhile
                return found, ()
            _replace(path, registry, state, report, is_damaged=is_damaged)
            written = _open(path)
        if written is not None:
            return written, ()
        reason = "it is not there any more"
    except OSError as error:
        reason = error.strerror or str(error)
    except sqlite3.OperationalError as error:  # also what SQLite says of a full disk
        reason = str(error)
    connection = sqlite3.connect(":memory:", isolation_level=None)
    _update(connection, None if is_damaged else _open(path), registry, _state(registry), report)
    what = f"The index of the registry could not be kept in `{path.parent}` ({reason}), so the next search makes it again."
    return connection, (what,)


@contextlib.contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Wait until no other process writes this index."""
    from filelock import FileLock

    lock = home() / LOCKS / f"{SEARCH}-{path.stem}.lock"
    for folder in (lock.parent, path.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        yield


def _replace(path: Path, registry: Registry, state: _State, report: Progress | None, *, is_damaged: bool) -> None:
    """Write a new index beside the old one, and put it in its place."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    try:
        connection = sqlite3.connect(name, isolation_level=None)
        try:
            _update(connection, None if is_damaged else _open(path), registry, state, report)
        finally:
            connection.close()
        os.fsync(descriptor)
        Path(name).replace(path)
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)


def _update(
    connection: sqlite3.Connection,
    old: sqlite3.Connection | None,
    registry: Registry,
    state: _State,
    report: Progress | None,
) -> None:
    """Write an index: an old one, with what has changed since. Nobody else sees it yet, so nothing guards against a crash."""
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000")
    if old is None or not _copy(old, connection):
        _create(connection)
    connection.execute("BEGIN")
    _Update(connection, registry, state).run(report)
    connection.execute("COMMIT")


def _copy(old: sqlite3.Connection, connection: sqlite3.Connection) -> bool:
    """Copy an index; one that turns out to be damaged is left."""
    try:
        old.backup(connection)
        return True
    except sqlite3.DatabaseError:
        return False
    finally:
        old.close()


def _create(connection: sqlite3.Connection) -> None:
    try:
        connection.executescript(SCHEMA)
    except sqlite3.OperationalError as error:
        if "fts5" not in str(error):
            raise
        raise DependencyError(
            "The SQLite of this Python cannot search texts (it has no FTS5).", do="Use a Python whose SQLite has it."
        ) from error
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {_VERSION}")


class _Update:
    """Writes what has changed in a registry into its index."""

    def __init__(self, connection: sqlite3.Connection, registry: Registry, state: _State) -> None:
        self._connection = connection
        self._registry = registry
        self._state = state
        self._writer = Writer(connection)

    def run(self, report: Progress | None) -> None:
        """Read what may have changed, and write what has."""
        rows = self._connection.execute("SELECT path, size, changed, read, sha256 FROM files")
        known = {path: (size, changed, read, sha256) for path, size, changed, read, sha256 in rows}
        for path in known.keys() - {file.path for file in self._state.files}:
            self._writer.remove(path)
            self._connection.execute("DELETE FROM files WHERE path = ?", (path,))
        todo = [file for file in self._state.files if not _is_known(file, known.get(file.path))]
        for number, file in enumerate(todo):
            if report is not None:
                report(number, len(todo))
            self._read(file, known[file.path][3] if file.path in known else None)
        self._writer.finish()
        self._write_facts()

    def _read(self, file: FoundFile, known: bytes | None) -> None:
        """Take in a file, unless it still holds what it held."""
        try:
            content = (self._registry.root / file.path).read_bytes()
        except FileNotFoundError:  # removed since it was listed; the next listing differs
            return
        except OSError:
            content = None
        sha256 = _UNREADABLE if content is None else hashlib.sha256(content).digest()
        seen = (file.size_bytes, file.modified_ns, self._state.seen)
        if sha256 == known:
            sql = "UPDATE files SET size = ?, changed = ?, read = ? WHERE path = ?"
            self._connection.execute(sql, (*seen, file.path))
            return
        self._writer.remove(file.path)
        entry = None if content is None else read_file(file.path, content).entry
        if entry is not None:
            self._writer.add(file.path, entry)
        row = (file.path, *seen, sha256, entry is None)
        self._connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", row)

    def _write_facts(self) -> None:
        broken, unsettled = self._connection.execute(
            "SELECT coalesce(sum(broken), 0), coalesce(sum(changed >= read - ?), 0) FROM files", (_SLACK_NS,)
        ).fetchone()
        facts = {"digest": self._state.digest, "problems": broken + self._state.misplaced, "unsettled": unsettled}
        self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())


def _is_known(file: FoundFile, known: tuple[int, int, int, bytes] | None) -> bool:
    """Say whether a file holds what it held when it was read."""
    if known is None:
        return False
    size, changed, read, _ = known
    return (file.size_bytes, file.modified_ns) == (size, changed) and changed < read - _SLACK_NS
