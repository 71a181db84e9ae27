"""Pieces on a fused matrix and pieces on its parts: one becomes the other without a change of what they compute.

Several roles share one matrix in GPT-2 (query, key and value), Phi-3 or ModernBERT. In memory every role has its own piece; a
format that stores one piece for the whole matrix splits it when it reads, and joins the roles' pieces when it writes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from modxfer.architectures import Direction
from modxfer.converters.methods import Axis, Method
from modxfer.converters.module import Array, Piece, Scaling
from modxfer.errors import ConversionError

Rows = Int64[np.ndarray, " _"]
"""For each unit that a role writes, its row in the whole matrix."""


def split_piece(piece: Piece, rows: Rows) -> dict[str, Array]:
    """Take what belongs to one role out of a piece on a fused matrix.

    Args:
        piece: A piece on the whole matrix.
        rows: The role's rows.

    Returns:
        Part to tensor: rows of what writes, and all of what does not.
    """
    parts = {}
    for part, tensor in piece.parts.items():
        writing = _writing_axis(piece.method, part)
        parts[part] = tensor if writing is None else np.take(tensor, rows, axis=writing[0])
    return parts


def fuse_pieces(members: Sequence[tuple[Rows, Piece | None]], *, height: int, where: str) -> Piece:
    """Join the pieces of the roles that share a matrix into one on the whole of it.

    An update of each role is one update of the whole matrix: roles that read with the same factors share them, and the others
    get inner units of their own, so that the rank grows to the sum of theirs. A role without a piece is left as it is.

    Args:
        members: For every role of the matrix its rows, and its piece or None.
        height: Rows of the whole matrix.
        where: The place, for messages.

    Returns:
        The piece on the whole matrix; it computes exactly what the pieces do.

    Raises:
        ConversionError: the pieces differ in what they do with the input that the roles share.
    """
    present = [(rows, piece) for rows, piece in members if piece is not None]
    first = present[0][1]
    if any(piece.method != first.method or set(piece.parts) != set(first.parts) for _, piece in present):
        raise ConversionError(
            f"The roles that share the matrix `{where}` have pieces of different kinds.", do="Choose another student."
        )
    parts: dict[str, Array] = {}
    scaling = first.scaling
    if first.method.update:
        parts, scaling = _fuse_updates(present, height=height)
        present = [(rows, rescaled(piece, scaling)) for rows, piece in present]
    for part in first.parts:
        if part not in parts:
            parts[part] = _fuse_part(part, present, complete=len(present) == len(members), height=height, where=where)
    return replace(first, parts=parts, scaling=scaling)


def _fuse_updates(present: Sequence[tuple[Rows, Piece]], *, height: int) -> tuple[dict[str, Array], Scaling | None]:
    """Stack the inner units of updates: each block of rows meets only those of its own role."""
    first = present[0][1]
    down, up = first.method.update or ("", "")
    distinct: list[tuple[Array, list[tuple[Rows, Piece]]]] = []
    for rows, piece in present:
        same = next((group for stacked, group in distinct if _equal(stacked, piece.parts[down])), None)
        if same is None:
            distinct.append((piece.parts[down], [(rows, piece)]))
        else:
            same.append((rows, piece))
    factors = {piece.scaling.factor for _, piece in present if piece.scaling is not None}
    rank = sum(len(stacked) for stacked, _ in distinct)
    scalings = [piece.scaling for _, piece in present if piece.scaling is not None and piece.scaling.factor]
    scaling = _scaling(scalings[0] if scalings else first.scaling, rank=rank, one_factor=len(factors) == 1)
    wide = np.zeros((height, rank), dtype=np.result_type(*(piece.parts[up].dtype for _, piece in present)))
    start = 0
    for stacked, group in distinct:
        for rows, piece in group:
            wide[rows, start : start + len(stacked)] = rescaled(piece, scaling).parts[up]
        start += len(stacked)
    return {down: np.concatenate([stacked for stacked, _ in distinct]), up: wide}, scaling


def _scaling(first: Scaling | None, *, rank: int, one_factor: bool) -> Scaling | None:
    """Keep the factor of a scaling at another rank; of several the first but 0 counts, and the others go into the weights."""
    if first is None or (rank == first.rank and one_factor):
        return first
    return Scaling(rank=rank, alpha=first.factor * rank)


def rescaled(piece: Piece, scaling: Scaling | None) -> Piece:
    """Say a piece with another scaling: what it adds carries the difference.

    Args:
        piece: A piece.
        scaling: A scaling; None for a piece without one.

    Returns:
        The piece, which computes the same if that scaling becomes its own.
    """
    if piece.scaling is None or scaling is None or piece.scaling.factor == scaling.factor:
        return piece
    ratio = piece.scaling.factor / scaling.factor
    added = {part: piece.parts[part] for part in piece.method.added & piece.parts.keys()}
    carried = {part: (tensor.astype(np.float64) * ratio).astype(tensor.dtype) for part, tensor in added.items()}
    return replace(piece, parts={**piece.parts, **carried})


def _fuse_part(part: str, present: Sequence[tuple[Rows, Piece]], *, complete: bool, height: int, where: str) -> Array:
    """Put the rows of a part that writes together; a part that does not must be the same for all roles."""
    first = present[0][1]
    writing = _writing_axis(first.method, part)
    if writing is None:
        if not complete or any(not _equal(piece.parts[part], first.parts[part]) for _, piece in present):
            raise ConversionError(
                f"The roles that share the matrix `{where}` differ in `{part}`, which acts on the input that they share.",
                do="Choose a student that keeps them apart, or a module with the same on all of them.",
            )
        return first.parts[part]
    index, axis = writing
    neutral = axis.gain or bool(first.method.update)  # a gain of 1, or nothing added
    if not complete and (not neutral or np.isnan(axis.unserved)):
        raise ConversionError(
            f"The module replaces `{part}` of some of the roles that share the matrix `{where}`, and not of all.",
            do="Choose a student that keeps them apart.",
        )
    shape = [height if at == index else size for at, size in enumerate(first.parts[part].shape)]
    whole = np.full(shape, axis.unserved, dtype=first.parts[part].dtype)
    for rows, piece in present:
        whole[(slice(None),) * index + (rows,)] = piece.parts[part]
    return whole


def _writing_axis(method: Method, part: str) -> tuple[int, Axis] | None:
    axes = enumerate(method.parts[part])
    return next(((at, axis) for at, axis in axes if axis is not None and axis.direction is Direction.WRITES), None)


def _equal(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)
