"""Encoders with a decoder: T5, BART and their relatives."""

from collections.abc import Mapping

from modxfer.architectures.structure import Family

ENCODER_DECODERS: Mapping[str, Family] = {}
"""`model_type` to family."""
