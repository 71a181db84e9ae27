"""Whether a module belongs to a base model: by its record, by the name it states, and by its tensors."""

import json
from pathlib import Path
from typing import Any

from modxfer.converters.formats import read_module
from modxfer.converters.formats.checks import is_hub_id
from modxfer.converters.module import ModuleFiles
from modxfer.errors import ArchitectureError, FormatError, UsageError
from modxfer.paths import is_folder
from modxfer.registry.locate import LocatedBase
from modxfer.registry.transfers import TRANSFER


def check_belongs(files: ModuleFiles, base: LocatedBase) -> None:
    """Refuse a module of another base model, before anything runs with it.

    Two base models of one shape take each other's modules without a word, so the shapes alone do not do.

    Args:
        files: The module.
        base: The base model.

    Raises:
        UsageError: the module's record or config names another base model.
        FormatError: its tensors do not fit this one.
    """
    _check_recorded(files.folder, base)
    _check_stated(files, base)
    try:
        architecture = base.architecture
    except ArchitectureError:  # a family that modxfer cannot convert; the library that loads it compares keys and shapes
        return
    try:
        read_module(files, architecture)
    except FormatError as error:
        raise FormatError(
            f"The module in `{files.folder}` does not fit the base model `{base.name}`. {error.what}",
            do=f"Convert it first: `modxfer convert {files.folder} --to {base.reference}`.",
        ) from error


def _check_recorded(folder: Path, base: LocatedBase) -> None:
    """Compare with the student that a module was made for."""
    student = _recorded_student(folder)
    expected = student.get("fingerprint")
    if expected is None or not base.has_weights or base.record.fingerprint == expected:
        return
    raise UsageError(
        f"The module in `{folder}` was made for `{student.get('name')}`, and `{base.name}` is not the same base model: "
        "its weights or its config are others.",
        do=f"Name the right one with `--model`, or convert the module: `modxfer convert {folder} --to {base.reference}`.",
    )


def _recorded_student(folder: Path) -> dict[str, Any]:
    path = folder / TRANSFER
    try:
        student = json.loads(path.read_text(encoding="utf-8")).get("student")
    except (OSError, ValueError, RecursionError, AttributeError):  # no record, or none of modxfer's
        return {}
    return student if isinstance(student, dict) else {}


def _check_stated(files: ModuleFiles, base: LocatedBase) -> None:
    """Compare two Hub ids; a folder's name says nothing."""
    stated = files.base.name
    if base.revision is None or not stated or not is_hub_id(stated) or is_folder(stated):
        return
    if not _is_same_id(stated.casefold(), base.name.casefold()):
        raise UsageError(
            f"The module in `{files.folder}` says that it belongs to `{stated}`, and the base model is `{base.name}`.",
            do=f"Name the right one with `--model`, or convert the module: `modxfer convert MODULE --to {base.reference}`.",
        )


def _is_same_id(one: str, other: str) -> bool:
    """Compare two ids; the Hub still knows old models by names without an owner."""
    if ("/" in one) != ("/" in other):
        return one.rpartition("/")[2] == other.rpartition("/")[2]
    return one == other
