"""The same alignment on an accelerator: `pytest -m gpu` on a machine that has one."""

from pathlib import Path

import numpy as np
import pytest

from modxfer.alignments.compute import compute_alignment
from modxfer.alignments.corpus import open_corpus
from modxfer.alignments.layer_maps import layer_map
from modxfer.alignments.request import AlignmentRequest, RouteUse
from modxfer.architectures import Point, Route
from tests.planted import base_model, planted_pair


@pytest.mark.gpu
def test_an_accelerator_finds_the_same_units(tmp_path: Path) -> None:
    """On CUDA the planted permutation is recovered exactly, and correlations are those of the CPU to float32 precision."""
    pair = planted_pair(tmp_path, "bert")
    teacher, student = base_model(pair.teacher), base_model(pair.student)
    layers = layer_map("skip", teacher=teacher.architecture.depths, student=student.architecture.depths)
    route = Route(reads=Point.parse("query.input"), writes=Point.parse("query.output"))
    use = RouteUse(route=route, reads=True, writes=True, updates=True)
    request = AlignmentRequest.of(layers, inside=[use], outside=[])

    found = {
        device: compute_alignment(
            request, teacher=teacher, student=student, corpus=open_corpus(None), tokens=1500, aligner="lsa", device=device
        )
        for device in ("cuda", "cpu")
    }

    for at, on_gpu in found["cuda"].maps.items():
        np.testing.assert_array_equal(on_gpu.assignment, pair.plan.expected(at))
        # float32 products in another order; TF32 is off for matrix products by default
        np.testing.assert_allclose(on_gpu.correlation, found["cpu"].maps[at].correlation, atol=1e-5)
