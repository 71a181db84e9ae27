"""The commands that a page offers for copying. Each name in them is one word for a shell, whatever it holds."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from modxfer.registry.entries.models import AlignmentEntry, HubSource, ModuleEntry
from modxfer.registry.entries.naming import PREFIX
from modxfer.registry.site.content import Content, Relations, base_key

ANY_STUDENT = "STUDENT_MODEL"
ANY_MODULE = "MODULE"
ANY_REGISTRY = "FOLDER"
"""What the reader has to replace."""

MOST_STUDENTS = 3
"""Alignment maps for which a command is spelled out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command, and what it does.

    Attributes:
        says: What it does.
        text: The command.
    """

    says: str
    text: str


def registry_command(content: Content) -> Command:
    """Say how to name the registry once for all commands.

    Args:
        content: What is shown.

    Returns:
        The command for a POSIX shell.
    """
    what = "the registry" if content.address else "your copy of the registry"
    return Command(
        says=f"Name {what} once, or in each command with --registry",
        text=f"export MODXFER_REGISTRY={_quoted(content.address or ANY_REGISTRY)}",
    )


def module_commands(entry: ModuleEntry, content: Content, relations: Relations) -> list[Command]:
    """List what can be done with a module.

    Args:
        entry: The module.
        content: What is shown.
        relations: How it hangs together.

    Returns:
        Commands; none for a module in an archive, which modxfer does not fetch.
    """
    if not isinstance(entry.source, HubSource):
        return []
    maps = relations.maps_from.get(base_key(entry.base), [])
    students = list(dict.fromkeys(alignment.student.name for alignment in maps))[:MOST_STUDENTS] or [ANY_STUDENT]
    convert = [_convert(_named(entry.id), student, what="it") for student in students]
    return [
        registry_command(content),
        *convert,
        Command(says="Fetch it as it is", text=f"modxfer pull {_named(entry.id)}"),
        _show(entry.id),
    ]


def alignment_commands(entry: AlignmentEntry, content: Content, relations: Relations) -> list[Command]:
    """List what can be done with an alignment map.

    Args:
        entry: The alignment map.
        content: What is shown.
        relations: How it hangs together.

    Returns:
        Commands.
    """
    movable: Sequence[ModuleEntry] = [
        module for module in relations.on_base.get(base_key(entry.teacher), []) if isinstance(module.source, HubSource)
    ]
    module = _named(movable[0].id) if movable else ANY_MODULE
    return [
        registry_command(content),
        _convert(module, entry.student.name, "--alignment", _named(entry.id), what="a module"),
        Command(says="Fetch the map as it is", text=f"modxfer align pull {_named(entry.id)}"),
        _show(entry.id, *(["--alignment"] if entry.id in content.modules else [])),
    ]


def _show(*words: str) -> Command:
    return Command(says="Read its entry", text=f"modxfer registry show {' '.join(map(_quoted, words))}")


def _convert(module: str, student: str, *more: str, what: str) -> Command:
    to = "another base model" if student == ANY_STUDENT else student
    words = ["modxfer", "convert", module, "--to", _quoted(student), *more]
    return Command(says=f"Convert {what} to {to}", text=" ".join(words))


def _named(id: str) -> str:
    return _quoted(f"{PREFIX}{id}")


def _quoted(word: str) -> str:
    """Write one word for a shell; it is one, whatever is in it."""
    return shlex.quote(" ".join(word.split()))
