"""What base models look like: one row a family.

To add a family, add a `Family` to `FAMILIES` under its `model_type` (the word in its `config.json`). A row says where each
role's submodule is, between which dimensions it maps, and which config keys hold those dimensions. Nothing else in modxfer
knows a family's names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from modxfer.architectures.sites import Point, Side

RESIDUAL = "hidden"
"""The dimension of the residual stream, which every family has."""


class Kind(StrEnum):
    """What a position of the base model has read when its activation is computed."""

    ENCODER = "encoder"
    DECODER = "decoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submodule:
    """One submodule of a base model.

    Attributes:
        path: Its name, relative to the layer (or to the base model, outside the layers).
        reads: The dimension of its input, a key of `Family.dimensions`.
        writes: The dimension of its output; the same as `reads` where `elementwise`.
        elementwise: Whether its weight is one gain a unit (a normalisation), not a matrix.
        between_widths: Whether it is there only if the two dimensions differ in width.
    """

    path: str
    reads: str
    writes: str
    elementwise: bool = False
    between_widths: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One stack of equal layers.

    Attributes:
        layer: Path of a layer relative to the base model, with `{layer}` for its index.
        depth: The config keys that may hold the number of layers.
        roles: Role to submodule.
        same: Points where the activations are those of another point, and that point.
        bottlenecks: Where `adapters` hangs a bottleneck: place ("attention", "ffn") to path in the layer.
    """

    layer: str
    depth: tuple[str, ...]
    roles: Mapping[str, Submodule]
    same: Mapping[Point, Point] = field(default_factory=dict)
    bottlenecks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Base models that share a structure.

    Attributes:
        kind: Encoder or decoder.
        prefix: The attribute under which a task model holds the base model.
        classes: What the names of its model classes begin with ("Bert" of BertModel).
        dimensions: Dimension to the config keys that may hold it, in order of preference; a tuple inside stands for a product.
        stacks: Name to stack.
        modules: Role to submodule outside the layers.
        final: Path of the submodule whose output is the final hidden state; `{last}` stands for the last layer's index.
        heads: `peft` task type to the parts of its prediction head: part ("dense", "output") to path in the task model.
        head_activation: What follows the hidden layer of its SEQ_CLS head ("tanh", "gelu", "relu"); None without one.
        in_adapters: Whether the `adapters` library has model classes for it.
        stand_ins: Points outside the layers that see too few tokens to be aligned, and the point whose map serves for them.
    """

    kind: Kind
    prefix: str
    classes: str
    dimensions: Mapping[str, tuple[str | tuple[str, ...], ...]]
    stacks: Mapping[str, Stack]
    modules: Mapping[str, Submodule]
    final: str
    heads: Mapping[str, Mapping[str, str]]
    head_activation: str | None = None
    in_adapters: bool = True
    stand_ins: Mapping[Point, Point] = field(default_factory=dict)


def _same(table: Mapping[str, str]) -> dict[Point, Point]:
    return {Point.parse(point): Point.parse(original) for point, original in table.items()}


_POST_NORM_SHARED = _same({"key.input": "query.input", "value.input": "query.input", "ffn_up.input": "attention_norm.output"})

_BERT_LAYERS = Stack(
    layer="encoder.layer.{layer}",
    depth=("num_hidden_layers",),
    roles={
        "query": Submodule(path="attention.self.query", reads="hidden", writes="heads"),
        "key": Submodule(path="attention.self.key", reads="hidden", writes="heads"),
        "value": Submodule(path="attention.self.value", reads="hidden", writes="heads"),
        "attention_output": Submodule(path="attention.output.dense", reads="heads", writes="hidden"),
        "attention_norm": Submodule(path="attention.output.LayerNorm", reads="hidden", writes="hidden", elementwise=True),
        "ffn_up": Submodule(path="intermediate.dense", reads="hidden", writes="ffn"),
        "ffn_down": Submodule(path="output.dense", reads="ffn", writes="hidden"),
        "ffn_norm": Submodule(path="output.LayerNorm", reads="hidden", writes="hidden", elementwise=True),
    },
    same=_POST_NORM_SHARED,
    bottlenecks={"attention": "attention.output", "ffn": "output"},
)

_EMBEDDINGS_NORM = Submodule(path="embeddings.LayerNorm", reads="hidden", writes="hidden", elementwise=True)
_POOLER = Submodule(path="pooler.dense", reads="hidden", writes="hidden")

_BERT = Family(
    kind=Kind.ENCODER,
    prefix="bert",
    classes="Bert",
    dimensions={"hidden": ("hidden_size",), "heads": ("hidden_size",), "ffn": ("intermediate_size",)},
    stacks={"encoder": _BERT_LAYERS},
    modules={"embeddings_norm": _EMBEDDINGS_NORM, "pooler": _POOLER},
    final="encoder.layer.{last}.output.LayerNorm",
    heads={
        "TOKEN_CLS": {"output": "classifier"},
        "SEQ_CLS": {"output": "classifier"},
        "QUESTION_ANS": {"output": "qa_outputs"},
    },
    stand_ins=_same({"pooler.input": "final.output", "pooler.output": "final.output"}),
)

_ROBERTA = replace(
    _BERT,
    prefix="roberta",
    classes="Roberta",
    head_activation="tanh",
    heads={
        "TOKEN_CLS": {"output": "classifier"},
        "SEQ_CLS": {"dense": "classifier.dense", "output": "classifier.out_proj"},
        "QUESTION_ANS": {"output": "qa_outputs"},
    },
)

_ELECTRA = replace(
    _ROBERTA,
    prefix="electra",
    classes="Electra",
    head_activation="gelu",
    dimensions={**_BERT.dimensions, "embedding": ("embedding_size", "hidden_size")},
    modules={
        "embeddings_norm": Submodule(path="embeddings.LayerNorm", reads="embedding", writes="embedding", elementwise=True),
        "embeddings_project": Submodule(path="embeddings_project", reads="embedding", writes="hidden", between_widths=True),
    },
)

_DISTILBERT = Family(
    kind=Kind.ENCODER,
    prefix="distilbert",
    classes="DistilBert",
    head_activation="relu",
    dimensions={"hidden": ("dim",), "heads": ("dim",), "ffn": ("hidden_dim",)},
    stacks={
        "encoder": Stack(
            layer="transformer.layer.{layer}",
            depth=("n_layers",),
            roles={
                "query": Submodule(path="attention.q_lin", reads="hidden", writes="heads"),
                "key": Submodule(path="attention.k_lin", reads="hidden", writes="heads"),
                "value": Submodule(path="attention.v_lin", reads="hidden", writes="heads"),
                "attention_output": Submodule(path="attention.out_lin", reads="heads", writes="hidden"),
                "attention_norm": Submodule(path="sa_layer_norm", reads="hidden", writes="hidden", elementwise=True),
                "ffn_up": Submodule(path="ffn.lin1", reads="hidden", writes="ffn"),
                "ffn_down": Submodule(path="ffn.lin2", reads="ffn", writes="hidden"),
                "ffn_norm": Submodule(path="output_layer_norm", reads="hidden", writes="hidden", elementwise=True),
            },
            same=_POST_NORM_SHARED,
            bottlenecks={"attention": "attention_adapters", "ffn": "output_adapters"},
        )
    },
    modules={"embeddings_norm": _EMBEDDINGS_NORM},
    final="transformer.layer.{last}.output_layer_norm",
    heads={
        "TOKEN_CLS": {"output": "classifier"},
        "SEQ_CLS": {"dense": "pre_classifier", "output": "classifier"},
        "QUESTION_ANS": {"output": "qa_outputs"},
    },
)

FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": replace(_ROBERTA, classes="XLMRoberta"),
    "camembert": replace(_ROBERTA, classes="Camembert", in_adapters=False),
    "electra": _ELECTRA,
    "distilbert": _DISTILBERT,
}
"""`model_type` to family: the whole table."""

__all__ = ["FAMILIES", "RESIDUAL", "Family", "Kind", "Point", "Side", "Stack", "Submodule"]
