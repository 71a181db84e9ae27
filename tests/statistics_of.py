"""Statistics of two sites from activations, by NumPy alone: an oracle beside the streaming moments."""

import numpy as np

from modxfer.alignments.statistics import PairStatistics


def statistics_of(student: np.ndarray, teacher: np.ndarray) -> PairStatistics:
    """Give the population statistics of two sites from all their activations, shape (tokens, units), float64."""
    width = student.shape[1]
    covariance = np.cov(student.T, teacher.T, bias=True)
    return PairStatistics(
        tokens=len(student),
        student_mean=student.mean(axis=0),
        teacher_mean=teacher.mean(axis=0),
        student_std=student.std(axis=0),
        teacher_std=teacher.std(axis=0),
        cross=covariance[:width, width:],
        student_covariance=covariance[:width, :width],
        teacher_covariance=covariance[width:, width:],
    )


def rotation(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw an orthogonal matrix."""
    return np.linalg.qr(rng.standard_normal((size, size)))[0]


def mixed(rng: np.random.Generator, tokens: int, units: int) -> np.ndarray:
    """Draw activations whose units correlate, with deviations and means of their own."""
    mixing = np.eye(units) + 0.4 * rng.standard_normal((units, units))
    return rng.standard_normal((tokens, units)) @ mixing + 3 * rng.standard_normal(units)
