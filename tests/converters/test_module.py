"""Modules in memory: places, scalings, and the table of methods."""

import math

import pytest

from modxfer.converters.methods import METHODS
from modxfer.converters.module import Place, Scaling
from tests.modules import bert, lora_module


def test_place_says_where_it_is() -> None:
    """Inside the layers a place names stack, layer and role; outside only its name."""
    inside, outside = Place("encoder", 3, "ffn"), Place("", -1, "head.output")
    assert (str(inside), inside.is_outside, inside.is_head) == ("encoder.3.ffn", False, False)
    assert (str(outside), outside.is_outside, outside.is_head) == ("head.output", True, True)


def test_scaling_factor() -> None:
    """alpha / rank, or alpha / sqrt(rank)."""
    assert Scaling(rank=8, alpha=16.0).factor == 2
    assert math.isclose(Scaling(rank=8, alpha=16.0, rank_stabilised=True).factor, 16 / math.sqrt(8))


def test_layers_and_bytes_of_a_module() -> None:
    """Layers come in order and once; bytes are those of all tensors."""
    module = lora_module(bert(hidden=6, ffn=10, layers=3), "query", "ffn_up", rank=2)
    assert list(module.layers()) == [("encoder", 0), ("encoder", 1), ("encoder", 2)]
    assert module.num_bytes() == 3 * 4 * (2 * (6 + 6) + 2 * (6 + 10))


@pytest.mark.parametrize("name", METHODS)
def test_methods_name_only_parts_that_they_have(name: str) -> None:
    """Optional parts, offsets and updates are parts of the method, and updates read and then write."""
    method = METHODS[name]
    assert method.name == name
    assert method.optional <= set(method.parts)
    assert {*method.offsets, *method.offsets.values(), *method.update} <= set(method.parts)
    if method.update:
        reads, writes = ({axis.direction.value for axis in method.parts[part] if axis is not None} for part in method.update)
        assert (reads, writes) == ({"reads"}, {"writes"})
