"""What modxfer pushed loads with the libraries themselves, from the Hub, by the code that the card shows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import modxfer
from modxfer import AlignmentChoice, PushChoice
from modxfer.registry.cards import python_blocks
from tests.builders import make_adapters_module, make_peft_module, outputs, tiny_inputs
from tests.hub.remote import Remote
from tests.planted import base_model, draw_plan, make_student, make_teacher


@pytest.fixture
def pair(remote: Remote, tmp_path: Path) -> tuple[str, str]:
    """Publish a teacher, and a student that is the teacher with its layers in place: every module gives equal outputs."""
    folder = make_teacher(tmp_path / "teacher", "bert", seed=3)
    plan = draw_plan(base_model(folder).architecture, heads=3, shuffle=False)
    return remote.upload("teacher", folder), remote.upload("student", make_student(tmp_path / "student", folder, plan))


def run_card(name: str) -> Any:
    """Run the code that a card on the Hub shows; gives the model."""
    from huggingface_hub import ModelCard

    (code,) = python_blocks(str(ModelCard.load(name)))
    scope: dict[str, Any] = {}
    exec(code, scope)
    return scope["model"].eval()


def push(remote: Remote, folder: Path, pair: tuple[str, str], *, format: str) -> str:
    """Convert a module and push it; gives its id."""
    name = remote.name("moved")
    modxfer.convert(
        str(folder),
        to=pair[1],
        teacher=pair[0],
        align=AlignmentChoice(aligner="identity"),
        format=format,
        output=folder.parent / "moved",
        push_to=PushChoice(name=name, licence="apache-2.0"),
    )
    return name


@pytest.mark.parametrize(
    ("task", "model_class"),
    [
        ("TOKEN_CLS", transformers.AutoModelForTokenClassification),
        ("SEQ_CLS", transformers.AutoModelForSequenceClassification),
        ("QUESTION_ANS", transformers.AutoModelForQuestionAnswering),
    ],
)
def test_peft_loads_it(
    remote: Remote, pair: tuple[str, str], tmp_path: Path, task: str, model_class: Callable[..., Any]
) -> None:
    """The card's code gives the teacher's outputs with the module and its head."""
    model = model_class.from_pretrained(tmp_path / "teacher", num_labels=2)  # type: ignore[attr-defined]
    module = make_peft_module(tmp_path / "module", model, task_type=task)
    ids = tiny_inputs(model.config)
    loaded = run_card(push(remote, tmp_path / "module", pair, format="peft"))
    for mine, theirs in zip(outputs(loaded, ids), outputs(module, ids), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.adapters
def test_adapters_loads_it(remote: Remote, pair: tuple[str, str], tmp_path: Path) -> None:
    """A bottleneck adapter with its tagging head gives the teacher's outputs."""
    import adapters

    model = adapters.AutoAdapterModel.from_pretrained(str(tmp_path / "teacher"))
    config = adapters.SeqBnConfig(reduction_factor=4)
    make_adapters_module(tmp_path / "module", model, config, head="tagging", head_options={"num_labels": 5})
    ids = torch.randint(4, 40, (2, 7), generator=torch.Generator().manual_seed(0))
    loaded = run_card(push(remote, tmp_path / "module", pair, format="adapters"))
    for mine, theirs in zip(outputs(loaded, ids), outputs(model, ids), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_a_module_says_the_commit_of_its_base_model(remote: Remote, pair: tuple[str, str], tmp_path: Path) -> None:
    """`peft` is told the student's id and revision, so that a later student is not loaded under it."""
    model = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "teacher", num_labels=2)
    make_peft_module(tmp_path / "module", model, task_type="TOKEN_CLS")
    name = push(remote, tmp_path / "module", pair, format="peft")
    config = json.loads((modxfer.pull(name).folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == pair[1]
    assert len(config["revision"]) == 40
