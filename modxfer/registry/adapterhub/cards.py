"""Reading a copy of AdapterHub's registry: `adapters/<who>/<name>.yaml`, and the architectures that those name.

All of it is untrusted: the files are read like a registry's own, links are not followed, and names of files that come out of a
file stay within their folder.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from modxfer.errors import UsageError
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.reading import LARGEST_BYTES
from modxfer.registry.entries.yaml_text import PARSER, read_yaml

ADAPTERS, ARCHITECTURES = "adapters", "architectures"
_ARCHITECTURE = re.compile(r"[A-Za-z0-9]+([+._-][A-Za-z0-9]+)*")


class CannotReadError(Exception):
    """A file that cannot be read; says why in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A file of AdapterHub's.

    Attributes:
        path: Where it lies, with "/".
        values: What it says.
        spelled: The same, with scalars as they are spelled: a version `1.10` is no number.
        fault: Why it cannot be read, one sentence.
    """

    path: str
    values: Mapping[str, Any] = field(default_factory=dict)
    spelled: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None


def read_cards(root: Path) -> Iterator[Card]:
    """Read all entries.

    Args:
        root: The folder that holds `adapters`.

    Yields:
        The entries, in order of their paths; what is no entry comes with its fault.

    Raises:
        UsageError: there is no such folder.
        OSError: a folder cannot be read.
    """
    adapters = root / ADAPTERS
    if not adapters.is_dir():
        raise UsageError(
            f"`{root}` is no copy of AdapterHub's registry: it holds no folder `{ADAPTERS}`.",
            do="Name the folder that holds `adapters` and `architectures`.",
        )
    for item in _listed(adapters):
        path = f"{ADAPTERS}/{item.name}"
        if item.is_symlink():
            yield Card(path=path, fault="It is a symbolic link, and was not followed.")
        elif item.is_dir():
            yield from (_card(Path(inner.path), f"{path}/{inner.name}") for inner in _listed(Path(item.path)))
        else:
            yield Card(path=path, fault="It lies in no one's folder.")


def read_architecture(root: Path, name: str) -> Mapping[str, Any]:
    """Read the config of an architecture.

    Args:
        root: The folder that holds `architectures`.
        name: What it is called.

    Returns:
        Its settings.

    Raises:
        CannotReadError: there is no such architecture, or it has no config.
    """
    where = f"{ARCHITECTURES}/{name}.yaml"
    if not _ARCHITECTURE.fullmatch(name) or (root / ARCHITECTURES).is_symlink() or not os.path.lexists(root / where):
        raise CannotReadError(f"there is no architecture {shown(name)}")
    card = _card(root / where, where)
    config = card.values.get("config")
    if card.fault is not None or not isinstance(config, dict):
        raise CannotReadError(f"{shown(where)} cannot be read: {card.fault or 'It has no `config`.'}".rstrip("."))
    return config


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as items:
        return sorted((item for item in items if not item.name.startswith(".")), key=lambda item: item.name)


def _card(file: Path, path: str) -> Card:
    try:
        values, spelled = _read(file)
    except CannotReadError as error:
        return Card(path=path, fault=str(error))
    return Card(path=path, values=values, spelled=spelled)


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if file.is_symlink():
        raise CannotReadError("It is a symbolic link, and was not followed.")
    if not file.is_file() or file.suffix != ".yaml":
        raise CannotReadError("It is no `.yaml` file.")
    if file.stat().st_size > LARGEST_BYTES:
        raise CannotReadError(f"It has {file.stat().st_size:,} bytes, and an entry has {LARGEST_BYTES:,} at most.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CannotReadError(f"It cannot be read: {error.strerror}.") from error
    document = read_yaml(content)
    if document.faults:
        first = document.faults[0]
        raise CannotReadError(f"Line {first.place.line}: {first.what}")
    if not isinstance(document.value, dict):
        raise CannotReadError("It is not a mapping of fields to values.")
    return document.value, yaml.load(content, PARSER)  # texts only, and no aliases: see above
