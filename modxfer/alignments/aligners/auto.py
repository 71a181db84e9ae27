"""`auto`: measure first, then choose the simplest aligner that explains what is there."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from modxfer.alignments.aligners.evidence import Evidence

SAME_INDEX = 0.5
"""Spaces share their coordinates if at least this part of the student's units has its own index as best partner.

Between spaces that do not share them a unit meets its own index once in as many times as there are units."""

ONE_TO_ONE = 0.5
"""A permutation explains two spaces if it explains at least this part of what the best linear map explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The aligner that `auto` chose.

    Attributes:
        aligner: Its name.
        reason: Why, in one sentence with the figures.
    """

    aligner: str
    reason: str


def choose(evidence: Collection[Evidence]) -> Choice:
    """Choose between `identity`, `lsa` and `linear`, once for all pairs of sites.

    Args:
        evidence: What was measured at each pair of sites.

    Returns:
        The choice.
    """
    same_width = all(item.diagonal is not None for item in evidence)
    same_index = float(np.mean([item.same_index for item in evidence]))
    if same_width and same_index >= SAME_INDEX:
        return Choice(
            aligner="identity",
            reason=f"{same_index:.0%} of the student's units have the teacher unit of the same index as best partner.",
        )
    units = float(np.mean([np.mean(item.correlation[item.assignment >= 0] ** 2) for item in evidence]))
    linear = float(np.mean([item.explained_by_linear(item.assignment[item.assignment >= 0]) or 0.0 for item in evidence]))
    figures = f"one-to-one partners explain {units:.0%} of the variance, the best linear map {linear:.0%}"
    if units >= ONE_TO_ONE * linear:
        return Choice(aligner="lsa", reason=f"A permutation explains the two spaces: {figures}.")
    return Choice(aligner="linear", reason=f"No permutation explains the two spaces: {figures}.")
