"""The tables of the first page: a row an entry, and what can be filtered by."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from modxfer.registry.entries.models import AlignmentEntry, Entry, ModuleEntry, Result
from modxfer.registry.site.content import Content, Relations

FILTERS: Mapping[str, str] = {
    "base": "Base model",
    "task": "Task",
    "method": "Method",
    "language": "Language",
    "license": "Licence",
    "format": "Format",
    "tag": "Tag",
}
"""Filter, as the page's address names it, to its label."""

SEARCHED_CHARACTERS = 400
"""How much of a description the search on the page sees; all of it would make the page too large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An entry in its table.

    Attributes:
        entry: The entry.
        values: Filter to what the entry has of it; a filter that is not there leaves the entry out when it is used.
        searched: What search looks at besides what the row shows.
        result: The number that stands for the entry; None where it has none.
    """

    entry: Entry
    values: Mapping[str, Sequence[str]]
    searched: str
    result: Result | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One way to narrow the tables.

    Attributes:
        name: As the page's address names it.
        label: For people.
        options: The values that entries have, in order, and how many entries have each.
    """

    name: str
    label: str
    options: tuple[tuple[str, int], ...]


def module_rows(content: Content, relations: Relations) -> list[Row]:
    """List the modules.

    Args:
        content: What is shown.
        relations: How it hangs together.

    Returns:
        A row each, in order of the titles.
    """
    return _in_order(_module_row(entry, relations) for entry in content.modules.values())


def alignment_rows(content: Content, relations: Relations) -> list[Row]:
    """List the alignment maps.

    Args:
        content: What is shown.
        relations: How it hangs together.

    Returns:
        A row each, in order of the titles.
    """
    return _in_order(_alignment_row(entry, relations) for entry in content.alignments.values())


def filters_of(rows: Iterable[Row]) -> list[Filter]:
    """Collect what the entries can be filtered by.

    Args:
        rows: The rows of all tables.

    Returns:
        The filters for which there is a choice.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in FILTERS}
    for row in rows:
        for name, values in row.values.items():
            counts[name].update(set(values))
    return [
        Filter(name=name, label=label, options=tuple(sorted(counts[name].items(), key=lambda option: option[0].casefold())))
        for name, label in FILTERS.items()
        if counts[name]
    ]


def headline(entry: ModuleEntry) -> Result | None:
    """Choose the result that a table shows.

    Args:
        entry: The module.

    Returns:
        The first on a test split, else the first; None where there are none.
    """
    tested = [result for result in entry.results if result.split == "test"]
    return next(iter([*tested, *entry.results]), None)


def summary(rows: Iterable[Row], names: Mapping[tuple[str, str], Sequence[str]]) -> list[dict[str, object]]:
    """Describe entries for programs.

    Args:
        rows: The rows of a table.
        names: Folder and id to aliases.

    Returns:
        Plain values, in order of the ids.
    """
    return [_summary(row, names) for row in sorted(rows, key=lambda row: row.entry.id)]


def _summary(row: Row, names: Mapping[tuple[str, str], Sequence[str]]) -> dict[str, object]:
    entry = row.entry
    values: dict[str, object] = {"id": entry.id, "title": entry.title, "page": f"{entry.folder}/{entry.id}.html"}
    if entry.folder == ModuleEntry.folder:
        values |= entry.model_dump(mode="json", include={"source", "base", "method", "format", "task", "languages", "results"})
        values |= entry.model_dump(mode="json", include={"lineage"}, exclude_none=True)
    else:
        values |= entry.model_dump(
            mode="json", include={"source", "teacher", "student", "aligner", "requested", "key", "scores"}
        )
    return values | {
        "license": entry.license,
        "tags": list(entry.tags),
        "aliases": list(names.get((entry.folder, entry.id), ())),
    }


def _in_order(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.entry.title.casefold(), row.entry.id))


def _module_row(entry: ModuleEntry, relations: Relations) -> Row:
    values = {
        "base": [entry.base.name],
        "task": [entry.task] if entry.task else [],
        "method": [entry.method.name],
        "language": entry.languages,
        "license": [entry.license],
        "format": [entry.format],
        "tag": entry.tags,
    }
    datasets = [dataset.name for dataset in entry.datasets]
    return Row(entry=entry, values=values, searched=_searched(entry, relations, datasets), result=headline(entry))


def _alignment_row(entry: AlignmentEntry, relations: Relations) -> Row:
    bases = list(dict.fromkeys([entry.teacher.name, entry.student.name]))
    values = {"base": bases, "license": [entry.license], "tag": entry.tags}
    return Row(entry=entry, values=values, searched=_searched(entry, relations, [entry.corpus.name]))


def _searched(entry: Entry, relations: Relations, more: Iterable[str]) -> str:
    names = relations.names.get((entry.folder, entry.id), [])
    authors = [author.name for author in entry.authors]
    return " ".join([*names, *authors, *more, entry.description[:SEARCHED_CHARACTERS]])
