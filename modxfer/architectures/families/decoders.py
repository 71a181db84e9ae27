"""Decoders of text: GPT-2, Llama and their relatives."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from modxfer.architectures.sites import Point, Side, Site
from modxfer.architectures.structure import (
    LORA_PLACES,
    VOCABULARY,
    Family,
    Kind,
    Rows,
    Size,
    Stack,
    Submodule,
    pre_norm_stream,
    same_points,
    with_adapters,
)

_NORMED = {f"{role}.input": "attention_norm.output" for role in ("query", "key", "value")}
_PRE_NORM = {**_NORMED, "ffn_up.input": "ffn_norm.output", "ffn_gate.input": "ffn_norm.output"}
_ONE_NORM = {**_NORMED, "ffn_up.input": "attention_norm.output"}
_POST_NORM = {"key.input": "query.input", "value.input": "query.input", "ffn_up.input": "attention_norm.output"}

_SCORE = {"SEQ_CLS": {"output": "score"}, "TOKEN_CLS": {"output": "score"}, "QUESTION_ANS": {"output": "qa_outputs"}}
_CLASSIFIER = {**_SCORE, "TOKEN_CLS": {"output": "classifier"}}

_VOCABULARY: Mapping[str, tuple[Size, ...]] = {VOCABULARY: ("vocab_size",)}
_EXPERTS = "it is one of several experts or chooses between them, and the experts of two base models have no fixed partners"


def _matrix(path: str, reads: str, writes: str, *, biased: bool = False, transposed: bool = False) -> Submodule:
    return Submodule(path=path, reads=reads, writes=writes, biased=biased, transposed=transposed)


def _norm(path: str, *, biased: bool = True) -> Submodule:
    return Submodule(path=path, reads="hidden", writes="hidden", elementwise=True, biased=biased)


def _fused(whole: Submodule, parts: Mapping[str, str], groups: tuple[Size, ...] = (1,)) -> dict[str, Submodule]:
    """Give the roles that share a matrix; `parts` are role to dimension, in the matrix's order."""
    return {
        role: replace(whole, writes=part, rows=Rows(parts=tuple(parts.values()), index=index, groups=groups))
        for index, (role, part) in enumerate(parts.items())
    }


def _qkv(path: str, *, groups: tuple[Size, ...] = (1,), biased: bool = False, transposed: bool = False) -> dict[str, Submodule]:
    whole = _matrix(path, "hidden", "heads", biased=biased, transposed=transposed)
    return _fused(whole, {"query": "heads", "key": "kv_heads", "value": "kv_heads"}, groups)


def _stack(layer: str, depth: tuple[Size, ...], roles: Mapping[str, Submodule], same: Mapping[str, str]) -> dict[str, Stack]:
    known = {point: original for point, original in same.items() if point.partition(".")[0] in roles}
    return {"decoder": Stack(layer=layer, depth=depth, roles=roles, same=same_points(known))}


def _around(embeddings: str, final_norm: str, *, biased: bool = True, lm_head: str = "lm_head") -> dict[str, Submodule]:
    """Give the submodules outside the layers."""
    return {
        "embeddings": Submodule(path=embeddings, reads=VOCABULARY, writes="hidden", transposed=True, biased=False),
        "final_norm": _norm(final_norm, biased=biased),
        "lm_head": Submodule(path=lm_head, reads="hidden", writes=VOCABULARY, biased=False, outside_base=True),
    }


def _choices(make: Callable[..., Family], **values: tuple[Any, ...]) -> Family:
    """Make the row of a family whose structure depends on config keys.

    Args:
        make: Gives the row for values of these keys.
        **values: Config key to the values that it may have; the first counts where the config says another one, or nothing.

    Returns:
        The row for the first values, with one variant for every other choice, the most particular ones first.
    """
    usual = {key: options[0] for key, options in values.items()}
    choices = [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]
    said = [{key: value for key, value in choice.items() if value != usual[key]} for choice in choices]
    pairs = sorted(zip(said, choices, strict=True), key=lambda pair: -len(pair[0]))
    return replace(make(**usual), variants=tuple((differs, make(**choice)) for differs, choice in pairs if differs))


_GPT2 = Family(
    kind=Kind.DECODER,
    prefix="transformer",
    classes="GPT2",
    dimensions={
        "hidden": ("n_embd", "hidden_size"),
        "heads": ("n_embd", "hidden_size"),
        "kv_heads": ("n_embd", "hidden_size"),
        "ffn": ("n_inner", ("n_embd", 4), ("hidden_size", 4)),
        **_VOCABULARY,
        "positions": ("n_positions", "max_position_embeddings"),
    },
    stacks=_stack(
        "h.{layer}",
        ("n_layer", "num_hidden_layers"),
        {
            **_qkv("attn.c_attn", biased=True, transposed=True),
            "attention_output": _matrix("attn.c_proj", "heads", "hidden", biased=True, transposed=True),
            "attention_norm": _norm("ln_1"),
            "ffn_up": _matrix("mlp.c_fc", "hidden", "ffn", biased=True, transposed=True),
            "ffn_down": _matrix("mlp.c_proj", "ffn", "hidden", biased=True, transposed=True),
            "ffn_norm": _norm("ln_2"),
        },
        _PRE_NORM,
    ),
    modules=_around("wte", "ln_f"),
    tables={"position_embeddings": Submodule(path="wpe", reads="positions", writes="hidden", transposed=True, biased=False)},
    final="ln_f",
    heads=_CLASSIFIER,
)


def _gpt_bigcode(*, multi_query: bool) -> Family:
    one_head: tuple[Size, ...] = (("n_embd", "/n_head"), ("hidden_size", "/num_attention_heads"))
    layers = _GPT2.stacks["decoder"]
    roles = {role: replace(row, transposed=False) for role, row in layers.roles.items()}
    groups: tuple[Size, ...] = (1,) if multi_query else ("n_head", "num_attention_heads")
    return replace(
        _GPT2,
        classes="GPTBigCode",
        dimensions={**_GPT2.dimensions, "kv_heads": one_head} if multi_query else _GPT2.dimensions,
        stacks={"decoder": replace(layers, roles={**roles, **_qkv("attn.c_attn", groups=groups, biased=True)})},
        heads={"SEQ_CLS": {"output": "score"}, "TOKEN_CLS": {"output": "classifier"}},
    )


def _gpt_neox(*, attention_bias: bool) -> Family:
    names_before_5 = _gpt_neox_with("embed_out", attention_bias=attention_bias)
    return replace(_gpt_neox_with("lm_head", attention_bias=attention_bias), before_5=names_before_5)


def _gpt_neox_with(lm_head: str, *, attention_bias: bool) -> Family:
    return Family(
        kind=Kind.DECODER,
        prefix="gpt_neox",
        classes="GPTNeoX",
        dimensions={
            "hidden": ("hidden_size",),
            "heads": ("hidden_size",),
            "kv_heads": ("hidden_size",),
            "ffn": ("intermediate_size",),
            **_VOCABULARY,
        },
        stacks=_stack(
            "layers.{layer}",
            ("num_hidden_layers",),
            {
                **_qkv("attention.query_key_value", groups=("num_attention_heads",), biased=attention_bias),
                "attention_output": _matrix("attention.dense", "heads", "hidden", biased=attention_bias),
                "attention_norm": _norm("input_layernorm"),
                "ffn_up": _matrix("mlp.dense_h_to_4h", "hidden", "ffn", biased=True),
                "ffn_down": _matrix("mlp.dense_4h_to_h", "ffn", "hidden", biased=True),
                "ffn_norm": _norm("post_attention_layernorm"),
            },
            _PRE_NORM,
        ),
        modules=_around("embed_in", "final_layer_norm", lm_head=lm_head),
        final="final_layer_norm",
        heads=_CLASSIFIER,
    )


def _attention(*, qkv_bias: bool, output_bias: bool) -> dict[str, Submodule]:
    return {
        "query": _matrix("self_attn.q_proj", "hidden", "heads", biased=qkv_bias),
        "key": _matrix("self_attn.k_proj", "hidden", "kv_heads", biased=qkv_bias),
        "value": _matrix("self_attn.v_proj", "hidden", "kv_heads", biased=qkv_bias),
        "attention_output": _matrix("self_attn.o_proj", "heads", "hidden", biased=output_bias),
        "attention_norm": _norm("input_layernorm", biased=False),
    }


_GROUPED: tuple[Size, ...] = (
    ("head_dim", "num_key_value_heads"),
    ("hidden_size", "num_key_value_heads", "/num_attention_heads"),
)
_HEAD_WIDTH_SAID: Mapping[str, tuple[Size, ...]] = {
    "heads": (("head_dim", "num_attention_heads"),),
    "kv_heads": (("head_dim", "num_key_value_heads"),),
}
"""Where a config without `head_dim` means a fixed number and not hidden size / heads."""


def _llama(*, attention_bias: bool = False, mlp_bias: bool = False) -> Family:
    return Family(
        kind=Kind.DECODER,
        prefix="model",
        classes="Llama",
        dimensions={
            "hidden": ("hidden_size",),
            "heads": (("head_dim", "num_attention_heads"), "hidden_size"),
            "kv_heads": (*_GROUPED, ("head_dim", "num_attention_heads"), "hidden_size"),
            "ffn": ("intermediate_size",),
            **_VOCABULARY,
        },
        stacks=_stack(
            "layers.{layer}",
            ("num_hidden_layers",),
            {
                **_attention(qkv_bias=attention_bias, output_bias=attention_bias),
                "ffn_gate": _matrix("mlp.gate_proj", "hidden", "ffn", biased=mlp_bias),
                "ffn_up": _matrix("mlp.up_proj", "hidden", "ffn", biased=mlp_bias),
                "ffn_down": _matrix("mlp.down_proj", "ffn", "hidden", biased=mlp_bias),
                "ffn_norm": _norm("post_attention_layernorm", biased=False),
            },
            _PRE_NORM,
        ),
        modules=_around("embed_tokens", "norm", biased=False),
        final="norm",
        heads=_SCORE,
        task_prefixes={"QUESTION_ANS": "transformer"},
    )


def _like_llama(classes: str, roles: Mapping[str, Submodule], *, without: tuple[str, ...] = (), **changes: Any) -> Family:
    """Give a relative of Llama: other roles in its layers, or fewer, and other fields of its row."""
    plain = _llama()
    table = {**plain.stacks["decoder"].roles, **roles}
    table = {role: row for role, row in table.items() if role not in without}
    stacks = _stack("layers.{layer}", ("num_hidden_layers",), table, _PRE_NORM)
    return replace(plain, classes=classes, **{"stacks": stacks, **changes})


_MISTRAL = _like_llama("Mistral", {}, dimensions={**_llama().dimensions, "kv_heads": _GROUPED}, task_prefixes={})
_QWEN2 = _like_llama("Qwen2", _attention(qkv_bias=True, output_bias=False), dimensions=_MISTRAL.dimensions)


def _qwen3(*, attention_bias: bool) -> Family:
    roles = _attention(qkv_bias=attention_bias, output_bias=attention_bias)
    return _like_llama("Qwen3", roles, dimensions={**_llama().dimensions, **_HEAD_WIDTH_SAID})


def _gemma(classes: str, heads: Mapping[str, Mapping[str, str]]) -> Callable[..., Family]:
    """Give Gemma 2 or 3, whose sub-blocks have a normalisation before them and one behind, all of them around one."""
    paths = {
        "attention_norm": "input_layernorm",
        "attention_post_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "ffn_post_norm": "post_feedforward_layernorm",
    }
    norms = {role: replace(_norm(path, biased=False), around_one=True) for role, path in paths.items()}
    around = _around("embed_tokens", "norm", biased=False)
    modules = {**around, "final_norm": replace(around["final_norm"], around_one=True)}

    def make(*, attention_bias: bool) -> Family:
        roles = {**_attention(qkv_bias=attention_bias, output_bias=attention_bias), **norms}
        dimensions = {**_llama().dimensions, **_HEAD_WIDTH_SAID}
        return _like_llama(classes, roles, dimensions=dimensions, heads=heads, modules=modules, task_prefixes={})

    return make


_PHI3 = _like_llama(
    "Phi3",
    {
        **_qkv("self_attn.qkv_proj"),
        **_fused(_matrix("mlp.gate_up_proj", "hidden", "ffn"), {"ffn_gate": "ffn", "ffn_up": "ffn"}),
    },
    heads={"SEQ_CLS": {"output": "score"}, "TOKEN_CLS": {"output": "score"}},
    task_prefixes={},
)


def _experts(
    classes: str, refused: tuple[str, ...], *, dimensions: Mapping[str, tuple[Size, ...]], **changes: Any
) -> Callable[..., Family]:
    """Give a family whose feed-forward layers are experts: its attention alone can be moved."""
    ffn = ("ffn_gate", "ffn_up", "ffn_down")
    widths = {key: sizes for key, sizes in {**_MISTRAL.dimensions, **dimensions}.items() if key != "ffn"}

    def make(*, attention_bias: bool) -> Family:
        roles = _attention(qkv_bias=attention_bias, output_bias=attention_bias)
        family = _like_llama(classes, roles, without=ffn, dimensions=widths, **changes)
        stack = replace(family.stacks["decoder"], refused=dict.fromkeys(refused, _EXPERTS))
        return replace(family, stacks={"decoder": stack})

    return make


def _opt(*, do_layer_norm_before: bool, enable_bias: bool, _remove_final_layer_norm: bool) -> Family:
    around = _around("decoder.embed_tokens", "decoder.final_layer_norm")
    projections = {
        "embeddings_project": replace(_matrix("decoder.project_in", "embedding", "hidden"), between_widths=True),
        "final_project": replace(_matrix("decoder.project_out", "hidden", "embedding"), between_widths=True),
    }
    if not do_layer_norm_before or _remove_final_layer_norm:
        del around["final_norm"]
    return Family(
        kind=Kind.DECODER,
        prefix="model",
        classes="OPT",
        dimensions={
            "hidden": ("hidden_size",),
            "heads": ("hidden_size",),
            "kv_heads": ("hidden_size",),
            "ffn": ("ffn_dim",),
            "embedding": ("word_embed_proj_dim", "hidden_size"),
            **_VOCABULARY,
        },
        stacks=_stack(
            "decoder.layers.{layer}",
            ("num_hidden_layers",),
            {
                "query": _matrix("self_attn.q_proj", "hidden", "heads", biased=enable_bias),
                "key": _matrix("self_attn.k_proj", "hidden", "kv_heads", biased=enable_bias),
                "value": _matrix("self_attn.v_proj", "hidden", "kv_heads", biased=enable_bias),
                "attention_output": _matrix("self_attn.out_proj", "heads", "hidden", biased=enable_bias),
                "attention_norm": _norm("self_attn_layer_norm"),
                "ffn_up": _matrix("fc1", "hidden", "ffn", biased=enable_bias),
                "ffn_down": _matrix("fc2", "ffn", "hidden", biased=enable_bias),
                "ffn_norm": _norm("final_layer_norm"),
            },
            _PRE_NORM if do_layer_norm_before else _POST_NORM,
        ),
        modules={
            **around,
            "embeddings": replace(around["embeddings"], writes="embedding"),
            "lm_head": replace(around["lm_head"], reads="embedding"),
            **projections,
        },
        final="decoder",
        final_dimension="embedding",
        heads={"SEQ_CLS": {"output": "score"}, "QUESTION_ANS": {"output": "qa_outputs"}},
    )


def _falcon(
    *, new_decoder_architecture: bool, multi_query: bool, parallel_attn: bool, num_ln_in_parallel_attn: int | None, bias: bool
) -> Family:
    groups: tuple[Size, ...] = (1,) if multi_query else ("num_attention_heads",)
    kv_heads: tuple[Size, ...] = (("hidden_size", "/num_attention_heads") if multi_query else "hidden_size",)
    if new_decoder_architecture:
        groups = ("num_kv_heads", "num_attention_heads")
        kv_heads = (("hidden_size", "num_kv_heads", "/num_attention_heads"), "hidden_size")
    norms = {"attention_norm": _norm("input_layernorm")}
    if not parallel_attn:
        norms["ffn_norm"] = _norm("post_attention_layernorm")
    elif new_decoder_architecture and num_ln_in_parallel_attn != 1:
        norms = {"attention_norm": _norm("ln_attn"), "ffn_norm": _norm("ln_mlp")}
    return Family(
        kind=Kind.DECODER,
        prefix="transformer",
        classes="Falcon",
        peft_lacks={"prefix": "its attention keeps other heads of keys than `peft` counts"},
        dimensions={
            "hidden": ("hidden_size",),
            "heads": ("hidden_size",),
            "kv_heads": kv_heads,
            "ffn": ("ffn_hidden_size", ("hidden_size", 4)),
            **_VOCABULARY,
        },
        stacks=_stack(
            "h.{layer}",
            ("num_hidden_layers",),
            {
                **_qkv("self_attention.query_key_value", groups=groups, biased=bias),
                "attention_output": _matrix("self_attention.dense", "heads", "hidden", biased=bias),
                "ffn_up": _matrix("mlp.dense_h_to_4h", "hidden", "ffn", biased=bias),
                "ffn_down": _matrix("mlp.dense_4h_to_h", "ffn", "hidden", biased=bias),
                **norms,
            },
            _PRE_NORM if "ffn_norm" in norms else _ONE_NORM,
        ),
        modules=_around("word_embeddings", "ln_f"),
        final="ln_f",
        heads=_CLASSIFIER,
    )


_BLOOM_WIDTH: tuple[Size, ...] = ("n_embed", "hidden_size")

_BLOOM = Family(
    kind=Kind.DECODER,
    prefix="transformer",
    classes="Bloom",
    dimensions={
        "hidden": _BLOOM_WIDTH,
        "heads": _BLOOM_WIDTH,
        "kv_heads": _BLOOM_WIDTH,
        "ffn": (("n_embed", 4), ("hidden_size", 4)),
        **_VOCABULARY,
    },
    stacks=_stack(
        "h.{layer}",
        ("num_hidden_layers", "n_layer"),
        {
            **_qkv("self_attention.query_key_value", groups=("num_attention_heads", "n_head"), biased=True),
            "attention_output": _matrix("self_attention.dense", "heads", "hidden", biased=True),
            "attention_norm": _norm("input_layernorm"),
            "ffn_up": _matrix("mlp.dense_h_to_4h", "hidden", "ffn", biased=True),
            "ffn_down": _matrix("mlp.dense_4h_to_h", "ffn", "hidden", biased=True),
            "ffn_norm": _norm("post_attention_layernorm"),
        },
        _PRE_NORM,
    ),
    modules={**_around("word_embeddings", "ln_f"), "embeddings_norm": _norm("word_embeddings_layernorm")},
    final="ln_f",
    heads=_CLASSIFIER,
)

# --- in `adapters` -------------------------------------------------------------------------------------------------------

_NO_PROMPTS = {"prompt": "it has no prompt tuning for this family"}
_IN_ADAPTERS: dict[str, Any] = {
    "stream": pre_norm_stream("attention", "ffn"),
    "behind": Point("final_norm", Side.INPUT),
    "bottlenecks": {"attention": "attention_adapters", "ffn": "output_adapters"},
}
_SCORES = frozenset({"SEQ_CLS"})
_FIRST_LAYER = Site("decoder", 0, Point("attention", Side.INPUT))
_LLAMA_IN_ADAPTERS: dict[str, Any] = {
    **_IN_ADAPTERS,
    "prefixes": {"self_prefix": "self_attn.prefix_tuning"},
    "lora": {**LORA_PLACES, "intermediate_lora": ("ffn_down",), "output_lora": ("ffn_up",)},
}
"""Beside Llama and Mistral, `adapters` has the two projections the other way round."""


def _like_llama_in_adapters(family: Family) -> Family:
    return with_adapters(
        family,
        {"decoder": _LLAMA_IN_ADAPTERS},
        adapters_lacks=_NO_PROMPTS,
        embedded=_FIRST_LAYER,
        unbiased_heads=_SCORES,
    )


_SWITCH = (False, True)

DECODERS: Mapping[str, Family] = {
    "gpt2": with_adapters(
        _GPT2,
        {"decoder": {**_IN_ADAPTERS, "prefixes": {"self_prefix": "attn.prefix_tuning"}}},
        adapters_lacks={**_NO_PROMPTS, "dora": "it takes the matrices of this family the wrong way round"},
        embedded=_FIRST_LAYER,
        unbiased_heads=_SCORES,
    ),
    "gpt_bigcode": _choices(_gpt_bigcode, multi_query=(True, False)),
    "gpt_neox": _choices(_gpt_neox, attention_bias=(True, False)),
    "llama": _like_llama_in_adapters(_choices(_llama, attention_bias=_SWITCH, mlp_bias=_SWITCH)),
    "mistral": _like_llama_in_adapters(_MISTRAL),
    "qwen2": _QWEN2,
    "qwen3": _choices(_qwen3, attention_bias=_SWITCH),
    "gemma2": _choices(
        _gemma("Gemma2", {"SEQ_CLS": {"output": "score"}, "TOKEN_CLS": {"output": "score"}}), attention_bias=_SWITCH
    ),
    "gemma3_text": _choices(_gemma("Gemma3", {"SEQ_CLS": {"output": "score"}}), attention_bias=_SWITCH),
    "phi3": _PHI3,
    "opt": _choices(
        _opt, do_layer_norm_before=(True, False), enable_bias=(True, False), _remove_final_layer_norm=(False, True)
    ),
    "falcon": _choices(
        _falcon,
        new_decoder_architecture=_SWITCH,
        multi_query=(True, False),
        parallel_attn=(True, False),
        num_ln_in_parallel_attn=(None, 1),
        bias=_SWITCH,
    ),
    "bloom": _BLOOM,
    "mixtral": _experts("Mixtral", ("block_sparse_moe", "mlp"), dimensions={}, task_prefixes={})(attention_bias=False),
    "qwen3_moe": _choices(_experts("Qwen3Moe", ("mlp",), dimensions=_HEAD_WIDTH_SAID), attention_bias=_SWITCH),
}
"""`model_type` to family."""
