"""LoRA in the `peft` format.

Source: peft 0.21, `LoraConfig` in `tuners/lora/config.py`, `tuners/lora/layer.py`.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from modxfer.converters.formats.checks import check_shape, number, whole
from modxfer.converters.formats.peft.kinds import Kind, Spot
from modxfer.converters.formats.peft.targets import by_pattern
from modxfer.converters.methods import LORA, route_of_role
from modxfer.converters.module import Array, Piece, Scaling
from modxfer.errors import ConversionError, FormatError

_VARIANTS = {
    "layer_replication": "LoRA with replicated layers",
    "trainable_token_indices": "LoRA with single trained tokens, whose numbers mean other tokens in another vocabulary",
    "ensure_weight_tying": "LoRA that ties what it trains of the embeddings to the output layer",
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


def check(config: Mapping[str, Any], where: str) -> None:
    """Refuse the variants of LoRA that compute something else.

    Args:
        config: What `adapter_config.json` holds.
        where: The file, for messages.

    Raises:
        ConversionError: it is such a variant.
    """
    for key, variant in _VARIANTS.items():
        if config.get(key):
            raise ConversionError(
                f"{where} says {key}={config[key]!r}: this is {variant}, and modxfer moves plain LoRA and DoRA.",
                do="Train the module without it, or name another one.",
            )
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGES_BASE):
        raise ConversionError(
            f"{where} says init_lora_weights={start!r}: such a module belongs to a changed copy of its base model.",
            do="Save it with `path_initial_model_for_weight_conversion`, which makes a plain LoRA of it.",
        )


def _needed(config: Mapping[str, Any], spot: Spot) -> frozenset[str]:
    needed = {"lookup.down", "lookup.up"} if spot.is_lookup else {"down", "up"}
    needed |= {"bias"} if config.get("lora_bias") else set()
    return frozenset(needed | ({"magnitude"} if config.get("use_dora") else set()))


def _read(config: Mapping[str, Any], spot: Spot, tensors: Mapping[str, Array]) -> Piece:
    """Build the piece of one LoRA, with its own rank and alpha."""
    scaling = scaling_of(config, spot.path, where=spot.where)
    parts = {name.removeprefix("lookup."): tensor for name, tensor in tensors.items()}
    down = parts["down"]
    if down.ndim == 2 and down.shape[0] != scaling.rank:
        raise FormatError(
            f"`{spot.path}`, down, has the shape {down.shape}, and {spot.where} says that its rank is {scaling.rank}.",
            do="Fetch both files again: they do not belong together.",
        )
    return make_piece(spot, parts, scaling)


def make_piece(spot: Spot, parts: Mapping[str, Array], scaling: Scaling) -> Piece:
    """Build a LoRA's piece, its shapes checked.

    Args:
        spot: The submodule that it is beside.
        parts: Its parts, as `LORA` names them.
        scaling: Its rank and alpha.

    Returns:
        The piece.

    Raises:
        FormatError: a shape does not fit the base model, or its vocabulary.
    """
    shapes = {
        "down": (scaling.rank, spot.reads),
        "up": (spot.writes, scaling.rank),
        "bias": (spot.writes,),
        "magnitude": (spot.writes,),
    }
    if parts["down"].ndim == parts["up"].ndim == 2:
        spot.check_vocabulary(spot.path, parts["down"].shape[1] if spot.is_lookup else parts["up"].shape[0])
    for part, tensor in parts.items():
        check_shape(f"{spot.path}, {part}", tensor, shapes[part], where="the module", base=spot.base)
    ordered = {part: parts[part] for part in LORA.parts if part in parts}
    return Piece(method=LORA, route=route_of_role(spot.role), parts=ordered, scaling=scaling)


def _write(config: Mapping[str, Any], spot: Spot, piece: Piece) -> Mapping[str, Array]:
    names = _LOOKUP_NAMES if spot.is_lookup else _NAMES
    return {names[part]: tensor for part, tensor in piece.parts.items()}


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


def _settle(config: Mapping[str, Any], pieces: Mapping[str, Piece], where: str) -> dict[str, Any]:
    """Say every LoRA's rank and alpha: as the config does if that still holds, else anew."""
    scalings = {path: piece.scaling for path, piece in pieces.items() if piece.scaling is not None}
    if all(scaling_of(config, path, where=where) == scaling for path, scaling in scalings.items()):
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
        **(
            {"init_lora_weights": True} if config.get("init_lora_weights") == "orthogonal" else {}
        ),  # which takes even ranks only
    }


def _most_common(values: Mapping[str, Any]) -> Any:
    """Give the value that most paths have; of several, the largest."""
    counts = Counter(values.values())
    return max(counts, key=lambda value: (counts[value], value))


def _plain(value: float) -> int | float:
    """Write a whole number as one."""
    return int(value) if value == int(value) else value


_NAMES = {
    "down": "lora_A.weight",
    "up": "lora_B.weight",
    "bias": "lora_B.bias",
    "magnitude": "lora_magnitude_vector",
}
_LOOKUP_NAMES = {**_NAMES, "down": "lora_embedding_A", "up": "lora_embedding_B"}

KIND = Kind(
    method="lora",
    check=check,
    suffixes={
        **{key: part for part, key in _NAMES.items()},
        "lora_embedding_A": "lookup.down",
        "lora_embedding_B": "lookup.up",
    },
    needed=_needed,
    read=_read,
    write=_write,
    settle=_settle,
)
