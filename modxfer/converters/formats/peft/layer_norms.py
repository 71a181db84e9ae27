"""Trained normalisations in the `peft` format.

Source: peft 0.21, `LNTuningConfig` in `tuners/ln_tuning/config.py`, `tuners/ln_tuning/layer.py`.
"""

from collections.abc import Mapping
from typing import Any

from modxfer.converters.formats.checks import check_shape
from modxfer.converters.formats.peft.kinds import Kind, Spot
from modxfer.converters.methods import NORM, route_of_role
from modxfer.converters.module import Array, Piece


def _check(config: Mapping[str, Any], where: str) -> None:
    """Every such module computes the same: the normalisations are replaced."""


def _needed(config: Mapping[str, Any], spot: Spot) -> frozenset[str]:
    return frozenset({"weight", "bias"} if spot.submodule.biased else {"weight"})


def _read(config: Mapping[str, Any], spot: Spot, tensors: Mapping[str, Array]) -> Piece:
    for part, tensor in tensors.items():
        check_shape(f"{spot.path}, {part}", tensor, (spot.writes,), where="the module", base=spot.base)
    ordered = {part: tensors[part] for part in NORM.parts if part in tensors}
    return Piece(method=NORM, route=route_of_role(spot.role), parts=ordered)


def _write(config: Mapping[str, Any], spot: Spot, piece: Piece) -> Mapping[str, Array]:
    return {f"ln_tuning_layers.{part}": tensor for part, tensor in piece.parts.items()}


def _settle(config: Mapping[str, Any], pieces: Mapping[str, Piece], where: str) -> dict[str, Any]:
    return {}


KIND = Kind(
    method="norm",
    check=_check,
    suffixes={"ln_tuning_layers.weight": "weight", "ln_tuning_layers.bias": "bias"},
    needed=_needed,
    read=_read,
    write=_write,
    settle=_settle,
    takes=lambda submodule: submodule.elementwise,
)
