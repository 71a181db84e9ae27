"""The `peft` format, written: pieces to config and keys of a LoRA."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from modxfer.architectures import Architecture
from modxfer.converters.formats.checks import listing
from modxfer.converters.formats.classes import class_for, library_of
from modxfer.converters.formats.heads import head_paths, tasks_with
from modxfer.converters.formats.peft import CONFIG_FILE, KEY_PREFIX, LORA_SUFFIXES, scaling_of
from modxfer.converters.formats.targets import Known, is_saved, known_submodules, selected, shortest_suffixes
from modxfer.converters.methods import LORA
from modxfer.converters.module import Array, Module, Piece, Place, Scaling
from modxfer.errors import ConversionError

_WHERE = f"`{CONFIG_FILE}`"


def build(module: Module, base: Architecture) -> tuple[dict[str, Any], dict[str, Array]]:
    """Write a module's config for a base model and name its tensors.

    Args:
        module: A module in this format, its pieces at places of the base model.
        base: The base model that it belongs to.

    Returns:
        What goes into `adapter_config.json`, and key to tensor.

    Raises:
        ConversionError: a piece has no place in the base model's task model.
    """
    config = {**module.config, **_about_base(module, base)}
    if module.head is None and config.get("task_type") in base.family.heads:
        config["task_type"] = None  # with it, peft would ask for the head's tensors
    if module.head is not None and not isinstance(config.get("task_type"), str):
        paths = base.family.heads.get(module.head.task, {}).values()
        if tasks_with(base, paths) != [module.head.task]:
            config["task_type"] = module.head.task  # the base model's head fits more than one task
    known = known_submodules(base, task=config.get("task_type"), inside_task_model=module.inside_task_model)
    lora, replaced = _by_path(module, base, known)
    config.update(_saved_modules(config, module, replaced, base, known))
    config.update(_targets(config, module, set(lora), base, known))
    config.update(_scalings(config, {path: _scaling(piece) for path, piece in lora.items()}))
    tensors = {
        f"{KEY_PREFIX}{path}.{suffix}": piece.parts[part]
        for path, piece in lora.items()
        for suffix, part in LORA_SUFFIXES.items()
    }
    for path, piece in replaced.items():
        owner = f"{path}.base_layer" if path in lora else path
        tensors |= {f"{KEY_PREFIX}{owner}.{part}": tensor for part, tensor in piece.parts.items()}
    return config, tensors


def _about_base(module: Module, base: Architecture) -> dict[str, Any]:
    """Give the config keys that name the base model."""
    keys: dict[str, Any] = {
        "base_model_name_or_path": module.base.name or module.config.get("base_model_name_or_path"),
        "inference_mode": True,
    }
    if "revision" in module.config or module.base.revision is not None:
        keys["revision"] = module.base.revision
    classes = module.config.get("auto_mapping")
    if isinstance(classes, dict):
        name = class_for(str(classes.get("base_model_class")), base)
        is_same = name == classes.get("base_model_class")
        keys["auto_mapping"] = classes if is_same else name and {"base_model_class": name, "parent_library": library_of(base)}
    return keys


def _by_path(module: Module, base: Architecture, known: Mapping[str, Known]) -> tuple[dict[str, Piece], dict[str, Piece]]:
    """Sort a module's pieces into LoRA and replaced submodules, by path in the task model."""
    paths = {entry.place: path for path, entry in known.items()}
    heads = base.family.heads.get(module.head.task, {}) if module.head else {}
    lora: dict[str, Piece] = {}
    replaced: dict[str, Piece] = {}
    for place, piece in module.pieces.items():
        if place.is_head:
            path = heads.get(place.name.removeprefix("head."))
        else:
            path = paths.get(Place(place.stack, place.layer, place.name.removesuffix(".base")))
        if path is None:
            raise ConversionError(
                f"The module has a piece at `{place}`, and `{base.name}` ({base.model_type}) has no "
                f"submodule there{f' for the task {module.head.task}' if module.head else ''}.",
                do="Leave it out of the module, or choose a student that has it.",
            )
        (lora if piece.method == LORA else replaced)[path] = piece
    lost = set(heads.values()) - set(replaced)
    if lost:
        raise ConversionError(
            f"The head for {module.head.task if module.head else ''} on `{base.name}` ({base.model_type}) "
            f"also needs {listing(lost)}, and the module does not hold that.",
            do="Leave the head out with `--head drop`.",
        )
    return lora, replaced


def _saved_modules(
    config: Mapping[str, Any],
    module: Module,
    replaced: Mapping[str, Piece],
    base: Architecture,
    known: Mapping[str, Known],
) -> dict[str, Any]:
    """Give `modules_to_save`: as it is if it still means the same submodules, else rewritten."""
    whole = {path for path, piece in replaced.items() if "weight" in piece.parts}
    names = config.get("modules_to_save") or []
    all_heads = head_paths(base)
    heads = all_heads[module.head.task] if module.head else set().union(*all_heads.values())
    certain = heads | {path for path, entry in known.items() if entry.certain}
    covered = {path for path in certain | whole if is_saved(names, path)}
    if covered == whole:
        return {}
    rewritten = sorted({path.partition(".")[0] if path in heads else path for path in whole})
    return {"modules_to_save": rewritten or None}


def _targets(
    config: Mapping[str, Any],
    module: Module,
    wanted: set[str],
    base: Architecture,
    known: Mapping[str, Known],
) -> dict[str, Any]:
    """Say which submodules have a LoRA: as the config does if that still holds, else anew."""
    possible = {path for path, entry in known.items() if not entry.certain}
    before = selected(module.config, base, known, where=_WHERE)
    now = selected(config, base, known, where=_WHERE)
    heads = set().union(*head_paths(base).values())
    if wanted <= now and now - possible - heads == wanted - possible and now & heads == before & heads:
        return {}
    everything = known_submodules(base, task=None, inside_task_model=module.inside_task_model)
    others = {*everything, *heads} - wanted
    reset = ("layers_to_transform", "layers_pattern", "exclude_modules")
    return {
        "target_modules": shortest_suffixes(wanted, others),
        **{key: None for key in reset if key in config},
    }


def _scaling(piece: Piece) -> Scaling:
    """Take a LoRA's scaling, which it always has."""
    assert piece.scaling is not None
    return piece.scaling


def _scalings(config: Mapping[str, Any], scalings: Mapping[str, Scaling]) -> dict[str, Any]:
    """Say every LoRA's rank and alpha: as the config does if that still holds, else anew."""
    if all(scaling_of(config, path, where=_WHERE) == scaling for path, scaling in scalings.items()):
        return {}
    stabilised = {scaling.rank_stabilised for scaling in scalings.values()}
    if len(stabilised) > 1:  # one switch holds for the whole module: say every factor as alpha / rank
        scalings = {path: Scaling(rank=scaling.rank, alpha=scaling.factor * scaling.rank) for path, scaling in scalings.items()}
    ranks = {path: scaling.rank for path, scaling in scalings.items()}
    alphas = {path: _plain(scaling.alpha) for path, scaling in scalings.items()}
    rank, alpha = (_most_common(values) for values in (ranks, alphas))
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {path: value for path, value in sorted(ranks.items()) if value != rank},
        "alpha_pattern": {path: value for path, value in sorted(alphas.items()) if value != alpha},
        "use_rslora": stabilised == {True},
    }


def _most_common(values: Mapping[str, Any]) -> Any:
    """Give the value that most paths have; of several, the largest."""
    counts = Counter(values.values())
    return max(counts, key=lambda value: (counts[value], value))


def _plain(value: float) -> int | float:
    """Write a whole number as one."""
    return int(value) if value == int(value) else value
