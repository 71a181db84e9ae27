"""How registries and entries are named on the command line. What reads them takes longer to import than this."""

import os

PREFIX = "registry:"
"""How names of entries begin, where a module or an alignment map is expected."""

HUB = "hf://datasets/"
"""How names of registries on the Hub begin."""

REGISTRY_VARIABLE = "MODXFER_REGISTRY"
"""The registry that is meant where none is named."""


def is_registered(reference: str) -> bool:
    """Say whether something is named by the id of its entry.

    Args:
        reference: What the user typed.

    Returns:
        Whether it is.
    """
    return reference.startswith(PREFIX)


def name_of_registry(reference: str | None) -> str | None:
    """Say which registry the user named.

    Args:
        reference: What was given to `--registry`, if anything.

    Returns:
        That, else what `MODXFER_REGISTRY` names; None if neither does.
    """
    return reference or os.environ.get(REGISTRY_VARIABLE) or None
