"""What lies in a folder: a module of which format, told from configs and headers only."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modxfer.converters.formats import peft
from modxfer.converters.formats.adapter_configs import CONFIG_FILE, method_of, upgrade_config
from modxfer.converters.formats.adapter_heads import HEAD_CONFIG_FILE
from modxfer.converters.formats.adapters import current_key
from modxfer.converters.formats.checks import listing
from modxfer.converters.formats.files import read_card, read_headers, read_json
from modxfer.converters.module import BaseReference, ModuleFiles, TensorHeader
from modxfer.errors import FormatError

WEIGHT_FILES = {
    "peft": ("adapter_model.safetensors", "adapter_model.bin"),
    "adapters": ("adapter.safetensors", "pytorch_adapter.bin"),
    "head": ("model_head.safetensors", "pytorch_model_head.bin"),
}
"""File names by what they hold; the first that is there counts."""


def inspect_files(folder: Path) -> ModuleFiles:
    """Say what a folder holds, without loading weights.

    Args:
        folder: A module's folder, or one with a single module in a subfolder.

    Returns:
        The module's configs and headers.

    Raises:
        FormatError: the folder holds no module, or one of its files is damaged.
        ConversionError: the module is of a method that modxfer does not move.
    """
    folder, is_nested = _find(folder)
    config = read_json(folder / CONFIG_FILE)
    card = read_card(folder)
    if "peft_type" in config:
        return _inspect_peft(folder, config, card, name=folder.name if is_nested else "default")
    if "config" in config or "reduction_factor" in config or config.get("architecture") == "lora":
        return _inspect_adapters(folder, config, card)
    raise FormatError(
        f"`{folder / CONFIG_FILE}` has neither `peft_type` (then it is a `peft` module) nor `config` (then "
        f"one of `adapters`); it has {listing(config) or 'nothing'}.",
        do="Name the folder that `save_pretrained` or `save_adapter` wrote.",
    )


def _find(folder: Path) -> tuple[Path, bool]:
    """Find the module's own folder: the one given, or its only subfolder with a config."""
    if not folder.is_dir():
        raise FormatError(f"`{folder}` is no folder.", do="Name the folder that `save_pretrained` or `save_adapter` wrote.")
    if (folder / CONFIG_FILE).is_file():
        return folder, False
    nested = sorted(path.parent for path in folder.glob(f"*/{CONFIG_FILE}") if path.is_file())
    if len(nested) > 1:
        raise FormatError(
            f"`{folder}` holds {len(nested)} modules: {listing(path.name for path in nested)}.",
            do="Name the folder of one.",
        )
    if not nested:
        raise FormatError(
            f"`{folder}` holds no `{CONFIG_FILE}`, so it is no module.",
            do="Name the folder that `save_pretrained` or `save_adapter` wrote.",
        )
    return nested[0], True


def _inspect_peft(folder: Path, config: dict[str, Any], card: Mapping[str, Any], *, name: str) -> ModuleFiles:
    """Gather a `peft` module."""
    method = peft.method_of(config, where=f"`{folder / CONFIG_FILE}`")
    file = _weight_file(folder, "peft")
    return ModuleFiles(
        folder=folder,
        format="peft",
        method=method,
        name=name,
        config=config,
        head_config={},
        base=peft.base_reference(config, _card_base(card)),
        datasets=_datasets(card),
        tensors=_headers(folder, (file,)),
        weight_files=(file,),
    )


def _inspect_adapters(folder: Path, config: dict[str, Any], card: Mapping[str, Any]) -> ModuleFiles:
    """Gather an `adapters` module, its config written as the current version would."""
    where = f"`{folder / CONFIG_FILE}`"
    files = [_weight_file(folder, "adapters")]
    has_head = (folder / HEAD_CONFIG_FILE).is_file()
    if has_head or any((folder / name).is_file() for name in WEIGHT_FILES["head"]):
        files.append(_weight_file(folder, "head"))
    headers = _headers(folder, tuple(files))
    keys = [current_key(header.key) for header in headers if header.file == files[0]]
    config = upgrade_config(config, has_invertible=any("invertible_adapters." in key for key in keys), where=where)
    method = method_of(config["config"], where=where)
    name = config.get("name") or _name_in_keys(keys, method)
    if not isinstance(name, str) or not name:
        raise FormatError(f"`name` in {where} is {config.get('name')!r}, and must be text.", do="Correct it in that file.")
    model_name, hidden, model_type = (config.get(key) for key in ("model_name", "hidden_size", "model_type"))
    return ModuleFiles(
        folder=folder,
        format="adapters",
        method=method,
        name=name,
        config={**config, "name": name},
        head_config=read_json(folder / HEAD_CONFIG_FILE) if has_head else {},
        base=BaseReference(
            name=model_name if isinstance(model_name, str) and model_name else _card_base(card),
            model_type=model_type if isinstance(model_type, str) else None,
            hidden_size=hidden if isinstance(hidden, int) else None,
        ),
        datasets=_datasets(card),
        tensors=headers,
        weight_files=tuple(files),
    )


def _name_in_keys(keys: list[str], method: str) -> str | None:
    """Find a module's name in its keys, for configs that lack it."""
    marker = "loras" if method == "lora" else "adapters"
    names = {match[1] for key in keys if (match := re.search(rf"\.{marker}\.([^.]+)\.", key))}
    return names.pop() if len(names) == 1 else None


def _weight_file(folder: Path, kind: str) -> str:
    """Find the file of weights, safetensors before pickles."""
    found = next((name for name in WEIGHT_FILES[kind] if (folder / name).is_file()), None)
    if found is None:
        raise FormatError(
            f"`{folder}` holds none of {listing(WEIGHT_FILES[kind])}, so the module has no weights.",
            do="Fetch the module again.",
        )
    return found


def _headers(folder: Path, files: tuple[str, ...]) -> tuple[TensorHeader, ...]:
    """List the tensors of all files; one key in two of them is an error."""
    headers = tuple(header for name in files for header in read_headers(folder / name))
    keys = [header.key for header in headers]
    if len(set(keys)) != len(keys):
        twice = {key for key in keys if keys.count(key) > 1}
        raise FormatError(f"`{folder}` holds {listing(twice)} in two files.", do="Fetch the module again.")
    return headers


def _card_base(card: Mapping[str, Any]) -> str:
    """Take the base model out of a card's metadata: a name, or a list of one."""
    value = card.get("base_model")
    names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return names[0] if len(names) == 1 and isinstance(names[0], str) else ""


def _datasets(card: Mapping[str, Any]) -> tuple[str, ...]:
    """Take the data sets out of a card's metadata: a name, or a list of names."""
    value = card.get("datasets")
    names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(name for name in names if isinstance(name, str))
