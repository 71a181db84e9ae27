"""What surrounds a library's work: a seed of its own, silence, and what of a model is trained in the end."""

import contextlib
import logging
import random
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from modxfer.errors import TrainingError

_COPIES = ".original_module."
"""What `peft` puts into the name of a parameter that it keeps beside the trained copy, and never uses."""


def has_adapters() -> bool:
    """Say whether `adapters` is installed."""
    return "adapters" in sys.modules or find_spec("adapters") is not None  # once imported, it has no spec


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make what is drawn inside the block depend on a seed alone, and nothing outside on it.

    Args:
        seed: The seed.

    Yields:
        Nothing.
    """
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    state = random.getstate()
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries from writing to the terminal: their warnings, and their progress bars.

    Yields:
        Nothing.
    """
    import transformers

    level, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    disabled = logging.root.manager.disable
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(max(disabled, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """How much of a model is trained.

    Attributes:
        trainable: Parameters that are trained: the module's and its head's.
        total: All parameters.
    """

    trainable: int
    total: int


def trainable_parts(model: Any) -> Parts:
    """Count what of a model is trained.

    Args:
        model: A model, ready to be trained.

    Returns:
        The numbers of parameters.

    Raises:
        TrainingError: nothing of it is trainable.
    """
    sizes = [(p.numel(), p.requires_grad) for name, p in model.named_parameters() if _COPIES not in name]
    parts = Parts(trainable=sum(size for size, is_trained in sizes if is_trained), total=sum(size for size, _ in sizes))
    if not parts.trainable:
        raise TrainingError(
            f"None of the model's {parts.total} parameters is trainable.",
            do="Load the module with `is_trainable=True`.",
        )
    return parts
