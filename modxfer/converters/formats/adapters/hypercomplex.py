"""Projections of Compacter, written out as plain ones.

Such a projection is x @ H + b with H = sum over i of kron(rule_i, W_i); rules and W may be products of two factors, and may be
shared by all bottlenecks of a module. Written out it computes the same with more parameters.

Source: Mahabadi et al. 2021 (arXiv 2106.04647); adapters 1.3, `PHMLayer` in `methods/modeling.py`.
"""

from collections.abc import Mapping

import numpy as np

from modxfer.converters.formats.adapters.configs import BOTTLENECK_DEFAULTS
from modxfer.converters.formats.adapters.kinds import Config, Owner
from modxfer.converters.module import Array

SHARED = "shared_parameters"
"""The name of the owner of what all bottlenecks share."""


def shared_owner(inner: Config) -> Owner | None:
    """Name what all bottlenecks of a module share.

    Args:
        inner: The bottlenecks' config.

    Returns:
        Its owner; None if they share nothing.
    """
    values = {**BOTTLENECK_DEFAULTS, **inner}
    parts: list[str] = []
    if values["shared_W_phm"]:
        halves = ("_left", "_right") if values["factorized_phm_W"] else ("",)
        parts += [f"W_{position}{half}" for position in ("down", "up") for half in halves]
    if values["shared_phm_rule"]:
        parts += _rules(values)
    shapes: dict[str, tuple[int | None, ...]] = dict.fromkeys(parts, (int(values["phm_dim"]), None, None))
    return Owner(path="", marker=SHARED, ends={part: part for part in parts}, shapes=shapes) if parts else None


def ends(inner: Config, module: str, position: str) -> dict[str, str]:
    """Name the tensors of one projection.

    Args:
        inner: The bottleneck's config.
        module: The projection's submodule in the bottleneck.
        position: "down" or "up".

    Returns:
        End of a key to part.
    """
    values = {**BOTTLENECK_DEFAULTS, **inner}
    own = [] if values["shared_phm_rule"] else _rules(values)
    if not values["shared_W_phm"]:
        own += ["W_left", "W_right"] if values["factorized_phm_W"] else ["W"]
    found = {f"{module}.{name}": f"{position}.{name}" for name in own}
    return found | ({f"{module}.b": f"{position}.bias"} if values["phm_bias"] else {})


def shapes(inner: Config, position: str, size_in: int, size_out: int) -> dict[str, tuple[int | None, ...]]:
    """Give the shapes of one projection's own tensors.

    Args:
        inner: The bottleneck's config.
        position: "down" or "up".
        size_in: Units that it reads.
        size_out: Units that it writes.

    Returns:
        Part to shape.
    """
    values = {**BOTTLENECK_DEFAULTS, **inner}
    dim, rank = int(values["phm_dim"]), int(values["phm_rank"])
    own: dict[str, tuple[int | None, ...]] = {
        "phm_rule": (dim, dim, dim),
        "phm_rule_left": (dim, dim, 1),
        "phm_rule_right": (dim, 1, dim),
        "W": (dim, size_in // dim, size_out // dim),
        "W_left": (dim, size_in // dim, rank),
        "W_right": (dim, rank, size_out // dim),
    }
    return {f"{position}.{name}": shape for name, shape in own.items()}


def weight(position: str, own: Mapping[str, Array], shared: Mapping[str, Array]) -> Array:
    """Write one projection's weight out.

    Args:
        position: "down" or "up".
        own: The bottleneck's own tensors, by part.
        shared: What all bottlenecks share, by name.

    Returns:
        The weight, shape (out, in), in the dtype of the tensors.
    """
    rule = _factors(own, f"{position}.phm_rule")
    rule = _factors(shared, "phm_rule") if rule is None else rule
    inner = _factors(own, f"{position}.W")
    inner = _factors(shared, f"W_{position}") if inner is None else inner
    assert rule is not None  # the owners' keys are complete
    assert inner is not None
    whole = sum(np.kron(one, other) for one, other in zip(rule, inner, strict=True))
    dtype = next(iter(shared.values()), next(iter(own.values()))).dtype
    return np.ascontiguousarray(np.asarray(whole).T).astype(dtype)


def _factors(tensors: Mapping[str, Array], name: str) -> Array | None:
    """Give a stack of matrices that is stored whole or as two factors; None if it is not stored here."""
    if name in tensors:
        return tensors[name].astype(np.float64)
    if f"{name}_left" in tensors:
        return np.asarray(tensors[f"{name}_left"].astype(np.float64) @ tensors[f"{name}_right"].astype(np.float64))
    return None


def _rules(values: Config) -> list[str]:
    return ["phm_rule_left", "phm_rule_right"] if values["factorized_phm_rule"] else ["phm_rule"]
