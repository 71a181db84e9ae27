"""The `peft` format, written: pieces to config and keys."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from modxfer.architectures import VOCABULARY, Architecture
from modxfer.converters.formats.checks import listing
from modxfer.converters.formats.classes import class_for, library_of
from modxfer.converters.formats.heads import head_paths, tasks_with
from modxfer.converters.formats.peft.kinds import Kind, WholeKind
from modxfer.converters.formats.peft.reading import KEY_PREFIX, WHOLE_KEY_PREFIX, check_runs
from modxfer.converters.formats.peft.replaced import CONFIG_FILE, spot_of
from modxfer.converters.formats.peft.table import kind_of
from modxfer.converters.formats.peft.targets import Known, is_saved, known_submodules, selected, shortest_suffixes
from modxfer.converters.fusing import fuse_pieces
from modxfer.converters.module import Array, Module, Piece, Place
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
    kind = kind_of(config, where=_WHERE)
    check_runs(kind, base)
    if isinstance(kind, WholeKind):
        return _build_whole(module, config, kind, base, known)
    beside, replaced = _by_path(module, module.pieces, base, known)
    config.update(_saved_modules(config, module, replaced, base, known))
    config.update(_targets(config, module, kind, beside, base, known))
    config.update(kind.settle(config, beside, _WHERE))
    config.update(_layout(config, beside, known))
    tensors: dict[str, Array] = {}
    for path, piece in beside.items():
        own = kind.write(config, spot_of(path, known[path], base, where=_WHERE), piece)
        tensors |= {f"{KEY_PREFIX}{path}.{suffix}": tensor for suffix, tensor in own.items()}
    for path, piece in replaced.items():
        owner = f"{path}.base_layer" if path in beside else path
        tensors |= {f"{KEY_PREFIX}{owner}.{part}": tensor for part, tensor in _stored(piece, known.get(path)).items()}
    return config, tensors


def _layout(config: Mapping[str, Any], beside: Iterable[str], known: Mapping[str, Known]) -> dict[str, Any]:
    """Say whether the matrices are stored transposed, as in `Conv1D`; `peft` warns where that is said wrong."""
    if "fan_in_fan_out" not in config:
        return {}
    rows = [known[path].submodule for path in beside]
    return {"fan_in_fan_out": any(row.transposed and row.reads != VOCABULARY for row in rows)}


def _build_whole(
    module: Module, config: dict[str, Any], kind: WholeKind, base: Architecture, known: Mapping[str, Known]
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Do the same for a module that is one tensor, and what it replaces."""
    own = {place: piece for place, piece in module.pieces.items() if not (place.is_head or place.name.endswith(".base"))}
    others = {place: piece for place, piece in module.pieces.items() if place not in own}
    tensor, keys = kind.write(config, own, base)
    _, replaced = _by_path(module, others, base, known)
    if "modules_to_save" in config or replaced:
        keys |= _saved_modules(config, module, replaced, base, known)
    tensors = {kind.key: tensor}
    for path, piece in replaced.items():
        tensors |= {f"{WHOLE_KEY_PREFIX}{path}.{part}": stored for part, stored in _stored(piece, known.get(path)).items()}
    return {**config, **keys}, tensors


def _stored(piece: Piece, known: Known | None) -> dict[str, Array]:
    """Give the parts of a replaced submodule in its own layout."""
    if known is not None and "bias" in piece.parts and not known.submodule.biased:
        raise ConversionError(
            f"The module replaces the bias of `{known.place}`, and the student has none there.",
            do="Leave biases out of the module, or choose a student that has them.",
        )
    is_transposed = known is not None and known.submodule.transposed
    return {part: np.ascontiguousarray(tensor.T) if is_transposed else tensor for part, tensor in piece.parts.items()}


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


def _by_path(
    module: Module, pieces: Mapping[Place, Piece], base: Architecture, known: Mapping[str, Known]
) -> tuple[dict[str, Piece], dict[str, Piece]]:
    """Sort a module's pieces into those beside submodules and replaced submodules, by path in the task model."""
    paths = {place: path for path, entry in known.items() for place in entry.places}
    heads = base.family.heads.get(module.head.task, {}) if module.head else {}
    beside: dict[str, dict[Place, Piece]] = defaultdict(dict)
    replaced: dict[str, dict[Place, Piece]] = defaultdict(dict)
    for place, piece in pieces.items():
        at = Place(place.stack, place.layer, place.name.removesuffix(".base"))
        path = heads.get(place.name.removeprefix("head.")) if place.is_head else paths.get(at)
        if path is None:
            raise ConversionError(
                f"The module has a piece at `{place}`, and `{base.name}` ({base.model_type}) has no "
                f"submodule there{f' for the task {module.head.task}' if module.head else ''}.",
                do="Leave it out of the module, or choose a student that has it.",
            )
        (replaced if place.is_head or at != place else beside)[path][at] = piece
    lost = set(heads.values()) - set(replaced)
    if lost:
        raise ConversionError(
            f"The head for {module.head.task if module.head else ''} on `{base.name}` ({base.model_type}) "
            f"also needs {listing(lost)}, and the module does not hold that.",
            do="Leave the head out with `--head drop`.",
        )
    beside_whole, replaced_whole = (
        {path: _fused(path, members, base, known) for path, members in found.items()} for found in (beside, replaced)
    )
    return beside_whole, replaced_whole


def _fused(path: str, pieces: Mapping[Place, Piece], base: Architecture, known: Mapping[str, Known]) -> Piece:
    """Join the pieces of the roles that share a matrix."""
    places = known[path].places if path in known else ()
    if len(places) <= 1:
        return next(iter(pieces.values()))
    members = []
    for place in places:
        rows = base.rows(place.stack, place.name)
        assert rows is not None  # roles with one path share a matrix
        members.append((rows, pieces.get(place)))
    return fuse_pieces(members, height=base.matrix_rows(places[0].stack, places[0].name), where=path)


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
    kind: Kind,
    beside: Mapping[str, Piece],
    base: Architecture,
    known: Mapping[str, Known],
) -> dict[str, Any]:
    """Say which submodules have a piece beside them: as the config does if that still holds, else anew."""
    wanted = set(beside)
    possible = {path for path, entry in known.items() if not entry.certain}
    before = selected(module.config, base, known, where=_WHERE, takes=kind.takes)
    now = selected(config, base, known, where=_WHERE, takes=kind.takes)
    heads = set().union(*head_paths(base).values())
    if wanted <= now and now - possible - heads == wanted - possible and now & heads == before & heads:
        return {}
    everything = known_submodules(base, task=None, inside_task_model=module.inside_task_model)
    groups: dict[str, set[str]] = defaultdict(set)
    for path, piece in beside.items():
        groups[kind.apart(piece)].add(path)
    names = {name for group in groups.values() for name in shortest_suffixes(group, {*everything, *heads, *wanted} - group)}
    reset = ("layers_to_transform", "layers_pattern", "exclude_modules")
    return {
        "target_modules": sorted(names),
        **{key: None for key in reset if key in config},
    }
