"""Correlations and standard deviations from moments."""

import numpy as np
import pytest

from modxfer.alignments.statistics import PairStatistics, standard_deviation, standardise


def test_standardise_gives_pearson() -> None:
    """Covariances over both deviations are Pearson's correlations."""
    rng = np.random.default_rng(0)
    student, teacher = rng.standard_normal((50, 3)), rng.standard_normal((50, 4)) * 7
    both = np.cov(student.T, teacher.T, bias=True)
    found = standardise(both[:3, 3:], student.std(axis=0), teacher.std(axis=0))
    np.testing.assert_allclose(found, np.corrcoef(student.T, teacher.T)[:3, 3:], rtol=1e-12)


def test_standardise_gives_zero_for_constant_units_and_stays_in_range() -> None:
    """A unit without deviation correlates with nothing, and rounding never leaves [-1, 1]."""
    found = standardise(np.array([[1.0 + 1e-9, 0.5]]), np.array([1.0]), np.array([1.0, 0.0]))
    np.testing.assert_array_equal(found, [[1.0, 0.0]])


def test_standard_deviation_of_units_that_never_vary_is_zero() -> None:
    """Below a millionth of the mean or of the largest deviation, and where rounding went below 0, it is 0."""
    variance = np.array([4.0, 1e-66, -1e-12, 1e-4, 1e-4])
    mean = np.array([0.0, 0.0, 1.0, 1e5, 1.0])
    np.testing.assert_allclose(standard_deviation(variance, mean), [2.0, 0.0, 0.0, 0.0, 1e-2])


@pytest.mark.parametrize(("teacher", "same"), [(3, True), (4, False)])
def test_same_width(teacher: int, same: bool) -> None:
    """Two sites are of one width if they have as many units."""
    statistics = PairStatistics(
        tokens=9,
        student_mean=np.zeros(3),
        teacher_mean=np.zeros(teacher),
        student_std=np.ones(3),
        teacher_std=np.ones(teacher),
        cross=np.zeros((3, teacher)),
    )
    assert statistics.same_width is same
