"""The `peft` format, read: config and keys of a LoRA to pieces.

Source: peft 0.21, `LoraConfig` in `tuners/lora/config.py`, `get_peft_model_state_dict` in
`utils/save_and_load.py`.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modxfer.architectures import Architecture
from modxfer.converters.formats.checks import check_shape, listing, number, strings, whole
from modxfer.converters.formats.heads import HEAD_ROUTE, head_method, head_paths, head_place, tasks_with
from modxfer.converters.formats.targets import Known, by_pattern, is_saved, known_submodules, selected
from modxfer.converters.methods import LINEAR, LORA, NORM, route_of_role
from modxfer.converters.module import (
    Array,
    HeadInfo,
    Module,
    ModuleFiles,
    Piece,
    Place,
    Scaling,
)
from modxfer.errors import ConversionError, FormatError

KEY_PREFIX = "base_model.model."
LORA_SUFFIXES = {"lora_A.weight": "down", "lora_B.weight": "up"}
"""End of a key to the LoRA's part."""

CONFIG_FILE = "adapter_config.json"

_VARIANTS = {
    "use_dora": "DoRA",
    "lora_bias": "LoRA with a bias of its own",
    "layer_replication": "LoRA with replicated layers",
    "trainable_token_indices": "LoRA with trained tokens",
    "target_parameters": "LoRA on bare parameters",
    "use_qalora": "QALoRA",
    "alora_invocation_tokens": "activated LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "arrow_config": "Arrow",
    "kasa_config": "KaSA",
    "monteclora_config": "Monteclora",
    "megatron_config": "LoRA on Megatron layers",
}
"""Keys that, when set, make something else of the module than `up @ down`, and what they make of it."""

_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Starts of `init_lora_weights` under which the module belongs to a changed copy of its base model."""


def method_of(config: Mapping[str, Any], *, where: str) -> str:
    """Say which method a `peft` config describes, and refuse those that cannot be moved.

    Args:
        config: What `adapter_config.json` holds.
        where: The file, for messages.

    Returns:
        "lora".

    Raises:
        ConversionError: it is another method, or a variant of LoRA that computes something else.
    """
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ConversionError(
            f"{where} describes the method {kind!r}, and of the `peft` methods modxfer moves LORA.",
            do="Train a LoRA instead, or name another module.",
        )
    for key, variant in _VARIANTS.items():
        if config.get(key):
            raise ConversionError(
                f"{where} says {key}={config[key]!r}: this is {variant}, and of the kinds of LoRA modxfer moves the plain one.",
                do="Train the module without it, or name another one.",
            )
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGES_BASE):
        raise ConversionError(
            f"{where} says init_lora_weights={start!r}: such a module belongs to a changed copy of its base model.",
            do="Save it with `path_initial_model_for_weight_conversion`, which makes a plain LoRA of it.",
        )
    return "lora"


@dataclass(slots=True)
class _Sorted:
    """A module's tensors, by what they belong to.

    Attributes:
        lora: Path in the task model to part to tensor.
        replaced: Path in the task model to "weight" or "bias" to tensor.
        inside_task_model: Whether paths name the base model inside a task model.
    """

    lora: dict[str, dict[str, Array]] = field(default_factory=lambda: defaultdict(dict))
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
    config, where = files.config, f"`{CONFIG_FILE}`"
    sorted_ = _sort_keys(tensors, teacher)
    task = _task(config, sorted_, teacher)
    known = known_submodules(teacher, task=task, inside_task_model=sorted_.inside_task_model)
    heads = head_paths(teacher).get(task, set()) if task else set()
    _check_paths(sorted_, known, heads, teacher)
    _check_targets(config, sorted_, known, teacher, where=where)
    _check_replaced(config, sorted_, known, heads, where=where)
    pieces = {
        known[path].place: _lora_piece(config, path, parts, known[path], teacher, where=where)
        for path, parts in sorted_.lora.items()
    }
    for path, parts in sorted_.replaced.items():
        place, piece = _replaced_piece(path, parts, known, task, teacher)
        pieces[place] = piece
    return Module(
        format="peft",
        method="lora",
        name=files.name,
        config=config,
        pieces=pieces,
        head=HeadInfo(task=task, name=files.name) if task and any(path in heads for path in sorted_.replaced) else None,
        base=files.base,
        inside_task_model=sorted_.inside_task_model,
    )


def _sort_keys(tensors: Mapping[str, Array], base: Architecture) -> _Sorted:
    """Split every key into path and part; a copy that peft stores of a replaced tensor is left out."""
    result = _Sorted()
    copies = {}
    for key, tensor in tensors.items():
        path, part = _split_key(key)
        if ".original_module" in path or ".modules_to_save" in path:
            copies[key] = (path, part, tensor)
        elif part in LORA_SUFFIXES.values():
            result.lora[path][part] = tensor
        else:
            result.replaced[path.removesuffix(".base_layer")][part] = tensor
    for key, (path, part, tensor) in copies.items():
        _check_copy(key, path, part, tensor, result.replaced)
    heads = {path for paths in head_paths(base).values() for path in paths}
    inside = {path.startswith(f"{base.family.prefix}.") for path in [*result.lora, *result.replaced] if path not in heads}
    if len(inside) == 2:
        raise FormatError(
            f"Some keys name the base model as `{base.family.prefix}` and some do not.",
            do="Save the module again with one version of `peft`.",
        )
    result.inside_task_model = inside != {False}
    return result


def _split_key(key: str) -> tuple[str, str]:
    """Split a key into the submodule's path and the part ("down", "up", "weight", "bias")."""
    path = key.removeprefix(KEY_PREFIX)
    refused = next(
        (word for word in ("lora_embedding_", "lora_magnitude_vector", ".lora_A.bias", ".lora_B.bias") if word in key),
        None,
    )
    if refused is not None:
        raise ConversionError(
            f"`{key}` belongs to a LoRA on embeddings, to DoRA or to a LoRA with a bias, and modxfer moves "
            "LoRA on linear layers.",
            do="Train the module without it, or name another one.",
        )
    for suffix, part in LORA_SUFFIXES.items():
        if path != key and path.endswith(f".{suffix}"):
            return path.removesuffix(f".{suffix}"), part
    owner, _, part = path.rpartition(".")
    if path == key or part not in {"weight", "bias"} or not owner:
        raise FormatError(
            f"The module holds `{key}`, which is no key of a `peft` LoRA (`{KEY_PREFIX}...` and then "
            "`lora_A.weight`, `lora_B.weight`, `weight` or `bias`).",
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


def _check_paths(sorted_: _Sorted, known: Mapping[str, Known], heads: set[str], base: Architecture) -> None:
    """Refuse tensors of submodules that the family's table does not know, or that cannot have them."""
    for path in sorted_.lora:
        if path not in known or known[path].submodule.elementwise:
            _refuse_path(path, "a LoRA on", known, base)
        if set(sorted_.lora[path]) != {"down", "up"}:
            raise FormatError(
                f"The LoRA on `{path}` has only one of `lora_A.weight` and `lora_B.weight`.",
                do="Fetch the module again.",
            )
    for path in sorted_.replaced:
        if path not in known and path not in heads:
            _refuse_path(path, "a trained copy of", known, base)
    if not sorted_.lora:
        raise FormatError("The module holds no `lora_A.weight` at all.", do="Fetch the module again.")


def _refuse_path(path: str, what: str, known: Mapping[str, Known], base: Architecture) -> None:
    """Raise for a submodule that is not in the table."""
    roles = sorted({entry.place.name for entry in known.values()})
    raise FormatError(
        f"The module holds {what} `{path}`, which is no known site of `{base.name}` ({base.model_type}; "
        f"known: {', '.join(roles)}, and the heads of {', '.join(base.family.heads)}).",
        do="Name the right base model with `--from`, or add the submodule to the family's row in "
        "modxfer/architectures/families.py.",
    )


def _check_targets(
    config: Mapping[str, Any], sorted_: _Sorted, known: Mapping[str, Known], base: Architecture, *, where: str
) -> None:
    """Refuse a file whose LoRA tensors are not those that its config targets."""
    wanted = selected(config, base, known, where=where)
    lost = {path for path in wanted - set(sorted_.lora) if path in known and known[path].certain}
    extra = set(sorted_.lora) - wanted
    if lost:
        raise FormatError(
            f"{where} targets {listing(lost)}, and the module holds no tensors for {'it' if len(lost) == 1 else 'them'}.",
            do="Fetch the module again: it is incomplete. Or name the base model that it was trained on with `--from`.",
        )
    if extra:
        raise FormatError(
            f"The module holds LoRA tensors for {listing(extra)}, which {where} does not target.",
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
    biased = {"none": set(), "lora_only": set(sorted_.lora), "all": {*known, *heads}}.get(str(bias))
    if biased is None:
        raise FormatError(
            f"`bias` in {where} is {bias!r}, and must be none, all or lora_only.",
            do="Correct it in that file.",
        )
    needed = {(path, "weight") for path in whole_ones & (certain | heads)}
    needed |= {(path, "bias") for path in biased & (certain | set(sorted_.lora))}
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


def _lora_piece(
    config: Mapping[str, Any],
    path: str,
    parts: Mapping[str, Array],
    known: Known,
    base: Architecture,
    *,
    where: str,
) -> Piece:
    """Build the piece of one LoRA, with its own rank and alpha."""
    scaling = scaling_of(config, path, where=where)
    reads, writes = base.dimensions[known.submodule.reads], base.dimensions[known.submodule.writes]
    if parts["down"].ndim == 2 and parts["down"].shape[0] != scaling.rank:
        raise FormatError(
            f"`{path}.lora_A.weight` has the shape {parts['down'].shape}, and {where} says that its rank is {scaling.rank}.",
            do="Fetch both files again: they do not belong together.",
        )
    for part, shape in (("down", (scaling.rank, reads)), ("up", (writes, scaling.rank))):
        check_shape(f"{path}, {part}", parts[part], shape, where="the module", base=base.name)
    return Piece(
        method=LORA,
        route=route_of_role(known.place.name),
        parts={"down": parts["down"], "up": parts["up"]},
        scaling=scaling,
    )


def scaling_of(config: Mapping[str, Any], path: str, *, where: str) -> Scaling:
    """Resolve rank and alpha of one submodule as peft does.

    Args:
        config: A `peft` config.
        path: The submodule's path in the task model.
        where: The file, for messages.

    Returns:
        The scaling.

    Raises:
        FormatError: a value is no number, or a pattern cannot be read.
    """
    patterns = {key: config.get(key) or {} for key in ("rank_pattern", "alpha_pattern")}
    for key, value in patterns.items():
        if not isinstance(value, dict):
            raise FormatError(f"`{key}` in {where} is {value!r}, and must be an object.", do="Correct it in that file.")
    rank = {"r": by_pattern(patterns["rank_pattern"], path, config.get("r"), where=where)}
    alpha = {"lora_alpha": by_pattern(patterns["alpha_pattern"], path, config.get("lora_alpha"), where=where)}
    return Scaling(
        rank=whole(rank, "r", where=where),
        alpha=float(number(alpha, "lora_alpha", where=where)),
        rank_stabilised=bool(config.get("use_rslora", False)),
    )


def _replaced_piece(
    path: str, parts: Mapping[str, Array], known: Mapping[str, Known], task: str | None, base: Architecture
) -> tuple[Place, Piece]:
    """Build the piece of one submodule that the module replaces, or of a layer of its head."""
    if path in known:
        entry = known[path]
        reads, writes = base.dimensions[entry.submodule.reads], base.dimensions[entry.submodule.writes]
        method, route = (NORM if entry.submodule.elementwise else LINEAR), route_of_role(entry.place.name)
        place = Place(entry.place.stack, entry.place.layer, f"{entry.place.name}.base")
        weight: tuple[int | None, ...] = (writes,) if entry.submodule.elementwise else (writes, reads)
        bias: tuple[int | None, ...] = (writes,)
    else:
        part = next(part for part, name in base.family.heads[str(task)].items() if name == path)
        place, method, route = head_place(part), head_method(part), HEAD_ROUTE
        hidden = base.dimensions["hidden"]
        labels = parts["weight"].shape[0] if "weight" in parts and parts["weight"].ndim else None
        weight, bias = ((hidden, hidden), (hidden,)) if part == "dense" else ((labels, hidden), (labels,))
        if "weight" not in parts:
            raise ConversionError(
                f"The module trains the bias of the head's `{path}` and not its weight, which stays in the base model.",
                do="Train it with `modules_to_save` naming the head.",
            )
    for part, shape in (("weight", weight), ("bias", bias)):
        if part in parts:
            check_shape(f"{path}.{part}", parts[part], shape, where="the module", base=base.name)
    return place, Piece(method=method, route=route, parts={part: parts[part] for part in ("weight", "bias") if part in parts})
