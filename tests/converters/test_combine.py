"""Averages of pieces: factors one by one, or whole updates by the best approximation at a rank."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modxfer.converters.combine import combine
from modxfer.converters.methods import OUTPUT, route_of_role
from modxfer.converters.module import Piece, Place
from modxfer.errors import ConversionError
from tests.modules import bert, lora_piece

PLACE = Place("encoder", 1, "ffn_up")
TEACHER = bert(hidden=6, ffn=10)


def pieces_of(*ranks_and_alphas: tuple[int, float], seed: int = 0) -> list[Piece]:
    """Make LoRA pieces of different ranks and alphas on a projection from 6 to 10 units."""
    rng = np.random.default_rng(seed)
    return [lora_piece(TEACHER, "ffn_up", rng, rank=rank, alpha=alpha) for rank, alpha in ranks_and_alphas]


def update(piece: Piece) -> np.ndarray:
    """Give what a LoRA adds to its projection's weight."""
    assert piece.scaling is not None
    return piece.scaling.factor * piece.parts["up"].astype(np.float64) @ piece.parts["down"].astype(np.float64)


def test_one_piece_stays_as_it_is() -> None:
    """A piece that is alone is not touched, whatever its weight."""
    (piece,) = pieces_of((3, 6.0))
    notes: dict[str, None] = {}
    assert combine([(0.3, piece)], PLACE, whole_updates=True, approximated=notes) is piece
    assert notes == {}


def test_avg_is_the_weighted_mean_of_the_factors() -> None:
    """Factors are averaged one by one; weights that do not sum to 1 are made to."""
    first, second = pieces_of((3, 6.0), (3, 6.0))
    notes: dict[str, None] = {}
    found = combine([(0.1, first), (0.3, second)], PLACE, whole_updates=False, approximated=notes)
    for part in ("down", "up"):
        expected = 0.25 * first.parts[part].astype(np.float64) + 0.75 * second.parts[part].astype(np.float64)
        np.testing.assert_allclose(found.parts[part], expected, rtol=1e-12)
    assert found.scaling == first.scaling
    assert list(notes) == ["ffn_up: the factors of 2 layers are averaged one by one"]


def test_avg_carries_different_scalings_into_the_part_that_writes() -> None:
    """A layer with twice the alpha counts with twice the part that writes."""
    first, second = pieces_of((3, 6.0), (3, 12.0))
    found = combine([(0.5, first), (0.5, second)], PLACE, whole_updates=False, approximated={})
    np.testing.assert_allclose(found.parts["up"], 0.5 * first.parts["up"].astype(np.float64) + second.parts["up"], rtol=1e-12)
    np.testing.assert_allclose(
        found.parts["down"], 0.5 * (first.parts["down"].astype(np.float64) + second.parts["down"]), rtol=1e-12
    )
    assert found.scaling == first.scaling


@given(
    ranks=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    weights=st.data(),
    seed=st.integers(0, 2**32 - 1),
)
def test_avg_delta_is_the_best_approximation_of_the_mean_update(ranks, weights, seed) -> None:
    """It has the largest rank among the pieces, and the error of the truncated SVD of the dense mean."""
    shares = [weights.draw(st.floats(0.1, 1.0)) for _ in ranks]
    pieces = pieces_of(*[(rank, 2.0 * rank + place) for place, rank in enumerate(ranks)], seed=seed)
    notes: dict[str, None] = {}
    pairs = list(zip(shares, pieces, strict=True))
    found = combine(pairs, PLACE, whole_updates=True, approximated=notes)
    mean = sum(share / sum(shares) * update(piece) for share, piece in pairs)
    values = np.linalg.svd(mean, compute_uv=False)
    best = np.linalg.norm(values[max(ranks) :])
    assert found.parts["down"].shape == (max(ranks), 6)
    assert found.parts["up"].shape == (10, max(ranks))
    assert found.scaling is not None
    assert found.scaling.rank == max(ranks)
    assert np.linalg.norm(update(found) - mean) == pytest.approx(best, abs=1e-8 * values[0])
    assert f"{best / np.linalg.norm(values):.1%} of its size lost" in next(iter(notes))


def test_avg_delta_pads_where_the_sites_are_narrower_than_the_rank() -> None:
    """A rank above both widths stays the rank, filled up with zeros, and nothing is lost."""
    first, second = pieces_of((8, 8.0), (8, 8.0))
    found = combine([(0.5, first), (0.5, second)], PLACE, whole_updates=True, approximated={})
    assert found.parts["down"].shape == (8, 6)
    assert found.parts["up"].shape == (10, 8)
    np.testing.assert_allclose(update(found), 0.5 * (update(first) + update(second)), atol=1e-10)


def test_avg_delta_of_nothing_is_nothing() -> None:
    """Updates of 0, as fresh modules have, average to 0 and lose nothing."""
    pieces = [
        Piece(method=p.method, route=p.route, parts={**p.parts, "up": 0 * p.parts["up"]}, scaling=p.scaling)
        for p in pieces_of((2, 4.0), (3, 3.0))
    ]
    notes: dict[str, None] = {}
    found = combine([(0.5, piece) for piece in pieces], PLACE, whole_updates=True, approximated=notes)
    assert not update(found).any()
    assert "0.0% of its size lost" in next(iter(notes))


def test_avg_delta_averages_what_is_no_lora_by_its_tensors() -> None:
    """Other methods have no refactoring: their tensors are averaged."""
    rng = np.random.default_rng(1)
    layers = [
        Piece(method=OUTPUT, route=route_of_role("query"), parts={"weight": rng.standard_normal((2, 6))}) for _ in range(2)
    ]
    found = combine([(0.5, piece) for piece in layers], PLACE, whole_updates=True, approximated={})
    np.testing.assert_allclose(found.parts["weight"], (layers[0].parts["weight"] + layers[1].parts["weight"]) / 2)


def test_pieces_with_different_parts_have_no_average() -> None:
    """A piece with a bias and one without are refused with the place."""
    weight = np.ones((2, 6))
    pieces = [
        Piece(method=OUTPUT, route=route_of_role("query"), parts=parts)
        for parts in ({"weight": weight}, {"weight": weight, "bias": np.ones(2)})
    ]
    with pytest.raises(ConversionError, match=r"`encoder\.1\.ffn_up` differ.*'bias': \(2,\)"):
        combine([(0.5, piece) for piece in pieces], PLACE, whole_updates=False, approximated={})


@pytest.mark.parametrize("whole_updates", [False, True])
def test_biases_and_magnitudes_are_averaged_beside_the_update(whole_updates: bool) -> None:
    """A LoRA's bias carries its scaling as its up-projection does; DoRA's magnitude is a norm, and has none."""
    rng = np.random.default_rng(1)
    given = [
        replace(piece, parts={**piece.parts, "bias": rng.normal(size=10), "magnitude": rng.normal(size=10)})
        for piece in pieces_of((3, 6.0), (3, 12.0))
    ]
    found = combine([(0.25, given[0]), (0.75, given[1])], PLACE, whole_updates=whole_updates, approximated={})
    assert found.scaling is not None
    for part, carries_scaling in (("bias", True), ("magnitude", False)):
        factors = [piece.scaling.factor if carries_scaling and piece.scaling else 1.0 for piece in given]
        expected = 0.25 * factors[0] * given[0].parts[part] + 0.75 * factors[1] * given[1].parts[part]
        np.testing.assert_allclose((found.scaling.factor if carries_scaling else 1.0) * found.parts[part], expected, rtol=1e-9)
