"""(IA)3 in the `peft` format.

Source: peft 0.21, `IA3Config` in `tuners/ia3/config.py`, `tuners/ia3/layer.py`, `_check_target_module_feedforward` in
`tuners/ia3/model.py`.
"""

import re
from collections.abc import Mapping
from typing import Any

from modxfer.architectures import VOCABULARY
from modxfer.converters.formats.checks import check_shape, strings
from modxfer.converters.formats.peft.kinds import Kind, Spot
from modxfer.converters.methods import IA3, route_of_role
from modxfer.converters.module import Array, Piece
from modxfer.errors import FormatError

_INPUT, _OUTPUT = "input_gain", "output_gain"


def _check(config: Mapping[str, Any], where: str) -> None:
    """Every (IA)3 computes the same."""


def _needed(config: Mapping[str, Any], spot: Spot) -> frozenset[str]:
    return frozenset({"gain"})


def _is_feedforward(config: Mapping[str, Any], path: str, *, where: str) -> bool:
    """Say whether the gain of a submodule is on its input, by peft's own rule: a plain end of the path, or a whole match."""
    said = config.get("feedforward_modules")
    if isinstance(said, str):
        try:
            return re.fullmatch(said, path) is not None
        except re.error as error:
            raise FormatError(
                f"A regular expression in {where} cannot be read: {error} in {error.pattern!r}.", do="Correct it in that file."
            ) from error
    return any(path.endswith(name) for name in strings(config, "feedforward_modules", where=where))


def _read(config: Mapping[str, Any], spot: Spot, tensors: Mapping[str, Array]) -> Piece:
    """Build the piece of one submodule: a gain on what it takes in, stored as a row, or on what it puts out, as a column."""
    is_input = _is_feedforward(config, spot.path, where=spot.where)
    shape = (1, spot.reads) if is_input else (spot.writes, 1)
    check_shape(f"{spot.path}.ia3_l", tensors["gain"], shape, where="the module", base=spot.base)
    part = _INPUT if is_input else _OUTPUT
    return Piece(method=IA3, route=route_of_role(spot.role), parts={part: tensors["gain"].reshape(-1)})


def _write(config: Mapping[str, Any], spot: Spot, piece: Piece) -> Mapping[str, Array]:
    gain = piece.parts.get(_INPUT)
    return {"ia3_l": piece.parts[_OUTPUT].reshape(-1, 1) if gain is None else gain.reshape(1, -1)}


def _settle(config: Mapping[str, Any], pieces: Mapping[str, Piece], where: str) -> dict[str, Any]:
    """Say which gains are on inputs: as the config does if that still holds, else by the names that `target_modules` has."""
    inputs = {path for path, piece in pieces.items() if _INPUT in piece.parts}
    names, said = config.get("target_modules"), config.get("feedforward_modules")
    fits = {path for path in pieces if _is_feedforward(config, path, where=where)} == inputs
    strays = isinstance(names, list) and isinstance(said, list) and any(name not in names for name in said)
    if said is not None and fits and not strays:  # peft refuses two lists of which one has more
        return {}
    if isinstance(names, list):
        chosen = [name for name in names if any(path.endswith(name) for path in inputs)]
        if not any(path.endswith(name) for name in chosen for path in pieces.keys() - inputs):
            return {"feedforward_modules": chosen}
    return {"target_modules": sorted(pieces), "feedforward_modules": sorted(inputs)}


KIND = Kind(
    method="ia3",
    check=_check,
    suffixes={"ia3_l": "gain"},
    needed=_needed,
    read=_read,
    write=_write,
    settle=_settle,
    apart=lambda piece: _INPUT if _INPUT in piece.parts else _OUTPUT,
    takes=lambda submodule: not submodule.elementwise and submodule.reads != VOCABULARY,
)
