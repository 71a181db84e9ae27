"""What people see of a training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from modxfer.cli.tables import facts

if TYPE_CHECKING:
    from rich.table import Table

    from modxfer.training.evaluation import Evaluation
    from modxfer.training.train import Trained

_TITLES = {"start": "test, before training", "validation": "validation", "test": "test"}
"""What was measured to what it is called; in this order."""


def training_summary(trained: "Trained") -> "Table":
    """Say how a training went, and what was measured.

    Args:
        trained: The training.

    Returns:
        A table of facts.
    """
    fit, training = trained.fit, trained.record.get("training", {})
    settings = training.get("settings", {})
    ended = ", ended early: nothing got better" if fit.stopped_early else ""
    accumulated = f", {fit.accumulation} x {fit.micro_batch_size} a step" if fit.accumulation > 1 else ""
    return facts(
        {
            "module": f"{trained.record['module']['method']}, {trained.record['module']['format']} format",
            "base model": trained.record["student"]["name"],
            "begun with": _beginning(training),
            "data": _data(training.get("data", {})),
            "steps": f"{fit.steps:,}{ended}; the weights are those of step {fit.best_step:,}, the best on the validation split"
            f"{_start(trained)}",
            "rate, batch": f"{settings.get('learning_rate'):g}, {settings.get('batch_size')} examples{accumulated}",
            "ran on": f"{fit.device}, {fit.precision}, {fit.examples_per_second:.0f} examples a second",
            **{title: score_line(trained.evaluations[name]) for name, title in _TITLES.items() if name in trained.evaluations},
            "time": f"{trained.seconds:.1f} s",
        }
    )


def score_line(evaluation: "Evaluation") -> str:
    """Write the metrics of an evaluation on one line, the main one with its interval.

    Args:
        evaluation: The evaluation.

    Returns:
        The line.
    """
    main, *others = evaluation.metrics
    interval = evaluation.intervals[main]
    rest = "".join(f", {name} {evaluation.metrics[name]:.2f}" for name in others)
    return (
        f"{main} {evaluation.metrics[main]:.2f} (95 % interval {interval.low:.2f} to {interval.high:.2f}){rest}; "
        f"{evaluation.examples:,} examples"
    )


def _start(trained: "Trained") -> str:
    """Say so where training made nothing better: its start is looked at, and never taken."""
    from modxfer.training.tasks import find_task

    task, (step, start) = find_task(trained.record["training"]["task"]), trained.fit.curve[0]
    sign = 1 if task.is_higher_better else -1
    if step or sign * start <= sign * trained.fit.best_value:
        return ""
    return f" after the start (that was better: {task.metric} {start:.2f}, now {trained.fit.best_value:.2f})"


def _beginning(training: Mapping[str, object]) -> str:
    module = training.get("init_module")
    return str(module["name"]) if isinstance(module, Mapping) else "a new module"


def _data(splits: Mapping[str, Mapping[str, object]]) -> str:
    return "\n".join(
        f"{name}: {split.get('name')}{f', {part}' if (part := split.get('split') or split.get('part')) else ''}, "
        f"{split.get('rows'):,} rows"
        for name, split in splits.items()
    )
