"""Encoders of text: BERT and its relatives."""

from collections.abc import Mapping
from dataclasses import replace

from modxfer.architectures.structure import VOCABULARY, Family, Kind, Stack, Submodule, same_points

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
    bottlenecks={"attention": "attention.output", "ffn": "output"},
)

_EMBEDDINGS = Submodule(path="embeddings.word_embeddings", reads=VOCABULARY, writes="hidden", transposed=True, biased=False)
_EMBEDDINGS_NORM = Submodule(path="embeddings.LayerNorm", reads="hidden", writes="hidden", elementwise=True)
_POOLER = Submodule(path="pooler.dense", reads="hidden", writes="hidden")

_BERT = Family(
    kind=Kind.ENCODER,
    prefix="bert",
    classes="Bert",
    dimensions={
        "hidden": ("hidden_size",),
        "heads": ("hidden_size",),
        "ffn": ("intermediate_size",),
        VOCABULARY: ("vocab_size",),
    },
    stacks={"encoder": _BERT_LAYERS},
    modules={"embeddings": _EMBEDDINGS, "embeddings_norm": _EMBEDDINGS_NORM, "pooler": _POOLER},
    final="encoder.layer.{last}.output.LayerNorm",
    heads={
        "TOKEN_CLS": {"output": "classifier"},
        "SEQ_CLS": {"output": "classifier"},
        "QUESTION_ANS": {"output": "qa_outputs"},
    },
    in_adapters=True,
    stand_ins=same_points({"pooler.input": "final.output", "pooler.output": "final.output"}),
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
        "embeddings": replace(_EMBEDDINGS, writes="embedding"),
        "embeddings_norm": Submodule(path="embeddings.LayerNorm", reads="embedding", writes="embedding", elementwise=True),
        "embeddings_project": Submodule(path="embeddings_project", reads="embedding", writes="hidden", between_widths=True),
    },
)

_DISTILBERT = Family(
    kind=Kind.ENCODER,
    prefix="distilbert",
    classes="DistilBert",
    in_adapters=True,
    head_activation="relu",
    dimensions={"hidden": ("dim",), "heads": ("dim",), "ffn": ("hidden_dim",), VOCABULARY: ("vocab_size",)},
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
    modules={"embeddings": _EMBEDDINGS, "embeddings_norm": _EMBEDDINGS_NORM},
    final="transformer.layer.{last}.output_layer_norm",
    heads={
        "TOKEN_CLS": {"output": "classifier"},
        "SEQ_CLS": {"dense": "pre_classifier", "output": "classifier"},
        "QUESTION_ANS": {"output": "qa_outputs"},
    },
)

ENCODERS: Mapping[str, Family] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": replace(_ROBERTA, classes="XLMRoberta"),
    "camembert": replace(_ROBERTA, classes="Camembert", in_adapters=False),
    "electra": _ELECTRA,
    "distilbert": _DISTILBERT,
}
"""`model_type` to family."""
