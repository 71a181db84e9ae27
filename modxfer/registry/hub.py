"""Fetching from the Hub, through `huggingface_hub` and its cache."""

import re
from collections.abc import Sequence
from pathlib import Path

from modxfer.errors import UsageError

_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def fetch(name: str, *, revision: str | None, patterns: Sequence[str]) -> tuple[Path, str]:
    """Fetch files of a repository, or find them in the cache.

    Args:
        name: The repository's id.
        revision: Branch, tag or commit; None for the default branch.
        patterns: Which files.

    Returns:
        The folder that holds them, and the commit hash that they are of.

    Raises:
        UsageError: there is no such repository, or it cannot be reached.
    """
    if not _ID.fullmatch(name):
        raise UsageError(
            f"`{name}` is no folder here, and no id that the Hub could have.", do="Check the path, or give a Hub id."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        at = f" at `{revision}`" if revision else ""
        raise UsageError(
            f"`{name}`{at} is no folder here, and could not be had from the Hub ({type(error).__name__}).",
            do="Check the name, your connection and your access (`hf auth login`), or give a folder.",
        ) from error
    return folder, folder.name
