"""Planted students compute what their teachers compute: the ground truth of the other tests holds."""

from pathlib import Path

import numpy as np
import pytest

from modxfer.architectures import architecture_from_config, read_config
from tests.builders import FAMILIES
from tests.planted import NEW, draw_plan, hidden_states, make_student, make_teacher, planted_pair, with_ffn


@pytest.mark.parametrize("family", FAMILIES)
def test_permuted_student_computes_the_same(family: str, tmp_path: Path) -> None:
    """The student's final hidden state is the teacher's in another order, and in no smaller sense the same."""
    pair = planted_pair(tmp_path, family)
    teacher, student = hidden_states(pair.teacher), hidden_states(pair.student)
    np.testing.assert_allclose(student, teacher[:, pair.plan.hidden], atol=1e-5)  # sums in another order
    assert not np.allclose(student, teacher, atol=0.1)


def test_new_ffn_units_change_nothing(tmp_path: Path) -> None:
    """A student with more FFN units than its teacher still computes the same."""
    teacher = make_teacher(tmp_path / "teacher", "bert")
    plan = draw_plan(architecture_from_config(read_config(teacher), name="t"), heads=3)
    wider = with_ffn(plan, np.random.default_rng(0).permutation([*range(20), NEW, NEW, NEW]))
    student = make_student(tmp_path / "student", teacher, wider)
    np.testing.assert_allclose(hidden_states(student), hidden_states(teacher)[:, plan.hidden], atol=1e-5)
