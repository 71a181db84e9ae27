"""Finding the registry that is meant: a folder, or a data set on the Hub."""

import os
import re
from pathlib import Path

from modxfer.errors import EntryError, UsageError
from modxfer.paths import is_folder
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import SETTINGS
from modxfer.registry.entries.naming import HUB, REGISTRY_VARIABLE, name_of_registry

__all__ = ["HUB", "REGISTRY_VARIABLE", "named_registry", "no_registry", "open_registry"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


def open_registry(reference: str | None = None) -> Registry:
    """Find a registry.

    Args:
        reference: A folder, or `hf://datasets/<organisation>/<name>` with an optional `@revision`; None for what
            `MODXFER_REGISTRY` names, else the folder that this one is in.

    Returns:
        The registry; of one on the Hub, a copy of its entries on this machine.

    Raises:
        UsageError: none is named, or there is no such folder or data set.
        EntryError: the folder or data set is no registry.
        HubError: the Hub refuses, or cannot be reached and no copy is here.
        StoreError: the copy cannot be written.
    """
    return named_registry(reference) or _around(Path.cwd())


def named_registry(reference: str | None = None) -> Registry | None:
    """Find the registry that the user named, and no other: not one that the current folder happens to be in.

    Args:
        reference: As for `open_registry`; None for what `MODXFER_REGISTRY` names.

    Returns:
        The registry; None if none is named.

    Raises:
        UsageError: there is no such folder or data set.
        EntryError: the folder or data set is no registry.
        HubError: the Hub refuses, or cannot be reached and no copy is here.
        StoreError: the copy cannot be written.
    """
    named = name_of_registry(reference)
    if not named:
        return None
    if named.startswith(HUB):
        from modxfer.registry.entries.fetching import fetch_registry  # the Hub takes a while to import

        return fetch_registry(named)
    if not is_folder(named):
        raise _missing(named)
    root = Path(named).expanduser()
    if not (root / SETTINGS).is_file():
        raise no_registry(named)
    return Registry(root=root, name=named)


def no_registry(name: str) -> EntryError:
    """Make the error for what holds something else.

    Args:
        name: What the user calls it.

    Returns:
        The error.
    """
    return EntryError(f"{shown(name)} is no registry: it holds no `{SETTINGS}`.", do="Make one with `modxfer registry init`.")


def _missing(named: str) -> UsageError:
    if _SCHEME.match(named):
        return UsageError(
            f"{shown(named)} is no place that a registry can be at.",
            do=f"Name a folder, or a data set on the Hub as in `{HUB}organisation/name`.",
        )
    return UsageError(
        f"There is no folder {shown(named)}.", do=f"Name a registry with `--registry`: a folder, or `{HUB}organisation/name`."
    )


def _around(folder: Path) -> Registry:
    root = next((parent for parent in (folder, *folder.parents) if (parent / SETTINGS).is_file()), None)
    if root is None:
        raise UsageError(
            "No registry was named, and this folder is in none.",
            do=f"Name one with `--registry` or in {REGISTRY_VARIABLE}, or make one with `modxfer registry init`.",
        )
    return Registry(root=root, name=os.path.relpath(root, folder))
