"""Points of the residual stream around the sub-blocks: where each family has them."""

import pytest

from modxfer.architectures import EMBEDDED, FAMILIES, Architecture, Point, Site
from tests.planting import architecture_of, tiny

CASES = {
    "bert": {
        "encoder.0.attention.input": "encoder.0.query.input",
        "encoder.0.attention_sum.output": "encoder.0.attention_norm.input",
        "encoder.0.attention.output": "encoder.0.attention_norm.output",
        "encoder.1.ffn.input": "encoder.1.attention_norm.output",
        "encoder.1.ffn_sum.output": "encoder.1.ffn_norm.input",
        "encoder.1.ffn.output": "encoder.1.ffn_norm.output",
        "embedded.output": "embeddings_norm.output",
    },
    "gpt2": {
        "decoder.0.attention.input": "decoder.0.attention_norm.input",
        "decoder.0.attention_sum.output": "decoder.0.ffn_norm.input",
        "decoder.0.ffn.input": "decoder.0.ffn_norm.input",
        "decoder.0.ffn.output": "decoder.1.attention_norm.input",
        "decoder.1.ffn.output": "final_norm.input",
        "embedded.output": "decoder.0.attention_norm.input",
    },
    "t5": {
        "encoder.1.ffn_sum.output": "encoder_norm.input",
        "decoder.0.attention.output": "decoder.0.cross_attention_norm.input",
        "decoder.0.cross_attention_sum.output": "decoder.0.ffn_norm.input",
        "decoder.1.ffn.output": "final_norm.input",
        "embedded.output": "encoder.0.attention_norm.input",
    },
    "bart": {
        "decoder.0.cross_attention.input": "decoder.0.attention_norm.output",
        "decoder.0.cross_attention_sum.output": "decoder.0.cross_attention_norm.input",
        "decoder.0.ffn.input": "decoder.0.cross_attention_norm.output",
        "decoder.1.ffn.output": "decoder.1.ffn_norm.output",
        "embedded.output": "embeddings_norm.output",
    },
    "clip": {"vision.1.ffn.output": "final.output", "text.1.ffn.output": "text_final_norm.input"},
}
"""`model_type` to point and where it is measured; two layers, pre-norm and post-norm."""


def of(model_type: str) -> Architecture:
    """Build a tiny base model's structure."""
    return architecture_of(tiny(model_type))


@pytest.mark.parametrize(
    ("model_type", "point", "at"), [(family, *pair) for family, table in CASES.items() for pair in table.items()]
)
def test_points_of_the_stream_are_measured_at_roles(model_type: str, point: str, at: str) -> None:
    """Where a sub-block gets, changes and leaves the residual stream is a point of some role, or the final hidden state."""
    found = of(model_type).canonical(Site.parse(point))
    assert str(found) == at
    assert of(model_type).canonical(found) == found


@pytest.mark.parametrize("model_type", [name for name, row in FAMILIES.items() if row.in_adapters])
def test_all_points_of_a_stream_are_as_wide_as_it(model_type: str) -> None:
    """All points of a stack's residual stream have its units, and hooks can be hung there."""
    base = of(model_type)
    for stack, table in base.family.stacks.items():
        assert table.bottlenecks.keys() == {point.role for point in table.stream if not point.role.endswith("_sum")}
        for layer in range(base.depths[stack]):
            for point in table.stream:
                site = base.canonical(Site(stack, layer, point))
                assert base.width(site) == base.dimensions[table.residual]
                assert base.path(site)
    if base.family.embedded is not None:
        assert base.width(base.canonical(Site("", None, EMBEDDED))) > 0


def test_one_route_is_each_familys_own_point() -> None:
    """A bottleneck that goes from T5 to BART is moved between the points at which each of them has it."""
    point = Point.parse("attention.input")
    assert [str(of(name).canonical(Site("decoder", 1, point)).point) for name in ("t5", "bart")] == [
        "attention_norm.input",
        "query.input",
    ]
