"""Invertible adapters behind the embeddings, in the `adapters` format: the language half of MAD-X.

Such an adapter adds a function of one half of the units to the other half, and then the other way round; so it can be moved
where the halves stay apart.

Source: Pfeiffer et al. 2020 (arXiv 2005.00052); adapters 1.3, `NICECouplingBlock` in `methods/modeling.py`.
"""

from collections.abc import Mapping
from typing import Any

from modxfer.architectures import EMBEDDED, Route
from modxfer.converters.formats.adapters.bottleneck import reduction_factor
from modxfer.converters.formats.adapters.kinds import Config, Found, Kind, Owner, Setup, parts_at_places
from modxfer.converters.formats.adapters.prompts import embedded_width
from modxfer.converters.formats.checks import number
from modxfer.converters.methods import COUPLING
from modxfer.converters.module import Piece, Place
from modxfer.errors import ConversionError, FormatError

_PLACE = Place("", -1, f"{EMBEDDED.role}.coupling")
_FACTOR = "inv_adapter_reduction_factor"
_LAYERS = {"F.0": "first.down", "F.2": "first.up", "G.0": "second.down", "G.2": "second.up"}


def _sizes(setup: Setup) -> dict[str, tuple[int, int, int]]:
    """Give what each of the two functions reads, has inside and writes, in units."""
    width = embedded_width(setup.base)
    factor = number(setup.inner, _FACTOR, where=setup.where)
    if factor <= 0:
        raise FormatError(f"`{_FACTOR}` in {setup.where} is {factor!r}, and must be above 0.", do="Correct it in that file.")
    first, second = width // 2, width - width // 2
    return {"first": (second, int(second // factor), first), "second": (first, int(first // factor), second)}


def _owners(setup: Setup) -> list[Owner]:
    shapes: dict[str, tuple[int | None, ...]] = {}
    for part, (reads, inside, writes) in _sizes(setup).items():
        shapes |= {
            f"{part}.down.weight": (inside, reads),
            f"{part}.down.bias": (inside,),
            f"{part}.up.weight": (writes, inside),
            f"{part}.up.bias": (writes,),
        }
    ends = {f"{layer}.{end}": f"{part}.{end}" for layer, part in _LAYERS.items() for end in ("weight", "bias")}
    return [Owner(path=setup.base.family.invertible, marker="invertible_adapters", ends=ends, shapes=shapes, place=_PLACE)]


def _read(setup: Setup, found: Found) -> dict[Place, Piece]:
    (owner,) = _owners(setup)
    parts = {part: found[owner.name][part] for part in COUPLING.parts}
    return {_PLACE: Piece(method=COUPLING, route=Route(reads=EMBEDDED, writes=EMBEDDED), parts=parts)}


def _write(setup: Setup, pieces: Mapping[Place, Piece]) -> Found:
    return parts_at_places(_owners(setup), pieces)


def _settle(setup: Setup, pieces: Mapping[Place, Piece]) -> dict[str, Any]:
    if not pieces:
        return {"inv_adapter": None, _FACTOR: None}
    parts = pieces[_PLACE].parts
    inside = {part: len(parts[f"{part}.down.bias"]) for part in ("first", "second")}
    sizes = _sizes(setup)
    if all(sizes[part][1] == size for part, size in inside.items()):
        return {}
    factor = reduction_factor(sizes["first"][0], inside["first"])
    if int(sizes["second"][0] // factor) != inside["second"]:
        raise ConversionError(
            f"No {_FACTOR} gives the two halves of {sizes['first'][0]} and {sizes['second'][0]} units {inside['first']} and "
            f"{inside['second']} units inside.",
            do="Choose another student.",
        )
    return {_FACTOR: factor}


def _check(inner: Config, where: str) -> None:
    named = inner.get("inv_adapter")
    if named == "glow":
        raise ConversionError(
            f"{where} describes an invertible adapter of the type glow, which `adapters` makes and cannot run.",
            do="Train the module with inv_adapter='nice'.",
        )
    if named != "nice":
        raise FormatError(f"`inv_adapter` in {where} is {named!r}, and must be nice or glow.", do="Correct it in that file.")


KIND = Kind(
    method="invertible",
    marker="invertible_adapters",
    fits=lambda inner: inner.get("architecture") in (None, "bottleneck") and bool(inner.get("inv_adapter")),
    check=_check,
    holds=frozenset({COUPLING.name}),
    owners=_owners,
    read=_read,
    write=_write,
    settle=_settle,
    names=lambda setup: [_PLACE.name],
)
