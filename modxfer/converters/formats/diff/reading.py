"""Differences to a base model's parameters, read: names of parameters to pieces."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from modxfer.architectures import Architecture, Point, Route, Side, Submodule
from modxfer.converters.formats.checks import FETCH_AGAIN, check_shape, listing
from modxfer.converters.formats.diff.files import DIFF_FILE, DIFFERENCES, VALUES
from modxfer.converters.formats.heads import head_method, head_paths, head_place, head_route, head_shape, tasks_with
from modxfer.converters.formats.peft.replaced import method_of_whole, split
from modxfer.converters.formats.peft.targets import Known, known_submodules
from modxfer.converters.methods import (
    DIFFERENCE,
    GAIN_DIFFERENCE,
    OTHER,
    TABLE_DIFFERENCE,
    Method,
    route_of_role,
)
from modxfer.converters.module import Array, HeadInfo, Module, ModuleFiles, Piece, Place
from modxfer.errors import ConversionError, FormatError

SUFFIXES: Mapping[str, str] = {DIFFERENCES: ".difference", VALUES: ".base"}
"""Part of the file to what stands behind the role in a piece's place."""

OTHER_PREFIX = "other."
"""What stands before the name of a parameter that no role covers, in its piece's place."""

_OTHER_PARTS = {DIFFERENCES: "difference", VALUES: "value"}
_EMBEDDED = Point("embeddings", Side.OUTPUT)
_WHERE = f"`{DIFF_FILE}`"


@dataclass(slots=True)
class _Sorted:
    """A module's tensors, by what they belong to.

    Attributes:
        submodules: Path in the task model and part of the file to "weight" or "bias" to tensor.
        head: Path in the task model to "weight" or "bias" to tensor.
        tables: Role of a lookup table to tensor.
        others: Name of any other parameter and part of the file to tensor.
    """

    submodules: dict[tuple[str, str], dict[str, Array]] = field(default_factory=lambda: defaultdict(dict))
    head: dict[str, dict[str, Array]] = field(default_factory=lambda: defaultdict(dict))
    tables: dict[str, Array] = field(default_factory=dict)
    others: dict[tuple[str, str], Array] = field(default_factory=dict)


def parse(files: ModuleFiles, tensors: Mapping[str, Array], teacher: Architecture) -> Module:
    """Turn differences and whole values of parameters into pieces.

    Args:
        files: What is known of the module.
        tensors: Key to dense tensor, checked to be finite and floating-point; keys as `diff.files` gives them.
        teacher: The base model that the module belongs to.

    Returns:
        The module. Parameters that no role covers are pieces without a space, which a conversion leaves behind.

    Raises:
        FormatError: the parameters are not those of the base model.
        ConversionError: the head is stored as a difference.
    """
    prefix = _prefix(tensors, teacher)
    inside = prefix != "" or not teacher.family.prefixes()
    task = _task(tensors, teacher, prefix)
    base = max((teacher, teacher.with_other_names()), key=lambda names: _num_known(tensors, names, task, inside))
    known = known_submodules(base, task=task, inside_task_model=inside)
    sorted_ = _sort(tensors, known, base, prefix=prefix, task=task)
    pieces: dict[Place, Piece] = {}
    for (path, part), own in sorted_.submodules.items():
        pieces |= _submodule_pieces(path, part, own, known[path], base)
    for path, own in sorted_.head.items():
        place, piece = _head_piece(path, own, str(task), base)
        pieces[place] = piece
    for role, tensor in sorted_.tables.items():
        place, piece = _table_piece(role, tensor, base)
        pieces[place] = piece
    if not pieces:
        raise FormatError(
            f"{_WHERE} holds {listing(name.partition('.')[2] for name in tensors)}, and none of these is in `{teacher.name}` "
            f"({teacher.model_type}).",
            do="Name the base model that the module was trained on with `--from`.",
        )
    for (name, part), tensor in sorted_.others.items():
        place = Place("", -1, OTHER_PREFIX + name)
        before = pieces[place].parts if place in pieces else {}
        parts = {**before, _OTHER_PARTS[part]: tensor}
        pieces[place] = Piece(method=OTHER, route=Route(reads=_EMBEDDED, writes=_EMBEDDED), parts=parts)
    return Module(
        format="diff",
        method="difference",
        name=files.name,
        config={"task_type": task},
        pieces=pieces,
        head=HeadInfo(task=str(task), name=files.name) if sorted_.head else None,
        base=files.base,
        inside_task_model=inside,
    )


def _prefix(tensors: Mapping[str, Array], base: Architecture) -> str:
    """Find the attribute, and a dot, under which the parameters' task model holds the base model; empty if it is none."""
    names = [key.partition(".")[2] for key in tensors]
    attributes = sorted(base.family.prefixes(), key=len, reverse=True)
    return next((f"{prefix}." for prefix in attributes if any(name.startswith(f"{prefix}.") for name in names)), "")


def _task(tensors: Mapping[str, Array], base: Architecture, prefix: str) -> str | None:
    """Say which task the head is for, or the task model, as far as that shows."""
    heads = set().union(*head_paths(base).values())
    names = {key.partition(".")[2] for key in tensors}
    held = {name.rpartition(".")[0] for name in names} & heads
    tasks = tasks_with(base, held)
    if len(tasks) > 1:  # one has a pooler before its head, and only that one trains it
        pooled = "pooler" in base.family.modules and any(name.startswith(f"{prefix}pooler.") for name in names)
        tasks = [task for task in tasks if (shape := head_shape(base, task)) and shape.pooled is pooled] or tasks
    if tasks:
        return tasks[0]
    return next((task for task, attribute in base.family.task_prefixes.items() if f"{attribute}." == prefix), None)


def _num_known(tensors: Mapping[str, Array], base: Architecture, task: str | None, inside: bool) -> int:
    known = known_submodules(base, task=task, inside_task_model=inside)
    return sum(key.partition(".")[2].rpartition(".")[0] in known for key in tensors)


def _sort(
    tensors: Mapping[str, Array], known: Mapping[str, Known], base: Architecture, *, prefix: str, task: str | None
) -> _Sorted:
    """Sort parameters by what they belong to."""
    result = _Sorted()
    heads = head_paths(base)
    every_head = set().union(*heads.values())
    tables = {f"{prefix}{table.path}.weight": role for role, table in base.family.tables.items()}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        owner, _, end = name.rpartition(".")
        if f"{DIFFERENCES}.{name}" in tensors and f"{VALUES}.{name}" in tensors:
            raise FormatError(f"{_WHERE} holds both a difference and a value of `{name}`.", do=FETCH_AGAIN)
        if owner in known and end in ("weight", "bias"):
            result.submodules[owner, part][end] = tensor
        elif task in heads and owner in heads[task] and end in ("weight", "bias") and part == VALUES:
            result.head[owner][end] = tensor
        elif owner in every_head and part == DIFFERENCES:
            raise ConversionError(
                f"{_WHERE} holds the head's `{name}` as a difference to values that the base model does not have.",
                do="Save the head's values whole, or remove them from the file.",
            )
        elif name in tables and part == DIFFERENCES:
            result.tables[tables[name]] = tensor
        else:
            _check_layer(name, base)
            result.others[name, part] = tensor
    return result


def _check_layer(name: str, base: Architecture) -> None:
    """Refuse a parameter of a layer that the base model does not have."""
    for stack, table in base.family.stacks.items():
        pattern = re.escape(table.layer).replace(re.escape("{layer}"), r"(\d+)")
        found = re.search(rf"(?:^|\.){pattern}\.", name)
        if found and int(found[1]) >= base.depths[stack]:
            raise FormatError(
                f"{_WHERE} holds `{name}`, and `{base.name}` ({base.model_type}) has {base.depths[stack]} such layers.",
                do="Name the base model that the module was trained on with `--from`.",
            )


def _submodule_pieces(path: str, part: str, own: Mapping[str, Array], known: Known, base: Architecture) -> dict[Place, Piece]:
    """Build the pieces of all roles of one submodule."""
    submodule, place = known.submodule, known.place
    method = _method(submodule, part)
    writes, reads = base.matrix_rows(place.stack, place.name), base.dimensions[submodule.reads]
    weight: tuple[int | None, ...] = (writes,) if submodule.elementwise else (writes, reads)
    shapes = {"weight": weight[::-1] if submodule.transposed else weight, "bias": (writes,)}
    for end, tensor in own.items():
        check_shape(f"{path}.{end}", tensor, shapes[end], where=_WHERE, base=base.name)
        if end not in method.parts:
            raise ConversionError(
                f"{_WHERE} holds `{path}.{end}`, and a piece of the kind {method.name} has none.",
                do="Remove it from the file.",
            )
    parts = {end: own[end].T if submodule.transposed else own[end] for end in ("weight", "bias") if end in own}
    return split(Piece(method=method, route=route_of_role(place.name), parts=parts), known, base, suffix=SUFFIXES[part])


def _method(submodule: Submodule, part: str) -> Method:
    """Give the method of a submodule's difference, or of a submodule that is replaced."""
    if part == DIFFERENCES:
        return GAIN_DIFFERENCE if submodule.elementwise else DIFFERENCE
    return method_of_whole(submodule)


def _head_piece(path: str, own: Mapping[str, Array], task: str, base: Architecture) -> tuple[Place, Piece]:
    """Build the piece of one layer of the head."""
    part = next(part for part, name in base.family.heads[task].items() if name == path)
    if "weight" not in own:
        raise FormatError(f"{_WHERE} holds the bias of the head's `{path}` without its weight.", do=FETCH_AGAIN)
    hidden = base.dimensions["hidden"]
    labels = own["weight"].shape[0] if own["weight"].ndim else None
    weight: tuple[int | None, ...] = (hidden, hidden) if part == "dense" else (labels, hidden)
    for end, shape in (("weight", weight), ("bias", weight[:1])):
        if end in own:
            check_shape(f"{path}.{end}", own[end], shape, where=_WHERE, base=base.name)
    return head_place(part), Piece(method=head_method(part), route=head_route(base, task), parts=dict(own))


def _table_piece(role: str, tensor: Array, base: Architecture) -> tuple[Place, Piece]:
    """Build the piece of a lookup table whose rows are no units."""
    table = base.family.tables[role]
    shape = (base.dimensions.get(table.reads), base.dimensions[base.family.modules["embeddings"].writes])
    check_shape(f"{table.path}.weight", tensor, shape, where=_WHERE, base=base.name)
    piece = Piece(method=TABLE_DIFFERENCE, route=Route(reads=_EMBEDDED, writes=_EMBEDDED), parts={"weight": tensor.T})
    return Place("", -1, role + SUFFIXES[DIFFERENCES]), piece
