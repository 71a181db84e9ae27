"""Intervals and tests against exact enumerations, known distributions and what they promise."""

import itertools
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from modxfer.errors import DataError
from modxfer.training.significance import bootstrap, compare
from modxfer.training.tally import Tally


def mean_tally(values: Sequence[float] | np.ndarray, *, columns: tuple[str, ...] = ()) -> Tally:
    """Tally a plain mean."""
    counts = np.stack([np.asarray(values, dtype=np.float64), np.ones(len(values))], axis=1)
    return Tally(
        counts=counts,
        metrics={"mean": lambda sums: np.asarray(sums[..., 0] / sums[..., 1])},
        details={},
        units={"examples": len(values)},
        columns=columns,
    )


def ratio_tally(counts: Sequence[tuple[float, float]]) -> Tally:
    """Tally a ratio of sums, such as right spans of predicted ones: no mean of what examples have."""
    return Tally(
        counts=np.array(counts, dtype=np.float64),
        metrics={"ratio": lambda sums: np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1))},
        details={},
        units={},
    )


def test_bootstrap_of_shares_gives_binomial_quantiles() -> None:
    """Of 70 right ones in 100, the interval is that of a binomial distribution with these numbers."""
    tally = mean_tally([1.0] * 70 + [0.0] * 30)

    interval = bootstrap(tally, draws=40_000)["mean"]

    assert interval.low == pytest.approx(scipy.stats.binom.ppf(0.025, 100, 0.7) / 100, abs=0.01)  # a step of the counts
    assert interval.high == pytest.approx(scipy.stats.binom.ppf(0.975, 100, 0.7) / 100, abs=0.01)


def test_bootstrap_gives_the_quantiles_of_all_draws() -> None:
    """With 4 examples there are 4^4 ways to draw; the middle half of the ratios lies where enumeration says."""
    counts = [(0, 1), (1, 2), (3, 3), (1, 5)]
    ways = [sum(np.array(counts)[list(drawn)]) for drawn in itertools.product(range(4), repeat=4)]
    ratios = np.sort([right / all for right, all in ways])

    interval = bootstrap(ratio_tally(counts), draws=50_000, level=0.5)["ratio"]

    # 50,000 draws miss a quantile's rank by less than 0.8 %, at 4 standard deviations
    below, above = (lambda rank: ratios[int(rank * 256)]), 0.008
    assert below(0.25 - above) <= interval.low <= below(0.25 + above)
    assert below(0.75 - above) <= interval.high <= below(0.75 + above)


def test_bootstrap_draws_all_columns_together() -> None:
    """Where the two columns of every example are in one proportion, so is every draw: the interval has no width."""
    interval = bootstrap(ratio_tally([(1, 2), (2, 4), (50, 100)]))["ratio"]

    assert (interval.low, interval.high) == (0.5, 0.5)


def test_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    """Of 90 % intervals for the mean of 60 exponential numbers some 90 % hold the true one."""
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(300):
        interval = bootstrap(mean_tally(rng.exponential(size=60)), draws=400, seed=seed, level=0.9)["mean"]
        hits += interval.low <= 1.0 <= interval.high
    assert 0.83 <= hits / 300 <= 0.95  # percentile intervals are a little short for skewed numbers; deviation 1.7 %


def test_bootstrap_needs_bounded_memory() -> None:
    """However many examples and draws there are, 4,000 by 2,000 numbers (64 MB) are never there at once."""
    tally = mean_tally(np.random.default_rng(1).normal(size=4000))

    tracemalloc.start()
    bootstrap(tally, draws=2000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 48_000_000  # a chunk as it is drawn, and the same as floats: 34 MB


@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_bootstrap_depends_on_values_and_seed_only(values: list[float], seed: int) -> None:
    """The same seed gives the same interval, in whatever order the examples are; the interval lies within the values."""
    interval = bootstrap(mean_tally(values), draws=50, seed=seed)["mean"]

    assert bootstrap(mean_tally(values[::-1]), draws=50, seed=seed)["mean"] == interval
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9


def test_bootstrap_changes_with_the_seed() -> None:
    """Another seed draws others."""
    tally = mean_tally(np.random.default_rng(2).normal(size=30))

    assert bootstrap(tally, seed=1) != bootstrap(tally, seed=2)


def exact_p(first: Sequence[tuple[float, float]], second: Sequence[tuple[float, float]]) -> float:
    """Go through all 2^n exchanges: the part of them with a difference at least as large."""
    pairs = list(zip(first, second, strict=True))
    differences = []
    for swaps in itertools.product((False, True), repeat=len(pairs)):
        sides = [(two, one) if swap else (one, two) for (one, two), swap in zip(pairs, swaps, strict=True)]
        ratios = [np.sum([side[which] for side in sides], axis=0) for which in (0, 1)]
        differences.append(abs(ratios[0][0] / max(ratios[0][1], 1) - ratios[1][0] / max(ratios[1][1], 1)))
    return float(np.mean([difference >= differences[0] - 1e-12 for difference in differences]))


@pytest.mark.parametrize("seed", range(5))
def test_compare_gives_the_p_value_of_all_exchanges(seed: int) -> None:
    """With 8 examples, one pair of them alike, the p-value is that of all 256 exchanges, up to the drawing."""
    rng = np.random.default_rng(seed)
    first, second = ([(float(min(pair)), float(max(pair))) for pair in rng.integers(0, 6, (8, 2))] for _ in range(2))
    first[1], second[1] = first[0], second[0]  # what is drawn together is still exchanged one by one

    p_value = compare(ratio_tally(first), ratio_tally(second), "ratio", draws=20_000).p_value

    expected = exact_p(first, second)
    assert p_value == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 20_000) + 1e-4)


def test_compare_of_right_and_wrong_is_the_sign_test() -> None:
    """Of 12 examples that only one of two gets right 10 are the first's: the exact binomial test says the same."""
    first = mean_tally([1.0] * 40 + [1.0] * 10 + [0.0] * 2)
    second = mean_tally([1.0] * 40 + [0.0] * 10 + [1.0] * 2)

    made = compare(first, second, "mean", draws=50_000)

    assert made.difference == pytest.approx(8 / 52)
    assert made.p_value == pytest.approx(scipy.stats.binomtest(10, 12).pvalue, abs=0.004)  # 4 standard deviations


def test_compare_of_a_tally_with_itself_finds_nothing() -> None:
    """Where two never differ, p is 1 and the interval of the difference is 0 to 0."""
    tally = mean_tally(np.random.default_rng(0).normal(size=40))

    made = compare(tally, tally, "mean", draws=200)

    assert (made.difference, made.low, made.high, made.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert (made.metric, made.draws, made.examples) == ("mean", 200, 40)


def test_compare_gives_p_values_that_are_uniform_where_nothing_differs() -> None:
    """Of two that are alike in distribution p is below any threshold about as often as the threshold says."""
    rng = np.random.default_rng(0)
    values = [
        compare(mean_tally(rng.normal(size=25)), mean_tally(rng.normal(size=25)), "mean", draws=199, seed=seed).p_value
        for seed in range(300)
    ]
    assert scipy.stats.kstest(values, "uniform").pvalue > 0.01


def test_compare_finds_a_small_difference_that_is_the_same_everywhere() -> None:
    """It compares in pairs: a difference of 0.1 is found under a noise of 5 that both share, and its interval is narrow."""
    rng = np.random.default_rng(0)
    shared = rng.normal(scale=5, size=100)
    first, second = mean_tally(shared + 0.1 + rng.normal(scale=0.05, size=100)), mean_tally(shared)

    made = compare(first, second, "mean", draws=999)

    assert made.p_value == 1 / 1000
    assert 0.08 < made.low < made.difference < made.high < 0.12


def test_compare_is_the_same_in_the_other_direction() -> None:
    """Exchanging the two turns the difference and its interval around, and leaves p as it is, up to the drawing."""
    rng = np.random.default_rng(3)
    first, second = mean_tally(rng.normal(0.2, size=60)), mean_tally(rng.normal(size=60))

    one, other = (compare(*pair, "mean", draws=4000) for pair in ((first, second), (second, first)))

    assert one.difference == -other.difference
    assert one.p_value == pytest.approx(other.p_value, abs=0.03)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.03)


def test_compare_can_be_done_again() -> None:
    """The same seed gives the same numbers, another one others."""
    rng = np.random.default_rng(4)
    first, second = mean_tally(rng.normal(size=30)), mean_tally(rng.normal(size=30))

    assert compare(first, second, "mean", draws=500) == compare(first, second, "mean", draws=500)
    assert compare(first, second, "mean", draws=500) != compare(first, second, "mean", draws=500, seed=1)


def test_compare_refuses_other_examples() -> None:
    """Tallies of other numbers of examples are no pairs."""
    with pytest.raises(DataError, match="on 3 and on 2 examples"):
        compare(mean_tally([1, 2, 3]), mean_tally([1, 2]), "mean")


def test_compare_refuses_other_labels() -> None:
    """Counts of other labels must not be exchanged."""
    with pytest.raises(DataError, match="`PER`; `LOC`"):
        compare(mean_tally([1, 2], columns=("PER",)), mean_tally([1, 2], columns=("LOC",)), "mean")
