"""`auto`: measure first, then choose the simplest aligner that explains what is there.

Sites of one space are judged together, and spaces apart: two layers of one model share the coordinates of the residual stream,
and nothing in the spaces of their attention heads.
"""

from collections.abc import Collection, Mapping

import numpy as np

from modxfer.alignments.aligners.evidence import Evidence
from modxfer.alignments.alignment_map import SitePair

SAME_INDEX = 0.5
"""Spaces share their coordinates if at least this part of the student's units has its own index as best partner.

Between spaces that do not share them a unit meets its own index once in as many times as there are units."""

AS_GOOD = 0.9
"""... and if those of the same index explain at least this part of what the best partners explain: among few units, a
permutation can leave half of them in place."""

ONE_TO_ONE = 0.5
"""A permutation explains two spaces if it explains at least this part of what the best linear map explains."""

_SENTENCES = {
    "identity": "{same_index:.0%} of the student's units have the teacher unit of the same index as best partner",
    "lsa": "one-to-one partners explain {units:.0%} of the variance, the best linear map {linear:.0%}",
    "linear": "one-to-one partners explain only {units:.0%} of the variance, the best linear map {linear:.0%}",
}
"""What decides for each aligner, in the order in which they are tried."""


def choose(evidence: Collection[Evidence]) -> str:
    """Choose between `identity`, `lsa` and `linear` for pairs of sites that are of one space.

    Args:
        evidence: What was measured at each of them.

    Returns:
        The aligner's name.
    """
    units, linear = np.mean([_explained(item) for item in evidence], axis=0)
    diagonals = [item.diagonal for item in evidence if item.diagonal is not None]
    if len(diagonals) == len(evidence) and np.mean([item.same_index for item in evidence]) >= SAME_INDEX:
        in_place = np.mean([np.mean(diagonal**2) for diagonal in diagonals])
        if in_place >= AS_GOOD * units:
            return "identity"
    return "lsa" if units >= ONE_TO_ONE * linear else "linear"


def explain(chosen: Mapping[SitePair, str], evidence: Mapping[SitePair, Evidence]) -> str:
    """Say what was chosen, how often, and why.

    Args:
        chosen: Pair of sites to the aligner's name.
        evidence: Pair of sites to what was measured there.

    Returns:
        One sentence with the mean figures of each aligner's pairs.
    """
    clauses = []
    for name, sentence in _SENTENCES.items():
        found = [evidence[key] for key, aligner in chosen.items() if aligner == name]
        if found:
            units, linear = np.mean([_explained(item) for item in found], axis=0)
            figures = sentence.format(same_index=np.mean([item.same_index for item in found]), units=units, linear=linear)
            clauses.append(f"`{name}` at {len(found)} of {len(chosen)} pairs of sites: {figures}")
    return "; ".join(clauses) + "."


def _explained(evidence: Evidence) -> tuple[float, float]:
    """Variance of the matched units that one-to-one partners explain, and that the best linear map explains."""
    served = evidence.assignment >= 0
    units = float(np.mean(evidence.correlation[served] ** 2))
    return units, evidence.explained_by_linear(evidence.assignment[served]) or 0.0
