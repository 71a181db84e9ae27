"""What the page of a registry shows: its entries with which nothing is wrong, and how they hang together."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from modxfer.errors import EntryError
from modxfer.registry.checks.rules import RULES, Severity
from modxfer.registry.checks.run import check
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import SETTINGS, Aliases, AlignmentEntry, Base, ModuleEntry, Settings
from modxfer.registry.entries.reading import Model, id_of

E = TypeVar("E", ModuleEntry, AlignmentEntry)

_ON_HUB = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+?)/?", re.ASCII)

AliasKey = tuple[str, str]
"""The folder of a kind of entry, and an id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is shown.

    Attributes:
        settings: What the registry is called.
        modules: Id to entry, in order of the ids.
        alignments: Id to entry, in order of the ids.
        aliases: Folder and alias, with its namespace, to the id that it leads to.
        address: What to give as `--registry`; None where only its owner knows.
    """

    settings: Settings
    modules: Mapping[str, ModuleEntry]
    alignments: Mapping[str, AlignmentEntry]
    aliases: Mapping[AliasKey, str]
    address: str | None

    def module(self, id: str) -> ModuleEntry | None:
        """Find the module that a lineage names.

        Args:
            id: Its id, or an alias.

        Returns:
            The entry; None if it is not shown.
        """
        return self.modules.get(self.aliases.get((ModuleEntry.folder, id), id))

    def alignment(self, id: str | None) -> AlignmentEntry | None:
        """Find the alignment map that a lineage names.

        Args:
            id: Its id, or an alias; None if it names none.

        Returns:
            The entry; None if it is not shown.
        """
        return None if id is None else self.alignments.get(self.aliases.get((AlignmentEntry.folder, id), id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Relations:
    """Which entries go with which; entries in order of their ids.

    Attributes:
        children: Id of a module, to those that were transferred from it.
        made_with: Id of an alignment map, to the modules that were made with it.
        on_base: Base model, to the modules on it.
        maps_from: Base model, to the alignment maps that begin at it.
        names: Folder and id of an entry, to its aliases.
    """

    children: Mapping[str, list[ModuleEntry]]
    made_with: Mapping[str, list[ModuleEntry]]
    on_base: Mapping[tuple[str, str | None], list[ModuleEntry]]
    maps_from: Mapping[tuple[str, str | None], list[AlignmentEntry]]
    names: Mapping[AliasKey, list[str]]


def base_key(base: Base) -> tuple[str, str | None]:
    """Say by what two mentions of one base model are known.

    Args:
        base: The base model.

    Returns:
        Its name and revision.
    """
    return base.name, base.revision


def relate(content: Content) -> Relations:
    """Find out which entries go with which.

    Args:
        content: The entries.

    Returns:
        Their relations.
    """
    children, made_with = defaultdict(list), defaultdict(list)
    on_base, maps_from = defaultdict(list), defaultdict(list)
    for entry in content.modules.values():
        on_base[base_key(entry.base)].append(entry)
        if entry.lineage is None:
            continue
        teacher, alignment = content.module(entry.lineage.teacher), content.alignment(entry.lineage.alignment)
        if teacher is not None:
            children[teacher.id].append(entry)
        if alignment is not None:
            made_with[alignment.id].append(entry)
    for alignment in content.alignments.values():
        maps_from[base_key(alignment.teacher)].append(alignment)
    names = defaultdict(list)
    for (folder, alias), id in sorted(content.aliases.items()):
        names[folder, id].append(alias)
    return Relations(children=children, made_with=made_with, on_base=on_base, maps_from=maps_from, names=names)


def read_content(registry: Registry) -> tuple[Content, tuple[str, ...]]:
    """Read the entries of a registry, leaving out those with which something is wrong.

    Args:
        registry: The registry.

    Returns:
        What is right, and the paths of the files that were left out.

    Raises:
        EntryError: what the registry is called cannot be read.
    """
    problems = check(registry).problems
    wrong = {problem.path for problem in problems if RULES[problem.rule].severity is Severity.ERROR}
    models: dict[str, Model] = {}
    for file in registry.list_files().files:
        model = None if file.path in wrong else registry.read(file.path).model
        if model is None:
            wrong.add(file.path)
        else:
            models[file.path] = model
    settings = models.pop(SETTINGS, None)
    if not isinstance(settings, Settings):
        raise EntryError(
            f"`{SETTINGS}` of the registry `{registry.name}` has problems, and a page needs its title.",
            do=f"See them with `modxfer registry check {SETTINGS}`.",
        )
    return collect(settings, models, address=_address(registry, settings)), tuple(sorted(wrong))


def collect(settings: Settings, models: Mapping[str, Model], *, address: str | None = None) -> Content:
    """Put together what is shown.

    Args:
        settings: What the registry is called.
        models: Path to what lies there.
        address: What to give as `--registry`; None where only its owner knows.

    Returns:
        The content.
    """
    aliases: dict[AliasKey, str] = {}
    for path, model in models.items():
        if isinstance(model, Aliases):
            namespace = id_of(path)
            for folder, names in ((ModuleEntry.folder, model.modules), (AlignmentEntry.folder, model.alignments)):
                aliases |= {(folder, f"{namespace}/{alias}"): f"{namespace}/{name}" for alias, name in names.items()}
    return Content(
        settings=settings,
        modules=_by_id(model for model in models.values() if isinstance(model, ModuleEntry)),
        alignments=_by_id(model for model in models.values() if isinstance(model, AlignmentEntry)),
        aliases=aliases,
        address=address,
    )


def _by_id(entries: Iterable[E]) -> dict[str, E]:
    return {entry.id: entry for entry in sorted(entries, key=lambda entry: entry.id)}


def _address(registry: Registry, settings: Settings) -> str | None:
    """Say where others find the registry; never a folder of this machine."""
    if registry.name.startswith("hf://"):
        return registry.name
    on_hub = _ON_HUB.fullmatch(settings.homepage or "")
    return f"hf://datasets/{on_hub[1]}" if on_hub else None
