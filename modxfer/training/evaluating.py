"""Measuring modules, from disk: a module, its base model and data in, metrics with intervals and a comparison out."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from modxfer.converters.formats import inspect_files
from modxfer.converters.module import ModuleFiles
from modxfer.errors import DataError, UsageError
from modxfer.paths import home, is_folder
from modxfer.registry.card_results import AFTER
from modxfer.registry.locate import LocatedBase, LocatedModule, locate_module
from modxfer.registry.pair import locate_own_base
from modxfer.registry.results import add_results
from modxfer.registry.store import Store
from modxfer.registry.transfers import TRANSFER, read_transfer
from modxfer.training.belonging import check_belongs
from modxfer.training.data.building import count_labels
from modxfer.training.data.reading import read_split
from modxfer.training.data.rows import Split
from modxfer.training.evaluation import CUT, Evaluation, evaluate_model, result_rows
from modxfer.training.evaluation_request import DataSource, Evaluated, EvaluationRequest
from modxfer.training.fitting.devices import usual_attention
from modxfer.training.fitting.watching import Progress, silent
from modxfer.training.installed import check_installed
from modxfer.training.libraries.choosing import library_of
from modxfer.training.libraries.heads import HeadLabels, fit_labels, head_labels
from modxfer.training.libraries.library import Library, Wanted
from modxfer.training.limits import choose_max_tokens, load_tokenizer
from modxfer.training.significance import Comparison, compare
from modxfer.training.tasks import Task, find_task

__all__ = ["DataSource", "Evaluated", "EvaluationRequest", "evaluate_module"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """One module with what it takes to measure it, checked, before any model is loaded.

    Attributes:
        located: Where the module is.
        files: Its files.
        base: Its base model.
        library: What loads it.
        labels: The labels, in the order of the head's rows.
        warnings: What a user should know.
    """

    located: LocatedModule
    files: ModuleFiles
    base: LocatedBase
    library: Library
    labels: tuple[str, ...]
    warnings: tuple[str, ...]


def evaluate_module(request: EvaluationRequest, *, progress: Progress = silent) -> Evaluated:
    """Measure a module on data, and compare it with another one if that is asked for.

    Args:
        request: What to measure.
        progress: Called with the batches done, the batches there are, and what is going on.

    Returns:
        What was measured.

    Raises:
        ModxferError: anything that keeps the module from being measured; then nothing is written.
    """
    start = time.perf_counter()
    task = find_task(request.task)
    check_installed(task)
    target = _check_writable(request) if request.write else None
    splits = [
        read_split(
            task, source.spec, columns=request.columns, split=request.split, limit=request.limit, language=source.language
        )
        for source in request.data
    ]
    subjects = [_prepare(request, name, task, splits) for name in (request.module, request.compare) if name is not None]
    names = tuple(dict.fromkeys(label for subject in subjects for label in subject.labels))
    evaluations = [_measure(request, subject, task, splits, names=names, progress=progress) for subject in subjects]
    comparison = _compare(request, task, evaluations) if len(evaluations) > 1 else None
    if target is not None:
        _write(request, task, evaluations[0], target)
    warnings = [warning for split in splits for warning in split.warnings]
    for subject, evaluation in zip(subjects, evaluations, strict=True):
        warnings += [*subject.warnings, *_cut_warning(subject, evaluation, task)]
    return Evaluated(
        module=subjects[0].located.name,
        base=subjects[0].base.name,
        task=task,
        evaluation=evaluations[0],
        other=subjects[1].located.name if len(subjects) > 1 else None,
        other_evaluation=evaluations[1] if len(evaluations) > 1 else None,
        comparison=comparison,
        written=target,
        warnings=(*dict.fromkeys([*warnings, *_thin_warnings(task, evaluations[0])]),),
        seconds=time.perf_counter() - start,
    )


def _check_writable(request: EvaluationRequest) -> Path:
    """Refuse to write where that cannot be, before anything is measured."""
    folder = Path(request.module).expanduser()
    if not is_folder(request.module) or not (folder / TRANSFER).is_file():
        raise UsageError(
            f"`{request.module}` is no folder that modxfer wrote, so `--write` has nowhere to write the results.",
            do="Name the folder of a module that `modxfer convert` or `modxfer train` wrote, or leave `--write` out.",
        )
    read_transfer(folder)
    return folder


def _write(request: EvaluationRequest, task: Task, evaluation: Evaluation, folder: Path) -> None:
    """Write down the results; a module that was trained here has its training's seed, and is measured after it."""
    training = read_transfer(folder).get("training")
    settings = training.get("settings") if isinstance(training, dict) else None
    seed = settings.get("seed") if isinstance(settings, dict) else None
    is_trained = isinstance(training, dict)
    rows = result_rows(
        evaluation,
        task=task,
        seed=seed if isinstance(seed, int) else request.settings.seed,
        stage=AFTER if is_trained else None,
    )
    add_results(folder, rows)


def _prepare(request: EvaluationRequest, reference: str, task: Task, splits: Sequence[Split]) -> _Subject:
    located = locate_module(reference, registry=request.registry)
    files = inspect_files(located.folder)
    library = library_of(files)
    base = _locate_base(request, reference, located, files)
    check_belongs(files, base)
    labels, warnings = _choose_labels(request, reference, files, task, splits, base=base.reference)
    return _Subject(located=located, files=files, base=base, library=library, labels=labels, warnings=warnings)


def _locate_base(request: EvaluationRequest, reference: str, located: LocatedModule, files: ModuleFiles) -> LocatedBase:
    """Find the base model: the one given, else the module's own; one that is compared with may have another."""
    memory = Store(home()).hashes

    def locate(given: str | None) -> LocatedBase:
        return locate_own_base(reference, located, files, given=given, flag="--model", memory=memory)

    if reference == request.module or request.model is None:
        return locate(request.model)
    try:
        return locate(None)
    except UsageError:
        return locate(request.model)


def _choose_labels(
    request: EvaluationRequest, reference: str, files: ModuleFiles, task: Task, splits: Sequence[Split], *, base: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find the order of the head's labels, and make sure that the data has no others."""
    if task.kind == "causal-lm":
        return (), ()
    head = head_labels(files.folder, files)
    if head is None:
        raise DataError(
            f"The module `{reference}` has no prediction head for the task `{task.name}`.",
            do=f"Train one with `modxfer train --model {base} --task {task.name} --data DATA --init {reference}`.",
        )
    if head.task not in (None, task.peft_type):
        raise DataError(
            f"The module `{reference}` has a prediction head for {head.task}, and the task `{task.name}` needs one for "
            f"{task.peft_type}.",
            do="Name the task that the head is for with `--task`.",
        )
    if request.labels is not None and (reference == request.module or head.names is None):
        head = _named(head, request.labels, reference=reference)
    declared = tuple(dict.fromkeys(label for split in splits for label in split.labels))
    if head.names is None:
        return fit_labels(head, declared, where=reference)
    used = {label for split in splits for label in count_labels(split.rows)}
    labels, _ = fit_labels(head, [label for label in declared if label in used], where=reference)
    return labels, ()


def _named(head: HeadLabels, labels: tuple[str, ...], *, reference: str) -> HeadLabels:
    """Name the labels of a head as the user says."""
    if head.names is not None and head.names != labels:
        raise UsageError(
            f"`--labels {','.join(labels)[:200]}` is not what the files of `{reference}` say: {', '.join(head.names)[:200]}.",
            do="Leave `--labels` out.",
        )
    if len(labels) != head.count:
        raise UsageError(
            f"`--labels` names {len(labels)} labels, and the head of `{reference}` has {head.count}.",
            do="Name each of the head's labels once, in their order.",
        )
    return replace(head, names=labels)


def _measure(
    request: EvaluationRequest,
    subject: _Subject,
    task: Task,
    splits: Sequence[Split],
    *,
    names: tuple[str, ...],
    progress: Progress,
) -> Evaluation:
    folder = subject.base.fetch_weights()
    tokenizer = load_tokenizer(folder)
    settings = replace(request.settings, max_tokens=choose_max_tokens(request.settings.max_tokens, tokenizer, folder))
    wanted = Wanted(
        base=folder,
        task=task,
        labels=subject.labels,
        method=subject.files.method,
        attention=settings.attention or usual_attention(settings.device),
        seed=settings.seed,
        name=subject.base.name,
        revision=subject.base.revision,
    )
    return evaluate_model(
        subject.library.load(wanted, subject.files.folder, is_trainable=False),
        subject.library,
        splits,
        task=task,
        labels=subject.labels,
        tokenizer=tokenizer,
        settings=settings,
        names=names,
        draws=request.draws,
        progress=lambda done, total, _: progress(done, total, f"Predicting with {subject.located.name}"),
    )


def _compare(request: EvaluationRequest, task: Task, evaluations: Sequence[Evaluation]) -> Comparison:
    first, second = (evaluation.tally for evaluation in evaluations)
    if task.kind == "causal-lm" and not np.array_equal(first.counts[:, 1], second.counts[:, 1]):
        raise DataError(
            f"The two base models cut the texts into different tokens, {first.units['tokens']:,} and "
            f"{second.units['tokens']:,}, so that their perplexities cannot be compared.",
            do="Compare modules of one base model.",
        )
    return compare(first, second, task.metric, draws=request.comparison_draws, seed=request.settings.seed)


def _cut_warning(subject: _Subject, evaluation: Evaluation, task: Task) -> tuple[str, ...]:
    if not evaluation.cut:
        return ()
    return (
        f"{evaluation.cut:,} of {evaluation.examples:,} examples are longer than `{subject.base.name}` takes, and were "
        f"cut; what was cut off {CUT[task.kind]}.",
    )


def _thin_warnings(task: Task, evaluation: Evaluation) -> tuple[str, ...]:
    """Tell of data that says little."""
    if task.kind == "tagging" and not evaluation.units["spans"]:
        return ("The data has no span, so that F1 is 0 whatever is predicted.",)
    if task.kind == "classification" and sum(own["support"] > 0 for own in evaluation.per_label.values()) == 1:
        return ("All examples of the data have one label, so that the metrics say little.",)
    return ()
