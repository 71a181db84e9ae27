"""What was measured, on a card: a table for readers, and the `model-index` that the Hub shows."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modxfer.registry import card_text
from modxfer.registry.card_loading import PIPELINES
from modxfer.registry.card_text import code, escape, items, mapping, number, span, table

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

BEFORE, AFTER = "before training", "after training"
"""When a result of a module that is trained was measured: the `stage` of its row."""

PERCENTAGES = frozenset({"f1", "macro_f1", "precision", "recall", "accuracy"})
"""Metrics that records hold as percentages; the Hub and registries hold them as fractions."""

_SLUG = re.compile(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*")
_HASH = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_HASH_DIGITS = 12
_TASK, _DATA, _SPLIT, _METRIC, _VALUE = "Task", "Data set", "Split", "Metric", "Value"
_NOTHING = "–"

_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    _TASK: lambda row: escape(row.get("task")),
    _DATA: lambda row: data_name(mapping(row.get("dataset"))),
    _SPLIT: lambda row: data_part(mapping(row.get("dataset"))),
    _METRIC: lambda row: escape(row.get("metric")),
    _VALUE: lambda row: measured_value(row.get("value"), row.get("metric")),
    "95 % interval": lambda row: _interval(row),
    "Examples": lambda row: number(row.get("examples")),
    "Seed": lambda row: number(row.get("seed")),
    "When": lambda row: escape(row.get("stage") or _NOTHING),
    "Measured by": lambda row: escape(row.get("ran") or _NOTHING),
}
_ALWAYS = (_TASK, _DATA, _SPLIT, _METRIC, _VALUE)


def result_rows(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List the results of a record.

    Args:
        record: What `transfer.json` holds.

    Returns:
        One mapping a measurement.
    """
    return [mapping(result) for result in items(record.get("results"))]


def result_table(record: Mapping[str, Any]) -> list[str]:
    """Show what was measured; a column that says nothing of any row is left out.

    Args:
        record: What `transfer.json` holds.

    Returns:
        The lines of a table; none if nothing was measured.
    """
    rows = [{title: show(result) for title, show in _COLUMNS.items()} for result in result_rows(record)]
    shown = [title for title in _COLUMNS if title in _ALWAYS or any(row[title] != _NOTHING for row in rows)]
    return table(shown, ([row[title] for title in shown] for row in rows)) if rows else []


def eval_results(record: Mapping[str, Any]) -> list["EvalResult"]:
    """Give the results that the Hub can show: of the module as it is, on a whole split of a data set that could be there.

    Args:
        record: What `transfer.json` holds.

    Returns:
        Results for a card's metadata. Percentages are fractions there.
    """
    pipeline = PIPELINES.get(str(mapping(record.get("head")).get("task")))
    found = (_eval_result(result, pipeline) for result in result_rows(record))
    return [result for result in found if result is not None]


def _eval_result(result: Mapping[str, Any], pipeline: str | None) -> "EvalResult | None":
    from huggingface_hub import EvalResult

    task, metric, dataset = result.get("task"), result.get("metric"), mapping(result.get("dataset"))
    value = _finite(result.get("value"))
    is_named = all(isinstance(text, str) and _SLUG.fullmatch(text) for text in (task, metric))
    is_whole = not dataset.get("part") and result.get("stage") != BEFORE
    if not (is_named and is_whole and value is not None and card_text.is_hub_id(dataset.get("type"))):
        return None
    seed = result.get("seed")
    is_hubs = pipeline is None or task in PIPELINES.values()
    return EvalResult(
        task_type=str(task) if is_hubs else str(pipeline),
        task_name=None if is_hubs else str(task),
        dataset_type=str(dataset["type"]),
        dataset_name=code(dataset.get("name") or dataset["type"]),
        dataset_config=_said(dataset.get("config")),
        dataset_split=_said(dataset.get("split")),
        dataset_revision=_said(dataset.get("revision")),
        metric_type=str(metric),
        metric_value=round(value / 100, 8) if metric in PERCENTAGES else value,
        metric_name=f"{metric}, seed {seed}" if isinstance(seed, int) else None,
    )


def measured_value(value: object, metric: object) -> str:
    """Write a value of a metric.

    Args:
        value: Anything.
        metric: The metric's name.

    Returns:
        The number, with a percent sign if it is one; a dash for what is no number.
    """
    shown = number(value, 2)
    is_percentage = isinstance(metric, str) and metric in PERCENTAGES and shown != _NOTHING
    return f"{shown} %" if is_percentage else shown


def data_name(dataset: Mapping[str, Any]) -> str:
    """Name data so that the same can be found: a data set by id, config and commit, files by name and the start of their hash.

    Args:
        dataset: What a record says of it.

    Returns:
        Markdown.
    """
    named = dataset.get("type") or dataset.get("name")
    also = dataset.get("name") if dataset.get("name") != named else None
    parts = [span(part) for part in (named, also, dataset.get("config")) if part]
    kinds = {"at": dataset.get("revision"), "sha256": dataset.get("sha256")}
    hashes = [f"{kind} {span(_short(found))}" for kind, found in kinds.items() if found]
    return " ".join([", ".join(parts), *hashes[:1]]).strip() or _NOTHING


def data_part(dataset: Mapping[str, Any]) -> str:
    """Say which part of data was used.

    Args:
        dataset: What a record says of it.

    Returns:
        Markdown.
    """
    split, part = dataset.get("split"), dataset.get("part")
    return ", ".join([*([span(split)] if split else []), *([escape(part)] if part else [])]) or _NOTHING


def _short(found: object) -> object:
    return found[:_HASH_DIGITS] if isinstance(found, str) and _HASH.fullmatch(found) else found


def _interval(row: Mapping[str, Any]) -> str:
    ends: Sequence[Any] = items(row.get("interval"))
    if len(ends) != 2 or any(_finite(end) is None for end in ends):
        return _NOTHING
    return f"{number(ends[0], 2)} to {number(ends[1], 2)}"


def _finite(value: object) -> float | int | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number and isinstance(value, (int, float)) else None


def _said(text: object) -> str | None:
    return code(text) if text else None
