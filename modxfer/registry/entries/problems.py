"""What is wrong with a file of a registry, and where."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a text file.

    Attributes:
        line: The line, from 1.
        column: The character in it, from 1.
    """

    line: int = 1
    column: int = 1


START = Place()
"""Where a problem is reported that concerns a whole file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        rule: Id of the rule that it breaks, from `modxfer.registry.checks.rules`.
        path: The file, relative to the registry, with "/".
        place: Where in it.
        what: What is wrong with the value found, one sentence.
        do: How to mend it, one sentence.
    """

    rule: str
    path: str
    place: Place
    what: str
    do: str
