"""The `adapters` format, written: pieces to config and keys, whatever kinds the module is made of."""

from collections.abc import Mapping
from typing import Any

from modxfer.architectures import Architecture
from modxfer.converters.formats.adapters.configs import CONFIG_FILE
from modxfer.converters.formats.adapters.heads import build_head, static_task
from modxfer.converters.formats.adapters.kinds import Kind, Setup
from modxfer.converters.formats.adapters.reading import kinds_on
from modxfer.converters.formats.adapters.table import configs_of, entries_of, with_configs
from modxfer.converters.formats.classes import adapter_class, class_for, in_adapters
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
    named = in_adapters(base)
    shares = _shares(module, named)
    inner = _settled(module.config["config"], shares, named)
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
    tensors = _tensors(module, shares, config, named)
    head_config, head_tensors = build_head(module, base, model_class=model_class) if module.head else ({}, {})
    return config, tensors, head_config, head_tensors


def _shares(module: Module, base: Architecture) -> list[dict[Place, Piece]]:
    """Share the pieces out among the kinds that the module is made of."""
    kinds = kinds_on(module.config, base, where=_WHERE)
    shares: list[dict[Place, Piece]] = [{} for _ in kinds]
    for place, piece in module.pieces.items():
        if not place.is_head:
            shares[_kind_of(place, piece, kinds)][place] = piece
    return shares


def _kind_of(place: Place, piece: Piece, kinds: list[tuple[Kind, Setup]]) -> int:
    """Find the kind that holds a piece; of two of a kind, the one whose config names the place."""
    fitting = [index for index, (kind, _) in enumerate(kinds) if piece.method.name in kind.holds]
    if len(fitting) > 1:
        fitting = [index for index in fitting if place.name in kinds[index][0].names(kinds[index][1])]
    if len(fitting) != 1:
        raise ConversionError(
            f"The `adapters` format has {'two configs' if fitting else 'no place'} for the {piece.method.name} at `{place}`; "
            f"this module holds {', '.join(kind.method for kind, _ in kinds)} and a head.",
            do="Leave it out of the module, or keep its format with `--format peft`.",
        )
    return fitting[0]


def _settled(inner: Mapping[str, Any], shares: list[dict[Place, Piece]], base: Architecture) -> dict[str, Any]:
    """Say in the configs which pieces there are."""
    configs = [dict(config) for config in configs_of(inner, where=_WHERE)]
    for entry, share in zip(entries_of(inner, where=_WHERE), shares, strict=True):
        setup = Setup(inner=configs[entry.index], base=base, where=_WHERE)
        configs[entry.index].update(entry.kind.settle(setup, share))
    return with_configs(inner, configs)


def _tensors(
    module: Module, shares: list[dict[Place, Piece]], config: Mapping[str, Any], base: Architecture
) -> dict[str, Array]:
    """Name all tensors but the head's."""
    task = static_task(module.head.config) if module.head else None
    prefix = base.prefix(task) if module.inside_task_model else ""
    tensors: dict[str, Array] = {}
    configs = configs_of(config["config"], where=_WHERE)
    for entry, share in zip(entries_of(module.config["config"], where=_WHERE), shares, strict=True):
        setup = Setup(inner=configs[entry.index], base=base, where=_WHERE)
        if not entry.kind.fits(setup.inner):  # its last piece was dropped, and the config says so
            continue
        found = entry.kind.write(setup, share)
        for owner in entry.kind.owners(setup):
            parts = found[owner.name]
            tensors |= {f"{prefix}{key}": parts[part] for key, part in owner.keys(module.name) if part in parts}
    return tensors
