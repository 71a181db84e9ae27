"""What can be asked of a registry, and the answer: filters that all must hold, and words that all must occur.

No text of the user's ever becomes part of SQL or of the language of FTS5: values are bound, and words are quoted.
"""

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modxfer.errors import UsageError
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.folder import Registry
from modxfer.registry.search.bits import to_bits, to_mask, to_numbers, unpack
from modxfer.registry.search.index import Index, Progress, use_index
from modxfer.registry.search.rows import fold

KINDS = ("module", "alignment")

MANY = 5_000
"""Words that occur in more entries say too little to rank by, and ranking would be slow: those entries come in order of ids.

Of more entries than that, the first are found by walking along the ids; fewer are looked up one by one.
"""

_IN_MASK = "substr(:mask, {} + 1, 1) = x'31'"
_MINIMUM = re.compile(r"\s*([^<>=]+?)\s*(?:>=|=)\s*([-+0-9.eE]+)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumScore:
    """A score that must be reached.

    Attributes:
        metric: The metric, whatever its case.
        value: The least value.
    """

    metric: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What entries must be like; empty fields let everything pass. Case never matters.

    Attributes:
        text: Words that occur in the entry's texts, or begin words there.
        base: A module's base model, or one of an alignment map's: its Hub id or the last part of it, with an optional
            `@` and the first digits of a commit hash.
        family: `model_type` of such a base model.
        task: Task of a module.
        method: Method of a module, aligner of an alignment map.
        format: Format of a module.
        licence: The licence, or one that may be chosen.
        author: Name, a word of it, e-mail address or GitHub name of an author.
        kind: "module" or "alignment".
        languages: Languages; `pt` also finds `pt-BR`.
        tags: Tags.
        scores: Scores that are reached.
    """

    text: str = ""
    base: str | None = None
    family: str | None = None
    task: str | None = None
    method: str | None = None
    format: str | None = None
    licence: str | None = None
    author: str | None = None
    kind: str | None = None
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    scores: tuple[MinimumScore, ...] = ()

    def terms(self) -> Iterator[tuple[str, str]]:
        """List the filters that are terms.

        Yields:
            Field and value.
        """
        single = {
            "base": self.base,
            "family": self.family,
            "task": self.task,
            "method": self.method,
            "format": self.format,
            "license": self.licence,
            "author": self.author,
            "kind": self.kind,
        }
        yield from ((field, value) for field, value in single.items() if value)
        yield from (("language", language) for language in self.languages)
        yield from (("tag", tag) for tag in self.tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBase:
    """A base model, as an entry names it.

    Attributes:
        name: Hub id.
        revision: Commit hash, if it is known.
        fingerprint: sha256 over its config and weights, if it is known.
    """

    name: str
    revision: str | None
    fingerprint: str | None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An entry that was found.

    Attributes:
        kind: "module" or "alignment".
        id: Its id.
        title: Its title.
        base: The base model of a module; the student of an alignment map.
        teacher: The teacher of an alignment map; None for a module.
        method: The method of a module, or the aligner.
        format: The format of a module.
        task: The task of a module.
        languages: The languages of a module.
        license: The licence.
        scores: Metric to the best value, in the order of the entry's results; of an alignment map the mean correlation.
        metric: The metric that was asked for; else the entry's first one, if it has any.
    """

    kind: str
    id: str
    title: str
    base: NamedBase
    teacher: NamedBase | None
    method: str
    format: str | None
    task: str | None
    languages: tuple[str, ...]
    license: str
    scores: Mapping[str, float]
    metric: str | None

    def as_json(self) -> dict[str, Any]:
        """Give it as JSON values.

        Returns:
            The fields.
        """
        values = {
            name: getattr(self, name) for name in ("kind", "id", "title", "method", "format", "task", "license", "metric")
        }
        bases = {
            role: None if base is None else {"name": base.name, "revision": base.revision}
            for role, base in (("base", self.base), ("teacher", self.teacher))
        }
        return values | bases | {"languages": list(self.languages), "scores": dict(self.scores)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a search found.

    Attributes:
        hits: The first entries: by relevance if words were given, else by the score that was asked for, then by id.
        total: Number of all that were found.
        problems: Number of files that were not searched, because something is wrong with them.
        warnings: What the user should know.
    """

    hits: tuple[Hit, ...]
    total: int
    problems: int
    warnings: tuple[str, ...] = ()


def parse_minimum_score(text: str) -> MinimumScore:
    """Read a minimum score.

    Args:
        text: `<metric>=<value>` or `<metric>>=<value>`.

    Returns:
        It.

    Raises:
        UsageError: it is written otherwise.
    """
    found = _MINIMUM.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        return MinimumScore(metric=found[1], value=float(found[2]))
    except ValueError:
        raise UsageError(f"{shown(text)} is no minimum score.", do="Write a metric and a number, as in `f1=0.8`.") from None


def search(registry: Registry, query: Query, *, limit: int = 20, report: Progress | None = None) -> Results:
    """Search a registry.

    Args:
        registry: The registry.
        query: What is asked.
        limit: Number of entries to return at most.
        report: Called with the number of files read so far, and of all that are to be read, if the index has to be made.

    Returns:
        What was found.

    Raises:
        UsageError: no entry has a score by a metric that was asked for, or the limit is below 1.
        OSError: the registry cannot be read.
    """
    return use_index(registry, lambda index: find(index, query, limit=limit), report=report)


def find(index: Index, query: Query, *, limit: int = 20, many: int = MANY) -> Results:
    """Search an index.

    Args:
        index: The index.
        query: What is asked.
        limit: Number of entries to return at most.
        many: See `MANY`.

    Returns:
        What was found.

    Raises:
        UsageError: no entry has a score by a metric that was asked for, or the limit is below 1.
    """
    if limit < 1:
        raise UsageError(f"A limit of {limit} shows nothing.", do="Give 1 or more.")
    found = select(index, query)
    numbers = _first(index, query, found, limit=limit, many=many) if found else []
    return Results(
        hits=tuple(read_hits(index, numbers, query)),
        total=found.bit_count(),
        problems=index.problems,
        warnings=index.warnings,
    )


def select(index: Index, query: Query) -> int:
    """Find all entries that are like a query.

    Args:
        index: The index.
        query: What is asked.

    Returns:
        Their numbers, as a set of bits.

    Raises:
        UsageError: no entry has a score by a metric that was asked for.
    """
    connection = index.connection
    found = entries_of(connection, "kind", "module") | entries_of(connection, "kind", "alignment")
    for minimum in query.scores:
        found &= _reaching(index, minimum)
    for field, value in query.terms():
        named, at, revision = value.partition("@")
        if field == "base" and at:
            found &= _at_revision(connection, named, revision)
        else:
            found &= entries_of(connection, field, value)
    match = _match(query.text)
    return found & _with_words(index, match) if found and match else found


def entries_of(connection: sqlite3.Connection, field: str, value: str) -> int:
    """Find the entries of a term.

    Args:
        connection: The index.
        field: The term's field.
        value: Its value, in any case.

    Returns:
        Their numbers, as a set of bits.
    """
    row = connection.execute("SELECT entries FROM terms WHERE field = ? AND value = ?", (field, fold(value))).fetchone()
    return 0 if row is None else unpack(row[0])


def read_hits(index: Index, numbers: list[int], query: Query) -> Iterator[Hit]:
    """Read entries from an index.

    Args:
        index: The index.
        numbers: Their numbers.
        query: What was asked: it says which score counts.

    Yields:
        The entries, in the given order.
    """
    for number in numbers:
        sql = "SELECT kind, id, shown FROM entries WHERE entry = ?"
        kind, id, text = index.connection.execute(sql, (number,)).fetchone()
        values = json.loads(text)
        scores = values["scores"]
        asked = [metric for minimum in query.scores for metric in scores if fold(metric) == fold(minimum.metric)]
        teacher = values.get("teacher")
        yield Hit(
            kind=kind,
            id=id,
            title=values["title"],
            base=NamedBase(**values["base"]),
            teacher=None if teacher is None else NamedBase(**teacher),
            method=values["method"],
            format=values.get("format"),
            task=values.get("task"),
            languages=tuple(values.get("languages", ())),
            license=values["license"],
            scores=scores,
            metric=next(iter([*asked, *scores]), None),
        )


def _at_revision(connection: sqlite3.Connection, name: str, revision: str) -> int:
    """Find entries by base model and the first digits of its commit."""
    first = f"{fold(name)}@{fold(revision)}"
    sql = "SELECT entries FROM terms WHERE field = 'base' AND value BETWEEN ? AND ?"
    found = 0
    for (packed,) in connection.execute(sql, (first, f"{first}\U0010ffff")):
        found |= unpack(packed)
    return found


def _reaching(index: Index, minimum: MinimumScore) -> int:
    """Find entries by a minimum score."""
    term = _metric(index, minimum.metric)
    sql = "SELECT group_concat(entry) FROM scores WHERE term = ? AND score >= ?"
    return _listed(index.connection, sql, (term, minimum.value))


def _metric(index: Index, metric: str) -> int:
    sql = "SELECT term FROM terms WHERE field = 'metric' AND value = ?"
    row = index.connection.execute(sql, (fold(metric),)).fetchone()
    if row is not None:
        return int(row[0])
    known = [name for (name,) in index.connection.execute("SELECT shown FROM terms WHERE field = 'metric' ORDER BY value")]
    some = ", ".join(shown(name) for name in known[:20])
    raise UsageError(
        f"No entry of the registry `{index.registry.name}` has a score by {shown(metric)}.",
        do=f"It has {some}{' and others' if len(known) > 20 else ''}." if known else "None of them has any score.",
    )


def _with_words(index: Index, match: str) -> int:
    """Find entries by words."""
    return _listed(index.connection, "SELECT group_concat(rowid) FROM texts WHERE texts MATCH ?", (match,))


def _listed(connection: sqlite3.Connection, sql: str, values: tuple[object, ...]) -> int:
    """Make a set of the numbers that a statement joins with commas: one long text is read much faster than many rows."""
    (numbers,) = connection.execute(sql, values).fetchone()
    return to_bits(json.loads(f"[{numbers or ''}]"))


def _match(text: str) -> str:
    """Ask FTS5 for each word as the beginning of one; empty if there is none."""
    words = dict.fromkeys(text.replace("\0", " ").encode("utf-8", "replace").decode().split())
    return " ".join('"' + word.replace('"', '""') + '"*' for word in words)


def _first(index: Index, query: Query, found: int, *, limit: int, many: int) -> list[int]:
    """Choose which entries are shown."""
    count = found.bit_count()
    match = _match(query.text)
    values: dict[str, object] = {"mask": to_mask(found), "limit": min(limit, count)}
    if match and _occurrences(index, match, at_most=many + 1) <= many:
        values["match"] = match
        sql = (
            f"SELECT e.entry FROM texts CROSS JOIN entries e ON e.entry = texts.rowid WHERE texts MATCH :match AND "
            f"{_IN_MASK.format('texts.rowid')} ORDER BY bm25(texts, 10.0, 1.0), e.id, e.kind LIMIT :limit"
        )
    elif query.scores:
        values |= {"metric": fold(query.scores[0].metric), "least": query.scores[0].value}
        sql = (
            "SELECT e.entry FROM scores s CROSS JOIN entries e ON e.entry = s.entry WHERE s.term = "
            "(SELECT term FROM terms WHERE field = 'metric' AND value = :metric) AND s.score >= :least AND "
            f"{_IN_MASK.format('s.entry')} ORDER BY s.score DESC, e.id, e.kind LIMIT :limit"
        )
    elif count <= many:
        values["numbers"] = json.dumps(to_numbers(found))
        sql = "SELECT entry FROM entries WHERE entry IN (SELECT value FROM json_each(:numbers)) ORDER BY id, kind LIMIT :limit"
    else:
        sql = f"SELECT entry FROM entries INDEXED BY by_id WHERE {_IN_MASK.format('entry')} ORDER BY id, kind LIMIT :limit"
    return [number for (number,) in index.connection.execute(sql, values)]


def _occurrences(index: Index, match: str, *, at_most: int) -> int:
    """Count the entries in which words occur, as far as it matters."""
    sql = "SELECT count(*) FROM (SELECT 1 FROM texts WHERE texts MATCH ? LIMIT ?)"
    return int(index.connection.execute(sql, (match, at_most)).fetchone()[0])
