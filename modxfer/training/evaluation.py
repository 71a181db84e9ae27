"""Measuring a model on data: metrics with intervals, by label, by language and by source, and how fast it went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from modxfer.training.data.encoding import Encoded, encode
from modxfer.training.data.rows import Split, SplitRecord
from modxfer.training.fitting.devices import choose_precision, training_device
from modxfer.training.fitting.predicting import Outputs, predict
from modxfer.training.fitting.watching import Progress, silent
from modxfer.training.libraries.library import Library
from modxfer.training.limits import DEFAULT_MAX_TOKENS
from modxfer.training.settings import TrainingSettings
from modxfer.training.significance import Interval, bootstrap
from modxfer.training.tallies import tally
from modxfer.training.tally import Tally, finite
from modxfer.training.tasks import Task

DRAWS = 1000
"""Draws of the bootstrap, where nobody says otherwise."""

BEFORE, AFTER = "before training", "after training"
"""When something was measured of a module that was trained: the `stage` of a row."""

CUT = {"tagging": "counts as not found", "classification": "was not read", "causal-lm": "does not count"}
"""Kind of task to what became of words that a model does not take."""

UNSTATED = "und"
"""The language of rows that do not say theirs, where others do; so BCP 47 calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a model predicted.

    Attributes:
        seconds: Time it took, without loading the model.
        examples_per_second: Examples a second.
        tokens_per_second: Tokens a second, padding left out.
        device: Where it ran.
        precision: "fp32", "bf16" or "fp16".
    """

    seconds: float
    examples_per_second: float
    tokens_per_second: float
    device: str
    precision: str

    def as_json(self) -> dict[str, Any]:
        """Give what `--json` prints.

        Returns:
            Plain values.
        """
        return {
            "seconds": round(self.seconds, 3),
            "examples_per_second": round(self.examples_per_second, 1),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "device": self.device,
            "precision": self.precision,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What was measured on some examples.

    Attributes:
        metrics: Name to value, the task's main metric first.
        intervals: Name to the 95 % bootstrap interval.
        examples: How many there are.
    """

    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    examples: int

    def as_json(self) -> dict[str, Any]:
        """Give what `--json` prints.

        Returns:
            Plain values; None for what is no finite number.
        """
        return {
            "metrics": {name: finite(value) for name, value in self.metrics.items()},
            "intervals": {name: [finite(end) for end in interval.as_json()] for name, interval in self.intervals.items()},
            "examples": self.examples,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was measured of a model.

    Attributes:
        metrics: Name to value, the task's main metric first.
        intervals: Name to the 95 % bootstrap interval.
        per_label: Each label that occurs (a span's kind, a class) to its own metrics.
        per_language: Each language to its scores, where there is more than one.
        per_source: Where the data comes from, and the scores on that; as many as there were sources.
        examples: Examples in all.
        units: What the metrics are counted over, such as "spans", to how many there are.
        cut: Examples that were longer than the model takes; `CUT` says what became of what was cut off.
        speed: How fast it went.
        data: Where all the data comes from.
        tally: What each example added.
    """

    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    per_label: Mapping[str, Mapping[str, float]]
    per_language: Mapping[str, Scores]
    per_source: Sequence[tuple[SplitRecord, Scores]]
    examples: int
    units: Mapping[str, int]
    cut: int
    speed: Speed
    data: SplitRecord
    tally: Tally

    def as_json(self) -> dict[str, Any]:
        """Give what `--json` prints.

        Returns:
            Plain values.
        """
        scores = Scores(metrics=self.metrics, intervals=self.intervals, examples=self.examples)
        return {
            **scores.as_json(),
            "units": dict(self.units),
            "per_label": {label: dict(metrics) for label, metrics in self.per_label.items()},
            "per_language": {language: scores.as_json() for language, scores in self.per_language.items()},
            "per_source": [{"data": record.as_json(), **scores.as_json()} for record, scores in self.per_source],
            "cut": self.cut,
            "speed": self.speed.as_json(),
            "data": self.data.as_json(),
        }


def evaluate_model(
    model: Any,
    library: Library,
    split: Split | Sequence[Split],
    *,
    task: Task,
    labels: tuple[str, ...],
    tokenizer: Any,
    settings: TrainingSettings,
    names: Sequence[str] | None = None,
    draws: int = DRAWS,
    progress: Progress = silent,
) -> Evaluation:
    """Measure a model on data.

    Args:
        model: A model that the library gave.
        library: The library.
        split: The data; several splits are measured together, and each by itself.
        task: The task.
        labels: The labels, in the order of the head's rows.
        tokenizer: The base model's tokenizer.
        settings: Device, precision and tokens of an example are taken from them, and the seed of the bootstrap.
        names: The labels to count; None for `labels`. Two models can only be compared if they count the same.
        draws: Draws of the bootstrap.
        progress: Called with the batches done, the batches there are, and what is going on.

    Returns:
        What was measured.

    Raises:
        DataError: the data has labels that the head does not know.
        TrainingError: the model's loss is no number, or memory runs out.
        UsageError: the device or the precision cannot be had here.
    """
    splits = [split] if isinstance(split, Split) else list(split)
    rows = [row for one in splits for row in one.rows]
    encoded = encode(rows, tokenizer, task=task, labels=labels, max_tokens=settings.max_tokens or DEFAULT_MAX_TOKENS)
    outputs = predict(model, library, encoded, task=task, tokenizer=tokenizer, settings=settings, progress=progress)
    counted = tally(task, encoded, outputs.predictions, names=names)
    whole = _scores(counted, draws=draws, seed=settings.seed)
    totals = counted.counts.sum(axis=0)
    return Evaluation(
        metrics=whole.metrics,
        intervals=whole.intervals,
        per_label={
            label: {name: float(metric(totals)) for name, metric in own.items()} for label, own in counted.details.items()
        },
        per_language=_by_language(counted, encoded, draws=draws, seed=settings.seed),
        per_source=_by_source(counted, splits, whole, draws=draws, seed=settings.seed),
        examples=whole.examples,
        units=counted.units,
        cut=encoded.cut,
        speed=_speed(outputs, settings),
        data=join_records([one.record for one in splits]),
        tally=counted,
    )


def result_rows(evaluation: Evaluation, *, task: Task, seed: int | None, stage: str | None) -> list[dict[str, Any]]:
    """Give what is written down of an evaluation: one row for each metric and source of data.

    Args:
        evaluation: What was measured.
        task: The task.
        seed: Seed of the training that the module is of, or of the measurement where it was not trained here.
        stage: When it was measured: "before training" or "after training"; None for a module that was not trained here.

    Returns:
        Rows for `results` in `transfer.json`.
    """
    return [
        {
            "task": task.hub_task,
            "metric": metric,
            "value": value,
            "interval": scores.intervals[metric].as_json(),
            "examples": scores.examples,
            "dataset": record.as_json(),
            "seed": seed,
            "stage": stage,
            "ran": f"modxfer {version('modxfer')}",
        }
        for record, scores in evaluation.per_source
        for metric, value in scores.metrics.items()
    ]


def join_records(records: Sequence[SplitRecord]) -> SplitRecord:
    """Say where rows of several splits come from.

    Args:
        records: Where each split comes from.

    Returns:
        The one record, or one that names them all.
    """
    if len(records) == 1:
        return records[0]
    names = ", ".join(dict.fromkeys(record.name for record in records))
    rows = sum(record.rows for record in records)
    nothing: dict[str, None] = {"dataset": None, "config": None, "split": None, "revision": None, "sha256": None}
    return replace(records[0], name=names, part=f"{len(records)} splits together", rows=rows, **nothing)


def _scores(counted: Tally, *, draws: int, seed: int) -> Scores:
    return Scores(metrics=counted.values(), intervals=bootstrap(counted, draws=draws, seed=seed), examples=len(counted.counts))


def _by_language(counted: Tally, encoded: Encoded, *, draws: int, seed: int) -> dict[str, Scores]:
    languages = np.array([row.language or UNSTATED for row in encoded.rows])
    different = sorted(set(languages.tolist()))
    if len(different) < 2:
        return {}
    return {language: _scores(counted.pick(languages == language), draws=draws, seed=seed) for language in different}


def _by_source(
    counted: Tally, splits: Sequence[Split], whole: Scores, *, draws: int, seed: int
) -> list[tuple[SplitRecord, Scores]]:
    if len(splits) == 1:
        return [(splits[0].record, whole)]
    ends = np.cumsum([len(split.rows) for split in splits])
    parts = np.split(np.arange(ends[-1]), ends[:-1])
    return [
        (split.record, _scores(counted.pick(part), draws=draws, seed=seed)) for split, part in zip(splits, parts, strict=True)
    ]


def _speed(outputs: Outputs, settings: TrainingSettings) -> Speed:
    device = training_device(settings)
    return Speed(
        seconds=outputs.seconds,
        examples_per_second=outputs.examples_per_second,
        tokens_per_second=outputs.tokens_per_second,
        device=device,
        precision=choose_precision(settings.precision, device),
    )
