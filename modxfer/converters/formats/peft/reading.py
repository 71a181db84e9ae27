"""The `peft` format, read: config and keys to pieces.

Source: peft 0.21, `LoraConfig` in `tuners/lora/config.py`, `get_peft_model_state_dict` in
`utils/save_and_load.py`.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from modxfer.architectures import FINAL, Architecture, Point, Route, Side, Submodule
from modxfer.converters.formats.checks import check_shape, listing, strings
from modxfer.converters.formats.heads import HEAD_ROUTE, head_method, head_paths, head_place, tasks_with
from modxfer.converters.formats.peft.kinds import Kind, Spot
from modxfer.converters.formats.peft.table import kind_of
from modxfer.converters.formats.peft.targets import Known, is_saved, known_submodules, selected
from modxfer.converters.fusing import split_piece
from modxfer.converters.methods import LINEAR, NORM, route_of_role
from modxfer.converters.module import (
    Array,
    HeadInfo,
    Module,
    ModuleFiles,
    Piece,
    Place,
)
from modxfer.errors import ConversionError, FormatError

KEY_PREFIX = "base_model.model."

CONFIG_FILE = "adapter_config.json"


@dataclass(slots=True)
class _Sorted:
    """A module's tensors, by what they belong to.

    Attributes:
        beside: Path in the task model to part to tensor.
        replaced: Path in the task model to "weight" or "bias" to tensor.
        inside_task_model: Whether paths name the base model inside a task model.
    """

    beside: dict[str, dict[str, Array]] = field(default_factory=lambda: defaultdict(dict))
    replaced: dict[str, dict[str, Array]] = field(default_factory=lambda: defaultdict(dict))
    inside_task_model: bool = True


def parse(files: ModuleFiles, tensors: Mapping[str, Array], teacher: Architecture) -> Module:
    """Turn a `peft` module's config and tensors into pieces.

    Args:
        files: What is known of the module from its configs.
        tensors: Key to tensor, checked to be finite and floating-point.
        teacher: The base model that the module belongs to.

    Returns:
        The module.

    Raises:
        FormatError: a key is unknown, a shape does not fit, or config and tensors disagree.
        ConversionError: the module trains something that cannot be moved.
    """
    where = f"`{CONFIG_FILE}`"
    kind = kind_of(files.config, where=where)
    config = files.config
    sorted_ = _sort_keys(tensors, kind, teacher)
    task = _task(config, sorted_, teacher)
    known = known_submodules(teacher, task=task, inside_task_model=sorted_.inside_task_model)
    heads = head_paths(teacher).get(task, set()) if task else set()
    _check_paths(sorted_, kind, known, heads, teacher)
    _check_targets(config, sorted_, kind, known, teacher, where=where)
    _check_replaced(config, sorted_, known, heads, where=where)
    pieces: dict[Place, Piece] = {}
    for path, parts in sorted_.beside.items():
        spot = spot_of(path, known[path], teacher, where=where)
        _check_parts(parts, kind.needed(config, spot), spot)
        pieces |= _split(kind.read(config, spot, parts), known[path], teacher)
    for path, parts in sorted_.replaced.items():
        pieces |= _replaced_pieces(path, parts, known, task, teacher)
    return Module(
        format="peft",
        method=kind.method,
        name=files.name,
        config=kind.canonical(config),
        pieces=pieces,
        head=HeadInfo(task=task, name=files.name) if task and any(path in heads for path in sorted_.replaced) else None,
        base=files.base,
        inside_task_model=sorted_.inside_task_model,
    )


def _sort_keys(tensors: Mapping[str, Array], kind: Kind, base: Architecture) -> _Sorted:
    """Split every key into path and part; a copy that peft stores of a replaced tensor is left out."""
    result = _Sorted()
    copies = {}
    for key, tensor in tensors.items():
        path, part = _split_key(key, kind)
        if ".original_module" in path or ".modules_to_save" in path:
            copies[key] = (path, part, tensor)
        elif part in kind.suffixes.values():
            result.beside[path][part] = tensor
        else:
            result.replaced[path.removesuffix(".base_layer")][part] = tensor
    for key, (path, part, tensor) in copies.items():
        _check_copy(key, path, part, tensor, result.replaced)
    outside = {path for paths in head_paths(base).values() for path in paths}
    outside |= {submodule.path for submodule in base.family.modules.values() if submodule.outside_base}
    prefixes = tuple(f"{prefix}." for prefix in base.family.prefixes())
    inside = {path.startswith(prefixes) for path in [*result.beside, *result.replaced] if path not in outside}
    if len(inside) == 2 and prefixes:
        raise FormatError(
            f"Some keys name the base model as {listing(base.family.prefixes())} and some do not.",
            do="Save the module again with one version of `peft`.",
        )
    result.inside_task_model = not prefixes or inside != {False}
    return result


def _split_key(key: str, kind: Kind) -> tuple[str, str]:
    """Split a key into the submodule's path and the part (one of the kind's, "weight" or "bias")."""
    path = key.removeprefix(KEY_PREFIX)
    for suffix, part in kind.suffixes.items():
        if path != key and path.endswith(f".{suffix}"):
            return path.removesuffix(f".{suffix}"), part
    owner, _, part = path.rpartition(".")
    if path == key or part not in {"weight", "bias"} or not owner:
        raise FormatError(
            f"The module holds `{key}`, which is no key of a `peft` {kind.method} (`{KEY_PREFIX}...` and then "
            f"{listing([*kind.suffixes, 'weight', 'bias'])}).",
            do="Save the module again with `save_pretrained` of `peft`.",
        )
    return owner, part


def _check_copy(key: str, path: str, part: str, tensor: Array, replaced: Mapping[str, Mapping[str, Array]]) -> None:
    """Refuse a copy of a replaced tensor unless that tensor is there too, and says the same."""
    is_original = ".original_module" in path
    owner, _, rest = path.partition(".original_module" if is_original else ".modules_to_save")
    candidates = [owner + rest, f"{owner}.{rest[1:].partition('.')[2]}".rstrip(".")]
    real = next((replaced[name][part] for name in candidates if part in replaced.get(name, {})), None)
    same = real is not None and (is_original or (real.dtype == tensor.dtype and np.array_equal(real, tensor)))
    if not same:
        raise FormatError(
            f"The module holds `{key}`, a copy of a trained tensor that is missing or says something else.",
            do="Save the module again with `save_pretrained` of `peft`.",
        )


def _task(config: Mapping[str, Any], sorted_: _Sorted, base: Architecture) -> str | None:
    """Find the head's task: as the config says it, or the only one whose head has these submodules."""
    said = config.get("task_type")
    if isinstance(said, str):
        return said
    all_heads = {path for paths in head_paths(base).values() for path in paths}
    found = {path for path in sorted_.replaced if path in all_heads}
    if not found:
        return None
    tasks = tasks_with(base, found)
    if len(tasks) != 1:
        raise FormatError(
            f"`{CONFIG_FILE}` does not say its task_type, and {listing(found)} can be the head of "
            f"{listing(tasks) or 'no task'}.",
            do=f"Add task_type to it: {', '.join(base.family.heads)}.",
        )
    return tasks[0]


def _check_paths(sorted_: _Sorted, kind: Kind, known: Mapping[str, Known], heads: set[str], base: Architecture) -> None:
    """Refuse tensors of submodules that the family's table does not know, or that cannot have them."""
    for path in sorted_.beside:
        if path not in known or not kind.takes(known[path].submodule):
            _refuse_path(path, f"the {kind.method} tensors of", known, base)
    for path in sorted_.replaced:
        if path not in known and path not in heads:
            _refuse_path(path, "a trained copy of", known, base)
    if not sorted_.beside:
        raise FormatError(f"The module holds no {listing(kind.suffixes)} at all.", do="Fetch the module again.")


def _check_parts(parts: Mapping[str, Array], needed: frozenset[str], spot: Spot) -> None:
    """Refuse a submodule of which a tensor is missing, or one too many is there."""
    if set(parts) != needed:
        raise FormatError(
            f"`{spot.path}` has the tensors {listing(parts)}, and {spot.where} asks for {listing(needed)}.",
            do="Fetch the module again: config and tensors do not belong together.",
        )


def spot_of(path: str, known: Known, base: Architecture, *, where: str) -> Spot:
    """Say what a kind has to know of a submodule.

    Args:
        path: The submodule's path in the task model.
        known: What it is.
        base: The base model.
        where: The config's file, for messages.

    Returns:
        The submodule as a kind sees it.
    """
    place = known.place
    return Spot(
        path=path,
        submodule=known.submodule,
        role=place.name,
        reads=base.dimensions[known.submodule.reads],
        writes=base.matrix_rows(place.stack, place.name),
        base=base.name,
        where=where,
    )


def _split(piece: Piece, known: Known, base: Architecture, *, suffix: str = "") -> dict[Place, Piece]:
    """Give every role of a submodule its own piece."""
    pieces = {}
    for place in known.places:
        rows = base.rows(place.stack, place.name)
        own = piece if rows is None else replace(piece, parts=split_piece(piece, rows))
        at = Place(place.stack, place.layer, place.name + suffix)
        pieces[at] = replace(own, route=_route(place.name, known.submodule))
    return pieces


def _route(role: str, submodule: Submodule) -> Route:
    """Route of a piece beside a submodule; what predicts tokens reads the final state and writes what the embeddings read."""
    if submodule.outside_base:
        return Route(reads=FINAL, writes=Point("embeddings", Side.INPUT))
    return route_of_role(role)


def _refuse_path(path: str, what: str, known: Mapping[str, Known], base: Architecture) -> None:
    """Raise for a submodule that is not in the table."""
    for stack in base.family.stacks.values():
        for part, why in stack.refused.items():
            if f".{part}" in path:
                raise ConversionError(
                    f"The module holds {what} `{path}`, and such a submodule cannot be moved: {why}.",
                    do="Train the module without it, or name another one.",
                )
    roles = sorted({place.name for entry in known.values() for place in entry.places})
    raise FormatError(
        f"The module holds {what} `{path}`, which is no known site of `{base.name}` ({base.model_type}; "
        f"known: {', '.join(roles)}, and the heads of {', '.join(base.family.heads)}).",
        do="Name the right base model with `--from`, or add the submodule to the family's row in "
        "modxfer/architectures/families.",
    )


def _check_targets(
    config: Mapping[str, Any],
    sorted_: _Sorted,
    kind: Kind,
    known: Mapping[str, Known],
    base: Architecture,
    *,
    where: str,
) -> None:
    """Refuse a file whose tensors are not those that its config targets."""
    wanted = selected(config, base, known, where=where, takes=kind.takes)
    stacks = {known[path].place.stack for path in sorted_.beside}
    lost = {path for path in wanted - set(sorted_.beside) if path in known and known[path].certain}
    lost = {path for path in lost if known[path].place.stack in stacks}  # a task model may hold one stack of several
    extra = set(sorted_.beside) - wanted
    if lost:
        raise FormatError(
            f"{where} targets {listing(lost)}, and the module holds no tensors for {'it' if len(lost) == 1 else 'them'}.",
            do="Fetch the module again: it is incomplete. Or name the base model that it was trained on with `--from`.",
        )
    if extra:
        raise FormatError(
            f"The module holds {kind.method} tensors for {listing(extra)}, which {where} does not target.",
            do="Fetch both files again: they do not belong together.",
        )


def _check_replaced(
    config: Mapping[str, Any], sorted_: _Sorted, known: Mapping[str, Known], heads: set[str], *, where: str
) -> None:
    """Refuse a file whose replaced parameters are not those that its config names."""
    saved = strings(config, "modules_to_save", where=where)
    bias = config.get("bias", "none")
    present = {(path, part) for path, parts in sorted_.replaced.items() for part in parts}
    certain = {path for path, entry in known.items() if entry.certain}
    whole_ones = {path for path in {*known, *heads} if is_saved(saved, path)}
    biased = {"none": set(), "lora_only": set(sorted_.beside), "all": {*known, *heads}}.get(str(bias))
    if biased is None:
        raise FormatError(
            f"`bias` in {where} is {bias!r}, and must be none, all or lora_only.",
            do="Correct it in that file.",
        )
    needed = {(path, "weight") for path in whole_ones & (certain | heads)}
    unbiased = {path for path, entry in known.items() if not entry.submodule.biased}
    needed |= {(path, "bias") for path in biased & (certain | set(sorted_.beside)) - unbiased}
    allowed = {(path, part) for path in whole_ones for part in ("weight", "bias")} | {(path, "bias") for path in biased}
    lost, extra = needed - present, present - allowed
    if lost:
        raise FormatError(
            f"{where} asks for {listing('.'.join(pair) for pair in lost)}, and the module does not hold that.",
            do="Fetch the module again: it is incomplete.",
        )
    if extra:
        raise FormatError(
            f"The module holds {listing('.'.join(pair) for pair in extra)}, which neither `bias` nor "
            f"`modules_to_save` in {where} asks for.",
            do="Fetch both files again: they do not belong together.",
        )


def _replaced_pieces(
    path: str, parts: Mapping[str, Array], known: Mapping[str, Known], task: str | None, base: Architecture
) -> dict[Place, Piece]:
    """Build the pieces of one submodule that the module replaces, or of a layer of its head."""
    if path not in known:
        place, piece = _head_piece(path, parts, str(task), base)
        return {place: piece}
    spot = spot_of(path, known[path], base, where=f"`{CONFIG_FILE}`")
    method = NORM if spot.submodule.elementwise else LINEAR
    weight: tuple[int | None, ...] = (spot.writes,) if spot.submodule.elementwise else (spot.writes, spot.reads)
    shapes = {"weight": weight[::-1] if spot.submodule.transposed else weight, "bias": (spot.writes,)}
    for part, tensor in parts.items():
        check_shape(f"{path}.{part}", tensor, shapes[part], where="the module", base=base.name)
    own = {part: tensor.T if spot.submodule.transposed else tensor for part, tensor in parts.items()}
    piece = Piece(
        method=method, route=route_of_role(spot.role), parts={part: own[part] for part in method.parts if part in own}
    )
    return _split(piece, known[path], base, suffix=".base")


def _head_piece(path: str, parts: Mapping[str, Array], task: str, base: Architecture) -> tuple[Place, Piece]:
    """Build the piece of one layer of the head."""
    part = next(part for part, name in base.family.heads[task].items() if name == path)
    hidden = base.dimensions["hidden"]
    labels = parts["weight"].shape[0] if "weight" in parts and parts["weight"].ndim else None
    weight: tuple[int | None, ...] = (hidden, hidden) if part == "dense" else (labels, hidden)
    if "weight" not in parts:
        raise ConversionError(
            f"The module trains the bias of the head's `{path}` and not its weight, which stays in the base model.",
            do="Train it with `modules_to_save` naming the head.",
        )
    for name, shape in (("weight", weight), ("bias", weight[:1])):
        if name in parts:
            check_shape(f"{path}.{name}", parts[name], shape, where="the module", base=base.name)
    own = {name: parts[name] for name in ("weight", "bias") if name in parts}
    return head_place(part), Piece(method=head_method(part), route=HEAD_ROUTE, parts=own)
