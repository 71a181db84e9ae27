"""Checking an entry's lineage against `transfer.json`, the record that comes with a module that modxfer has moved."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from modxfer.converters.formats.files import read_json
from modxfer.errors import EntryError, FormatError
from modxfer.registry.card_text import is_on_hub, items, mapping
from modxfer.registry.checks.online_asking import OpenedBase, check_size, fetched
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import AlignmentEntry, HubSource, Layers, Lineage, ModuleEntry
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import ReadFile
from modxfer.registry.hub.repositories import Repository
from modxfer.registry.transfers import TRANSFER

E = TypeVar("E", ModuleEntry, AlignmentEntry)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TOLERANCE = 1e-4  # of the weight of a layer, which an entry may round


def check_transfer(
    read: ReadFile,
    entry: ModuleEntry,
    repository: Repository,
    *,
    folder: str,
    base: OpenedBase | None,
    registry: Registry | None,
) -> Iterator[Problem]:
    """Check an entry's base model and lineage against the record of the transfer, if there is one beside the module.

    Args:
        read: The entry's file.
        entry: The entry.
        repository: Its repository, at the pinned commit.
        folder: The module's folder there.
        base: The base model, if it is at hand.
        registry: The registry that the entry is of; None to leave out what other entries say.

    Yields:
        The problems.
    """
    path = f"{folder}{TRANSFER}"
    if path not in repository.files:
        return
    check_size(read, repository, [path], at=("source", "files"))
    try:
        with fetched(repository, [path]) as copies:
            record = read_json(copies / TRANSFER)
    except FormatError:
        what = f"{shown(path)} is no JSON, so it is not the record of a transfer."
        yield read.problem("module-config", ("source", "files"), what, do="Push the converted module again.", at_key=True)
        return
    yield from _check_student(read, entry, mapping(record.get("student")), base)
    if entry.lineage is not None:
        yield from _check_layers(read, entry.lineage.layers, mapping(record.get("layers")))
        yield from _check_alignment(read, entry.lineage, mapping(record.get("alignment")), registry)
        yield from _check_teacher(read, entry.lineage, record, registry)


def _check_student(
    read: ReadFile, entry: ModuleEntry, student: Mapping[str, Any], base: OpenedBase | None
) -> Iterator[Problem]:
    true = student.get("fingerprint")
    stated = entry.base.fingerprint
    if stated is not None and isinstance(true, str) and _SHA256.fullmatch(true) and true != stated:
        what = f"By `{TRANSFER}` the module was made for a base model of another fingerprint, {shown(true[:12])}…"
        yield read.problem("module-config", ("base", "fingerprint"), what, do="Name the base model that it was made for.")
    name, revision = student.get("name"), student.get("revision")
    known = {entry.base.name.lower(), *([base.located.name.lower()] if base else [])}
    if is_on_hub(name, revision) and str(name).lower() not in known:
        what = f"By `{TRANSFER}` the module was made for {shown(name)}, not for {shown(entry.base.name)}."
        yield read.problem("module-config", ("base", "name"), what, do="Name the base model that it was made for.")


def _check_layers(read: ReadFile, layers: Layers, record: Mapping[str, Any]) -> Iterator[Problem]:
    mode = record.get("mode")
    if isinstance(mode, str) and mode != layers.mode:
        what = f"The layer map's mode is {shown(layers.mode)}, and by `{TRANSFER}` {shown(mode)}."
        yield read.problem("module-config", ("lineage", "layers", "mode"), what, do=f"Write {shown(mode)}.")
    for stack, true in mapping(record.get("map")).items():
        stated = layers.map.get(str(stack))
        if stated is None:
            continue
        at = ("lineage", "layers", "map", str(stack))
        if len(stated) != len(items(true)):
            what = f"The layer map has {len(stated)} layers in {shown(stack)}, and by `{TRANSFER}` {len(items(true))}."
            yield read.problem("module-config", at, what, do=f"Copy the layer map from `{TRANSFER}`.")
            continue
        for layer, (ours, theirs) in enumerate(zip(stated, items(true), strict=True)):
            if not _same_feeds(ours, theirs):
                fed = f"by {_feeds(ours)}, and in `{TRANSFER}` by {_feeds(theirs)}"
                what = f"Student layer {layer} of {shown(stack)} is fed {fed}."
                yield read.problem("module-config", (*at, layer), what, do=f"Copy the layer map from `{TRANSFER}`.")


def _same_feeds(ours: object, theirs: object) -> bool:
    one, two = _pairs(ours), _pairs(theirs)
    return one.keys() == two.keys() and all(math.isclose(one[key], two[key], abs_tol=_TOLERANCE) for key in one)


def _pairs(feeds: object) -> dict[int | float, int | float]:
    pairs = [items(feed) for feed in items(feeds)]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and all(isinstance(value, int | float) for value in pair)}


def _feeds(feeds: object) -> str:
    return shown(", ".join(f"{layer:g} ({weight:g})" for layer, weight in _pairs(feeds).items()) or "none")


def _check_alignment(
    read: ReadFile, lineage: Lineage, record: Mapping[str, Any], registry: Registry | None
) -> Iterator[Problem]:
    at = ("lineage", "alignment")
    if lineage.alignment is None:
        return
    if record.get("source") == "identity":
        what = f"The lineage names an alignment map, and by `{TRANSFER}` none was used."
        yield read.problem("module-config", at, what, do="Take `alignment` out of the lineage.")
        return
    key, named = record.get("id"), _find(registry, AlignmentEntry, lineage.alignment)
    published = mapping(record.get("published"))
    if named is not None and (published.get("repository"), published.get("revision")) == (
        named.source.repository,
        named.source.revision,
    ):
        return  # it was fetched from there, and the key is the one that it got in a store
    if named is not None and isinstance(key, str) and _SHA256.fullmatch(key) and key != named.key:
        what = f"By `{TRANSFER}` the module was made with another alignment map, of the key {shown(key[:12])}…"
        yield read.problem("module-config", at, what, do="Name the entry of that map.")


def _check_teacher(read: ReadFile, lineage: Lineage, record: Mapping[str, Any], registry: Registry | None) -> Iterator[Problem]:
    at = ("lineage", "teacher")
    named = _find(registry, ModuleEntry, lineage.teacher)
    if named is None:
        return
    module, teacher = mapping(record.get("module")), mapping(record.get("teacher"))
    from_hub = is_on_hub(module.get("name"), module.get("revision"))
    if from_hub and isinstance(named.source, HubSource) and module["name"].lower() != named.source.repository.lower():
        what = f"By `{TRANSFER}` the module was made from {shown(module['name'])}, which is not that of {shown(named.id)}."
        yield read.problem("module-config", at, what, do="Name the entry of that module.")
        return
    true = teacher.get("fingerprint")
    if named.base.fingerprint is not None and isinstance(true, str) and true != named.base.fingerprint:
        what = (
            f"By `{TRANSFER}` the teacher has another fingerprint than the base model of {shown(named.id)}, {shown(true[:12])}…"
        )
        yield read.problem("module-config", at, what, do="Name the entry of the module that was moved.")


def _find(registry: Registry | None, model: type[E], id: str) -> E | None:
    """Find an entry; what is wrong with it is reported for itself."""
    try:
        return registry.find(model, id) if registry is not None else None
    except (EntryError, OSError):
        return None
