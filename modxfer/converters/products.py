"""Two layers whose outputs meet in a product: their inner axis at another width."""

from collections.abc import Mapping

import numpy as np

from modxfer.converters.module import Array


def fit_product(parts: Mapping[str, Array], layers: tuple[str, str], *, width: int) -> tuple[dict[str, Array], float]:
    """Give the inner axis of two layers another width, with the product of their outputs as it was.

    With a constant 1 behind the inputs, the product is x' M y with M = [W_x b_x]' [W_y b_y]. A wider axis gets zeros, which is
    exact; a narrower one keeps the largest singular values of M (Eckart-Young), which is exact as far as its rank allows.

    Args:
        parts: Part to tensor; "x.weight" of shape (inner, in) and "x.bias" of shape (inner,) for each of the two.
        layers: What the two are called.
        width: The inner axis's new width.

    Returns:
        The parts, and the share of the size of M (its Frobenius norm) that is lost, in [0, 1].
    """
    one, other = ([f"{layer}.weight", f"{layer}.bias"] for layer in layers)
    inner = len(parts[one[0]])
    if inner == width:
        return dict(parts), 0.0
    if inner < width:
        grown = {part: _with_zeros(parts[part], width) for part in (*one, *other)}
        return {**parts, **grown}, 0.0
    left, right = (np.column_stack([parts[weight], parts[bias]]).astype(np.float64) for weight, bias in (one, other))
    left_basis, left_core = np.linalg.qr(left.T)
    right_basis, right_core = np.linalg.qr(right.T)
    first, values, second = np.linalg.svd(left_core @ right_core.T)
    size = float(np.linalg.norm(values))
    root = np.sqrt(values[:width])
    kept = len(root)
    cut = (left_basis @ (first[:, :kept] * root)).T, (right_basis @ (second[:kept].T * root)).T
    fitted = {
        part: _with_zeros(tensor, width)
        for (weight, bias), whole in zip((one, other), cut, strict=True)
        for part, tensor in ((weight, whole[:, :-1]), (bias, whole[:, -1]))
    }
    return {**parts, **fitted}, float(np.linalg.norm(values[width:])) / size if size > 0 else 0.0


def _with_zeros(tensor: Array, width: int) -> Array:
    return np.pad(tensor, [(0, width - len(tensor)), *[(0, 0)] * (tensor.ndim - 1)])
