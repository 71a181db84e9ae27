"""Encoders of images: ViT and CLIP."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modxfer.architectures.sites import FINAL, Point, Side, Site
from modxfer.architectures.structure import (
    NO_PREFIX,
    VOCABULARY,
    Family,
    Kind,
    Stack,
    Submodule,
    pre_norm_stream,
    same_points,
    with_adapters,
)

_PRE_NORM = same_points(
    {
        "query.input": "attention_norm.output",
        "key.input": "attention_norm.output",
        "value.input": "attention_norm.output",
        "ffn_up.input": "ffn_norm.output",
    }
)

_IMAGE_CLASSES = {"IMAGE_CLS": {"output": "classifier"}}
"""`peft` has no task type for it, and modules say none."""


def _norm(path: str, dimension: str = "hidden") -> Submodule:
    return Submodule(path=path, reads=dimension, writes=dimension, elementwise=True)


def _roles(paths: Mapping[str, str], tower: str = "") -> dict[str, Submodule]:
    """Give the roles of a layer, between the dimensions of its tower."""
    hidden, heads, ffn = f"{tower}hidden", f"{tower}heads", f"{tower}ffn"
    ends = {
        "query": (hidden, heads),
        "key": (hidden, heads),
        "value": (hidden, heads),
        "attention_output": (heads, hidden),
        "ffn_up": (hidden, ffn),
        "ffn_down": (ffn, hidden),
    }
    return {
        role: Submodule(path=path, reads=ends[role][0], writes=ends[role][1]) if role in ends else _norm(path, hidden)
        for role, path in paths.items()
    }


# --- ViT -----------------------------------------------------------------------------------------------------------------

_VIT_PATHS = {
    "query": "attention.q_proj",
    "key": "attention.k_proj",
    "value": "attention.v_proj",
    "attention_output": "attention.o_proj",
    "attention_norm": "layernorm_before",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
    "ffn_norm": "layernorm_after",
}

_VIT_PATHS_BEFORE_5 = {
    **_VIT_PATHS,
    "query": "attention.attention.query",
    "key": "attention.attention.key",
    "value": "attention.attention.value",
    "attention_output": "attention.output.dense",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
}

_VIT_LAYERS = Stack(layer="layers.{layer}", depth=("num_hidden_layers",), roles=_roles(_VIT_PATHS), same=_PRE_NORM)

_VIT = Family(
    kind=Kind.IMAGE,
    prefix="vit",
    classes="ViT",
    dimensions={"hidden": ("hidden_size",), "heads": ("hidden_size",), "ffn": ("intermediate_size",)},
    stacks={"encoder": _VIT_LAYERS},
    modules={"final_norm": _norm("layernorm"), "pooler": Submodule(path="pooler.dense", reads="hidden", writes="hidden")},
    final="layernorm",
    heads=_IMAGE_CLASSES,
    stand_ins=same_points({"pooler.input": "final.output", "pooler.output": "final.output"}),
)

_VIT_BEFORE_5 = replace(
    _VIT,
    stacks={"encoder": replace(_VIT_LAYERS, layer="encoder.layer.{layer}", roles=_roles(_VIT_PATHS_BEFORE_5))},
)

# --- CLIP ----------------------------------------------------------------------------------------------------------------

_CLIP_PATHS = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "attention_output": "self_attn.out_proj",
    "attention_norm": "layer_norm1",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
    "ffn_norm": "layer_norm2",
}


def _clip_stack(path: str, *, config: str = "", tower: str = "") -> Stack:
    return Stack(
        layer=f"{path}encoder.layers.{{layer}}",
        depth=(f"{config}num_hidden_layers",),
        roles=_roles(_CLIP_PATHS, tower),
        same=_PRE_NORM,
        residual=f"{tower}hidden",
    )


def _clip_sizes(config: str = "", tower: str = "") -> dict[str, tuple[str, ...]]:
    return {
        f"{tower}hidden": (f"{config}hidden_size",),
        f"{tower}heads": (f"{config}hidden_size",),
        f"{tower}ffn": (f"{config}intermediate_size",),
    }


def _vision_modules(path: str) -> dict[str, Submodule]:
    return {"first_norm": _norm(f"{path}pre_layrnorm"), "pooled_norm": _norm(f"{path}post_layernorm")}


def _text_modules(path: str, tower: str = "") -> dict[str, Submodule]:
    hidden = f"{tower}hidden"
    embeddings = Submodule(
        path=f"{path}embeddings.token_embedding", reads=VOCABULARY, writes=hidden, transposed=True, biased=False
    )
    return {f"{tower}embeddings": embeddings, f"{tower}final_norm": _norm(f"{path}final_layer_norm", hidden)}


_POOLED = same_points({"pooled_norm.input": "final.output", "pooled_norm.output": "final.output"})


def _clip_vision(path: str) -> Family:
    """Describe the image tower alone."""
    return Family(
        kind=Kind.IMAGE,
        prefix="" if path else "vision_model",
        classes="CLIPVision",
        dimensions=_clip_sizes(),
        stacks={"encoder": _clip_stack(path)},
        modules=_vision_modules(path),
        final=f"{path}encoder",
        stand_ins=_POOLED,
    )


def _clip_text(path: str) -> Family:
    """Describe the text tower alone, in which a token has read only what comes before it."""
    return Family(
        kind=Kind.DECODER,
        prefix="" if path else "text_model",
        classes="CLIPText",
        dimensions={**_clip_sizes(), VOCABULARY: ("vocab_size",)},
        stacks={"encoder": _clip_stack(path)},
        modules=_text_modules(path),
        final=f"{path}final_layer_norm",
    )


def _projection(path: str, reads: str) -> Submodule:
    return Submodule(path=path, reads=reads, writes="projection", biased=False)


_CLIP = Family(
    kind=Kind.TEXT_AND_IMAGE,
    prefix="",
    classes="CLIP",
    dimensions={
        **_clip_sizes("vision_config."),
        **_clip_sizes("text_config.", "text_"),
        VOCABULARY: ("text_config.vocab_size",),
        "projection": ("projection_dim",),
    },
    stacks={
        "text": _clip_stack("text_model.", config="text_config.", tower="text_"),  # first: `adapters` numbers its layers so
        "vision": _clip_stack("vision_model.", config="vision_config."),
    },
    modules={
        **_vision_modules("vision_model."),
        **_text_modules("text_model.", "text_"),
        "visual_projection": _projection("visual_projection", "hidden"),
        "text_projection": _projection("text_projection", "text_hidden"),
    },
    final="vision_model.encoder",
    heads=_IMAGE_CLASSES,
    stand_ins={
        **_POOLED,
        **same_points(
            {
                "visual_projection.input": "final.output",
                "text_projection.input": "text_final_norm.output",
                "text_projection.output": "visual_projection.output",
            }
        ),
    },
)
"""Both towers, each with its own residual stream; the prediction head reads that of the images."""

# --- in `adapters` -------------------------------------------------------------------------------------------------------

_NO_PROMPTS = {"prompt": "it has no prompt tuning for this family"}
_NO_TOKENS = {"prompt": "an image has no tokens to stand before", **NO_PREFIX}
_NO_INVERTIBLE = {"invertible": "it has no invertible adapters for images"}
_FINAL_NORM = Point("final_norm", Side.INPUT)


def _tower(behind: Point, *, bottleneck: str = "", prefix: str, attention: str = "self_attn") -> dict[str, Any]:
    return {
        "stream": pre_norm_stream("attention", "ffn"),
        "behind": behind,
        "bottlenecks": {"attention": "attention_adapters", "ffn": f"{bottleneck}output_adapters"},
        "prefixes": {f"{prefix}self_prefix": f"{attention}.prefix_tuning"},
    }


def _first_layer(stack: str) -> Site:
    return Site(stack, 0, Point("attention", Side.INPUT))


_VISION = _tower(FINAL, prefix="clip_vision_model_")
_TEXT = _tower(_FINAL_NORM, prefix="clip_text_model_")

IMAGE_ENCODERS: Mapping[str, Family] = {
    "vit": with_adapters(
        replace(_VIT, before_5=_VIT_BEFORE_5),
        {"encoder": _tower(_FINAL_NORM, bottleneck="output.", prefix="", attention="attention.attention")},
        adapters_lacks=_NO_INVERTIBLE,
        peft_lacks=_NO_TOKENS,
        embedded=_first_layer("encoder"),
    ),
    "clip": with_adapters(
        _CLIP,
        {"vision": _VISION, "text": {**_TEXT, "behind": Point("text_final_norm", Side.INPUT)}},
        adapters_prefix="clip",
        adapters_lacks={**_NO_PROMPTS, "reft": "it makes the units of both towers as wide as those of one"},
        peft_lacks=_NO_TOKENS,
        embedded=_first_layer("text"),
        invertible="text_model",
    ),
    "clip_vision_model": with_adapters(
        replace(_clip_vision(""), before_5=_clip_vision("vision_model.")),
        {"encoder": _VISION},
        adapters_class="CLIPVisionModel",
        adapters_lacks={**_NO_PROMPTS, **_NO_INVERTIBLE},
        peft_lacks=_NO_TOKENS,
    ),
    "clip_text_model": with_adapters(
        replace(_clip_text(""), before_5=_clip_text("text_model.")),
        {"encoder": _TEXT},
        adapters_class="CLIPTextModel",
        adapters_lacks=_NO_PROMPTS,
        peft_lacks={"prompt": "it takes token ids, and no embeddings in their place", **NO_PREFIX},
        embedded=_first_layer("encoder"),
        invertible="text_model",
    ),
}
"""`model_type` to family."""
