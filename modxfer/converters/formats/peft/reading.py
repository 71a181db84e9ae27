"""The `peft` format, read: config and keys to pieces.

Source: peft 0.21, `LoraConfig` in `tuners/lora/config.py`, `get_peft_model_state_dict` in
`utils/save_and_load.py`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modxfer.architectures import VOCABULARY, Architecture
from modxfer.converters.formats.checks import listing
from modxfer.converters.formats.heads import head_paths, tasks_with
from modxfer.converters.formats.peft.kinds import Kind, Spot, WholeKind
from modxfer.converters.formats.peft.replaced import (
    CONFIG_FILE,
    check_replaced,
    check_vocabulary,
    replaced_pieces,
    split,
    spot_of,
)
from modxfer.converters.formats.peft.table import kind_of
from modxfer.converters.formats.peft.targets import Known, known_submodules, selected
from modxfer.converters.module import Array, HeadInfo, Module, ModuleFiles, Piece, Place
from modxfer.errors import ConversionError, FormatError

KEY_PREFIX = "base_model.model."
WHOLE_KEY_PREFIX = "base_model."
"""Where a module does not sit beside submodules, `peft` does not wrap the task model a second time."""


@dataclass(slots=True)
class _Sorted:
    """A module's tensors, by what they belong to.

    Attributes:
        beside: Path in the task model to part to tensor.
        replaced: Path in the task model to "weight" or "bias" to tensor.
        frozen: The same of weights that a module sits beside, and does not train.
        inside_task_model: Whether paths name the base model inside a task model.
    """

    beside: dict[str, dict[str, Array]] = field(default_factory=lambda: defaultdict(dict))
    replaced: dict[str, dict[str, Array]] = field(default_factory=lambda: defaultdict(dict))
    frozen: dict[str, dict[str, Array]] = field(default_factory=lambda: defaultdict(dict))
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
    check_runs(kind, teacher)
    teacher = _named_as_in(tensors, teacher)
    pieces: dict[Place, Piece] = {}
    if isinstance(kind, WholeKind):
        own = {key: tensor for key, tensor in tensors.items() if key == kind.key}
        if not own:
            raise FormatError(f"The module holds no `{kind.key}` at all.", do="Fetch the module again.")
        pieces |= kind.read(config, own[kind.key], teacher, where)
        tensors = {key: tensor for key, tensor in tensors.items() if key != kind.key}
    sorted_ = _sort_keys(tensors, kind, teacher)
    task = _task(config, sorted_, teacher)
    known = known_submodules(teacher, task=task, inside_task_model=sorted_.inside_task_model)
    heads = head_paths(teacher).get(task, set()) if task else set()
    check_vocabulary(sorted_.replaced | sorted_.frozen, known, teacher, where=where)
    _check_paths(sorted_, kind, known, heads, teacher)
    check_replaced(_with_saved(config, kind, heads), sorted_.replaced, sorted_.beside, known, heads, where=where)
    if isinstance(kind, Kind):
        _check_targets(config, sorted_, kind, known, teacher, where=where)
        for path, parts in sorted_.beside.items():
            spot = spot_of(path, known[path], teacher, where=where)
            _check_parts(parts, kind.needed(config, spot), spot)
            pieces |= split(kind.read(config, spot, parts), known[path], teacher)
        config = kind.canonical(config)
    for path, parts in sorted_.replaced.items():
        pieces |= replaced_pieces(path, parts, known, task, teacher)
    return Module(
        format="peft",
        method=kind_of(config, where=where).method,
        name=files.name,
        config=config,
        pieces=pieces,
        head=HeadInfo(task=task, name=files.name) if task and any(path in heads for path in sorted_.replaced) else None,
        base=files.base,
        inside_task_model=_is_inside(sorted_, task, teacher) and not _is_on_renamed_base(config, teacher),
    )


def _is_inside(sorted_: _Sorted, task: str | None, base: Architecture) -> bool:
    """Whether a module's keys are those of a task model; some task models have the base model's own names (T5's)."""
    return sorted_.inside_task_model or (task is not None and not base.prefix(task))


def check_runs(kind: Kind | WholeKind, base: Architecture) -> None:
    """Refuse a kind of module that `peft` cannot run on a base model.

    Args:
        kind: The kind.
        base: The base model.

    Raises:
        ConversionError: it cannot.
    """
    why = base.family.peft_lacks.get(kind.method)
    if why is not None:
        raise ConversionError(
            f"`peft` cannot run a {kind.method} module on `{base.name}` ({base.model_type}): {why}.",
            do="Choose another student.",
        )


def _named_as_in(keys: Iterable[str], base: Architecture) -> Architecture:
    """Give a base model's submodules the names that the keys have, where `transformers` renamed them since, or had not yet."""
    other = base.with_other_names()
    if other is base:
        return base
    own, others = (
        sum(any(f".{path}." in key for path in paths) for key in keys)
        for paths in (
            {one.role_path(stack, layer, role) for stack, layer, role, _ in one.roles() if stack}  # those in layers
            for one in (base, other)
        )
    )
    return other if others > own else base


def _is_on_renamed_base(config: Mapping[str, Any], base: Architecture) -> bool:
    """Whether a module sits on the bare base model, which not all versions of `transformers` name as a part of task models."""
    classes = config.get("auto_mapping")
    name = classes.get("base_model_class") if isinstance(classes, dict) else None
    return base.renamed is not None and name == f"{base.family.classes}Model"


def _with_saved(config: Mapping[str, Any], kind: Kind | WholeKind, heads: set[str]) -> Mapping[str, Any]:
    """Say that the head is saved, where a config is so old that it has no word for it: peft saves it all the same."""
    if isinstance(kind, Kind) or "modules_to_save" in config:
        return config
    return {**config, "modules_to_save": sorted(path.partition(".")[0] for path in heads)}


def _sort_keys(tensors: Mapping[str, Array], kind: Kind | WholeKind, base: Architecture) -> _Sorted:
    """Split every key into path and part; a copy that peft stores of a replaced tensor is left out."""
    result = _Sorted()
    copies = {}
    for key, tensor in tensors.items():
        path, part, is_beside = _split_key(key, kind)
        if ".original_module" in path or ".modules_to_save" in path:
            copies[key] = (path, part, tensor)
        elif is_beside:
            result.beside[path][part] = tensor
        elif part == "weight" and path.endswith(".base_layer"):
            result.frozen[path.removesuffix(".base_layer")][part] = tensor
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


def _split_key(key: str, kind: Kind | WholeKind) -> tuple[str, str, bool]:
    """Split a key into the submodule's path and the part, and say whether the part is the kind's or the submodule's own."""
    suffixes, prefix = (kind.suffixes, KEY_PREFIX) if isinstance(kind, Kind) else ({}, WHOLE_KEY_PREFIX)
    path = key.removeprefix(prefix)
    for suffix, part in suffixes.items():
        if path != key and path.endswith(f".{suffix}"):
            return path.removesuffix(f".{suffix}"), part, True
    owner, _, part = path.rpartition(".")
    if path == key or part not in {"weight", "bias"} or not owner:
        raise FormatError(
            f"The module holds `{key}`, which is no key of a `peft` {kind.method} (`{prefix}...` and then "
            f"{listing([*suffixes, 'weight', 'bias'])}).",
            do="Save the module again with `save_pretrained` of `peft`.",
        )
    return owner, part, False


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


def _check_paths(
    sorted_: _Sorted, kind: Kind | WholeKind, known: Mapping[str, Known], heads: set[str], base: Architecture
) -> None:
    """Refuse tensors of submodules that the family's table does not know, or that cannot have them."""
    for path in sorted_.replaced:
        if path not in known and path not in heads:
            _refuse_path(path, "a trained copy of", known, base)
    if isinstance(kind, WholeKind):
        return
    for path in sorted_.beside:
        if path not in known or not kind.takes(known[path].submodule):
            _refuse_path(path, f"the {kind.method} tensors of", known, base)
    copied = {path for path in sorted_.beside if VOCABULARY in (known[path].submodule.reads, known[path].submodule.writes)}
    for path in sorted_.frozen.keys() - copied:  # peft stores a copy of what reads or writes tokens, and of nothing else
        raise FormatError(
            f"The module holds `{path}.base_layer.weight`, a weight of the base model itself.",
            do="Save the module again with `save_pretrained` of `peft`.",
        )
    if not sorted_.beside:
        raise FormatError(f"The module holds no {listing(kind.suffixes)} at all.", do="Fetch the module again.")


def _check_parts(parts: Mapping[str, Array], needed: frozenset[str], spot: Spot) -> None:
    """Refuse a submodule of which a tensor is missing, or one too many is there."""
    if set(parts) != needed:
        raise FormatError(
            f"`{spot.path}` has the tensors {listing(parts)}, and {spot.where} asks for {listing(needed)}.",
            do="Fetch the module again: config and tensors do not belong together.",
        )


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
