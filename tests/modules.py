"""Modules and alignment maps in memory, by NumPy alone, on small structures whose widths all differ."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from modxfer.alignments.alignment_map import AlignmentMap, BaseRecord, CorpusRecord, SiteMap, SitePair, SiteScore
from modxfer.alignments.layer_maps import LayerMap, layer_map
from modxfer.architectures import Architecture, architecture_from_config
from modxfer.converters.methods import LORA, route_of_role
from modxfer.converters.module import BaseReference, HeadInfo, Module, Piece, Place, Scaling


def bert(name: str = "tiny", *, hidden: int = 6, ffn: int = 10, layers: int = 4) -> Architecture:
    """Describe a tiny BERT."""
    config = {
        "model_type": "bert",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
    }
    return architecture_from_config(config, name=name)


def lora_piece(architecture: Architecture, role: str, rng: np.random.Generator, *, rank: int = 3, alpha: float = 6.0) -> Piece:
    """Make a LoRA on a role, float32."""
    row = architecture.family.stacks["encoder"].roles[role]
    reads, writes = architecture.dimensions[row.reads], architecture.dimensions[row.writes]
    parts = {
        "down": rng.standard_normal((rank, reads)).astype(np.float32),
        "up": rng.standard_normal((writes, rank)).astype(np.float32),
    }
    return Piece(method=LORA, route=route_of_role(role), parts=parts, scaling=Scaling(rank=rank, alpha=alpha))


def module_of(pieces: Mapping[Place, Piece], *, head: HeadInfo | None = None, format: str = "peft") -> Module:
    """Make a module of pieces."""
    return Module(
        format=format,
        method="lora",
        name="default",
        config={},
        pieces=dict(pieces),
        head=head,
        base=BaseReference(name="teacher"),
    )


def lora_module(architecture: Architecture, *roles: str, seed: int = 0, rank: int = 3) -> Module:
    """Make a LoRA on some roles of every layer."""
    rng = np.random.default_rng(seed)
    return module_of(
        {
            Place("encoder", layer, role): lora_piece(architecture, role, rng, rank=rank)
            for layer in range(architecture.depths["encoder"])
            for role in roles
        }
    )


def layers_of(spec: str, teacher: Architecture, student: Architecture) -> LayerMap:
    """Make a layer map between two structures."""
    return layer_map(spec, teacher=teacher.depths, student=student.depths)


SCORE = SiteScore(
    aligner="lsa",
    tokens=100,
    mean_correlation=0.5,
    chance=0.1,
    explained_by_units=0.25,
    explained_by_linear=None,
    same_index=0.0,
    constant_units=0,
)


def map_of(maps: Mapping[SitePair, SiteMap], **fields: Any) -> AlignmentMap:
    """Make an alignment map out of site maps."""
    record = BaseRecord(name="teacher", revision=None, fingerprint="a" * 64, model_type="bert")
    defaults: dict[str, Any] = {
        "teacher": record,
        "student": BaseRecord(name="student", revision="b" * 40, fingerprint="c" * 64, model_type="bert"),
        "corpus": CorpusRecord(name="text", revision=None, fingerprint="d" * 64, texts=5, tokens=100, matching="spans"),
        "aligner": "lsa",
        "requested": "lsa",
        "reason": "",
        "parameters": {"penalty": 0.1, "tokens": 100},
        "scores": dict.fromkeys(maps, SCORE),
    }
    return AlignmentMap(maps=maps, **{**defaults, **fields})


def assignment_map(units: np.ndarray) -> SiteMap:
    """Make a map that is an assignment."""
    return SiteMap(correlation=np.ones(len(units), dtype=np.float32), assignment=units.astype(np.int32))
