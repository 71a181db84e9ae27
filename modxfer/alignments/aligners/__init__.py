"""Aligners: from the statistics of two sites to a map between their units. One table holds them all.

`auto` is not in the table: it chooses from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modxfer.alignments.aligners.evidence import Evidence
from modxfer.alignments.aligners.linear import procrustes
from modxfer.alignments.aligners.lsa import solve_assignment
from modxfer.alignments.aligners.ridge import DEFAULT_PENALTY
from modxfer.alignments.alignment_map import UNASSIGNED, SiteMap
from modxfer.errors import AlignmentError


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What modules do at a pair of sites.

    Attributes:
        reads: Some axis reads it.
        writes: Some axis writes it.
        updates: The axis that reads it belongs to an additive update, whose size is to be kept.
    """

    reads: bool = False
    writes: bool = False
    updates: bool = False

    def __or__(self, other: "Use") -> "Use":
        return Use(reads=self.reads or other.reads, writes=self.writes or other.writes, updates=self.updates or other.updates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligner:
    """One way to map units.

    Attributes:
        name: What users call it.
        summary: One line for help pages.
        fit: From what was measured at a pair of sites, and the use made of it, to the map.
        writes_as_read: A piece's output is mapped by what was measured at its input.
        needs_matrices: It fits more than what the best one-to-one match says.
    """

    name: str
    summary: str
    fit: Callable[[Evidence, Use], SiteMap]
    writes_as_read: bool = False
    needs_matrices: bool = False


def _identity(evidence: Evidence, use: Use) -> SiteMap:
    if evidence.diagonal is None:
        student, teacher = evidence.widths
        raise AlignmentError(
            f"`identity` needs sites of equal width, and the student has {student} units where the teacher has {teacher}.",
            do="Use `--align auto`.",
        )
    return SiteMap(correlation=evidence.diagonal.astype(np.float32), **_sizes(evidence))


def _lsa(evidence: Evidence, use: Use) -> SiteMap:
    return SiteMap(
        correlation=evidence.correlation.astype(np.float32),
        assignment=evidence.assignment.astype(np.int32),
        **_sizes(evidence),
    )


def _linear(evidence: Evidence, use: Use) -> SiteMap:
    statistics, ridge = evidence.statistics, evidence.ridge
    if statistics is None or ridge is None:
        raise AlignmentError("`linear` needs the student's covariance.", do="Compute the alignment map again.")
    is_read = use.reads or not use.writes  # a site that is neither is only looked at, and a map has to be of some form
    return SiteMap(
        correlation=evidence.correlation.astype(np.float32),
        reading=ridge.reading().astype(np.float32) if is_read else None,
        offset=ridge.offset().astype(np.float32) if is_read else None,
        constant=ridge.constant.astype(np.float32) if is_read else None,
        writing=procrustes(statistics).astype(np.float32) if use.writes else None,
        student_covariance=_float32(statistics.student_covariance) if use.updates else None,
        teacher_covariance=_float32(statistics.teacher_covariance) if use.updates else None,
        **_sizes(evidence),
    )


def _sizes(evidence: Evidence) -> dict[str, Any]:
    student, teacher = evidence.sizes
    return {"student_size": student, "teacher_size": teacher}


def _float32(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else array.astype(np.float32)


ALIGNERS: Mapping[str, Aligner] = {
    aligner.name: aligner
    for aligner in (
        Aligner(name="identity", summary="The spaces share their coordinates: units keep their index.", fit=_identity),
        Aligner(name="lsa", summary="One-to-one by linear sum assignment, at every site of its own.", fit=_lsa),
        Aligner(
            name="paper",
            summary="`lsa` at a module's input, used for its output too (Klimaszewski et al. 2024).",
            fit=_lsa,
            writes_as_read=True,
        ),
        Aligner(
            name="linear",
            summary="Ridge regression for reading, orthogonal Procrustes for writing.",
            fit=_linear,
            needs_matrices=True,
        ),
    )
}
"""Name to aligner: the whole table."""

AUTO = "auto"

__all__ = ["ALIGNERS", "AUTO", "DEFAULT_PENALTY", "UNASSIGNED", "Aligner", "Evidence", "Use", "solve_assignment"]
