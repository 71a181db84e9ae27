"""The table of aligners: what each makes of what was measured."""

import numpy as np
import pytest

from modxfer.alignments.aligners import ALIGNERS, Use
from modxfer.alignments.aligners.evidence import measure
from modxfer.errors import AlignmentError
from tests.statistics_of import mixed, rotation, statistics_of

ALL = Use(reads=True, writes=True, updates=True)


def test_table_has_the_promised_aligners() -> None:
    """Names are keys, and only `paper` maps a piece's output by its input."""
    assert list(ALIGNERS) == ["identity", "lsa", "paper", "linear"]
    assert all(aligner.name == name for name, aligner in ALIGNERS.items())
    assert [name for name, aligner in ALIGNERS.items() if aligner.writes_as_read] == ["paper"]


@pytest.mark.parametrize("name", ["lsa", "paper"])
def test_lsa_gives_an_assignment(name: str) -> None:
    """The map is the best assignment with its correlations, and nothing else."""
    rng = np.random.default_rng(0)
    teacher, order = mixed(rng, 200, 7), rng.permutation(7)[:5]
    found = ALIGNERS[name].fit(measure(statistics_of(teacher[:, order], teacher), ridge=0.1), ALL)
    assert found.form == "assignment"
    assert found.assignment is not None
    np.testing.assert_array_equal(found.assignment, order)
    np.testing.assert_allclose(found.correlation, 1.0, rtol=1e-6)


def test_identity_keeps_correlations_and_refuses_other_widths() -> None:
    """Identity records the correlation at equal indices; where widths differ it says both."""
    rng = np.random.default_rng(1)
    teacher = mixed(rng, 200, 5)
    found = ALIGNERS["identity"].fit(measure(statistics_of(-teacher, teacher), ridge=0.1), ALL)
    assert found.form == "identity"
    np.testing.assert_allclose(found.correlation, -1.0, rtol=1e-6)
    with pytest.raises(AlignmentError, match="the student has 3 units where the teacher has 5"):
        ALIGNERS["identity"].fit(measure(statistics_of(teacher[:, :3], teacher), ridge=0.1), ALL)


def test_linear_recovers_a_planted_rotation_and_scaling() -> None:
    """Writing is exactly c Q, reading its inverse as the penalty goes to 0, and the offset is the rest of the means."""
    rng = np.random.default_rng(2)
    teacher, planted, shift = mixed(rng, 400, 6), rotation(6, rng), rng.standard_normal(6)
    student = 2.5 * teacher @ planted.T + shift
    found = ALIGNERS["linear"].fit(measure(statistics_of(student, teacher), ridge=1e-9), ALL)
    assert found.form == "matrix"
    assert found.offset is not None
    assert found.writing is not None
    assert found.reading is not None
    assert found.reading is not None
    assert found.writing is not None
    np.testing.assert_allclose(found.writing, 2.5 * planted, atol=1e-5)
    np.testing.assert_allclose(found.reading, planted.T / 2.5, atol=1e-5)
    np.testing.assert_allclose(found.offset, -planted.T @ shift / 2.5, atol=1e-4)
    assert found.student_size == pytest.approx(2.5 * found.teacher_size)


def test_linear_stores_only_what_is_used() -> None:
    """A site that is only written has no reading map and no covariances, and the other way round."""
    rng = np.random.default_rng(3)
    evidence = measure(statistics_of(mixed(rng, 100, 4), mixed(rng, 100, 5)), ridge=0.1)
    written = ALIGNERS["linear"].fit(evidence, Use(writes=True))
    read = ALIGNERS["linear"].fit(evidence, Use(reads=True))
    updated = ALIGNERS["linear"].fit(evidence, Use(reads=True, updates=True))
    assert written.reading is written.offset is written.constant is written.student_covariance is None
    assert read.writing is read.student_covariance is read.teacher_covariance is None
    assert updated.student_covariance is not None
    assert updated.teacher_covariance is not None
    with pytest.raises(AlignmentError, match="for writing only"):
        written.reading_matrix(with_constant=False)


def test_reading_matrix_carries_the_offset_on_the_students_units() -> None:
    """Without a bias to put it in, the offset rides on units whose weighted sum is 1."""
    rng = np.random.default_rng(4)
    student = mixed(rng, 300, 5)
    student[:, 2] = 4.0
    teacher = student @ rng.standard_normal((5, 6)) + 7.0
    found = ALIGNERS["linear"].fit(measure(statistics_of(student, teacher), ridge=1e-9), ALL)
    np.testing.assert_allclose(student @ found.reading_matrix(with_constant=True).T, teacher, atol=1e-3)
    assert not np.allclose(student @ found.reading_matrix(with_constant=False).T, teacher, atol=1.0)


def test_uses_add_up() -> None:
    """What several pieces do at a site is done there."""
    assert Use(reads=True) | Use(writes=True) == Use(reads=True, writes=True)
    assert Use(updates=True) | Use() == Use(updates=True)
