"""Read the data of a task: its splits, held out and limited as asked, with their labels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from modxfer.errors import DataError
from modxfer.training.data.building import Built, build_rows, count_labels, labels_of
from modxfer.training.data.choice import ColumnChoice, DataChoice
from modxfer.training.data.columns import fill
from modxfer.training.data.rows import Row, Split, SplitRecord, TaskData
from modxfer.training.data.sources import Source, open_source, split_names
from modxfer.training.data.tables import shorten
from modxfer.training.tasks import Task

_MOST_LISTED = 10

_FEW = 0.05
"""Part of the rows that may be training rows too without a word."""


def read_task_data(task: Task, choice: DataChoice) -> TaskData:
    """Read the splits that a training uses.

    Where there is no validation split, a part of the training split is held out.

    Args:
        task: The task.
        choice: What the user says about the data.

    Returns:
        The splits and their labels.

    Raises:
        UsageError: a flag has no use here, or there is no such data set on the Hub.
        DataError: the data cannot be read, or is not what the task needs.
        HubError: the Hub refuses, or cannot be reached.
        DependencyError: `datasets` is needed and not installed.
    """
    source = open_source(choice.data, task=task)
    name = _choose(source, choice.train_split, role="train", flag="--train-split")
    whole = _read(source, name, task=task, columns=choice.columns)
    train, validation = whole, _read_validation(source, task, choice, train=name)
    if validation is None:
        train, validation = _hold_out(whole, part=choice.holdout, seed=choice.seed)
    splits = {
        "train": _sample(train, choice.limit_train, seed=choice.seed),
        "validation": _first(validation, choice.limit_validation),
    }
    test = _read_test(source, task, choice, train=name)
    if test is not None:
        splits["test"] = _first(test, choice.limit_test)
    _check_training(splits["train"], task=task)
    labels = tuple(dict.fromkeys(label for split in splits.values() for label in split.labels))
    warnings = [warning for split in splits.values() for warning in split.warnings]
    warnings = [*dict.fromkeys(warnings), *_unseen(splits), *_seen(splits)]
    return TaskData(task=task, labels=labels, splits=splits, warnings=tuple(warnings))


def read_split(
    task: Task, spec: str, *, columns: ColumnChoice, split: str | None = None, limit: int | None = None, language: str = ""
) -> Split:
    """Read one split, to measure on.

    Args:
        task: The task.
        spec: A file, a folder, or a data set's id with optional config and revision, `ID[:CONFIG][@REVISION]`.
        columns: The columns that the user names.
        split: Name of the split; None for "test", or the only one.
        limit: Rows at most: the first ones.
        language: The language of rows of which the data says nothing.

    Returns:
        The split.

    Raises:
        UsageError: a flag has no use here, or there is no such data set on the Hub.
        DataError: the data cannot be read, or is not what the task needs.
        HubError: the Hub refuses, or cannot be reached.
        DependencyError: `datasets` is needed and not installed.
    """
    source = open_source(spec, task=task)
    name = _choose(source, split, role="test", flag="--split")
    return _first(_read(source, name, task=task, columns=columns, language=language), limit)


def _read_validation(source: Source, task: Task, choice: DataChoice, *, train: str | None) -> Split | None:
    """Read the validation split; None if it is to be held out."""
    if choice.validation is not None:
        other = open_source(choice.validation, task=task, flag="--validation")
        name = _choose(other, choice.validation_split, role="validation", flag="--validation-split")
        return _read(other, name, task=task, columns=choice.columns)
    if choice.validation_split is not None:
        name = _choose_other(source, choice.validation_split, train=train, flag="--validation-split")
        return _read(source, name, task=task, columns=choice.columns)
    usual = source.roles.get("validation")
    return None if usual is None or _holds(train, usual) else _read(source, usual, task=task, columns=choice.columns)


def _read_test(source: Source, task: Task, choice: DataChoice, *, train: str | None) -> Split | None:
    if choice.test is not None:
        other = open_source(choice.test, task=task, flag="--test")
        name = _choose(other, choice.test_split, role="test", flag="--test-split")
        return _read(other, name, task=task, columns=choice.columns)
    if choice.test_split is not None:
        name = _choose_other(source, choice.test_split, train=train, flag="--test-split")
        return _read(source, name, task=task, columns=choice.columns)
    usual = source.roles.get("test")
    chosen_by = choice.validation_split if choice.validation is None else None
    if usual is None or _holds(train, usual) or _holds(chosen_by, usual):
        return None
    return _read(source, usual, task=task, columns=choice.columns)


def _holds(asked: str | None, split: str) -> bool:
    """Say whether what is asked for has rows of a split: "test[:50%]" and "train+test" have some of "test"."""
    return asked is not None and split in split_names(asked)


def _choose_other(source: Source, wanted: str, *, train: str | None, flag: str) -> str:
    """Choose a split to measure on, which must not be the one that is trained on."""
    name = source.choose(wanted, flag=flag)
    if name == train:
        raise DataError(
            f"`{shorten(name)}` is the training split, and `{flag}` names it too.",
            do=f"Name another split, or leave `{flag}` out.",
        )
    return name


def _choose(source: Source, wanted: str | None, *, role: str, flag: str) -> str | None:
    """Choose a split: the one that is asked for, the usual one, or the only one; None for a file that is one."""
    if wanted is not None:
        return source.choose(wanted, flag=flag)
    if not source.splits:
        return None
    if role in source.roles:
        return source.roles[role]
    if len(source.splits) == 1:
        return source.splits[0]
    raise DataError(
        f"`{source.name}` has no {'training' if role == 'train' else role} split (splits: {source.listed()}).",
        do=f"Name the split to take with `{flag}`.",
    )


def _read(source: Source, split: str | None, *, task: Task, columns: ColumnChoice, language: str = "") -> Split:
    opened = source.read(split)
    known = fill(columns, source.columns) if source.columns != ColumnChoice() else columns
    built: Built = build_rows(task, opened.table, known, language=source.language or language)
    return Split(
        rows=built.rows,
        labels=built.labels,
        record=replace(opened.record, rows=len(built.rows)),
        warnings=built.warnings,
    )


def _hold_out(split: Split, *, part: float, seed: int) -> tuple[Split, Split]:
    """Take a part of a split away from it for validation."""
    count = len(split.rows)
    if count < 2:
        raise DataError(
            f"`{split.record.name}` has one row, so none can be held out for validation.",
            do="Give more, or a split with `--validation`.",
        )
    size = min(count - 1, max(1, round(part * count)))
    order = np.random.default_rng(seed).permutation(count)
    held, kept = np.sort(order[:size]), np.sort(order[size:])
    share = f"{100 * part:g} % by seed {seed}"
    return _pick(split, kept, part=f"without the {share} held out"), _pick(split, held, part=f"held out: {share}")


def _sample(split: Split, limit: int | None, *, seed: int) -> Split:
    if limit is None or limit >= len(split.rows):
        return split
    chosen = np.sort(np.random.default_rng(seed).choice(len(split.rows), size=limit, replace=False))
    return _pick(split, chosen, part=f"a sample of {limit} of {len(split.rows)} rows by seed {seed}")


def _first(split: Split, limit: int | None) -> Split:
    if limit is None or limit >= len(split.rows):
        return split
    return _pick(split, range(limit), part=f"the first {limit} of {len(split.rows)} rows")


def _pick(split: Split, rows: Sequence[int] | np.ndarray, *, part: str) -> Split:
    chosen: list[Row] = [split.rows[row] for row in rows]
    before = f"{split.record.part}; " if split.record.part else ""
    record: SplitRecord = replace(split.record, part=before + part, rows=len(chosen))
    return replace(split, rows=chosen, record=record)


def _check_training(train: Split, *, task: Task) -> None:
    """Refuse to train on rows that leave nothing to tell apart."""
    if task.kind == "causal-lm":
        return
    used = count_labels(train.rows)
    if len(used) > 1:
        return
    only = f"`{shorten(next(iter(used)))}`"
    what = f"only the tag {only}, so no span" if task.kind == "tagging" and "O" in used else f"only the label {only}"
    raise DataError(
        f"The {len(train.rows)} training rows of `{train.record.name}` have {what}.",
        do="Give data with more labels, or raise `--limit`.",
    )


def _unseen(splits: Mapping[str, Split]) -> list[str]:
    """Tell of labels that are measured and not trained."""
    trained = set(count_labels(splits["train"].rows))
    warnings = []
    for name, split in splits.items():
        new = sorted(set(count_labels(split.rows)) - trained)
        if new:
            rows = sum(not trained.issuperset(labels_of(row)) for row in split.rows)
            listed = ", ".join(f"`{shorten(label)}`" for label in new[:_MOST_LISTED])
            more = f" and {len(new) - _MOST_LISTED} more" if len(new) > _MOST_LISTED else ""
            warnings.append(f"{rows} of {len(split.rows)} {name} rows have labels that no training row has: {listed}{more}.")
    return warnings


def _seen(splits: Mapping[str, Split]) -> list[str]:
    """Tell of rows that are measured and were trained on; a few are alike in any large data set."""
    trained = set(splits["train"].rows)
    counts = {name: sum(row in trained for row in split.rows) for name, split in splits.items() if name != "train"}
    return [
        f"{count} of {len(splits[name].rows)} {name} rows are training rows too: scores on them say little about new text."
        for name, count in counts.items()
        if count > _FEW * len(splits[name].rows)
    ]
