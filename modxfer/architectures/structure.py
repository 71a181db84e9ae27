"""What a family's row of the table can say: its dimensions, stacks, roles and heads. All of it is data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from modxfer.architectures.sites import Point

RESIDUAL = "hidden"
"""The dimension of the residual stream, which every family has."""

VOCABULARY = "vocabulary"
"""The dimension of token ids: the embeddings read it, and what predicts tokens writes it."""


class Kind(StrEnum):
    """What a position of the base model has read when its activation is computed."""

    ENCODER = "encoder"
    DECODER = "decoder"
    ENCODER_DECODER = "encoder-decoder"
    IMAGE = "image encoder"


Size = str | int | tuple[str | int, ...]
"""How a config says a width: a key (dots go into objects inside), a number, or a product; in a product "/key" divides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Which rows of a fused matrix belong to a role.

    The matrix is so many equal groups, one after the other, and each group holds a share of every part in turn. Three parts in
    one group are `[query; key; value]` (GPT-2); three parts in a group for each head are interleaved by head (GPT-NeoX).

    Attributes:
        parts: The dimension of each part.
        index: Which of the parts is this role's.
        groups: The config keys that may hold the number of groups.
    """

    parts: tuple[str, ...]
    index: int
    groups: tuple[Size, ...] = (1,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submodule:
    """One role's submodule of a base model.

    Attributes:
        path: Its name, relative to the layer (or to the base model, outside the layers).
        reads: The dimension of its input, a key of `Family.dimensions`.
        writes: The dimension of its output; the same as `reads` where `elementwise`.
        elementwise: Whether its weight is one gain a unit (a normalisation), not a matrix.
        between_widths: Whether it is there only if the two dimensions differ in width.
        transposed: Whether its weight is stored as (in, out), as in `Conv1D` and in embeddings.
        rows: Which of its rows are this role's, where several roles share one matrix.
        biased: Whether it surely has a bias.
        outside_base: Whether the path is relative to the task model (an `lm_head`) and not to the base model.
    """

    path: str
    reads: str
    writes: str
    elementwise: bool = False
    between_widths: bool = False
    transposed: bool = False
    rows: Rows | None = None
    biased: bool = True
    outside_base: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One stack of equal layers.

    Attributes:
        layer: Path of a layer relative to the base model, with `{layer}` for its index.
        depth: The config keys that may hold the number of layers.
        roles: Role to submodule.
        same: Points where the activations are those of another point, and that point.
        bottlenecks: Where `adapters` hangs a bottleneck: place ("attention", "ffn") to path in the layer.
        refused: Beginning of a path in the layer to why a module there cannot be moved, as the end of a sentence.
    """

    layer: str
    depth: tuple[Size, ...]
    roles: Mapping[str, Submodule]
    same: Mapping[Point, Point] = field(default_factory=dict)
    bottlenecks: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Base models that share a structure.

    Attributes:
        kind: What a position has read.
        prefix: The attribute under which a task model holds the base model; empty where it has the base model's own names.
        classes: What the names of its model classes begin with ("Bert" of BertModel).
        dimensions: Dimension to the config keys that may hold it, in order of preference.
        stacks: Name to stack.
        modules: Role to submodule outside the layers.
        final: Path of the submodule whose output is the final hidden state; `{last}` stands for the last layer's index.
        heads: `peft` task type to the parts of its prediction head: part ("dense", "output") to path in the task model.
        head_activation: What follows the hidden layer of its SEQ_CLS head ("tanh", "gelu", "relu"); None without one.
        in_adapters: Whether the `adapters` library has model classes for it.
        stand_ins: Points outside the layers that see too few tokens to be aligned, and the point whose map serves for them.
        task_prefixes: `peft` task type to the attribute, for task models that hold the base model under another one.
        variants: Config keys and values to the row that describes base models which have these; the first that fits counts.
        inferred: Whether the row was read off a model's submodules, and is not one of the table.
    """

    kind: Kind
    prefix: str
    classes: str
    dimensions: Mapping[str, tuple[Size, ...]]
    stacks: Mapping[str, Stack]
    modules: Mapping[str, Submodule]
    final: str
    heads: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    head_activation: str | None = None
    in_adapters: bool = False
    stand_ins: Mapping[Point, Point] = field(default_factory=dict)
    task_prefixes: Mapping[str, str] = field(default_factory=dict)
    variants: tuple[tuple[Mapping[str, Any], "Family"], ...] = ()
    inferred: bool = False

    def prefixes(self) -> frozenset[str]:
        """List the attributes under which task models hold the base model.

        Returns:
            The names; empty where task models have the base model's own names.
        """
        return frozenset({self.prefix, *self.task_prefixes.values()} - {""})


def same_points(table: Mapping[str, str]) -> dict[Point, Point]:
    """Read a table of points.

    Args:
        table: Point to point, each as `role.side`.

    Returns:
        The same as points.
    """
    return {Point.parse(point): Point.parse(original) for point, original in table.items()}
