"""What becomes of the pieces of a module whose roles a student lacks."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from modxfer.architectures import FINAL, Architecture
from modxfer.converters.module import Module, Piece, Place
from modxfer.errors import ConversionError


def fit_roles(module: Module, student: Architecture, *, drop_missing: bool) -> tuple[Module, list[str]]:
    """Hold the roles of a module's pieces against those that a student has.

    A piece needs the submodule that it sits at, and those where it reads and writes.

    Args:
        module: The module, on the teacher.
        student: The student's structure.
        drop_missing: Leave pieces behind whose roles the student lacks.

    Returns:
        The module without such pieces, and a sentence for the record for each role that was left behind.

    Raises:
        ConversionError: the student lacks roles, and they are not to be left behind, or nothing but a head would be left.
    """
    lost = {place: missing for place, piece in module.pieces.items() if (missing := _missing(place, piece, student))}
    if not lost:
        return module, []
    roles = _described(lost)
    kept = {place: piece for place, piece in module.pieces.items() if place not in lost}
    if all(place.is_head for place in kept):
        raise ConversionError(
            f"The student `{student.name}` ({student.model_type}) has none of the roles of the module's pieces: "
            f"{', '.join(roles)}.",
            do="Choose another student.",
        )
    if not drop_missing:
        raise ConversionError(
            f"The module has pieces at roles that the student `{student.name}` ({student.model_type}) lacks: "
            f"{', '.join(f'{role} ({count} of {len(module.pieces)} pieces)' for role, count in roles.items())}.",
            do="Leave them behind with `--drop-missing`, or choose another student.",
        )
    lacks = f"{student.model_type} has no such submodule"
    return replace(module, pieces=kept), [f"{role}: {lacks}; pieces left behind: {count}" for role, count in roles.items()]


def _missing(place: Place, piece: Piece, student: Architecture) -> tuple[str, ...]:
    """List the roles that a piece needs and the student lacks; a head, and what is in no space, needs none."""
    if place.is_head or not piece.method.has_spaces:
        return ()
    needed = {point.role for point in (piece.route.reads, piece.route.writes) if point != FINAL}
    return tuple(sorted(needed - _roles(student, place)))


def _roles(student: Architecture, place: Place) -> set[str]:
    """List the roles that a student has where a piece is: in its stack, or outside the layers."""
    family = student.family
    if not place.is_outside:
        return set(family.stacks[place.stack].names()) if place.stack in family.stacks else set()
    there = {role for _, layer, role, _ in student.roles() if layer is None}
    left_out = {role for role, submodule in family.modules.items() if submodule.between_widths} - there
    return {*family.names(), *family.tables} - left_out


def _described(lost: Mapping[Place, tuple[str, ...]]) -> dict[str, int]:
    """Count the pieces that are lost for each role, by its stack."""
    counts: dict[str, int] = {}
    for name in _names(lost):
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def _names(lost: Mapping[Place, tuple[str, ...]]) -> Iterator[str]:
    for place, missing in lost.items():
        for role in missing:
            yield role if place.is_outside else f"{place.stack} {role}"
