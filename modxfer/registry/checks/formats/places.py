"""Where a registry lies in the git repository that a report speaks of."""

from collections.abc import Mapping
from pathlib import Path

from modxfer.registry.entries.folder import Registry


def folder_in_repository(registry: Registry, environment: Mapping[str, str]) -> str:
    """Say where a registry lies in its git repository.

    Args:
        registry: The registry.
        environment: The environment; where a check-out is no git repository, `GITHUB_WORKSPACE` still names it.

    Returns:
        The folder, relative to the repository's root, with "/"; empty for the root itself, and for what is in none.
    """
    if registry.revision is not None:
        return ""
    root = registry.root.resolve()
    around = [root, *root.parents]
    top = next((folder for folder in around if (folder / ".git").exists()), None)
    workspace = environment.get("GITHUB_WORKSPACE")
    if top is None and workspace and Path(workspace).resolve() in around:
        top = Path(workspace).resolve()
    inside = root.relative_to(top or root).as_posix()
    return "" if inside == "." else inside
