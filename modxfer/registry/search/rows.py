"""What the index keeps of an entry: what it is found by, and what is shown of it.

What an entry is found by are terms, pairs of field and value; values are kept in lower case, in all forms that people type.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping

from modxfer.registry.entries.models import AlignmentEntry, Author, Base, Entry, ModuleEntry
from modxfer.registry.search.bits import pack, to_bits, unpack

CORRELATION = "mean_correlation"
"""The metric by which alignment maps are found."""

SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, read INTEGER, sha256 BLOB, broken INTEGER)
    WITHOUT ROWID;
CREATE TABLE entries (entry INTEGER PRIMARY KEY, path TEXT UNIQUE, id TEXT, kind TEXT, shown TEXT, terms TEXT);
CREATE UNIQUE INDEX by_id ON entries (id, kind);
CREATE TABLE terms (term INTEGER PRIMARY KEY, field TEXT, value TEXT, shown TEXT, entries BLOB, UNIQUE (field, value));
CREATE TABLE scores (term INTEGER, score REAL, entry INTEGER, PRIMARY KEY (term, score, entry)) WITHOUT ROWID;
CREATE VIRTUAL TABLE texts USING fts5 (name, words, tokenize = "unicode61 remove_diacritics 2", prefix = '1 2 3');
"""
"""Each term has the set of its entries (`bits`); of a metric, `scores` has each entry's best score."""

Terms = dict[tuple[str, str], tuple[str, float | None]]
"""Field and value, to the value as the entry spells it and, of a metric, the best score."""


class Writer:
    """Adds entries to an index, and takes them out.

    Args:
        connection: The index, with its tables.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        rows = connection.execute("SELECT field, value, term FROM terms")
        self._terms: dict[tuple[str, str], int] = {(field, value): term for field, value, term in rows}
        self._added: dict[int, list[int]] = {}
        self._removed: dict[int, list[int]] = {}
        self._free: list[int] = []

    def add(self, path: str, entry: Entry) -> None:
        """Add an entry; the index holds none of this file, and none is removed any more.

        Args:
            path: Where its file lies in the registry.
            entry: The entry.
        """
        found = {self._number(key, shown): score for key, (shown, score) in _terms(entry).items()}
        row = (self._free.pop() if self._free else None, path, entry.id, _kind(entry), _dumps(_shown(entry)), _dumps(found))
        number = self._connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", row).lastrowid or 0
        for term, score in found.items():
            self._added.setdefault(term, []).append(number)
            if score is not None:
                self._connection.execute("INSERT INTO scores VALUES (?, ?, ?)", (term, score, number))
        texts = (number, f"{entry.id} {entry.title}", " ".join(_words(entry)))
        self._connection.execute("INSERT INTO texts (rowid, name, words) VALUES (?, ?, ?)", texts)

    def remove(self, path: str) -> None:
        """Take out what a file held, if it held an entry.

        Args:
            path: Where the file lies, or lay, in the registry.
        """
        row = self._connection.execute("SELECT entry, terms FROM entries WHERE path = ?", (path,)).fetchone()
        if row is None:
            return
        number, terms = row
        for term, score in json.loads(terms).items():
            self._removed.setdefault(int(term), []).append(number)
            if score is not None:
                self._connection.execute(
                    "DELETE FROM scores WHERE term = ? AND score = ? AND entry = ?", (int(term), score, number)
                )
        self._connection.execute("DELETE FROM texts WHERE rowid = ?", (number,))
        self._connection.execute("DELETE FROM entries WHERE entry = ?", (number,))
        self._free.append(number)

    def finish(self) -> None:
        """Write the sets of entries of all terms that have changed; terms without entries go."""
        for term in self._added.keys() | self._removed.keys():
            (packed,) = self._connection.execute("SELECT entries FROM terms WHERE term = ?", (term,)).fetchone()
            bits = unpack(packed) if packed else 0
            bits = bits & ~to_bits(self._removed.get(term, ())) | to_bits(self._added.get(term, ()))
            if bits:
                self._connection.execute("UPDATE terms SET entries = ? WHERE term = ?", (pack(bits), term))
            else:
                self._connection.execute("DELETE FROM terms WHERE term = ?", (term,))

    def _number(self, key: tuple[str, str], shown: str) -> int:
        known = self._terms.get(key)
        if known is None:
            insert = "INSERT INTO terms (field, value, shown) VALUES (?, ?, ?)"
            known = self._terms[key] = self._connection.execute(insert, (*key, shown)).lastrowid or 0
        return known


def fold(text: str) -> str:
    """Bring a value, the user's or an entry's, into the form in which values are compared.

    Args:
        text: The value.

    Returns:
        It in lower case, without what no file can hold.
    """
    return text.encode("utf-8", "replace").decode().strip().casefold()


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _kind(entry: Entry) -> str:
    return "module" if isinstance(entry, ModuleEntry) else "alignment"


def _terms(entry: Entry) -> Terms:
    """List what an entry is found by."""
    found: Terms = {}
    for field, value in _fields(entry):
        found[field, fold(value)] = value, None
    for metric, score in _scores(entry):
        _, best = found.get(("metric", fold(metric)), ("", None))
        found["metric", fold(metric)] = metric, score if best is None else max(best, score)
    return found


def _fields(entry: Entry) -> Iterator[tuple[str, str]]:
    yield "kind", _kind(entry)
    yield from (("tag", tag) for tag in entry.tags)
    yield from (("license", form) for form in _licence_forms(entry.license))
    for author in entry.authors:
        yield from (("author", form) for form in _author_forms(author))
    bases = {"base": entry.base} if isinstance(entry, ModuleEntry) else {"teacher": entry.teacher, "student": entry.student}
    for role, base in bases.items():
        yield "family", base.family
        for field in {role, "base"}:
            yield from ((field, form) for form in _base_forms(base))
            if base.fingerprint is not None:
                yield f"{field} fingerprint", base.fingerprint
    if isinstance(entry, AlignmentEntry):
        yield "method", entry.aligner
        return
    yield "method", entry.method.name
    yield "format", entry.format
    if entry.task is not None:
        yield "task", entry.task
    for language in entry.languages:
        yield from (("language", form) for form in _language_forms(language))


def _base_forms(base: Base) -> Iterator[str]:
    """A base model is named by its id or the last part of it, and with its commit or a first part of that (see `query`)."""
    for name in {base.name, base.name.rpartition("/")[2]}:
        yield name
        if base.revision is not None:
            yield f"{name}@{base.revision}"


def _author_forms(author: Author) -> Iterator[str]:
    """An author is named in full, by a word of the name, or by an address."""
    yield author.name
    yield from author.name.split()
    yield from (form for form in (author.email, author.github) if form is not None)


def _licence_forms(licence: str) -> Iterator[str]:
    """Of licences that one may choose from, each is one that an entry can be used under."""
    yield licence
    if "(" not in licence:
        yield from licence.split(" OR ")


def _language_forms(tag: str) -> Iterator[str]:
    """A language is named by its tag or the first parts of it: who asks for `pt` also wants `pt-BR`."""
    parts = tag.split("-")
    yield from ("-".join(parts[:count]) for count in range(1, len(parts) + 1))


def _scores(entry: Entry) -> Iterator[tuple[str, float]]:
    if isinstance(entry, AlignmentEntry):
        yield CORRELATION, entry.scores.mean_correlation
        return
    yield from ((result.metric, result.value) for result in entry.results)


def _words(entry: Entry) -> Iterator[str]:
    """List the texts of an entry, its id and title apart."""
    yield entry.description
    yield from entry.tags
    yield from (author.name for author in entry.authors)
    yield entry.license
    if isinstance(entry, AlignmentEntry):
        yield from (entry.teacher.name, entry.student.name, entry.teacher.family, entry.student.family)
        yield from (entry.aligner, entry.corpus.name)
        return
    yield from (entry.base.name, entry.base.family, entry.method.name, entry.format, entry.task or "")
    yield from (dataset.name for dataset in entry.datasets)
    yield from entry.languages


def _shown(entry: Entry) -> Mapping[str, object]:
    """Keep what a result shows."""
    best: dict[str, float] = {}
    for metric, score in _scores(entry):
        best[metric] = max(score, best.get(metric, score))
    shown = {"title": entry.title, "license": entry.license, "scores": best}
    if isinstance(entry, AlignmentEntry):
        bases = {"base": _base(entry.student), "teacher": _base(entry.teacher)}
        return shown | bases | {"method": entry.aligner}
    return shown | {
        "base": _base(entry.base),
        "method": entry.method.name,
        "format": entry.format,
        "task": entry.task,
        "languages": entry.languages,
    }


def _base(base: Base) -> Mapping[str, str | None]:
    return {"name": base.name, "revision": base.revision, "fingerprint": base.fingerprint}
