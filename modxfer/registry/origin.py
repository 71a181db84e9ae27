"""Where a folder that was fetched from the Hub came from: `origin.json`."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from modxfer.alignments.files import hash_file
from modxfer.converters.formats.checks import is_hub_id
from modxfer.converters.formats.needed import needed_files

ORIGIN = "origin.json"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What `origin.json` holds.

    Attributes:
        repository: The Hub id.
        revision: Commit hash.
        files: File to sha256.
    """

    repository: str
    revision: str
    files: dict[str, str]


def write_origin(folder: Path, *, repository: str, revision: str) -> None:
    """Write down where the files of a folder came from.

    Args:
        folder: The folder, complete but for this.
        repository: The Hub id.
        revision: Commit hash.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ORIGIN)
    files = {path.relative_to(folder).as_posix(): hash_file(path) for path in paths}
    content = asdict(Origin(repository=repository, revision=revision, files=files))
    (folder / ORIGIN).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_origin(folder: Path) -> Origin | None:
    """Say where a folder came from.

    Args:
        folder: The folder.

    Returns:
        Its origin; None if it has none, or holds something else by now.
    """
    try:
        origin = Origin(**json.loads((folder / ORIGIN).read_text(encoding="utf-8")))
        return origin if _is_true_of(origin, folder) else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _is_true_of(origin: Origin, folder: Path) -> bool:
    """Say whether an origin is one, and speaks of every file of the module that lies in the folder."""
    there = [path.relative_to(folder).as_posix() for path in [*folder.glob("*"), *folder.glob("*/*")]]
    return (
        is_hub_id(origin.repository)
        and _COMMIT.fullmatch(origin.revision) is not None
        and bool(origin.files)
        and set(needed_files(there)) <= set(origin.files)
        and all(hash_file(folder / name) == found for name, found in origin.files.items())
    )
