"""Which patches of two models show the same part of an image."""

from dataclasses import dataclass

import numpy as np

from modxfer.alignments.tokens import Matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """How a model cuts an image into tokens: row by row, behind tokens that show no part of it.

    Attributes:
        rows: Patches from top to bottom.
        columns: Patches from left to right.
        special: Tokens before the first patch, such as the one that prediction heads read.
    """

    rows: int
    columns: int
    special: int


def match_patches(teacher: Patches, student: Patches) -> Matches:
    """Match every token of a student's image with one of the teacher's.

    Args:
        teacher: The teacher's patches.
        student: The student's patches, of the same image.

    Returns:
        The special tokens that both have, in order, and every patch of the student with that of the teacher which covers its
        centre; where both have the same grid, that is the one in the same place.
    """
    special = np.arange(min(teacher.special, student.special))
    rows = _covering(student.rows, teacher.rows)
    columns = _covering(student.columns, teacher.columns)
    patches = teacher.special + (rows[:, None] * teacher.columns + columns).reshape(-1)
    own = student.special + np.arange(student.rows * student.columns)
    group = np.arange(len(special) + len(own), dtype=np.int64)
    return Matches(
        teacher_token=np.concatenate([special, patches]).astype(np.int64),
        teacher_group=group,
        student_token=np.concatenate([special, own]).astype(np.int64),
        student_group=group.copy(),
        count=len(group),
    )


def _covering(student: int, teacher: int) -> np.ndarray:
    """Give, along one side, the teacher's patch that covers the centre of each of the student's."""
    return (2 * np.arange(student) + 1) * teacher // (2 * student)
