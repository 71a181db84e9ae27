"""What every aligner measures before it maps: the best one-to-one match, and how much it explains."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from modxfer.alignments.aligners.lsa import matched_correlation, solve_assignment
from modxfer.alignments.aligners.ridge import Ridge
from modxfer.alignments.alignment_map import UNASSIGNED, SiteScore
from modxfer.alignments.statistics import PairStatistics, standardise, total_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The best one-to-one match of one pair of sites, and what a linear map would explain.

    Attributes:
        tokens: Number of matched tokens.
        widths: Number of units of the student's site, and of the teacher's.
        constant_units: Units of either site that never vary.
        assignment: Teacher unit for each student unit; -1 where there is none.
        correlation: Correlation of each student unit with its teacher unit.
        sizes: Square root of the total variance of the student's site, and of the teacher's.
        diagonal: Correlation of each student unit with the teacher unit of the same index; None if the widths differ.
        explained: Part of each teacher unit's variance that the best linear map explains; None where none was fitted.
        statistics: What was measured; None in light evidence.
        ridge: The linear map; None in light evidence, and where none was fitted.
    """

    tokens: int
    widths: tuple[int, int]
    constant_units: int
    assignment: Int[np.ndarray, " student"]
    correlation: Float[np.ndarray, " student"]
    sizes: tuple[float, float]
    diagonal: Float[np.ndarray, " student"] | None
    explained: Float[np.ndarray, " teacher"] | None
    statistics: PairStatistics | None
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
        return None if self.explained is None else float(np.mean(self.explained[teacher_units]))

    def light(self) -> "Evidence":
        """Give the evidence without its matrices, so that that of many sites fits into memory.

        Returns:
            The same figures.
        """
        return replace(self, statistics=None, ridge=None)


def measure(statistics: PairStatistics, *, ridge: float | None) -> Evidence:
    """Find the best one-to-one match of a pair of sites, and fit the linear map to hold it against.

    Args:
        statistics: Moments of the two sites.
        ridge: Penalty of the linear map, in units of the mean variance; None to leave it out.

    Returns:
        The evidence.
    """
    similarity = statistics.correlation()
    assignment = solve_assignment(similarity)
    fitted = None if ridge is None or statistics.student_covariance is None else Ridge.fit(statistics, penalty=ridge)
    return Evidence(
        tokens=statistics.tokens,
        widths=(len(statistics.student_std), len(statistics.teacher_std)),
        constant_units=int(np.count_nonzero(statistics.student_std == 0) + np.count_nonzero(statistics.teacher_std == 0)),
        assignment=assignment,
        correlation=matched_correlation(similarity, assignment),
        sizes=(total_size(statistics.student_std), total_size(statistics.teacher_std)),
        diagonal=np.diagonal(similarity).copy() if statistics.same_width else None,
        explained=None if fitted is None else fitted.explained(),
        statistics=statistics,
        ridge=fitted,
    )


def score(
    evidence: Evidence,
    *,
    aligner: str,
    correlation: Float[np.ndarray, " student"],
    assignment: Int[np.ndarray, " student"],
    chance: float | None,
) -> SiteScore:
    """Sum up how well a one-to-one match fits.

    Args:
        evidence: What was measured.
        aligner: The aligner that mapped these sites.
        correlation: Correlation of each student unit with the teacher unit that serves it.
        assignment: That teacher unit; -1 where there is none.
        chance: What a match would reach by chance; None if it was not measured.

    Returns:
        The score.
    """
    served = assignment != UNASSIGNED
    return SiteScore(
        aligner=aligner,
        tokens=evidence.tokens,
        mean_correlation=float(np.mean(correlation[served])),
        chance=chance,
        explained_by_units=float(np.mean(correlation[served] ** 2)),
        explained_by_linear=evidence.explained_by_linear(assignment[served]),
        same_index=evidence.same_index,
        constant_units=evidence.constant_units,
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
