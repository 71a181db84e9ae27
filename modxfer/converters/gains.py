"""Normalisations that mean another thing by their weight."""

from modxfer.architectures import Architecture
from modxfer.converters.module import Piece, Place
from modxfer.errors import ConversionError


def check_gains(piece: Piece, place: Place, *, teacher: Architecture, student: Architecture) -> None:
    """Refuse a whole normalisation whose weight is the gain in one base model, and what is added to 1 in the other.

    A difference of weights is the same in both.

    Args:
        piece: A piece of a module.
        place: Where it sits.
        teacher: The base model that it comes from.
        student: The base model that it goes to.

    Raises:
        ConversionError: the two base models multiply by different things.
    """
    if piece.method.is_difference or "weight" not in piece.parts:
        return
    around = [_is_around_one(base, place) for base in (teacher, student)]
    if around[0] is not around[1]:
        one, other = (base.model_type for base in ((teacher, student) if around[0] else (student, teacher)))
        raise ConversionError(
            f"The module replaces `{place}`, and {one} normalises with 1 + its weight where {other} does with its weight.",
            do="Leave normalisations out of the module, or choose a student that has the teacher's kind.",
        )


def _is_around_one(base: Architecture, place: Place) -> bool:
    roles = base.family.modules if place.is_outside else base.family.stacks[place.stack].roles
    return place.role in roles and roles[place.role].around_one
