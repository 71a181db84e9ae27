"""Joining the pieces of several teacher layers into one piece of a student layer."""

from collections.abc import MutableMapping, Sequence
from dataclasses import replace

import numpy as np

from modxfer.converters.methods import LORA
from modxfer.converters.module import Array, Piece, Place
from modxfer.converters.ranks import truncate
from modxfer.errors import ConversionError


def combine(
    pieces: Sequence[tuple[float, Piece]],
    place: Place,
    *,
    whole_updates: bool,
    approximated: MutableMapping[str, None],
) -> Piece:
    """Average pieces that are already on the student.

    Args:
        pieces: Weight and piece, of one method; weights that do not sum to 1 are made to.
        place: Where the result goes, for messages.
        whole_updates: Average a LoRA's updates (scaling * up @ down) and not its factors.
        approximated: Takes a sentence on what is not exact.

    Returns:
        The average; the piece itself, bit for bit, if it is alone.

    Raises:
        ConversionError: factors of different inner sizes, or pieces with different parts, were to be averaged.

    Source:
        AVG: Klimaszewski et al. 2024, section 3.2.
    """
    if len(pieces) == 1:
        return pieces[0][1]
    total = sum(weight for weight, _ in pieces)
    weights = [weight / total for weight, _ in pieces]
    members = [piece for _, piece in pieces]
    if (
        whole_updates
        and members[0].method is LORA
        and all(member.parts.keys() == members[0].parts.keys() for member in members)
    ):
        piece, lost = _average_updates(members, weights)
        approximated[f"{place}: mean of {len(members)} updates cut to rank {_rank(piece)}, {lost:.1%} of its size lost"] = None
        return piece
    _check_shapes(members, place)
    approximated[f"{place.name}: the factors of {len(members)} layers are averaged one by one"] = None
    first = members[0]
    carried = [_carry_scaling(member, first) for member in members]
    return replace(
        first,
        parts={
            part: np.average([parts[part].astype(np.float64) for parts in carried], axis=0, weights=weights)
            for part in first.parts
        },
    )


def _carry_scaling(piece: Piece, like: Piece) -> dict[str, Array]:
    """Express a piece with another's scaling, putting the difference into the part that writes."""
    parts = dict(piece.parts)
    if piece.scaling is not None and like.scaling is not None and piece.scaling.factor != like.scaling.factor:
        for part in piece.method.added & parts.keys():
            parts[part] = parts[part].astype(np.float64) * (piece.scaling.factor / like.scaling.factor)
    return parts


def _average_updates(pieces: Sequence[Piece], weights: Sequence[float]) -> tuple[Piece, float]:
    """Find the best approximation, in the Frobenius norm, of the mean update at the largest rank among the pieces.

    What a piece has beside its two factors is averaged part by part.

    The mean is a product of thin factors, [up_1 ... up_k] [w_1 down_1; ...; w_k down_k].
    """
    widest = max(pieces, key=_rank)
    carried = [_carry_scaling(piece, widest) for piece in pieces]
    ups = np.concatenate([parts["up"].astype(np.float64) for parts in carried], axis=1)
    downs = np.concatenate([weight * parts["down"].astype(np.float64) for weight, parts in zip(weights, carried, strict=True)])
    (up, down), lost = truncate(ups, downs, rank=_rank(widest))
    others = {
        part: np.average([parts[part].astype(np.float64) for parts in carried], axis=0, weights=weights)
        for part in widest.parts.keys() - {"down", "up"}
    }
    return replace(widest, parts={"down": down, "up": up, **others}), lost


def _rank(piece: Piece) -> int:
    return int(piece.parts["down"].shape[0])


def _check_shapes(pieces: Sequence[Piece], place: Place) -> None:
    shapes = [{part: tensor.shape for part, tensor in piece.parts.items()} for piece in pieces]
    if any(shape != shapes[0] for shape in shapes):
        raise ConversionError(
            f"The pieces for `{place}` differ in their parts or inner sizes, so their factors have no average: {shapes[0]} and "
            f"{next(shape for shape in shapes if shape != shapes[0])}.",
            do="Use `--layers avg-delta` (LoRA), or a layer map without averages.",
        )
