"""Students of a teacher: with some of its layers, with some of its layers and units, shuffled, or with weights of their own."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from jaxtyping import Int

from modxfer.demo.settings import Narrow

_HIDDEN, _ATTENTION, _FFN = "hidden", "attention", "ffn"

_LAYER_AXES: Mapping[str, tuple[str, ...]] = {
    "attention.self.query.weight": (_ATTENTION, _HIDDEN),
    "attention.self.query.bias": (_ATTENTION,),
    "attention.self.key.weight": (_ATTENTION, _HIDDEN),
    "attention.self.key.bias": (_ATTENTION,),
    "attention.self.value.weight": (_ATTENTION, _HIDDEN),
    "attention.self.value.bias": (_ATTENTION,),
    "attention.output.dense.weight": (_HIDDEN, _ATTENTION),
    "attention.output.dense.bias": (_HIDDEN,),
    "attention.output.LayerNorm.weight": (_HIDDEN,),
    "attention.output.LayerNorm.bias": (_HIDDEN,),
    "intermediate.dense.weight": (_FFN, _HIDDEN),
    "intermediate.dense.bias": (_FFN,),
    "output.dense.weight": (_HIDDEN, _FFN),
    "output.dense.bias": (_HIDDEN,),
    "output.LayerNorm.weight": (_HIDDEN,),
    "output.LayerNorm.bias": (_HIDDEN,),
}
"""Tensors of a BERT layer to the units along their axes."""

_OTHER_AXES: Mapping[str, tuple[str | None, ...]] = {
    "embeddings.word_embeddings.weight": (None, _HIDDEN),
    "embeddings.position_embeddings.weight": (None, _HIDDEN),
    "embeddings.token_type_embeddings.weight": (None, _HIDDEN),
    "embeddings.LayerNorm.weight": (_HIDDEN,),
    "embeddings.LayerNorm.bias": (_HIDDEN,),
    "pooler.dense.weight": (_HIDDEN, _HIDDEN),
    "pooler.dense.bias": (_HIDDEN,),
}
"""The same of the tensors outside of the layers."""

Units = Int[np.ndarray, " _"]
"""Teacher units, in the order of the student's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Which teacher units a student is made of.

    Attributes:
        layers: The teacher layer behind each student layer.
        heads: Number of attention heads.
        hidden: The teacher unit behind each unit of the residual stream.
        attention: For each student layer, the teacher unit behind each unit of the heads.
        ffn: For each student layer, the teacher unit behind each unit inside the FFN.
    """

    layers: tuple[int, ...]
    heads: int
    hidden: Units
    attention: tuple[Units, ...]
    ffn: tuple[Units, ...]


def keep_all_units(config: Any, *, layers: Sequence[int]) -> Cut:
    """Plan the matching student: some layers, every unit in its place.

    Args:
        config: The teacher's config.
        layers: The layers.

    Returns:
        The plan.
    """
    hidden, ffn = np.arange(config.hidden_size), np.arange(config.intermediate_size)
    return Cut(
        layers=tuple(layers),
        heads=config.num_attention_heads,
        hidden=hidden,
        attention=(hidden,) * len(layers),
        ffn=(ffn,) * len(layers),
    )


def shuffle_units(config: Any, *, layers: Sequence[int], narrow: Narrow, seed: int) -> Cut:
    """Plan the incompatible student: some layers, a random choice of their units in random order.

    Heads stay whole, since queries and keys meet inside of them; a layer's heads and a head's units are in random order.

    Args:
        config: The teacher's config.
        layers: The layers.
        narrow: The student's sizes, none of them above the teacher's.
        seed: Seed of the choice.

    Returns:
        The plan.
    """
    rng = np.random.default_rng(seed)
    size = config.hidden_size // config.num_attention_heads
    if narrow.heads * size != narrow.hidden:
        raise ValueError(f"{narrow.heads} heads of {size} units do not make {narrow.hidden} units")

    def attention() -> Units:
        heads = rng.permutation(config.num_attention_heads)[: narrow.heads]
        return np.concatenate([head * size + rng.permutation(size) for head in heads])

    return Cut(
        layers=tuple(layers),
        heads=narrow.heads,
        hidden=rng.permutation(config.hidden_size)[: narrow.hidden],
        attention=tuple(attention() for _ in layers),
        ffn=tuple(rng.permutation(config.intermediate_size)[: narrow.ffn] for _ in layers),
    )


def make_student(teacher: transformers.BertModel, cut: Cut) -> transformers.BertModel:
    """Make a student whose every weight is one of the teacher's.

    Args:
        teacher: The teacher.
        cut: Which of its layers and units to take.

    Returns:
        The student, in eval mode.
    """
    sizes = Narrow(hidden=len(cut.hidden), heads=cut.heads, ffn=len(cut.ffn[0]))
    weights = teacher.state_dict()
    student = transformers.BertModel(_resize(teacher.config, layers=len(cut.layers), sizes=sizes))
    shared: dict[str | None, Units] = {_HIDDEN: cut.hidden}
    gathered = {name: _gather(weights[name], axes, shared) for name, axes in _OTHER_AXES.items()}
    for layer, teacher_layer in enumerate(cut.layers):
        units = {**shared, _ATTENTION: cut.attention[layer], _FFN: cut.ffn[layer]}
        for name, axes in _LAYER_AXES.items():
            tensor = weights[f"encoder.layer.{teacher_layer}.{name}"]
            gathered[f"encoder.layer.{layer}.{name}"] = _gather(tensor, axes, units)
    student.load_state_dict(gathered)
    student.eval()
    return student


def start_student(config: Any, *, layers: int, narrow: Narrow) -> transformers.BertModel:
    """Make a student that has the teacher's vocabulary and nothing else of it: its weights are random.

    Args:
        config: The teacher's config.
        layers: Number of layers.
        narrow: The student's sizes.

    Returns:
        The student, in eval mode; torch's global seed decides its weights.
    """
    student = transformers.BertModel(_resize(config, layers=layers, sizes=narrow))
    student.eval()
    return student


def _resize(config: Any, *, layers: int, sizes: Narrow) -> Any:
    """Copy a config, with other sizes, and without the name of the model that it was of."""
    resized = copy.deepcopy(config)
    resized.name_or_path = ""
    resized.update(
        {
            "hidden_size": sizes.hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": sizes.heads,
            "intermediate_size": sizes.ffn,
        }
    )
    return resized


def _gather(tensor: torch.Tensor, axes: tuple[str | None, ...], units: Mapping[str | None, Units]) -> torch.Tensor:
    """Take the planned units along every axis that has units."""
    for axis, space in enumerate(axes):
        if space is not None:
            tensor = tensor.index_select(axis, torch.from_numpy(units[space]))
    return tensor
