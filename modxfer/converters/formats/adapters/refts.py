"""Representation fine-tuning (LoReFT, NoReFT, DiReFT) in the `adapters` format.

A unit changes what a layer puts out, h + P.T @ (f(W @ h + b) - P @ h), at the first or the last positions of a text. Where the
rows of P are orthonormal, `adapters` stores P as a chain of reflections in front of a base; it is read as P itself, and written
with the reflections that do nothing.

Source: Wu et al. 2024 (arXiv 2404.03592); adapters 1.3, `methods/reft.py`; torch 2.13, `_Orthogonal` in
`nn/utils/parametrizations.py`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from modxfer.architectures import Point, Route, Side
from modxfer.converters.formats.adapters.kinds import Config, Found, Kind, Owner, Setup, all_layers
from modxfer.converters.formats.checks import whole, whole_numbers
from modxfer.converters.methods import REFT
from modxfer.converters.module import Array, Piece, Place
from modxfer.errors import ConversionError, FormatError

_REFLECTIONS = "projection.parametrizations.weight.original"
_BASE = "projection.parametrizations.weight.0.base"
_ORTHONORMAL = 1e-4
"""How far products of rows may be from 0 and 1: float32 after a few hundred sums."""


_OUTPUT = Point("ffn", Side.OUTPUT)
"""What a layer puts out."""


def _layers(setup: Setup) -> list[tuple[str, int]]:
    there = list(setup.layers())
    if setup.inner.get("layers") == "all":
        return there
    wanted = set(whole_numbers(setup.inner, "layers", where=setup.where))
    return [layer for number, layer in enumerate(all_layers(setup.base)) if number in wanted and layer in there]


def _units(setup: Setup) -> list[str]:
    """Name the units of a layer."""
    return ["ffn.reft"] if setup.inner.get("tied_weights") else ["ffn.reft_first", "ffn.reft_last"]


def _owners(setup: Setup) -> list[Owner]:
    rank = whole(setup.inner, "r", where=setup.where)
    found = []
    for stack, layer in _layers(setup):
        ends, shapes = _unit(setup, rank, setup.hidden(stack))
        units = range(len(_units(setup)))
        found.append(
            Owner(
                path=f"{setup.base.family.stacks[stack].layer.format(layer=layer)}.reft_layer",
                marker="refts",
                ends={f"units.{index}.{end}": f"{index}.{part}" for index in units for end, part in ends.items()},
                shapes={f"{index}.{part}": shape for index in units for part, shape in shapes.items()},
                label=f"the module (rank {rank})",
            )
        )
    return found


def _unit(setup: Setup, rank: int, hidden: int) -> tuple[dict[str, str], dict[str, tuple[int | None, ...]]]:
    """Name the tensors of one unit, and give their shapes."""
    ends = {"learned_source.weight": "source.weight", "learned_source.bias": "source.bias"}
    shapes: dict[str, tuple[int | None, ...]] = {"source.weight": (rank, hidden), "source.bias": (rank,)}
    if not setup.inner.get("orthogonality"):
        return {**ends, "projection.weight": "projection"}, {**shapes, "projection": (rank, hidden)}
    if rank >= hidden:
        raise ConversionError(
            f"{setup.where} describes orthonormal projections of rank {rank} on a base model of {hidden} units, and modxfer "
            "moves those of a lower rank.",
            do="Choose another student, or train the module with a lower rank.",
        )
    ends |= {_REFLECTIONS: "reflections", _BASE: "base"}
    return ends, {**shapes, "reflections": (rank, hidden), "base": (hidden, hidden)}


def _read(setup: Setup, found: Found) -> dict[Place, Piece]:
    pieces = {}
    for (stack, layer), owner in zip(_layers(setup), _owners(setup), strict=True):
        for index, unit in enumerate(_units(setup)):
            stored = found[owner.name]
            own = {part.removeprefix(f"{index}."): tensor for part, tensor in stored.items() if part.startswith(f"{index}.")}
            if "base" in own:
                own["projection"] = _orthonormal(own.pop("reflections"), own.pop("base"))
            pieces[Place(stack, layer, unit)] = Piece(
                method=REFT, route=Route(reads=_OUTPUT, writes=_OUTPUT), parts={part: own[part] for part in REFT.parts}
            )
    return pieces


def _orthonormal(reflections: Array, base: Array) -> Array:
    """Compute the projection that reflections and a base stand for; as torch does, signs are cut to whole numbers."""
    vectors = reflections.astype(np.float64).T
    hidden, rank = vectors.shape
    below = np.tril(vectors, -1)
    chain = np.eye(hidden, rank)
    for index in reversed(range(rank)):
        vector = below[:, index] + np.eye(hidden)[index]
        chain -= 2.0 / (vector @ vector) * np.outer(vector, vector @ chain)
    chain *= np.trunc(np.diagonal(vectors))
    return np.ascontiguousarray((base.astype(np.float64) @ chain).T).astype(base.dtype)


def _write(setup: Setup, pieces: Mapping[Place, Piece]) -> Found:
    tensors = {}
    for (stack, layer), owner in zip(_layers(setup), _owners(setup), strict=True):
        own: dict[str, Array] = {}
        for index, unit in enumerate(_units(setup)):
            parts = dict(pieces[Place(stack, layer, unit)].parts)
            if setup.inner.get("orthogonality"):
                parts |= _as_reflections(parts.pop("projection"))
            own |= {f"{index}.{part}": tensor for part, tensor in parts.items()}
        tensors[owner.name] = own
    return tensors


def _as_reflections(projection: Array) -> dict[str, Array]:
    """Store orthonormal rows as the first columns of a base, behind reflections that change nothing."""
    rank, hidden = projection.shape
    base, _ = np.linalg.qr(projection.astype(np.float64).T, mode="complete")
    base[:, :rank] = projection.T
    return {
        "reflections": (-np.eye(rank, hidden)).astype(projection.dtype),
        "base": np.ascontiguousarray(base).astype(projection.dtype),
    }


def _is_orthonormal(projection: Array) -> bool:
    rows = projection.astype(np.float64)
    return bool(np.abs(rows @ rows.T - np.eye(len(rows))).max() < _ORTHONORMAL)


def _settle(setup: Setup, pieces: Mapping[Place, Piece]) -> dict[str, Any]:
    """Say the layers and the rank; rows that are no longer orthonormal are stored as they are."""
    places = set(pieces)
    layers = {(place.stack, place.layer) for place in places}
    if places != {Place(stack, layer, unit) for stack, layer in layers for unit in _units(setup)}:
        raise ConversionError(
            "Some layers have lost one of their two units, and a config of `adapters` says them once for all layers.",
            do="Convert the module whole.",
        )
    keys: dict[str, Any] = {}
    if layers != set(_layers(setup)):
        keys["layers"] = [number for number, layer in enumerate(all_layers(setup.base)) if layer in layers]
        keys["leave_out"] = []
    ranks = {piece.parts["projection"].shape[0] for piece in pieces.values()}
    if len(ranks) > 1:
        raise ConversionError(
            f"The module's units have the ranks {sorted(ranks)}, and a config of `adapters` says one for all.",
            do="Train the module with one rank.",
        )
    if setup.inner.get("orthogonality") and not all(_is_orthonormal(piece.parts["projection"]) for piece in pieces.values()):
        keys["orthogonality"] = False
    return keys | ({"r": ranks.pop()} if ranks else {})


def _check(inner: Config, where: str) -> None:
    layers = inner.get("layers")
    if layers != "all" and not isinstance(layers, list):
        raise FormatError(f"`layers` in {where} is {layers!r}, and must be all or a list.", do="Correct it in that file.")
    if not inner.get("output_reft", True):
        raise FormatError(f"`output_reft` in {where} is off, so the module has no units.", do="Correct it in that file.")


KIND = Kind(
    method="reft",
    marker="refts",
    fits=lambda inner: inner.get("architecture") == "reft",
    check=_check,
    holds=frozenset({REFT.name}),
    owners=_owners,
    read=_read,
    write=_write,
    settle=_settle,
    names=_units,
)
