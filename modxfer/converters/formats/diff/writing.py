"""Differences to a base model's parameters, written: pieces to names of parameters."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from modxfer.architectures import Architecture
from modxfer.converters.formats.checks import listing
from modxfer.converters.formats.diff.files import DIFFERENCES, VALUES
from modxfer.converters.formats.diff.reading import OTHER_PREFIX, SUFFIXES
from modxfer.converters.formats.peft.targets import Known, known_submodules
from modxfer.converters.fusing import Rows, fuse_pieces
from modxfer.converters.methods import OTHER, TABLE_DIFFERENCE
from modxfer.converters.module import Array, Module, Piece, Place
from modxfer.errors import ConversionError


def build(module: Module, base: Architecture) -> dict[str, Array]:
    """Name a module's tensors for a base model.

    Args:
        module: A module in this format, its pieces at places of the base model.
        base: The base model that it belongs to.

    Returns:
        Key to dense tensor, as `diff.files` writes them.

    Raises:
        ConversionError: a piece has no place in the base model's task model, or in one of its parameters.
    """
    task = module.config.get("task_type")
    known = known_submodules(base, task=task, inside_task_model=module.inside_task_model)
    prefix = base.prefix(task) if module.inside_task_model else ""
    tensors: dict[str, Array] = {}
    at_submodules: dict[tuple[str, str], dict[Place, Piece]] = defaultdict(dict)
    paths = {place: path for path, entry in known.items() for place in entry.places}
    for place, piece in module.pieces.items():
        if place.is_head:
            continue
        if piece.method is OTHER:
            name = place.name.removeprefix(OTHER_PREFIX)
            parts = {"difference": DIFFERENCES, "value": VALUES}
            tensors |= {f"{parts[part]}.{name}": tensor for part, tensor in piece.parts.items()}
        elif piece.method is TABLE_DIFFERENCE and place.role in base.family.tables:
            name = f"{prefix}{base.family.tables[place.role].path}.weight"
            tensors[f"{DIFFERENCES}.{name}"] = np.ascontiguousarray(piece.parts["weight"].T)
        else:
            kind = next(kind for kind, suffix in SUFFIXES.items() if place.name.endswith(suffix))
            at = replace(place, name=place.name.removesuffix(SUFFIXES[kind]))
            at_submodules[_path(at, paths, base), kind][at] = piece
    for (path, kind), found in at_submodules.items():
        tensors |= _submodule(path, kind, found, known[path], base)
    return tensors | _head(module, base)


def _path(place: Place, paths: Mapping[Place, str], base: Architecture) -> str:
    """Find the submodule at a place."""
    if place not in paths:
        raise ConversionError(
            f"The module has a piece at `{place}`, and `{base.name}` ({base.model_type}) has no submodule there.",
            do="Leave it out of the module, or choose a student that has it.",
        )
    return paths[place]


def _submodule(path: str, kind: str, found: Mapping[Place, Piece], known: Known, base: Architecture) -> dict[str, Array]:
    """Name the tensors of one submodule: those of all roles that share its matrix, joined."""
    if len(known.places) == 1:
        piece = next(iter(found.values()))
    else:
        members = _complete(found) if kind == DIFFERENCES else found
        height = base.matrix_rows(known.place.stack, known.place.name)
        piece = fuse_pieces(
            [(_rows(base, place), members.get(place, _nothing(place, members, base, kind))) for place in known.places],
            height=height,
            where=path,
        )
    if "bias" in piece.parts and not known.submodule.biased:
        raise ConversionError(
            f"The module changes the bias of `{path}`, and on `{base.name}` ({base.model_type}) that has surely none.",
            do="Leave biases out of the module, or choose a student that has them.",
        )
    tensors = {}
    for part, tensor in piece.parts.items():
        stored = np.ascontiguousarray(tensor.T) if known.submodule.transposed else tensor
        tensors[f"{kind}.{path}.{part}"] = stored
    return tensors


def _rows(base: Architecture, place: Place) -> Rows:
    rows = base.rows(place.stack, place.name)
    assert rows is not None  # roles with one path share a matrix
    return rows


def _complete(found: Mapping[Place, Piece]) -> dict[Place, Piece]:
    """Give all roles of a matrix the same parts: zeros where one changes nothing."""
    like: dict[str, Array] = {}
    for piece in found.values():
        like = {**piece.parts, **like}
    return {
        place: replace(piece, parts={part: piece.parts.get(part, _zeros(like[part], _height(piece))) for part in like})
        for place, piece in found.items()
    }


def _nothing(place: Place, found: Mapping[Place, Piece], base: Architecture, kind: str) -> Piece | None:
    """Give the piece of a role that the module leaves as it is."""
    if kind != DIFFERENCES:
        return None
    first = next(iter(found.values()))
    height = len(_rows(base, place))
    return replace(first, parts={part: _zeros(tensor, height) for part, tensor in first.parts.items()})


def _height(piece: Piece) -> int:
    return len(next(iter(piece.parts.values())))


def _zeros(like: Array, height: int) -> Array:
    return np.zeros((height, *like.shape[1:]), dtype=like.dtype)


def _head(module: Module, base: Architecture) -> dict[str, Array]:
    """Name the head's tensors."""
    if module.head is None:
        return {}
    layers = base.family.heads.get(module.head.task, {})
    held = {place.name.removeprefix("head."): piece for place, piece in module.pieces.items() if place.is_head}
    if set(layers) != set(held):
        raise ConversionError(
            f"The head for {module.head.task} on `{base.name}` ({base.model_type}) has the layers "
            f"{listing(layers)}, and the module has {listing(held)}.",
            do="Leave the head out with `--head drop`.",
        )
    return {f"{VALUES}.{layers[part]}.{end}": tensor for part, piece in held.items() for end, tensor in piece.parts.items()}
