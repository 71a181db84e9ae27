"""Orthogonal Procrustes with the ratio of sizes: planted rotations and scalings come back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modxfer.alignments.aligners.linear import procrustes
from modxfer.alignments.statistics import total_size
from tests.statistics_of import mixed, rotation, statistics_of


@given(units=st.integers(1, 12), scale=st.floats(0.01, 100.0), seed=st.integers(0, 2**32 - 1))
def test_procrustes_recovers_a_planted_rotation_and_scaling(units: int, scale: float, seed: int) -> None:
    """A student that is c Q times its teacher, with a shift, is written through exactly c Q."""
    rng = np.random.default_rng(seed)
    teacher = mixed(rng, 300, units)
    planted = rotation(units, rng)
    student = scale * teacher @ planted.T + rng.standard_normal(units)
    np.testing.assert_allclose(procrustes(statistics_of(student, teacher)) / scale, planted, atol=1e-5)


@pytest.mark.parametrize(("student_units", "teacher_units"), [(5, 8), (8, 5)])
def test_procrustes_is_orthonormal_where_widths_differ(student_units: int, teacher_units: int) -> None:
    """The narrower axis is orthonormal up to the ratio of the sites' sizes."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((200, 4))
    student = shared @ rng.standard_normal((4, student_units)) + rng.standard_normal((200, student_units))
    teacher = shared @ rng.standard_normal((4, teacher_units)) * 5 + rng.standard_normal((200, teacher_units))
    writing = procrustes(statistics_of(student, teacher))
    ratio = total_size(student.std(axis=0)) / total_size(teacher.std(axis=0))
    product = writing @ writing.T if student_units < teacher_units else writing.T @ writing
    assert writing.shape == (student_units, teacher_units)
    np.testing.assert_allclose(product, ratio**2 * np.eye(5), atol=1e-9)


def test_procrustes_beats_any_other_rotation() -> None:
    """No other orthogonal matrix brings the teacher's activations closer to the student's."""
    rng = np.random.default_rng(1)
    teacher = rng.standard_normal((200, 6))
    student = teacher @ rotation(6, rng) + 0.5 * rng.standard_normal((200, 6))
    statistics = statistics_of(student, teacher)
    found = procrustes(statistics) * total_size(statistics.teacher_std) / total_size(statistics.student_std)

    def distance(matrix: np.ndarray) -> float:
        centred_s, centred_t = student - student.mean(axis=0), teacher - teacher.mean(axis=0)
        return float(np.linalg.norm(centred_s - centred_t @ matrix.T))

    others = [found @ rotation(6, rng) for _ in range(50)]
    others += [np.linalg.qr(found + 1e-3 * rng.standard_normal((6, 6)))[0] for _ in range(50)]
    assert all(distance(found) <= distance(other) + 1e-9 for other in others)


def test_procrustes_of_a_constant_teacher_is_finite() -> None:
    """Where the teacher never varies there is no size to compare, and the map is finite."""
    rng = np.random.default_rng(2)
    assert np.isfinite(procrustes(statistics_of(mixed(rng, 50, 3), np.ones((50, 4))))).all()


def test_total_size_is_the_root_of_the_total_variance() -> None:
    """3 and 4 give 5."""
    assert total_size(np.array([3.0, 4.0])) == 5.0
