"""What is measured before mapping: the best match, its score, and what chance would give."""

import numpy as np
import pytest

from modxfer.alignments.aligners.evidence import chance_correlation, measure, score
from tests.statistics_of import mixed, rotation, statistics_of


def test_measure_and_score_of_a_planted_permutation() -> None:
    """A permutation scores 1 all over; the score counts tokens, constant units and units at their own index."""
    rng = np.random.default_rng(0)
    teacher = mixed(rng, 300, 6)
    teacher[:, 5] = 2.5
    order = np.array([0, 2, 1, 4, 3])
    found = measure(statistics_of(teacher[:, order], teacher), ridge=1e-6)
    result = score(found, aligner="lsa", correlation=found.correlation, assignment=found.assignment, chance=0.3)
    np.testing.assert_array_equal(found.assignment, order)
    assert found.diagonal is None
    assert result.tokens == 300
    assert result.constant_units == 1
    assert result.same_index == 0.0
    assert result.chance == 0.3
    assert result.mean_correlation == pytest.approx(1.0)
    assert result.explained_by_units == pytest.approx(1.0)
    assert result.explained_by_linear == pytest.approx(1.0, abs=1e-3)


def test_same_index_counts_units_that_keep_their_index() -> None:
    """Of five units with two exchanged, three keep their index."""
    teacher = mixed(np.random.default_rng(1), 200, 5)
    found = measure(statistics_of(teacher[:, [1, 0, 2, 3, 4]], teacher), ridge=0.1)
    assert found.same_index == pytest.approx(0.6)
    assert found.diagonal is not None
    np.testing.assert_allclose(found.diagonal[2:], 1.0)


def test_score_of_a_wider_student_leaves_unserved_units_out() -> None:
    """Means are over the units that a teacher unit serves."""
    rng = np.random.default_rng(2)
    teacher = mixed(rng, 300, 4)
    student = np.concatenate([rng.standard_normal((300, 3)), teacher], axis=1)
    found = measure(statistics_of(student, teacher), ridge=0.1)
    result = score(found, aligner="lsa", correlation=found.correlation, assignment=found.assignment, chance=None)
    assert result.mean_correlation == pytest.approx(1.0)
    assert result.explained_by_units == pytest.approx(1.0)


def test_chance_is_what_rotated_units_reach_and_far_below_a_permutation() -> None:
    """On rotated data the assignment does no better than chance; on permuted data it does far better."""
    rng = np.random.default_rng(3)
    teacher = rng.standard_normal((2000, 40)) * rng.uniform(0.5, 2, 40)
    rotated = statistics_of(teacher @ rotation(40, rng), teacher)
    permuted = statistics_of(teacher[:, rng.permutation(40)], teacher)
    for statistics, ratio in ((rotated, 1.0), (permuted, 2.0)):
        chance = chance_correlation(statistics, seed=0)
        matched = measure(statistics, ridge=0.1).correlation.mean()
        assert chance is not None
        if ratio == 1.0:
            assert matched == pytest.approx(chance, rel=0.1)
        else:
            assert matched > ratio * chance


def test_chance_is_the_same_for_a_seed_and_robust_to_constant_units() -> None:
    """The rotation comes from the seed alone; constant units give no NaN."""
    rng = np.random.default_rng(4)
    student, teacher = mixed(rng, 200, 7), mixed(rng, 200, 5)
    student[:, 0], teacher[:, 1] = 1.0, 0.0
    statistics = statistics_of(student, teacher)
    first, again, other = (chance_correlation(statistics, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first is not None
    assert np.isfinite(first)


def test_measure_takes_constant_units() -> None:
    """Sites with constant units are matched and scored without NaN."""
    rng = np.random.default_rng(5)
    student = mixed(rng, 100, 5)
    student[:, 3] = -1.0
    found = measure(statistics_of(student, student), ridge=0.1)
    result = score(found, aligner="lsa", correlation=found.correlation, assignment=found.assignment, chance=None)
    assert result.constant_units == 2
    assert result.explained_by_linear is not None
    assert result.explained_by_linear is not None
    assert np.isfinite([result.mean_correlation, result.explained_by_units, result.explained_by_linear]).all()
