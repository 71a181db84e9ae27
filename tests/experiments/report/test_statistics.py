"""Averages, paired differences, sign tests and mean curves, against numbers worked out by hand and by SciPy."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from modxfer.experiments.report.statistics import (
    LEAST_PAIRS,
    Place,
    average,
    gains,
    mean_and_deviation,
    mean_curve,
    means_of_languages,
    relative,
    sign_test,
)


def test_mean_and_deviation_divides_by_one_less_than_the_count() -> None:
    """The deviation of 2, 4, 4, 4, 5, 5, 7, 9 is the root of 32 / 7, and one value has none."""
    mean, deviation = mean_and_deviation([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])
    assert mean == 5.0
    assert deviation == pytest.approx((32 / 7) ** 0.5)
    assert mean_and_deviation([3.5]) == (3.5, None)


def test_average_weighs_languages_alike_and_spreads_over_seeds() -> None:
    """Each language counts once; the deviation is that of the seeds' averages over languages."""
    found = average({("de", 0): 10.0, ("de", 1): 14.0, ("fr", 0): 40.0, ("fr", 1): 48.0})
    assert found is not None
    assert (found.mean, found.seeds, found.languages, found.places) == (28.0, 2, ("de", "fr"), 4)
    assert found.deviation == pytest.approx(18**0.5)  # of 25 and 31


def test_average_leaves_an_incomplete_seed_out_of_the_deviation() -> None:
    """A seed without one of the languages is in the mean, but not among the seeds' averages."""
    found = average({("de", 0): 10.0, ("de", 1): 14.0, ("de", 2): 12.0, ("fr", 0): 40.0, ("fr", 1): 48.0})
    assert found is not None
    assert (found.mean, found.seeds, found.places) == (28.0, 2, 5)
    assert found.deviation == pytest.approx(18**0.5)


def test_average_of_nothing_is_none() -> None:
    """No values have no average, rather than 0."""
    assert average({}) is None
    assert means_of_languages({}) == {}


def test_gains_pair_by_language_and_seed() -> None:
    """Only places that both have are paired, and more is better."""
    first, second = {("en", 0): 5.0, ("en", 1): 7.0}, {("en", 1): 4.0, ("de", 1): 9.0}
    assert gains(first, second, is_higher_better=True) == {("en", 1): 3.0}


def test_gains_are_above_zero_where_a_lower_perplexity_is_better() -> None:
    """Where less is better, a smaller value gains."""
    assert gains({("en", 0): 20.0}, {("en", 0): 25.0}, is_higher_better=False) == {("en", 0): 5.0}


def test_relative_compares_the_languages_that_both_have() -> None:
    """REL leaves out a language that the teacher lacks, and does not pair seeds."""
    student: dict[Place, float] = {("de", 0): 8.0, ("de", 1): 10.0, ("fr", 0): 50.0}
    assert relative(student, {("de", 5): 12.0}, is_higher_better=True) == -3.0
    assert relative(student, {("de", 5): 12.0}, is_higher_better=False) == 3.0
    assert relative(student, {("it", 0): 12.0}, is_higher_better=True) is None


def test_sign_test_takes_what_the_tables_show_as_equal_for_ties() -> None:
    """Values that differ only in the third digit are ties, and are left out of the test."""
    first = {("en", seed): value for seed, value in enumerate([50.001, 60.0, 61.0, 62.0, 10.0])}
    second = {("en", seed): value for seed, value in enumerate([50.004, 59.0, 59.0, 59.0, 20.0])}
    found = sign_test(first, second, is_higher_better=True)
    assert (found.wins, found.ties, found.losses, found.pairs) == (3, 1, 1, 5)
    assert found.p_value == pytest.approx(2 * (1 + 4) / 16)  # two tails of a fair coin thrown 4 times


def test_sign_test_turns_round_where_less_is_better() -> None:
    """A lower perplexity wins."""
    found = sign_test({("en", 0): 20.0, ("en", 1): 21.0}, {("en", 0): 25.0, ("en", 1): 20.0}, is_higher_better=False)
    assert (found.wins, found.losses) == (1, 1)
    found = sign_test({("en", 0): 20.0}, {("en", 0): 25.0}, is_higher_better=False)
    assert (found.wins, found.losses) == (1, 0)


def test_sign_test_of_ties_alone_has_no_p_value() -> None:
    """Without an untied pair there is nothing to test."""
    assert sign_test({("en", 0): 1.0}, {("en", 0): 1.0}, is_higher_better=True).p_value is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30), st.booleans())
def test_sign_test_agrees_with_scipy(pairs: list[tuple[int, int]], is_higher_better: bool) -> None:
    """The p-value is SciPy's for the untied pairs, and turning the pairs round turns wins into losses."""
    first = {("en", seed): float(one) for seed, (one, _) in enumerate(pairs)}
    second = {("en", seed): float(other) for seed, (_, other) in enumerate(pairs)}
    found = sign_test(first, second, is_higher_better=is_higher_better)
    back = sign_test(second, first, is_higher_better=is_higher_better)
    higher, lower = sum(one > other for one, other in pairs), sum(one < other for one, other in pairs)
    assert (found.wins, found.losses) == ((higher, lower) if is_higher_better else (lower, higher))
    assert (found.wins, found.ties, found.losses) == (back.losses, back.ties, back.wins)
    if higher + lower:
        assert found.p_value == pytest.approx(stats.binomtest(higher, higher + lower, 0.5).pvalue)


def test_least_pairs_is_the_first_number_that_can_reach_the_level() -> None:
    """Six wins of six can be significant at 0.05, and five of five cannot."""
    assert LEAST_PAIRS == 6
    assert stats.binomtest(6, 6).pvalue < 0.05 < stats.binomtest(5, 5).pvalue


def test_mean_curve_ends_with_its_shortest_run_and_draws_lines_between_steps() -> None:
    """A run counts at another one's step with the straight line between its own, and no step has fewer runs."""
    curve = mean_curve({("en", 0): [(0, 10.0), (100, 30.0), (200, 34.0)], ("en", 1): [(0, 12.0), (50, 20.0), (100, 40.0)]})
    assert [(point.step, point.average.mean, point.average.places) for point in curve] == [
        (0, 11.0, 2),
        (50, 20.0, 2),
        (100, 35.0, 2),
    ]
    assert curve[0].average.deviation == pytest.approx(2**0.5)


def test_mean_curve_of_no_runs_is_empty() -> None:
    """Runs without a curve draw nothing."""
    assert mean_curve({("en", 0): []}) == []


@pytest.mark.data
def test_sign_test_counts_what_the_paper_reports(data_dir: Path) -> None:
    """SKIP beats the default student in 54 of 62 matching cells, and in 16 of 32 incompatible ones with 2 ties."""
    with (data_dir.parent / "paper" / "per_language_results.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))

    def values(setup: str, model: str) -> dict[Place, float]:
        return {
            (f"{line['task']}/{line['method']}/{line['language']}", 0): float(line["score"])
            for line in lines
            if (line["setup"], line["model"]) == (setup, model)
        }

    counts = {
        setup: sign_test(values(setup, "TM-Student SKIP"), values(setup, "Student"), is_higher_better=True)
        for setup in ("matching", "incompatible")
    }
    assert (counts["matching"].wins, counts["matching"].pairs) == (54, 62)
    assert (counts["incompatible"].wins, counts["incompatible"].ties, counts["incompatible"].pairs) == (16, 2, 32)
