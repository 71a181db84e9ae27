"""Which labels a module's head knows, told from its files alone, and whether a task's data fits them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modxfer.converters.formats import static_task
from modxfer.converters.formats.adapters.heads import TASKS
from modxfer.converters.module import ModuleFiles
from modxfer.errors import DataError, FormatError
from modxfer.training.libraries.library import Wanted

_LABELLED = ("TOKEN_CLS", "SEQ_CLS")
_LAST_LAYERS = (
    "classifier.weight",
    "classifier.out_proj.weight",
    "score.weight",
    "classification_head.out_proj.weight",  # BART, T5
    "logits_proj.weight",  # XLNet
)
"""Ends of the keys of a `peft` head's last layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLabels:
    """The labels of a head.

    Attributes:
        names: Their names, in the order of the head's rows; None if the files do not say them.
        count: How many there are.
        task: `peft`'s task type of the head; None if the files do not say it.
    """

    names: tuple[str, ...] | None
    count: int
    task: str | None = None


def head_labels(folder: Path, files: ModuleFiles) -> HeadLabels | None:
    """Say which labels a module's head knows.

    Args:
        folder: The module's folder, which may hold a `transfer.json`.
        files: What is known of the module.

    Returns:
        The labels; None if the module has no head for labels.

    Raises:
        FormatError: what the files say contradicts itself.
    """
    count, task = _count_and_task(files)
    if count is None:
        return None
    names = _recorded(folder) or _configured(files)
    if names is not None and (len(names) != count or len(set(names)) != count):
        raise FormatError(
            f"The head in `{folder}` has {count} labels, and its files name {len(names)} ({len(set(names))} different ones).",
            do="Fetch the module again: its files do not belong together.",
        )
    return HeadLabels(names=names, count=count, task=task)


def fit_labels(head: HeadLabels, data_labels: Sequence[str], *, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find the order of labels in which a head and a task's data agree.

    Args:
        head: What is known of the head.
        data_labels: The labels of the data, in its own order.
        where: What to call the module in messages.

    Returns:
        The labels in the order of the head's rows, and warnings.

    Raises:
        DataError: the data has labels that the head lacks, or another number of labels than a head without names.
    """
    if head.names is None:
        if len(data_labels) != head.count:
            raise DataError(
                f"The head in `{where}` has {head.count} labels, and the data has {len(data_labels)}: {_listed(data_labels)}.",
                do="Train a new head with `--head new`, or name the data that the head was trained on.",
            )
        order = f"The files of `{where}` do not name the head's {head.count} labels: they are taken to be, in this order, "
        return tuple(data_labels), (f"{order}{_listed(data_labels)}.",)
    lacking = [label for label in data_labels if label not in head.names]
    if lacking:
        raise DataError(
            f"The data has labels that the head in `{where}` lacks: {_listed(lacking)}; it knows {_listed(head.names)}.",
            do="Train a new head with `--head new`, or name data with the head's labels.",
        )
    unused = [label for label in head.names if label not in data_labels]
    return head.names, (f"The head in `{where}` also knows {_listed(unused)}, which the data never has.",) if unused else ()


def check_count(head: HeadLabels | None, wanted: Wanted, *, where: Path) -> None:
    """Refuse a head with another number of labels than a model is to have.

    Args:
        head: What is known of the head; None if it has no labels.
        wanted: What the model is made of.
        where: The module's folder.

    Raises:
        FormatError: the numbers differ.
    """
    if head is not None and head.count != len(wanted.labels):
        raise FormatError(
            f"The head in `{where}` has {head.count} labels, and {len(wanted.labels)} are needed: {_listed(wanted.labels)}.",
            do="Train a new head with `--head new`, or name data with the head's labels.",
        )


def _count_and_task(files: ModuleFiles) -> tuple[int | None, str | None]:
    """Count the rows of the head's last layer, and say which task it is for."""
    if files.format == "peft":
        ends = [header for header in files.tensors if _is_last_layer(header.key)]
        said = files.config.get("task_type")
        return (ends[0].shape[0] if ends and ends[0].shape else None), said if said in _LABELLED else None
    if not files.head_config:
        return None, None
    config = _adapters_config(files)
    task = static_task(files.head_config) or TASKS.get(str(config.get("head_type")))
    count = config.get("num_labels")
    return (count, task) if task in _LABELLED and type(count) is int else (None, None)


def _is_last_layer(key: str) -> bool:
    path = key.removeprefix("base_model.model.")
    return any(path == end for end in _LAST_LAYERS)


def _adapters_config(files: ModuleFiles) -> Mapping[str, Any]:
    inner = files.head_config.get("config")
    return inner if isinstance(inner, dict) else files.head_config


def _recorded(folder: Path) -> tuple[str, ...] | None:
    """Read the names that modxfer itself wrote down."""
    path = folder / "transfer.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"`{path}` cannot be read: `{error}`.", do="Fetch the module again.") from error
    head = record.get("head") if isinstance(record, dict) else None
    names = head.get("names") if isinstance(head, dict) else None
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FormatError(f"`head.names` in `{path}` is not a list of names.", do="Fetch the module again.")
    return tuple(names)


def _configured(files: ModuleFiles) -> tuple[str, ...] | None:
    """Take the names out of a head's config in the `adapters` format; numbered stand-ins are no names."""
    table = _adapters_config(files).get("label2id") if files.head_config else None
    if not isinstance(table, dict) or not table or any(type(number) is not int for number in table.values()):
        return None
    if all(name == f"LABEL_{number}" for name, number in table.items()):
        return None
    if sorted(table.values()) != list(range(len(table))):
        raise FormatError(
            f"`label2id` in `{files.folder / 'head_config.json'}` gives its labels other numbers than 0 to {len(table) - 1}.",
            do="Correct it in that file.",
        )
    return tuple(sorted(table, key=table.__getitem__))


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(f"`{label[:60]}`" for label in labels[:12])
    return f"{shown} and {len(labels) - 12} more" if len(labels) > 12 else shown or "none"
