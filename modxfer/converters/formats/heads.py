"""Prediction heads: what each family's task models have, and how `adapters` says the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modxfer.architectures import FINAL, Architecture, Route
from modxfer.converters.methods import LINEAR, OUTPUT, Method
from modxfer.converters.module import Place

HEAD_ROUTE = Route(reads=FINAL, writes=FINAL)
"""The route of a head's layers: they read the final hidden state, or a space of that width."""


def head_route(base: Architecture, task: str) -> Route:
    """Give the route of the head of a base model's task model.

    Args:
        base: The base model.
        task: `peft`'s task type.

    Returns:
        From and to what it reads: the final hidden state, unless the family says otherwise.
    """
    point = base.family.head_points.get(task, FINAL)
    return Route(reads=point, writes=point)


_METHODS: Mapping[str, Method] = {"dense": LINEAR, "output": OUTPUT}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadShape:
    """What a prediction head computes, whatever its tensors hold.

    Attributes:
        parts: Its layers in order: ("output",) or ("dense", "output").
        activation: What follows the hidden layer ("tanh", "gelu", "relu"), or a pooler outside the base model; None where
            there is neither.
        pooled: Whether it reads the base model's pooler and not the final hidden state.
    """

    parts: tuple[str, ...]
    activation: str | None
    pooled: bool

    def __str__(self) -> str:
        layers = "one layer" if len(self.parts) == 1 else f"two layers with {self.activation or 'nothing'} between"
        pooler = f"pooler with {self.activation}" if self.pooled and self.activation else "pooler"
        return f"{layers} on the {pooler if self.pooled else 'final hidden state'}"


def head_shape(base: Architecture, task: str) -> HeadShape | None:
    """Say what the head of a base model's task model computes.

    Args:
        base: The base model.
        task: `peft`'s task type.

    Returns:
        The shape; None where the family has no head for the task.
    """
    parts = base.family.heads.get(task)
    if parts is None:
        return None
    has_dense = "dense" in parts
    pooler = base.family.modules.get("pooler")
    is_pooled = task in base.family.pooled and not has_dense and pooler is not None
    has_own_activation = has_dense or (is_pooled and pooler is not None and pooler.outside_base)
    return HeadShape(
        parts=tuple(part for part in ("dense", "output") if part in parts),
        activation=base.family.head_activation if has_own_activation else None,
        pooled=is_pooled,
    )


def flexible_head_shape(config: Mapping[str, Any]) -> HeadShape:
    """Say what a head of `adapters` computes.

    Args:
        config: What `head_config.json` holds under `config`, checked before.

    Returns:
        The shape.
    """
    has_dense = config["layers"] == 2
    return HeadShape(
        parts=("dense", "output") if has_dense else ("output",),
        activation=(config.get("activation_function") or None) if has_dense else None,
        pooled=bool(config.get("use_pooler", False)),
    )


def head_place(part: str) -> Place:
    """Name the place of a head's layer.

    Args:
        part: "dense" or "output".

    Returns:
        The place.
    """
    return Place("", -1, f"head.{part}")


def head_method(part: str) -> Method:
    """Give the method of a head's layer.

    Args:
        part: "dense" or "output".

    Returns:
        `LINEAR` for the hidden layer, `OUTPUT` for the last one.
    """
    return _METHODS[part]


def tasks_with(base: Architecture, paths: Iterable[str]) -> list[str]:
    """List the tasks whose heads consist of exactly these submodules.

    Args:
        base: The base model.
        paths: Paths in the task model.

    Returns:
        `peft`'s task types.
    """
    wanted = set(paths)
    return [task for task, parts in base.family.heads.items() if set(parts.values()) == wanted]


def head_paths(base: Architecture) -> dict[str, set[str]]:
    """List all paths of the heads of a base model's task models.

    Args:
        base: The base model.

    Returns:
        Task type to paths in the task model.
    """
    return {task: set(parts.values()) for task, parts in base.family.heads.items()}
