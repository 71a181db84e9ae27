"""Seeds, silence, and counting what is trained."""

import contextlib
import logging
import random
import warnings

import pytest
import torch
import transformers

from modxfer.errors import TrainingError
from modxfer.training.libraries.context import quiet, seeded, trainable_parts


def test_seeded_leaves_every_generator_as_it_was() -> None:
    """What is drawn inside depends on the seed alone, and what is drawn after on what was before, after an error too."""
    states = torch.get_rng_state(), random.getstate()
    drawn = []
    for _ in range(2):
        with contextlib.suppress(ValueError), seeded(3):
            drawn.append((torch.rand(2).tolist(), random.random()))
            raise ValueError("stop")
    assert drawn[0] == drawn[1]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def test_quiet_is_over_when_it_ends(recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture) -> None:
    """Inside nothing is said; afterwards verbosity, progress bars and logging are as before."""
    level, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    with quiet():
        warnings.warn("inside", stacklevel=1)
        logging.getLogger("anything").warning("inside")
        assert not transformers.logging.is_progress_bar_enabled()
    logging.getLogger("anything").warning("outside")
    assert not recwarn.list
    assert [record.getMessage() for record in caplog.records] == ["outside"]
    assert (transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()) == (level, bars)


def test_trainable_parts_refuses_a_frozen_model() -> None:
    """A training that could change nothing is an error with the number of parameters."""
    model = torch.nn.Linear(3, 2)
    assert trainable_parts(model).trainable == 8
    model.requires_grad_(False)
    with pytest.raises(TrainingError, match="None of the model's 8 parameters is trainable"):
        trainable_parts(model)
