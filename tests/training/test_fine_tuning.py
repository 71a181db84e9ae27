"""Training and predicting with a tiny model."""

import copy
from typing import Any

import pytest
import torch
import transformers

from modxfer.training.fine_tuning import Schedule, collate, draw_batches, fine_tune, predict
from modxfer.training.tagging import IGNORED, Example

EXAMPLES = [
    Example(ids=(2, 7, 8, 9, 3), labels=(IGNORED, 1, 2, 0, IGNORED)),
    Example(ids=(2, 9, 3), labels=(IGNORED, 0, IGNORED)),
    Example(ids=(2, 9, 7, 3), labels=(IGNORED, 0, 1, IGNORED)),
]


@pytest.fixture
def model() -> transformers.BertForTokenClassification:
    """A tiny model for three labels."""
    config: Any = transformers.AutoConfig.for_model(
        "bert",
        vocab_size=12,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        num_labels=3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.BertForTokenClassification(config)


def test_fine_tune_learns_what_can_be_learned(model: transformers.BertForTokenClassification) -> None:
    """After enough steps the labels of a few sentences are known; only trainable parameters have changed."""
    model.bert.embeddings.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    schedule = Schedule(steps=80, batch_size=2, learning_rate=1e-2)
    seen: list[tuple[int, int]] = []

    fine_tune(model, EXAMPLES, schedule=schedule, pad_id=0, seed=3, progress=lambda *step: seen.append(step))

    assert predict(model, EXAMPLES, pad_id=0, batch_size=2) == [[1, 2, 0], [0], [0, 1]]
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not [name for name in changed if "embeddings" in name]
    assert seen == [(step, 80) for step in range(1, 81)]


def test_fine_tune_depends_on_its_seed_alone(model: transformers.BertForTokenClassification) -> None:
    """The same seed gives the same weights, whatever was drawn before; the global generator is left as it was."""
    schedule = Schedule(steps=3, batch_size=2, learning_rate=1e-2)
    twins = [copy.deepcopy(model), copy.deepcopy(model)]
    state = torch.get_rng_state()
    fine_tune(twins[0], EXAMPLES, schedule=schedule, pad_id=0, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    fine_tune(twins[1], EXAMPLES, schedule=schedule, pad_id=0, seed=3)

    for one, other in zip(twins[0].parameters(), twins[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_predict_does_not_see_padding(model: transformers.BertForTokenClassification) -> None:
    """A sentence gets the same labels in a batch with longer ones as alone, in the order of the input."""
    alone = [predict(model, [example], pad_id=0, batch_size=1)[0] for example in EXAMPLES]
    assert predict(model, EXAMPLES, pad_id=0, batch_size=3) == alone
    assert [len(labels) for labels in alone] == [3, 1, 2]


def test_collate_masks_padding() -> None:
    """Padding has mask 0 and an ignored label."""
    batch = collate(EXAMPLES[:2], pad_id=11)
    assert batch["input_ids"].tolist() == [[2, 7, 8, 9, 3], [2, 9, 3, 11, 11]]
    assert batch["attention_mask"].tolist() == [[1] * 5, [1, 1, 1, 0, 0]]
    assert batch["labels"][1].tolist() == [IGNORED, 0, IGNORED, IGNORED, IGNORED]


def test_draw_batches_shows_every_example_once_an_epoch() -> None:
    """Two epochs of five examples in batches of two: each example twice, in another order, the same for the same seed."""
    batches = draw_batches(5, 2, seed=1)
    epochs = [[index for _ in range(3) for index in next(batches)] for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [[0, 1, 2, 3, 4]] * 2
    assert epochs[0] != epochs[1]
    again = draw_batches(5, 2, seed=1)
    assert [index for _ in range(3) for index in next(again)] == epochs[0]
