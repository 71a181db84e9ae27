"""The statistics of a report: averages over languages and seeds, paired differences, and the sign test. Pure functions."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Place = tuple[str, int]
"""Where a value was measured: language and seed."""

Values = Mapping[Place, float]

DIGITS = 2
"""Digits after the point that tables show, as the paper's do; values that are equal in them are ties."""

LEVEL = 0.05
LEAST_PAIRS = 1 + math.ceil(-math.log2(LEVEL))
"""Untied pairs below which a two-sided sign test cannot reach the level: n pairs give at least 2 * 0.5 ** n."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """An average over languages and seeds.

    Attributes:
        mean: Mean over languages of the mean over seeds.
        deviation: Standard deviation (n - 1) over seeds of the average over languages; None for fewer than two such seeds.
        seeds: Seeds that have every language; `deviation` is over these.
        languages: The languages, sorted.
        places: Number of values in it.
    """

    mean: float
    deviation: float | None
    seeds: int
    languages: tuple[str, ...]
    places: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignTest:
    """How often one thing was better than another at the same place.

    Attributes:
        wins: Places where it was better.
        ties: Places where both are equal after rounding to `DIGITS`.
        losses: Places where it was worse.
        p_value: Exact, two-sided, without the ties (Conover 1999, section 3.4); None where all are ties.
    """

    wins: int
    ties: int
    losses: int
    p_value: float | None

    @property
    def pairs(self) -> int:
        """Number of places where both were measured."""
        return self.wins + self.ties + self.losses


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step of a mean learning curve.

    Attributes:
        step: Optimiser steps made.
        average: Over the runs.
    """

    step: int
    average: Average


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Compute a mean and a sample's standard deviation.

    Args:
        values: At least one finite number.

    Returns:
        The mean, and the deviation with n - 1; None for one value.
    """
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def average(values: Values) -> Average | None:
    """Average over languages and seeds.

    Args:
        values: What was measured, by language and seed.

    Returns:
        The average; None for no values.
    """
    if not values:
        return None
    by_language = means_of_languages(values)
    by_seed: dict[int, list[float]] = defaultdict(list)
    for (_, seed), value in values.items():
        by_seed[seed].append(value)
    complete = [statistics.fmean(those) for those in by_seed.values() if len(those) == len(by_language)]
    return Average(
        mean=statistics.fmean(by_language.values()),
        deviation=mean_and_deviation(complete)[1] if complete else None,
        seeds=len(complete),
        languages=tuple(by_language),
        places=len(values),
    )


def means_of_languages(values: Values) -> dict[str, float]:
    """Average over seeds, for each language.

    Args:
        values: What was measured, by language and seed.

    Returns:
        Language to mean, languages sorted.
    """
    by_language: dict[str, list[float]] = defaultdict(list)
    for (language, _), value in values.items():
        by_language[language].append(value)
    return {language: statistics.fmean(by_language[language]) for language in sorted(by_language)}


def gains(first: Values, second: Values, *, is_higher_better: bool) -> dict[Place, float]:
    """Pair two sets of values by language and seed.

    Args:
        first: Values of the one.
        second: Values of the other.
        is_higher_better: Whether more is better.

    Returns:
        How much better the first is, where both were measured: above 0 is better, whichever way the metric runs.
    """
    sign = 1.0 if is_higher_better else -1.0
    return {place: sign * (first[place] - second[place]) for place in sorted(first) if place in second}


def relative(first: Values, reference: Values, *, is_higher_better: bool) -> float | None:
    """Compute the paper's REL: how much better than a reference, whose seeds need not be the same.

    Args:
        first: Values of a student.
        reference: The teacher's.
        is_higher_better: Whether more is better.

    Returns:
        Mean difference over the languages that both have; above 0 is better than the reference. None if there are none.
    """
    sign = 1.0 if is_higher_better else -1.0
    mine, theirs = means_of_languages(first), means_of_languages(reference)
    shared = [sign * (mine[language] - theirs[language]) for language in mine if language in theirs]
    return statistics.fmean(shared) if shared else None


def sign_test(first: Values, second: Values, *, is_higher_better: bool) -> SignTest:
    """Count wins, ties and losses at the places that both have, and test whether they could be chance.

    Args:
        first: Values of the one.
        second: Values of the other.
        is_higher_better: Whether more is better.

    Returns:
        The counts from the first's view, and the p-value.

    Source:
        Conover 1999, Practical Nonparametric Statistics, section 3.4: ties are left out. Solver: SciPy's `binomtest`.
    """
    rounded = [(round(first[place], DIGITS), round(second[place], DIGITS)) for place in first.keys() & second.keys()]
    higher, lower = sum(one > other for one, other in rounded), sum(one < other for one, other in rounded)
    wins, losses = (higher, lower) if is_higher_better else (lower, higher)
    return SignTest(wins=wins, ties=len(rounded) - higher - lower, losses=losses, p_value=_sign_p_value(wins, losses))


def mean_curve(curves: Mapping[Place, Sequence[tuple[int, float]]]) -> list[Point]:
    """Average learning curves over runs.

    Args:
        curves: Each run's steps, rising, and values at these.

    Returns:
        Every step at which a run was measured, as far as the shortest run went. Between its own steps a run counts with the
        straight line between them, so that each step's mean is over the same runs.
    """
    there = {place: np.asarray(curve, dtype=np.float64) for place, curve in curves.items() if len(curve)}
    if not there:
        return []
    last = min(curve[-1, 0] for curve in there.values())
    steps = sorted({int(step) for curve in there.values() for step in curve[:, 0] if step <= last})
    points = []
    for step in steps:
        mean = average({place: float(np.interp(step, curve[:, 0], curve[:, 1])) for place, curve in there.items()})
        assert mean is not None
        points.append(Point(step=step, average=mean))
    return points


def _sign_p_value(wins: int, losses: int) -> float | None:
    if wins + losses == 0:
        return None
    from scipy.stats import binomtest  # slow to import, and only reports need it

    return float(binomtest(wins, wins + losses).pvalue)
