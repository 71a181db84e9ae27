"""Ridge regression from moments, against the regression that NumPy solves on the activations themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modxfer.alignments.aligners.ridge import DEFAULT_PENALTY, Ridge
from modxfer.alignments.statistics import PairStatistics
from modxfer.errors import AlignmentError
from tests.statistics_of import mixed, rotation, statistics_of


def regression(student: np.ndarray, teacher: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Solve the standardised ridge regression on all tokens; gives weights and the explained part of the variance."""
    x = (student - student.mean(axis=0)) / student.std(axis=0)
    y = (teacher - teacher.mean(axis=0)) / teacher.std(axis=0)
    augmented = np.concatenate([x, np.sqrt(penalty * len(x)) * np.eye(x.shape[1])])
    weights = np.linalg.lstsq(augmented, np.concatenate([y, np.zeros((x.shape[1], y.shape[1]))]), rcond=None)[0]
    return weights, 1 - np.mean((y - x @ weights) ** 2, axis=0)


@given(seed=st.integers(0, 2**32 - 1), penalty=st.sampled_from([1e-6, 0.1, 3.0]))
def test_ridge_equals_the_regression_on_all_tokens(seed: int, penalty: float) -> None:
    """Weights, explained variance and degrees of freedom are those of the explicit regression."""
    rng = np.random.default_rng(seed)
    student = mixed(rng, 200, 5)
    teacher = student @ rng.standard_normal((5, 7)) + 2 * rng.standard_normal((200, 7))
    ridge = Ridge.fit(statistics_of(student, teacher), penalty=penalty)
    weights, explained = regression(student, teacher, penalty)
    kernel = np.corrcoef(student.T)
    degrees = np.trace(kernel @ np.linalg.inv(kernel + penalty * np.eye(5)))
    adjusted = 1 - (1 - explained) * 199 / (199 - degrees)
    np.testing.assert_allclose(ridge.weights, weights, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ridge.degrees, degrees, rtol=1e-9)
    np.testing.assert_allclose(ridge.explained(), np.clip(adjusted, 0, 1), rtol=1e-6, atol=1e-9)


def test_explained_by_nothing_is_nothing() -> None:
    """Where there is nothing to explain, few tokens do not make it look otherwise."""
    rng = np.random.default_rng(0)
    found = [
        Ridge.fit(statistics_of(rng.standard_normal((90, 30)), rng.standard_normal((90, 40))), penalty=1e-3).explained()
        for _ in range(5)
    ]
    raw = 30 / 90  # what the regression fits to noise without the correction
    assert np.mean(found) < 0.25 * raw


def test_prediction_is_right_on_average_and_planted_maps_come_back() -> None:
    """Reading plus offset predicts a linear function of the student exactly as the penalty goes to 0."""
    rng = np.random.default_rng(1)
    student = mixed(rng, 400, 6)
    planted = rng.standard_normal((9, 6))
    teacher = student @ planted.T + rng.standard_normal(9)
    exact = Ridge.fit(statistics_of(student, teacher), penalty=1e-10)
    np.testing.assert_allclose(exact.reading(), planted, atol=1e-6)
    np.testing.assert_allclose(student @ exact.reading().T + exact.offset(), teacher, atol=1e-5)
    shrunk = Ridge.fit(statistics_of(student, teacher), penalty=0.1)
    predicted = student @ shrunk.reading().T + shrunk.offset()
    np.testing.assert_allclose(predicted.mean(axis=0), teacher.mean(axis=0), atol=1e-9)


def test_default_penalty_keeps_the_direction_of_a_planted_rotation() -> None:
    """With the default penalty the map of rotated, rescaled activations points where the planted one does."""
    rng = np.random.default_rng(2)
    student = rng.standard_normal((500, 8)) * rng.uniform(0.5, 2.0, 8)
    planted = 3.0 * rotation(8, rng)
    found = Ridge.fit(statistics_of(student, student @ planted.T), penalty=DEFAULT_PENALTY).reading()
    cosine = np.sum(found * planted, axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(planted, axis=1)
    assert cosine.min() > 0.99
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(planted) / 1.1, rel=0.02)


def test_constant_weights_give_one_on_every_token() -> None:
    """The weights that carry an offset sum to 1 on every token where a unit is constant, and nearly where means are large."""
    rng = np.random.default_rng(3)
    student = mixed(rng, 300, 6)
    student[:, 2] = 0.7
    constant = Ridge.fit(statistics_of(student, student), penalty=0.1).constant
    np.testing.assert_allclose(student @ constant, 1.0, atol=1e-6)
    far = rng.standard_normal((300, 6)) + 30
    constant = Ridge.fit(statistics_of(far, far), penalty=0.1).constant
    np.testing.assert_allclose(far @ constant, 1.0, atol=0.05)


def test_constant_units_neither_explain_nor_are_explained() -> None:
    """Constant units on either side get no weight, no explained variance, and nothing becomes NaN."""
    rng = np.random.default_rng(4)
    student, teacher = mixed(rng, 100, 5), mixed(rng, 100, 4)
    student[:, 1], teacher[:, 2] = 0.0, -8.0
    ridge = Ridge.fit(statistics_of(student, teacher), penalty=0.1)
    reading = ridge.reading()
    assert not reading[:, 1].any()
    assert not reading[2].any()
    assert ridge.explained()[2] == 0
    assert ridge.offset()[2] == -8.0
    for values in (reading, ridge.constant, ridge.offset(), ridge.explained()):
        assert np.isfinite(values).all()


def test_everything_constant_gives_finite_maps() -> None:
    """A site that is 0 everywhere still gives a map of zeros."""
    ridge = Ridge.fit(statistics_of(np.zeros((9, 3)), np.ones((9, 4))), penalty=0.1)
    assert not ridge.reading().any()
    assert np.isfinite(ridge.constant).all()
    np.testing.assert_array_equal(ridge.offset(), np.ones(4))


def test_ridge_needs_the_covariance() -> None:
    """Without the student's covariance there is no regression."""
    statistics = PairStatistics(
        tokens=9,
        student_mean=np.zeros(2),
        teacher_mean=np.zeros(2),
        student_std=np.ones(2),
        teacher_std=np.ones(2),
        cross=np.eye(2),
    )
    with pytest.raises(AlignmentError, match="needs the student's covariance"):
        Ridge.fit(statistics, penalty=0.1)
