"""LoRA and (IA)3 from one format to the other, head included where both can say it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modxfer.architectures import Architecture
from modxfer.converters.formats.adapters.configs import ADAPTERS_VERSION, LORA_DEFAULTS
from modxfer.converters.formats.adapters.heads import TASKS, adapters_head_shape
from modxfer.converters.formats.adapters.lora import lora_places
from modxfer.converters.formats.checks import listing
from modxfer.converters.formats.classes import adapter_class
from modxfer.converters.formats.heads import head_place, head_shape
from modxfer.converters.fusing import rescaled
from modxfer.converters.methods import IA3, LORA
from modxfer.converters.module import HeadInfo, Module, Piece, Place, Scaling
from modxfer.errors import ConversionError

PEFT_VERSION = "0.21.2"
"""The version whose default config is written."""

PEFT_DEFAULTS: Mapping[str, Any] = {
    "alora_invocation_tokens": None,
    "alpha_pattern": {},
    "arrow_config": None,
    "auto_mapping": None,
    "base_model_name_or_path": None,
    "bias": "none",
    "corda_config": None,
    "ensure_weight_tying": False,
    "eva_config": None,
    "exclude_modules": None,
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "kasa_config": None,
    "layer_replication": None,
    "layers_pattern": None,
    "layers_to_transform": None,
    "loftq_config": {},
    "lora_alpha": 8,
    "lora_bias": False,
    "lora_dropout": 0.0,
    "lora_ga_config": None,
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "monteclora_config": None,
    "peft_type": "LORA",
    "peft_version": PEFT_VERSION,
    "qalora_group_size": 16,
    "r": 8,
    "rank_pattern": {},
    "revision": None,
    "target_modules": [],
    "target_parameters": None,
    "task_type": None,
    "trainable_token_indices": None,
    "use_bdlora": None,
    "use_dora": False,
    "use_qalora": False,
    "use_rslora": False,
    "velora_config": None,
}
"""What `save_pretrained` of `peft` writes for a LoRA with no option set, but for what it targets."""

IA3_DEFAULTS: Mapping[str, Any] = {
    "auto_mapping": None,
    "base_model_name_or_path": None,
    "exclude_modules": None,
    "fan_in_fan_out": False,
    "feedforward_modules": [],
    "inference_mode": True,
    "init_ia3_weights": True,
    "modules_to_save": None,
    "peft_type": "IA3",
    "peft_version": PEFT_VERSION,
    "revision": None,
    "target_modules": [],
    "task_type": None,
}
"""What `save_pretrained` of `peft` writes for an (IA)3 with no option set, but for what it targets."""

_HEAD_TYPES = {task: kind for kind, task in TASKS.items()}

_ELSEWHERE: Mapping[str, str] = {
    "bottleneck": "`peft` has no bottlenecks",
    "invertible": "`peft` has no invertible adapters",
    "reft": "`peft` has nothing that works on the positions of a text",
    "prefix": "`peft` counts a prefix among the positions of a text and `adapters` does not, so it would mean something else",
    "prompt": "`peft` makes tokens of a prompt, with positions of their own, and `adapters` puts one behind the embeddings, so "
    "it would mean something else",
}
"""Kind of module to why the other format cannot say it."""

_UNSAID: Mapping[str, str] = {
    "gate.weight": "`peft` has no gates",
    "magnitude": "DoRA in `adapters` scales a projection's bias along with its rows, and in `peft` it does not",
    "bias": "in `adapters` a LoRA has no bias",
    "input_gain": "`adapters` has gains on what a projection puts out, and none on what it takes in",
}
"""Part of a piece to why only one of the formats has it, or has it in that way."""


def reformat(module: Module, base: Architecture, *, format: str) -> tuple[Module, list[str]]:
    """Write a LoRA or an (IA)3 in the terms of another format.

    Args:
        module: A module.
        base: The base model that its pieces are for.
        format: "peft" or "adapters".

    Returns:
        The module in that format, and a sentence for everything that the format cannot say and that was
        dropped or changed.

    Raises:
        ConversionError: the other format does not have such a module, or cannot say where its pieces are.
    """
    if format == module.format:
        return module, []
    if format not in _FORMATS:
        raise ConversionError(f"There is no format `{format}`.", do="Use `--format peft` or `--format adapters`.")
    reasons = [_ELSEWHERE[kind] for kind in module.method.split(" + ") if kind in _ELSEWHERE]
    if not reasons and (module.format not in _FORMATS or module.method not in _BOTH):
        reasons = ["only LoRA and (IA)3 are in both formats"]
    parts = {part for piece in _beside(module).values() for part in piece.parts}
    reasons += [reason for part, reason in _UNSAID.items() if part in parts]
    if reasons:
        raise ConversionError(
            f"The module is of the method {module.method}, which `{format}` does not have like this: {reasons[0]}.",
            do="Leave out `--format`.",
        )
    return _to_peft(module, base) if format == "peft" else _to_adapters(module, base)


_FORMATS = ("peft", "adapters")
_BOTH = frozenset({LORA.name, IA3.name})
"""The methods of pieces that both formats have."""


def _beside(module: Module) -> dict[Place, Piece]:
    """Take the pieces that both formats have."""
    return {place: piece for place, piece in module.pieces.items() if piece.method.name in _BOTH}


def _body(module: Module) -> dict[Place, Piece]:
    """Take all pieces but the layers of the head."""
    return {place: piece for place, piece in module.pieces.items() if not place.is_head}


def _head_pieces(module: Module) -> dict[Place, Piece]:
    """Take the layers of the head."""
    return {place: piece for place, piece in module.pieces.items() if place.is_head}


def _to_adapters(module: Module, base: Architecture) -> tuple[Module, list[str]]:
    """Go from `peft` to `adapters`; where the pieces are is said when the module is written."""
    _check_fits_adapters(module, base)
    pieces, notes = _beside(module), list[str]()
    if module.method == "lora":
        scaling, notes = _one_scaling(pieces)
        pieces = {place: _with_scaling(piece, scaling) for place, piece in pieces.items()}
        inner = {
            **LORA_DEFAULTS,
            "r": scaling.rank,
            "alpha": int(scaling.alpha) if scaling.alpha == int(scaling.alpha) else scaling.alpha,
            "dropout": float(module.config.get("lora_dropout") or 0.0),
        }
    else:
        inner = {**LORA_DEFAULTS, "r": 1, "alpha": 1, "composition_mode": "scale", "init_weights": "ia3"}
    config = {
        "config": inner,
        "hidden_size": base.dimensions["hidden"],
        "model_class": adapter_class(base),
        "model_name": module.base.name or None,
        "model_type": base.model_type,
        "name": module.name,
        "version": ADAPTERS_VERSION,
    }
    head, head_notes = _flexible_head(module, base, config)
    pieces |= _head_pieces(module) if head else {}
    changed = replace(module, format="adapters", config=config, pieces=pieces, head=head, inside_task_model=True)
    return changed, notes + head_notes


def _check_fits_adapters(module: Module, base: Architecture) -> None:
    """Refuse a module that a config of `adapters` cannot describe."""
    if not base.family.in_adapters:
        raise ConversionError(
            f"The `adapters` library has no model class for `{base.model_type}`, the family of `{base.name}`.",
            do="Leave out `--format`.",
        )
    allowed = {stack: lora_places(base, stack) for stack in base.family.stacks}
    odd = [place for place in _body(module) if place.is_outside or place.name not in allowed[place.stack]]
    if odd:
        raise ConversionError(
            f"The module has pieces at {listing(odd)}, and in `adapters` a {module.method} is on "
            f"{', '.join(sorted(frozenset().union(*allowed.values())))} only.",
            do="Leave out `--format`, or train the module without them.",
        )
    pieces = _beside(module)
    ranks = {piece.scaling.rank for piece in pieces.values() if piece.scaling}
    names: dict[str, dict[int, set[str]]] = {}
    for place in pieces:
        names.setdefault(place.stack, {}).setdefault(place.layer, set()).add(place.name)
    on = {", ".join(sorted(found)) for layers in names.values() for found in layers.values()}
    uneven = any(len({frozenset(found) for found in layers.values()}) > 1 for layers in names.values())
    if len(ranks) > 1 or uneven:
        raise ConversionError(
            f"The module's pieces have the ranks {sorted(ranks)} and are on {listing(on)}, and in `adapters` all layers have "
            "the same.",
            do="Leave out `--format`, or train the module with one rank and the same targets in every layer.",
        )


def _one_scaling(lora: Mapping[Place, Piece]) -> tuple[Scaling, list[str]]:
    """Choose one scaling for all pieces, and say so if that changes some."""
    scalings = [piece.scaling for piece in lora.values() if piece.scaling]
    factors = sorted({scaling.factor for scaling in scalings})
    rank, factor = scalings[0].rank, next((factor for factor in factors if factor), 0.0)  # 0 could carry nothing
    notes = []
    if len(factors) > 1:
        notes.append(
            f"The LoRAs have the scalings {', '.join(f'{value:g}' for value in factors)}; `adapters` has one "
            f"for all ({factor:g}), and the rest went into the up-projections."
        )
    alphas = {scaling.alpha for scaling in scalings if not scaling.rank_stabilised}
    exact = len(factors) == 1 and len(alphas) == 1 and not any(scaling.rank_stabilised for scaling in scalings)
    return Scaling(rank=rank, alpha=alphas.pop() if exact else factor * rank), notes


def _with_scaling(piece: Piece, scaling: Scaling) -> Piece:
    """Give a LoRA another scaling without changing its update."""
    assert piece.scaling is not None
    ratio = piece.scaling.factor / scaling.factor if scaling.factor else 1.0
    if abs(ratio - 1.0) < 1e-12:
        return replace(piece, scaling=scaling)
    return replace(rescaled(piece, scaling), scaling=scaling)


def _flexible_head(module: Module, base: Architecture, config: Mapping[str, Any]) -> tuple[HeadInfo | None, list[str]]:
    """Describe a head of `peft` as one of `adapters`; all of them can be."""
    if module.head is None:
        return None, []
    shape = head_shape(base, module.head.task)
    assert shape is not None
    labels = module.pieces[head_place("output")].parts["weight"].shape[0]
    head: dict[str, Any] = {
        "head_type": _HEAD_TYPES[module.head.task],
        "num_labels": labels,
        "layers": len(shape.parts),
        "activation_function": shape.activation,
        "label2id": None,
        "dropout_prob": None,
    }
    if module.head.task == "SEQ_CLS":
        head |= {"use_pooler": shape.pooled, "bias": True}
    keys = ("hidden_size", "model_class", "model_name", "model_type", "name", "version")
    return HeadInfo(task=module.head.task, name=module.name, config={"config": head, **{key: config[key] for key in keys}}), []


def _to_peft(module: Module, base: Architecture) -> tuple[Module, list[str]]:
    """Go from `adapters` to `peft`."""
    notes = []
    head = module.head and HeadInfo(task=module.head.task, name="default")
    problem = None if module.head is None else _head_problem(module.head, base)
    if problem is not None:
        notes.append(f"The head was dropped: {problem}.")
        head = None
    config = {
        **(PEFT_DEFAULTS if module.method == "lora" else IA3_DEFAULTS),
        "base_model_name_or_path": module.base.name or None,
        "revision": module.base.revision,
        "task_type": head.task if head else None,
    }
    beside = _beside(module)
    scaling = next((piece.scaling for piece in beside.values()), None)
    if scaling is not None:
        config |= {
            "r": scaling.rank,
            "lora_alpha": scaling.alpha,
            "lora_dropout": module.config["config"].get("dropout", 0.0),
        }
    pieces = beside | (_head_pieces(module) if head else {})
    return replace(module, format="peft", name="default", config=config, pieces=pieces, head=head), notes


def _head_problem(head: HeadInfo, base: Architecture) -> str | None:
    """Say why the head of `adapters` is not the one of the family's task model; None if it is."""
    own, found = head_shape(base, head.task), adapters_head_shape(head, base)
    if own == found:
        return None
    return f"it has {found}, and the task model of `{base.model_type}` for {head.task} has {own or 'no head'}"
