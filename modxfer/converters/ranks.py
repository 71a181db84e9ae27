"""LoRAs of a smaller rank, and what becomes of ranks where a student keeps several roles in one matrix."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from modxfer.architectures import Architecture
from modxfer.converters.fusing import fuse_pieces, rescaled, split_piece
from modxfer.converters.module import Array, Module, Piece, Place, Scaling
from modxfer.errors import UsageError

Factors = tuple[Float[np.ndarray, "out kept"], Float[np.ndarray, "kept in_"]]
"""up and down."""

EXACT = 1e-6
"""A relative error below this is that of rounding float32 numbers, and not of leaving something out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """A module whose LoRAs have at most some rank.

    Attributes:
        module: The module.
        approximated: Which updates lost something by that, and how much; empty if none did.
    """

    module: Module
    approximated: tuple[str, ...]


def truncate(up: Float[np.ndarray, "out inner"], down: Float[np.ndarray, "inner in_"], *, rank: int) -> tuple[Factors, float]:
    """Find the best approximation, in the Frobenius norm, of a product of thin factors at a rank.

    The singular values of the product are those of a matrix of the inner size, which two QR decompositions give.

    Args:
        up: Any floating dtype, shape (out, inner).
        down: Any floating dtype, shape (inner, in).
        rank: The inner size of the result; where the product has fewer singular values, the rest is filled up with zeros.

    Returns:
        The new factors, float64, whose sizes are the same in the Frobenius norm; and how much of the product's norm is lost, in
        [0, 1].

    Source:
        Eckart and Young 1936.
    """
    up_basis, up_core = np.linalg.qr(up.astype(np.float64))
    down_basis, down_core = np.linalg.qr(down.astype(np.float64).T)
    left, values, right = np.linalg.svd(up_core @ down_core.T, full_matrices=False)
    size = float(np.linalg.norm(values))
    lost = float(np.linalg.norm(values[rank:])) / size if size > 0 else 0.0
    root = np.sqrt(values[:rank])
    new_up = up_basis @ (left[:, :rank] * root)
    new_down = (root[:, None] * right[:rank]) @ down_basis.T
    return (_pad(new_up, rank, axis=1), _pad(new_down, rank, axis=0)), lost


def reduce_ranks(module: Module, base: Architecture, *, rank: int) -> Reduced:
    """Cut every LoRA of a module to a rank; those of roles that share a matrix are cut together, as the one that they become.

    Args:
        module: A module, its pieces at places of the base model.
        base: The base model that it belongs to.
        rank: The largest rank that is wanted.

    Returns:
        The module, and what was lost. A LoRA whose rank is small enough stays as it is, bit for bit.

    Raises:
        UsageError: the rank is below 1, or the module has no LoRA.
        ConversionError: the pieces of roles that share a matrix cannot be joined.
    """
    check_reducible(module, rank=rank)
    pieces = dict(module.pieces)
    approximated = []
    for places in _matrices(module, base):
        cut, lost = _cut_together(places, module.pieces, base, rank)
        pieces |= cut
        if lost > EXACT:
            approximated.append(f"{', '.join(map(str, places))}: cut to rank {rank}, {lost:.2%} of the update's size lost")
    return Reduced(module=replace(module, pieces=pieces), approximated=tuple(approximated))


def check_reducible(module: Module, *, rank: int) -> None:
    """Refuse to cut what has no rank.

    Args:
        module: A module.
        rank: What the user gave.

    Raises:
        UsageError: the rank is below 1, or the module has no LoRA.
    """
    check_rank(rank)
    if not any(map(_is_lora, module.pieces.values())):
        raise UsageError(
            f"`--rank {rank}` is about LoRA, and the module is of the method {module.method}.", do="Leave `--rank` out."
        )


def check_rank(rank: int) -> None:
    """Refuse a rank that no LoRA can have.

    Args:
        rank: What the user gave.

    Raises:
        UsageError: it is below 1.
    """
    if rank < 1:
        raise UsageError(f"`--rank {rank}` leaves nothing of a LoRA.", do="Give a whole number above 0.")


def grown_ranks(module: Module, base: Architecture) -> tuple[str, ...]:
    """Say where LoRAs become one of a higher rank, since a base model keeps their roles in one matrix.

    Args:
        module: A module, its pieces at places of the base model.
        base: The base model that it belongs to.

    Returns:
        A sentence for each kind of place, ranks being those of all its layers.
    """
    grown: dict[tuple[str, ...], set[tuple[tuple[int, ...], int]]] = defaultdict(set)
    for places in _matrices(module, base):
        if len(places) > 1:
            own = tuple(_rank(module.pieces[place]) for place in places)
            fused = _rank(_fuse(places, module.pieces, base))
            if fused > max(own):
                grown[tuple(place.name for place in places)].add((own, fused))
    return tuple(
        f"{', '.join(roles)}: one matrix in {base.model_type}, where their LoRAs of rank {_ranks(own)} are one of rank {fused}"
        for roles, ranks in grown.items()
        for own, fused in sorted(ranks)
    )


def _matrices(module: Module, base: Architecture) -> Iterator[tuple[Place, ...]]:
    """List the places of a module's LoRAs, those of roles that share a matrix together."""
    shared: dict[str, list[Place]] = defaultdict(list)
    for place, piece in sorted(module.pieces.items()):
        if _is_lora(piece):
            is_shared = not place.is_head and not place.is_outside and base.rows(place.stack, place.role) is not None
            shared[base.role_path(place.stack, place.layer, place.role) if is_shared else str(place)].append(place)
    yield from (tuple(places) for places in shared.values())


def _is_lora(piece: Piece) -> bool:
    return piece.scaling is not None and bool(piece.method.update)


def _fuse(places: Sequence[Place], pieces: Mapping[Place, Piece], base: Architecture) -> Piece:
    """Join the updates of roles that share a matrix into the one that they are on the whole of it."""
    members: list[tuple[np.ndarray, Piece | None]] = []
    for place in places:
        rows = base.rows(place.stack, place.role)
        assert rows is not None  # they share a matrix
        members.append((rows, _only_update(pieces[place])))
    first = places[0]
    return fuse_pieces(members, height=base.matrix_rows(first.stack, first.role), where=str(first))


def _cut_together(
    places: Sequence[Place], pieces: Mapping[Place, Piece], base: Architecture, rank: int
) -> tuple[dict[Place, Piece], float]:
    """Cut the update of one matrix to a rank; gives the pieces that it then consists of, and how much was lost."""
    whole = _only_update(pieces[places[0]]) if len(places) == 1 else _fuse(places, pieces, base)
    if _rank(whole) <= rank:
        return {}, 0.0
    cut, lost = cut_piece(whole, rank)
    if len(places) == 1:
        return {places[0]: _with_update(pieces[places[0]], cut.parts, cut.scaling)}, lost
    found = {}
    for place in places:
        rows = base.rows(place.stack, place.role)
        assert rows is not None
        found[place] = _with_update(pieces[place], split_piece(cut, rows), cut.scaling)
    return found, lost


def cut_piece(piece: Piece, rank: int) -> tuple[Piece, float]:
    """Cut one LoRA to a rank.

    Args:
        piece: A LoRA of a higher rank.
        rank: The rank.

    Returns:
        The LoRA, in its own dtype and with its own factor; and how much of its update's norm is lost, in [0, 1].
    """
    assert piece.method.update
    assert piece.scaling is not None
    down, up = piece.method.update
    (new_up, new_down), lost = truncate(piece.parts[up], piece.parts[down], rank=rank)
    parts = {down: new_down.astype(piece.parts[down].dtype), up: new_up.astype(piece.parts[up].dtype)}
    return _with_update(piece, parts, scaling_at(piece.scaling, rank)), lost


def scaling_at(scaling: Scaling, rank: int) -> Scaling:
    """Keep a scaling's factor at another rank.

    Args:
        scaling: The scaling.
        rank: The rank.

    Returns:
        A scaling with that rank and the same factor.
    """
    if rank == scaling.rank:
        return scaling
    return replace(scaling, rank=rank, alpha=scaling.factor * (math.sqrt(rank) if scaling.rank_stabilised else rank))


def _only_update(piece: Piece) -> Piece:
    return replace(piece, parts={part: piece.parts[part] for part in piece.method.update})


def _with_update(piece: Piece, parts: Mapping[str, Array], scaling: Scaling | None) -> Piece:
    """Give a piece another update, and what else it adds the update's factor."""
    update = {part: parts[part] for part in piece.method.update}
    return replace(piece, parts={**rescaled(piece, scaling).parts, **update}, scaling=scaling)


def _pad(tensor: np.ndarray, rank: int, *, axis: int) -> np.ndarray:
    """Fill up with zeros where the two sites are narrower than the rank."""
    missing = rank - tensor.shape[axis]
    widths = [(0, missing if index == axis else 0) for index in range(tensor.ndim)]
    return np.pad(tensor, widths) if missing > 0 else tensor


def _rank(piece: Piece) -> int:
    return int(piece.parts[piece.method.update[0]].shape[0]) if piece.method.update else 0


def _ranks(ranks: Sequence[int]) -> str:
    return str(ranks[0]) if len(set(ranks)) == 1 else " and ".join(map(str, ranks))
