"""Statistics of two sites over the same tokens, and the few derived quantities that aligners share."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

CONSTANT_RATIO = 1e-6
"""A unit is constant if its standard deviation is below this part of its mean's size, or of the site's largest deviation:
float32 keeps about seven digits, and trained models have units whose normalisation gain has decayed to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairStatistics:
    """Moments of one student site and one teacher site over matched tokens.

    Attributes:
        tokens: Number of matched tokens.
        student_mean: Mean of each student unit, float64.
        teacher_mean: Mean of each teacher unit, float64.
        student_std: Standard deviation of each student unit (population), float64; 0 where the unit is constant.
        teacher_std: The same for the teacher's units.
        cross: Covariance of student unit i with teacher unit j at [i, j], float64.
        student_covariance: Covariance of the student's units, float64; None if it was not measured.
        teacher_covariance: Covariance of the teacher's units, float64; None if it was not measured.
    """

    tokens: int
    student_mean: Float[np.ndarray, " student"]
    teacher_mean: Float[np.ndarray, " teacher"]
    student_std: Float[np.ndarray, " student"]
    teacher_std: Float[np.ndarray, " teacher"]
    cross: Float[np.ndarray, "student teacher"]
    student_covariance: Float[np.ndarray, "student student"] | None = None
    teacher_covariance: Float[np.ndarray, "teacher teacher"] | None = None

    @property
    def same_width(self) -> bool:
        """Whether both sites have the same number of units."""
        return self.student_std.shape == self.teacher_std.shape

    def correlation(self) -> Float[np.ndarray, "student teacher"]:
        """Give Pearson's correlation of every student unit with every teacher unit.

        Returns:
            Correlation of student unit i with teacher unit j at [i, j], float64, in [-1, 1]; 0 where either is constant.
        """
        return standardise(self.cross, self.student_std, self.teacher_std)


def standardise(
    covariance: Float[np.ndarray, "rows columns"],
    row_std: Float[np.ndarray, " rows"],
    column_std: Float[np.ndarray, " columns"],
) -> Float[np.ndarray, "rows columns"]:
    """Turn covariances into correlations.

    Args:
        covariance: Covariance of row unit i with column unit j at [i, j].
        row_std: Standard deviation of each row unit; 0 where it is constant.
        column_std: Standard deviation of each column unit.

    Returns:
        Correlations, float64, in [-1, 1]; 0 where either unit is constant.
    """
    ratios = covariance * _inverse(row_std)[:, None] * _inverse(column_std)[None, :]
    return np.asarray(np.clip(ratios, -1.0, 1.0))


def _inverse(std: Float[np.ndarray, " units"]) -> Float[np.ndarray, " units"]:
    return np.asarray(np.divide(1.0, std, out=np.zeros_like(std), where=std > 0))


def standard_deviation(variance: Float[np.ndarray, " units"], mean: Float[np.ndarray, " units"]) -> Float[np.ndarray, " units"]:
    """Give standard deviations, with 0 for units that never vary beyond rounding.

    Args:
        variance: Population variance of each unit; rounding may have made it slightly negative.
        mean: Mean of each unit.

    Returns:
        Standard deviation of each unit, float64.
    """
    std = np.sqrt(np.maximum(variance, 0.0))
    smallest = CONSTANT_RATIO * np.maximum(np.abs(mean), std.max(initial=0.0))
    return np.where(std > smallest, std, 0.0)


def total_size(std: Float[np.ndarray, " units"]) -> float:
    """Give the square root of a site's total variance.

    Args:
        std: Standard deviation of each unit.

    Returns:
        The size, in the units of the activations.
    """
    return float(np.sqrt(np.sum(std**2)))
