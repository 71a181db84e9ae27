"""From a module's pieces to its files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from modxfer.architectures import Architecture
from modxfer.converters.formats.adapters import writing as adapters_writing
from modxfer.converters.formats.adapters.configs import CONFIG_FILE
from modxfer.converters.formats.adapters.heads import HEAD_CONFIG_FILE
from modxfer.converters.formats.checks import check_tensor, listing
from modxfer.converters.formats.diff import writing as diff_writing
from modxfer.converters.formats.diff.files import DIFF_FILE
from modxfer.converters.formats.files import write_json, write_tensors
from modxfer.converters.formats.fusion import writing as fusion_writing
from modxfer.converters.formats.fusion.configs import FUSION_CONFIG_FILE
from modxfer.converters.formats.inspection import WEIGHT_FILES
from modxfer.converters.formats.peft import writing as peft_writing
from modxfer.converters.formats.reading import PARSERS
from modxfer.converters.module import Array, Module, ModuleFiles, Piece, Place, TensorHeader
from modxfer.errors import ConversionError, FormatError


def write_module(module: Module, base: Architecture, folder: Path) -> None:
    """Write a module for a base model.

    Args:
        module: The module; its pieces are at places of the base model, and its format is the one that is
            written.
        base: The base model that it belongs to.
        folder: An empty folder.

    Raises:
        ConversionError: the module would arrive incomplete, a tensor does not fit or is not finite, or the
            format cannot hold it.
    """
    configs, tensors = _build(module, base)
    _check(module, base, configs, tensors)
    for name, config in configs.items():
        write_json(folder / name, config)
    for name, content in tensors.items():
        write_tensors(folder / name, content)


def _build(module: Module, base: Architecture) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Array]]]:
    """Give the module's JSON files and its safetensors files, by name."""
    if module.format == "peft":
        config, tensors = peft_writing.build(module, base)
        return {CONFIG_FILE: config}, {WEIGHT_FILES["peft"][0]: tensors}
    if module.format == "diff":
        return {}, {DIFF_FILE: diff_writing.build(module, base)}
    is_fusion = module.method == "fusion"
    config, tensors, head_config, head_tensors = (fusion_writing if is_fusion else adapters_writing).build(module, base)
    configs = {FUSION_CONFIG_FILE if is_fusion else CONFIG_FILE: config}
    files = {WEIGHT_FILES["fusion" if is_fusion else "adapters"][0]: tensors}
    if module.head is not None:
        configs[HEAD_CONFIG_FILE] = head_config
        files[WEIGHT_FILES["head"][0]] = head_tensors
    return configs, files


def _check(
    module: Module,
    base: Architecture,
    configs: Mapping[str, dict[str, Any]],
    tensors: Mapping[str, Mapping[str, Array]],
) -> None:
    """Read back what is about to be written: it must be the module, whole."""
    together: dict[str, Array] = {}
    headers = []
    try:
        for name, content in tensors.items():
            for key, tensor in content.items():
                check_tensor(key, tensor, where=f"`{name}`")
                together[key] = tensor
                headers.append(TensorHeader(file=name, key=key, dtype="", shape=tensor.shape))
        files = ModuleFiles(
            folder=Path(),
            format=module.format,
            method=module.method,
            name=module.name,
            config=next((config for name, config in configs.items() if name != HEAD_CONFIG_FILE), {}),
            head_config=configs.get(HEAD_CONFIG_FILE, {}),
            base=module.base,
            datasets=(),
            tensors=tuple(headers),
            weight_files=tuple(tensors),
        )
        again = PARSERS[module.format](files, together, base)
    except FormatError as error:
        raise ConversionError(
            f"The module cannot be written for `{base.name}`: {error.what}",
            do="Convert it with other options (`modxfer convert --help`).",
        ) from error
    _compare(module, replace(again, base=module.base), base)


def _say_something(module: Module, base: Architecture) -> set[str]:
    """Name all parts but those that change nothing, which a file may hold or not: one on a fused matrix has some."""
    return {
        f"{place}, {part}"
        for place, piece in module.pieces.items()
        for part, tensor in piece.parts.items()
        if not (piece.method.is_difference and not tensor.any()) and not _is_idle(piece) and not _is_filling(place, piece, base)
    }


def _is_idle(piece: Piece) -> bool:
    """Whether a piece is nothing but an update that adds zero."""
    if not piece.method.update:
        return False
    down, _ = piece.method.update
    return piece.parts.keys() - {down} <= piece.method.added and not any(
        tensor.any() for part, tensor in piece.parts.items() if part != down
    )


def _is_filling(place: Place, piece: Piece, base: Architecture) -> bool:
    """Whether a piece is nothing but gains that leave a part of a fused matrix as it is."""
    roles = {} if place.is_outside else base.family.stacks[place.stack].roles
    if place.role not in roles or base.rows(place.stack, place.role) is None:
        return False
    axes = {part: piece.method.parts[part][0] for part, tensor in piece.parts.items() if tensor.ndim == 1}
    return axes.keys() == piece.parts.keys() and all(
        axis is not None and axis.gain and bool((piece.parts[part] == axis.unserved).all()) for part, axis in axes.items()
    )


def _compare(module: Module, again: Module, base: Architecture) -> None:
    """Refuse a module of which a part would be lost."""
    before, after = _say_something(module, base), _say_something(again, base)
    if before != after:
        raise ConversionError(
            f"The `{module.format}` format would lose {listing(before - after) or 'nothing'} and gain "
            f"{listing(after - before) or 'nothing'} on `{base.name}`.",
            do="Leave these parts out of the module.",
        )
