"""What a module needs of an alignment: which pairs of sites, and what it does there."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from modxfer.alignments.aligners import Use
from modxfer.alignments.alignment_map import ARRAYS, AlignmentMap, SiteMap, SitePair
from modxfer.alignments.layer_maps import LayerMap
from modxfer.architectures import EMBEDDED, FINAL, VOCABULARY, Architecture, Point, Route, Side, Site, Submodule
from modxfer.errors import AlignmentError


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class RouteUse:
    """One route that pieces of a module take.

    Attributes:
        route: The points that they read and write.
        reads: Some part reads.
        writes: Some part writes.
        updates: The pieces make an additive update, whose size is to be kept.
    """

    route: Route
    reads: bool
    writes: bool
    updates: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairUse:
    """What is done at a pair of sites.

    Attributes:
        use: Reading, writing, updating.
        written_from: The pair at the input of the piece that writes here; None where nothing writes.
    """

    use: Use
    written_from: SitePair | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentRequest:
    """The pairs of sites that a module needs.

    Attributes:
        layers: Pairs of layers: stack, student layer, teacher layer.
        inside: Routes of the pieces in layers; every pair of layers gets all of them.
        outside: Routes of the pieces outside the layers, the prediction head's among them.
    """

    layers: tuple[tuple[str, int, int], ...]
    inside: tuple[RouteUse, ...] = ()
    outside: tuple[RouteUse, ...] = field(default=())

    @classmethod
    def of(cls, layers: LayerMap, *, inside: Iterable[RouteUse], outside: Iterable[RouteUse]) -> "AlignmentRequest":
        """Make a request in a fixed order, whatever order its parts came in.

        Args:
            layers: The layer map.
            inside: Routes of the pieces in layers.
            outside: Routes of the pieces outside the layers.

        Returns:
            The request.
        """
        return cls(
            layers=tuple(sorted(set(layers.pairs()))),
            inside=tuple(sorted(set(inside))),
            outside=tuple(sorted(set(outside))),
        )

    @classmethod
    def union(cls, requests: Iterable["AlignmentRequest"]) -> "AlignmentRequest":
        """Request what any of several modules needs.

        Args:
            requests: The requests of modules that go from one base model to another by one layer map.

        Returns:
            The request.
        """
        every = list(requests)
        return cls(
            layers=tuple(sorted({pair for each in every for pair in each.layers})),
            inside=tuple(sorted({use for each in every for use in each.inside})),
            outside=tuple(sorted({use for each in every for use in each.outside})),
        )

    @classmethod
    def whole(cls, layers: LayerMap, *, teacher: Architecture, student: Architecture) -> "AlignmentRequest":
        """Request what any module on the teacher may need: one map for all modules that go from one base model to another.

        All but modules on token ids (a LoRA on the embeddings): these need the vocabularies too, and so a map of their own.
        Not for the aligner `paper`, whose map is of one module: there, what is written depends on what is read.

        Args:
            layers: The layer map.
            teacher: The teacher's structure.
            student: The student's structure.

        Returns:
            The request, for the roles that both base models have.
        """
        inside, outside = (_common(teacher, student, in_layers=in_layers) for in_layers in (True, False))
        uses = [
            use
            for role, row in inside.items()
            for use in (*_role_uses(role, row), *_update_uses(role, row, residuals=student.residuals))
        ]
        uses += [use for point in _streams(teacher) & _streams(student) for use in _stream_uses(point)]
        head = RouteUse(route=Route(reads=FINAL, writes=FINAL), reads=True, writes=True, updates=False)
        others = [use for role, row in outside.items() for use in _role_uses(role, row)]
        if teacher.family.embedded and student.family.embedded:
            others.append(RouteUse(route=Route(reads=EMBEDDED, writes=EMBEDDED), reads=True, writes=True, updates=False))
        return cls.of(layers, inside=uses, outside=[*others, head])

    def uses(self, teacher: Architecture, student: Architecture) -> Mapping[SitePair, PairUse]:
        """List the pairs of sites to align, each once, by the points that are measured for them.

        Args:
            teacher: The teacher's structure.
            student: The student's structure.

        Returns:
            Pair of sites to what is done there.
        """
        found: dict[SitePair, PairUse] = {}
        for pair, item in self._each(teacher, student):
            known = found.get(pair)
            found[pair] = (
                item
                if known is None
                else PairUse(use=known.use | item.use, written_from=known.written_from or item.written_from)
            )
        return found

    def _each(self, teacher: Architecture, student: Architecture) -> Iterator[tuple[SitePair, PairUse]]:
        places: list[tuple[str, int | None, int | None, tuple[RouteUse, ...]]] = [
            (stack, at_student, at_teacher, self.inside) for stack, at_student, at_teacher in self.layers
        ]
        for stack, at_student, at_teacher, routes in [*places, ("", None, None, self.outside)]:
            for item in routes:
                if at_student is not None and not (_has(student, stack, item.route) and _has(teacher, stack, item.route)):
                    continue  # roles of another stack: a decoder's cross-attention
                read, written = (
                    SitePair(
                        student.canonical(Site(stack, at_student, point)),
                        teacher.canonical(Site(stack, at_teacher, point)),
                    )
                    for point in (item.route.reads, item.route.writes)
                )
                if item.reads or item.writes:
                    yield read, PairUse(use=Use(reads=item.reads, updates=item.updates))
                if item.writes:
                    is_measured = VOCABULARY not in (student.dimension(read.student), student.dimension(written.student))
                    yield written, PairUse(use=Use(writes=True), written_from=read if is_measured else None)


def split_vocabularies(
    uses: Mapping[SitePair, PairUse], student: Architecture
) -> tuple[dict[SitePair, PairUse], dict[SitePair, PairUse]]:
    """Tell pairs of sites with activations from those that hold token ids, where nothing can be measured.

    Args:
        uses: What is done at each pair of sites.
        student: The student's structure.

    Returns:
        The pairs to measure, and those of two vocabularies.
    """
    words = {pair: item for pair, item in uses.items() if student.dimension(pair.student) == VOCABULARY}
    return {pair: item for pair, item in uses.items() if pair not in words}, words


def _has(base: Architecture, stack: str, route: Route) -> bool:
    """Say whether the layers of a stack have the points of a route."""
    return {route.reads.role, route.writes.role} <= base.family.stacks[stack].names()


def _common(teacher: Architecture, student: Architecture, *, in_layers: bool) -> dict[str, Submodule]:
    """List the roles that two base models share, in layers or outside them."""
    theirs, ours = (
        {role: row for _, layer, role, row in base.roles() if (layer is not None) is in_layers} for base in (teacher, student)
    )
    return {role: row for role, row in theirs.items() if role in ours and not row.outside_base}


def _role_uses(role: str, row: Submodule) -> Iterator[RouteUse]:
    """What can be done at a submodule: a LoRA beside it, or another one in its place; a normalisation is only replaced.

    Embeddings are written by prompts; what reads token ids, or writes them, needs the vocabularies, and a map of its own.
    """
    if VOCABULARY in (row.reads, row.writes):
        output = Point(role, Side.OUTPUT)
        yield RouteUse(route=Route(reads=output, writes=output), reads=False, writes=True, updates=False)
        return
    route = Route(reads=Point(role, Side.INPUT), writes=Point(role, Side.OUTPUT))
    is_matrix = not row.elementwise
    yield RouteUse(route=route, reads=is_matrix, writes=True, updates=is_matrix)


def _update_uses(role: str, row: Submodule, *, residuals: frozenset[str]) -> Iterator[RouteUse]:
    """What a bottleneck can do behind a submodule: read what a sub-block puts out."""
    if not row.elementwise and row.writes in residuals:
        behind = Point(role, Side.OUTPUT)
        yield RouteUse(route=Route(reads=behind, writes=behind), reads=True, writes=False, updates=True)


def _streams(base: Architecture) -> frozenset[Point]:
    """List the points of the residual stream around the sub-blocks of all stacks."""
    return frozenset(point for stack in base.family.stacks.values() for point in stack.stream)


def _stream_uses(point: Point) -> Iterator[RouteUse]:
    """What a bottleneck can do in the stream: read where a sub-block begins or ends, and write where it adds or ends."""
    is_sum = point.role.endswith("_sum")
    yield RouteUse(
        route=Route(reads=point, writes=point), reads=not is_sum, writes=point.side is Side.OUTPUT, updates=not is_sum
    )


@runtime_checkable
class _ListsArrays(Protocol):
    """Maps that can say which arrays they hold without reading them."""

    def arrays(self) -> Mapping[SitePair, frozenset[str]]:
        """Name the arrays of each pair of sites."""


def covers(alignment: AlignmentMap, uses: Mapping[SitePair, PairUse]) -> bool:
    """Say whether an alignment map serves for all that a module does; no matrix is read for that.

    Args:
        alignment: A map of the same two base models.
        uses: What is done at each pair of sites.

    Returns:
        Whether a conversion finds all that it looks for.
    """
    return not missing(alignment, uses)


def missing(alignment: AlignmentMap, uses: Mapping[SitePair, PairUse]) -> tuple[SitePair, ...]:
    """List the pairs of sites that an alignment map lacks, or has in a form that does not serve.

    Identity and an assignment serve for everything. Of matrices there must be the one that reads where something reads, the one
    that writes where something writes, and both covariances where an update is made, whose size is to be kept.

    Args:
        alignment: A map of the same two base models.
        uses: What is done at each pair of sites.

    Returns:
        Those pairs, in the order of `uses`.
    """
    maps = alignment.maps
    held = maps.arrays() if isinstance(maps, _ListsArrays) else {pair: _arrays(site_map) for pair, site_map in maps.items()}
    return tuple(
        pair
        for pair, item in uses.items()
        if pair not in held
        or not _serves(held[pair], item.use)
        or (alignment.aligner == "paper" and not _writes_as_read(maps, pair, item))
    )


def _arrays(site_map: SiteMap) -> frozenset[str]:
    return frozenset(name for name in ARRAYS if getattr(site_map, name) is not None)


def _serves(held: frozenset[str], use: Use) -> bool:
    if "assignment" in held or not held & {"reading", "writing"}:
        return True
    needed = {"reading"} if use.reads else set()
    needed |= {"writing"} if use.writes else set()
    needed |= {"student_covariance", "teacher_covariance"} if use.updates else set()
    return needed <= held


def _writes_as_read(maps: Mapping[SitePair, SiteMap], pair: SitePair, item: PairUse) -> bool:
    """Whether a map of `paper` writes at a pair as this module, and not another one, reads."""
    if item.written_from is None or item.written_from not in maps:
        return True
    written, read = maps[pair].assignment, maps[item.written_from].assignment
    return written is None or read is None or np.array_equal(written, read)


def check_kinds(teacher: Architecture, student: Architecture) -> None:
    """Refuse two base models that have not read the same text at a token.

    Args:
        teacher: The teacher's structure.
        student: The student's structure.

    Raises:
        AlignmentError: one is an encoder and the other a decoder.
    """
    if teacher.family.kind is not student.family.kind:
        raise AlignmentError(
            f"The teacher `{teacher.name}` ({teacher.model_type}) is of the kind {teacher.family.kind}, and the student "
            f"`{student.name}` ({student.model_type}) of the kind {student.family.kind}.",
            do="Choose a student of the teacher's kind.",
        )
