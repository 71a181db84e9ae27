"""Training one module, from disk to disk: base model, data and initialisation in, a measured module folder out."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from modxfer.alignments.files import hash_file
from modxfer.converters.formats import inspect_files
from modxfer.converters.module import ModuleFiles
from modxfer.errors import UsageError
from modxfer.paths import check_free, home
from modxfer.registry.locate import LocatedBase, LocatedModule, locate_base, locate_module
from modxfer.registry.pairs import slug
from modxfer.registry.store import Store
from modxfer.training.belonging import check_belongs
from modxfer.training.checkpoints import Workplace, open_workplace
from modxfer.training.data.choice import DataChoice
from modxfer.training.data.encoding import Encoded, encode
from modxfer.training.data.reading import read_task_data
from modxfer.training.data.rows import Split, TaskData
from modxfer.training.evaluation import AFTER, BEFORE, CUT, Evaluation, evaluate_model, result_rows
from modxfer.training.fitting.devices import usual_attention
from modxfer.training.fitting.fit import Fit, fit
from modxfer.training.fitting.processes import is_main_process, num_processes, wait_for_all
from modxfer.training.fitting.watching import Progress, silent
from modxfer.training.installed import check_installed, check_reporting
from modxfer.training.libraries.choosing import library_for_method, library_of
from modxfer.training.libraries.heads import fit_labels, head_labels
from modxfer.training.libraries.library import Library, Wanted
from modxfer.training.limits import choose_max_tokens, load_tokenizer
from modxfer.training.records import trained_record, write_trained
from modxfer.training.settings import TrainingSettings
from modxfer.training.settings import as_json as settings_as_json
from modxfer.training.tallies import tally
from modxfer.training.tasks import Task, find_task

DEFAULT_METHOD = "lora"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What to train, as the user said it.

    Attributes:
        model: The base model: a folder or a Hub id.
        task: Name of the task.
        data: Where the data is, or what was read already.
        method: Kind of a new module; None for that of `init`, or LoRA.
        options: The new module's own settings, such as `rank`.
        init: The module to begin with, on the same base model: a folder, a Hub id or `registry:` with the id of an entry. None
            for a new one at its usual initialisation.
        head: Whether the head of `init` is kept: "keep" or "new".
        settings: How to train.
        output: The folder to write; None for one named after base model, task and method, here.
        measure_start: Also measure on the test split before training.
        keep_checkpoints: Leave the checkpoints where they are when it is done.
        registry: The registry that has the entry; None for what `MODXFER_REGISTRY` names.
    """

    model: str
    task: str
    data: DataChoice | TaskData
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    init: str | None = None
    head: str = "keep"
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    output: Path | None = None
    measure_start: bool = False
    keep_checkpoints: bool = False
    registry: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A module that was trained.

    Attributes:
        output: Its folder.
        record: What `transfer.json` holds; empty in a process that did not write it.
        fit: How the training went.
        evaluations: What was measured: "validation", and where there is a test split "test" and "start" (before training).
        warnings: What a user should know.
        seconds: Time it took in all.
    """

    output: Path
    record: Mapping[str, Any]
    fit: Fit
    evaluations: Mapping[str, Evaluation]
    warnings: tuple[str, ...]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Give what `train --json` prints.

        Returns:
            Plain values.
        """
        return {
            "output": str(self.output),
            "training": self.record["training"],
            "fit": {**asdict(self.fit), "seconds": round(self.fit.seconds, 3)},
            "evaluations": {name: evaluation.as_json() for name, evaluation in self.evaluations.items()},
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """The module that a training begins with.

    Attributes:
        located: Where it is.
        files: Its files.
        hashes: File name to sha256, of the weights.
        head: Whether its head is kept.
    """

    located: LocatedModule
    files: ModuleFiles
    hashes: Mapping[str, str]
    head: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """Everything that a training needs, checked, before any model is loaded.

    Attributes:
        request: What the user said.
        task: The task.
        base: The base model.
        method: The method of the module.
        library: What trains modules of this method.
        beginning: The module to begin with; None for a new one.
        data: The data.
        labels: The labels, in the order of the head's rows.
        tokenizer: The base model's tokenizer.
        settings: How to train, with the tokens that the base model takes.
        output: The folder to write.
        warnings: What a user should know.
    """

    request: TrainRequest
    task: Task
    base: LocatedBase
    method: str
    library: Library
    beginning: Beginning | None
    data: TaskData
    labels: tuple[str, ...]
    tokenizer: Any
    settings: TrainingSettings
    output: Path
    warnings: tuple[str, ...]

    def asked(self) -> dict[str, Any]:
        """Give all that decides the result, as plain values."""
        return {
            "base model": self.base.record.fingerprint if self.base.has_weights else self.base.name,
            "task": self.task.name,
            "method": self.method,
            "options": dict(self.request.options),
            "init": dict(self.beginning.hashes) if self.beginning else None,
            "head": self.request.head,
            "labels": list(self.labels),
            "data": {name: split.record.as_json() for name, split in self.data.splits.items()},
            "columns": asdict(self.request.data.columns) if isinstance(self.request.data, DataChoice) else None,
            "settings": settings_as_json(self.settings),
            "number of processes": num_processes(),
        }


def train_module(request: TrainRequest, *, force: bool = False, resume: bool = False, progress: Progress = silent) -> Trained:
    """Train a module on a base model, measure it, and write it with its record and its card.

    Args:
        request: What to train.
        force: Replace an output that exists, and checkpoints of a training that did not end.
        resume: Go on with a training that did not end; where there is none, begin.
        progress: Called with the steps done, the steps there are, and what is going on.

    Returns:
        What was trained and measured.

    Raises:
        ModxferError: anything that keeps the module from being trained; an older output stays as it was, and the checkpoints so
            far stay where they are.
    """
    start = time.perf_counter()
    ready = _prepare(request, force=force)
    model = _load_model(ready)
    place = open_workplace(ready.output, asked=ready.asked(), resume=resume, force=force, is_main=is_main_process())
    wait_for_all()
    evaluations: dict[str, Evaluation] = {}
    with place.until_done():
        if request.measure_start and "test" in ready.data.splits:
            evaluations["start"] = _evaluate(ready, model, "test")
        fitted = _fit(ready, model, place, progress)
        for name in ("validation", "test"):
            if name in ready.data.splits:
                evaluations[name] = _evaluate(ready, model, name)
        record = _write(ready, model, fitted, evaluations, force=force) if is_main_process() else {}
        wait_for_all()
    if is_main_process() and not request.keep_checkpoints:
        place.remove()
    return Trained(
        output=ready.output,
        record=record,
        fit=fitted,
        evaluations=evaluations,
        warnings=(*ready.warnings, *_cut_warnings(evaluations, ready)),
        seconds=time.perf_counter() - start,
    )


def _prepare(request: TrainRequest, *, force: bool) -> Preparation:
    task = find_task(request.task)
    check_installed(task)
    check_reporting(request.settings.report_to)
    base = locate_base(request.model, memory=Store(home()).hashes)
    beginning = _begin(request, base)
    method = beginning.files.method if beginning else request.method or DEFAULT_METHOD
    library = library_of(beginning.files) if beginning else library_for_method(method)
    output = request.output or Path(f"{slug(base.name)}-{task.name}-{method}")
    check_free(output, force=force)
    data = request.data if isinstance(request.data, TaskData) else read_task_data(task, request.data)
    labels, head_warnings = _choose_labels(task, data, beginning)
    folder = base.fetch_weights()
    tokenizer = load_tokenizer(folder)
    max_tokens = choose_max_tokens(request.settings.max_tokens, tokenizer, folder)
    return Preparation(
        request=request,
        task=task,
        base=base,
        method=method,
        library=library,
        beginning=beginning,
        data=data,
        labels=labels,
        tokenizer=tokenizer,
        settings=replace(request.settings, max_tokens=max_tokens),
        output=output,
        warnings=(*data.warnings, *head_warnings),
    )


def _begin(request: TrainRequest, base: LocatedBase) -> Beginning | None:
    """Find the module to begin with, and make sure that it belongs to the base model."""
    if request.init is None:
        return None
    located = locate_module(request.init, registry=request.registry)
    files = inspect_files(located.folder)
    if request.method not in (None, files.method):
        raise UsageError(
            f"`--method {request.method}` was asked for, and `{request.init}` is a module of the method `{files.method}`.",
            do="Leave `--method` out.",
        )
    if request.options:
        raise UsageError(
            f"`{request.init}` has its own {' and '.join(f'`{name}`' for name in request.options)}.",
            do="Leave such options out, or leave `--init` out for a new module.",
        )
    check_belongs(files, base)
    hashes = {name: hash_file(files.folder / name) for name in files.weight_files}
    return Beginning(located=located, files=files, hashes=hashes, head=request.head == "keep")


def _choose_labels(task: Task, data: TaskData, beginning: Beginning | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Take the labels of the head that is kept, else those of the data; gives warnings too."""
    head = head_labels(beginning.files.folder, beginning.files) if beginning and beginning.head else None
    if beginning is None or head is None or not data.labels:
        return data.labels, ()
    return fit_labels(head, data.labels, where=beginning.located.name)


def _load_model(ready: Preparation) -> Any:
    settings = ready.settings
    wanted = Wanted(
        base=ready.base.fetch_weights(),
        task=ready.task,
        labels=ready.labels,
        method=ready.method,
        options=ready.request.options,
        attention=settings.attention or usual_attention(settings.device),
        seed=settings.seed,
        name=ready.base.reference if ready.base.revision is None else ready.base.name,
        revision=ready.base.revision,
        new_head=ready.beginning is not None and not ready.beginning.head,
    )
    if ready.beginning is None:
        return ready.library.start(wanted)
    return ready.library.load(wanted, ready.beginning.files.folder, is_trainable=True)


def _encode(ready: Preparation, split: Split) -> Encoded:
    return encode(split.rows, ready.tokenizer, task=ready.task, labels=ready.labels, max_tokens=ready.settings.max_tokens or 0)


def _fit(ready: Preparation, model: Any, place: Workplace, progress: Progress) -> Fit:
    train, validation = (_encode(ready, ready.data.splits[name]) for name in ("train", "validation"))
    return fit(
        model,
        ready.library,
        task=ready.task,
        train=train,
        validation=validation,
        tokenizer=ready.tokenizer,
        settings=ready.settings,
        work=place.folder,
        score=lambda predictions: tally(ready.task, validation, predictions).values(),
        resume=place.is_resumed,
        progress=progress,
    )


def _evaluate(ready: Preparation, model: Any, name: str) -> Evaluation:
    return evaluate_model(
        model,
        ready.library,
        ready.data.splits[name],
        task=ready.task,
        labels=ready.labels,
        tokenizer=ready.tokenizer,
        settings=ready.settings,
    )


def _write(
    ready: Preparation, model: Any, fitted: Fit, evaluations: Mapping[str, Evaluation], *, force: bool
) -> dict[str, Any]:
    """Write the module with its record and its card; gives the record."""
    results = [
        row
        for name, evaluation in evaluations.items()
        for row in result_rows(
            evaluation, task=ready.task, seed=ready.settings.seed, stage=BEFORE if name == "start" else AFTER
        )
    ]
    record = trained_record(
        base=ready.base,
        task=ready.task,
        labels=ready.labels,
        settings=ready.settings,
        data={name: split.record for name, split in ready.data.splits.items()},
        fit=fitted,
        format=ready.library.format,
        method=ready.method,
        name=ready.output.name,
        options=ready.request.options,
        initial=ready.beginning.located if ready.beginning else None,
        results=results,
        languages=_languages(ready.data),
        warnings=ready.warnings,
    )
    return write_trained(model, ready.library, record, ready.base, ready.output, force=force)


def _languages(data: TaskData) -> list[str]:
    """List the languages that the training split says it is in."""
    return sorted({row.language for row in data.splits["train"].rows if row.language})


def _cut_warnings(evaluations: Mapping[str, Evaluation], ready: Preparation) -> tuple[str, ...]:
    return tuple(
        f"{evaluation.cut} of {evaluation.examples} examples of the {name} split are longer than {ready.settings.max_tokens} "
        f"tokens and were cut; what was cut off {CUT[ready.task.kind]}."
        for name, evaluation in evaluations.items()
        if evaluation.cut and name != "start"
    )
