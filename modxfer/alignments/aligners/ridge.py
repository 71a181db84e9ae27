"""Ridge regression of the teacher's units on the student's: the reading map of `linear`, and what there is to find."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from modxfer.alignments.statistics import PairStatistics, standardise
from modxfer.errors import AlignmentError

DEFAULT_PENALTY = 0.1
"""Penalty in units of the mean variance of the student's units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ridge:
    """A fitted regression, in standardised units.

    Attributes:
        statistics: What it was fitted to.
        penalty: The penalty, in units of the mean variance (which standardising makes 1).
        correlation: Correlation of each student unit with each teacher unit.
        weights: Weight of student unit i for teacher unit j at [i, j], both standardised.
        constant: Weights on the standardised student units, and how far they get: see `constant_weights`.
        degrees: Effective degrees of freedom: trace of K (K + penalty I)^-1.
    """

    statistics: PairStatistics
    penalty: float
    correlation: Float[np.ndarray, "student teacher"]
    weights: Float[np.ndarray, "student teacher"]
    constant: Float[np.ndarray, " student"]
    degrees: float

    @classmethod
    def fit(cls, statistics: PairStatistics, *, penalty: float) -> "Ridge":
        """Fit the regression from moments alone.

        Args:
            statistics: Moments of the two sites, with the student's covariance.
            penalty: Penalty in units of the mean variance; above 0.

        Returns:
            The fitted regression.

        Raises:
            AlignmentError: the student's covariance was not kept.
        """
        from scipy.linalg import cho_factor, cho_solve
        from scipy.linalg.lapack import dpotri

        if statistics.student_covariance is None:
            raise AlignmentError("A regression needs the student's covariance.", do="Compute the alignment map again.")
        std, mean = statistics.student_std, statistics.student_mean
        own = standardise(statistics.student_covariance, std, std)
        np.fill_diagonal(own, 1.0)
        penalised = own + penalty * np.eye(len(std))
        factor = cho_factor(penalised, lower=True)
        correlation = statistics.correlation()
        scaled_mean = mean / _safe(std, mean)
        along = cho_solve(factor, scaled_mean)
        inverse, _ = dpotri(factor[0], lower=1)
        return cls(
            statistics=statistics,
            penalty=penalty,
            correlation=correlation,
            weights=cho_solve(factor, correlation),
            constant=along / (1.0 + scaled_mean @ along) / _safe(std, mean),
            degrees=len(std) - penalty * float(np.trace(inverse)),
        )

    def explained(self) -> Float[np.ndarray, " teacher"]:
        """Give the part of each teacher unit's variance that the regression explains, corrected for its degrees of freedom.

        Returns:
            Adjusted R squared of each teacher unit, float64, in [0, 1].
        """
        fitted = np.sum(self.correlation * self.weights, axis=0) + self.penalty * np.sum(self.weights**2, axis=0)
        tokens = self.statistics.tokens
        left = max(tokens - self.degrees - 1.0, 1.0)
        return np.asarray(np.clip(1.0 - (1.0 - fitted) * (tokens - 1.0) / left, 0.0, 1.0))

    def reading(self) -> Float[np.ndarray, "teacher student"]:
        """Give the map that predicts the teacher's activations from the student's, up to a constant.

        Returns:
            Matrix in the units of the activations, float64.
        """
        statistics = self.statistics
        std = _safe(statistics.student_std, statistics.student_mean)
        return np.asarray(statistics.teacher_std[:, None] * self.weights.T / std[None, :])

    def offset(self) -> Float[np.ndarray, " teacher"]:
        """Give the constant that the prediction adds.

        Returns:
            Teacher mean minus the mean of the prediction, float64.
        """
        return np.asarray(self.statistics.teacher_mean - self.reading() @ self.statistics.student_mean)


def _safe(std: Float[np.ndarray, " units"], mean: Float[np.ndarray, " units"]) -> Float[np.ndarray, " units"]:
    """Standard deviations to divide by: a constant unit gets a millionth of the site's scale, or 1 if all is 0."""
    scale = float(np.sqrt(np.mean(std**2 + mean**2)))
    return np.where(std > 0, std, 1e-6 * scale if scale > 0 else 1.0)
