"""The assignment: every promised property, every small size, and brute force as the oracle."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modxfer.alignments.aligners.lsa import matched_correlation, solve_assignment
from modxfer.errors import AlignmentError
from tests.statistics_of import mixed, statistics_of


def best_total(similarity: np.ndarray) -> float:
    """Try every assignment."""
    wide = similarity if similarity.shape[0] <= similarity.shape[1] else similarity.T
    rows = np.arange(wide.shape[0])
    return max(float(wide[rows, list(chosen)].sum()) for chosen in permutations(range(wide.shape[1]), len(rows)))


@pytest.mark.parametrize("teacher", range(6))
@pytest.mark.parametrize("student", range(6))
def test_solve_assignment_is_best_at_every_small_size(student: int, teacher: int) -> None:
    """No assignment has a higher total, no teacher unit serves twice, and as many units as possible are served."""
    similarity = np.random.default_rng(student * 6 + teacher).uniform(-1, 1, (student, teacher))
    assignment = solve_assignment(similarity)
    served = assignment[assignment >= 0]
    assert assignment.shape == (student,)
    assert len(served) == len(set(served.tolist())) == min(student, teacher)
    assert np.all(assignment >= -1)
    assert np.all(served < max(teacher, 1))
    assert matched_correlation(similarity, assignment).sum() == pytest.approx(best_total(similarity))


@given(student=st.integers(2, 24), spare=st.integers(0, 8), seed=st.integers(0, 2**32 - 1))
def test_solve_assignment_recovers_planted_units(student: int, spare: int, seed: int) -> None:
    """A student made by picking, rescaling and shifting teacher units gets exactly those units back."""
    rng = np.random.default_rng(seed)
    teacher_acts = rng.standard_normal((512, student + spare)) * rng.uniform(0.1, 9.0, student + spare)
    planted = rng.permutation(student + spare)[:student]
    student_acts = teacher_acts[:, planted] * rng.uniform(0.5, 2.0, student) + rng.standard_normal(student)
    similarity = statistics_of(student_acts, teacher_acts).correlation()
    np.testing.assert_array_equal(solve_assignment(similarity), planted)


@given(teacher=st.integers(2, 12), spare=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_solve_assignment_leaves_spare_student_units_unserved(teacher: int, spare: int, seed: int) -> None:
    """A wider student gets its counterparts, and units that have none get -1 and correlation 0."""
    rng = np.random.default_rng(seed)
    teacher_acts = mixed(rng, 512, teacher)
    order = rng.permutation(teacher + spare)
    student_acts = np.concatenate([teacher_acts, rng.standard_normal((512, spare))], axis=1)[:, order]
    similarity = statistics_of(student_acts, teacher_acts).correlation()
    expected = np.where(order < teacher, order, -1)
    assignment = solve_assignment(similarity)
    np.testing.assert_array_equal(assignment, expected)
    np.testing.assert_allclose(matched_correlation(similarity, assignment), order < teacher, atol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), units=st.integers(1, 12))
def test_relabelling_units_changes_nothing_else(seed: int, units: int) -> None:
    """Permuting either side's units permutes the assignment and nothing else."""
    rng = np.random.default_rng(seed)
    similarity = rng.uniform(-1, 1, (units, units + 2))
    rows, columns = rng.permutation(units), rng.permutation(units + 2)
    relabelled = solve_assignment(similarity[rows][:, columns])
    np.testing.assert_array_equal(columns[relabelled], solve_assignment(similarity)[rows])


def test_solve_assignment_refuses_what_is_not_finite() -> None:
    """NaN correlations are an error with their number."""
    with pytest.raises(AlignmentError, match="2 correlations are not finite"):
        solve_assignment(np.array([[np.nan, 0.5], [np.inf, 0.1]]))
