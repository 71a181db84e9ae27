"""AdaLoRA in the `peft` format, which is a LoRA once it is trained: its singular values go into the up-projection.

Source: peft 0.21, `AdaLoraConfig` in `tuners/adalora/config.py`, `SVDLinear` in `tuners/adalora/layer.py`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from modxfer.converters.formats.checks import number, whole
from modxfer.converters.formats.peft import lora
from modxfer.converters.formats.peft.kinds import Kind, Spot
from modxfer.converters.module import Array, Piece, Scaling

_OWN_KEYS = ("target_r", "init_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step")
_NO_DIVISION_BY_ZERO = 1e-5
"""What peft adds to the rank before it divides by it."""


def _canonical(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Say the module as a LoRA; which ranks its pieces have, `settle` of LoRA says."""
    kept = {key: value for key, value in config.items() if key not in _OWN_KEYS}
    return {
        **kept,
        "peft_type": "LORA",
        "r": config.get("init_r"),
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_rslora": False,
    }


def _needed(config: Mapping[str, Any], spot: Spot) -> frozenset[str]:
    return frozenset({"down", "up", "values"})


def _read(config: Mapping[str, Any], spot: Spot, tensors: Mapping[str, Array]) -> Piece:
    """Build the LoRA that computes the same: peft divides by the rank before pruning, whatever is left of it.

    What was pruned to rank 0 becomes a LoRA of rank 1 that adds nothing.
    """
    down, up, values = (tensors[part] for part in ("down", "up", "values"))
    if down.ndim == up.ndim == 2 and len(down) == up.shape[1] == 0:
        down, up = (np.zeros(shape, tensor.dtype) for shape, tensor in (((1, down.shape[1]), down), ((len(up), 1), up)))
        values = np.zeros((1, 1), values.dtype)
    rank = len(down)
    said = float(number(config, "lora_alpha", where=spot.where))
    alpha = said if said > 0 else float(rank)
    divisor = whole(config, "init_r", where=spot.where) + _NO_DIVISION_BY_ZERO
    wide = up.astype(np.float64) * values.astype(np.float64).reshape(1, -1) * (rank / divisor)
    return lora.make_piece(spot, {"down": down, "up": wide.astype(up.dtype)}, Scaling(rank=rank, alpha=alpha))


def _write(config: Mapping[str, Any], spot: Spot, piece: Piece) -> Mapping[str, Array]:
    raise AssertionError("an AdaLoRA is written as a LoRA")


def _settle(config: Mapping[str, Any], pieces: Mapping[str, Piece], where: str) -> dict[str, Any]:
    raise AssertionError("an AdaLoRA is written as a LoRA")


KIND = Kind(
    method="adalora",
    check=lora.check,
    suffixes={"lora_A": "down", "lora_B": "up", "lora_E": "values"},
    needed=_needed,
    read=_read,
    write=_write,
    settle=_settle,
    canonical=_canonical,
)
