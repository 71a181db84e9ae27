"""Where a folder that was fetched from the Hub came from: `origin.json`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from modxfer.alignments.files import hash_file

ORIGIN = "origin.json"


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
        is_same = all(hash_file(folder / name) == found for name, found in origin.files.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return origin if is_same else None
