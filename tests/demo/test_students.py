"""Students made from a teacher's layers and units."""

from typing import Any

import numpy as np
import pytest
import torch

from modxfer.demo.settings import Narrow
from modxfer.demo.students import keep_all_units, make_student, shuffle_units, start_student
from tests.demo.tiny import tiny_teacher

LAYERS = (0, 2, 4)
NARROW = Narrow(hidden=8, heads=2, ffn=14)


def test_matching_student_has_the_teachers_layers() -> None:
    """Before distillation its layers are the teacher's 0, 2 and 4, tensor by tensor, and so is all around them."""
    teacher = tiny_teacher()
    student = make_student(teacher, keep_all_units(teacher.config, layers=LAYERS))

    for own, theirs in enumerate(LAYERS):
        wanted = teacher.encoder.layer[theirs].state_dict()
        found = student.encoder.layer[own].state_dict()
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    for part in ("embeddings", "pooler"):
        wanted, found = getattr(teacher, part).state_dict(), getattr(student, part).state_dict()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_matching_student_of_all_layers_is_the_teacher() -> None:
    """With every layer kept, the outputs are the teacher's."""
    teacher = tiny_teacher()
    student = make_student(teacher, keep_all_units(teacher.config, layers=range(6)))
    ids = torch.arange(5, 25).reshape(2, 10)
    assert torch.equal(student(ids).last_hidden_state, teacher(ids).last_hidden_state)


def test_incompatible_student_is_gathered_from_planted_units() -> None:
    """Every weight is the teacher's at the planted units, by exact value."""
    teacher = tiny_teacher()
    cut = shuffle_units(teacher.config, layers=LAYERS, narrow=NARROW, seed=3)
    student: Any = make_student(teacher, cut)

    hidden = cut.hidden
    assert torch.equal(student.embeddings.word_embeddings.weight, teacher.embeddings.word_embeddings.weight[:, hidden])
    for own, theirs in enumerate(LAYERS):
        small, large = student.encoder.layer[own], teacher.encoder.layer[theirs]
        attention, ffn = cut.attention[own], cut.ffn[own]
        for name in ("query", "key", "value"):
            found, wanted = getattr(small.attention.self, name), getattr(large.attention.self, name)
            assert torch.equal(found.weight, wanted.weight[np.ix_(attention, hidden)])
            assert torch.equal(found.bias, wanted.bias[attention])
        found, wanted = small.attention.output.dense, large.attention.output.dense
        assert torch.equal(found.weight, wanted.weight[np.ix_(hidden, attention)])
        assert torch.equal(small.intermediate.dense.weight, large.intermediate.dense.weight[np.ix_(ffn, hidden)])
        assert torch.equal(small.output.dense.weight, large.output.dense.weight[np.ix_(hidden, ffn)])
        assert torch.equal(small.output.LayerNorm.bias, large.output.LayerNorm.bias[hidden])


def test_shuffle_units_keeps_heads_whole_and_takes_no_unit_twice() -> None:
    """Each head of the student is one of the teacher's with its units in another order; nothing is in the teacher's order."""
    teacher = tiny_teacher()
    cut = shuffle_units(teacher.config, layers=LAYERS, narrow=NARROW, seed=3)

    assert [len(cut.hidden), *map(len, cut.attention), *map(len, cut.ffn)] == [8, 8, 8, 8, 14, 14, 14]
    for units in (cut.hidden, *cut.attention, *cut.ffn):
        assert len(set(units.tolist())) == len(units)
        assert units.tolist() != sorted(units.tolist())
    for units in cut.attention:
        heads = (units // 4).reshape(2, 4)
        assert (heads == heads[:, :1]).all()
        assert heads[0, 0] != heads[1, 0]


def test_student_with_all_units_shuffled_gives_the_teachers_outputs_shuffled() -> None:
    """With nothing cut away, only the order of the units differs: the gather is consistent through every layer."""
    teacher = tiny_teacher()
    narrow = Narrow(hidden=12, heads=3, ffn=20)
    cut = shuffle_units(teacher.config, layers=range(6), narrow=narrow, seed=1)
    ids = torch.arange(5, 25).reshape(2, 10)

    with torch.no_grad():
        found = make_student(teacher, cut)(ids)
        wanted = teacher(ids)

    # float32 sums in another order
    torch.testing.assert_close(found.last_hidden_state, wanted.last_hidden_state[..., cut.hidden], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.pooler_output, wanted.pooler_output[..., cut.hidden], rtol=0, atol=1e-5)


def test_shuffle_units_refuses_heads_of_another_width() -> None:
    """The student's heads are as wide as the teacher's."""
    with pytest.raises(ValueError, match="2 heads of 4 units do not make 9 units"):
        shuffle_units(tiny_teacher().config, layers=LAYERS, narrow=Narrow(hidden=9, heads=2, ffn=14), seed=0)


def test_start_student_has_the_teachers_vocabulary_and_nothing_else_of_it() -> None:
    """Sizes are those asked for; other seeds give other weights; the teacher's config stays as it was."""
    config = tiny_teacher().config
    before = config.to_dict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student: Any = start_student(config, layers=4, narrow=NARROW)
        torch.manual_seed(1)
        other: Any = start_student(config, layers=4, narrow=NARROW)

    assert student.embeddings.word_embeddings.weight.shape == (60, 8)
    assert len(student.encoder.layer) == 4
    assert student.encoder.layer[0].attention.self.attention_head_size == 4
    assert student.encoder.layer[0].intermediate.dense.weight.shape == (14, 8)
    assert not torch.equal(student.embeddings.word_embeddings.weight, other.embeddings.word_embeddings.weight)
    assert config.to_dict() == before
