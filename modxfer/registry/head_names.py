"""The names of a head's labels, in the order of its rows, where a module's files say them."""

import re
from collections.abc import Mapping
from typing import Any

from modxfer.converters.formats.files import read_json
from modxfer.converters.formats.needed import TRANSFER
from modxfer.converters.module import ModuleFiles
from modxfer.errors import FormatError

_NO_NAME = re.compile(r"LABEL_\d+")
"""What `transformers` calls a label that nobody named."""


def head_names(files: ModuleFiles) -> tuple[str, ...] | None:
    """Find the names of a head's labels: in modxfer's record beside the module, else in the head's config.

    Args:
        files: The module's files.

    Returns:
        The names, in the order of the head's rows; None if the files do not say them.
    """
    return _recorded(files) or _configured(files.head_config)


def _recorded(files: ModuleFiles) -> tuple[str, ...] | None:
    try:
        head = read_json(files.folder / TRANSFER).get("head")
    except FormatError:  # there is none
        return None
    names = head.get("names") if isinstance(head, Mapping) else None
    return _as_names(names) if isinstance(names, list) else None


def _configured(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Read `label2id`, which is in the head's own config, or in that of the class that the head is a part of."""
    own = config.get("config")
    numbers = (own if isinstance(own, Mapping) else config).get("label2id")
    if not isinstance(numbers, Mapping) or not all(type(number) is int for number in numbers.values()):
        return None
    if sorted(numbers.values()) != list(range(len(numbers))):
        return None
    return _as_names(sorted(numbers, key=lambda name: int(numbers[name])))


def _as_names(found: list[Any]) -> tuple[str, ...] | None:
    """Take texts that differ; what `transformers` makes up is no name."""
    are_names = all(isinstance(name, str) and name and not _NO_NAME.fullmatch(name) for name in found)
    return tuple(found) if found and are_names and len(set(found)) == len(found) else None
