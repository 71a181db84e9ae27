"""Lowering a loss, and batches."""

import numpy as np
import pytest
import torch

from modxfer.demo.descending import Schedule, descend, draw_batches, pad


def test_descend_finds_the_lowest_place() -> None:
    """The minimum of a bowl is found; every step is reported."""
    place = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    seen: list[tuple[int, int]] = []

    def loss() -> torch.Tensor:
        return (place - torch.tensor([1.0, 0.5])).square().sum()

    descend(
        [place], loss, schedule=Schedule(steps=300, batch_size=1, learning_rate=0.1), progress=lambda *step: seen.append(step)
    )

    assert place.tolist() == pytest.approx([1.0, 0.5], abs=0.01)  # weight decay pulls it a little towards 0
    assert seen == [(step, 300) for step in range(1, 301)]


def test_descend_warms_up_and_cools_down() -> None:
    """Under a constant gradient Adam's steps are the learning rate: up over a tenth of the steps, then down to near 0."""
    place = torch.nn.Parameter(torch.zeros(1))
    places = [0.0]
    schedule = Schedule(steps=20, batch_size=1, learning_rate=0.1)
    descend([place], lambda: -place.sum(), schedule=schedule, progress=lambda done, total: places.append(place.item()))

    steps = np.diff(places)
    wanted = 0.1 * np.array([0.5, *np.linspace(1, 1 / 18, 18)])
    np.testing.assert_allclose(np.delete(steps, 1), wanted, rtol=0.02)  # weight decay takes off 0.1 % a step
    assert steps[1] == pytest.approx(0.1, rel=0.02)


def test_draw_batches_shows_every_example_once_an_epoch() -> None:
    """Two epochs of five examples in batches of two: each example twice, in another order, the same for the same seed."""
    batches = draw_batches(5, 2, seed=1)
    epochs = [[index for _ in range(3) for index in next(batches)] for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [[0, 1, 2, 3, 4]] * 2
    assert epochs[0] != epochs[1]
    again = draw_batches(5, 2, seed=1)
    assert [index for _ in range(3) for index in next(again)] == epochs[0]


def test_pad_fills_the_ends() -> None:
    """Short rows get the value at their ends."""
    np.testing.assert_array_equal(pad([[1, 2, 3], [4]], -7), [[1, 2, 3], [4, -7, -7]])
