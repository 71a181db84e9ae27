"""A module in memory: its pieces by place, whatever format they came from."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modxfer.architectures import Route
from modxfer.converters.methods import Method

Array = np.ndarray[Any, np.dtype[Any]]
"""A tensor of a module, in its own dtype (float64, float32, float16 or bfloat16)."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a piece sits in a base model.

    Attributes:
        stack: The stack of layers; empty outside the layers.
        layer: Index of the layer; -1 outside the layers.
        name: A role of the family, "attention" or "ffn" for a bottleneck, "head.dense" or "head.output" for the head; behind a
            dot what else is there at a role ("query.base" for its own weights, "key.prefix").
    """

    stack: str
    layer: int
    name: str

    def __str__(self) -> str:
        return self.name if self.layer < 0 else f"{self.stack}.{self.layer}.{self.name}"

    @property
    def is_outside(self) -> bool:
        """Whether the place is outside the layers."""
        return self.layer < 0

    @property
    def role(self) -> str:
        """The role, without what stands behind the dot."""
        return self.name.partition(".")[0]

    @property
    def is_head(self) -> bool:
        """Whether the piece is a layer of the prediction head."""
        return self.name.startswith("head.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """The factor of a LoRA's update, kept apart from the weights.

    Attributes:
        rank: Inner size.
        alpha: Numerator.
        rank_stabilised: Whether the denominator is the square root of the rank (Kalajdzievski 2023, arXiv 2312.03732).
    """

    rank: int
    alpha: float
    rank_stabilised: bool = False

    @property
    def factor(self) -> float:
        """The factor itself: alpha / rank, or alpha / sqrt(rank)."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece of a module.

    Attributes:
        method: Its kind.
        route: Which points of its layer it reads and writes.
        parts: Part to tensor, in canonical layout, without scaling.
        scaling: The factor of its update, for methods that keep one apart.
    """

    method: Method
    route: Route
    parts: Mapping[str, Array]
    scaling: Scaling | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseReference:
    """What a module says about the base model that it belongs to.

    Attributes:
        name: Folder or Hub id; empty if it does not say.
        revision: The Hub revision, if it says.
        model_type: The family, if it says.
        hidden_size: Width of the residual stream in units, if it says.
    """

    name: str
    revision: str | None = None
    model_type: str | None = None
    hidden_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadInfo:
    """What a prediction head is, beside its tensors.

    Attributes:
        task: `peft`'s task type ("TOKEN_CLS", "SEQ_CLS", "QUESTION_ANS").
        name: Its name in the `adapters` format; the module's name in `peft`.
        config: What `head_config.json` holds; empty in `peft`.
    """

    task: str
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorHeader:
    """What a safetensors header says of one tensor.

    Attributes:
        file: Name of the file in the module's folder.
        key: The tensor's key in that file.
        dtype: As safetensors writes it ("F32", "BF16").
        shape: Sizes of its axes.
    """

    file: str
    key: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFiles:
    """A module on disk, known by its configs and headers only.

    Attributes:
        folder: Where it lies.
        format: "peft" or "adapters".
        method: The kind of module ("lora", "bottleneck").
        name: Its name ("default" in `peft`).
        config: What `adapter_config.json` holds, as it is.
        head_config: What `head_config.json` holds, as it is; empty if there is none.
        base: What it says about its base model.
        datasets: The data sets that its card names.
        languages: The languages that its card names, as the card writes them.
        licence: The licence that its card names, as the card writes it; None if it names none, or several.
        tensors: The headers of all its tensors, the head's included; none of a pickle that is not at hand.
        weight_files: The files that hold the tensors.
    """

    folder: Path
    format: str
    method: str
    name: str
    config: Mapping[str, Any]
    head_config: Mapping[str, Any]
    base: BaseReference
    datasets: tuple[str, ...]
    languages: tuple[str, ...] = ()
    licence: str | None = None
    tensors: tuple[TensorHeader, ...]
    weight_files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module in memory.

    Attributes:
        format: The format whose config it carries: "peft" or "adapters".
        method: The kind of module ("lora", "bottleneck").
        name: Its name ("default" in `peft`).
        config: The format's own config, as read.
        pieces: Place to piece, the head's layers included.
        head: What the head is; None if the module has none.
        base: The base model that it belongs to.
        inside_task_model: Whether its keys name the base model inside a task model ("bert.encoder..." and not "encoder...").
        notes: What of its files was put in another form when they were read, whether or not that is exact.
    """

    format: str
    method: str
    name: str
    config: Mapping[str, Any]
    pieces: Mapping[Place, Piece]
    head: HeadInfo | None
    base: BaseReference
    inside_task_model: bool = True
    notes: tuple[str, ...] = ()

    def layers(self) -> Iterator[tuple[str, int]]:
        """List the layers that have a piece, in order.

        Yields:
            Stack and layer.
        """
        yield from sorted({(place.stack, place.layer) for place in self.pieces if not place.is_outside})

    def num_bytes(self) -> int:
        """Count the bytes of all tensors.

        Returns:
            The sum of the tensors' sizes, in bytes.
        """
        return sum(tensor.nbytes for piece in self.pieces.values() for tensor in piece.parts.values())
