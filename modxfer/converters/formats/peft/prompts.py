"""Virtual tokens in the `peft` format: prompts in front of a text's embeddings, and prefixes in front of each layer's keys and
values.

In both, what a network made during training is stored as it comes out of it; the network itself is not in the file, and is not
needed to run the module. A prefix holds keys as attention sees them: where positions rotate keys, behind the rotation. There a
map that takes apart the units of a head is approximate, and one that moves whole heads is exact.

Source: peft 0.21, `PromptLearningConfig` in `config.py`, `get_prompt` in `peft_model.py`, `_prepare_prompt_learning_config` in
`utils/other.py`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from modxfer.architectures import Architecture, Point, Route, Side, Site
from modxfer.converters.formats.checks import check_shape, listing, whole
from modxfer.converters.formats.peft.kinds import WholeKind
from modxfer.converters.methods import PREFIX, PROMPT
from modxfer.converters.module import Array, Piece, Place
from modxfer.errors import ConversionError, FormatError

KEY = "prompt_embeddings"
_PROMPT = Place("", -1, "embeddings.prompt")
_EMBEDDED = Point("embeddings", Side.OUTPUT)
_HALVES = ("key", "value")
"""What a prefix holds of each layer, in this order."""


def _check(config: Mapping[str, Any], where: str) -> None:
    """Every prompt computes the same once it is trained."""


def _submodules(config: Mapping[str, Any], *, where: str) -> int:
    """Count the stacks in front of which a prompt stands: an encoder's and a decoder's have their own tokens."""
    if config.get("num_transformer_submodules") is None:
        return 2 if config.get("task_type") == "SEQ_2_SEQ_LM" else 1
    return whole(config, "num_transformer_submodules", where=where)


def _read_prompt(config: Mapping[str, Any], tensor: Array, base: Architecture, where: str) -> dict[Place, Piece]:
    if "embeddings" not in base.family.modules:
        raise ConversionError(
            f"The module is a prompt, and `{base.name}` ({base.model_type}) has no embeddings of tokens in the table.",
            do="Name the right base model with `--from`.",
        )
    tokens = whole(config, "num_virtual_tokens", where=where) * _submodules(config, where=where)
    width = base.width(Site("", None, _EMBEDDED))
    check_shape(KEY, tensor, (tokens, width), where="the module", base=base.name)
    return {_PROMPT: Piece(method=PROMPT, route=Route(reads=_EMBEDDED, writes=_EMBEDDED), parts={"prompt": tensor})}


def _write_prompt(config: Mapping[str, Any], pieces: Mapping[Place, Piece], base: Architecture) -> tuple[Array, dict[str, Any]]:
    if _PROMPT not in pieces:
        raise ConversionError(f"`{base.name}` has nothing that a prompt could stand before.", do="Choose another student.")
    tensor = pieces[_PROMPT].parts["prompt"]
    return tensor, {**_about(config, base), "token_dim": tensor.shape[1]}


def _about(config: Mapping[str, Any], base: Architecture) -> dict[str, Any]:
    """Say what peft would else take from the base model's config, under names that not every config has."""
    depths = [base.depths[stack] for stack in base.family.stacks]
    keys: dict[str, Any] = {"num_layers": depths[-1], "num_attention_heads": base.attention_heads}
    if "encoder_hidden_size" in config:
        keys["encoder_hidden_size"] = base.dimensions["hidden"]  # of the network that is not in the file
    if config.get("tokenizer_name_or_path"):
        keys["tokenizer_name_or_path"] = config.get("base_model_name_or_path") or base.name
    return keys


def _check_prefix(config: Mapping[str, Any], where: str) -> None:
    """Refuse a prefix of an encoder-decoder."""
    if _submodules(config, where=where) != 1:
        raise ConversionError(
            f"{where} describes a prefix for an encoder-decoder, whose layers peft gives every second prefix, twice over.",
            do="Train a prompt or a LoRA instead, or name another module.",
        )


def _read_prefix(config: Mapping[str, Any], tensor: Array, base: Architecture, where: str) -> dict[Place, Piece]:
    """Take the prefix apart: keys and values of every layer, each of shape (tokens, units)."""
    stack, depth = _only_stack(base)
    tokens = whole(config, "num_virtual_tokens", where=where)
    sites = [Site(stack, 0, Point(half, Side.OUTPUT)) for half in _HALVES]
    widths = {base.width(site) for site in sites}
    if len(widths) != 1:
        raise FormatError(
            f"Keys and values of `{base.name}` differ in width ({sorted(widths)}), and a prefix has one for both.",
            do="Name the right base model with `--from`.",
        )
    width = widths.pop()
    check_shape(KEY, tensor, (tokens, depth * 2 * width), where="the module", base=base.name)
    layers = tensor.reshape(tokens, depth, len(_HALVES), width)
    return {
        Place(stack, layer, f"{half}.prefix"): Piece(
            method=PREFIX, route=_route(half), parts={"prefix": np.ascontiguousarray(layers[:, layer, index])}
        )
        for layer in range(depth)
        for index, half in enumerate(_HALVES)
    }


def _route(half: str) -> Route:
    point = Point(half, Side.OUTPUT)
    return Route(reads=point, writes=point)


def _only_stack(base: Architecture) -> tuple[str, int]:
    if len(base.depths) != 1:
        raise ConversionError(
            f"`{base.name}` ({base.model_type}) has several stacks of layers, and a prefix is moved for one.",
            do="Train a prompt or a LoRA instead.",
        )
    return next(iter(base.depths.items()))


def _write_prefix(config: Mapping[str, Any], pieces: Mapping[Place, Piece], base: Architecture) -> tuple[Array, dict[str, Any]]:
    """Put the prefix together: every layer must have one, for peft gives all layers as many tokens."""
    stack, depth = _only_stack(base)
    places = [Place(stack, layer, f"{half}.prefix") for layer in range(depth) for half in _HALVES]
    lost = [place for place in places if place not in pieces]
    if lost:
        raise ConversionError(
            f"The module has no prefix for {listing(lost)}, and `peft` needs one for every layer.",
            do="Choose a layer map that feeds every layer of the student with `--layers`.",
        )
    parts = [pieces[place].parts["prefix"] for place in places]
    width = parts[0].shape[1]
    if base.attention_heads is None:
        raise ConversionError(
            f"The config of `{base.name}` ({base.model_type}) does not say how many attention heads it has, and `peft` asks.",
            do="Choose another student, or train a prompt instead.",
        )
    head_size = base.dimensions["heads"] // base.attention_heads
    keys = {
        **_about(config, base),
        "token_dim": width,
        "num_attention_heads": width // head_size,  # those of the keys, of which several queries may share one
    }
    if "prefix_projection" in config:
        keys["prefix_projection"] = False  # stored is what comes out of it
    return np.concatenate(parts, axis=1), keys


PROMPT_KIND = WholeKind(method="prompt", check=_check, key=KEY, read=_read_prompt, write=_write_prompt)
"""Prompt tuning and P-tuning, which store the same."""

PREFIX_KIND = WholeKind(method="prefix", check=_check_prefix, key=KEY, read=_read_prefix, write=_write_prefix)
