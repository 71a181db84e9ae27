"""What lies in a folder: a module of which format, told from configs and headers only."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modxfer.converters.formats.adapters.configs import CONFIG_FILE, upgrade_config
from modxfer.converters.formats.adapters.heads import HEAD_CONFIG_FILE
from modxfer.converters.formats.adapters.reading import current_key
from modxfer.converters.formats.adapters.table import entries_of, method_of
from modxfer.converters.formats.checks import is_hub_id, listing
from modxfer.converters.formats.diff.files import DIFF_FILE
from modxfer.converters.formats.files import read_card, read_headers, read_json
from modxfer.converters.formats.fusion.configs import FUSION_CONFIG_FILE, fusion_config
from modxfer.converters.formats.peft import table as peft
from modxfer.converters.module import BaseReference, ModuleFiles, TensorHeader
from modxfer.errors import FormatError

WEIGHT_FILES = {
    "peft": ("adapter_model.safetensors", "adapter_model.bin"),
    "adapters": ("adapter.safetensors", "pytorch_adapter.bin"),
    "head": ("model_head.safetensors", "pytorch_model_head.bin"),
    "fusion": ("model_adapter_fusion.safetensors", "pytorch_model_adapter_fusion.bin"),
    "diff": (DIFF_FILE,),
}
"""File names by what they hold; the first that is there counts."""

MARKS = (CONFIG_FILE, FUSION_CONFIG_FILE, DIFF_FILE)
"""The files of which a module's own folder has one."""

Elsewhere = Mapping[str, tuple[TensorHeader, ...] | None]
"""Name of a file of weights that lies somewhere else, relative to the module's own folder there, to the headers of its tensors;
None for a pickle, which cannot be looked at from afar."""

_NOTHING: Elsewhere = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where a module's files are.

    Attributes:
        folder: The module's own folder, which holds its configs.
        elsewhere: Weights that are not there.
        card: The metadata of its card.
    """

    folder: Path
    elsewhere: Elsewhere
    card: Mapping[str, Any]


def inspect_files(folder: Path, *, elsewhere: Elsewhere = _NOTHING) -> ModuleFiles:
    """Say what a folder holds, without loading weights.

    Args:
        folder: A module's folder, or one with a single module in a subfolder.
        elsewhere: What is known of weights that lie somewhere else; where the folder has a file of the same name, that counts.

    Returns:
        The module's configs and headers.

    Raises:
        FormatError: the folder holds no module, or one of its files is damaged.
        ConversionError: the module is of a method that modxfer does not move.
    """
    folder, mark, is_nested = _find(folder, elsewhere)
    source = _Source(folder=folder, elsewhere=elsewhere, card=read_card(folder))
    if mark == DIFF_FILE:
        return _inspect_diff(source)
    config = read_json(folder / mark)
    if mark == FUSION_CONFIG_FILE:
        return _inspect_fusion(source, config)
    if "peft_type" in config:
        return _inspect_peft(source, config, name=folder.name if is_nested else "default")
    if "config" in config or "reduction_factor" in config or "architecture" in config:
        return _inspect_adapters(source, config)
    raise FormatError(
        f"`{folder / CONFIG_FILE}` has neither `peft_type` (then it is a `peft` module) nor `config` (then "
        f"one of `adapters`); it has {listing(config) or 'nothing'}.",
        do="Name the folder that `save_pretrained` or `save_adapter` wrote.",
    )


def _find(folder: Path, elsewhere: Elsewhere) -> tuple[Path, str, bool]:
    """Find the module's own folder: the one given, or its only subfolder with a config; and the file that makes it one."""
    if not folder.is_dir():
        raise FormatError(f"`{folder}` is no folder.", do="Name the folder that `save_pretrained` or `save_adapter` wrote.")
    here = [mark for mark in MARKS if (folder / mark).is_file() or mark in elsewhere]
    if here:
        return folder, _only(here, folder), False
    nested = sorted({path.parent for mark in MARKS for path in folder.glob(f"*/{mark}") if path.is_file()})
    if len(nested) > 1:
        raise FormatError(
            f"`{folder}` holds {len(nested)} modules: {listing(path.name for path in nested)}.",
            do="Name the folder of one.",
        )
    if not nested:
        raise FormatError(
            f"`{folder}` holds no `{CONFIG_FILE}`, so it is no module; nor one of {listing(MARKS[1:])}.",
            do="Name the folder that `save_pretrained` or `save_adapter` wrote.",
        )
    return nested[0], _only([mark for mark in MARKS if (nested[0] / mark).is_file()], nested[0]), True


def _only(marks: list[str], folder: Path) -> str:
    """Refuse a folder in which two modules lie."""
    if len(marks) > 1:
        raise FormatError(
            f"`{folder}` holds {listing(marks)}: modules of different kinds in one folder.", do="Give each a folder of its own."
        )
    return marks[0]


def _inspect_diff(source: _Source) -> ModuleFiles:
    """Gather differences to a base model's parameters; the file itself names no base model."""
    return ModuleFiles(
        folder=source.folder,
        format="diff",
        method="difference",
        name="default",
        config={},
        head_config={},
        base=_base(None, source.card),
        datasets=_texts(source.card, "datasets"),
        languages=_texts(source.card, "language"),
        licence=_licence(source.card),
        tensors=_headers(source, (DIFF_FILE,)),
        weight_files=(DIFF_FILE,),
    )


def _inspect_fusion(source: _Source, config: dict[str, Any]) -> ModuleFiles:
    """Gather fusion layers, and the head that may lie beside them."""
    config = fusion_config(config, where=f"`{source.folder / FUSION_CONFIG_FILE}`")
    files = (_weight_file(source, "fusion"), *_head_file(source))
    return ModuleFiles(
        folder=source.folder,
        format="adapters",
        method="fusion",
        name=config["name"],
        config=config,
        head_config=_head_config(source),
        base=_base(config.get("model_name"), source.card, config=config),
        datasets=_texts(source.card, "datasets"),
        languages=_texts(source.card, "language"),
        licence=_licence(source.card),
        tensors=_headers(source, files),
        weight_files=files,
    )


def _head_file(source: _Source) -> tuple[str, ...]:
    """Name the head's file, if the module has a head."""
    has_config = (source.folder / HEAD_CONFIG_FILE).is_file()
    has_head = has_config or any(_is_there(source, name) for name in WEIGHT_FILES["head"])
    return (_weight_file(source, "head"),) if has_head else ()


def _head_config(source: _Source) -> dict[str, Any]:
    path = source.folder / HEAD_CONFIG_FILE
    return read_json(path) if path.is_file() else {}


def _inspect_peft(source: _Source, config: dict[str, Any], *, name: str) -> ModuleFiles:
    """Gather a `peft` module."""
    method = peft.method_of(config, where=f"`{source.folder / CONFIG_FILE}`")
    file = _weight_file(source, "peft")
    return ModuleFiles(
        folder=source.folder,
        format="peft",
        method=method,
        name=name,
        config=config,
        head_config={},
        base=_base(config.get("base_model_name_or_path"), source.card, revision=config.get("revision")),
        datasets=_texts(source.card, "datasets"),
        languages=_texts(source.card, "language"),
        licence=_licence(source.card),
        tensors=_headers(source, (file,)),
        weight_files=(file,),
    )


def _inspect_adapters(source: _Source, config: dict[str, Any]) -> ModuleFiles:
    """Gather an `adapters` module, its config written as the current version would."""
    folder, where = source.folder, f"`{source.folder / CONFIG_FILE}`"
    files = [_weight_file(source, "adapters")]
    has_head = (folder / HEAD_CONFIG_FILE).is_file()
    if has_head or any(_is_there(source, name) for name in WEIGHT_FILES["head"]):
        files.append(_weight_file(source, "head"))
    headers = _headers(source, tuple(files))
    keys = [current_key(header.key) for header in headers if header.file == files[0]]
    config = upgrade_config(config, has_invertible=any("invertible_adapters." in key for key in keys), where=where)
    method = method_of(config["config"], where=where)
    name = config.get("name") or _name_in_keys(keys, {entry.kind.marker for entry in entries_of(config["config"], where=where)})
    if not isinstance(name, str) or not name:
        raise FormatError(
            f"`name` in {where} is {config.get('name')!r}, and must be text.",
            do="Correct it in that file." if keys else f"Fetch the module whole: `{files[0]}` may say it.",
        )
    return ModuleFiles(
        folder=folder,
        format="adapters",
        method=method,
        name=name,
        config={**config, "name": name},
        head_config=read_json(folder / HEAD_CONFIG_FILE) if has_head else {},
        base=_base(config.get("model_name"), source.card, config=config),
        datasets=_texts(source.card, "datasets"),
        languages=_texts(source.card, "language"),
        licence=_licence(source.card),
        tensors=headers,
        weight_files=tuple(files),
    )


def _name_in_keys(keys: list[str], markers: set[str]) -> str | None:
    """Find a module's name in its keys, for configs that lack it."""
    pattern = re.compile(rf"(?:^|\.)(?:{'|'.join(sorted(markers))})\.([^.]+)\.")
    names = {match[1] for key in keys if (match := pattern.search(key))}
    return names.pop() if len(names) == 1 else None


def _is_there(source: _Source, name: str) -> bool:
    return (source.folder / name).is_file() or name in source.elsewhere


def _weight_file(source: _Source, kind: str) -> str:
    """Find the file of weights, safetensors before pickles."""
    found = next((name for name in WEIGHT_FILES[kind] if _is_there(source, name)), None)
    if found is None:
        raise FormatError(
            f"`{source.folder}` holds none of {listing(WEIGHT_FILES[kind])}, so the module has no weights.",
            do="Fetch the module again.",
        )
    return found


def _headers(source: _Source, files: tuple[str, ...]) -> tuple[TensorHeader, ...]:
    """List the tensors of all files; one key in two of them is an error."""
    headers = tuple(header for name in files for header in _headers_of(source, name))
    keys = [header.key for header in headers]
    if len(set(keys)) != len(keys):
        twice = {key for key in keys if keys.count(key) > 1}
        raise FormatError(f"`{source.folder}` holds {listing(twice)} in two files.", do="Fetch the module again.")
    return headers


def _headers_of(source: _Source, name: str) -> tuple[TensorHeader, ...]:
    if (source.folder / name).is_file():
        return read_headers(source.folder / name)
    return source.elsewhere[name] or ()


def _base(
    named: object, card: Mapping[str, Any], *, revision: object = None, config: Mapping[str, Any] = MappingProxyType({})
) -> BaseReference:
    """Say which base model a module belongs to: what its config names, or its card if that is a path of another machine.

    Every format's config can name a folder of the machine that trained the module, which means nothing here; cards are written
    for the Hub. A revision belongs to the name beside it in the config.
    """
    model_type, hidden = config.get("model_type"), config.get("hidden_size")
    name = named if isinstance(named, str) else ""
    on_card = _card_base(card)
    if is_hub_id(on_card) and not is_hub_id(name) and not _is_folder(name):
        name, revision = on_card, None
    return BaseReference(
        name=name,
        revision=revision if isinstance(revision, str) and revision else None,
        model_type=model_type if isinstance(model_type, str) else None,
        hidden_size=hidden if isinstance(hidden, int) else None,
    )


def _is_folder(name: str) -> bool:
    """Whether a name is a folder of this machine; what cannot be a path is none."""
    try:
        return bool(name) and Path(name).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):
        return False


def _card_base(card: Mapping[str, Any]) -> str:
    """Take the base model out of a card's metadata: a name, or a list of one."""
    names = _texts(card, "base_model")
    return names[0] if len(names) == 1 else ""


def _licence(card: Mapping[str, Any]) -> str | None:
    """Take the licence out of a card's metadata; several are joined, and are then none that anybody could state."""
    return ", ".join(_texts(card, "license")) or None


def _texts(card: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Take what a card's metadata says under a key: a text, or a list of texts; anything else is passed over."""
    value = card.get(key)
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(text for text in texts if isinstance(text, str))
