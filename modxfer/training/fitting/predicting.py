"""Predicting with a module, by its library's own trainer."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modxfer.errors import TrainingError
from modxfer.training.data.encoding import Encoded, make_collator
from modxfer.training.fitting.arguments import evaluation_rows, prediction_arguments
from modxfer.training.fitting.devices import choose_precision, training_device
from modxfer.training.fitting.memory import free_memory, is_out_of_memory
from modxfer.training.fitting.padding import name_padding
from modxfer.training.fitting.processes import num_processes
from modxfer.training.fitting.reducing import collator_for, reduce_logits
from modxfer.training.fitting.releasing import release
from modxfer.training.fitting.sorting import by_length, lengths
from modxfer.training.fitting.watching import Count, Progress, silent
from modxfer.training.libraries.context import quiet
from modxfer.training.libraries.library import Library
from modxfer.training.settings import TrainingSettings
from modxfer.training.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What a model predicts.

    Attributes:
        predictions: Tagging: the number of each labelled token's label, -100 elsewhere, shape (rows, longest row).
            Classification: the number of each row's label, shape (rows,). Language modelling: summed negative log likelihood
            in nats, and tokens predicted, float64, shape (rows, 2).
        seconds: Time it took, without loading the model.
        examples_per_second: Rows a second.
        tokens_per_second: Tokens a second, padding left out.
    """

    predictions: np.ndarray
    seconds: float
    examples_per_second: float
    tokens_per_second: float


def predict(
    model: Any,
    library: Library,
    encoded: Encoded,
    *,
    task: Task,
    tokenizer: Any,
    settings: TrainingSettings,
    progress: Progress = silent,
) -> Outputs:
    """Predict for all rows. Those of about one length go through the model together.

    Args:
        model: A model that the library gave. It ends in eval mode, on the device that it ran on.
        library: The library.
        encoded: The rows; at least one.
        task: The task.
        tokenizer: The base model's tokenizer.
        settings: Device and precision are taken from them.
        progress: Called with the batches done, the batches there are, and what is going on.

    Returns:
        The predictions, in the order of the rows.

    Raises:
        TrainingError: memory runs out for a single row.
        UsageError: the device or the precision cannot be had here.
    """
    device = training_device(settings)
    precision = choose_precision(settings.precision, device)
    rows, places = by_length(encoded)
    batch = evaluation_rows(task, device)
    with quiet(), tempfile.TemporaryDirectory() as folder:
        while True:
            arguments = prediction_arguments(
                settings, folder=Path(folder), device=device, precision=precision, evaluation_batch_size=batch
            )
            done = _attempt(model, library, rows, arguments, task=task, tokenizer=tokenizer, progress=progress)
            if done is not None:
                break
            free_memory()
            batch //= 2
    predictions, seconds = done
    model.eval()
    return Outputs(
        predictions=predictions[places],
        seconds=seconds,
        examples_per_second=len(rows) / seconds,
        tokens_per_second=sum(lengths(encoded)) / seconds,
    )


def _attempt(
    model: Any, library: Library, rows: list[Any], arguments: Any, *, task: Task, tokenizer: Any, progress: Progress
) -> tuple[np.ndarray, float] | None:
    """Predict; None if memory runs out."""
    from transformers import PrinterCallback

    collator = make_collator(task, tokenizer)
    name_padding(model, collator)
    trainer = library.trainer_class()(
        model=model,
        args=arguments,
        data_collator=collator_for(task.kind, collator),
        compute_loss_func=lambda outputs, labels, num_items_in_batch=None: outputs.logits.new_zeros(()),
        preprocess_logits_for_metrics=lambda logits, labels: reduce_logits(task.kind, logits, labels),
        callbacks=[Count(progress)],
    )
    trainer.remove_callback(PrinterCallback)
    start = time.perf_counter()
    try:
        predictions: np.ndarray = trainer.predict(rows).predictions
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if num_processes() > 1:  # the others wait for this one's share of what they gather, and do not begin anew with it
            raise TrainingError(
                f"Memory ran out with {arguments.per_device_eval_batch_size} examples at once.",
                do="Cut examples shorter with `--max-tokens`, or use a single process.",
            ) from error
        if arguments.per_device_eval_batch_size == 1:
            raise TrainingError(
                "Memory runs out with a single example at a time.",
                do="Cut examples shorter with `--max-tokens`, or use a device with more memory.",
            ) from error
        return None
    finally:
        release(trainer)
    return predictions, time.perf_counter() - start
