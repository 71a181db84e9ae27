"""Scores as bars: where on its axis each begins and ends, in percent of the width. The templates draw them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from modxfer.registry.entries.models import AlignmentEntry, ModuleEntry, Result

DIGITS = 4
"""Significant digits of a score."""

_SHORT = 18  # characters of a label


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One score.

    Attributes:
        label: What was measured.
        note: On what, and how; may be empty.
        text: The value, for people.
        start: Where the bar begins, in [0, 100].
        width: How long it is, in [0, 100].
        whisker: From where to where one standard deviation reaches, both in [0, 100]; None where it is not known.
    """

    label: str
    note: str
    text: str
    start: float
    width: float
    whisker: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Scores that can be compared.

    Attributes:
        title: What they are.
        bars: One each.
        ticks: Where on the axis numbers stand, in [0, 100], and the numbers.
    """

    title: str
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]

    @property
    def is_compact(self) -> bool:
        """Whether a label, its bar and its value fit into one line of a phone."""
        return all(len(bar.label + bar.note) <= _SHORT and bar.whisker is None for bar in self.bars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The range of the scores of a chart, zero always in it.

    Attributes:
        low: Its left end.
        high: Its right end.
    """

    low: float
    high: float

    def place(self, value: float) -> float:
        """Say where a value lies.

        Args:
            value: Any number.

        Returns:
            Its place in [0, 100], rounded; of one outside the range, the nearer end.
        """
        inside = min(max(value, self.low), self.high)
        size = max(-self.low, self.high)  # divided by first, because the difference of two finite numbers may be infinite
        low, high = self.low / size, self.high / size
        return round(100 * (inside / size - low) / (high - low), 2)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """List the ends, the middle and the quarters.

        Returns:
            Places, and the numbers there.
        """
        parts = [self.low * (1 - part / 4) + self.high * part / 4 for part in range(5)]
        return tuple((float(25 * part), format_number(value)) for part, value in enumerate(parts))


def axis_of(values: Sequence[float]) -> Axis:
    """Choose the range for some scores: that of fractions or of correlations where they fit, else the next round one.

    Args:
        values: The scores; finite.

    Returns:
        A range with zero in it.
    """
    low, high = min(values), max(values)
    if low >= 0 and high <= 1:
        return Axis(low=0.0, high=1.0)
    if low >= -1 and high <= 1:
        return Axis(low=-1.0, high=1.0)
    return Axis(low=-_round_above(-low), high=_round_above(high))


def _round_above(value: float) -> float:
    """Give the next 1, 2 or 5 with zeros that is not smaller, such as 50 for 31.2; zero for what is not above it."""
    if value <= 0:
        return 0.0
    exponent = math.floor(math.log10(value))
    candidates = [float(f"{digit}e{exponent}") for digit in (1, 2, 5, 10)]  # from text: neither too large nor too small a power
    return next((rounded for rounded in candidates if value <= rounded < math.inf), value)


def format_number(value: int | float) -> str:
    """Write a score.

    Args:
        value: The score.

    Returns:
        It with four significant digits.
    """
    return f"{value:.{DIGITS}g}".replace("-", "−")


def result_charts(entry: ModuleEntry) -> list[Chart]:
    """Plot the results of a module.

    Args:
        entry: Its entry.

    Returns:
        A chart for each metric, in the entry's order: values of two metrics do not compare.
    """
    metrics = dict.fromkeys(result.metric for result in entry.results)
    return [_metric_chart(metric, [result for result in entry.results if result.metric == metric]) for metric in metrics]


def _metric_chart(metric: str, results: Sequence[Result]) -> Chart:
    axis = axis_of([result.value for result in results])
    bars = [
        _bar(axis, result.dataset, result.value, note=result.split, deviation=result.deviation if result.seeds != 1 else None)
        for result in results
    ]
    return Chart(title=metric, bars=tuple(bars), ticks=axis.ticks())


def correlation_chart(entry: AlignmentEntry) -> Chart | None:
    """Plot how well each layer of an alignment map corresponds.

    Args:
        entry: Its entry.

    Returns:
        The chart; None where the entry has no scores of layers.
    """
    layers = entry.scores.layers
    if not layers:
        return None
    axis = axis_of(list(layers.values()))
    bars = tuple(_bar(axis, layer, value) for layer, value in layers.items())
    return Chart(title="Mean correlation of each layer", bars=bars, ticks=axis.ticks())


def _bar(axis: Axis, label: str, value: float, *, note: str = "", deviation: float | None = None) -> Bar:
    zero, end = axis.place(0.0), axis.place(value)
    whisker = None if deviation is None else (axis.place(value - deviation), axis.place(value + deviation))
    text = format_number(value) + (f" ± {format_number(deviation)}" if deviation is not None else "")
    start, width = min(zero, end), round(abs(end - zero), 2)
    return Bar(label=label, note=note, text=text, start=start, width=width, whisker=whisker)
