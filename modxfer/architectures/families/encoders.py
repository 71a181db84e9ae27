"""Encoders of text: BERT and its relatives."""

import re
from collections.abc import Mapping
from dataclasses import replace

from modxfer.architectures.sites import Point, Side, Site
from modxfer.architectures.structure import (
    NO_PREFIX,
    VOCABULARY,
    Family,
    Kind,
    Rows,
    Stack,
    Submodule,
    post_norm_stream,
    same_points,
    with_adapters,
)

_POST_NORM_SHARED = same_points(
    {"key.input": "query.input", "value.input": "query.input", "ffn_up.input": "attention_norm.output"}
)

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
    stream=post_norm_stream("attention", "ffn"),
    bottlenecks={"attention": "attention.output", "ffn": "output"},
    prefixes={"self_prefix": "attention.self.prefix_tuning"},
)

_EMBEDDINGS = Submodule(path="embeddings.word_embeddings", reads=VOCABULARY, writes="hidden", transposed=True, biased=False)
_EMBEDDINGS_NORM = Submodule(path="embeddings.LayerNorm", reads="hidden", writes="hidden", elementwise=True)
_NORMALISED = Site("", None, Point("embeddings_norm", Side.OUTPUT))
_POOLER = Submodule(path="pooler.dense", reads="hidden", writes="hidden")
_POSITIONS = Submodule(path="embeddings.position_embeddings", reads="positions", writes="hidden", transposed=True, biased=False)
_TOKEN_KINDS = replace(_POSITIONS, path="embeddings.token_type_embeddings", reads="token kinds")
_TABLES = {"position_embeddings": _POSITIONS, "token_type_embeddings": _TOKEN_KINDS}
_BEHIND_PADDING = {**_TABLES, "position_embeddings": replace(_POSITIONS, reads="positions behind padding")}

_BERT = Family(
    kind=Kind.ENCODER,
    prefix="bert",
    classes="Bert",
    dimensions={
        "hidden": ("hidden_size",),
        "heads": ("hidden_size",),
        "ffn": ("intermediate_size",),
        VOCABULARY: ("vocab_size",),
        "positions": ("max_position_embeddings",),
        "token kinds": ("type_vocab_size",),
    },
    stacks={"encoder": _BERT_LAYERS},
    modules={"embeddings": _EMBEDDINGS, "embeddings_norm": _EMBEDDINGS_NORM, "pooler": _POOLER},
    tables=_TABLES,
    final="encoder.layer.{last}.output.LayerNorm",
    heads={
        "TOKEN_CLS": {"output": "classifier"},
        "SEQ_CLS": {"output": "classifier"},
        "QUESTION_ANS": {"output": "qa_outputs"},
    },
    in_adapters=True,
    embedded=_NORMALISED,
    stand_ins=same_points({"pooler.input": "final.output", "pooler.output": "final.output"}),
)

_ROBERTA = replace(
    _BERT,
    prefix="roberta",
    classes="Roberta",
    head_activation="tanh",
    dimensions={**_BERT.dimensions, "positions behind padding": ("max_position_embeddings",)},
    tables=_BEHIND_PADDING,
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
    tables=_TABLES,
    dimensions={**_BERT.dimensions, "embedding": ("embedding_size", "hidden_size")},
    modules={
        "embeddings": replace(_EMBEDDINGS, writes="embedding"),
        "embeddings_norm": Submodule(path="embeddings.LayerNorm", reads="embedding", writes="embedding", elementwise=True),
        "embeddings_project": Submodule(path="embeddings_project", reads="embedding", writes="hidden", between_widths=True),
    },
)

_DISTILBERT = Family(
    kind=Kind.ENCODER,
    prefix="distilbert",
    classes="DistilBert",
    peft_lacks=NO_PREFIX,
    in_adapters=True,
    embedded=_NORMALISED,
    head_activation="relu",
    dimensions={
        "hidden": ("dim",),
        "heads": ("dim",),
        "ffn": ("hidden_dim",),
        VOCABULARY: ("vocab_size",),
        "positions": ("max_position_embeddings",),
    },
    tables={"position_embeddings": _POSITIONS},
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
            stream=post_norm_stream("attention", "ffn"),
            bottlenecks={"attention": "attention_adapters", "ffn": "output_adapters"},
            prefixes={"self": "attention.prefix_tuning"},
        )
    },
    modules={"embeddings": _EMBEDDINGS, "embeddings_norm": _EMBEDDINGS_NORM},
    final="transformer.layer.{last}.output_layer_norm",
    heads={
        "TOKEN_CLS": {"output": "classifier"},
        "SEQ_CLS": {"dense": "pre_classifier", "output": "classifier"},
        "QUESTION_ANS": {"output": "qa_outputs"},
    },
)

_SIZES = {key: _BERT.dimensions[key] for key in ("hidden", "heads", "ffn", VOCABULARY)}

_MPNET_ROLES = {
    "query": "attention.attn.q",
    "key": "attention.attn.k",
    "value": "attention.attn.v",
    "attention_output": "attention.attn.o",
    "attention_norm": "attention.LayerNorm",
}

_MPNET = replace(
    _ROBERTA,
    prefix="mpnet",
    classes="MPNet",
    peft_lacks=NO_PREFIX,
    in_adapters=False,
    dimensions={**_SIZES, "positions behind padding": ("max_position_embeddings",)},
    tables={"position_embeddings": _BEHIND_PADDING["position_embeddings"]},
    stacks={
        "encoder": replace(
            _BERT_LAYERS,
            roles={role: replace(row, path=_MPNET_ROLES.get(role, row.path)) for role, row in _BERT_LAYERS.roles.items()},
            bottlenecks={},
        )
    },
)

_DEBERTA_ROLES = {
    **_BERT_LAYERS.roles,
    "query": Submodule(path="attention.self.query_proj", reads="hidden", writes="heads"),
    "key": Submodule(path="attention.self.key_proj", reads="hidden", writes="heads"),
    "value": Submodule(path="attention.self.value_proj", reads="hidden", writes="heads"),
}

_DEBERTA_POSITIONS = {
    "position_key": Submodule(path="attention.self.pos_key_proj", reads="hidden", writes="heads"),
    "position_query": Submodule(path="attention.self.pos_query_proj", reads="hidden", writes="heads"),
}
"""They read the table of relative positions, whose units are those of the residual stream. What they write meets queries and
keys, and so is in the units of these."""

_DEBERTA = Family(
    kind=Kind.ENCODER,
    prefix="deberta",
    classes="DebertaV2",
    peft_lacks=NO_PREFIX,
    head_activation="gelu",
    dimensions={**_SIZES, "embedding": ("embedding_size", "hidden_size")},
    stacks={"encoder": replace(_BERT_LAYERS, roles=_DEBERTA_ROLES, bottlenecks={})},
    modules={
        "embeddings": replace(_EMBEDDINGS, writes="embedding"),
        "embeddings_norm": _EMBEDDINGS_NORM,
        "embeddings_project": Submodule(
            path="embeddings.embed_proj", reads="embedding", writes="hidden", between_widths=True, biased=False
        ),
    },
    final=_BERT.final,
    heads={
        "TOKEN_CLS": {"output": "classifier"},
        "SEQ_CLS": {"dense": "pooler.dense", "output": "classifier"},
        "QUESTION_ANS": {"output": "qa_outputs"},
    },
)


def _with_positions(*roles: str) -> Family:
    """Give DeBERTa projections of its own for relative positions."""
    tied = same_points(
        {
            **{f"{role}.input": "query.input" for role in roles},
            **{f"{role}.output": "query.output" if role == "position_key" else "key.output" for role in roles},
        }
    )
    stack = _DEBERTA.stacks["encoder"]
    own = {**stack.roles, **{role: _DEBERTA_POSITIONS[role] for role in roles}}
    return replace(_DEBERTA, stacks={"encoder": replace(stack, roles=own, same={**stack.same, **tied})})


_OWN_POSITIONS = tuple(
    ({"relative_attention": True, "share_att_key": shared, "pos_att_type": re.compile(said, re.IGNORECASE)}, row)
    for shared in (False, None)
    for said, row in (
        (".*(c2p.*p2c|p2c.*c2p).*", _with_positions("position_key", "position_query")),
        (".*c2p.*", _with_positions("position_key")),
        (".*p2c.*", _with_positions("position_query")),
    )
)

_FUSED = {"query": 0, "key": 1, "value": 2}

_MODERNBERT = Family(
    kind=Kind.ENCODER,
    prefix="model",
    classes="ModernBert",
    peft_lacks=NO_PREFIX,
    head_activation="gelu",
    pooled=frozenset({"TOKEN_CLS", "SEQ_CLS", "QUESTION_ANS"}),
    dimensions=_SIZES,
    stacks={
        "encoder": Stack(
            layer="layers.{layer}",
            depth=("num_hidden_layers",),
            roles={
                **{
                    role: Submodule(
                        path="attn.Wqkv",
                        reads="hidden",
                        writes="heads",
                        rows=Rows(parts=("heads", "heads", "heads"), index=index),
                        biased=False,
                    )
                    for role, index in _FUSED.items()
                },
                "attention_output": Submodule(path="attn.Wo", reads="heads", writes="hidden", biased=False),
                "attention_norm": Submodule(
                    path="attn_norm", reads="hidden", writes="hidden", elementwise=True, biased=False, except_first=True
                ),
                **{
                    role: Submodule(
                        path="mlp.Wi", reads="hidden", writes="ffn", rows=Rows(parts=("ffn", "ffn"), index=index), biased=False
                    )
                    for index, role in enumerate(("ffn_gate", "ffn_up"))  # the activation is on the first half
                },
                "ffn_down": Submodule(path="mlp.Wo", reads="ffn", writes="hidden", biased=False),
                "ffn_norm": Submodule(path="mlp_norm", reads="hidden", writes="hidden", elementwise=True, biased=False),
            },
            same=same_points(
                {
                    "attention_norm.output": "query.input",
                    "key.input": "query.input",
                    "value.input": "query.input",
                    "ffn_norm.output": "ffn_up.input",
                    "ffn_gate.input": "ffn_up.input",
                }
            ),
        )
    },
    modules={
        "embeddings": Submodule(
            path="embeddings.tok_embeddings", reads=VOCABULARY, writes="hidden", transposed=True, biased=False
        ),
        "embeddings_norm": Submodule(path="embeddings.norm", reads="hidden", writes="hidden", elementwise=True, biased=False),
        "final_norm": Submodule(path="final_norm", reads="hidden", writes="hidden", elementwise=True, biased=False),
        "pooler": Submodule(path="head.dense", reads="hidden", writes="hidden", biased=False, outside_base=True),
        "pooler_norm": Submodule(
            path="head.norm", reads="hidden", writes="hidden", elementwise=True, biased=False, outside_base=True
        ),
    },
    final="final_norm",
    heads={
        "TOKEN_CLS": {"output": "classifier"},
        "SEQ_CLS": {"output": "classifier"},
        "QUESTION_ANS": {"output": "classifier"},
    },
    stand_ins=same_points(
        {
            "pooler.input": "final.output",
            "pooler.output": "final.output",
            "pooler_norm.input": "final.output",
            "pooler_norm.output": "final.output",
        }
    ),
)
"""What its task models put between the final hidden state and the classifier (`head`) comes with the pre-trained weights, as a
pooler does; it is not in the base model that is run, so the final state's map serves for it."""

ENCODERS: Mapping[str, Family] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": replace(_ROBERTA, classes="XLMRoberta"),
    "camembert": replace(_ROBERTA, classes="Camembert", in_adapters=False),
    "electra": _ELECTRA,
    "distilbert": _DISTILBERT,
    "mpnet": _MPNET,
    "deberta-v2": with_adapters(
        replace(_DEBERTA, variants=_OWN_POSITIONS),
        {"encoder": {"bottlenecks": _BERT_LAYERS.bottlenecks}},
        embedded=_NORMALISED,
    ),
    "modernbert": _MODERNBERT,
}
"""`model_type` to family."""
