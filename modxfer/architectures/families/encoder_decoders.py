"""Encoders with a decoder: T5, BART and their relatives."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modxfer.architectures.sites import Point, Side, Site
from modxfer.architectures.structure import (
    VOCABULARY,
    Family,
    Kind,
    Stack,
    Submodule,
    post_norm_stream,
    pre_norm_stream,
    same_points,
    with_adapters,
)


def _norm(path: str, *, biased: bool = True) -> Submodule:
    return Submodule(path=path, reads="hidden", writes="hidden", elementwise=True, biased=biased)


def _embeddings(path: str) -> Submodule:
    return Submodule(path=path, reads=VOCABULARY, writes="hidden", transposed=True, biased=False)


def _attention(path: str, ends: Mapping[str, str], *, cross: bool = False, biased: bool) -> dict[str, Submodule]:
    """Give the roles of an attention; what it adds to the decoder from the encoder has `cross_` in front."""
    start = "cross_" if cross else ""
    return {
        f"{start}{role}": Submodule(
            path=f"{path}.{end}",
            reads="heads" if role == "attention_output" else "hidden",
            writes="hidden" if role == "attention_output" else "heads",
            biased=biased,
        )
        for role, end in ends.items()
    }


_LM_HEAD = Submodule(path="lm_head", reads="hidden", writes=VOCABULARY, biased=False, outside_base=True)
_STAND_IN = same_points({"embeddings.output": "encoder_embeddings.output"})
"""The table that both stacks share is not run itself."""

# --- T5 ------------------------------------------------------------------------------------------------------------------

_T5_ENDS = {"query": "q", "key": "k", "value": "v", "attention_output": "o"}
_TOKEN_HEAD = {"TOKEN_CLS": {"output": "classifier"}}
"""T5's only head on the encoder alone."""

_PLAIN = {"ffn_up": "wi"}
_GATED = {"ffn_gate": "wi_0", "ffn_up": "wi_1"}
_PRE_NORM = {
    "query.input": "attention_norm.output",
    "key.input": "attention_norm.output",
    "value.input": "attention_norm.output",
    "ffn_up.input": "ffn_norm.output",
}
_PRE_NORM_CROSS = {**_PRE_NORM, "cross_query.input": "cross_attention_norm.output", "cross_value.input": "cross_key.input"}


def _t5_stack(stack: str, feed_forward: Mapping[str, str], *, depth: tuple[str, ...]) -> Stack:
    is_decoder = stack == "decoder"
    at = 2 if is_decoder else 1
    cross = {
        **_attention("layer.1.EncDecAttention", _T5_ENDS, cross=True, biased=False),
        "cross_attention_norm": _norm("layer.1.layer_norm", biased=False),
    }
    gate = {"ffn_gate.input": "ffn_norm.output"} if "ffn_gate" in feed_forward else {}
    return Stack(
        layer=f"{stack}.block.{{layer}}",
        depth=depth,
        roles={
            **_attention("layer.0.SelfAttention", _T5_ENDS, biased=False),
            "attention_norm": _norm("layer.0.layer_norm", biased=False),
            **(cross if is_decoder else {}),
            **{
                role: Submodule(path=f"layer.{at}.DenseReluDense.{end}", reads="hidden", writes="ffn", biased=False)
                for role, end in feed_forward.items()
            },
            "ffn_down": Submodule(path=f"layer.{at}.DenseReluDense.wo", reads="ffn", writes="hidden", biased=False),
            "ffn_norm": _norm(f"layer.{at}.layer_norm", biased=False),
        },
        same=same_points({**(_PRE_NORM_CROSS if is_decoder else _PRE_NORM), **gate}),
    )


def _t5(classes: str, feed_forward: Mapping[str, str]) -> Family:
    return Family(
        kind=Kind.ENCODER_DECODER,
        prefix="",
        classes=classes,
        head_activation="tanh",
        dimensions={
            "hidden": ("d_model",),
            "heads": (("num_heads", "d_kv"),),
            "ffn": ("d_ff",),
            VOCABULARY: ("vocab_size",),
        },
        stacks={
            "encoder": _t5_stack("encoder", feed_forward, depth=("num_layers",)),
            "decoder": _t5_stack("decoder", feed_forward, depth=("num_decoder_layers", "num_layers")),
        },
        modules={
            "embeddings": _embeddings("shared"),
            "encoder_embeddings": _embeddings("encoder.embed_tokens"),
            "decoder_embeddings": _embeddings("decoder.embed_tokens"),
            "encoder_norm": _norm("encoder.final_layer_norm", biased=False),
            "final_norm": _norm("decoder.final_layer_norm", biased=False),
            "lm_head": _LM_HEAD,
        },
        final="decoder.final_layer_norm",
        heads={
            "SEQ_CLS": {"dense": "classification_head.dense", "output": "classification_head.out_proj"},
            "QUESTION_ANS": {"output": "qa_outputs"},
            **_TOKEN_HEAD,
        },
        head_points={"TOKEN_CLS": Point("encoder_norm", Side.OUTPUT)},
        stand_ins=_STAND_IN,
        task_prefixes={"SEQ_CLS": "transformer", "TOKEN_CLS": "transformer"},
    )


def _encoder_of(family: Family) -> Family:
    """Describe base models that are the encoder alone."""
    return replace(
        family,
        kind=Kind.ENCODER,
        stacks={"encoder": family.stacks["encoder"]},
        modules={role: family.modules[role] for role in ("embeddings", "encoder_embeddings", "encoder_norm")},
        final="encoder.final_layer_norm",
        heads=_TOKEN_HEAD,
        head_points={},
        auto_class="AutoModelForTextEncoding",
    )


def _t5_rows(classes: str, *, gated: bool) -> Family:
    """Give a family with its variants: the other kind of feed-forward, and the encoder alone."""
    own, other = (_GATED, _PLAIN) if gated else (_PLAIN, _GATED)
    said = {"feed_forward_proj": re.compile(r"(?!gated-|None$).*" if gated else r"gated-.*")}
    first, second = _t5(classes, own), _t5(classes, other)
    alone = replace(_encoder_of(first), variants=((said, _encoder_of(second)),))
    return replace(first, variants=(({"architectures": [f"{classes}EncoderModel"]}, alone), (said, second)))


# --- BART ----------------------------------------------------------------------------------------------------------------

_BART_ENDS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "attention_output": "out_proj"}
_POST_NORM = {"key.input": "query.input", "value.input": "query.input"}
_BART_SAME = {
    "encoder": {**_POST_NORM, "ffn_up.input": "attention_norm.output"},
    "decoder": {
        **_POST_NORM,
        "cross_query.input": "attention_norm.output",
        "cross_value.input": "cross_key.input",
        "ffn_up.input": "cross_attention_norm.output",
    },
}
_MBART_SAME = {"encoder": _PRE_NORM, "decoder": _PRE_NORM_CROSS}


def _bart_stack(stack: str, same: Mapping[str, str]) -> Stack:
    ffn = f"{stack}_ffn"
    cross = {
        **_attention("encoder_attn", _BART_ENDS, cross=True, biased=True),
        "cross_attention_norm": _norm("encoder_attn_layer_norm"),
    }
    return Stack(
        layer=f"{stack}.layers.{{layer}}",
        depth=(f"{stack}_layers",),
        roles={
            **_attention("self_attn", _BART_ENDS, biased=True),
            "attention_norm": _norm("self_attn_layer_norm"),
            **(cross if stack == "decoder" else {}),
            "ffn_up": Submodule(path="fc1", reads="hidden", writes=ffn),
            "ffn_down": Submodule(path="fc2", reads=ffn, writes="hidden"),
            "ffn_norm": _norm("final_layer_norm"),
        },
        same=same_points(same),
    )


_BART = Family(
    kind=Kind.ENCODER_DECODER,
    prefix="model",
    classes="Bart",
    head_activation="tanh",
    dimensions={
        "hidden": ("d_model",),
        "heads": ("d_model",),
        "encoder_ffn": ("encoder_ffn_dim",),
        "decoder_ffn": ("decoder_ffn_dim",),
        VOCABULARY: ("vocab_size",),
    },
    stacks={stack: _bart_stack(stack, same) for stack, same in _BART_SAME.items()},
    modules={
        "embeddings": _embeddings("shared"),
        "encoder_embeddings": _embeddings("encoder.embed_tokens"),
        "decoder_embeddings": _embeddings("decoder.embed_tokens"),
        "embeddings_norm": _norm("encoder.layernorm_embedding"),
        "decoder_embeddings_norm": _norm("decoder.layernorm_embedding"),
        "lm_head": _LM_HEAD,
    },
    final="decoder",
    heads={
        "SEQ_CLS": {"dense": "classification_head.dense", "output": "classification_head.out_proj"},
        "QUESTION_ANS": {"output": "qa_outputs"},
    },
    stand_ins=_STAND_IN,
)

_MBART = replace(
    _BART,
    classes="MBart",
    stacks={stack: _bart_stack(stack, same) for stack, same in _MBART_SAME.items()},
    modules={**_BART.modules, "encoder_norm": _norm("encoder.layer_norm"), "final_norm": _norm("decoder.layer_norm")},
)

# --- in `adapters` -------------------------------------------------------------------------------------------------------

_SUB_BLOCKS = {"encoder": ("attention", "ffn"), "decoder": ("attention", "cross_attention", "ffn")}
_BEHIND = {"encoder": Point("encoder_norm", Side.INPUT), "decoder": Point("final_norm", Side.INPUT)}
_POST_NORM_STREAMS = {stack: {"stream": post_norm_stream(*names)} for stack, names in _SUB_BLOCKS.items()}
_PRE_NORM_STREAMS = {
    stack: {"stream": pre_norm_stream(*names), "behind": _BEHIND[stack]} for stack, names in _SUB_BLOCKS.items()
}
_T5_IN_ADAPTERS = {
    "encoder": {
        "bottlenecks": {"attention": "layer.0", "ffn": "layer.1"},
        "prefixes": {"encoder_prefix": "layer.0.SelfAttention.prefix_tuning"},
    },
    "decoder": {
        "bottlenecks": {"attention": "layer.0", "cross_attention": "layer.1", "ffn": "layer.2"},
        "prefixes": {
            "self_prefix": "layer.0.SelfAttention.prefix_tuning",
            "cross_prefix": "layer.1.EncDecAttention.prefix_tuning",
        },
    },
}
_BART_BOTTLENECKS = {"attention": "attention_adapters", "ffn": "output_adapters"}
_BART_IN_ADAPTERS = {
    "encoder": {"bottlenecks": _BART_BOTTLENECKS, "prefixes": {"encoder_prefix": "self_attn.prefix_tuning"}},
    "decoder": {
        "bottlenecks": {**_BART_BOTTLENECKS, "cross_attention": "cross_attention_adapters"},
        "prefixes": {"self_prefix": "self_attn.prefix_tuning", "cross_prefix": "encoder_attn.prefix_tuning"},
    },
}


def _in_adapters(
    family: Family, streams: Mapping[str, Any], own: Mapping[str, Any], *, embedded: Site, **changes: Any
) -> Family:
    return with_adapters(
        family,
        {stack: {**streams[stack], **own[stack]} for stack in _SUB_BLOCKS},
        adapters_lacks={"prompt": "it has no prompt tuning for this family"},
        embedded=embedded,
        invertible="encoder",
        **changes,
    )


_FIRST_LAYER = Site("encoder", 0, Point("attention", Side.INPUT))


def _t5_in_adapters(family: Family) -> Family:
    return _in_adapters(family, _PRE_NORM_STREAMS, _T5_IN_ADAPTERS, embedded=_FIRST_LAYER, adapters_prefix="transformer")


_NORMALISED = Site("", None, Point("embeddings_norm", Side.OUTPUT))

ENCODER_DECODERS: Mapping[str, Family] = {
    "t5": _t5_in_adapters(_t5_rows("T5", gated=False)),
    "mt5": _t5_in_adapters(_t5_rows("MT5", gated=True)),
    "bart": _in_adapters(_BART, _POST_NORM_STREAMS, _BART_IN_ADAPTERS, embedded=_NORMALISED),
    "mbart": _in_adapters(_MBART, _PRE_NORM_STREAMS, _BART_IN_ADAPTERS, embedded=_NORMALISED),
}
"""`model_type` to family."""
