"""Distillation of a tiny student."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from modxfer.demo.descending import Schedule
from modxfer.demo.distilling import Lesson, distil, pick_blocks, prepare_lessons, start_projection
from modxfer.demo.settings import Narrow
from modxfer.demo.students import Cut, keep_all_units, make_student, shuffle_units, start_student
from tests.demo.tiny import tiny_teacher, tiny_tokenizer

LAYERS = (0, 2, 4)
WORDS = tuple("abcdefghij")
TEXTS = ["a b c d", "e f", "g h i j a b", "c a d", "b", "j i h g f e d c"]


@pytest.fixture
def lessons() -> list[Lesson]:
    """Three batches of text, with the tiny teacher's states."""
    tokenizer = tiny_tokenizer(WORDS)
    return prepare_lessons(tiny_teacher(), TEXTS, tokenizer, layers=LAYERS, batch_size=2, max_tokens=8)


def test_prepare_lessons_keeps_the_states_at_the_ends_of_blocks(lessons: list[Lesson]) -> None:
    """States are those of the embeddings and after the layers 1, 3 and 5, without padding, in half precision."""
    assert [lesson.mask.sum(dim=1).tolist() for lesson in lessons] == [[3, 4], [5, 6], [8, 8]]
    lesson = lessons[1]
    with torch.no_grad():
        hidden = tiny_teacher()(lesson.ids, attention_mask=lesson.mask, output_hidden_states=True).hidden_states
    for found, level in zip(lesson.states, (0, 2, 4, 6), strict=True):
        assert torch.equal(found, hidden[level][lesson.mask.bool()].half())


def _cut(kind: str) -> Cut:
    config = tiny_teacher().config
    if kind == "matching":
        return keep_all_units(config, layers=LAYERS)
    return shuffle_units(config, layers=LAYERS, narrow=Narrow(hidden=8, heads=2, ffn=14), seed=0)


@pytest.mark.parametrize("kind", ["matching", "incompatible"])
def test_distil_brings_the_student_closer(lessons: list[Lesson], kind: str) -> None:
    """The student's final states explain more of the teacher's afterwards; its word embeddings stay, its layers change."""
    cut = _cut(kind)
    student: Any = make_student(tiny_teacher(), cut)
    before = copy.deepcopy(student)
    schedule = Schedule(steps=60, batch_size=2, learning_rate=5e-3)

    distil(student, lessons, cut=cut, schedule=schedule, seed=0, progress=lambda done, total: None)

    assert _unexplained(student, lessons, cut) < 0.9 * _unexplained(before, lessons, cut)
    words, words_before = (m.embeddings.word_embeddings.weight for m in (student, before))
    assert torch.equal(words, words_before)
    assert not torch.equal(student.encoder.layer[0].output.dense.weight, before.encoder.layer[0].output.dense.weight)
    assert all(parameter.requires_grad for parameter in student.parameters())


def _unexplained(student: transformers.BertModel, lessons: list[Lesson], cut: Cut) -> float:
    """Squared distance of the student's final states from the teacher's at the units it was made of."""
    student.eval()
    errors = []
    with torch.no_grad():
        for lesson in lessons:
            own = student(lesson.ids, attention_mask=lesson.mask).last_hidden_state[lesson.mask.bool()]
            errors.append((own - lesson.states[-1].float()[:, cut.hidden]).square().mean().item())
    return float(np.mean(errors))


def test_start_projection_puts_units_in_their_places() -> None:
    """Student unit i goes to its teacher unit, and nothing else anywhere."""
    cut = _cut("incompatible")
    values = torch.arange(1.0, 9.0)
    projected = start_projection(cut, 12)(values)
    assert torch.equal(projected[cut.hidden], values)
    assert projected.sum() == values.sum()


def test_distil_teaches_a_student_with_weights_of_its_own(lessons: list[Lesson]) -> None:
    """A student of other sizes that starts at random predicts more of the teacher's states; its embeddings learn too."""
    schedule = Schedule(steps=80, batch_size=2, learning_rate=5e-3)
    blocks = pick_blocks(lessons, LAYERS, layers=(0, 2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student: Any = start_student(tiny_teacher().config, layers=2, narrow=Narrow(hidden=8, heads=2, ffn=14))
        before = copy.deepcopy(student)
        distil(student, blocks, cut=None, schedule=schedule, seed=0, progress=lambda done, total: None)

    assert _residual(student, lessons) < 0.7 * _residual(before, lessons)
    words, words_before = (m.embeddings.word_embeddings.weight for m in (student, before))
    assert not torch.equal(words, words_before)
    assert all(parameter.requires_grad for parameter in student.parameters())


def _residual(student: transformers.BertModel, lessons: list[Lesson]) -> float:
    """Part of the teacher's final states that the best linear map of the student's does not give."""
    with torch.no_grad():
        own = torch.cat([student(x.ids, attention_mask=x.mask).last_hidden_state[x.mask.bool()] for x in lessons])
    wanted = torch.cat([lesson.states[-1].float() for lesson in lessons])
    wanted = wanted - wanted.mean(dim=0)
    own = own - own.mean(dim=0)
    found = own @ torch.linalg.lstsq(own, wanted, driver="gelsd").solution
    return float((wanted - found).square().sum() / wanted.square().sum())


def test_pick_blocks_takes_the_states_at_the_ends_of_fewer_blocks(lessons: list[Lesson]) -> None:
    """Lessons for the blocks from 0, 2 and 4 hold those for the blocks from 0 and 4, whose ends are layers 3 and 5."""
    picked = pick_blocks(lessons, LAYERS, layers=(0, 4))
    wanted = prepare_lessons(tiny_teacher(), TEXTS, tiny_tokenizer(WORDS), layers=(0, 4), batch_size=2, max_tokens=8)
    for found, own in zip(picked, wanted, strict=True):
        assert torch.equal(found.ids, own.ids)
        assert len(found.states) == len(own.states) == 3
        assert all(torch.equal(a, b) for a, b in zip(found.states, own.states, strict=True))
