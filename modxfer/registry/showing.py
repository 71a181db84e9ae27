"""Looking at an entry: by its id or an alias, with what it was made from, up to the root."""

import shlex
from dataclasses import dataclass
from typing import Any

from modxfer.errors import EntryError
from modxfer.registry.card_text import one_line
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import AlignmentEntry, Entry, HubSource, ModuleEntry
from modxfer.registry.entries.naming import PREFIX
from modxfer.registry.entries.writing import plain_values


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """One step up a lineage.

    Attributes:
        id: The entry's id.
        base: Its base model; empty where the entry cannot be read.
        alignment: Id of the alignment map by which the one below was made of it; None where the spaces are the same.
        layers: Mode of the layer map.
        problem: Why the lineage ends here though it should not; empty where all is well.
    """

    id: str
    base: str
    alignment: str | None
    layers: str
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEntry:
    """An entry, with what it was made from.

    Attributes:
        entry: The entry.
        ancestors: Its teacher, the teacher's teacher and so on.
        has_alignment: Whether an alignment map has the same id.
        registry: What the registry is called.
    """

    entry: Entry
    ancestors: tuple[Ancestor, ...]
    has_alignment: bool
    registry: str

    @property
    def commands(self) -> tuple[str, ...]:
        """What to type to use it."""
        name, at = f"{PREFIX}{self.entry.id}", f"--registry {_word(self.registry)}"
        if not isinstance(self.entry.source, HubSource):
            return ()
        if isinstance(self.entry, AlignmentEntry):
            return (f"modxfer convert MODULE --to {self.entry.student.name} --alignment {name} {at}",)
        return (f"modxfer convert {name} --to MODEL {at}", f"modxfer pull {name} --output DIR {at}")

    def as_json(self) -> dict[str, Any]:
        """Give what `registry show --json` prints.

        Returns:
            Plain values.
        """
        return {
            "kind": "module" if isinstance(self.entry, ModuleEntry) else "alignment",
            "entry": plain_values(self.entry),
            "ancestors": [
                {
                    "id": step.id,
                    "base": step.base or None,
                    "alignment": step.alignment,
                    "layers": step.layers,
                    "problem": step.problem or None,
                }
                for step in self.ancestors
            ],
            "commands": list(self.commands),
        }


def find_entry(registry: Registry, reference: str, *, alignment: bool = False) -> ShownEntry:
    """Find an entry, and what it was made from.

    Args:
        registry: The registry.
        reference: The id of an entry, or an alias of it, with or without `registry:` before it.
        alignment: Look for an alignment map only; else a module is looked for first.

    Returns:
        The entry.

    Raises:
        EntryError: there is none, or something is wrong with it.
    """
    id = reference.removeprefix(PREFIX)
    has_map = registry.has(AlignmentEntry, id)
    if alignment or (has_map and not registry.has(ModuleEntry, id)):
        found: Entry = registry.find(AlignmentEntry, id)
    else:
        found = registry.find(ModuleEntry, id)
    is_module = isinstance(found, ModuleEntry)
    return ShownEntry(
        entry=found,
        ancestors=_ancestors(registry, found) if isinstance(found, ModuleEntry) else (),
        has_alignment=is_module and has_map,
        registry=registry.name,
    )


def _ancestors(registry: Registry, entry: ModuleEntry) -> tuple[Ancestor, ...]:
    """Follow a lineage up to its root, or to where it breaks; each entry is read once."""
    steps: list[Ancestor] = []
    seen = {entry.id}
    lineage = entry.lineage
    while lineage is not None:
        id, problem, base, above = lineage.teacher, "", "", None
        if id in seen:
            problem = "it is below already: the lineage goes round"
        else:
            try:
                teacher = registry.find(ModuleEntry, id)
                base, above = teacher.base.name, teacher.lineage
            except EntryError as error:
                problem = error.what
        seen.add(id)
        steps.append(Ancestor(id=id, base=base, alignment=lineage.alignment, layers=lineage.layers.mode, problem=problem))
        lineage = above
    return tuple(steps)


def _word(name: str) -> str:
    """Write a registry's name so that a shell takes it for one word."""
    return shlex.quote(one_line(name))
