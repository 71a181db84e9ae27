"""The families that modxfer knows: one row each.

To add a family, add a `Family` to one of the tables in this folder under its `model_type` (the word in its `config.json`).
A row says where each role's submodule is, between which dimensions it maps, and which config keys hold those dimensions.
Nothing else in modxfer knows a family's names.
"""

from collections.abc import Mapping

from modxfer.architectures.families.decoders import DECODERS
from modxfer.architectures.families.encoder_decoders import ENCODER_DECODERS
from modxfer.architectures.families.encoders import ENCODERS
from modxfer.architectures.families.images import IMAGE_ENCODERS
from modxfer.architectures.structure import Family

FAMILIES: Mapping[str, Family] = {**ENCODERS, **DECODERS, **ENCODER_DECODERS, **IMAGE_ENCODERS}
"""`model_type` to family: the whole table."""

__all__ = ["FAMILIES"]
