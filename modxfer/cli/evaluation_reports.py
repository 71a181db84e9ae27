"""What people see of a module that was measured; all tables fit 80 columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from modxfer.cli.tables import facts, grid

if TYPE_CHECKING:
    from modxfer.training.data.rows import SplitRecord
    from modxfer.training.evaluating import Evaluated
    from modxfer.training.evaluation import Evaluation, Scores
    from modxfer.training.significance import Comparison, Interval
    from modxfer.training.tasks import Task

_NAMES = {"f1": "F1", "macro_f1": "macro F1"}
"""Metric to what people call it, where that is something else."""


def about(evaluated: "Evaluated") -> RenderableType:
    """Say what was measured, on what and how fast.

    Args:
        evaluated: The measurement.

    Returns:
        A table of facts.
    """
    evaluation, speed = evaluated.evaluation, evaluated.evaluation.speed
    units = ", ".join(f"{count:,} {unit}" for unit, count in evaluation.units.items() if unit != "examples")
    return facts(
        {
            "module": evaluated.module,
            "base model": evaluated.base,
            "task": evaluated.task.title,
            "data": "\n".join(_source(record) for record, _ in evaluation.per_source),
            "examples": f"{evaluation.examples:,}{f': {units}' if units else ''}",
            "speed": f"{speed.examples_per_second:,.0f} examples and {speed.tokens_per_second:,.0f} tokens a second "
            f"({speed.device}, {speed.precision})",
            "written": f"the results are in `{evaluated.written}`" if evaluated.written else "",
        }
    )


def measured(evaluated: "Evaluated") -> Iterator[RenderableType]:
    """Show what was measured, and the comparison.

    Args:
        evaluated: The measurement.

    Yields:
        Tables, and one sentence.
    """
    evaluation = evaluated.evaluation
    yield _metric_table(evaluation)
    if evaluation.per_label:
        yield ""
        yield _label_table(evaluation.per_label)
    sources = [(_source(record), scores) for record, scores in evaluation.per_source]
    for title, scores in (("language", list(evaluation.per_language.items())), ("data", sources)):
        if len(scores) > 1:
            yield ""
            yield _score_table(title, scores, metric=evaluated.task.metric)
    if evaluated.comparison is not None and evaluated.other_evaluation is not None:
        yield ""
        yield Text(comparison_line(evaluated.comparison, evaluated.task, other=str(evaluated.other)))


def comparison_line(comparison: "Comparison", task: "Task", *, other: str) -> str:
    """Say how two modules differ: which is better, by how much, and how sure that is.

    Args:
        comparison: The comparison.
        task: The task, which says whether more is better.
        other: What the second one is called.

    Returns:
        One sentence.
    """
    ends = (comparison.low, comparison.high)
    gain = comparison.difference if task.is_higher_better else -comparison.difference
    # Both ends in the direction of the verdict, so that "worse by 2 (1 to 3)" reads as it is meant.
    low, high = ends if (comparison.difference >= 0) else (-ends[1], -ends[0])
    unit = "sentences" if task.kind == "tagging" else "examples"
    verdict = f"{'Better' if gain > 0 else 'Worse'} by {abs(gain):.2f} {name(comparison.metric)} than {other}"
    if gain == 0:
        verdict = f"The same {name(comparison.metric)} as {other}"
    return (
        f"{verdict} (95 % interval {low:.2f} to {high:.2f}), p = {comparison.p_value:.2g}, paired approximate randomisation "
        f"over {comparison.examples:,} {unit}."
    )


def name(metric: str) -> str:
    """Give what people call a metric.

    Args:
        metric: Its name in records.

    Returns:
        Its name in text.
    """
    return _NAMES.get(metric, metric)


def _metric_table(evaluation: "Evaluation") -> RenderableType:
    table = grid("metric", "value", "95 % interval", right=("value",))
    for metric, value in evaluation.metrics.items():
        table.add_row(name(metric), f"{value:.2f}", _between(evaluation.intervals[metric]))
    return table


def _label_table(labels: Mapping[str, Mapping[str, float]]) -> RenderableType:
    columns = ("precision", "recall", "f1", "support")
    table = grid("label", *map(name, columns), right=[name(column) for column in columns])
    for label, metrics in labels.items():
        values = (f"{metrics[column]:,.0f}" if column == "support" else f"{metrics[column]:.2f}" for column in columns)
        table.add_row(Text(label), *values)
    return table


def _source(record: "SplitRecord") -> str:
    return ", ".join(part for part in (record.name, record.split, record.part) if part)


def _score_table(title: str, scores: "Sequence[tuple[str, Scores]]", *, metric: str) -> RenderableType:
    table = grid(title, name(metric), "95 % interval", "examples", right=(name(metric), "examples"))
    for of, one in scores:
        table.add_row(Text(of), f"{one.metrics[metric]:.2f}", _between(one.intervals[metric]), f"{one.examples:,}")
    return table


def _between(interval: "Interval") -> str:
    return f"{interval.low:.2f} to {interval.high:.2f}"
