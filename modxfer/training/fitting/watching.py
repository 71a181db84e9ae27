"""Watching a training: progress, losses that are no numbers, time, and which checkpoints are whole."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from modxfer.errors import TrainingError
from modxfer.training.fitting.processes import wait_for_all
from modxfer.training.fitting.reducing import mean_loss
from modxfer.training.fitting.saved import find_last, seal
from modxfer.training.tasks import Task

Progress = Callable[[int, int, str], None]
"""Called with the steps done, the steps there are, and what is going on ("loss 0.41, f1 62.3")."""


def silent(done: int, total: int, text: str) -> None:
    """Report to nobody.

    Args:
        done: Steps done.
        total: Steps there are.
        text: What is going on.
    """


class Count(TrainerCallback):
    """What reports how far predictions are.

    Args:
        progress: Called after every batch, by the main process.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0

    def on_prediction_step(self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **_: Any) -> None:
        """Report one more batch."""
        self._done += 1
        if state.is_world_process_zero:
            self._progress(self._done, len(eval_dataloader), "")


class Watch(TrainerCallback):
    """What follows one training, and stops it where it would go wrong.

    Losses stay on the device until the trainer looks at its own, so that no step waits for them.

    Args:
        task: The task.
        folder: Where checkpoints go.
        progress: Called after every step, by the main process.

    Attributes:
        is_stepping: Whether a step is being made.
        is_saving: Whether a checkpoint is being written.
        seconds: Time that the steps took, without looks at the validation split and checkpoints.
        examples: Examples that were trained on, by this process.
    """

    def __init__(self, task: Task, folder: Path, progress: Progress) -> None:
        self.is_stepping = False
        self.is_saving = False
        self.seconds = 0.0
        self.examples = 0
        self._task = task
        self._folder = folder
        self._progress = progress
        self._texts: dict[str, str] = {}
        self._step = 0
        self._losses: list[tuple[int, torch.Tensor]] = []
        self._since: float | None = None

    def loss(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor:
        """Compute the loss of a piece of a batch, and keep it until it is looked at.

        Args:
            outputs: What the model gave.
            labels: The labels.
            num_items_in_batch: Labels that count in the whole batch; None if this is the whole batch.

        Returns:
            The loss.
        """
        value = mean_loss(self._task.kind, outputs, labels, num_items_in_batch)
        if value.requires_grad:
            self._losses.append((self._step, value.detach()))
            self.examples += len(labels)
        return value

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock, unless the start is measured first."""
        if not args.eval_on_start:
            self._since = time.perf_counter()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note which step it is."""
        self.is_stepping, self._step = True, state.global_step + 1

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Look at what was computed where the trainer waits for it anyway, and before anything is saved."""
        self.is_stepping = False
        if state.global_step >= state.max_steps:
            control.should_evaluate = True  # `transformers` 4.57 saves the last step, and does not measure it
        if control.should_save or control.should_evaluate:
            control.should_log = True  # what is logged must not depend on where a training was resumed
        if control.should_log:
            self._check_losses(state)
        if control.should_save or control.should_evaluate:
            self._check_parameters(others["model"], state)
            self._stop_clock()
        self._report(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Note what progress tells."""
        for key, name, digits in (("loss", "loss", 2), (f"eval_{self._task.metric}", self._task.metric, 1)):
            if logs is not None and key in logs:
                self._texts[name] = f"{name} {logs[key]:.{digits}f}"

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Go on, unless a checkpoint follows."""
        self._report(state)
        self.is_saving = control.should_save
        if not self.is_saving:
            self._since = time.perf_counter()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint as whole, when every process has written its part."""
        wait_for_all()
        if state.is_world_process_zero:
            seal(self._folder / f"checkpoint-{state.global_step}")
        self.is_saving = False
        self._since = time.perf_counter()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at losses that nobody has looked at."""
        self._check_losses(state)

    def _check_losses(self, state: Any) -> None:
        steps, losses = zip(*self._losses, strict=True) if self._losses else ((), ())
        self._losses = []
        for step, loss in zip(steps, torch.stack(losses).tolist() if losses else (), strict=True):
            if not math.isfinite(loss):
                raise self._lost(f"The loss is `{loss}` at step {step} of {state.max_steps}.")

    def _check_parameters(self, model: Any, state: Any) -> None:
        """Make sure that what would be saved is all numbers; a gradient may be none though its loss is one."""
        norms = torch.nn.utils.get_total_norm([p.detach() for p in model.parameters() if p.requires_grad])
        if not math.isfinite(norms.item()):
            raise self._lost(f"The module's weights are no numbers any more at step {state.global_step} of {state.max_steps}.")

    def _lost(self, what: str) -> TrainingError:
        last = find_last(self._folder)
        kept = f"The last good checkpoint is kept in `{last.folder}`" if last else "No checkpoint was written yet"
        return TrainingError(what, do=f"{kept}; lower `--learning-rate`, or use `--precision fp32`.")

    def _report(self, state: Any) -> None:
        if state.is_world_process_zero:
            texts = [self._texts[name] for name in ("loss", self._task.metric) if name in self._texts]
            self._progress(state.global_step, state.max_steps, ", ".join(texts))

    def _stop_clock(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
        self._since = None
