"""What every aligner measures before it maps: the best one-to-one match, and how much it explains."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from modxfer.alignments.aligners.lsa import matched_correlation, solve_assignment
from modxfer.alignments.aligners.ridge import Ridge
from modxfer.alignments.alignment_map import UNASSIGNED, SiteScore
from modxfer.alignments.statistics import PairStatistics, standardise


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The best one-to-one match of one pair of sites, and what a linear map would explain.

    Attributes:
        statistics: What was measured.
        assignment: Teacher unit for each student unit; -1 where there is none.
        correlation: Correlation of each student unit with its teacher unit.
        diagonal: Correlation of each student unit with the teacher unit of the same index; None if the widths differ.
        ridge: The ridge regression of the teacher's units on the student's; None where the student's covariance was not kept.
    """

    statistics: PairStatistics
    assignment: Int[np.ndarray, " student"]
    correlation: Float[np.ndarray, " student"]
    diagonal: Float[np.ndarray, " student"] | None
    ridge: Ridge | None

    @property
    def same_index(self) -> float:
        """Part of the student units whose best partner has their own index."""
        if self.diagonal is None:
            return 0.0
        return float(np.mean(self.assignment == np.arange(len(self.assignment))))

    def explained_by_linear(self, teacher_units: Int[np.ndarray, " units"]) -> float | None:
        """Give the variance of some teacher units that the best linear map from the student explains.

        Args:
            teacher_units: Indices of the teacher's units.

        Returns:
            The mean over those units, in [0, 1]; None if it was not measured.
        """
        return None if self.ridge is None else float(np.mean(self.ridge.explained()[teacher_units]))


def measure(statistics: PairStatistics, *, ridge: float) -> Evidence:
    """Find the best one-to-one match of a pair of sites, and fit the linear map to hold it against.

    Args:
        statistics: Moments of the two sites.
        ridge: Penalty of the linear map, in units of the mean variance.

    Returns:
        The evidence.
    """
    similarity = statistics.correlation()
    assignment = solve_assignment(similarity)
    return Evidence(
        statistics=statistics,
        assignment=assignment,
        correlation=matched_correlation(similarity, assignment),
        diagonal=np.diagonal(similarity).copy() if statistics.same_width else None,
        ridge=None if statistics.student_covariance is None else Ridge.fit(statistics, penalty=ridge),
    )


def score(
    evidence: Evidence,
    *,
    correlation: Float[np.ndarray, " student"],
    assignment: Int[np.ndarray, " student"],
    chance: float | None,
) -> SiteScore:
    """Sum up how well a one-to-one match fits.

    Args:
        evidence: What was measured.
        correlation: Correlation of each student unit with the teacher unit that serves it.
        assignment: That teacher unit; -1 where there is none.
        chance: What a match would reach by chance; None if it was not measured.

    Returns:
        The score.
    """
    served = assignment != UNASSIGNED
    statistics = evidence.statistics
    constant = np.count_nonzero(statistics.student_std == 0) + np.count_nonzero(statistics.teacher_std == 0)
    return SiteScore(
        tokens=statistics.tokens,
        mean_correlation=float(np.mean(correlation[served])),
        chance=chance,
        explained_by_units=float(np.mean(correlation[served] ** 2)),
        explained_by_linear=evidence.explained_by_linear(assignment[served]),
        same_index=evidence.same_index,
        constant_units=int(constant),
    )


def chance_correlation(statistics: PairStatistics, *, seed: int) -> float | None:
    """Measure what an assignment reaches where the two sites share information but no units.

    The student's standardised units are replaced by a random rotation of themselves: whatever a linear map could find is still
    there, and no unit of the one is a unit of the other. An assignment that does no better than on this says nothing about
    units.

    Args:
        statistics: Moments of the two sites.
        seed: Seed of the rotation.

    Returns:
        The mean matched correlation; None where the student's covariance was not kept.
    """
    if statistics.student_covariance is None:
        return None
    width = len(statistics.student_std)
    normal = np.random.default_rng(seed).standard_normal((width, width))
    rotation, upper = np.linalg.qr(normal)
    rotation *= np.sign(np.diagonal(upper))
    own = standardise(statistics.student_covariance, statistics.student_std, statistics.student_std)
    std = np.sqrt(np.maximum(np.einsum("ij,ij->j", rotation, own @ rotation), 1e-12))
    similarity = (rotation.T @ statistics.correlation()) / std[:, None]
    assignment = solve_assignment(similarity)
    return float(np.mean(matched_correlation(similarity, assignment)[assignment != UNASSIGNED]))
