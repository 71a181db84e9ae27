"""Trying a change of a registry before anybody sees it."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import SETTINGS


@contextlib.contextmanager
def trial_copy(registry: Registry) -> Iterator[Registry]:
    """Give a copy of a registry to try something in: hard links where they can be made, which costs next to nothing.

    Replace its files, and never write into one: the registry's own would change too.

    Args:
        registry: The registry.

    Yields:
        The copy.
    """
    with tempfile.TemporaryDirectory(prefix="modxfer-registry-") as folder:
        for path in [SETTINGS, *(file.path for file in registry.list_files().files)]:
            target = Path(folder, path)
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(registry.root / path, target, follow_symlinks=False)
            except OSError:
                shutil.copyfile(registry.root / path, target)
        yield Registry(root=Path(folder), name=registry.name)
