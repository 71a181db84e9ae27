"""The workflow that checks a registry on GitHub."""

from importlib import resources

WORKFLOW = ".github/workflows/check-registry.yml"
"""Where it lies, relative to the root of a git repository."""


def workflow() -> str:
    """Give the workflow, with `OWNER` where the account stands that publishes modxfer.

    Returns:
        YAML.
    """
    return (resources.files("modxfer.registry") / "templates" / "check-registry.yml").read_text(encoding="utf-8")
