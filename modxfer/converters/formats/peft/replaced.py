"""What a `peft` module replaces whole: `modules_to_save`, trained biases and the prediction head, read as pieces.

Source: peft 0.21, `get_peft_model_state_dict` in `utils/save_and_load.py`, `ModulesToSaveWrapper` in `utils/other.py`.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from modxfer.architectures import FINAL, VOCABULARY, Architecture, Point, Route, Side, Submodule
from modxfer.converters.formats.checks import check_shape, listing, strings
from modxfer.converters.formats.heads import head_method, head_place, head_route
from modxfer.converters.formats.peft.kinds import Spot
from modxfer.converters.formats.peft.targets import Known, is_saved
from modxfer.converters.fusing import split_piece
from modxfer.converters.methods import LINEAR, LOOKUP, NORM, PREDICTOR, Method, route_of_role
from modxfer.converters.module import Array, Piece, Place
from modxfer.errors import ConversionError, FormatError

CONFIG_FILE = "adapter_config.json"

Tensors = Mapping[str, Mapping[str, Array]]
"""Path in the task model to part to tensor."""


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


def split(piece: Piece, known: Known, base: Architecture, *, suffix: str = "") -> dict[Place, Piece]:
    """Give every role of a submodule its own piece.

    Args:
        piece: The piece on the whole submodule.
        known: The submodule.
        base: The base model.
        suffix: What to put behind the role in the pieces' places.

    Returns:
        Place to piece.
    """
    pieces = {}
    for place in known.places:
        rows = base.rows(place.stack, place.name)
        own = piece if rows is None else replace(piece, parts=split_piece(piece, rows))
        at = Place(place.stack, place.layer, place.name + suffix)
        pieces[at] = replace(own, route=_route(place.name, known.submodule))
    return pieces


def _route(role: str, submodule: Submodule) -> Route:
    """Route of a piece beside a submodule; what predicts tokens reads the final state and writes what the embeddings read."""
    if submodule.outside_base and submodule.writes == VOCABULARY:
        return Route(reads=FINAL, writes=Point("embeddings", Side.INPUT))
    return route_of_role(role)


def check_replaced(
    config: Mapping[str, Any],
    replaced: Tensors,
    beside: Collection[str],
    known: Mapping[str, Known],
    heads: set[str],
    *,
    where: str,
) -> None:
    """Refuse a file whose replaced parameters are not those that its config names.

    Args:
        config: What `adapter_config.json` holds.
        replaced: What the module replaces.
        beside: The submodules beside which it has tensors.
        known: The submodules of the task model.
        heads: The paths of its head.
        where: The config's file, for messages.

    Raises:
        FormatError: something that the config asks for is missing, or there is more, or a value cannot be read.
    """
    saved = strings(config, "modules_to_save", where=where)
    bias = config.get("bias", "none")
    present = {(path, part) for path, parts in replaced.items() for part in parts}
    certain = {path for path, entry in known.items() if entry.certain}
    whole_ones = {path for path in {*known, *heads} if is_saved(saved, path)}
    biased = {"none": set(), "lora_only": {*beside}, "all": {*known, *heads}}.get(str(bias))
    if biased is None:
        raise FormatError(
            f"`bias` in {where} is {bias!r}, and must be none, all or lora_only.",
            do="Correct it in that file.",
        )
    needed = {(path, "weight") for path in whole_ones & (certain | heads)}
    unbiased = {path for path, entry in known.items() if not entry.submodule.biased}
    needed |= {(path, "bias") for path in biased & (certain | {*beside}) - unbiased}
    allowed = {(path, part) for path in whole_ones for part in ("weight", "bias")} | {(path, "bias") for path in biased}
    lost, extra = needed - present, present - allowed
    if lost:
        raise FormatError(
            f"{where} asks for {listing('.'.join(pair) for pair in lost)}, and the module does not hold that.",
            do="Fetch the module again: it is incomplete.",
        )
    if extra:
        is_vocabulary = any(_is_vocabulary(known[path].submodule) for path, _ in extra if path in known)
        raise FormatError(
            f"The module holds {listing('.'.join(pair) for pair in extra)}, which neither `bias` nor "
            f"`modules_to_save` in {where} asks for.",
            do="Save the module again with `save_embedding_layers=False`, or with `modules_to_save` naming what it trains."
            if is_vocabulary
            else "Fetch both files again: they do not belong together.",
        )


def _is_vocabulary(submodule: Submodule) -> bool:
    return VOCABULARY in (submodule.reads, submodule.writes)


def check_vocabulary(replaced: Tensors, known: Mapping[str, Known], base: Architecture, *, where: str) -> None:
    """Refuse embeddings, or a layer that predicts tokens, that were made for another number of tokens than the base model has.

    Args:
        replaced: What the module replaces, or keeps a copy of.
        known: The submodules of the task model.
        base: The base model.
        where: The config's file, for messages.

    Raises:
        FormatError: there are such.
    """
    for path, parts in replaced.items():
        if path in known and _is_vocabulary(known[path].submodule):
            spot = spot_of(path, known[path], base, where=where)
            for part, tensor in parts.items():
                if tensor.ndim:
                    spot.check_vocabulary(f"{path}.{part}", tensor.shape[0])


def method_of_whole(submodule: Submodule) -> Method:
    """Say what kind of piece a whole submodule is.

    Args:
        submodule: A row of the family's table.

    Returns:
        The method of a piece that replaces it.
    """
    if submodule.elementwise:
        return NORM
    if submodule.reads == VOCABULARY:
        return LOOKUP
    return PREDICTOR if submodule.writes == VOCABULARY else LINEAR


def replaced_pieces(
    path: str, parts: Mapping[str, Array], known: Mapping[str, Known], task: str | None, base: Architecture
) -> dict[Place, Piece]:
    """Build the pieces of one submodule that the module replaces, or of a layer of its head.

    Args:
        path: The submodule's path in the task model.
        parts: "weight" and "bias" to tensor, whichever there are.
        known: The submodules of the task model.
        task: `peft`'s task type, if it is known.
        base: The base model.

    Returns:
        Place to piece.

    Raises:
        FormatError: a shape does not fit the base model.
        ConversionError: the head cannot be moved.
    """
    if path not in known:
        place, piece = _head_piece(path, parts, str(task), base)
        return {place: piece}
    spot = spot_of(path, known[path], base, where=f"`{CONFIG_FILE}`")
    method = method_of_whole(spot.submodule)
    weight: tuple[int | None, ...] = (spot.writes,) if spot.submodule.elementwise else (spot.writes, spot.reads)
    shapes = {"weight": weight[::-1] if spot.submodule.transposed else weight, "bias": (spot.writes,)}
    for part, tensor in parts.items():
        check_shape(f"{path}.{part}", tensor, shapes[part], where="the module", base=base.name)
    own = {part: tensor.T if spot.submodule.transposed else tensor for part, tensor in parts.items()}
    piece = Piece(
        method=method, route=route_of_role(spot.role), parts={part: own[part] for part in method.parts if part in own}
    )
    return split(piece, known[path], base, suffix=".base")


def _head_piece(path: str, parts: Mapping[str, Array], task: str, base: Architecture) -> tuple[Place, Piece]:
    """Build the piece of one layer of the head."""
    part = next(part for part, name in base.family.heads[task].items() if name == path)
    hidden = base.dimensions[base.family.final_dimension]
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
    return head_place(part), Piece(method=head_method(part), route=head_route(base, task), parts=own)
