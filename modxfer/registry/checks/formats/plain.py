"""Texts from outside on lines that a terminal, or the log of a CI run, reads."""

from modxfer.registry.card_text import one_line


def plain_line(text: str) -> str:
    """Bring a sentence onto one line that only ever shows.

    Args:
        text: The sentence; entries may have had their say in it.

    Returns:
        It without line breaks and characters that cannot be seen, and without what GitHub takes for a command within a line.
    """
    return one_line(text).replace("##[", "## [")


def plain_path(path: str) -> str:
    """Show a path as it is, as far as it can be seen.

    Args:
        path: The path.

    Returns:
        It with a stand-in for each character that cannot be seen, so that a name that is only odd stays right.
    """
    seen = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in path)
    return seen.replace("##[", "## [")
