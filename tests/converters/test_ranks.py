"""LoRAs of a smaller rank: the best ones that there are, and cut together where a student keeps their roles in one matrix."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modxfer.architectures import Architecture
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.methods import BOTTLENECK, LORA, route_of_role
from modxfer.converters.module import BaseReference, Module, Piece, Place, Scaling
from modxfer.converters.ranks import EXACT, check_reducible, grown_ranks, reduce_ranks, scaling_at, truncate
from modxfer.errors import UsageError
from tests.builders import load_peft_module, make_peft_module
from tests.modules import bert, lora_module, lora_piece, module_of
from tests.planting import architecture_of, assert_differ, assert_same, inputs, make, run, tiny

FUSED = architecture_of(tiny("gpt2"), name="gpt2")
"""A base model with query, key and value in one matrix."""


def update(piece: Piece) -> np.ndarray:
    """Give what a LoRA adds to its projection's weight."""
    assert piece.scaling is not None
    return piece.scaling.factor * piece.parts["up"].astype(np.float64) @ piece.parts["down"].astype(np.float64)


def fused_module(ranks: dict[str, int], *, seed: int = 0, alpha: float = 6.0) -> Module:
    """Make a LoRA on roles of the first layer that share a matrix, each with factors of its own."""
    rng = np.random.default_rng(seed)
    width = FUSED.dimensions["hidden"]
    pieces = {}
    for role, rank in ranks.items():
        parts = {"down": rng.standard_normal((rank, width)), "up": rng.standard_normal((width, rank))}
        scaling = Scaling(rank=rank, alpha=alpha)
        pieces[Place("decoder", 0, role)] = Piece(method=LORA, route=route_of_role(role), parts=parts, scaling=scaling)
    return module_of(pieces)


def whole_update(module: Module) -> np.ndarray:
    """Give what a module adds to the matrix that query, key and value share in the first layer."""
    whole = np.zeros((FUSED.matrix_rows("decoder", "query"), FUSED.dimensions["hidden"]))
    for place, piece in module.pieces.items():
        rows = FUSED.rows(place.stack, place.role)
        assert rows is not None
        whole[rows] = update(piece)
    return whole


@given(
    out=st.integers(1, 9),
    inner=st.integers(1, 7),
    width=st.integers(1, 8),
    rank=st.integers(1, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_truncate_is_the_best_approximation_at_a_rank(out: int, inner: int, width: int, rank: int, seed: int) -> None:
    """The product has the error of NumPy's truncated decomposition, and the loss is that error."""
    rng = np.random.default_rng(seed)
    up, down = rng.standard_normal((out, inner)), rng.standard_normal((inner, width))
    (new_up, new_down), lost = truncate(up, down, rank=rank)
    assert (new_up.shape, new_down.shape) == ((out, rank), (rank, width))
    values = np.linalg.svd(up @ down, compute_uv=False)
    best = float(np.linalg.norm(values[rank:]))
    assert np.linalg.norm(new_up @ new_down - up @ down) == pytest.approx(best, abs=1e-9)
    assert lost == pytest.approx(best / np.linalg.norm(values), abs=1e-9)


def test_truncate_of_nothing_loses_nothing() -> None:
    """A LoRA that is still zero stays zero."""
    (up, down), lost = truncate(np.zeros((4, 3)), np.ones((3, 5)), rank=2)
    assert not (up @ down).any()
    assert lost == 0.0


def test_a_small_rank_stays_as_it_is() -> None:
    """What has no more than the rank is not touched, bit for bit."""
    base = bert()
    module = lora_module(base, "query", "ffn_up", rank=3)
    found = reduce_ranks(module, base, rank=3)
    assert found.approximated == ()
    assert all(found.module.pieces[place] is piece for place, piece in module.pieces.items())


def test_a_rank_that_is_not_needed_goes_without_a_loss() -> None:
    """An update of true rank 2 in factors of rank 5 is the same at rank 2, and nothing is reported."""
    base = bert(hidden=8, ffn=12)
    rng = np.random.default_rng(0)
    piece = lora_piece(base, "ffn_up", rng, rank=5)
    narrow = rng.standard_normal((5, 2)).astype(np.float32)
    piece = replace(piece, parts={**piece.parts, "down": narrow @ rng.standard_normal((2, 8)).astype(np.float32)})
    place = Place("encoder", 0, "ffn_up")
    found = reduce_ranks(module_of({place: piece}), base, rank=2)
    cut = found.module.pieces[place]
    assert found.approximated == ()
    assert cut.parts["down"].dtype == np.float32
    assert cut.scaling == Scaling(rank=2, alpha=6.0 / 5 * 2)
    np.testing.assert_allclose(update(cut), update(piece), atol=1e-5)  # float32 factors


def test_what_is_lost_is_said_for_each_place() -> None:
    """Every LoRA that loses something is named with the loss, which is the one that can be measured."""
    base = bert(layers=2)
    module = lora_module(base, "query", rank=4)
    found = reduce_ranks(module, base, rank=1)
    for place, piece in module.pieces.items():
        error = np.linalg.norm(update(found.module.pieces[place]) - update(piece)) / np.linalg.norm(update(piece))
        assert error > EXACT
        assert f"{place}: cut to rank 1, {error:.2%} of the update's size lost" in found.approximated
    assert len(found.approximated) == 2


@pytest.mark.parametrize("stabilised", [False, True])
def test_the_factor_of_a_scaling_stays(stabilised: bool) -> None:
    """Another rank comes with another alpha, so that the factor is the same."""
    before = Scaling(rank=8, alpha=12.0, rank_stabilised=stabilised)
    after = scaling_at(before, 3)
    assert (after.rank, after.rank_stabilised) == (3, stabilised)
    assert after.factor == pytest.approx(before.factor, rel=1e-15)
    assert scaling_at(before, 8) is before


@pytest.mark.parametrize("rank", [2, 5])
def test_roles_of_one_matrix_are_cut_together(rank: int) -> None:
    """The whole matrix gets the best update of the rank, and its roles the factors that it shares."""
    module = fused_module({"query": 3, "key": 2, "value": 4})
    found = reduce_ranks(module, FUSED, rank=rank)
    before, after = whole_update(module), whole_update(found.module)
    values = np.linalg.svd(before, compute_uv=False)
    best = np.linalg.norm(values[rank:])
    assert np.linalg.norm(after - before) == pytest.approx(best, rel=1e-9)
    assert found.approximated == (
        f"decoder.0.key, decoder.0.query, decoder.0.value: cut to rank {rank}, {best / np.linalg.norm(values):.2%} of the "
        "update's size lost",
    )
    downs = [piece.parts["down"] for piece in found.module.pieces.values()]
    assert all(np.array_equal(down, downs[0]) for down in downs)
    assert grown_ranks(found.module, FUSED) == ()


def test_a_role_without_a_lora_gets_none() -> None:
    """Of roles that share a matrix, one that had nothing has nothing."""
    module = fused_module({"query": 3, "value": 4})
    found = reduce_ranks(module, FUSED, rank=2)
    assert found.module.pieces.keys() == module.pieces.keys()


def test_other_parts_keep_what_they_add() -> None:
    """Where LoRAs of different factors are joined, what else they add is carried to the joint factor."""
    module = fused_module({"query": 3, "value": 4})  # factors 2 and 1.5
    rng = np.random.default_rng(1)
    pieces = {
        place: replace(piece, parts={**piece.parts, "bias": rng.standard_normal(FUSED.dimensions["hidden"])})
        for place, piece in module.pieces.items()
    }
    found = reduce_ranks(replace(module, pieces=pieces), FUSED, rank=2)
    for place, piece in pieces.items():
        cut = found.module.pieces[place]
        assert cut.scaling is not None
        assert piece.scaling is not None
        np.testing.assert_allclose(
            cut.scaling.factor * cut.parts["bias"], piece.scaling.factor * piece.parts["bias"], rtol=1e-12
        )


def test_growth_is_said_once_for_each_kind_of_place() -> None:
    """Layers that grow alike are said in one sentence; shared factors do not grow."""
    module = fused_module({"query": 3, "value": 4})
    again = {replace(place, layer=1): piece for place, piece in module.pieces.items()}
    both = replace(module, pieces={**module.pieces, **again})
    assert grown_ranks(both, FUSED) == (
        "query, value: one matrix in gpt2, where their LoRAs of rank 3 and 4 are one of rank 7",
    )
    same = fused_module({"query": 3, "value": 3})
    first = next(iter(same.pieces.values()))
    shared = {place: replace(piece, parts={**piece.parts, "down": first.parts["down"]}) for place, piece in same.pieces.items()}
    assert grown_ranks(replace(same, pieces=shared), FUSED) == ()
    assert grown_ranks(lora_module(bert(), "query", "value"), bert()) == ()


def test_what_has_no_rank_is_refused() -> None:
    """A rank below 1, and a module without a LoRA, are refused before anything is done."""
    module = lora_module(bert(), "query")
    with pytest.raises(UsageError, match="--rank 0"):
        check_reducible(module, rank=0)
    place = Place("encoder", 0, "ffn")
    piece = Piece(method=BOTTLENECK, route=route_of_role("ffn_down"), parts={}, scaling=None)
    with pytest.raises(UsageError, match=r"--rank 4.*bottleneck"):
        reduce_ranks(replace(module_of({place: piece}), method="bottleneck"), bert(), rank=4)


def written(module: Module, base: Architecture, folder: Path) -> Path:
    """Write a module of separate roles for the base model with the fused matrix."""
    folder.mkdir()
    write_module(replace(module, base=BaseReference(name="gpt2", model_type="gpt2")), base, folder)
    return folder


def with_noise(piece: Piece, rng: np.random.Generator) -> Piece:
    """Give a piece tensors of its own."""
    parts = {part: np.asarray(rng.standard_normal(tensor.shape), dtype=np.float32) for part, tensor in piece.parts.items()}
    return replace(piece, parts=parts)


def test_the_written_matrix_has_the_rank(tmp_path: Path) -> None:
    """LoRAs of separate roles are one LoRA of a fused matrix, and at a rank the file that peft loads has that rank."""
    config = tiny("gpt2")
    model: Any = make(config, dtype=torch.float32)
    given_ = inputs(config)
    make_peft_module(tmp_path / "module", make(config, dtype=torch.float32), r=2, target_modules=["c_attn"])
    read = read_module(inspect_files(tmp_path / "module"), FUSED)
    rng = np.random.default_rng(0)
    pieces = {place: with_noise(piece, rng) for place, piece in read.pieces.items()}
    module = replace(read, pieces=pieces)
    ranks = {}
    found = {}
    for rank in (None, 6, 3):
        cut = module if rank is None else reduce_ranks(module, FUSED, rank=rank).module
        folder = written(cut, FUSED, tmp_path / f"rank-{rank}")
        loaded = load_peft_module(folder, make(config, dtype=torch.float32))
        ranks[rank] = {parameter.shape[0] for name, parameter in loaded.named_parameters() if "lora_A" in name}
        found[rank] = run(loaded, given_)
    assert ranks == {None: {6}, 6: {6}, 3: {3}}
    assert_same(found[6], found[None], tolerance=1e-6)
    assert_differ(found[3], found[None], least=1e-4)
    assert_differ(found[3], run(model, given_))
