"""What the libraries' trainers are told: settings in their words."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modxfer.errors import UsageError
from modxfer.training.fitting.devices import choose_precision, training_device
from modxfer.training.fitting.processes import num_processes
from modxfer.training.settings import Precision, TrainingSettings
from modxfer.training.tasks import Task

_LOOKS = 5
"""Looks at the validation split at least, where the user did not say how often."""
_LOGGING_STEPS = 10
_CHECKPOINTS_KEPT = 3
"""The best, the last, and the one before, for a kill while the last is written."""
_EVALUATION_ROWS = {"cpu": 16}
_EVALUATION_ROWS_ELSEWHERE = 64
_EVALUATION_ROWS_OF_TEXT = 8
"""Language modelling gives a number for each token and entry of the vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How one training goes.

    Attributes:
        steps: Optimiser steps in all.
        warmup_steps: Steps over which the learning rate rises.
        eval_steps: Steps between two looks at the validation split, each of which is followed by a checkpoint.
        batch_size: Examples a step and process.
        processes: Processes that train together.
        device: "cpu", "cuda" or "mps".
        precision: "fp32", "bf16" or "fp16".
    """

    steps: int
    warmup_steps: int
    eval_steps: int
    batch_size: int
    processes: int
    device: str
    precision: Precision


def plan_course(settings: TrainingSettings, *, examples: int) -> Course:
    """Compute how a training goes.

    Args:
        settings: The settings.
        examples: Examples of the training split; at least one.

    Returns:
        The course.

    Raises:
        UsageError: the batch cannot be shared by the processes, or the device or precision cannot be had.
    """
    processes = num_processes()
    if settings.batch_size % processes:
        raise UsageError(
            f"A batch of {settings.batch_size} cannot be shared by {processes} processes.",
            do=f"Give a `--batch-size` that {processes} divides; it is that of all processes together.",
        )
    share = settings.batch_size // processes
    if settings.micro_batch_size is not None and share % settings.micro_batch_size:
        raise UsageError(
            f"The {share} examples that each of {processes} processes has of a batch cannot be cut into pieces of "
            f"{settings.micro_batch_size}.",
            do=f"Give a `--micro-batch-size` that divides {share}.",
        )
    epoch = math.ceil(examples / settings.batch_size)
    steps = max(math.ceil(settings.epochs * epoch), 1)
    steps = min(steps, settings.max_steps or steps)
    device = training_device(settings)
    return Course(
        steps=steps,
        warmup_steps=int(settings.warmup * steps),
        eval_steps=min(settings.eval_steps or max(min(epoch, steps // _LOOKS), 1), steps),
        batch_size=share,
        processes=processes,
        device=device,
        precision=choose_precision(settings.precision, device),
    )


def evaluation_rows(task: Task, device: str) -> int:
    """Choose how many examples go through the model at once where nothing is learned.

    Args:
        task: The task.
        device: "cpu", "cuda" or "mps".

    Returns:
        How many; memory that runs out halves it.
    """
    if task.kind == "causal-lm":
        return _EVALUATION_ROWS_OF_TEXT
    return _EVALUATION_ROWS.get(device, _EVALUATION_ROWS_ELSEWHERE)


def training_arguments(
    course: Course,
    settings: TrainingSettings,
    *,
    task: Task,
    folder: Path,
    micro_batch_size: int,
    evaluation_batch_size: int,
    is_resumed: bool,
) -> Any:
    """Say to a trainer how to train.

    Args:
        course: How the training goes.
        settings: The settings.
        task: The task.
        folder: Where checkpoints go.
        micro_batch_size: Examples a forward pass.
        evaluation_batch_size: The same where nothing is learned.
        is_resumed: Whether the training goes on from a checkpoint, so that its start was measured before.

    Returns:
        `transformers.TrainingArguments`.
    """
    return _arguments(
        folder,
        device=course.device,
        precision=course.precision,
        evaluation_batch_size=evaluation_batch_size,
        max_steps=course.steps,
        per_device_train_batch_size=micro_batch_size,
        gradient_accumulation_steps=course.batch_size // micro_batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type=_schedule(settings, course),
        warmup_steps=course.warmup_steps,
        optim="adamw_torch",
        max_grad_norm=1.0,
        seed=settings.seed,
        data_seed=settings.seed,
        logging_steps=min(_LOGGING_STEPS, course.eval_steps),
        logging_nan_inf_filter=False,  # it would hide such losses, and wait for the device at every step
        eval_strategy="steps",
        eval_steps=course.eval_steps,
        eval_on_start=not is_resumed,
        save_strategy="steps",
        save_steps=course.eval_steps,
        save_total_limit=_CHECKPOINTS_KEPT,
        load_best_model_at_end=True,
        metric_for_best_model=task.metric,
        greater_is_better=task.is_higher_better,
        restore_callback_states_from_checkpoint=True,  # the patience that is left
        report_to=list(settings.report_to) or "none",
    )


def prediction_arguments(
    settings: TrainingSettings, *, folder: Path, device: str, precision: Precision, evaluation_batch_size: int
) -> Any:
    """Say to a trainer how to predict.

    Args:
        settings: The settings.
        folder: A folder for what it writes, which is nothing.
        device: "cpu", "cuda" or "mps".
        precision: "fp32", "bf16" or "fp16".
        evaluation_batch_size: Examples a forward pass.

    Returns:
        `transformers.TrainingArguments`.
    """
    return _arguments(
        folder,
        device=device,
        precision=precision,
        evaluation_batch_size=evaluation_batch_size,
        seed=settings.seed,
        report_to="none",
    )


def _arguments(folder: Path, *, device: str, precision: str, evaluation_batch_size: int, **others: Any) -> Any:
    """Say what training and predicting have in common."""
    import transformers

    # transformers 4.57 leaves its choice here, and takes what it finds for its choice the next time.
    os.environ["ACCELERATE_MIXED_PRECISION"] = "no" if precision == "fp32" else precision
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        use_cpu=device == "cpu",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        per_device_eval_batch_size=evaluation_batch_size,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=device == "cuda",
        ddp_find_unused_parameters=False,  # everything that is trainable is used
        disable_tqdm=True,
        **others,
    )
    if arguments.n_gpu > 1:  # several GPUs are used by several processes, never by threads of one
        arguments._n_gpu = 1
    return arguments


def _schedule(settings: TrainingSettings, course: Course) -> str:
    if settings.schedule == "constant":
        return "constant_with_warmup" if course.warmup_steps else "constant"
    return settings.schedule
