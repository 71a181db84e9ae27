"""Configs of tiny models of every family."""

from collections.abc import Mapping
from typing import Any

import transformers

_TOKENS: dict[str, Any] = {"vocab_size": 50, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "num_labels": 5}

_ENCODER: dict[str, Any] = {
    **_TOKENS,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 36,
}
_GROUPED: dict[str, Any] = {**_ENCODER, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
_GROUPED_WIDE: dict[str, Any] = {**_GROUPED, "hidden_size": 24, "head_dim": 8}
_T5: dict[str, Any] = {
    **_TOKENS,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
    "d_model": 24,
    "d_kv": 8,
    "d_ff": 40,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 6,
    "relative_attention_max_distance": 10,
}
_BART: dict[str, Any] = {
    **_TOKENS,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 36,
}
_IMAGE: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "image_size": 12,
    "patch_size": 4,
    "num_labels": 5,
}

SIZES: Mapping[str, Mapping[str, Any]] = {
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "xlm-roberta": _ENCODER,
    "camembert": _ENCODER,
    "electra": {**_ENCODER, "embedding_size": 10},
    "distilbert": {
        **_TOKENS,
        "dim": 24,
        "n_layers": 2,
        "n_heads": 3,
        "hidden_dim": 40,
        "max_position_embeddings": 36,
    },
    "deberta-v2": {
        **_ENCODER,
        "relative_attention": True,
        "position_buckets": 6,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "modernbert": {
        **_ENCODER,
        "num_hidden_layers": 4,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "local_attention": 8,
        "reference_compile": False,
        "attn_implementation": "eager",
    },
    "mpnet": _ENCODER,
    "gpt2": {**_TOKENS, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_inner": 40, "n_positions": 36},
    "gpt_bigcode": {**_TOKENS, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_inner": 40, "n_positions": 36},
    "gpt_neox": _ENCODER,
    "llama": _GROUPED_WIDE,
    "mistral": _GROUPED_WIDE,
    "qwen2": _GROUPED,
    "qwen3": _GROUPED_WIDE,
    "gemma2": {**_GROUPED_WIDE, "sliding_window": 4},
    "gemma3_text": {**_GROUPED_WIDE, "sliding_window": 4},
    "phi3": _GROUPED,
    "opt": {
        **_TOKENS,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "ffn_dim": 40,
        "word_embed_proj_dim": 24,
        "max_position_embeddings": 36,
    },
    "falcon": {
        **_TOKENS,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_kv_heads": 2,
        "ffn_hidden_size": 40,
        "new_decoder_architecture": True,
    },
    "bloom": {**_TOKENS, "hidden_size": 24, "n_layer": 2, "n_head": 3},
    "mixtral": {**_GROUPED_WIDE, "num_local_experts": 3, "num_experts_per_tok": 2, "experts_implementation": "eager"},
    "qwen3_moe": {
        **_GROUPED_WIDE,
        "num_experts": 3,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 20,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "experts_implementation": "eager",
    },
    "t5": _T5,
    "mt5": {**_T5, "feed_forward_proj": "gated-gelu"},
    "bart": _BART,
    "mbart": _BART,
    "vit": _IMAGE,
    "clip_vision_model": _IMAGE,
    "clip_text_model": _ENCODER,
    "clip": {
        "text_config": {**_ENCODER, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 36},
        "vision_config": _IMAGE,
        "projection_dim": 14,
        "num_labels": 5,
    },
}
"""`model_type` to what the config of its tiny model says: two layers, heads of 8 units, and all widths distinct where the
family allows it (hidden 24 or 32, query heads 24 or 32, key heads 16, FFN 40, vocabulary 50)."""


def tiny(model_type: str, **changes: Any) -> Any:
    """Make the config of a tiny model of a family; `changes` are other config keys."""
    return transformers.AutoConfig.for_model(model_type, **{**SIZES[model_type], **changes})
