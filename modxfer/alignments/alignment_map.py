"""Alignment maps: how the units of a teacher's sites and of a student's sites correspond."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int32

from modxfer.architectures import Site
from modxfer.errors import AlignmentError

UNASSIGNED = -1
"""In an assignment: no teacher unit serves this student unit."""


@dataclass(frozen=True, slots=True, order=True)
class SitePair:
    """A student site and the teacher site that it is aligned with."""

    student: Site
    teacher: Site

    def __str__(self) -> str:
        return f"{self.student}<-{self.teacher}"

    @classmethod
    def parse(cls, text: str) -> "SitePair":
        """Read what `str` wrote.

        Args:
            text: Student site, arrow, teacher site.

        Returns:
            The pair.
        """
        student, _, teacher = text.partition("<-")
        return cls(Site.parse(student), Site.parse(teacher))


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteScore:
    """How well the units of one pair of sites correspond.

    Attributes:
        aligner: The aligner that mapped them; where `auto` was asked for, the one that it chose here.
        tokens: Matched tokens that were seen.
        mean_correlation: Mean correlation of each student unit with the teacher unit that serves it, in [-1, 1]; higher is
            better.
        chance: The mean correlation that an assignment reaches between the teacher and a random rotation of the student, which
            has the same information and no units in common; None if it was not measured.
        explained_by_units: Mean square of those correlations: the variance that a one-to-one map explains, in [0, 1].
        explained_by_linear: The variance of the same units that the best linear map explains, in [0, 1]; None if not measured.
        same_index: Part of the student units whose best one-to-one partner has the same index, in [0, 1].
        constant_units: Units of either site that never vary.
    """

    aligner: str
    tokens: int
    mean_correlation: float
    chance: float | None
    explained_by_units: float
    explained_by_linear: float | None
    same_index: float
    constant_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteMap:
    """How the units of one teacher site and one student site correspond.

    Exactly one of three forms: identity (nothing but correlations), an assignment, or matrices.

    Attributes:
        correlation: Correlation of each student unit with the teacher unit that serves it, float32; 0 where there is none.
        assignment: Teacher unit that serves each student unit, int32; -1 where none does. None for the other forms.
        reading: Predicts the teacher's activations from the student's, float32, shape (teacher, student).
        offset: What the prediction adds, float32, in the teacher's units.
        constant: Weights on the student's units whose sum is close to 1 on every token: carries `offset` where a module has no
            bias to put it in, float32.
        writing: Carries an update from the teacher's units to the student's, float32, shape (student, teacher).
        student_covariance: Covariance of the student's units, float32; for sites that a module's update reads.
        teacher_covariance: The same of the teacher's.
        student_size: Square root of the student site's total variance; 0 where it was not measured.
        teacher_size: The same of the teacher's.
    """

    correlation: Float32[np.ndarray, " student"]
    assignment: Int32[np.ndarray, " student"] | None = None
    reading: Float32[np.ndarray, "teacher student"] | None = None
    offset: Float32[np.ndarray, " teacher"] | None = None
    constant: Float32[np.ndarray, " student"] | None = None
    writing: Float32[np.ndarray, "student teacher"] | None = None
    student_covariance: Float32[np.ndarray, "student student"] | None = None
    teacher_covariance: Float32[np.ndarray, "teacher teacher"] | None = None
    student_size: float = 0.0
    teacher_size: float = 0.0

    @property
    def form(self) -> str:
        """Which of the three forms this is: "identity", "assignment" or "matrix"."""
        if self.assignment is not None:
            return "assignment"
        return "identity" if self.reading is None and self.writing is None else "matrix"

    def reading_matrix(self, *, with_constant: bool) -> Float[np.ndarray, "teacher student"]:
        """Give the map for an axis that reads.

        Args:
            with_constant: Carry the offset on the student's own units, for a module without a bias.

        Returns:
            The matrix that predicts the teacher's activations from the student's, float32.

        Raises:
            AlignmentError: this site was aligned for writing only.
        """
        if self.reading is None:
            raise AlignmentError("A site was aligned for writing only.", do="Compute the alignment map for this module.")
        if not with_constant or self.offset is None or self.constant is None:
            return self.reading
        return self.reading + np.outer(self.offset, self.constant)


SIZES = ("student_size", "teacher_size")
"""The fields of a `SiteMap` that are numbers."""

ARRAYS = tuple(field.name for field in fields(SiteMap) if field.name not in SIZES)
"""Its other fields."""

IDENTITY = SiteMap(correlation=np.ones(0, dtype=np.float32))
"""The map of two sites that are stated, not measured, to share their coordinates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRecord:
    """One of the two base models of an alignment map.

    Attributes:
        name: Folder name or Hub id.
        revision: Commit hash, if it came from a Hub.
        fingerprint: sha256 over its config, tokenizer and weights; for one from a Hub its commit hash.
        model_type: Its family.
    """

    name: str
    revision: str | None
    fingerprint: str
    model_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusRecord:
    """The text that an alignment map was computed on.

    Attributes:
        name: What the user calls it.
        revision: Its revision, if it has one.
        fingerprint: sha256 of its bytes.
        texts: Number of texts read.
        tokens: Number of matched tokens used.
        matching: How tokens were matched: "spans", "words" or "ends"; "patches" of images.
    """

    name: str
    revision: str | None
    fingerprint: str
    texts: int
    tokens: int
    matching: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentMap:
    """All site maps of one teacher-student pair, with how they were obtained.

    Attributes:
        teacher: The teacher.
        student: The student.
        corpus: The text it was computed on.
        aligner: The aligner that was used; for `auto`, what it chose, joined by "+" if that was not the same at all sites.
        requested: The aligner that was asked for.
        reason: Why `auto` chose what it chose; empty otherwise.
        parameters: The aligner's parameters.
        maps: Pair of sites to its map; may read from disk when asked.
        scores: Pair of sites to how well it fits.
        warnings: What a user should know before relying on it.
        versions: Versions of the packages that computed it.
        key: What it was computed from, as a sha256: same inputs, same key.
    """

    teacher: BaseRecord
    student: BaseRecord
    corpus: CorpusRecord
    aligner: str
    requested: str
    reason: str
    parameters: Mapping[str, Any]
    maps: Mapping[SitePair, SiteMap]
    scores: Mapping[SitePair, SiteScore]
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    key: str = ""

    @property
    def mean_correlation(self) -> float:
        """Mean over the pairs of sites of their mean matched correlation."""
        return float(np.mean([score.mean_correlation for score in self.scores.values()]))

    def layers(self) -> Iterator[tuple[str, list[tuple[SitePair, SiteScore]]]]:
        """Group the scores by layer.

        Yields:
            "stack student <- teacher" (or the site's own name outside the layers), and the pairs of sites with their scores.
        """
        grouped: dict[str, list[tuple[SitePair, SiteScore]]] = {}
        for pair, score in sorted(self.scores.items(), key=lambda item: _order(item[0])):
            site = pair.student
            fed_by = pair.teacher.layer if pair.teacher.layer is not None else pair.teacher.point  # the last layer hands it on
            title = str(site) if site.layer is None else f"{site.stack} {site.layer} <- {fed_by}"
            grouped.setdefault(title, []).append((pair, score))
        yield from grouped.items()


def _order(pair: SitePair) -> tuple[str, float, float, str]:
    """Layers in order, sites outside the layers last."""
    site, teacher = pair.student, pair.teacher
    last = float("inf")
    return (
        "~" if site.layer is None else site.stack,
        last if site.layer is None else float(site.layer),
        last if teacher.layer is None else float(teacher.layer),
        str(site.point),
    )
