"""AdapterFusion layers of the `adapters` format, written: pieces to config and keys."""

from typing import Any

from modxfer.architectures import RESIDUAL, Architecture
from modxfer.converters.formats.adapters.heads import build_head
from modxfer.converters.formats.checks import listing
from modxfer.converters.formats.classes import adapter_class, class_for, in_adapters
from modxfer.converters.formats.fusion.reading import MARKER, fusion_places
from modxfer.converters.methods import FUSION
from modxfer.converters.module import Array, Module
from modxfer.errors import ConversionError


def build(module: Module, base: Architecture) -> tuple[dict[str, Any], dict[str, Array], dict[str, Any], dict[str, Array]]:
    """Write the config of fusion layers for a base model and name their tensors.

    Args:
        module: A module of this method, its pieces at places of the base model.
        base: The base model that it belongs to.

    Returns:
        What goes into `adapter_fusion_config.json`, key to tensor, and the same two of the head (empty without one).

    Raises:
        ConversionError: a piece has no place there, or a layer would be left without one.
    """
    if not base.family.in_adapters:
        raise ConversionError(
            f"The `adapters` library has no model class for `{base.model_type}`, the family of `{base.name}`.",
            do="Choose another student.",
        )
    body = {place: piece for place, piece in module.pieces.items() if not place.is_head}
    places = fusion_places(base)
    odd = [place for place, piece in body.items() if piece.method is not FUSION or place not in places.values()]
    if odd:
        raise ConversionError(
            f"`{base.name}` ({base.model_type}) has no fusion layers at {listing(odd)}.", do="Choose another student."
        )
    names = {place.name for place in body}
    lost = [place for place in places.values() if place.name in names and place not in body]
    if lost:
        raise ConversionError(
            f"The module has no fusion layer for {listing(lost)}, and `adapters` puts one, untrained, into every layer.",
            do="Choose a layer map that feeds every layer with `--layers`.",
        )
    model_class = class_for(str(module.config.get("model_class")), base) or adapter_class(base)
    config = {
        **module.config,
        "name": module.name,
        "hidden_size": base.dimensions[RESIDUAL],
        "model_type": base.model_type,
        "model_name": module.base.name or module.config.get("model_name"),
        "model_class": model_class,
    }
    attribute = in_adapters(base).family.prefix
    prefix = f"{attribute}." if module.inside_task_model and attribute else ""
    tensors = {
        f"{prefix}{path}.{MARKER}.{module.name}.{part}": tensor
        for path, place in places.items()
        if place in body
        for part, tensor in body[place].parts.items()
    }
    head_config, head_tensors = build_head(module, base, model_class=model_class) if module.head else ({}, {})
    return config, tensors, head_config, head_tensors
