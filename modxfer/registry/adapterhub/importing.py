"""Importing AdapterHub's entries: drafted, checked in a copy of the registry, mended by leaving out, and only then written."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modxfer.errors import EntryError, UsageError
from modxfer.paths import write_aside
from modxfer.registry.adapterhub.cards import read_cards
from modxfer.registry.adapterhub.drafts import Draft, Drafts, Note, as_text, draft
from modxfer.registry.checks.rules import RULES, Severity
from modxfer.registry.checks.run import check
from modxfer.registry.checks.trying import trial_copy
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import Aliases, ArchiveSource, ModuleEntry
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import ReadFile, id_of, path_of, read_file
from modxfer.registry.entries.writing import entry_text, refuse_links, values_text
from modxfer.registry.entries.yaml_text import Keys

_MAY_GO = (
    *(("description",), ("citation",), ("languages",), ("tags",), ("base", "widths"), ("method", "inner_sizes")),
    *(("method", "settings"), ("authors", 0, "email"), ("authors", 0, "url"), ("authors", 0, "github")),
)
"""What an entry can do without: of lists and mappings, single items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of an entry of AdapterHub's.

    Attributes:
        path: Its file, relative to AdapterHub's folder.
        ids: The entries that it became.
        alias: The alias that was made for its default version.
        notes: What was not carried over, or not as it was.
        refused: What could not be carried over at all: the file, or versions of it.
    """

    path: str
    ids: tuple[str, ...]
    alias: str | None
    notes: tuple[Note, ...]
    refused: tuple[Note, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What became of AdapterHub's entries.

    Attributes:
        files: Each of its files.
        written: The registry's files that were written, or would be.
        is_done: Whether they were written, and not only tried.
    """

    files: tuple[Imported, ...]
    written: tuple[str, ...]
    is_done: bool

    @property
    def refused(self) -> int:
        """Number of files, or versions, that could not be carried over."""
        return sum(len(file.refused) for file in self.files)

    @property
    def entries(self) -> int:
        """Number of entries that they became."""
        return sum(len(file.ids) for file in self.files)

    def as_json(self) -> dict[str, Any]:
        """Give what `registry import --json` prints.

        Returns:
            Plain values.
        """
        return {
            "entries": self.entries,
            "refused": self.refused,
            "dry_run": not self.is_done,
            "written": list(self.written),
            "files": [
                {
                    "path": file.path,
                    "ids": list(file.ids),
                    "alias": file.alias,
                    "refused": [_note_json(note) for note in file.refused],
                    "notes": [_note_json(note) for note in file.notes],
                }
                for file in self.files
            ],
        }


def _note_json(note: Note) -> dict[str, str]:
    return {"field": note.field, "value": note.value, "why": note.why}


@dataclass(slots=True, kw_only=True)
class _Work:
    """A file of AdapterHub's on its way."""

    path: str
    drafts: list[Draft]
    alias: tuple[str, str] | None
    notes: list[Note]
    refused: list[Note] = field(default_factory=list)

    def refuse(self, found: Draft, why: str) -> None:
        """Give a draft up."""
        self.drafts.remove(found)
        self.refused.append(Note(field=found.field, value=id_of(found.path), why=why))


def import_adapterhub(root: Path, registry: Registry, *, force: bool = False, dry_run: bool = False) -> ImportReport:
    """Make entries of AdapterHub's. Nothing that they point at is fetched.

    What no entry can say is left out and reported; an entry that would be wrong without it is refused and reported.

    Args:
        root: A copy of AdapterHub's registry, with the folders `adapters` and `architectures`.
        registry: The registry to write into, in a folder.
        force: Replace other entries of the same ids.
        dry_run: Do everything but write.

    Returns:
        What became of each file.

    Raises:
        UsageError: the folder holds no `adapters`, or the registry is on the Hub.
        EntryError: an entry that is in the registry already would be wrong; nothing was written.
        OutputError: there is a link on the way to an entry; nothing was written.
        OSError: a file cannot be read or written.
    """
    if registry.revision is not None:
        raise UsageError(
            f"The registry `{registry.name}` is on the Hub, and entries are imported into a folder.",
            do="Clone it with `git clone`, import there, and push it.",
        )
    works = [_work(card.path, draft(card, root)) for card in read_cards(root)]
    _refuse_doubles(works, registry)
    texts = _tried(works, registry)
    if not force:
        _refuse_others(works, registry, texts)
    texts = {**_entries_only(works, texts), **_alias_texts(works, registry, force=force)}
    changed = [path for path, text in texts.items() if _content(registry, path) != text.encode()]
    for path in changed:
        refuse_links(registry.root, path)
    if not dry_run:
        for path in changed:
            write_aside(registry.root / path, texts[path])
    return ImportReport(files=tuple(map(_imported, works)), written=tuple(changed), is_done=not dry_run)


def _work(path: str, drafts: Drafts) -> _Work:
    return _Work(
        path=path, drafts=list(drafts.entries), alias=drafts.alias, notes=list(drafts.notes), refused=list(drafts.refused)
    )


def _imported(work: _Work) -> Imported:
    namespace = id_of(work.drafts[0].path).partition("/")[0] if work.drafts else ""
    return Imported(
        path=work.path,
        ids=tuple(id_of(found.path) for found in work.drafts),
        alias=f"{namespace}/{work.alias[0]}" if work.alias else None,
        notes=tuple(work.notes),
        refused=tuple(work.refused),
    )


def _refuse_doubles(works: list[_Work], registry: Registry) -> None:
    """Refuse what has the id or the files of something else."""
    archives = {
        entry.source.sha256: entry.id
        for entry in registry.entries()
        if isinstance(entry, ModuleEntry) and isinstance(entry.source, ArchiveSource)
    }
    taken: dict[str, str] = {}
    for work in works:
        for found in list(work.drafts):
            id, sha256 = id_of(found.path), found.values["source"]["sha256"]
            if found.path in taken:
                work.refuse(found, f"Its id, `{id}`, is that of `{taken[found.path]}`.")
            elif archives.get(str(sha256), id) != id:
                work.refuse(found, f"`{archives[str(sha256)]}` has the same sha256: it is the same module.")
            else:
                taken[found.path] = work.path
                archives[str(sha256)] = id


def _tried(works: list[_Work], registry: Registry) -> dict[str, str]:
    """Check the drafts in a copy of the registry, and leave out what is wrong until nothing is; gives the files."""
    with trial_copy(registry) as copy:
        waiting = {found.path: (work, found) for work in works for found in work.drafts}
        known = {problem for problem in check(copy).problems if problem.path not in waiting}
        texts: dict[str, str] = {}
        while waiting:
            for path, (_, found) in waiting.items():
                texts[path] = values_text(ModuleEntry, found.values)
                _put(copy, path, texts[path].encode())
            problems = [problem for problem in check(copy, paths=list(texts)).problems if _is_error(problem)]
            foreign = next((problem for problem in problems if problem.path not in texts and problem not in known), None)
            if foreign is not None:
                raise EntryError(
                    f"`{foreign.path}` would be wrong, in line {foreign.place.line}: {foreign.what}",
                    do="Mend that first, or import into another registry; nothing was written.",
                )
            waiting = _mended(waiting, texts, problems, copy, registry)
        return {path: _canonical(path, text) for path, text in texts.items()}


def _mended(
    waiting: dict[str, tuple[_Work, Draft]], texts: dict[str, str], problems: list[Problem], copy: Registry, registry: Registry
) -> dict[str, tuple[_Work, Draft]]:
    """Leave out of each draft what is wrong in it, or give it up; gives those that have to be tried again."""
    again: dict[str, tuple[_Work, Draft]] = {}
    for path, (work, found) in waiting.items():
        own = [problem for problem in problems if problem.path == path]
        read = read_file(path, texts[path].encode())
        wrong = {_droppable(_way(read, problem)): problem.what for problem in reversed(own)}
        why = wrong.pop((), None)
        if wrong:  # what is wrong with the whole may come of what is wrong with a part
            for keys in sorted(wrong, key=_place_in(read), reverse=True):  # the last item of a list first: the others stay
                _leave_out(work, found, keys, wrong[keys])
            again[path] = (work, found)
        elif why is not None:
            work.refuse(found, why)
            _put(copy, path, _content(registry, path))
            del texts[path]
    return again


def _way(read: ReadFile, problem: Problem) -> Keys:
    """Find the value that a problem was found in: the last that begins before it."""
    document = read.document
    places = [(document.place(keys), keys) for keys in document.values] + [
        (document.key_place(keys), keys) for keys in document.keys
    ]
    at = (problem.place.line, problem.place.column)
    before = [((place.line, place.column), len(keys), keys) for place, keys in places if (place.line, place.column) <= at]
    return max(before, key=lambda item: item[:2])[2]


def _place_in(read: ReadFile) -> Callable[[Keys], tuple[int, int]]:
    def place(keys: Keys) -> tuple[int, int]:
        found = read.document.place(keys)
        return found.line, found.column

    return place


def _droppable(keys: Keys) -> Keys:
    """Say which value has to go so that another goes; nothing if an entry cannot do without."""
    for way in _MAY_GO:
        if keys[: len(way)] == way:
            return keys[: len(way) + 1]
    return ()


def _leave_out(work: _Work, found: Draft, keys: Keys, why: str) -> None:
    *above, last = keys
    holder: Any = found.values
    for step in above:
        holder = holder[step]
    value = holder.pop(last)
    whole = (keys[:length] for length in range(len(keys), 0, -1))
    source = next((found.sources[way] for way in whole if way in found.sources), ".".join(map(str, keys)))
    note = Note(field=source, value=as_text(value), why=why)
    if note not in work.notes:
        work.notes.append(note)
    if isinstance(last, int):
        found.sources = dict(_moved(found.sources, keys))


def _moved(sources: Mapping[Keys, str], gone: Keys) -> Iterator[tuple[Keys, str]]:
    """Say where the items of a list come from after one has gone."""
    *above, last = gone
    for keys, source in sources.items():
        if keys[:-1] != tuple(above) or not isinstance(keys[-1], int) or not isinstance(last, int) or keys[-1] < last:
            yield keys, source
        elif keys[-1] > last:
            yield (*above, keys[-1] - 1), source


def _refuse_others(works: list[_Work], registry: Registry, texts: Mapping[str, str]) -> None:
    """Refuse what would replace another entry."""
    for work in works:
        for found in list(work.drafts):
            there = _content(registry, found.path)
            if there is not None and there != texts[found.path].encode():
                work.refuse(found, "There is another entry of this id in the registry; `--force` replaces it.")


def _alias_texts(works: list[_Work], registry: Registry, *, force: bool) -> dict[str, str]:
    """Write the aliases for default versions; gives the files."""
    made: dict[str, Aliases] = {}
    entries = {file.path for file in registry.list_files().files} | {found.path for work in works for found in work.drafts}
    for work in works:
        if work.alias is None:
            continue
        alias, name = work.alias
        why = "No version became an entry."
        if work.drafts:
            namespace = id_of(work.drafts[0].path).partition("/")[0]
            path = path_of(Aliases, namespace)
            why = _obstacle(registry, path, made.get(path)) or ""
            aliases = made.get(path) or _aliases(registry, path)
            leads_to = aliases.modules.get(alias, name)
            if path_of(ModuleEntry, f"{namespace}/{name}") not in {found.path for found in work.drafts}:
                why = "That version did not become an entry."
            elif path_of(ModuleEntry, f"{namespace}/{alias}") in entries:
                why = f"The alias would be called as the entry `{namespace}/{alias}`."
            elif leads_to != name and not force:
                why = f"The alias `{alias}` leads to `{leads_to}` already; `--force` replaces it."
        if why:
            work.notes.append(Note(field="default_version", value=name, why=why))
            work.alias = None
        else:
            made[path] = aliases.model_copy(update={"modules": {**aliases.modules, alias: name}})
    return {path: entry_text(aliases) for path, aliases in made.items()}


def _aliases(registry: Registry, path: str) -> Aliases:
    content = _content(registry, path)
    model = None if content is None else read_file(path, content).model
    return model if isinstance(model, Aliases) else Aliases(format_version=1)


def _obstacle(registry: Registry, path: str, made: Aliases | None) -> str | None:
    """Say why a file of aliases cannot be written without losing something, such as a comment."""
    content = _content(registry, path)
    if made is not None or content is None or content == entry_text(_aliases(registry, path)).encode():
        return None
    return f"`{path}` was written by hand: add the alias there."


def _entries_only(works: list[_Work], texts: Mapping[str, str]) -> dict[str, str]:
    return {found.path: texts[found.path] for work in works for found in work.drafts}


def _canonical(path: str, text: str) -> str:
    model = read_file(path, text.encode()).model
    assert model is not None, path  # it has been checked
    return entry_text(model)


def _content(registry: Registry, path: str) -> bytes | None:
    file = registry.root / path
    return file.read_bytes() if file.is_file() else None


def _put(copy: Registry, path: str, content: bytes | None) -> None:
    """Put a file into the copy; what it was a hard link to stays as it is."""
    target = copy.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if content is not None:
        target.write_bytes(content)


def _is_error(problem: Problem) -> bool:
    return RULES[problem.rule].severity is Severity.ERROR
