"""A registry on disk: a folder with `registry.yaml`, and a YAML file for each entry."""

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from modxfer.errors import EntryError
from modxfer.registry.card_text import code
from modxfer.registry.entries.fields import ID_PART, shown
from modxfer.registry.entries.models import FOLDERS, SETTINGS, Aliases, AlignmentEntry, Entry, ModuleEntry
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import LARGEST_BYTES, ReadFile, id_of, path_of, problem_at_start, read_file

E = TypeVar("E", ModuleEntry, AlignmentEntry)

_NAME = re.compile(ID_PART)
_SUFFIX = ".yaml"
_LONGEST_ID = 200  # longer names are none that a file can have


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file of a registry that can be read.

    Attributes:
        path: Where it lies, relative to the registry, with "/".
        size_bytes: Its size.
        modified_ns: When it was changed last, in nanoseconds since the epoch.
    """

    path: str
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What lies in a registry.

    Attributes:
        files: Its files, in order of their paths: settings, entries and aliases.
        problems: What lies where it should not; none of that is opened.
    """

    files: tuple[FoundFile, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A registry on disk. Nothing of it is held in memory.

    Attributes:
        root: Its folder.
        name: What the user calls it: the folder as typed, or `hf://datasets/org/name`.
        revision: Commit hash, for one that was fetched from the Hub.
    """

    root: Path
    name: str
    revision: str | None = None

    def list_files(self, folders: Collection[str] = tuple(FOLDERS)) -> Listing:
        """List its files. Links are reported and never followed, so nothing outside the folder is read.

        Args:
            folders: Which of its folders to look into.

        Returns:
            The files, and what lies where it should not.
        """
        files: list[FoundFile] = []
        problems: list[Problem] = []
        for found in _walk(self.root, folders):
            if isinstance(found, FoundFile):
                files.append(found)
            else:
                problems.append(found)
        return Listing(
            files=tuple(sorted(files, key=lambda file: file.path)),
            problems=tuple(sorted(problems, key=lambda problem: problem.path)),
        )

    def read(self, path: str) -> ReadFile:
        """Read one of its files.

        Args:
            path: Where it lies, as `list_files` gives it.

        Returns:
            Its model, or all that is wrong with it.

        Raises:
            OSError: it cannot be read.
        """
        return read_file(path, (self.root / path).read_bytes())

    def find(self, model: type[E], id: str) -> E:
        """Read an entry by its id, or by an alias of it.

        Args:
            model: The kind of entry.
            id: `<namespace>/<name>`.

        Returns:
            The entry.

        Raises:
            EntryError: there is none, or something is wrong with it.
        """
        path = self._path(model, id)
        if not _is_plain_file(self.root, path):
            raise self._unknown(model, id_of(path))
        read = self.read(path)
        if not isinstance(read.model, model):
            raise self._wrong(read)
        return read.model

    def has(self, model: type[Entry], id: str) -> bool:
        """Say whether there is an entry of an id, or of an alias; it is not read.

        Args:
            model: The kind of entry.
            id: `<namespace>/<name>`.

        Returns:
            Whether there is.

        Raises:
            EntryError: this is no id, or something is wrong with the namespace's aliases.
        """
        return _is_plain_file(self.root, self._path(model, id))

    def entries(self) -> Iterator[Entry]:
        """Read all entries with which nothing is wrong.

        Yields:
            The entries, in order of their paths.
        """
        for file in self.list_files().files:
            read = self.read(file.path)
            if read.entry is not None:
                yield read.entry

    def _path(self, model: type[Entry], id: str) -> str:
        """Say where an entry is: under its own id, else where an alias leads; it need not be there."""
        namespace, _, name = id.partition("/")
        if not _NAME.fullmatch(namespace) or not _NAME.fullmatch(name) or len(id) > _LONGEST_ID:
            raise EntryError(f"{shown(id)} is not an entry's id.", do="Write `<namespace>/<name>`, in lower case.")
        path = path_of(model, id)
        if _is_plain_file(self.root, path):
            return path
        return path_of(model, f"{namespace}/{self._aliases(namespace, model).get(name, name)}")

    def _aliases(self, namespace: str, model: type[Entry]) -> dict[str, str]:
        path = path_of(Aliases, namespace)
        if not _is_plain_file(self.root, path):
            return {}
        read = self.read(path)
        if not isinstance(read.model, Aliases):
            raise self._wrong(read)
        return read.model.modules if model is ModuleEntry else read.model.alignments

    def _unknown(self, model: type[Entry], id: str) -> EntryError:
        what = "module" if model is ModuleEntry else "alignment map"
        return EntryError(
            f"The registry `{self.name}` has no {what} {shown(id)}.", do="See what it has with `modxfer registry search`."
        )

    def _wrong(self, read: ReadFile) -> EntryError:
        first = read.problems[0]
        return EntryError(
            f"`{read.path}` of the registry `{self.name}` has {len(read.problems)} problem"
            f"{'' if len(read.problems) == 1 else 's'}; line {first.place.line}: {first.what}",
            do=f"See them all with `modxfer registry check {read.path}`.",
        )


def _walk(root: Path, folders: Collection[str]) -> Iterator[FoundFile | Problem]:
    """Look at what may be in a registry, at its fixed depths."""
    if (root / SETTINGS).is_symlink() or (root / SETTINGS).is_file():
        with os.scandir(root) as items:
            yield from (_look(item, SETTINGS) for item in items if item.name == SETTINGS)
    for folder in folders:
        if (root / folder).is_symlink():
            yield _link(folder)
        elif (root / folder).is_dir():
            yield from _walk_folder(root, folder)


def _walk_folder(root: Path, folder: str) -> Iterator[FoundFile | Problem]:
    has_namespaces = FOLDERS[folder] is not Aliases
    with os.scandir(root / folder) as items:
        for item in items:
            path = f"{folder}/{item.name}"
            if item.is_symlink():
                yield _link(path)
            elif item.name == ".gitkeep":
                continue
            elif not has_namespaces:
                yield _look(item, path)
            elif item.is_dir() and _NAME.fullmatch(item.name):
                with os.scandir(item.path) as entries:
                    yield from (_look(entry, f"{path}/{entry.name}") for entry in entries)
            else:
                yield _misplaced(path)


def _look(item: os.DirEntry[str], path: str) -> FoundFile | Problem:
    if item.is_symlink():
        return _link(path)
    name, suffix = os.path.splitext(item.name)  # noqa: PTH122 (one call for each of thousands of files)
    if not item.is_file() or suffix != _SUFFIX or not _NAME.fullmatch(name):
        return _misplaced(path)
    status = item.stat(follow_symlinks=False)
    if status.st_size > LARGEST_BYTES:
        return problem_at_start(
            "too-large",
            path,
            f"The file has {status.st_size:,} bytes, and an entry has {LARGEST_BYTES:,} at most.",
            do="Keep what describes the module, and put the rest on its card.",
        )
    changed = max(status.st_mtime_ns, status.st_ctime_ns)  # the first alone can be set back
    return FoundFile(path=path, size_bytes=status.st_size, modified_ns=changed)


def _link(path: str) -> Problem:
    return problem_at_start(
        "symlink", shown_path(path), "This is a symbolic link, and was not followed.", do="Put the file itself there."
    )


def _misplaced(path: str) -> Problem:
    return problem_at_start(
        "misplaced",
        shown_path(path),
        "No entry can lie here.",
        do="Entries are `modules/<namespace>/<name>.yaml` and `alignments/<namespace>/<name>.yaml`, aliases "
        "`aliases/<namespace>.yaml`, all in lower case.",
    )


def shown_path(path: str) -> str:
    """Write the path of a file that has no business here into a report.

    Args:
        path: The path, with any name that a file can have.

    Returns:
        It on one line, without characters that cannot be seen.
    """
    return code(path, limit=1000)


def _is_plain_file(root: Path, path: str) -> bool:
    """Say whether a file is there, with no link on the way to it."""
    way = [root / path, *(root / parent for parent in list(Path(path).parents)[:-1])]
    return way[0].is_file() and not any(step.is_symlink() for step in way)
