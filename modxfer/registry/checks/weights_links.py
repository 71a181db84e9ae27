"""Putting fetched files where nothing else lies, so that no library finds another one beside them."""

from pathlib import Path
from shutil import copyfile


def link(fetched: Path, target: Path) -> None:
    """Link to a file that was fetched.

    Args:
        fetched: The file.
        target: Where the link is to be.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(fetched.resolve())
    except OSError:  # a system that lets not everybody make links
        copyfile(fetched, target)
