"""What a transferred module was made from: its `transfer.json`, and the entries that this speaks of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from modxfer.errors import FormatError, UsageError
from modxfer.registry.card_text import is_on_hub, mapping
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import AlignmentEntry, Entry, HubSource, Layers, Lineage, ModuleEntry
from modxfer.registry.transfers import TRANSFER

_WITHOUT = "leave its lineage out with `--no-lineage`"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """What a record says that a module was made from.

    Attributes:
        teacher: The Hub id of the teacher's module.
        teacher_revision: Its commit.
        is_identity: Whether no alignment map was used.
        published: The Hub id and commit of the alignment map, if it came from the Hub.
        key: The alignment map's own id.
        layers: The layer map.
    """

    teacher: str
    teacher_revision: str
    is_identity: bool
    published: tuple[str, str] | None
    key: str
    layers: Layers


def find_lineage(record: Mapping[str, Any], registry: Registry) -> Lineage:
    """Find the entries that a transferred module was made from.

    Args:
        record: What its `transfer.json` holds.
        registry: The registry.

    Returns:
        The lineage.

    Raises:
        UsageError: one of them is not registered, or is on no Hub.
        FormatError: the record does not say what it must.
    """
    origin = _read(record)
    teachers: list[Entry] = []
    maps: list[Entry] = []
    for entry in registry.entries():
        if isinstance(entry.source, HubSource):
            if isinstance(entry, ModuleEntry) and _is_at(entry.source, origin.teacher, origin.teacher_revision):
                teachers.append(entry)
            elif isinstance(entry, AlignmentEntry) and _is_map(entry, origin):
                maps.append(entry)
    if not teachers:
        raise _missing("module", f"{origin.teacher}@{origin.teacher_revision}", registry)
    if not maps and not origin.is_identity:
        raise _missing_map(origin, registry)
    return Lineage(teacher=_first(teachers), alignment=None if origin.is_identity else _first(maps), layers=origin.layers)


def _read(record: Mapping[str, Any]) -> _Origin:
    module, alignment = mapping(record.get("module")), mapping(record.get("alignment"))
    name, revision = module.get("name"), module.get("revision")
    if not is_on_hub(name, revision):
        raise UsageError(
            f"By its `{TRANSFER}` the module was made from the folder {shown(name)}, which is on no Hub.",
            do=f"Convert it again from a module on the Hub, or {_WITHOUT}.",
        )
    published = mapping(alignment.get("published"))
    at = (published.get("repository"), published.get("revision"))
    try:
        layers = Layers.model_validate(mapping(record.get("layers")))
    except ValidationError as error:
        raise FormatError(f"`{TRANSFER}` has no layer map that can be read.", do=f"Convert it again, or {_WITHOUT}.") from error
    return _Origin(
        teacher=str(name),
        teacher_revision=str(revision),
        is_identity=alignment.get("source") == "identity",
        published=(str(at[0]), str(at[1])) if is_on_hub(*at) else None,
        key=str(alignment.get("id") or ""),
        layers=layers,
    )


def _is_at(source: HubSource, repository: str, revision: str) -> bool:
    return (source.repository, source.revision) == (repository, revision)


def _is_map(entry: AlignmentEntry, origin: _Origin) -> bool:
    """A map is known by where it was fetched from, else by its own id: it may have been published after it was used."""
    is_published = origin.published is not None and _is_at(entry.source, *origin.published)
    return is_published or bool(origin.key and entry.key == origin.key)


def _first(entries: Iterable[Entry]) -> str:
    return min(str(entry.id) for entry in entries)


def _missing(what: str, reference: str, registry: Registry) -> UsageError:
    return UsageError(
        f"The {what} that it was made from, `{reference}`, is not in the registry `{registry.name}`.",
        do=f"Run `modxfer registry add {reference}` first, or {_WITHOUT}.",
    )


def _missing_map(origin: _Origin, registry: Registry) -> UsageError:
    if origin.published is not None:
        return _missing("alignment map", "@".join(origin.published), registry)
    start = origin.key[:12] if origin.key.isalnum() else "MAP"
    return UsageError(
        f"The alignment map that it was made with, {shown(start)}, is not in the registry `{registry.name}`.",
        do=f"Publish it with `modxfer align push {start} ID` and run `modxfer registry add ID` first, or {_WITHOUT}.",
    )
