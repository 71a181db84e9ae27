"""Encoders of images: ViT and CLIP."""

from collections.abc import Mapping

from modxfer.architectures.structure import Family

IMAGE_ENCODERS: Mapping[str, Family] = {}
"""`model_type` to family."""
