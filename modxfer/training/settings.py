"""How long, how fast and how to train: what a user may set, and the presets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from modxfer.errors import UsageError

Precision = Literal["auto", "fp32", "bf16", "fp16"]

_LARGEST_SEED = 2**32 - 1
"""What numpy takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How to train.

    Attributes:
        epochs: Passes over the training split; `max_steps` ends it earlier.
        max_steps: Optimiser steps at most; None for as many as the epochs have.
        learning_rate: The highest learning rate.
        batch_size: Examples an optimiser step, of all processes together, whatever fits into memory at once.
        micro_batch_size: Examples a forward pass and process; None for the whole batch. Memory that runs out halves it.
        warmup: Part of the steps over which the learning rate rises, in [0, 1).
        weight_decay: AdamW's.
        schedule: How the learning rate falls: "linear", "cosine" or "constant", as in `transformers`.
        eval_steps: Steps between two looks at the validation split; None for once an epoch, and at least 5 times in all.
        patience: Looks without a better value after which it stops; None to go on to the end.
        max_tokens: Tokens of an example, special tokens included; more are cut off, and counted. None for what the model takes.
        precision: "auto" chooses by device.
        seed: Seed of initialisation, order and dropout.
        device: "auto", "cpu", "cuda" or "mps".
        report_to: Where else to report to, as `transformers` calls it ("tensorboard", "wandb").
        attention: Implementation of attention; None for `eager` on a CPU, where its backward pass is the fastest, and for what
            `transformers` takes elsewhere.
    """

    epochs: float = 10.0
    max_steps: int | None = None
    learning_rate: float = 1e-3
    batch_size: int = 16
    micro_batch_size: int | None = None
    warmup: float = 0.1
    weight_decay: float = 0.01
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    eval_steps: int | None = None
    patience: int | None = 5
    max_tokens: int | None = None
    precision: Precision = "auto"
    seed: int = 0
    device: str = "auto"
    report_to: tuple[str, ...] = ()
    attention: str | None = None

    def __post_init__(self) -> None:
        _check_above_zero(
            self,
            "epochs",
            "max_steps",
            "learning_rate",
            "batch_size",
            "micro_batch_size",
            "eval_steps",
            "patience",
            "max_tokens",
        )
        if not 0 <= self.warmup < 1:
            raise UsageError(f"`--warmup {self.warmup}` is not a part of the steps.", do="Give a number from 0 to below 1.")
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError(f"`--weight-decay {self.weight_decay}` is no weight.", do="Give 0 or a number above 0.")
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise UsageError(f"`--seed {self.seed}` is no seed.", do=f"Give a whole number from 0 to {_LARGEST_SEED}.")
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise UsageError(
                f"A batch of {self.batch_size} cannot be cut into pieces of {self.micro_batch_size}.",
                do="Give a `--micro-batch-size` that divides the `--batch-size`.",
            )


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "paper": {
        "epochs": 10.0,
        "learning_rate": 1e-5,
        "batch_size": 64,
        "warmup": 0.0,
        "weight_decay": 0.0,
        "patience": None,
    },
}
"""Name to the settings that it changes. "paper" is Klimaszewski et al. 2024, appendix A."""

PAPER_EPOCHS = {"pi": 30.0}
"""Task to the epochs that the paper gives it, where that is not 10."""


def preset(name: str, *, task: str, **changes: Any) -> TrainingSettings:
    """Take a preset and change what the user asked for.

    Args:
        name: Its name.
        task: The task's name: the paper trains paraphrase identification longer.
        **changes: Settings to change; None leaves the preset's.

    Returns:
        The settings.

    Raises:
        UsageError: there is no such preset, or a setting is out of its range.
    """
    if name not in PRESETS:
        raise UsageError(f"There is no preset `{name}`.", do=f"Use one of {', '.join(PRESETS)} with `--preset`.")
    chosen = dict(PRESETS[name])
    if name == "paper" and task in PAPER_EPOCHS:
        chosen["epochs"] = PAPER_EPOCHS[task]
    settings = TrainingSettings(**chosen)
    return replace(settings, **{key: value for key, value in changes.items() if value is not None})


def as_json(settings: TrainingSettings) -> dict[str, Any]:
    """Give settings as records hold them.

    Args:
        settings: The settings.

    Returns:
        Plain values.
    """
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {**values, "report_to": list(settings.report_to)}


def _check_above_zero(settings: TrainingSettings, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"`--{name.replace('_', '-')} {value}` is not a number above 0.", do="Leave it out, or give one.")
