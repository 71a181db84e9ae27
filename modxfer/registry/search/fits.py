"""What a registry has for one base model: modules that are for it, and modules that a known alignment map could bring there."""

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from modxfer.errors import ArchitectureError, HubError, UsageError
from modxfer.paths import is_folder
from modxfer.registry.card_text import is_hub_id
from modxfer.registry.entries.folder import Registry
from modxfer.registry.search.bits import to_bits, to_numbers
from modxfer.registry.search.index import Index, Progress, use_index
from modxfer.registry.search.query import Hit, NamedBase, Query, entries_of, read_hits, select
from modxfer.registry.store import Store

_COMMIT = re.compile("[0-9a-f]{40}")
_KEY_DIGITS = 12


class Match(StrEnum):
    """How one knows that two base models are the same, the surest way first."""

    FINGERPRINT = "fingerprint"
    COMMIT = "name and commit"
    NAME = "name"
    OTHER_COMMIT = "name, at another commit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How an alignment map brings a module to the base model.

    Attributes:
        alignment: What `--alignment` takes: `registry:<id>`, or the first digits of an id in the local store.
        aligner: The map's aligner.
        mean_correlation: The map's mean matched correlation.
        teacher_match: How one knows that the module's base model is the map's teacher.
        command: What converts the module.
    """

    alignment: str
    aligner: str
    mean_correlation: float
    teacher_match: Match
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A module for the base model.

    Attributes:
        hit: The module.
        match: How one knows that the base model is the module's own or, where a map brings the module there, the map's student.
        route: How it gets there; None for one that is for this base model.
    """

    hit: Hit
    match: Match
    route: Route | None = None

    def as_json(self) -> dict[str, Any]:
        """Give it as JSON values.

        Returns:
            The module's fields, and how it fits.
        """
        values = self.hit.as_json() | {"match": str(self.match)}
        if self.route is None:
            return values
        names = ("alignment", "aligner", "mean_correlation", "teacher_match", "command")
        return values | {"route": {name: getattr(self.route, name) for name in names}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fits:
    """What a registry has for a base model.

    Attributes:
        model: The base model, as far as it is known.
        as_is: The first modules that are for it, the surest first.
        as_is_total: Number of all of them.
        transferable: The first of the other modules that a map could bring there, each with the map that does so best: the
            surest first, then those with the highest correlation.
        transferable_total: Number of all of them.
        problems: Number of files that were not searched, because something is wrong with them.
        warnings: What the user should know.
    """

    model: NamedBase
    as_is: tuple[Fit, ...]
    as_is_total: int
    transferable: tuple[Fit, ...]
    transferable_total: int
    problems: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Map:
    """An alignment map that leads to the base model."""

    alignment: str
    aligner: str
    mean_correlation: float
    teacher: NamedBase
    student: str
    match: Match


def fits(
    registry: Registry, model: str, query: Query, *, store: Store, limit: int = 20, report: Progress | None = None
) -> Fits:
    """Find what can be used on a base model.

    Args:
        registry: The registry.
        model: A folder, or a Hub id with an optional `@revision`.
        query: What the modules must be like besides.
        store: The local store, whose maps count too.
        limit: Number of modules of each sort to return at most.
        report: Called with the number of files read so far, and of all that are to be read, if the index has to be made.

    Returns:
        What was found.

    Raises:
        UsageError: the base model is neither a folder nor a Hub id, no entry has a score by a metric that was asked for, or the
            limit is below 1.
        ArchitectureError: the folder or repository holds no base model.
        OSError: the registry cannot be read.
    """
    if limit < 1:
        raise UsageError(f"A limit of {limit} shows nothing.", do="Give 1 or more.")
    base, warnings = identify(model, store=store)
    stored = list(_stored_maps(store, base))

    def work(index: Index) -> Fits:
        modules = select(index, query) & entries_of(index.connection, "kind", "module")
        as_is = _as_is(index, query, modules, base)
        rest = modules & ~to_bits(as_is)
        brought = _brought(index, query, rest, [*_registered_maps(index, base), *stored], model)
        first = sorted(as_is.values(), key=lambda fit: (_rank(fit.match), fit.hit.id))
        return Fits(
            model=base,
            as_is=tuple(first[:limit]),
            as_is_total=len(first),
            transferable=tuple(brought[:limit]),
            transferable_total=len(brought),
            problems=index.problems,
            warnings=(*warnings, *index.warnings),
        )

    return use_index(registry, work, report=report)


def identify(model: str, *, store: Store) -> tuple[NamedBase, tuple[str, ...]]:
    """Say which base model is meant, as surely as can be known.

    Args:
        model: A folder, or a Hub id with an optional `@revision`.
        store: The local store, which remembers hashes of files.

    Returns:
        It, and what makes it less than sure.

    Raises:
        UsageError: it is neither a folder nor a Hub id.
        ArchitectureError: the folder or repository holds no base model.
    """
    from modxfer.registry.locate import locate_base

    name, _, revision = model.partition("@")
    try:
        located = locate_base(model, memory=store.hashes)
    except (HubError, UsageError) as error:
        if is_folder(model) or not is_hub_id(name):
            raise
        commit = revision if _COMMIT.fullmatch(revision) else None
        known = NamedBase(name=name, revision=commit, fingerprint=None)
        return known, (f"{error.what} So base models are compared by their names{' and commits' if commit else ''}.",)
    try:
        record = located.record
    except (ArchitectureError, HubError) as error:
        known = NamedBase(name=located.name, revision=located.revision, fingerprint=None)
        return known, (f"{error.what} So base models are compared by their names, not by their weights.",)
    return NamedBase(name=record.name, revision=record.revision, fingerprint=record.fingerprint), ()


def match(one: NamedBase, other: NamedBase) -> Match | None:
    """Say whether two base models are the same, and how one knows.

    Args:
        one: A base model.
        other: Another one.

    Returns:
        How one knows; None if they are different. Where both fingerprints are known, nothing else counts.
    """
    if one.fingerprint and other.fingerprint:
        return Match.FINGERPRINT if one.fingerprint == other.fingerprint else None
    names = one.name.casefold(), other.name.casefold()
    if not all("/" in name for name in names):  # a folder, or an old Hub id
        names = names[0].rpartition("/")[2], names[1].rpartition("/")[2]
    if names[0] != names[1]:
        return None
    if one.revision and other.revision:
        return Match.COMMIT if one.revision == other.revision else Match.OTHER_COMMIT
    return Match.NAME


def _rank(found: Match) -> int:
    return list(Match).index(found)


def _candidates(index: Index, field: str, base: NamedBase) -> int:
    """Find the entries that may name a base model in a field."""
    names = {base.name, base.name.rpartition("/")[2]}
    found = entries_of(index.connection, f"{field} fingerprint", base.fingerprint) if base.fingerprint else 0
    for name in names:
        found |= entries_of(index.connection, field, name)
    return found


def _as_is(index: Index, query: Query, modules: int, base: NamedBase) -> dict[int, Fit]:
    numbers = to_numbers(modules & _candidates(index, "base", base))
    hits = zip(numbers, read_hits(index, numbers, query), strict=True)
    return {number: Fit(hit=hit, match=how) for number, hit in hits if (how := match(hit.base, base)) is not None}


def _registered_maps(index: Index, base: NamedBase) -> Iterator[_Map]:
    """List the registry's alignment maps to a base model."""
    numbers = to_numbers(_candidates(index, "student", base))
    for hit in read_hits(index, numbers, Query()):
        how = match(hit.base, base)
        if how is not None and hit.teacher is not None:
            (correlation,) = hit.scores.values()
            yield _Map(
                alignment=f"registry:{hit.id}",
                aligner=hit.method,
                mean_correlation=correlation,
                teacher=hit.teacher,
                student=hit.base.name,
                match=how,
            )


def _stored_maps(store: Store, base: NamedBase) -> Iterator[_Map]:
    """List the local store's alignment maps to a base model."""
    for stored in store.list():
        if stored.alignment is None:
            continue
        teacher, student = (
            NamedBase(name=record.name, revision=record.revision, fingerprint=record.fingerprint or None)
            for record in (stored.alignment.teacher, stored.alignment.student)
        )
        how = match(student, base)
        if how is not None:
            yield _Map(
                alignment=stored.key[:_KEY_DIGITS],
                aligner=stored.alignment.aligner,
                mean_correlation=stored.alignment.mean_correlation,
                teacher=teacher,
                student=student.name,
                match=how,
            )


def _brought(index: Index, query: Query, modules: int, maps: Iterable[_Map], model: str) -> list[Fit]:
    """Find the modules that maps could bring to the base model, each with the best of its maps; one map a module, no chains."""
    best: dict[str, Fit] = {}
    for known in maps:
        numbers = to_numbers(modules & _candidates(index, "base", known.teacher))
        for hit in read_hits(index, numbers, query):
            how = match(hit.base, known.teacher)
            if how is None:
                continue
            student = model if "/" in model or is_folder(model) else known.student  # a part of a name cannot be fetched
            command = ["modxfer", "convert", f"registry:{hit.id}", "--to", student, "--alignment", known.alignment]
            command += ["--registry", index.registry.name]
            route = Route(
                alignment=known.alignment,
                aligner=known.aligner,
                mean_correlation=known.mean_correlation,
                teacher_match=how,
                command=shlex.join(command),
            )
            fit = Fit(hit=hit, match=known.match, route=route)
            if hit.id not in best or _order(fit) < _order(best[hit.id]):
                best[hit.id] = fit
    return sorted(best.values(), key=_order)


def _order(fit: Fit) -> tuple[int, float, str]:
    """The surest first, then the highest correlation."""
    if fit.route is None:
        return _rank(fit.match), 0.0, fit.hit.id
    return max(_rank(fit.match), _rank(fit.route.teacher_match)), -fit.route.mean_correlation, fit.hit.id
