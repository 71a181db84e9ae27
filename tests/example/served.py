"""The example's repositories on a Hub of this machine, at the commits that the example registry pins."""

import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.hub.server import HubServer
from tests.hub.storage import Repository

EXAMPLES = Path(__file__).parents[2] / "examples"
REGISTRY, FILES = EXAMPLES / "registry", EXAMPLES / "hub"

OWNER = "modxfer-examples"
TEACHER, STUDENT = f"{OWNER}/bert-mini", f"{OWNER}/bert-micro"
SEED = 0

_DATE = datetime(2026, 1, 1, tzinfo=UTC)
"""The same for every commit, so that the same files give the same commit hash."""


def serve(server: HubServer, folder: Path, name: str) -> str:
    """Put a repository of one commit on a Hub.

    Args:
        server: The Hub.
        folder: What the repository holds.
        name: Its id.

    Returns:
        Commit hash, which depends on the files and the name alone.
    """
    created = _DATE - timedelta(seconds=zlib.crc32(name.encode()))  # the storage tells repositories apart by it
    repository = Repository(id=name, type="model", created=created)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    entries = {path: repository.put(path, content, None) for path, content in files.items()}
    commit = repository.add_commit("refs/heads/main", entries, title="Publish", author=name.split("/")[0], date=_DATE)
    server.repos["model", name] = repository
    return commit.oid


def serve_example(server: HubServer) -> dict[str, str]:
    """Put all repositories of the example on a Hub.

    Args:
        server: The Hub.

    Returns:
        Id to commit hash.
    """
    folders = sorted(path for path in FILES.glob("*/*") if path.is_dir())
    names = {folder: folder.relative_to(FILES).as_posix() for folder in folders}
    return {name: serve(server, folder, name) for folder, name in names.items()}
