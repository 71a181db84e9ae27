"""Prefix tuning in the `adapters` format.

All layers' prefixes lie in one tensor; a layer's gates lie beside its attention. A prefix that is trained through a small
network is read as what the network puts out, and written flat.

Source: adapters 1.3, `methods/prefix_tuning.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from modxfer.architectures import Architecture, Point, Route, Side
from modxfer.converters.formats.adapters.configs import PREFIX_DEFAULTS
from modxfer.converters.formats.adapters.kinds import Config, Found, Kind, Owner, Setup, all_layers, whereabouts
from modxfer.converters.formats.checks import whole
from modxfer.converters.methods import PREFIX
from modxfer.converters.module import Array, Piece, Place
from modxfer.errors import ConversionError

_POOL = "prefix_tuning.prefix_tunings"
"""The name of the owner of all prefixes."""

_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "leakyrelu": lambda x: np.where(x > 0, x, 0.01 * x),
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "silu": lambda x: x / (1.0 + np.exp(-x)),
    "swish": lambda x: x / (1.0 + np.exp(-x)),
    "linear": lambda x: x,
}
"""Non-linearity of the small network to what it computes."""


def _locations(base: Architecture) -> dict[str, str]:
    """List where a family's prefixes are: location key to the beginning of the roles there."""
    keys = {key for table in base.family.stacks.values() for key in table.prefixes}
    return {key: "cross_" if key.startswith("cross") else "" for key in sorted(keys)}


def _places(setup: Setup) -> Iterator[tuple[str, list[tuple[Place, Place]]]]:
    """List the prefixes by location: of each layer the places of the keys' and of the values'."""
    for location, start in _locations(setup.base).items():
        if location.startswith(("cross", "encoder")) and not {**PREFIX_DEFAULTS, **setup.inner}.get(location):
            continue
        found = [
            (Place(stack, layer, f"{start}key.prefix"), Place(stack, layer, f"{start}value.prefix"))
            for stack, layer in setup.layers()
            if location in setup.base.family.stacks[stack].prefixes
        ]
        if found:
            yield location, found


def _names(setup: Setup) -> list[str]:
    return sorted({place.name for _, pairs in _places(setup) for pair in pairs for place in pair})


def _there(base: Architecture, stack: str) -> frozenset[str]:
    starts = {start for location, start in _locations(base).items() if location in base.family.stacks[stack].prefixes}
    return frozenset(f"{start}{role}.prefix" for start in starts for role in ("key", "value"))


def _width(base: Architecture, place: Place) -> int:
    return base.dimensions[base.family.stacks[place.stack].roles[place.role].writes]


def _path(base: Architecture, stack: str, layer: int, location: str) -> str:
    table = base.family.stacks[stack]
    return f"{table.layer.format(layer=layer)}.{table.prefixes[location]}"


def _owners(setup: Setup) -> list[Owner]:
    _check_heads(setup.base)
    found = [_pool(setup)]
    gates = _num_gates(setup.inner)
    for location, pairs in _places(setup) if gates else ():
        for place, _ in pairs:
            found.append(
                Owner(
                    path=_path(setup.base, place.stack, place.layer, location),
                    marker="prefix_gates",
                    ends={"weight": "weight", "bias": "bias"},
                    shapes={"weight": (gates, setup.hidden(place.stack)), "bias": (gates,)},
                )
            )
    return found


def _check_heads(base: Architecture) -> None:
    """Refuse heads whose width `adapters` takes for another one: it knows `d_kv`, or else hidden size / heads."""
    sizes = base.family.dimensions.get("heads", ())
    if (
        any("d_kv" in size for size in sizes if isinstance(size, tuple))
        or base.dimensions["heads"] == base.dimensions["hidden"]
    ):
        return
    raise ConversionError(
        f"`adapters` gives heads of hidden size / heads units a prefix, and those of `{base.name}` ({base.model_type}) have "
        f"another width: {base.dimensions['heads']} units of queries beside a hidden size of {base.dimensions['hidden']}.",
        do="Choose another student.",
    )


def _num_gates(inner: Config) -> int:
    values = {**PREFIX_DEFAULTS, **inner}
    return 0 if not values["use_gating"] else 1 if values["shared_gating"] else 2


def _pool(setup: Setup) -> Owner:
    """Describe the tensors of all layers' prefixes, which `adapters` stores once more at every layer."""
    values = {**PREFIX_DEFAULTS, **setup.inner}
    tokens, inner = (whole(values, key, where=setup.where) for key in ("prefix_length", "bottleneck_size"))
    shapes: dict[str, tuple[int | None, ...]] = {}
    for location, pairs in _places(setup):
        hidden = setup.hidden(pairs[0][0].stack)
        size = sum(_width(setup.base, place) for pair in pairs for place in pair)
        if values["flat"]:
            shapes[f"{location}.control_trans"] = (tokens * size,)
        else:
            shapes |= {
                f"{location}.wte.weight": (tokens, hidden),
                f"{location}.control_trans.0.weight": (inner, hidden),
                f"{location}.control_trans.0.bias": (inner,),
                f"{location}.control_trans.2.weight": (size, inner),
                f"{location}.control_trans.2.bias": (size,),
            }
    copies = [
        f"{_path(setup.base, stack, layer, location)}.pool"
        for stack, layer in all_layers(setup.base)
        for location in setup.base.family.stacks[stack].prefixes
    ]
    return Owner(
        path="prefix_tuning",
        marker="prefix_tunings",
        ends={part: part for part in shapes},
        shapes=shapes,
        label=f"the module (prefix_length {tokens})",
        copies=tuple(copies),
    )


def _read(setup: Setup, found: Found) -> dict[Place, Piece]:
    pieces = {}
    for location, pairs in _places(setup):
        flat = _flat(setup, location, found[_POOL])
        layers = flat.reshape(whole({**PREFIX_DEFAULTS, **setup.inner}, "prefix_length", where=setup.where), 2 * len(pairs), -1)
        for index, pair in enumerate(pairs):
            owner = f"{_path(setup.base, pair[0].stack, pair[0].layer, location)}.prefix_gates"
            for half, place in enumerate(pair):
                parts = {"prefix": np.ascontiguousarray(layers[:, 2 * index + half])}
                gates = found.get(owner)
                if gates is not None:
                    row = slice(half, half + 1) if len(gates["bias"]) == len(pair) else slice(0, 1)
                    parts |= {f"gate.{end}": gates[end][row] for end in ("weight", "bias")}
                pieces[place] = Piece(method=PREFIX, route=_route(place, gated=gates is not None), parts=parts)
    return pieces


def _route(place: Place, *, gated: bool) -> Route:
    point = Point(place.role, Side.OUTPUT)
    asks = "cross_query" if place.role.startswith("cross_") else "query"  # a gate sees what the attention gets itself
    return Route(reads=Point(asks, Side.INPUT) if gated else point, writes=point)


def _flat(setup: Setup, location: str, pool: Mapping[str, Array]) -> Array:
    """Give the prefixes of a location as one row of numbers."""
    if f"{location}.control_trans" in pool:
        return pool[f"{location}.control_trans"]
    name = str({**PREFIX_DEFAULTS, **setup.inner}["non_linearity"]).lower()
    wide = {key.removeprefix(f"{location}."): tensor.astype(np.float64) for key, tensor in pool.items()}
    inner = wide["wte.weight"] @ wide["control_trans.0.weight"].T + wide["control_trans.0.bias"]
    whole_ = _ACTIVATIONS[name](inner) @ wide["control_trans.2.weight"].T + wide["control_trans.2.bias"]
    return whole_.reshape(-1).astype(pool[f"{location}.wte.weight"].dtype)


def _write(setup: Setup, pieces: Mapping[Place, Piece]) -> Found:
    pool: dict[str, Array] = {}
    tensors: dict[str, Mapping[str, Array]] = {_POOL: pool}
    for location, pairs in _places(setup):
        rows = [pieces[place].parts["prefix"] for pair in pairs for place in pair]
        pool[f"{location}.control_trans"] = np.concatenate(rows, axis=1).reshape(-1)
        for pair in pairs if _num_gates(setup.inner) else ():
            owner = f"{_path(setup.base, pair[0].stack, pair[0].layer, location)}.prefix_gates"
            tensors[owner] = _gates(pair, pieces, shared=_num_gates(setup.inner) == 1)
    return tensors


def _gates(pair: tuple[Place, Place], pieces: Mapping[Place, Piece], *, shared: bool) -> dict[str, Array]:
    halves = [{end: pieces[place].parts[f"gate.{end}"] for end in ("weight", "bias")} for place in pair]
    if not shared:
        return {end: np.concatenate([half[end] for half in halves]) for end in ("weight", "bias")}
    if any(not np.array_equal(halves[0][end], halves[1][end]) for end in ("weight", "bias")):
        raise ConversionError(
            f"The gates of `{pair[0]}` and `{pair[1]}` differ, and the config says that they are one (shared_gating).",
            do="Convert with `--layers skip`.",
        )
    return halves[0]


def _settle(setup: Setup, pieces: Mapping[Place, Piece]) -> dict[str, Any]:
    lengths = {piece.parts["prefix"].shape[0] for piece in pieces.values()}
    keys = whereabouts(setup, pieces, _switches, there=_there)
    if len(lengths) > 1:
        raise ConversionError(
            f"The module's prefixes have {sorted(lengths)} tokens, and a config of `adapters` says one length for all.",
            do="Train the module with one length.",
        )
    return keys | ({"prefix_length": lengths.pop()} if lengths else {})


def _switches(setup: Setup, present: frozenset[str]) -> dict[str, Any]:
    if present != set(_names(setup)):
        raise ConversionError(
            f"The module has {', '.join(sorted(present))}, and in `adapters` keys and values have a prefix together.",
            do="Convert the module whole.",
        )
    return {}


def _remark(inner: Config) -> str | None:
    if {**PREFIX_DEFAULTS, **inner}["flat"]:
        return None
    return "prefix tuning: written flat, as what the network in front of the prefixes puts out"


def _check(inner: Config, where: str) -> None:
    values = {**PREFIX_DEFAULTS, **inner}
    if not values["flat"] and str(values["non_linearity"]).lower() not in _ACTIVATIONS:
        raise ConversionError(
            f"{where} describes a prefix behind the non-linearity {values['non_linearity']!r}, and modxfer computes "
            f"{', '.join(_ACTIVATIONS)}.",
            do="Make it flat first, with `eject_prefix_tuning` of `adapters`.",
        )


KIND = Kind(
    method="prefix",
    marker="prefix_tunings",
    fits=lambda inner: inner.get("architecture") == "prefix_tuning",
    check=_check,
    holds=frozenset({PREFIX.name}),
    owners=_owners,
    read=_read,
    write=_write,
    settle=_settle,
    names=_names,
    canonical=lambda inner: {**inner, "flat": True},
    remark=_remark,
)
