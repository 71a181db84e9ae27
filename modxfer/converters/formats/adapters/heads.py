"""Prediction heads of the `adapters` format, read and written.

Source: adapters 1.3, `PredictionHead.build` in `heads/base.py`, `PredictionHeadLoader` in `loading.py`.
"""

from collections.abc import Mapping
from typing import Any

from modxfer.architectures import Architecture
from modxfer.converters.formats.checks import check_shape, listing, whole
from modxfer.converters.formats.heads import (
    HEAD_ROUTE,
    HeadShape,
    flexible_head_shape,
    head_method,
    head_place,
    head_shape,
)
from modxfer.converters.module import Array, HeadInfo, Module, ModuleFiles, Piece, Place
from modxfer.errors import ConversionError, FormatError

HEAD_CONFIG_FILE = "head_config.json"

TASKS = {"tagging": "TOKEN_CLS", "classification": "SEQ_CLS", "question_answering": "QUESTION_ANS"}
"""`head_type` to `peft`'s task type."""

STATIC_TASKS = {
    "ForTokenClassification": "TOKEN_CLS",
    "ForSequenceClassification": "SEQ_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
}
"""End of the name of a `transformers` class to the task of the head that is part of it."""


def static_task(head_config: Mapping[str, Any]) -> str | None:
    """Say which task a head belongs to that is part of a `transformers` class and has no config of its own.

    Args:
        head_config: What `head_config.json` holds.

    Returns:
        The task type; None if the head has a config, or the class is another.
    """
    if head_config.get("config") is not None:
        return None
    name = str(head_config.get("model_class"))
    return next((task for end, task in STATIC_TASKS.items() if name.endswith(end)), None)


def adapters_head_shape(head: HeadInfo, base: Architecture) -> HeadShape | None:
    """Say what a head of an `adapters` module computes.

    Args:
        head: The head.
        base: The base model under it.

    Returns:
        The shape; None if it is part of a class that the family does not have.
    """
    task = static_task(head.config)
    return flexible_head_shape(head.config["config"]) if task is None else head_shape(base, task)


def layer_keys(head_config: Mapping[str, Any], base: Architecture) -> dict[str, str]:
    """Name the layers of a head.

    Args:
        head_config: What `head_config.json` holds, checked.
        base: The base model under it.

    Returns:
        Part ("dense", "output") to the start of its tensors' keys.
    """
    task = static_task(head_config)
    if task is not None:
        return dict(base.family.heads.get(task, {}))
    config, start = head_config["config"], f"heads.{head_config['name']}"
    if config["layers"] == 1:
        return {"output": f"{start}.1"}
    return {"dense": f"{start}.1", "output": f"{start}.{4 if config.get('activation_function') else 3}"}


def parse_head(
    files: ModuleFiles, tensors: Mapping[str, Array], base: Architecture
) -> tuple[HeadInfo | None, dict[Place, Piece]]:
    """Turn a head's config and tensors into pieces.

    Args:
        files: What is known of the module from its configs.
        tensors: Key to tensor, of the head's file only.
        base: The base model that the module belongs to.

    Returns:
        What the head is, and its pieces; None and nothing if there is none.

    Raises:
        FormatError: a key is unknown, a tensor is missing, or a shape does not fit.
        ConversionError: the head is of a kind that cannot be moved.
    """
    if not files.head_config and not tensors:
        return None, {}
    where = f"`{HEAD_CONFIG_FILE}`"
    task, static = head_task(files.head_config, where=where), static_task(files.head_config)
    layers = layer_keys(files.head_config, base)
    if not layers:
        raise ConversionError(f"`{base.model_type}` has no head for {task}.", do="Leave the head out.")
    keys = {f"{start}.{end}": (part, end) for part, start in layers.items() for end in ("weight", "bias")}
    _check_keys(files.head_config, tensors, keys, without_bias=static in base.family.unbiased_heads, where=where)
    hidden, labels = base.dimensions["hidden"], _labels(files.head_config, where=where)
    sizes = {"dense": hidden, "output": labels}
    parts: dict[str, dict[str, Array]] = {part: {} for part in layers}
    for key, (part, end) in keys.items():
        if key in tensors:
            shape = (sizes[part], hidden) if end == "weight" else (sizes[part],)
            check_shape(key, tensors[key], shape, where="the head's file", base=base.name)
            parts[part][end] = tensors[key]
    info = HeadInfo(task=task, name=str(files.head_config.get("name") or files.name), config=files.head_config)
    return info, {
        head_place(part): Piece(method=head_method(part), route=HEAD_ROUTE, parts=tensors_of)
        for part, tensors_of in parts.items()
    }


def head_task(head_config: Mapping[str, Any], *, where: str) -> str:
    """Say which task a head is for, and refuse those that cannot be moved.

    Args:
        head_config: What `head_config.json` holds.
        where: The file, for messages.

    Returns:
        `peft`'s task type.

    Raises:
        FormatError: the config cannot be read.
        ConversionError: the head is of another kind, or has more than two layers.
    """
    static = static_task(head_config)
    if static is not None:
        return static
    config, model_class = head_config.get("config"), head_config.get("model_class")
    if config is None and isinstance(model_class, str) and model_class:
        raise ConversionError(
            f"{where} describes the head that is part of `{model_class}`, and of such heads modxfer moves those of "
            f"{', '.join(STATIC_TASKS)}.",
            do="Remove the head's two files, and the module moves without it.",
        )
    if not isinstance(config, dict) or not isinstance(head_config.get("name"), str):
        raise FormatError(
            f"{where} describes no head: config is {config!r}, name is {head_config.get('name')!r}, "
            f"model_class is {head_config.get('model_class')!r}.",
            do="Fetch the module again, or remove the head's two files.",
        )
    kind = config.get("head_type")
    layers = whole(config, "layers", where=where)
    if kind not in TASKS or layers > 2:
        raise ConversionError(
            f"{where} describes a head of the kind `{kind}` with {layers} layers, and modxfer moves "
            f"{', '.join(TASKS)} with 1 or 2.",
            do="Remove the head's two files, and the module moves without it.",
        )
    return TASKS[kind]


def _labels(head_config: Mapping[str, Any], *, where: str) -> int | None:
    """Take the number of labels, wherever the config has it."""
    config = head_config["config"] if static_task(head_config) is None else head_config
    return whole(config, "num_labels", where=where) if "num_labels" in config else None


def _check_keys(
    head_config: Mapping[str, Any],
    tensors: Mapping[str, Array],
    keys: Mapping[str, object],
    *,
    without_bias: bool,
    where: str,
) -> None:
    """Refuse a head's file with other tensors than its config asks for."""
    config = head_config.get("config") or {}
    biases = {key for key in keys if key.endswith(".bias")} if without_bias or config.get("bias") is False else set()
    extra, lost = set(tensors) - set(keys), set(keys) - set(tensors) - biases
    if extra:
        raise FormatError(
            f"The head's file holds {listing(extra)}, and {where} describes {listing(keys)}.",
            do="Fetch the module again.",
        )
    if lost:
        raise FormatError(
            f"{where} asks for {listing(lost)}, and the head's file does not hold that.",
            do="Fetch the module again.",
        )


def build_head(module: Module, base: Architecture, *, model_class: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Write a head's config and name its tensors.

    Args:
        module: A module with a head, in this format.
        base: The base model that it belongs to.
        model_class: The class that the module's config names.

    Returns:
        What goes into `head_config.json`, and key to tensor.

    Raises:
        ConversionError: the head has other layers than its config, or than the base model's class, has.
    """
    assert module.head is not None
    config = {
        **module.head.config,
        "hidden_size": base.dimensions["hidden"],
        "model_type": base.model_type,
        "model_name": module.base.name or module.head.config.get("model_name"),
        "model_class": model_class,
    }
    if (config.get("config") or {}).get("use_pooler") and "pooler" not in base.family.modules:
        raise ConversionError(
            f"The head reads the base model's pooler, and `{base.name}` ({base.model_type}) has none.",
            do="Leave the head out with `--head drop`.",
        )
    layers = layer_keys(config, base)
    held = {place.name.removeprefix("head."): piece for place, piece in module.pieces.items() if place.is_head}
    if set(layers) != set(held):
        raise ConversionError(
            f"The head for {module.head.task} on `{base.name}` ({base.model_type}) has the layers "
            f"{listing(layers)}, and the module has {listing(held)}.",
            do="Leave the head out with `--head drop`.",
        )
    tensors = {f"{layers[part]}.{end}": tensor for part, piece in held.items() for end, tensor in piece.parts.items()}
    return config, tensors
