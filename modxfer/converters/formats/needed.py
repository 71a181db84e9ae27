"""Which of the many files of a repository are a module."""

from collections.abc import Collection
from pathlib import PurePosixPath

from modxfer.converters.formats.adapters.configs import CONFIG_FILE, INTERFACE_FILE
from modxfer.converters.formats.adapters.heads import HEAD_CONFIG_FILE
from modxfer.converters.formats.fusion.configs import FUSION_CONFIG_FILE
from modxfer.converters.formats.inspection import MARKS, WEIGHT_FILES

CARD = "README.md"
TRANSFER = "transfer.json"
"""modxfer's own record beside a module; no library reads it."""

_CONFIGS = (CONFIG_FILE, FUSION_CONFIG_FILE, HEAD_CONFIG_FILE, INTERFACE_FILE)

MODULE_FILES = (*_CONFIGS, *(name for names in WEIGHT_FILES.values() for name in names))
"""Every name that a module's files can have, but for the card."""


def needed_files(paths: Collection[str]) -> tuple[str, ...]:
    """Choose the files that a module needs: configs, card, weights; of each file of weights safetensors if there is one.

    Args:
        paths: All files of a repository, as paths.

    Returns:
        The module's files, in the repository's root or in a folder there; all folders' where there are several modules, so that
        the reader can say so. Empty if there is no module.
    """
    is_here = any(mark in paths for mark in MARKS)
    folders = [""] if is_here else sorted({_folder(path) for path in paths if _is_nested_mark(path)})
    chosen = [f"{folder}{name}" for folder in folders for name in _in_folder(folder, paths)]
    return tuple(dict.fromkeys([*chosen, *([CARD] if chosen and CARD in paths else [])]))


def _in_folder(folder: str, paths: Collection[str]) -> list[str]:
    there = [name for name in (*_CONFIGS, CARD) if f"{folder}{name}" in paths]
    weights = (next((name for name in names if f"{folder}{name}" in paths), None) for names in WEIGHT_FILES.values())
    return [*there, *(name for name in weights if name is not None)]


def _is_nested_mark(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return len(parts) == 2 and parts[1] in MARKS


def _folder(path: str) -> str:
    return f"{PurePosixPath(path).parent}/"
