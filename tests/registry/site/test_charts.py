"""Bars begin at zero and end at their value, on an axis that has room for all of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modxfer.registry.entries.models import AlignmentEntry, ModuleEntry
from modxfer.registry.site.charts import axis_of, correlation_chart, format_number, result_charts
from tests.entries import alignment_entry, module_entry

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def _result(metric: str, value: float, **more: object) -> dict[str, object]:
    return {"metric": metric, "value": value, "dataset": "acme/news", "split": "test", "ran_by": "us 1.0"} | more


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0.2, 0.9], 0, 1),
        ([0.0], 0, 1),
        ([0.2, -0.1], -1, 1),
        ([87.5, 91.0], 0, 100),
        ([12.84, 31.2], 0, 50),
        ([1.372], 0, 2),
        ([-3.0, 0.5], -5, 0.5),
        ([1e6], 0, 1e6),
        ([1.7e308], 0, 1.7e308),
    ],
)
def test_axis_of_has_all_values_and_zero(values: list[float], low: float, high: float) -> None:
    """Fractions are shown on 0 to 1, correlations on -1 to 1, everything else up to the next round number."""
    axis = axis_of(values)
    assert [axis.low, axis.high] == pytest.approx([low, high])


@given(st.lists(FINITE, min_size=1, max_size=6))
def test_place_stays_on_the_axis_and_keeps_the_order(values: list[float]) -> None:
    """However large or small the values are, each lies in [0, 100], zero too, and a larger one never lies further left."""
    axis = axis_of(values)
    places = [axis.place(value) for value in sorted([*values, 0.0])]
    assert all(0 <= place <= 100 for place in places)
    assert places == sorted(places)
    assert all(math.isfinite(place) for place, _ in axis.ticks())


def test_result_charts_keep_metrics_apart() -> None:
    """Each metric has a chart of its own, with its results in the entry's order; deviations become whiskers."""
    results = [_result("f1", 0.5, seeds=4, deviation=0.25), _result("loss", 4.0), _result("f1", 0.25, split="dev")]
    f1, loss = result_charts(ModuleEntry.model_validate(module_entry(results=results)))
    assert (f1.title, [(bar.start, bar.width, bar.whisker, bar.text, bar.note) for bar in f1.bars]) == (
        "f1",
        [(0.0, 50.0, (25.0, 75.0), "0.5 ± 0.25", "test"), (0.0, 25.0, None, "0.25", "dev")],
    )
    assert (loss.title, [bar.width for bar in loss.bars]) == ("loss", [80.0])
    assert loss.ticks == ((0.0, "0"), (25.0, "1.25"), (50.0, "2.5"), (75.0, "3.75"), (100.0, "5"))


def test_result_charts_cut_a_deviation_at_the_axis() -> None:
    """A whisker never leaves the chart, whatever deviation an entry claims."""
    (chart,) = result_charts(ModuleEntry.model_validate(module_entry(results=[_result("f1", 0.5, deviation=1.7e308)])))
    assert chart.bars[0].whisker == (0.0, 100.0)


def test_correlation_chart_shows_negative_layers_left_of_zero() -> None:
    """With a negative correlation zero is in the middle, and that layer's bar ends there."""
    scores = {"mean_correlation": 0.2, "layers": {"encoder 0 <- 0": 0.5, "encoder 1 <- 2": -0.25}}
    chart = correlation_chart(AlignmentEntry.model_validate(alignment_entry(scores=scores)))
    assert chart is not None
    assert [(bar.label, bar.start, bar.width) for bar in chart.bars] == [
        ("encoder 0 <- 0", 50.0, 25.0),
        ("encoder 1 <- 2", 37.5, 12.5),
    ]


def test_correlation_chart_is_left_out_without_layers() -> None:
    """An entry without scores of layers has no chart."""
    assert correlation_chart(AlignmentEntry.model_validate(alignment_entry(scores={"mean_correlation": 0.2}))) is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.875, "0.875"), (0.123456, "0.1235"), (-0.5, "−0.5"), (12.0, "12"), (1e-9, "1e−09")]
)
def test_format_number_has_four_digits(value: float, text: str) -> None:
    """Numbers are short, with a real minus."""
    assert format_number(value) == text
