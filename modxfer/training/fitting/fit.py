"""Fine-tuning a module with its library's own trainer: the best checkpoint, and the same result after a kill."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modxfer.errors import ModxferError, TrainingError
from modxfer.training.data.encoding import Encoded, make_collator
from modxfer.training.fitting.arguments import Course, evaluation_rows, plan_course, training_arguments
from modxfer.training.fitting.memory import free_memory, is_out_of_memory, next_smaller, writing_error
from modxfer.training.fitting.padding import name_padding
from modxfer.training.fitting.processes import is_main_process, wait_for_all
from modxfer.training.fitting.reducing import collator_for, reduce_logits
from modxfer.training.fitting.releasing import release
from modxfer.training.fitting.saved import Checkpoint, change_micro_batch_size, find_last, remove_all_but
from modxfer.training.fitting.sorting import by_length
from modxfer.training.fitting.watching import Progress, Watch, silent
from modxfer.training.libraries.context import quiet
from modxfer.training.libraries.library import Library
from modxfer.training.settings import TrainingSettings
from modxfer.training.tasks import Task

__all__ = ["Fit", "Progress", "Score", "fit", "silent"]

Score = Callable[[np.ndarray], dict[str, float]]
"""From predictions for the validation rows, in their order, to metrics; the task's main one is among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a training went.

    Attributes:
        steps: Optimiser steps that were made.
        best_step: The step whose weights the model has in the end; the last if no value was a number.
        best_value: The main metric on the validation split there.
        curve: Steps and the main metric on the validation split at these; step 0, before any training, first.
        losses: Steps and the mean training loss since the one before.
        seconds: Time it took, looks at the validation split included.
        examples_per_second: Training examples a second and process, looks and checkpoints left out; 0 where nothing was left to
            do.
        precision: "fp32", "bf16" or "fp16".
        device: "cpu", "cuda" or "mps".
        micro_batch_size: Examples a forward pass and process in the end.
        accumulation: Forward passes a step and process.
        processes: Processes that trained together.
        stopped_early: Whether it ended because nothing got better.
        resumed_from: The step that it went on from; None if it was not resumed.
    """

    steps: int
    best_step: int
    best_value: float
    curve: tuple[tuple[int, float], ...]
    losses: tuple[tuple[int, float], ...]
    seconds: float
    examples_per_second: float
    precision: str
    device: str
    micro_batch_size: int
    accumulation: int
    processes: int
    stopped_early: bool
    resumed_from: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is trained, and on what: the same however often memory runs out."""

    model: Any
    library: Library
    task: Task
    train: Encoded
    validation: Encoded
    tokenizer: Any
    settings: TrainingSettings
    course: Course
    folder: Path
    score: Score
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many examples go through the model at once.

    Attributes:
        micro: While it learns.
        evaluation: While it does not.
    """

    micro: int
    evaluation: int


def fit(
    model: Any,
    library: Library,
    *,
    task: Task,
    train: Encoded,
    validation: Encoded,
    tokenizer: Any,
    settings: TrainingSettings,
    work: Path,
    score: Score,
    resume: bool = False,
    progress: Progress = silent,
) -> Fit:
    """Train what is trainable in a model, in place; in the end it has the weights that did best on the validation split.

    Args:
        model: A model that the library gave, ready to be trained. It ends in eval mode, on the device that it was trained on.
        library: The library.
        task: The task.
        train: What to train on.
        validation: What to choose the best checkpoint by.
        tokenizer: The base model's tokenizer.
        settings: How to train.
        work: Folder for checkpoints.
        score: Gives metrics for predictions of the validation rows.
        resume: Go on from the last whole checkpoint, if there is one; otherwise those that are there are removed.
        progress: Called after every step, and with what was measured.

    Returns:
        How it went.

    Raises:
        TrainingError: the loss or the weights are no numbers any more, or memory runs out for a single example.
        UsageError: the device, the precision or the batch cannot be had here.
        OutputError: a checkpoint cannot be written.
    """
    start = time.perf_counter()
    course = plan_course(settings, examples=len(train.examples))
    job = Job(
        model=model,
        library=library,
        task=task,
        train=train,
        validation=validation,
        tokenizer=tokenizer,
        settings=settings,
        course=course,
        folder=work / "checkpoints",
        score=score,
        progress=progress,
    )
    last = find_last(job.folder) if resume else None
    wait_for_all()  # nothing is removed while another process still looks
    if is_main_process():
        remove_all_but(job.folder, last=last)
    wait_for_all()
    micro = settings.micro_batch_size or course.batch_size
    sizes = Sizes(micro=last.micro_batch_size if last else micro, evaluation=evaluation_rows(task, course.device))
    with quiet():
        result = _fit_with_less_and_less(job, sizes, last)
    model.eval()
    return replace(result, seconds=time.perf_counter() - start, resumed_from=last.step if last else None)


def _fit_with_less_and_less(job: Job, sizes: Sizes, last: Checkpoint | None) -> Fit:
    """Train; where memory runs out, go on with half as many examples at once."""
    initial = {name: p.detach().cpu().clone() for name, p in job.model.named_parameters() if p.requires_grad}
    while True:
        outcome = _attempt(job, sizes, last)
        if isinstance(outcome, Fit):
            return outcome
        free_memory()
        sizes, last = outcome, find_last(job.folder)
        if last is None:
            _restore(job.model, initial)
        elif last.micro_batch_size != sizes.micro:
            change_micro_batch_size(last, sizes.micro)


def _attempt(job: Job, sizes: Sizes, last: Checkpoint | None) -> Fit | Sizes:
    """Train to the end, or until memory runs out: then say what to go on with."""
    watch = Watch(job.task, job.folder, job.progress)
    trainer = _make_trainer(job, sizes, watch, is_resumed=last is not None)
    try:
        if last is not None and last.is_last:
            return _finish(trainer, job, sizes, last)
        trainer.train(resume_from_checkpoint=str(last.folder) if last else None)
        return _result(job, sizes, watch, trainer.state)
    except (ModxferError, KeyboardInterrupt):
        raise
    except Exception as error:
        if watch.is_saving and (better := writing_error(job.folder, error)):
            raise better from error
        if not is_out_of_memory(error):
            raise
        return _smaller(job, sizes, error, is_stepping=watch.is_stepping)
    finally:
        release(trainer)


def _make_trainer(job: Job, sizes: Sizes, watch: Watch, *, is_resumed: bool) -> Any:
    """Make the library's own trainer."""
    from transformers import EarlyStoppingCallback, PrinterCallback

    arguments = training_arguments(
        job.course,
        job.settings,
        task=job.task,
        folder=job.folder,
        micro_batch_size=sizes.micro,
        evaluation_batch_size=sizes.evaluation,
        is_resumed=is_resumed,
    )
    rows, places = by_length(job.validation)
    collator = make_collator(job.task, job.tokenizer)
    name_padding(job.model, collator)
    kind, patience = job.task.kind, job.settings.patience
    trainer = job.library.trainer_class()(
        model=job.model,
        args=arguments,
        data_collator=collator_for(kind, collator),
        train_dataset=list(job.train.examples),
        eval_dataset=rows,
        compute_loss_func=watch.loss,
        compute_metrics=lambda outcome: job.score(outcome.predictions[places]),
        preprocess_logits_for_metrics=lambda logits, labels: reduce_logits(kind, logits, labels),
        callbacks=[watch, *([EarlyStoppingCallback(patience)] if patience else [])],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _finish(trainer: Any, job: Job, sizes: Sizes, last: Checkpoint) -> Fit:
    """Take the result of a training that had come to its end when it was killed."""
    from transformers import TrainerState

    trainer._load_from_checkpoint(str(last.best or last.folder))
    state = TrainerState.load_from_json(str(last.folder / "trainer_state.json"))
    return _result(job, sizes, Watch(job.task, job.folder, silent), state)


def _smaller(job: Job, sizes: Sizes, error: Exception, *, is_stepping: bool) -> Sizes:
    """Choose what to go on with when memory ran out."""
    share = job.course.batch_size
    if job.course.processes > 1:  # the other processes wait for this one inside a step, and cannot begin anew with it
        raise TrainingError(
            f"Memory ran out with {sizes.micro} examples at once.",
            do="Give a smaller `--micro-batch-size`, or fewer `--max-tokens`.",
        ) from error
    if (sizes.micro if is_stepping else sizes.evaluation) == 1:
        raise TrainingError(
            "Memory runs out with a single example at a time.",
            do="Cut examples shorter with `--max-tokens`, or use a device with more memory.",
        ) from error
    if is_stepping:
        return replace(sizes, micro=next_smaller(sizes.micro, share=share))
    return replace(sizes, evaluation=sizes.evaluation // 2)


def _restore(model: Any, initial: dict[str, torch.Tensor]) -> None:
    """Give trainable parameters back what they were before training."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in initial:
                parameter.copy_(initial[name])


def _result(job: Job, sizes: Sizes, watch: Watch, state: Any) -> Fit:
    key = f"eval_{job.task.metric}"
    curve = tuple((entry["step"], entry[key]) for entry in state.log_history if key in entry)
    values = dict(curve)
    best = state.best_global_step or state.global_step
    return Fit(
        steps=state.global_step,
        best_step=best,
        best_value=values[best],
        curve=curve,
        losses=tuple((entry["step"], entry["loss"]) for entry in state.log_history if "loss" in entry),
        seconds=0.0,
        examples_per_second=watch.examples / watch.seconds if watch.seconds else 0.0,
        precision=job.course.precision,
        device=job.course.device,
        micro_batch_size=sizes.micro,
        accumulation=job.course.batch_size // sizes.micro,
        processes=job.course.processes,
        stopped_early=state.global_step < job.course.steps,
        resumed_from=None,
    )
