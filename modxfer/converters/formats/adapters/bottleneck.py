"""Bottlenecks in the `adapters` format, those with hypercomplex projections (Compacter) among them.

Source: adapters 1.3, `methods/modeling.py` and `methods/bottleneck.py` (what a bottleneck reads and writes).
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from modxfer.architectures import Architecture, Point, Route, Side
from modxfer.converters.formats.adapters import hypercomplex
from modxfer.converters.formats.adapters.configs import BOTTLENECK_DEFAULTS
from modxfer.converters.formats.adapters.kinds import (
    Config,
    Found,
    Kind,
    Owner,
    Setup,
    all_layers,
    no_check,
    parts_at_places,
    whereabouts,
)
from modxfer.converters.formats.checks import number
from modxfer.converters.methods import BOTTLENECK
from modxfer.converters.module import Array, Piece, Place
from modxfer.errors import ConversionError, FormatError

LAST_ROLES = {"attention": "attention_output", "cross_attention": "cross_attention_output", "ffn": "ffn_down"}
"""Sub-block of a layer to the role of its last projection."""

_SWITCHES = {"mh_adapter": "attention", "cross_adapter": "cross_attention", "output_adapter": "ffn"}
"""Config key to the sub-block that it gives a bottleneck."""


def bottleneck_route(inner: Config, name: str) -> Route:
    """Say which points of its layer a bottleneck reads and writes; the family's row says where they are measured.

    Args:
        inner: The bottleneck's config.
        name: The sub-block ("attention", "cross_attention", "ffn").

    Returns:
        The route.
    """
    values = {**BOTTLENECK_DEFAULTS, **inner}
    if values["is_parallel"]:
        reads = Point(name, Side.INPUT)
    elif values["original_ln_before"]:
        reads = Point(name, Side.OUTPUT)
    else:
        reads = Point(LAST_ROLES[name], Side.OUTPUT)
    return Route(reads=reads, writes=Point(f"{name}_sum" if values["original_ln_after"] else name, Side.OUTPUT))


def inner_size(inner: Config, layer: int, hidden: int, *, where: str) -> int:
    """Compute a bottleneck's inner size as `adapters` does.

    Args:
        inner: The bottleneck's config.
        layer: The layer's number.
        hidden: Width of the residual stream in units.
        where: The file, for messages.

    Returns:
        The inner size in units.

    Raises:
        FormatError: the reduction factor is no number above 0, or a table that leaves the layer out.
    """
    factor = inner.get("reduction_factor")
    if isinstance(factor, dict):
        factor = factor.get(str(layer), factor.get("default"))
    value = number({"reduction_factor": factor}, "reduction_factor", where=where)
    if value <= 0:
        raise FormatError(f"`reduction_factor` in {where} is {value!r}, and must be above 0.", do="Correct it in that file.")
    return max(int(hidden // value), 1)


def reduction_factor(hidden: int, size: int) -> int | float:
    """Find the factor from which `adapters` computes a given inner size.

    Args:
        hidden: Width of the residual stream in units.
        size: The inner size in units.

    Returns:
        A whole number if there is one, else one with few decimals: `int(hidden // factor)` is the size exactly.

    Raises:
        ConversionError: no factor yields that size.
    """
    exact, middle = hidden / size, hidden / (size + 0.5)
    candidates = [
        round(exact),
        round(middle),
        *(round(value, digits) for digits in range(1, 17) for value in (exact, middle)),
        middle,
    ]
    for candidate in candidates:
        if candidate > 0 and int(hidden // candidate) == size:
            return candidate
    raise ConversionError(
        f"No reduction_factor makes a bottleneck of {size} units on a base model of {hidden}.",
        do="Choose another student.",
    )


def _names(setup: Setup) -> list[str]:
    return [name for key, name in _SWITCHES.items() if setup.inner.get(key)]


def _names_in(setup: Setup, stack: str) -> list[str]:
    """List the sub-blocks of a stack that have a bottleneck; only decoders have a cross-attention."""
    elsewhere = {name for table in setup.base.family.stacks.values() for name in table.bottlenecks} | {"cross_attention"}
    own = setup.base.family.stacks[stack].bottlenecks
    return [name for name in _names(setup) if name in own or name not in elsewhere]


def _owners(setup: Setup) -> list[Owner]:
    """List the bottlenecks, and what hypercomplex ones share."""
    numbers = {place: index for index, place in enumerate(all_layers(setup.base))}
    found = []
    for stack, layer in setup.layers():
        hidden = setup.hidden(stack)
        size = inner_size(setup.inner, numbers[stack, layer], hidden, where=setup.where)
        for name in _names_in(setup, stack):
            found.append(
                Owner(
                    path=_path(setup, stack, layer, name),
                    marker="adapters",
                    ends=_ends(setup.inner),
                    shapes=_shapes(setup.inner, hidden, size),
                    place=Place(stack, layer, name),
                    label=f"the module (reduction_factor gives {size} units inside)",
                )
            )
    shared = hypercomplex.shared_owner(setup.inner) if setup.inner.get("phm_layer") and found else None
    return found if shared is None else [*found, shared]


def _path(setup: Setup, stack: str, layer: int, name: str) -> str:
    table = setup.base.family.stacks[stack]
    if name not in table.bottlenecks:
        raise ConversionError(
            f"modxfer does not know where `adapters` puts a bottleneck beside the {name} of `{setup.base.model_type}`.",
            do="Choose another student.",
        )
    return f"{table.layer.format(layer=layer)}.{table.bottlenecks[name]}"


def _ends(inner: Config) -> dict[str, str]:
    """Name the tensors of one bottleneck; a normalisation before the projection has two keys for each of its tensors."""
    values = {**BOTTLENECK_DEFAULTS, **inner}
    down = "adapter_down.1" if values["ln_before"] else "adapter_down.0"
    modules: dict[str, str] = {}
    if values["ln_before"]:
        modules |= {"adapter_norm_before": "norm_before", "adapter_down.0": "norm_before"}
    if values["ln_after"]:
        modules["adapter_norm_after"] = "norm_after"
    if values["use_gating"]:
        modules["gate"] = "gate"
    ends: dict[str, str] = {}
    if values["phm_layer"]:
        ends |= {**hypercomplex.ends(inner, down, "down"), **hypercomplex.ends(inner, "adapter_up", "up")}
    else:
        modules = {down: "down", "adapter_up": "up"} | modules
    ends |= {f"{module}.{end}": f"{part}.{end}" for module, part in modules.items() for end in ("weight", "bias")}
    if values["scaling"] in ("learned", "channel"):
        ends["scaling"] = "scaling" if values["scaling"] == "learned" else "scaling_per_unit"
    return ends


def _shapes(inner: Config, hidden: int, size: int) -> dict[str, tuple[int | None, ...]]:
    private = {"down.weight": size, "down.bias": size, "up.weight": size, "scaling": 1, "gate.weight": 1, "gate.bias": 1}
    plain: dict[str, tuple[int | None, ...]] = {
        part: tuple(private[part] if axis is None else hidden for axis in axes) for part, axes in BOTTLENECK.parts.items()
    }
    if not inner.get("phm_layer"):
        return plain
    return plain | hypercomplex.shapes(inner, "down", hidden, size) | hypercomplex.shapes(inner, "up", size, hidden)


def _read(setup: Setup, found: Found) -> dict[Place, Piece]:
    shared = found.get(hypercomplex.SHARED, {})
    pieces = {}
    for owner in _owners(setup):
        if owner.place is not None:
            parts = dict(found[owner.name])
            if setup.inner.get("phm_layer"):
                parts = _plain_parts(setup.inner, parts, shared)
            pieces[owner.place] = Piece(
                method=BOTTLENECK,
                route=bottleneck_route(setup.inner, owner.place.name),
                parts={part: parts[part] for part in BOTTLENECK.parts if part in parts},
            )
    return pieces


def _plain_parts(inner: Config, parts: Mapping[str, Array], shared: Mapping[str, Array]) -> dict[str, Array]:
    """Write hypercomplex projections out as plain ones."""
    plain = {part: tensor for part, tensor in parts.items() if part in BOTTLENECK.parts}
    for position in ("down", "up"):
        weight = hypercomplex.weight(position, parts, shared)
        plain[f"{position}.weight"] = weight
        if f"{position}.bias" not in plain:
            plain[f"{position}.bias"] = np.zeros(len(weight), dtype=weight.dtype)
    return plain


def _write(setup: Setup, pieces: Mapping[Place, Piece]) -> Found:
    return parts_at_places(_owners(setup), pieces)


def _settle(setup: Setup, pieces: Mapping[Place, Piece]) -> dict[str, Any]:
    _check_residual(setup)
    return whereabouts(setup, pieces, _switches, there=_there) | _sizes(setup, pieces)


def _there(base: Architecture, stack: str) -> frozenset[str]:
    return frozenset(base.family.stacks[stack].bottlenecks)


def _check_residual(setup: Setup) -> None:
    """Refuse what `adapters` fails at in layers without a normalisation behind the sub-block."""
    values = {**BOTTLENECK_DEFAULTS, **setup.inner}
    if values["residual_before_ln"] != "post_add" or values["is_parallel"]:
        return
    for table in setup.base.family.stacks.values():
        if any(
            table.stream.get(Point(f"{name}_sum", Side.OUTPUT)) == table.stream.get(Point(name, Side.OUTPUT))
            for name in _names(setup)
        ):
            raise ConversionError(
                f"The module has residual_before_ln='post_add', which `adapters` can run only where a sub-block ends in a "
                f"normalisation, and those of `{setup.base.name}` ({setup.base.model_type}) do not.",
                do="Choose another student, or train the module with residual_before_ln=True.",
            )


def _switches(setup: Setup, present: frozenset[str]) -> dict[str, Any]:
    """Give the keys that say which sub-blocks have a bottleneck."""
    if present == set(_names(setup)):
        return {}
    return {key: name in present for key, name in _SWITCHES.items()}


def _sizes(setup: Setup, pieces: Mapping[Place, Piece]) -> dict[str, Any]:
    """Give a reduction factor that yields exactly each layer's inner size: as it is if it does so already."""
    numbers = {place: index for index, place in enumerate(all_layers(setup.base))}
    sizes: dict[int, int] = {}
    widths: dict[int, int] = {}
    for place, piece in pieces.items():
        size, layer = piece.parts["down.weight"].shape[0], numbers[place.stack, place.layer]
        widths[layer] = setup.hidden(place.stack)
        if sizes.setdefault(layer, size) != size:
            raise ConversionError(
                f"Layer {layer} has bottlenecks of {sizes[layer]} and {size} units, and `adapters` has one size a layer.",
                do="Convert from layers whose bottlenecks have one size.",
            )
    if all(inner_size(setup.inner, layer, widths[layer], where=setup.where) == size for layer, size in sizes.items()):
        return {}
    factors = {layer: reduction_factor(widths[layer], size) for layer, size in sizes.items()}
    common = Counter(factors.values()).most_common(1)[0][0]
    odd = {str(layer): factor for layer, factor in factors.items() if factor != common}
    return {"reduction_factor": {**odd, "default": common} if odd else common}


def _canonical(inner: Config) -> dict[str, Any]:
    return {**inner, "phm_layer": False} if inner.get("phm_layer") else dict(inner)


def _remark(inner: Config) -> str | None:
    if not inner.get("phm_layer"):
        return None
    return "Compacter: written out as a plain bottleneck, which computes the same with more parameters"


KIND = Kind(
    method="bottleneck",
    marker="adapters",
    fits=lambda inner: inner.get("architecture") in (None, "bottleneck"),
    check=no_check,
    holds=frozenset({BOTTLENECK.name}),
    owners=_owners,
    read=_read,
    write=_write,
    settle=_settle,
    names=_names,
    canonical=_canonical,
    remark=_remark,
)
