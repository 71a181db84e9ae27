"""The `adapters` format, written: pieces to config and keys of a bottleneck or a LoRA."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from modxfer.architectures import Architecture
from modxfer.converters.formats.adapters.configs import CONFIG_FILE, LORA_DEFAULTS
from modxfer.converters.formats.adapters.heads import build_head
from modxfer.converters.formats.adapters.reading import (
    LORA_ROLES,
    bottleneck_names,
    inner_size,
    lora_roles,
    owners,
    part_keys,
)
from modxfer.converters.formats.checks import listing
from modxfer.converters.formats.classes import adapter_class, class_for
from modxfer.converters.methods import BOTTLENECK, LORA
from modxfer.converters.module import Array, Module, Piece, Place
from modxfer.errors import ConversionError

_WHERE = f"`{CONFIG_FILE}`"


def build(module: Module, base: Architecture) -> tuple[dict[str, Any], dict[str, Array], dict[str, Any], dict[str, Array]]:
    """Write a module's configs for a base model and name its tensors.

    Args:
        module: A module in this format, its pieces at places of the base model.
        base: The base model that it belongs to.

    Returns:
        What goes into `adapter_config.json`, key to tensor, and the same two of the head (empty without one).

    Raises:
        ConversionError: a piece has no place there, or the format cannot say how the pieces differ.
    """
    if not base.family.in_adapters:
        raise ConversionError(
            f"The `adapters` library has no model class for `{base.model_type}`, the family of `{base.name}`.",
            do="Choose another student, or for a LoRA `--format peft`.",
        )
    body = {place: piece for place, piece in module.pieces.items() if not place.is_head}
    _check_methods(body, module)
    inner = {**module.config["config"], **_where_it_goes(module, body, base)}
    inner.update((_lora_sizes if module.method == "lora" else _bottleneck_sizes)(inner, body, base))
    said = str(module.config.get("model_class"))
    model_class = class_for(said, base) or adapter_class(base)
    config = {
        **module.config,
        "config": inner,
        "name": module.name,
        "hidden_size": base.dimensions["hidden"],
        "model_type": base.model_type,
        "model_name": module.base.name or module.config.get("model_name"),
        "model_class": model_class,
    }
    tensors = _tensors(module, body, config, base)
    head_config, head_tensors = build_head(module, base, model_class=model_class) if module.head else ({}, {})
    return config, tensors, head_config, head_tensors


def _check_methods(body: Mapping[Place, Piece], module: Module) -> None:
    """Refuse pieces that the format has no place for."""
    method = LORA if module.method == "lora" else BOTTLENECK
    odd = [place for place, piece in body.items() if piece.method != method or place.is_outside]
    if odd:
        raise ConversionError(
            f"The `adapters` format has no place for {listing(odd)}: it holds {method.name} pieces in the layers and a head.",
            do="Leave them out of the module, or keep its format with `--format peft`.",
        )


def _where_it_goes(module: Module, body: Mapping[Place, Piece], base: Architecture) -> dict[str, Any]:
    """Say which layers and submodules have a piece: as the config does if that still holds."""
    if set(owners(base, module.config, module.method, where=_WHERE).values()) == set(body):
        return {}
    names: dict[tuple[str, int], set[str]] = defaultdict(set)
    for place in body:
        names[place.stack, place.layer].add(place.name)
    if len({frozenset(found) for found in names.values()}) > 1:
        raise ConversionError(
            "The layers have pieces in different submodules, and a config of `adapters` says them once for all layers.",
            do="For a LoRA, keep its format with `--format peft`.",
        )
    present = next(iter(names.values()), set())
    stack, depth = next(iter(base.depths.items()))
    keys: dict[str, Any] = {"leave_out": [layer for layer in range(depth) if (stack, layer) not in names]}
    return keys | (_lora_switches(module, present) if module.method == "lora" else _bottleneck_switches(module, present))


def _lora_switches(module: Module, present: set[str]) -> dict[str, Any]:
    """Give the keys that say which submodules have a LoRA."""
    if present == set(lora_roles(module.config["config"], where=_WHERE)):
        return {}
    odd = present - {*LORA_ROLES.values(), "ffn_up", "ffn_down"}
    if odd:
        raise ConversionError(
            f"The `adapters` format has no LoRA on {listing(odd)}; it has query, key, value, ffn_up and ffn_down.",
            do="Keep the module's format with `--format peft`.",
        )
    matrices = [letter for letter, role in LORA_ROLES.items() if role in present]
    return {
        "attn_matrices": matrices,
        "selfattn_lora": bool(matrices),
        "intermediate_lora": "ffn_up" in present,
        "output_lora": "ffn_down" in present,
    }


def _bottleneck_switches(module: Module, present: set[str]) -> dict[str, Any]:
    """Give the keys that say which sub-blocks have a bottleneck."""
    if present == set(bottleneck_names(module.config["config"])):
        return {}
    return {"mh_adapter": "attention" in present, "output_adapter": "ffn" in present}


def _lora_sizes(inner: Mapping[str, Any], body: Mapping[Place, Piece], base: Architecture) -> dict[str, Any]:
    """Give rank and alpha, which must be the same everywhere."""
    ranks = {piece.scaling.rank for piece in body.values() if piece.scaling}
    factors = {piece.scaling.factor for piece in body.values() if piece.scaling}
    if len(ranks) != 1 or len(factors) != 1:
        raise ConversionError(
            f"The module's LoRAs have the ranks {sorted(ranks)} and the scalings {sorted(factors)}, and a "
            "config of `adapters` says one for all.",
            do="Keep the module's format with `--format peft`.",
        )
    rank, factor = ranks.pop(), factors.pop()
    values = {**LORA_DEFAULTS, **inner}
    if values["r"] == rank and values["alpha"] / values["r"] == factor:
        return {}
    alpha = factor * rank
    return {"r": rank, "alpha": int(alpha) if alpha == int(alpha) else alpha}


def _bottleneck_sizes(inner: Mapping[str, Any], body: Mapping[Place, Piece], base: Architecture) -> dict[str, Any]:
    """Give a reduction factor that yields exactly each layer's inner size: as it is if it does so already."""
    hidden = base.dimensions["hidden"]
    sizes: dict[int, int] = {}
    for place, piece in body.items():
        size = piece.parts["down.weight"].shape[0]
        if sizes.setdefault(place.layer, size) != size:
            raise ConversionError(
                f"Layer {place.layer} has bottlenecks of {sizes[place.layer]} and {size} units, and "
                "`adapters` has one size a layer.",
                do="Convert from layers whose bottlenecks have one size.",
            )
    if all(inner_size(inner, layer, hidden, where=_WHERE) == size for layer, size in sizes.items()):
        return {}
    common = Counter(sizes.values()).most_common(1)[0][0]
    odd = {str(layer): reduction_factor(hidden, size) for layer, size in sizes.items() if size != common}
    factor = reduction_factor(hidden, common)
    return {"reduction_factor": {**odd, "default": factor} if odd else factor}


def reduction_factor(hidden: int, size: int) -> int | float:
    """Find the factor from which `adapters` computes a given inner size.

    Args:
        hidden: Width of the residual stream in units.
        size: The inner size in units.

    Returns:
        A whole number if there is one, else one with few decimals: `int(hidden // factor)` is the size
        exactly.

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


def _tensors(module: Module, body: Mapping[Place, Piece], config: Mapping[str, Any], base: Architecture) -> dict[str, Array]:
    """Name all tensors but the head's."""
    prefix = f"{base.family.prefix}." if module.inside_task_model else ""
    if module.method == "lora":
        marker, parts = "loras", {"lora_A": "down", "lora_B": "up"}
    else:
        marker, parts = "adapters", part_keys(config["config"])
    return {
        f"{prefix}{path}.{marker}.{module.name}.{end}": body[place].parts[part]
        for path, place in owners(base, config, module.method, where=_WHERE).items()
        for end, part in parts.items()
        if part in body[place].parts
    }
