"""How sure a metric is, and whether one model is better than another: resampling of the examples it was counted over.

Examples with equal counts are drawn together: how often each of them is drawn makes no difference to any metric, so a draw is a
number for each group of equal ones, which has the same distribution and costs less.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from modxfer.errors import DataError
from modxfer.training.tally import Tally

LEVEL = 0.95
_LARGEST_CHUNK = 1 << 21
"""Numbers that are held at a time: 16 MB of them."""

_ROUNDING = 1e-9
"""Sums of floats in another order differ by about this much of their size, and at most; such differences count as none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where a value would lie if the examples had been drawn again.

    Attributes:
        low: Its lower end.
        high: Its upper end.
    """

    low: float
    high: float

    def as_json(self) -> list[float]:
        """Give what records and `--json` hold.

        Returns:
            Low and high.
        """
        return [self.low, self.high]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One model against another one, on the same examples.

    Attributes:
        metric: What they are compared by.
        difference: The first one's value less the second one's.
        low: Lower end of the 95 % bootstrap interval of the difference.
        high: Its upper end.
        p_value: How likely a difference at least as large, either way, is between two models that do not differ.
        draws: Random exchanges that this was estimated from, and bootstrap draws.
        examples: Examples that both were measured on.
    """

    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    draws: int
    examples: int

    def as_json(self) -> dict[str, Any]:
        """Give what `--json` prints.

        Returns:
            Plain values.
        """
        return {
            "metric": self.metric,
            "difference": self.difference,
            "interval": [self.low, self.high],
            "p_value": self.p_value,
            "draws": self.draws,
            "examples": self.examples,
            "test": "paired approximate randomisation",
        }


def bootstrap(tally: Tally, *, draws: int = 1000, seed: int = 0, level: float = LEVEL) -> dict[str, Interval]:
    """Give each metric an interval: the middle part of its values over examples drawn with replacement.

    Args:
        tally: What each example adds to the metrics.
        draws: How often as many examples are drawn as there are.
        seed: Seed of the drawing; the order of the examples makes no difference.
        level: The part of the values that lies in the interval, in (0, 1).

    Returns:
        Name of the metric to its interval.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3: the percentile interval.
    """
    groups, sizes = _group(tally.counts)
    rng = np.random.default_rng(seed)
    sums = np.concatenate(list(_resample(groups, sizes, draws=draws, rng=rng)))
    return {name: _interval(metric(sums), level) for name, metric in tally.metrics.items()}


def compare(first: Tally, second: Tally, metric: str, *, draws: int = 10_000, seed: int = 0) -> Comparison:
    """Test whether two models differ in a metric, on the same examples.

    Under the hypothesis that they do not, it is chance which of the two made which of an example's two predictions; so for each
    example these are exchanged or not, at random, and the difference is compared with those that come out.

    Args:
        first: One model's tally.
        second: The other one's, of the same examples in the same order.
        metric: Name of the metric.
        draws: Random exchanges, and draws of the bootstrap.
        seed: Seed of both.

    Returns:
        The difference, its 95 % bootstrap interval, and the two-sided p-value: at least 1 / (1 + draws).

    Raises:
        DataError: they are not of as many examples, or count different labels.

    Source:
        Noreen 1989, Computer-Intensive Methods for Testing Hypotheses, chapter 2; Yeh 2000 (arXiv cs/0008005), section 3.3,
        also for counting the observed difference among those that came out.
    """
    _check_comparable(first, second)
    width = first.counts.shape[1]
    groups, sizes = _group(np.concatenate([first.counts, second.counts], axis=1))
    value_of_first, value_of_second = first.metrics[metric], second.metrics[metric]

    def difference(sums: Float[np.ndarray, "draws both"]) -> Float[np.ndarray, " draws"]:
        return np.asarray(value_of_first(sums[:, :width]) - value_of_second(sums[:, width:]))

    values = first.values()[metric], second.values()[metric]
    observed = values[0] - values[1]
    rng = np.random.default_rng(seed)
    exchanged = np.concatenate([difference(sums) for sums in _exchange(groups, sizes, draws=draws, rng=rng)])
    resampled = np.concatenate([difference(sums) for sums in _resample(groups, sizes, draws=draws, rng=rng)])
    as_large = np.count_nonzero(np.abs(exchanged) >= abs(observed) - _ROUNDING * max(map(abs, values)))
    interval = _interval(resampled, LEVEL)
    return Comparison(
        metric=metric,
        difference=observed,
        low=interval.low,
        high=interval.high,
        p_value=(1 + int(as_large)) / (1 + draws),
        draws=draws,
        examples=len(first.counts),
    )


def _check_comparable(first: Tally, second: Tally) -> None:
    if len(first.counts) != len(second.counts):
        raise DataError(
            f"The two were measured on {len(first.counts)} and on {len(second.counts)} examples, so they cannot be compared.",
            do="Measure both on the same data, with the same `--split` and `--limit`.",
        )
    if first.columns != second.columns:
        raise DataError(
            f"The two count different labels ({_some(first)}; {_some(second)}), so they cannot be compared.",
            do="Measure both in one run, with `--compare`.",
        )


def _some(tally: Tally) -> str:
    return ", ".join(f"`{name[:40]}`" for name in tally.columns[:8])


def _group(counts: Float[np.ndarray, "examples columns"]) -> tuple[Float[np.ndarray, "groups columns"], np.ndarray]:
    """Put examples with equal counts together, and say how many there are of each."""
    groups, sizes = np.unique(counts, axis=0, return_counts=True)
    return groups, sizes


def _resample(
    groups: Float[np.ndarray, "groups columns"], sizes: np.ndarray, *, draws: int, rng: np.random.Generator
) -> Iterator[Float[np.ndarray, "some columns"]]:
    """Draw as many examples as there are, with replacement, again and again; give the sums of their counts."""
    total = sizes.sum()
    yield from _chunks(groups, draws, lambda some: rng.multinomial(total, sizes / total, size=some))


def _exchange(
    groups: Float[np.ndarray, "groups columns"], sizes: np.ndarray, *, draws: int, rng: np.random.Generator
) -> Iterator[Float[np.ndarray, "some columns"]]:
    """Exchange the two halves of the counts in each example with probability 1/2; give the sums of what comes out."""
    kept, exchanged = groups, np.roll(groups, groups.shape[1] // 2, axis=1)
    unmoved = sizes @ kept
    for moved in _chunks(exchanged - kept, draws, lambda some: rng.binomial(sizes, 0.5, size=(some, len(sizes)))):
        yield unmoved + moved


def _chunks(
    groups: Float[np.ndarray, "groups columns"], draws: int, draw: Callable[[int], np.ndarray]
) -> Iterator[Float[np.ndarray, "some columns"]]:
    """Weigh the groups with what is drawn, so many draws at a time that memory stays bounded."""
    step = max(_LARGEST_CHUNK // len(groups), 1)
    for start in range(0, draws, step):
        yield draw(min(step, draws - start)).astype(np.float64) @ groups


def _interval(values: Float[np.ndarray, " draws"], level: float) -> Interval:
    """Take the middle part; draws in which a metric is not defined, having no token, are left out."""
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high))
