"""Two layers whose outputs meet in a product, at another inner width."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modxfer.converters.module import Array
from modxfer.converters.products import fit_product

LAYERS = ("query", "key")


def layers(inner: int, *, reads: int, seed: int = 0) -> dict[str, Array]:
    """Make two random layers, and another tensor beside them."""
    rng = np.random.default_rng(seed)
    return {
        **{f"{layer}.weight": rng.standard_normal((inner, reads)) for layer in LAYERS},
        **{f"{layer}.bias": rng.standard_normal(inner) for layer in LAYERS},
        "value.weight": rng.standard_normal((reads, reads)),
    }


def product(parts: dict[str, Array], query: Array, key: Array) -> Array:
    """Multiply what the two make of an input each."""
    one, other = (
        inputs @ parts[f"{layer}.weight"].T + parts[f"{layer}.bias"] for layer, inputs in zip(LAYERS, (query, key), strict=True)
    )
    return np.asarray(one @ other.T)


@given(inner=st.integers(1, 9), reads=st.integers(1, 9), width=st.integers(1, 14), seed=st.integers(0, 2**32 - 1))
def test_product_stays_as_far_as_its_rank_fits(inner: int, reads: int, width: int, seed: int) -> None:
    """With room for its rank nothing is lost; without, the loss is the best approximation's."""
    parts = layers(inner, reads=reads, seed=seed)
    fitted, lost = fit_product(parts, LAYERS, width=width)
    assert all(fitted[f"{layer}.weight"].shape == (width, reads) for layer in LAYERS)
    assert all(fitted[f"{layer}.bias"].shape == (width,) for layer in LAYERS)
    assert fitted["value.weight"] is parts["value.weight"]
    rng = np.random.default_rng(seed)
    query, key = rng.standard_normal((2, 5, reads))
    if width >= min(inner, reads + 1):
        np.testing.assert_allclose(product(fitted, query, key), product(parts, query, key), rtol=1e-8, atol=1e-8)
        assert lost < 1e-12
    whole, kept = (
        np.column_stack([those["query.weight"], those["query.bias"]]).T
        @ np.column_stack([those["key.weight"], those["key.bias"]])
        for those in (parts, fitted)
    )
    values = np.linalg.svd(whole, compute_uv=False)
    assert lost == pytest.approx(np.linalg.norm(values[width:]) / np.linalg.norm(values), abs=1e-9)
    assert np.linalg.norm(whole - kept) / np.linalg.norm(whole) == pytest.approx(lost, abs=1e-7)


def test_the_same_width_changes_no_bit() -> None:
    """Nothing is computed where nothing has to be."""
    parts = layers(4, reads=3)
    fitted, lost = fit_product(parts, LAYERS, width=4)
    assert lost == 0
    assert all(fitted[part] is parts[part] for part in parts)
