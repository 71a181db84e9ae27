"""What a module needs of an alignment: which pairs of sites, and what it does there."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from modxfer.alignments.aligners import Use
from modxfer.alignments.alignment_map import SitePair
from modxfer.alignments.layer_maps import LayerMap
from modxfer.architectures import Architecture, Route, Site
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
                    yield written, PairUse(use=Use(writes=True), written_from=read)


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
