"""Decoders of text: GPT-2, Llama and their relatives."""

from collections.abc import Mapping
from dataclasses import replace

from modxfer.architectures.structure import VOCABULARY, Family, Kind, Rows, Stack, Submodule, same_points

_SHARED_INPUT = same_points({"key.input": "query.input", "value.input": "query.input"})
_PRE_NORM_SHARED = same_points(
    {
        "query.input": "attention_norm.output",
        "key.input": "attention_norm.output",
        "value.input": "attention_norm.output",
        "ffn_up.input": "ffn_norm.output",
    }
)
_PRE_NORM_GATED_SHARED = {**_PRE_NORM_SHARED, **same_points({"ffn_gate.input": "ffn_norm.output"})}

_QKV = ("heads", "kv_heads", "kv_heads")
"""The parts of a matrix that fuses queries, keys and values, in this order."""


def _norm(path: str, *, biased: bool = True) -> Submodule:
    return Submodule(path=path, reads="hidden", writes="hidden", elementwise=True, biased=biased)


def _qkv(path: str, *, groups: tuple[str | int, ...], transposed: bool = False, biased: bool = True) -> dict[str, Submodule]:
    """Give query, key and value, which share a matrix."""
    whole = Submodule(path=path, reads="hidden", writes="heads", transposed=transposed, biased=biased)
    return {
        role: replace(whole, writes=part, rows=Rows(parts=_QKV, index=index, groups=groups))
        for index, (role, part) in enumerate(zip(("query", "key", "value"), _QKV, strict=True))
    }


def _embeddings(path: str) -> Submodule:
    return Submodule(path=path, reads=VOCABULARY, writes="hidden", transposed=True, biased=False)


_LM_HEAD = Submodule(path="lm_head", reads="hidden", writes=VOCABULARY, biased=False, outside_base=True)

_GPT2 = Family(
    kind=Kind.DECODER,
    prefix="transformer",
    classes="GPT2",
    dimensions={
        "hidden": ("n_embd", "hidden_size"),
        "heads": ("n_embd", "hidden_size"),
        "kv_heads": ("n_embd", "hidden_size"),
        "ffn": ("n_inner", ("n_embd", 4), ("hidden_size", 4)),
        VOCABULARY: ("vocab_size",),
    },
    stacks={
        "decoder": Stack(
            layer="h.{layer}",
            depth=("n_layer", "num_hidden_layers"),
            roles={
                **_qkv("attn.c_attn", groups=(1,), transposed=True),
                "attention_output": Submodule(path="attn.c_proj", reads="heads", writes="hidden", transposed=True),
                "attention_norm": _norm("ln_1"),
                "ffn_up": Submodule(path="mlp.c_fc", reads="hidden", writes="ffn", transposed=True),
                "ffn_down": Submodule(path="mlp.c_proj", reads="ffn", writes="hidden", transposed=True),
                "ffn_norm": _norm("ln_2"),
            },
            same=_PRE_NORM_SHARED,
        )
    },
    modules={"embeddings": _embeddings("wte"), "final_norm": _norm("ln_f"), "lm_head": _LM_HEAD},
    final="ln_f",
    heads={
        "SEQ_CLS": {"output": "score"},
        "TOKEN_CLS": {"output": "classifier"},
        "QUESTION_ANS": {"output": "qa_outputs"},
    },
)

_LLAMA = Family(
    kind=Kind.DECODER,
    prefix="model",
    classes="Llama",
    dimensions={
        "hidden": ("hidden_size",),
        "heads": (("head_dim", "num_attention_heads"), "hidden_size"),
        "kv_heads": (
            ("head_dim", "num_key_value_heads"),
            ("hidden_size", "num_key_value_heads", "/num_attention_heads"),
            ("head_dim", "num_attention_heads"),
            "hidden_size",
        ),
        "ffn": ("intermediate_size",),
        VOCABULARY: ("vocab_size",),
    },
    stacks={
        "decoder": Stack(
            layer="layers.{layer}",
            depth=("num_hidden_layers",),
            roles={
                "query": Submodule(path="self_attn.q_proj", reads="hidden", writes="heads", biased=False),
                "key": Submodule(path="self_attn.k_proj", reads="hidden", writes="kv_heads", biased=False),
                "value": Submodule(path="self_attn.v_proj", reads="hidden", writes="kv_heads", biased=False),
                "attention_output": Submodule(path="self_attn.o_proj", reads="heads", writes="hidden", biased=False),
                "attention_norm": _norm("input_layernorm", biased=False),
                "ffn_gate": Submodule(path="mlp.gate_proj", reads="hidden", writes="ffn", biased=False),
                "ffn_up": Submodule(path="mlp.up_proj", reads="hidden", writes="ffn", biased=False),
                "ffn_down": Submodule(path="mlp.down_proj", reads="ffn", writes="hidden", biased=False),
                "ffn_norm": _norm("post_attention_layernorm", biased=False),
            },
            same=_PRE_NORM_GATED_SHARED,
        )
    },
    modules={"embeddings": _embeddings("embed_tokens"), "final_norm": _norm("norm", biased=False), "lm_head": _LM_HEAD},
    final="norm",
    heads={
        "SEQ_CLS": {"output": "score"},
        "TOKEN_CLS": {"output": "score"},
        "QUESTION_ANS": {"output": "qa_outputs"},
    },
    task_prefixes={"QUESTION_ANS": "transformer"},
)

DECODERS: Mapping[str, Family] = {"gpt2": _GPT2, "llama": _LLAMA}
"""`model_type` to family."""
