"""The rules over several files: references, aliases, lineages, and what must be the same everywhere."""

import difflib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from modxfer.registry.checks.alone import Parts, weights_of
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.models import Aliases, AlignmentEntry, ArchiveSource, Base, HubSource, Lineage, ModuleEntry
from modxfer.registry.entries.reading import id_of, path_of
from modxfer.registry.entries.yaml_text import Keys

_MOST_COMPARED = 200
"""Ids that a wrong one is compared with, to guess which was meant."""

_MOST_NAMED = 4
"""Members of a cycle that a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem of a file whose place has not been looked up.

    Attributes:
        rule: Id of the rule.
        path: The file.
        keys: The way to the value.
        what: What is wrong, one sentence.
        do: How to mend it, one sentence.
        at_key: Whether the key is meant, and not the value.
        others: Other files that have a part in it: a change to one of them can be the cause.
    """

    rule: str
    path: str
    keys: Keys
    what: str
    do: str
    at_key: bool = False
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Registered:
    """All that is registered.

    Attributes:
        paths: All files, those too with which something is wrong.
        parts: Path to what is right of the file.
        aliases: Paths that aliases stand for, to the path that each leads to.
        namespaces: Folder and namespace to the ids there.
    """

    paths: frozenset[str]
    parts: Mapping[str, Parts]
    aliases: Mapping[str, str]
    namespaces: Mapping[str, Sequence[str]]


def check_across(files: Iterable[Parts]) -> Iterator[Finding]:
    """Hold all files of a registry against each other.

    Args:
        files: What is right of each file, in order of their paths.

    Yields:
        What is wrong.
    """
    parts = {part.path: part for part in files}
    namespaces: dict[str, list[str]] = defaultdict(list)
    for path in parts:
        namespaces[path.rpartition("/")[0]].append(id_of(path))
    known = _Registered(
        paths=frozenset(parts), parts=parts, aliases=dict(_alias_targets(parts.values())), namespaces=namespaces
    )
    yield from _check_sources(parts.values())
    for part in parts.values():
        if part.aliases is not None:
            yield from _check_aliases(part.path, part.aliases, known)
        if part.lineage is not None:
            yield from _check_lineage(part, part.lineage, known)
    yield from _check_cycles(parts)
    yield from _check_bases(known)


# --- the same tensors ----------------------------------------------------------------------------------------------------


def _check_sources(files: Iterable[Parts]) -> Iterator[Finding]:
    by_content: dict[tuple[str, str], str] = {}
    by_place: dict[tuple[str, str, str, str], str] = {}
    for part in files:
        if part.source is None:
            continue
        kind = part.path.partition("/")[0]
        keys, digest, folder = _tensors(part.source)
        first = by_content.setdefault((kind, digest), part.path) if digest else part.path
        if first != part.path:
            what = f"{shown(id_of(first))} registers the same tensors."
            yield _duplicate(part.path, keys, what, first)
        if isinstance(part.source, ArchiveSource) or folder is None:
            continue
        place = (kind, part.source.repository.casefold(), part.source.revision, folder)
        before = by_place.setdefault(place, part.path)
        if before not in (part.path, first):
            what = f"{shown(id_of(before))} registers the same folder of the same commit."
            yield _duplicate(part.path, ("source", "repository"), what, before)


def _duplicate(path: str, keys: Keys, what: str, first: str) -> Finding:
    do = "Keep one entry, and let an alias lead to it."
    return Finding(rule="duplicate-source", path=path, keys=keys, what=what, do=do, others=frozenset([first]))


def _tensors(source: HubSource | ArchiveSource) -> tuple[Keys, str | None, str | None]:
    """Give the way to the sha256 of what an entry registers, the sha256, and the folder that the file is in."""
    if isinstance(source, ArchiveSource):
        return ("source", "sha256"), source.sha256, None
    for kind in ("peft", "adapters", "alignment"):
        found = weights_of(source, kind)
        if found is not None:
            index, folder = found
            return ("source", "files", index, "sha256"), source.files[index].sha256, folder
    return (), None, None


# --- aliases -------------------------------------------------------------------------------------------------------------


def _alias_targets(files: Iterable[Parts]) -> Iterator[tuple[str, str]]:
    for part in files:
        if part.aliases is not None:
            for model, aliases in _tables(part.aliases):
                for alias, name in aliases.items():
                    yield path_of(model, f"{id_of(part.path)}/{alias}"), path_of(model, f"{id_of(part.path)}/{name}")


def _tables(aliases: Aliases) -> tuple[tuple[type[ModuleEntry] | type[AlignmentEntry], Mapping[str, str]], ...]:
    return (ModuleEntry, aliases.modules), (AlignmentEntry, aliases.alignments)


def _check_aliases(path: str, aliases: Aliases, known: _Registered) -> Iterator[Finding]:
    namespace = id_of(path)
    for model, table in _tables(aliases):
        for alias, name in table.items():
            keys: Keys = (model.folder, alias)
            own, target = path_of(model, f"{namespace}/{alias}"), path_of(model, f"{namespace}/{name}")
            if own in known.paths:
                what = f"The alias {shown(alias)} is also the name of an entry, `{own}`."
                do = "Rename the alias; it would never be found."
                yield Finding(rule="alias", path=path, keys=keys, what=what, do=do, at_key=True, others=frozenset([own]))
            if target not in known.paths:
                yield _lost_alias(path, keys, name, target, known)


def _lost_alias(path: str, keys: Keys, name: str, target: str, known: _Registered) -> Finding:
    if target in known.aliases:
        what, do = f"{shown(name)} is itself an alias.", f"Write what it stands for, {_name(known.aliases[target])}."
    else:
        what = f"The alias leads to {shown(name)}, and there is no `{target}`."
        do = _mean(target, known) or "Correct the name, or take the alias out."
    return Finding(rule="alias", path=path, keys=keys, what=what, do=do, others=frozenset([target]))


def _name(path: str) -> str:
    return shown(id_of(path).partition("/")[2])


def _mean(path: str, known: _Registered) -> str | None:
    """Guess which entry was meant by a path at which there is none."""
    neighbours = known.namespaces.get(path.rpartition("/")[0], ())[:_MOST_COMPARED]
    names = {id.partition("/")[2]: id for id in neighbours}
    near = difflib.get_close_matches(id_of(path).partition("/")[2], names, n=1)
    return f"Did you mean {shown(names[near[0]])}?" if near else None


# --- one lineage ---------------------------------------------------------------------------------------------------------


def _check_lineage(part: Parts, lineage: Lineage, known: _Registered) -> Iterator[Finding]:
    teacher_path = path_of(ModuleEntry, lineage.teacher)
    map_path = None if lineage.alignment is None else path_of(AlignmentEntry, lineage.alignment)
    for name, path in (("teacher", teacher_path), ("alignment", map_path)):
        if path is not None and path not in known.paths:
            yield _unknown(part.path, ("lineage", name), path, known)
    if teacher_path == part.path:
        return  # a cycle of one, which is reported as such
    teacher = known.parts.get(teacher_path, Parts(path=teacher_path))
    if map_path is not None:
        yield from _check_ends(part, teacher, known.parts.get(map_path, Parts(path=map_path)))
    elif part.base is not None and teacher.base is not None:
        yield from _check_identity(part, part.base, teacher.base, teacher_path)
    yield from _check_layers(part, lineage, teacher)
    yield from _check_method(part, teacher)


def _unknown(path: str, keys: Keys, wanted: str, known: _Registered) -> Finding:
    what = f"There is no `{wanted}`."
    do = _mean(wanted, known) or "Register it first, or correct the id."
    if wanted in known.aliases:
        what = f"{shown(id_of(wanted))} is an alias, which may lead elsewhere tomorrow."
        do = f"Write what it stands for, {shown(id_of(known.aliases[wanted]))}."
    return Finding(rule="unknown-reference", path=path, keys=keys, what=what, do=do, others=frozenset([wanted]))


def _check_ends(part: Parts, teacher: Parts, alignment: Parts) -> Iterator[Finding]:
    """Hold the two base models of an alignment map against those of the two modules."""
    ends = (("teacher", alignment.teacher, teacher.path, teacher.base), ("student", alignment.student, part.path, part.base))
    for end, of_map, path, of_module in ends:
        difference = None if of_map is None or of_module is None else _difference(of_map, of_module)
        if difference is not None:
            what = f"The alignment map's {end} is {difference[0]}, and {shown(id_of(path))} is for {difference[1]}."
            do = "Name the alignment map of this pair."
            others = frozenset([teacher.path, alignment.path])
            yield Finding(rule="lineage-base", path=part.path, keys=("lineage", "alignment"), what=what, do=do, others=others)


def _difference(one: Base, other: Base) -> tuple[str, str] | None:
    """Say in what two base models differ; None if they are the same.

    The fingerprint is over all that counts, so where both have one, it decides: a base model may have been renamed.
    """
    if one.fingerprint and other.fingerprint:
        if one.fingerprint == other.fingerprint:
            return None
        if one.name == other.name and one.revision == other.revision:
            return f"{shown(one.name)} of fingerprint `{one.fingerprint[:12]}`", f"one of `{other.fingerprint[:12]}`"
    if one.name != other.name:
        return shown(one.name), shown(other.name)
    if one.revision and other.revision and one.revision != other.revision:
        return f"{shown(one.name)} at `{one.revision[:12]}`", f"the one at `{other.revision[:12]}`"
    if one.fingerprint and other.fingerprint:
        return f"{shown(one.name)} of fingerprint `{one.fingerprint[:12]}`", f"one of `{other.fingerprint[:12]}`"
    return None


def _check_identity(part: Parts, base: Base, teacher: Base, teacher_path: str) -> Iterator[Finding]:
    """Without an alignment map, the two spaces are the same; the depths need not be."""
    for dimension, width in base.widths.items():
        wanted = teacher.widths.get(dimension, width)
        if width != wanted:
            what = f"`{dimension}` is {width:,} and the lineage's teacher has {wanted:,}, yet no alignment map is named."
            yield Finding(
                rule="lineage-widths",
                path=part.path,
                keys=("base", "widths", dimension),
                what=what,
                do="Name the alignment map in `lineage.alignment`, or correct the width.",
                others=frozenset([teacher_path]),
            )


def _check_method(part: Parts, teacher: Parts) -> Iterator[Finding]:
    own, its = part.method, teacher.method
    if own is None or its is None:
        return
    found: list[tuple[Keys, str]] = []
    if own.name != its.name:
        found.append((("method", "name"), f"The method is {shown(own.name)}, and the teacher's {shown(its.name)}."))
    if own.inner_sizes and its.inner_sizes and set(own.inner_sizes) != set(its.inner_sizes):
        what = f"The inner sizes are {_numbers(own.inner_sizes)}, and the teacher's {_numbers(its.inner_sizes)}."
        found.append((("method", "inner_sizes"), what))
    for keys, what in found:
        do, others = "Correct one of the two entries, or the lineage.", frozenset([teacher.path])
        yield Finding(rule="lineage-method", path=part.path, keys=keys, what=what, do=do, others=others)


def _numbers(sizes: Iterable[int]) -> str:
    return shown(", ".join(f"{size}" for size in sorted(set(sizes))))


# --- layer maps ----------------------------------------------------------------------------------------------------------


def _check_layers(part: Parts, lineage: Lineage, teacher: Parts) -> Iterator[Finding]:
    depths = part.base.depths if part.base is not None else {}
    others = frozenset([teacher.path])
    for keys, what, do in _layer_faults(lineage, depths, teacher.base.depths if teacher.base is not None else {}):
        keys = ("lineage", "layers", "map", *keys)
        yield Finding(rule="lineage-layers", path=part.path, keys=keys, what=what, do=do, others=others)


def _layer_faults(lineage: Lineage, student: Mapping[str, int], teacher: Mapping[str, int]) -> Iterator[tuple[Keys, str, str]]:
    feeds = lineage.layers.map
    for stack, depth in student.items():
        if stack not in feeds:
            yield (), f"The stack {shown(stack)} of the base model is not in the layer map.", f"Add its {depth} layers."
    for stack, layers in feeds.items():
        if student and stack not in student:
            yield (stack,), f"The base model has no stack {shown(stack)}.", "Take it out, or correct its name."
        elif len(layers) != student.get(stack, len(layers)):
            what = f"The layer map has {len(layers)} layers, and the base model's {shown(stack)} has {student[stack]}."
            yield (stack,), what, "Give each student layer its teacher layers, in order."
        for layer, feed in enumerate(layers):
            fault = _feed_fault(feed, teacher.get(stack))
            if fault is not None:
                do = "Write the teacher's layers, each once, with weights above 0 that sum to 1."
                yield (stack, layer), f"Student layer {layer} {fault}.", do


def _feed_fault(feed: Sequence[Sequence[int | float]], depth: int | None) -> str | None:
    """Say what is wrong with what feeds one student layer."""
    layers, weights = [layer for layer, _ in feed], [weight for _, weight in feed]
    if not feed:
        return "is fed by no layer of the teacher"
    wrong = next((layer for layer in layers if isinstance(layer, float) or layer < 0), None)
    if wrong is not None:
        return f"is fed by {shown(wrong)}, which is no layer"
    if depth is not None and max(layers) >= depth:
        return f"is fed by the teacher's layer {shown(max(layers))}, and the teacher has the layers 0 to {depth - 1}"
    if len(set(layers)) < len(layers):
        return "is fed by one layer of the teacher twice"
    if min(weights) <= 0 or not math.isclose(math.fsum(weights), 1, abs_tol=1e-6):
        return f"has the weights {shown(', '.join(map(str, weights)))}"
    return None


# --- all lineages --------------------------------------------------------------------------------------------------------


def _check_cycles(parts: Mapping[str, Parts]) -> Iterator[Finding]:
    """Follow each module's teachers; every module is visited once, so the time is linear however long the lineages are."""
    teachers = {part.path: path_of(ModuleEntry, part.lineage.teacher) for part in parts.values() if part.lineage is not None}
    done: set[str] = set()
    for start in teachers:
        way: dict[str, None] = {}
        path = start
        while path in teachers and path not in done and path not in way:
            way[path] = None
            path = teachers[path]
        if path in way:
            members = list(way)
            yield from _cycle(members[members.index(path) :])
        done.update(way)


def _cycle(members: list[str]) -> Iterator[Finding]:
    others = frozenset(members)
    for index, path in enumerate(members):
        following = [members[(index + step) % len(members)] for step in range(1, min(len(members), _MOST_NAMED) + 1)]
        ids = ", then ".join(shown(id_of(member)) for member in following)
        more = ", and so on" if len(members) > _MOST_NAMED else ""
        what = f"{shown(id_of(path))} descends from itself: its teachers are {ids}{more}."
        if len(members) == 1:
            what = f"{shown(id_of(path))} is its own teacher."
        do = "Name the module that it was really made from."
        yield Finding(rule="lineage-cycle", path=path, keys=("lineage", "teacher"), what=what, do=do, others=others)


_Named = tuple[str, str, Base]
"""A file, its field, and the base model there."""


def _check_bases(known: _Registered) -> Iterator[Finding]:
    """Hold against each other what is said of one base model at one commit, wherever it is named."""
    groups: dict[tuple[str, str], list[_Named]] = defaultdict(list)
    for part in known.parts.values():
        for name, base in part.bases():
            if base.revision is not None:
                groups[base.name, base.revision].append((part.path, name, base))
    for group in groups.values():
        if len(group) > 1:
            yield from _check_group(group)


def _check_group(group: Sequence[_Named]) -> Iterator[Finding]:
    yield from _check_agreement(group, ("family",), {id(base): base.family for _, _, base in group})
    for kind in ("widths", "depths"):
        stated: dict[str, dict[int, int]] = defaultdict(dict)
        for _, _, base in group:
            for dimension, size in getattr(base, kind).items():
                stated[dimension][id(base)] = size
        for dimension, sizes in stated.items():
            yield from _check_agreement(group, (kind, dimension), sizes)


_SIZES: Mapping[object, str] = {"widths": "width", "depths": "depth"}


def _check_agreement(group: Sequence[_Named], keys: Keys, stated: Mapping[int, object]) -> Iterator[Finding]:
    """Report those who say something else than most do."""
    if len(set(stated.values())) < 2:
        return
    usual = Counter(stated.values()).most_common(1)[0][0]
    first = next(path for path, _, base in group if stated.get(id(base)) == usual)
    for path, name, base in group:
        if stated.get(id(base), usual) != usual:
            said = f"The {_SIZES[keys[0]]} `{keys[1]}`" if len(keys) > 1 else f"The {keys[0]}"
            what = f"{said} of {shown(base.name)} is {shown(stated[id(base)])}, and {shown(usual)} in `{first}`."
            do = "Write in both what the base model's config says."
            yield Finding(rule="lineage-widths", path=path, keys=(name, *keys), what=what, do=do, others=frozenset([first]))
