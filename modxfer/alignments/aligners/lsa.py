"""`lsa`: every student unit is served by its own teacher unit, chosen for the highest total correlation."""

import numpy as np
from jaxtyping import Float, Int

from modxfer.alignments.alignment_map import UNASSIGNED
from modxfer.errors import AlignmentError


def solve_assignment(similarity: Float[np.ndarray, "student teacher"]) -> Int[np.ndarray, " student"]:
    """Give every student unit its own teacher unit, with the highest total similarity.

    Args:
        similarity: Pearson correlation over matched tokens, float64, in [-1, 1]. Entry [i, j] compares student unit i with
            teacher unit j; higher is better.

    Returns:
        Assignment a, int64, no teacher unit twice: unit i is served by teacher unit a[i]. Where the student has more units than
        the teacher, the worst-fitting ones are left with -1.

    Raises:
        AlignmentError: an entry is not finite.

    Source:
        Klimaszewski et al. 2024 (arXiv 2403.18804), section 2.1, figure 3. Solver: Crouse 2016, in SciPy.
    Departs from the paper: it minimises -C, we maximise C, which is the same problem; students wider than their teacher are
        allowed.
    """
    from scipy.optimize import linear_sum_assignment

    if not np.isfinite(similarity).all():
        raise AlignmentError(
            f"{np.count_nonzero(~np.isfinite(similarity))} correlations are not finite.",
            do="Check that both base models give finite activations.",
        )
    student, teacher = linear_sum_assignment(similarity, maximize=True)
    assignment = np.full(similarity.shape[0], UNASSIGNED, dtype=np.int64)
    assignment[student] = teacher
    return assignment


def matched_correlation(
    similarity: Float[np.ndarray, "student teacher"], assignment: Int[np.ndarray, " student"]
) -> Float[np.ndarray, " student"]:
    """Pick each student unit's correlation with the teacher unit that serves it.

    Args:
        similarity: Correlation of student unit i with teacher unit j at [i, j].
        assignment: Teacher unit for each student unit; -1 where there is none.

    Returns:
        Correlation of each student unit, float64; 0 where no teacher unit serves it.
    """
    matched = np.zeros(len(assignment))
    served = np.flatnonzero(assignment != UNASSIGNED)
    matched[served] = similarity[served, assignment[served]]
    return matched
