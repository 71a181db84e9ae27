"""Teaching a module to the teacher, converting it, and comparing students that start from it with one that does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modxfer import api
from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.demo.descending import Schedule
from modxfer.demo.phases import Tick
from modxfer.demo.settings import DemoSettings
from modxfer.training.data.choice import DataChoice
from modxfer.training.libraries.context import has_adapters
from modxfer.training.settings import TrainingSettings
from modxfer.training.train import Trained, TrainRequest, train_module

LAYER_MAPS = ("skip", "avg")

DEFAULT = "default"
"""The student whose module and head are new."""

HELD_OUT = 0.05
"""Part of the training sentences that checkpoints are chosen by; few, so that looking at them costs little time."""

LOOKS = 2
"""Looks at them after the start: a checkpoint each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A kind of module.

    Attributes:
        title: What the table calls it.
        name: Its name.
        options: A new module's own settings.
    """

    title: str
    name: str
    options: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """What folders of such modules are called."""
        return self.title.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What modules are trained on, and how; all that are compared have the same.

    Attributes:
        data: The folder of the sentences.
        max_tokens: Tokens of a sentence that are used.
        schedule: How long and how fast.
        seed: Seed of what is new, of the order, and of the sentences that are held out.
    """

    data: Path
    max_tokens: int
    schedule: Schedule
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One of the teacher's modules on its way to one student.

    Attributes:
        student: "matching" or "incompatible".
        base: The student's folder.
        method: The kind of module.
        teacher: The teacher's folder.
        module: The teacher's module.
        output: The folder for the converted modules, one for each layer map.
        trained: The folder for the student's modules after training: one for each layer map, and the default one.
    """

    student: str
    base: Path
    method: Method
    teacher: Path
    module: Path
    output: Path
    trained: Path


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


def choose_methods(settings: DemoSettings) -> tuple[Method, ...]:
    """List the kinds of modules that can be trained here.

    Args:
        settings: The sizes.

    Returns:
        LoRA, and bottleneck adapters where their library is installed.
    """
    lora = Method(title="LoRA", name="lora", options={"rank": settings.rank})
    bottleneck = Method(title="adapter", name="bottleneck", options={"size": settings.bottleneck})
    return (lora, bottleneck) if has_adapters() else (lora,)


def teach(method: Method, base: Path, course: Course, module: Path, *, progress: Tick) -> dict[str, Any]:
    """Train a module on the teacher, from its usual initialisation.

    Args:
        method: The kind of module.
        base: The teacher's folder.
        course: What to train on, and how.
        module: The folder to write.
        progress: Called after every step.

    Returns:
        The teacher's row of the table.
    """
    trained = _train(method, base, course, output=module, init=None, progress=progress)
    return _row(trained, student=None, method=method, model="teacher", head="own", steps=course.schedule.steps)


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


def compare(transfer: Transfer, course: Course, *, progress: Tick) -> list[dict[str, Any]]:
    """Fine-tune the default student and the transferred ones for the same steps, on the same data in the same order.

    Args:
        transfer: The converted modules and the student.
        course: What to train on, and how.
        progress: Called after every step.

    Returns:
        The rows of the table.
    """
    rows = []
    names = (DEFAULT, *LAYER_MAPS)
    for index, name in enumerate(names):

        def tick(done: int, total: int, before: int = index) -> None:
            progress(before * total + done, len(names) * total)

        init = None if name == DEFAULT else transfer.output / name
        trained = _train(transfer.method, transfer.base, course, output=transfer.trained / name, init=init, progress=tick)
        rows.append(
            _row(
                trained,
                student=transfer.student,
                method=transfer.method,
                model=DEFAULT if init is None else f"transferred {name.upper()}",
                head="new" if init is None else "transferred",
                steps=course.schedule.steps,
            )
        )
    return rows


def _train(method: Method, base: Path, course: Course, *, output: Path, init: Path | None, progress: Tick) -> Trained:
    """Train a new module, or one that there is, and measure it before and after."""
    schedule = course.schedule
    request = TrainRequest(
        model=str(base),
        task="ner",
        data=DataChoice(data=str(course.data), holdout=HELD_OUT, seed=course.seed),
        method=method.name,
        options=method.options if init is None else {},
        init=None if init is None else str(init),
        settings=TrainingSettings(
            epochs=float(schedule.steps),  # an epoch has one step at least, so that only `max_steps` counts
            max_steps=schedule.steps,
            learning_rate=schedule.learning_rate,
            batch_size=schedule.batch_size,
            eval_steps=max(schedule.steps // LOOKS, 1),
            patience=None,
            max_tokens=course.max_tokens,
            precision="fp32",
            seed=course.seed,
        ),
        output=output,
        measure_start=True,
    )
    return train_module(request, progress=lambda done, total, _: progress(done, total))


def _row(trained: Trained, *, student: str | None, method: Method, model: str, head: str, steps: int) -> dict[str, Any]:
    before, after = (trained.evaluations[name].metrics for name in ("start", "test"))
    return {
        "student": student,
        "method": method.title,
        "model": model,
        "head": head,
        "steps": steps,
        "zero_shot_f1": round(before["f1"], 1),
        "f1": round(after["f1"], 1),
        "precision": round(after["precision"], 1),
        "recall": round(after["recall"], 1),
    }


def _describe(transfer: Transfer, layers: str, converted: api.Converted, alignment: AlignmentMap) -> Conversion:
    scores = list(alignment.scores.values())
    return Conversion(
        student=transfer.student,
        method=transfer.method.title,
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
