"""Normalisations that mean another thing by their weight."""

from collections.abc import Mapping

from modxfer.architectures import Architecture, Submodule
from modxfer.converters.module import Piece, Place
from modxfer.errors import ConversionError


def check_gains(piece: Piece, place: Place, *, teacher: Architecture, student: Architecture) -> None:
    """Refuse a whole normalisation whose weight is the gain in one base model, and what is added to 1 in the other.

    A difference of weights is the same in both. What a family that was read off its submodules does is not known: only the same
    family does surely the same.

    Args:
        piece: A piece of a module.
        place: Where it sits.
        teacher: The base model that it comes from.
        student: The base model that it goes to.

    Raises:
        ConversionError: the two base models multiply by different things, or may do so.
    """
    is_whole = not piece.method.is_difference and "weight" in piece.parts
    if not is_whole or teacher.model_type == student.model_type:
        return
    unknown = [base.model_type for base in (teacher, student) if base.family.inferred]
    if unknown and _is_normalisation(teacher, place):
        raise ConversionError(
            f"The module replaces `{place}`, and {' and '.join(unknown)} may normalise with its weight or with 1 + its weight, "
            "which a structure that was read off submodules does not show.",
            do="Leave normalisations out of the module, or choose a student of the teacher's family.",
        )
    around = [_is_around_one(base, place) for base in (teacher, student)]
    if around[0] is not around[1]:
        one, other = (base.model_type for base in ((teacher, student) if around[0] else (student, teacher)))
        raise ConversionError(
            f"The module replaces `{place}`, and {one} normalises with 1 + its weight where {other} does with its weight.",
            do="Leave normalisations out of the module, or choose a student that has the teacher's kind.",
        )


def _is_around_one(base: Architecture, place: Place) -> bool:
    roles = _roles(base, place)
    return place.role in roles and roles[place.role].around_one


def _is_normalisation(base: Architecture, place: Place) -> bool:
    roles = _roles(base, place)
    return place.role in roles and roles[place.role].elementwise


def _roles(base: Architecture, place: Place) -> Mapping[str, Submodule]:
    return base.family.modules if place.is_outside else base.family.stacks[place.stack].roles
