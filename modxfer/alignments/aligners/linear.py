"""`linear`: dense maps, ridge regression for reading and orthogonal Procrustes for writing."""

import numpy as np
from jaxtyping import Float

from modxfer.alignments.statistics import PairStatistics, total_size


def procrustes(statistics: PairStatistics) -> Float[np.ndarray, "student teacher"]:
    """Give the map that carries an update from the teacher's units to the student's.

    W = (sigma_s / sigma_t) U V', with U S V' the singular value decomposition of the covariance of the student's units with
    the teacher's: of all matrices with orthonormal rows (or columns), U V' turns the teacher's activations closest to the
    student's. sigma is the square root of a site's total variance.

    Unlike a regression, W does not shrink directions that are hard to predict: an update leaves the span of the activations
    that a regression was fitted on.

    Args:
        statistics: Moments of the two sites.

    Returns:
        The map in the units of the activations, float64.

    Source:
        Schönemann 1966 (orthogonal Procrustes); docs/method.md says why not a regression.
    """
    import torch  # whose decomposition is the faster one, and shares its threads with the passes before it

    left, _, right = (part.numpy() for part in torch.linalg.svd(torch.from_numpy(statistics.cross), full_matrices=False))
    teacher_size = total_size(statistics.teacher_std)
    ratio = total_size(statistics.student_std) / teacher_size if teacher_size > 0 else 1.0
    return np.asarray(ratio * (left @ right))
