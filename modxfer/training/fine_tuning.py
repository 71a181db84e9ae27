"""Training a model's trainable parameters for some steps, and predicting with it. Runs models."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from modxfer.training.tagging import IGNORED, Example, pad

Progress = Callable[[int, int], None]
"""Called with the steps done, and the steps there are."""


def _silent(done: int, total: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: Number of optimiser steps.
        batch_size: Examples a step.
        learning_rate: Highest learning rate; it rises to it over the first tenth of the steps, then falls linearly to 0.
    """

    steps: int
    batch_size: int
    learning_rate: float


def fine_tune(
    model: torch.nn.Module,
    examples: Sequence[Example],
    *,
    schedule: Schedule,
    pad_id: int,
    seed: int,
    progress: Progress = _silent,
) -> None:
    """Train what is trainable in a model, in place.

    Args:
        model: A model of `transformers` (or one that wraps it) that gives its own loss for labels.
        examples: What to train on, taken in an order that the seed alone decides.
        schedule: How long and how fast.
        pad_id: Token id that fills up short sentences.
        seed: Seed of the order and of dropout.
        progress: Called after every step.
    """
    batches = draw_batches(len(examples), schedule.batch_size, seed=seed)

    def loss() -> torch.Tensor:
        batch = collate([examples[index] for index in next(batches)], pad_id=pad_id)
        value: torch.Tensor = model(**batch).loss
        return value

    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        descend([p for p in model.parameters() if p.requires_grad], loss, schedule=schedule, progress=progress)
    model.eval()


def descend(
    parameters: Sequence[torch.nn.Parameter],
    loss: Callable[[], torch.Tensor],
    *,
    schedule: Schedule,
    progress: Progress = _silent,
) -> None:
    """Lower a loss with AdamW, gradients clipped to norm 1.

    Args:
        parameters: What to change, in place.
        loss: Gives the loss of the next batch.
        schedule: How long and how fast.
        progress: Called after every step.
    """
    optimizer = torch.optim.AdamW(parameters, lr=schedule.learning_rate, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, schedule.steps))
    for step in range(schedule.steps):
        loss().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        progress(step + 1, schedule.steps)


def predict(model: torch.nn.Module, examples: Sequence[Example], *, pad_id: int, batch_size: int) -> list[list[int]]:
    """Predict the label of every word.

    Args:
        model: As for `fine_tune`.
        examples: The sentences; of their labels only the places matter.
        pad_id: Token id that fills up short sentences.
        batch_size: Sentences a forward pass.

    Returns:
        For each sentence the label of each of its words.
    """
    by_length = sorted(range(len(examples)), key=lambda index: len(examples[index].ids))
    predicted: list[list[int]] = [[] for _ in examples]
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(by_length), batch_size):
            rows = by_length[start : start + batch_size]
            batch = collate([examples[index] for index in rows], pad_id=pad_id)
            labels = batch.pop("labels")
            best = model(**batch).logits.argmax(dim=-1)
            for index, row in enumerate(rows):
                predicted[row] = best[index][labels[index] != IGNORED].tolist()
    return predicted


def collate(examples: Sequence[Example], *, pad_id: int) -> dict[str, torch.Tensor]:
    """Put examples into one batch.

    Args:
        examples: The examples.
        pad_id: Token id that fills up short ones.

    Returns:
        `input_ids`, `attention_mask` and `labels`, each of shape (examples, longest example).
    """
    columns: Mapping[str, np.ndarray] = {
        "input_ids": pad([example.ids for example in examples], pad_id),
        "attention_mask": pad([[1] * len(example.ids) for example in examples], 0),
        "labels": pad([example.labels for example in examples], IGNORED),
    }
    return {name: torch.from_numpy(column) for name, column in columns.items()}


def draw_batches(examples: int, batch_size: int, *, seed: int) -> Iterator[list[int]]:
    """Draw batches without end, each example once an epoch.

    Args:
        examples: Number of examples; above 0.
        batch_size: Examples a batch; an epoch's last batch may be smaller.
        seed: Seed of the order.

    Yields:
        Indices of one batch.
    """
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(examples).tolist()
        for start in range(0, examples, batch_size):
            yield order[start : start + batch_size]


def _rate(step: int, steps: int) -> float:
    """Part of the highest learning rate at a step."""
    warmup = max(steps // 10, 1)
    if step < warmup:
        return (step + 1) / warmup
    return max(steps - step, 0) / max(steps - warmup, 1)
