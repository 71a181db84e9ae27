"""Lowering a loss with AdamW, for base models: the trainers of modules have no part in how students come to be. Runs models."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

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


def pad(rows: Sequence[Sequence[int]], value: int) -> np.ndarray:
    """Put rows of unequal length into one array.

    Args:
        rows: The rows.
        value: What fills them up at their ends.

    Returns:
        Array of shape (rows, longest row), int64.
    """
    padded = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


def _rate(step: int, steps: int) -> float:
    """Part of the highest learning rate at a step."""
    warmup = max(steps // 10, 1)
    if step < warmup:
        return (step + 1) / warmup
    return max(steps - step, 0) / max(steps - warmup, 1)
