"""Modules and alignment maps by the id of their entry: `registry:<namespace>/<name>`, with every file held against the entry.

This is imported wherever a module may be named, so what reads entries is imported only for those who name one.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from modxfer.converters.formats.needed import CARD
from modxfer.errors import EntryError, UsageError
from modxfer.paths import home
from modxfer.registry.entries.naming import PREFIX, REGISTRY_VARIABLE, is_registered
from modxfer.registry.fingerprints import remembered_hash
from modxfer.registry.hub.failures import RepositoryMissing, RevisionMissing
from modxfer.registry.hub.repositories import Repository, open_repository

if TYPE_CHECKING:
    from modxfer.registry.entries.folder import Registry
    from modxfer.registry.entries.models import AlignmentEntry, Entry, ModuleEntry, PinnedFile

__all__ = [
    "PREFIX",
    "Registered",
    "is_registered",
    "open_registered",
    "refuse_registered",
    "resolve",
    "resolve_alignment",
    "resolve_module",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The repository of an entry, at the commit that the entry pins.

    Attributes:
        id: The entry's id; an alias was followed.
        repository: The repository.
        pinned: Path to what the entry says of a file.
    """

    id: str
    repository: Repository
    pinned: Mapping[str, "PinnedFile"]

    def check(self, paths: Iterable[str]) -> None:
        """Hold what the Hub says of files against the entry. Nothing is fetched.

        A card need not be pinned, since nothing is computed from it; the commit pins it too.

        Args:
            paths: The files.

        Raises:
            EntryError: the entry does not pin one, or the Hub has it with another size or hash.
        """
        for path in paths:
            if path not in self.pinned:
                if PurePosixPath(path).name == CARD:
                    continue
                raise EntryError(
                    f"The entry `{self.id}` does not pin `{path}`, which belongs to what `{self.repository.name}` holds.",
                    do="Ask the registry's maintainers to pin it; nothing was used.",
                )
            if path not in self.repository.files:
                raise EntryError(
                    f"The entry `{self.id}` pins `{path}`, which `{self.repository.name}` does not hold at commit "
                    f"{self.repository.commit[:12]}.",
                    do="Ask the registry's maintainers to correct it; nothing was used.",
                )
            there, pinned = self.repository.files[path], self.pinned[path]
            if there.size_bytes != pinned.size_bytes:
                raise self._mismatch(path, f"{there.size_bytes:,} bytes", f"{pinned.size_bytes:,}")
            if there.sha256 not in (None, pinned.sha256):
                raise self._mismatch(path, f"the sha256 {str(there.sha256)[:12]}", pinned.sha256[:12])

    def fetch(self, paths: Collection[str]) -> Path:
        """Fetch files, and hold each against the entry.

        Args:
            paths: Their paths; at least one.

        Returns:
            The folder that holds them, by the same paths.

        Raises:
            EntryError: one is not pinned, or is not what the entry says; none of them is to be used then.
            HubError: one cannot be had.
        """
        self.check(paths)
        folder = self.repository.fetch(paths)
        for path in (path for path in paths if path in self.pinned):
            found, pinned = folder / path, self.pinned[path]
            if (size := found.stat().st_size) != pinned.size_bytes:
                raise self._mismatch(path, f"{size:,} bytes", f"{pinned.size_bytes:,}")
            if (hash := remembered_hash(found, memory=home() / "hashes")) != pinned.sha256:
                raise self._mismatch(path, f"the sha256 {hash[:12]}", pinned.sha256[:12])
        return folder

    def _mismatch(self, path: str, found: str, pinned: str) -> EntryError:
        return EntryError(
            f"`{path}` of `{self.repository.name}` has {found}, and the entry `{self.id}` pins {pinned}.",
            do="Do not use it: it is not what was reviewed. Tell the registry's maintainers.",
        )


def refuse_registered(reference: str) -> None:
    """Refuse the id of an entry where a base model is expected.

    Args:
        reference: What the user typed.

    Raises:
        UsageError: it is one.
    """
    if is_registered(reference):
        from modxfer.registry.entries.fields import shown

        raise UsageError(
            f"{shown(reference)} names an entry of a registry, and those are modules and alignment maps, not base models.",
            do="Give the base model's Hub id, or a folder.",
        )


def resolve(reference: str, registry: str | None) -> "Entry":
    """Find the entry of a module or, if no module is called so, of an alignment map.

    Args:
        reference: `registry:<namespace>/<name>`, with an entry's or an alias's name.
        registry: The registry; None for what `MODXFER_REGISTRY` names.

    Returns:
        The entry.

    Raises:
        UsageError: no registry is named, or there is none.
        EntryError: it has neither, or something is wrong with the entry.
        HubError: the registry is on the Hub, and not to be had.
    """
    from modxfer.registry.entries.models import AlignmentEntry, ModuleEntry

    found, id = _registry(reference, registry), reference.removeprefix(PREFIX)
    is_map = not found.has(ModuleEntry, id) and found.has(AlignmentEntry, id)
    return found.find(AlignmentEntry, id) if is_map else found.find(ModuleEntry, id)


def resolve_module(reference: str, registry: str | None) -> "ModuleEntry":
    """Find the entry of a module.

    Args:
        reference: `registry:<namespace>/<name>`, with an entry's or an alias's name.
        registry: The registry; None for what `MODXFER_REGISTRY` names.

    Returns:
        The entry.

    Raises:
        UsageError: no registry is named, or there is none.
        EntryError: it has no such module, or something is wrong with the entry.
        HubError: the registry is on the Hub, and not to be had.
    """
    from modxfer.registry.entries.models import ModuleEntry

    return _registry(reference, registry).find(ModuleEntry, reference.removeprefix(PREFIX))


def resolve_alignment(reference: str, registry: str | None) -> "AlignmentEntry":
    """Find the entry of an alignment map.

    Args:
        reference: `registry:<namespace>/<name>`, with an entry's or an alias's name.
        registry: The registry; None for what `MODXFER_REGISTRY` names.

    Returns:
        The entry.

    Raises:
        UsageError: no registry is named, or there is none.
        EntryError: it has no such alignment map, or something is wrong with the entry.
        HubError: the registry is on the Hub, and not to be had.
    """
    from modxfer.registry.entries.models import AlignmentEntry

    return _registry(reference, registry).find(AlignmentEntry, reference.removeprefix(PREFIX))


def open_registered(entry: "Entry") -> Registered:
    """Open the repository of an entry at the commit that the entry pins. Nothing of it is fetched.

    Args:
        entry: The entry.

    Returns:
        The repository.

    Raises:
        EntryError: it is an archive outside the Hub, or no longer there.
        HubError: the Hub refuses or cannot be reached.
    """
    from modxfer.registry.entries.models import ArchiveSource

    source = entry.source
    if isinstance(source, ArchiveSource):
        raise EntryError(
            f"The entry `{entry.id}` has its files in an archive outside the Hub, `{source.archive}`, which is not fetched.",
            do=f"Download it, check that its sha256 is {source.sha256}, unpack it, and give the folder.",
        )
    try:
        repository = open_repository(f"{source.repository}@{source.revision}")
    except (RepositoryMissing, RevisionMissing) as error:
        raise EntryError(
            f"The entry `{entry.id}` names `{source.repository}` at commit {source.revision[:12]}, which is not on the Hub, or "
            "is private.",
            do="For a private one log in with `hf auth login`; else tell the registry's maintainers.",
        ) from error
    return Registered(id=entry.id, repository=repository, pinned={file.path: file for file in source.files})


def _registry(reference: str, registry: str | None) -> "Registry":
    from modxfer.registry.entries.fields import shown
    from modxfer.registry.entries.opening import named_registry

    found = named_registry(registry)
    if found is None:
        raise UsageError(
            f"{shown(reference)} names an entry, and no registry is named.",
            do=f"Name the registry with `--registry`, or in {REGISTRY_VARIABLE}.",
        )
    return found
