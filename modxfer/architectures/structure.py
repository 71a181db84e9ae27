"""What a family's row of the table can say: its dimensions, stacks, roles and heads. All of it is data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from modxfer.architectures.sites import Point, Side, Site

RESIDUAL = "hidden"
"""The dimension of the residual stream, which every family has."""

VOCABULARY = "vocabulary"
"""The dimension of token ids: the embeddings read it, and what predicts tokens writes it."""


EMBEDDED = Point("embedded", Side.OUTPUT)
"""What the first layer gets: outside the layers, wherever a family has it."""

BEHIND = Point("layer", Side.OUTPUT)
"""What a layer hands on: it is measured in the next layer, or behind the last one."""

OPTIONAL = frozenset({VOCABULARY, "positions", "positions behind padding", "token kinds"})
"""Dimensions that few modules touch, and that a config may lack."""


class Kind(StrEnum):
    """What a position of the base model has read when its activation is computed."""

    ENCODER = "encoder"
    DECODER = "decoder"
    ENCODER_DECODER = "encoder-decoder"
    IMAGE = "image encoder"
    TEXT_AND_IMAGE = "encoder of text and of images"

    @property
    def is_causal(self) -> bool:
        """Whether a position somewhere has read nothing that comes after it."""
        return self in (Kind.DECODER, Kind.ENCODER_DECODER)

    @property
    def has_decoder_inputs(self) -> bool:
        """Whether it takes tokens for its decoder beside those for its encoder."""
        return self is Kind.ENCODER_DECODER

    @property
    def reads_images(self) -> bool:
        """Whether it takes images."""
        return self in (Kind.IMAGE, Kind.TEXT_AND_IMAGE)

    @property
    def reads_text(self) -> bool:
        """Whether it takes text."""
        return self is not Kind.IMAGE


LORA_PLACES: Mapping[str, tuple[str, ...]] = {
    "q": ("query", "cross_query"),
    "k": ("key", "cross_key"),
    "v": ("value", "cross_value"),
    "intermediate_lora": ("ffn_up",),
    "output_lora": ("ffn_down",),
}
"""What `adapters` calls the roles that a LoRA can be at, in most families; the roles that a stack lacks do not count."""

NO_PREFIX = {"prefix": "it takes no keys and values of tokens that came before"}
"""What `peft` cannot run on models that keep nothing of a text's beginning."""


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
        except_first: Whether the first layer of the stack lacks it.
        around_one: Whether it is a normalisation that multiplies by 1 + its weight.
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
    except_first: bool = False
    around_one: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One stack of equal layers.

    Attributes:
        layer: Path of a layer relative to the base model, with `{layer}` for its index.
        depth: The config keys that may hold the number of layers.
        roles: Role to submodule.
        same: Points where the activations are those of another point, and that point.
        stream: Points of the residual stream around the sub-blocks ("attention", "cross_attention", "ffn") to the point that
            has these activations: `ffn.input` is the stream as the sub-block gets it, `ffn_sum.output` the same with what the
            sub-block adds, and `ffn.output` what the next one gets, normalised where a normalisation ends the sub-block.
        behind: The point outside the layers that has what the last layer hands on.
        bottlenecks: Where `adapters` hangs a bottleneck: sub-block to path in the layer.
        lora: What `adapters` calls the roles that a LoRA can be at: key of a config, or entry of its `attn_matrices`, to role.
        prefixes: Where `adapters` hangs a prefix: its location key ("self_prefix") to path in the layer.
        refused: Beginning of a path in the layer to why a module there cannot be moved, as the end of a sentence.
        residual: The dimension of its residual stream.
    """

    layer: str
    depth: tuple[Size, ...]
    roles: Mapping[str, Submodule]
    same: Mapping[Point, Point] = field(default_factory=dict)
    stream: Mapping[Point, Point] = field(default_factory=dict)
    behind: Point | None = None
    bottlenecks: Mapping[str, str] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    lora: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: LORA_PLACES)
    refused: Mapping[str, str] = field(default_factory=dict)
    residual: str = RESIDUAL

    def names(self) -> frozenset[str]:
        """List the names of a layer's points.

        Returns:
            The roles, and the sub-blocks around which the residual stream has points of its own.
        """
        return frozenset({*self.roles, *(point.role for point in self.stream)})


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
        tables: Role to lookup table outside the layers whose rows are no units (positions, kinds of token), added to the
            embeddings; its `reads` says what its rows are, which two families must agree in.
        final: Path of the submodule whose output is the final hidden state; `{last}` stands for the last layer's index.
        final_dimension: The dimension of the final hidden state.
        heads: `peft` task type to the parts of its prediction head: part ("dense", "output") to path in the task model.
        head_activation: What follows the hidden layer of its SEQ_CLS head ("tanh", "gelu", "relu"), or its pooler
            outside the base model; None without one.
        pooled: The tasks whose heads of one layer read the pooler, where there is one.
        head_points: The tasks whose heads read another point than the final hidden state, and that point.
        unbiased_heads: The tasks whose heads in task models have no bias.
        in_adapters: Whether the `adapters` library has model classes for it.
        adapters_prefix: The attribute under which its model class in `adapters` holds the base model, if not `prefix`.
        adapters_class: Its model class in `adapters`, if that is not named `classes` and "AdapterModel".
        adapters_lacks: Kinds of module that `adapters` cannot run on it, and why, as the end of a sentence.
        peft_lacks: Kinds of module that `peft` cannot run on it, and why, as the end of a sentence.
        embedded: The site that has what the first layer gets.
        invertible: The path of the submodule that holds invertible adapters in `adapters`; empty for the base model itself.
        stand_ins: Points outside the layers that see too few tokens to be aligned, and the point whose map serves for them.
        task_prefixes: `peft` task type to the attribute, for task models that hold the base model under another one.
        variants: Config keys and values (or expressions that fit these) to the row that describes base models which have them;
            the first that fits counts.
        auto_class: The class of `transformers` that loads its base models.
        before_5: The row with the names that submodules had before `transformers` 5, where it gave them others.
        inferred: Whether the row was read off a model's submodules, and is not one of the table.
    """

    kind: Kind
    prefix: str
    classes: str
    dimensions: Mapping[str, tuple[Size, ...]]
    stacks: Mapping[str, Stack]
    modules: Mapping[str, Submodule]
    final: str
    final_dimension: str = RESIDUAL
    heads: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    head_activation: str | None = None
    pooled: frozenset[str] = frozenset({"SEQ_CLS"})
    head_points: Mapping[str, Point] = field(default_factory=dict)
    unbiased_heads: frozenset[str] = frozenset()
    in_adapters: bool = False
    adapters_prefix: str | None = None
    adapters_class: str = ""
    adapters_lacks: Mapping[str, str] = field(default_factory=dict)
    peft_lacks: Mapping[str, str] = field(default_factory=dict)
    embedded: Site | None = None
    invertible: str = ""
    stand_ins: Mapping[Point, Point] = field(default_factory=dict)
    task_prefixes: Mapping[str, str] = field(default_factory=dict)
    variants: tuple[tuple[Mapping[str, Any], "Family"], ...] = ()
    tables: Mapping[str, Submodule] = field(default_factory=dict)
    auto_class: str = "AutoModel"
    before_5: "Family | None" = None
    inferred: bool = False

    def names(self) -> frozenset[str]:
        """List the names of the points outside the layers.

        Returns:
            The roles there, and that of what the first layer gets where the row says it.
        """
        return frozenset(self.modules) | (frozenset() if self.embedded is None else {EMBEDDED.role})

    def rows(self) -> Iterator["Family"]:
        """List this row and the variants of it.

        Yields:
            The rows.
        """
        yield self
        for _, variant in self.variants:
            yield from variant.rows()

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


_FIRST_ROLES = {"attention": "query", "cross_attention": "cross_query", "ffn": "ffn_up"}


def pre_norm_stream(*names: str) -> dict[Point, Point]:
    """Say where the residual stream is measured in layers whose sub-blocks begin with a normalisation.

    Args:
        *names: The sub-blocks, in order.

    Returns:
        Points of the stream to points of roles.
    """
    begins = [Point(f"{name}_norm", Side.INPUT) for name in names]
    ends = [*begins[1:], BEHIND]
    return {
        point: at
        for name, begin, end in zip(names, begins, ends, strict=True)
        for point, at in _stream_points(name, begin, end, end).items()
    }


def post_norm_stream(*names: str) -> dict[Point, Point]:
    """Say where the residual stream is measured in layers whose sub-blocks end in a normalisation.

    Args:
        *names: The sub-blocks, in order.

    Returns:
        Points of the stream to points of roles.
    """
    found: dict[Point, Point] = {}
    for name in names:
        norm = f"{name}_norm"
        found |= _stream_points(name, Point(_FIRST_ROLES[name], Side.INPUT), Point(norm, Side.INPUT), Point(norm, Side.OUTPUT))
    return found


def _stream_points(name: str, begin: Point, added: Point, end: Point) -> dict[Point, Point]:
    return {Point(name, Side.INPUT): begin, Point(f"{name}_sum", Side.OUTPUT): added, Point(name, Side.OUTPUT): end}


def with_adapters(family: Family, stacks: Mapping[str, Mapping[str, Any]], **changes: Any) -> Family:
    """Add to a family's row, its variants and its older names what `adapters` has of it.

    Args:
        family: The row.
        stacks: Stack to the fields of its row.
        **changes: Fields of the family's row.

    Returns:
        The row.
    """
    return replace(
        family,
        in_adapters=True,
        stacks={name: replace(stack, **stacks.get(name, {})) for name, stack in family.stacks.items()},
        variants=tuple((said, with_adapters(row, stacks, **changes)) for said, row in family.variants),
        before_5=None if family.before_5 is None else with_adapters(family.before_5, stacks, **changes),
        **changes,
    )
