"""The rules that show in one file, beyond what its model says."""

import difflib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from modxfer.architectures import FAMILIES, OPTIONAL_DIMENSIONS, Family
from modxfer.registry.entries.fields import listed, shown
from modxfer.registry.entries.models import (
    Aliases,
    AlignmentEntry,
    ArchiveSource,
    Base,
    HubSource,
    Lineage,
    Method,
    ModuleEntry,
    Source,
)
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import ReadFile
from modxfer.registry.entries.yaml_text import Keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Those parts of a file that are right by themselves: a mistake elsewhere in it does not hide theirs.

    Attributes:
        path: Where it lies, relative to the registry.
        source: Where the files are.
        base: A module's base model.
        teacher: The one that an alignment map comes from.
        student: The one that it goes to.
        method: A module's method.
        lineage: What a module was made from.
        aliases: A file of aliases.
    """

    path: str
    source: HubSource | ArchiveSource | None = None
    base: Base | None = None
    teacher: Base | None = None
    student: Base | None = None
    method: Method | None = None
    lineage: Lineage | None = None
    aliases: Aliases | None = None

    @property
    def is_module(self) -> bool:
        """Whether it is a module's entry."""
        return self.path.startswith("modules/")

    def bases(self) -> Iterator[tuple[str, Base]]:
        """List the base models that it names.

        Yields:
            The field, and the base model.
        """
        for name, base in (("base", self.base), ("teacher", self.teacher), ("student", self.student)):
            if base is not None:
                yield name, base


_PARTS: Mapping[str, Mapping[str, Any]] = {
    "modules": {"source": Source, "base": Base, "method": Method, "lineage": Lineage},
    "alignments": {"source": HubSource, "teacher": Base, "student": Base},
}


@cache
def _reader(folder: str, name: str) -> Callable[[object], Any]:
    return TypeAdapter(_PARTS[folder][name]).validate_python


def parts_of(read: ReadFile) -> Parts:
    """Take out of a file what other rules need.

    Args:
        read: The file.

    Returns:
        What is right of it, even where other fields are not.
    """
    model, value = read.model, read.document.value
    match model:
        case ModuleEntry():
            return Parts(path=read.path, source=model.source, base=model.base, method=model.method, lineage=model.lineage)
        case AlignmentEntry():
            return Parts(path=read.path, source=model.source, teacher=model.teacher, student=model.student)
        case Aliases():
            return Parts(path=read.path, aliases=model)
    folder = read.path.partition("/")[0]
    if not isinstance(value, dict) or folder not in _PARTS:
        return Parts(path=read.path)
    found = {}
    for name in _PARTS[folder]:
        try:
            found[name] = _reader(folder, name)(value[name]) if value.get(name) is not None else None
        except ValidationError:
            found[name] = None
    return Parts(path=read.path, **found)


def check_alone(read: ReadFile, parts: Parts) -> Iterator[Problem]:
    """Look for what is wrong with a file by itself, beyond what reading it found.

    Args:
        read: The file.
        parts: What is right of it.

    Yields:
        Its problems.
    """
    value = read.document.value
    if not isinstance(value, dict):
        return
    yield from _repeated(read, value)
    if isinstance(parts.source, HubSource):
        yield from _check_files(read, parts.source)
    for name, base in parts.bases():
        yield from _check_pin(read, name, base, parts)
        yield from _check_base(read, name, base, is_archive=isinstance(parts.source, ArchiveSource))
    if parts.base is not None and parts.method is not None:
        yield from _check_inner_sizes(read, parts.base, parts.method)
    yield from _check_licence(read, value)
    yield from _check_scores(read, value)


# --- lists ---------------------------------------------------------------------------------------------------------------

_SAME: Mapping[Keys, tuple[str, ...]] = {
    ("source", "files"): ("path",),
    ("datasets",): ("name", "revision"),
    ("results",): ("metric", "dataset", "dataset_revision", "split", "ran_by"),
}
"""List of mappings, to the fields by which two items are the same; in other lists, items are the same that are equal."""


def _repeated(read: ReadFile, value: Mapping[str, Any], keys: Keys = ()) -> Iterator[Problem]:
    for key, item in value.items():
        if item.__class__ is list:
            if len(item) > 1:
                yield from _repeated_items(read, (*keys, key), item)
        elif item.__class__ is dict and key != "lineage":
            yield from _repeated(read, item, (*keys, key))


def _repeated_items(read: ReadFile, keys: Keys, items: list[Any]) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        same = _identity(item, _SAME.get(keys))
        if seen.setdefault(same, index) != index:
            what = f"`{'.'.join(map(str, keys))}` names {shown(_named(item))} twice, first as item {seen[same] + 1}."
            yield read.problem("duplicate-item", (*keys, index), what, do="Keep one of the two.")


def _identity(item: Any, by: tuple[str, ...] | None) -> str:
    if item.__class__ is str:
        return str(item).casefold()
    if by and isinstance(item, dict):
        return repr([item.get(name) for name in by])
    return json.dumps(item, sort_keys=True) if isinstance(item, dict) else repr(item)


def _named(item: Any) -> object:
    return next(iter(item.values()), "") if isinstance(item, dict) else item


# --- files ---------------------------------------------------------------------------------------------------------------


@cache
def _needed(kind: str) -> tuple[str, str]:
    """Name the record and the tensors that a kind of entry cannot be without."""
    from modxfer.alignments.files import RECORD, TENSORS
    from modxfer.converters.formats.adapters.configs import CONFIG_FILE
    from modxfer.converters.formats.inspection import WEIGHT_FILES

    return (RECORD, TENSORS) if kind == "alignment" else (CONFIG_FILE, WEIGHT_FILES[kind][0])


def weights_of(source: HubSource, kind: str) -> tuple[int, str] | None:
    """Find the file of tensors of a module or an alignment map.

    Args:
        source: Where its files are.
        kind: `peft`, `adapters` or `alignment`.

    Returns:
        The file's index and its folder, which is empty for the repository's root; None where record and tensors are not
        together in the root, or else in one folder.
    """
    record, tensors = _needed(kind)
    indices = {file.path: index for index, file in enumerate(source.files)}
    folders = [path.removesuffix(record) for path in indices if path.rpartition("/")[2] == record]
    if record in indices:
        folders = [""]
    whole = [folder for folder in folders if f"{folder}{tensors}" in indices]
    return (indices[f"{whole[0]}{tensors}"], whole[0]) if len(whole) == 1 else None


def _check_files(read: ReadFile, source: HubSource) -> Iterator[Problem]:
    kind = kind_of(read)
    if kind is not None and weights_of(source, kind) is None:
        record, tensors = _needed(kind)
        what = f"The pinned files are not one `{record}` with `{tensors}` beside it."
        do = "Pin both, of the repository's root or else of one folder."
        yield read.problem("no-weights", ("source", "files"), what, do=do)


def kind_of(read: ReadFile) -> str | None:
    """Say whose names an entry's files have.

    Args:
        read: The file.

    Returns:
        A module's format, or `alignment`; None where that is not known.
    """
    stated = "alignment" if read.path.startswith("alignments/") else read.document.value.get("format")
    return stated if stated in ("peft", "adapters", "alignment") else None


# --- base models ---------------------------------------------------------------------------------------------------------


def _check_pin(read: ReadFile, name: str, base: Base, parts: Parts) -> Iterator[Problem]:
    if base.revision is not None or isinstance(parts.source, ArchiveSource):
        return
    if name == "base" or base.fingerprint is None:
        what = f"`{name}` names {shown(base.name)} without a revision."
        yield read.problem("unpinned", (name,), what, do="Add `revision`, the commit hash of the base model.")


def _check_base(read: ReadFile, name: str, base: Base, *, is_archive: bool) -> Iterator[Problem]:
    family = FAMILIES.get(base.family)
    if is_archive:
        missing = [field for field in ("revision", "widths", "depths") if not getattr(base, field)]
        if missing:
            what = f"`{name}` does not say {listed(missing)}."
            yield read.problem("incomplete", (name,), what, do="Add what is known, or register the module from the Hub.")
    if family is None:
        near = difflib.get_close_matches(base.family, FAMILIES, n=1)
        yield read.problem(
            "unknown-family",
            (name, "family"),
            f"{shown(base.family)} is no family that modxfer knows.",
            do=f"Did you mean `{near[0]}`?" if near else "Write the base model's `model_type`, or add the family to modxfer.",
        )
        return
    rows = list(family.rows())
    spaces = dict.fromkeys(key for row in rows for key in row.dimensions if key not in OPTIONAL_DIMENSIONS)
    always = {key for key in spaces if all(key in row.dimensions for row in rows)}
    yield from _check_sizes(read, (name, "widths"), base.widths, tuple(spaces), needed=frozenset() if is_archive else always)
    stacks = tuple(family.stacks)
    yield from _check_sizes(read, (name, "depths"), base.depths, stacks, needed=frozenset() if is_archive else stacks)
    yield from _check_equal_widths(read, name, base, family)


def _check_sizes(
    read: ReadFile, keys: Keys, sizes: Mapping[str, int], known: tuple[str, ...], *, needed: Collection[str]
) -> Iterator[Problem]:
    names = listed(known)
    for size in sizes:
        if size not in known:
            what = f"`{'.'.join(map(str, keys))}` has {shown(size)}, and the family has {names}."
            yield read.problem("widths", (*keys, size), what, do="Correct the name, or take it out.", at_key=True)
    missing = [name for name in known if name in needed and name not in sizes]
    if missing:
        what = f"`{'.'.join(map(str, keys))}` does not say {listed(missing)}."
        yield read.problem("widths", keys, what, do="Add what the base model's config says.")


def _check_equal_widths(read: ReadFile, name: str, base: Base, family: Family) -> Iterator[Problem]:
    """Hold widths against each other that a family takes from the same field of the config."""
    for field, first, second in _same_field(family):
        one, other = base.widths.get(first), base.widths.get(second)
        if one is not None and other is not None and one != other:
            what = f"`{second}` is {other:,} and `{first}` is {one:,}, though both are {shown(field)} of the config."
            yield read.problem("widths", (name, "widths", second), what, do="Write what the config says.")


def _same_field(family: Family) -> Iterator[tuple[str, str, str]]:
    seen: dict[tuple[Any, ...], str] = {}
    for dimension, fields in family.dimensions.items():
        if seen.setdefault(fields, dimension) != dimension:
            yield str(fields[0]), seen[fields], dimension


def _check_inner_sizes(read: ReadFile, base: Base, method: Method) -> Iterator[Problem]:
    most = max(base.widths.values(), default=0)
    for index, size in enumerate(method.inner_sizes):
        if most and size > most:
            what = f"The inner size {size:,} is above all widths of the base model, of which the largest is {most:,}."
            yield read.problem("widths", ("method", "inner_sizes", index), what, do="Correct one of the two.")


# --- warnings ------------------------------------------------------------------------------------------------------------

_FRACTIONS = frozenset(["acc", "accuracy", "precision", "recall", "f1", "auc", "auroc", "las", "uas"])


def _check_licence(read: ReadFile, value: Mapping[str, Any]) -> Iterator[Problem]:
    if value.get("license") in ("NOASSERTION", "NONE"):
        what = f"The licence is {shown(value['license'])}, which gives nobody leave to use this."
        yield read.problem("license-unknown", ("license",), what, do="Ask the author, and write the licence as SPDX does.")


def _check_scores(read: ReadFile, value: Mapping[str, Any]) -> Iterator[Problem]:
    results = value.get("results")
    for index, result in enumerate(results if isinstance(results, list) else ()):
        if not isinstance(result, dict) or not _is_fraction(result.get("metric")):
            continue
        score = result.get("value")
        if isinstance(score, int | float) and not 0 <= score <= 1:
            what = f"{shown(result['metric'])} is {shown(score)}, and it is a fraction."
            do = "Write it between 0 and 1: a percentage divided by 100."
            yield read.problem("odd-score", ("results", index, "value"), what, do=do)


def _is_fraction(metric: object) -> bool:
    return isinstance(metric, str) and not _FRACTIONS.isdisjoint(_words(metric))


def _words(metric: str) -> Iterable[str]:
    return "".join(char if char.isalnum() else " " for char in metric.casefold()).split()
