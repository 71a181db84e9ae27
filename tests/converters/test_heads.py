"""What becomes of a prediction head on its way to a student."""

import re

import numpy as np
import pytest

from modxfer.architectures import FINAL, Architecture, Route, architecture_from_config
from modxfer.converters.heads import drop_head, fit_head
from modxfer.converters.methods import LINEAR, OUTPUT
from modxfer.converters.module import HeadInfo, Module, Piece, Place
from tests.modules import bert, lora_module, module_of

TEACHER = bert(hidden=6)
ROUTE = Route(reads=FINAL, writes=FINAL)
HEADS = {
    "head.output": Piece(method=OUTPUT, route=ROUTE, parts={"weight": np.ones((3, 6))}),
    "head.dense": Piece(method=LINEAR, route=ROUTE, parts={"weight": np.ones((6, 6))}),
}


def family(model_type: str) -> Architecture:
    """Describe a tiny base model of a family."""
    sizes = {"hidden_size": 6, "intermediate_size": 10, "num_hidden_layers": 4, "dim": 6, "hidden_dim": 10, "n_layers": 4}
    return architecture_from_config({"model_type": model_type, **sizes}, name=model_type)


def with_head(*parts: str, task: str = "SEQ_CLS", format: str = "peft") -> Module:
    """Make a LoRA with a head of some layers."""
    pieces = {Place("", -1, part): HEADS[part] for part in parts}
    head = HeadInfo(task=task, name="default")
    return module_of({**lora_module(TEACHER, "query").pieces, **pieces}, head=head, format=format)


def test_drop_head_leaves_it_behind() -> None:
    """A dropped head is listed, and the rest stays."""
    module, notes = drop_head(with_head("head.output"))
    assert (module.head, notes) == (None, ["prediction head: left behind, as asked"])
    assert module.pieces.keys() == lora_module(TEACHER, "query").pieces.keys()


def test_a_module_without_a_head_stays_as_it_is() -> None:
    """Where there is no head there is nothing to say."""
    module = lora_module(TEACHER, "query")
    assert drop_head(module) == fit_head(module, TEACHER, family("roberta")) == (module, [])


@pytest.mark.parametrize(
    ("teacher", "task", "student", "wrong"),
    [
        ("bert", "TOKEN_CLS", "roberta", None),
        ("roberta", "SEQ_CLS", "xlm-roberta", None),
        ("bert", "QUESTION_ANS", "distilbert", None),
        ("bert", "SEQ_CLS", "bert", None),
        ("bert", "SEQ_CLS", "roberta", "roberta .*tanh"),
        ("roberta", "SEQ_CLS", "electra", "tanh.*electra .*gelu"),
        ("bert", "MULTIPLE_CHOICE", "roberta", None),
    ],
)
def test_fit_head_keeps_a_head_that_computes_the_same(teacher: str, task: str, student: str, wrong: str | None) -> None:
    """A `peft` head stays where the student's task model computes the same of it; else the record says why not."""
    parts = [f"head.{part}" for part in family(teacher).family.heads.get(task, ("output",))]
    module, notes = fit_head(with_head(*parts, task=task), family(teacher), family(student))
    assert (module.head is None) is (wrong is not None)
    assert any(place.is_head for place in module.pieces) is (wrong is None)
    assert len(notes) == (wrong is not None)
    if wrong:
        assert re.search(wrong, notes[0])
