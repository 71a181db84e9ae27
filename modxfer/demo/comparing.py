"""Teaching a module to the teacher, converting it, and comparing students that start from it with one that does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from modxfer import api
from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.demo.libraries import Library
from modxfer.demo.phases import Tick
from modxfer.demo.sentences import KINDS, TaggedData, make_data
from modxfer.demo.settings import DemoSettings
from modxfer.training.fine_tuning import Schedule, fine_tune, predict
from modxfer.training.metrics import SpanScores, score_spans
from modxfer.training.tagging import IGNORED, Example, encode, tag_names

LAYER_MAPS = ("skip", "avg")

EVALUATION_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The data set, ready for the models; teacher and students share one tokenizer.

    Attributes:
        data: The sentences.
        tags: Every tag; its place is its label.
        tokenizer: The tokenizer.
        train: The training sentences as numbers.
        test: The test sentences as numbers.
    """

    data: TaggedData
    tags: tuple[str, ...]
    tokenizer: Any
    train: tuple[Example, ...]
    test: tuple[Example, ...]

    @property
    def pad_id(self) -> int:
        """Token id that fills up short sentences."""
        return int(self.tokenizer.pad_token_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One of the teacher's modules on its way to one student.

    Attributes:
        student: "matching" or "incompatible".
        base: The student's folder.
        library: What trains this kind of module.
        teacher: The teacher's folder.
        module: The teacher's module.
        output: The folder for the converted modules, one for each layer map.
    """

    student: str
    base: Path
    library: Library
    teacher: Path
    module: Path
    output: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a conversion did, and what `auto` saw before it chose.

    Attributes:
        student: "matching" or "incompatible".
        method: The method.
        layers: The layer map: "skip" or "avg".
        aligner: The aligner that `auto` chose.
        reason: Why, with the figures.
        source: Where the alignment map came from: "computed" or "store".
        corpus: The text it was computed on.
        tokens: Matched tokens of that text.
        mean_correlation: Mean over sites of the mean matched correlation.
        same_index: Mean over sites of the part of units whose best partner has the same index.
        explained_by_units: Mean over sites of the variance that one-to-one partners explain.
        explained_by_linear: The same of the best linear map.
        head: What became of the head.
        warnings: What a user should know.
        output: The converted module's folder.
        seconds: Time it took, the alignment included.
    """

    student: str
    method: str
    layers: str
    aligner: str
    reason: str
    source: str
    corpus: str
    tokens: int
    mean_correlation: float
    same_index: float
    explained_by_units: float
    explained_by_linear: float
    head: str
    warnings: tuple[str, ...]
    output: str
    seconds: float


def make_task(base: Path, settings: DemoSettings, *, seed: int) -> Task:
    """Make the data set and turn it into numbers.

    Args:
        base: The folder of the teacher, for its tokenizer.
        settings: The sizes.
        seed: Seed of the data set.

    Returns:
        The task.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(base))
    tags = tag_names(KINDS)
    data = make_data(train=settings.train_sentences, test=settings.test_sentences, seed=seed)
    return Task(
        data=data,
        tags=tags,
        tokenizer=tokenizer,
        train=tuple(encode(data.train, tokenizer, tags=tags, max_tokens=settings.max_tokens)),
        test=tuple(encode(data.test, tokenizer, tags=tags, max_tokens=settings.max_tokens)),
    )


def teach(
    library: Library, base: Path, task: Task, module: Path, *, schedule: Schedule, seed: int, progress: Tick
) -> dict[str, Any]:
    """Train a module on the teacher and save it.

    Args:
        library: What trains this kind of module.
        base: The teacher's folder.
        task: The data set.
        module: Where to save the module.
        schedule: How long and how fast.
        seed: Seed of the initialisation and the order.
        progress: Called after every step.

    Returns:
        The teacher's row of the table.
    """
    model = library.start(base, task.tags, seed=seed)
    scores = _train(model, task, schedule=schedule, seed=seed, progress=progress)
    library.save(model, module)
    return _row(None, library.method, "teacher", "own", schedule.steps, *scores)


def convert_all(transfer: Transfer, *, corpus: str | None, tokens: int, progress: Tick) -> list[Conversion]:
    """Convert a module to a student, with the default aligner and every layer map of the demo.

    Args:
        transfer: The module and the student.
        corpus: What to align on; None for the text that ships with the package.
        tokens: Matched tokens to use at most.
        progress: Called with the conversions done.

    Returns:
        What was done.
    """
    conversions = []
    for index, layers in enumerate(LAYER_MAPS):
        converted = api.convert(
            str(transfer.module),
            to=str(transfer.base),
            teacher=str(transfer.teacher),
            layers=layers,
            align=api.AlignmentChoice(corpus=corpus, tokens=tokens),
            output=transfer.output / layers,
        )
        alignment = converted.found.alignment
        assert alignment is not None, "`auto` always measures"
        conversions.append(_describe(transfer, layers, converted, alignment))
        progress(index + 1, len(LAYER_MAPS))
    return conversions


def compare(transfer: Transfer, task: Task, *, schedule: Schedule, seed: int, progress: Tick) -> list[dict[str, Any]]:
    """Fine-tune the default student and the transferred ones for the same steps, on the same data in the same order.

    Args:
        transfer: The converted modules and the student.
        task: The data set.
        schedule: How long and how fast.
        seed: Seed of the default student's initialisation, and of the order.
        progress: Called after every step.

    Returns:
        The rows of the table.
    """
    rows = []
    names = ("default", *LAYER_MAPS)
    for index, name in enumerate(names):
        is_default = name == "default"
        if is_default:
            model = transfer.library.start(transfer.base, task.tags, seed=seed)
        else:
            model = transfer.library.load(transfer.base, transfer.output / name, task.tags)

        def tick(done: int, total: int, before: int = index) -> None:
            progress(before * total + done, len(names) * total)

        scores = _train(model, task, schedule=schedule, seed=seed, progress=tick)
        title = "default" if is_default else f"transferred {name.upper()}"
        head = "new" if is_default else "transferred"
        rows.append(_row(transfer.student, transfer.library.method, title, head, schedule.steps, *scores))
    return rows


def evaluate(model: torch.nn.Module, task: Task) -> SpanScores:
    """Score a model on the test sentences.

    Args:
        model: The model.
        task: The data set.

    Returns:
        The scores.
    """
    predicted = predict(model, task.test, pad_id=task.pad_id, batch_size=EVALUATION_BATCH)
    truth = [[label for label in example.labels if label != IGNORED] for example in task.test]
    return score_spans(_names(truth, task.tags), _names(predicted, task.tags))


def _train(
    model: torch.nn.Module, task: Task, *, schedule: Schedule, seed: int, progress: Tick
) -> tuple[SpanScores, SpanScores]:
    """Fine-tune a model in place; gives its scores before and after."""
    before = evaluate(model, task)
    fine_tune(model, task.train, schedule=schedule, pad_id=task.pad_id, seed=seed, progress=progress)
    return before, evaluate(model, task)


def _names(rows: Sequence[Sequence[int]], tags: Sequence[str]) -> list[list[str]]:
    return [[tags[label] for label in row] for row in rows]


def _row(
    student: str | None, method: str, model: str, head: str, steps: int, before: SpanScores, after: SpanScores
) -> dict[str, Any]:
    return {
        "student": student,
        "method": method,
        "model": model,
        "head": head,
        "steps": steps,
        "zero_shot_f1": round(before.f1, 1),
        "f1": round(after.f1, 1),
        "precision": round(after.precision, 1),
        "recall": round(after.recall, 1),
    }


def _describe(transfer: Transfer, layers: str, converted: api.Converted, alignment: AlignmentMap) -> Conversion:
    scores = list(alignment.scores.values())
    return Conversion(
        student=transfer.student,
        method=transfer.library.method,
        layers=layers,
        aligner=alignment.aligner,
        reason=alignment.reason,
        source=converted.found.source,
        corpus=alignment.corpus.name,
        tokens=alignment.corpus.tokens,
        mean_correlation=round(alignment.mean_correlation, 4),
        same_index=round(float(np.mean([score.same_index for score in scores])), 4),
        explained_by_units=round(float(np.mean([score.explained_by_units for score in scores])), 4),
        explained_by_linear=round(float(np.mean([score.explained_by_linear or 0.0 for score in scores])), 4),
        head=converted.head,
        warnings=tuple(converted.record["warnings"]),
        output=str(converted.output),
        seconds=round(converted.seconds, 2),
    )
