"""How a module was trained, on its card."""

from collections.abc import Mapping
from typing import Any

from modxfer.registry.card_results import data_name, data_part, measured_value
from modxfer.registry.card_text import escape, items, mapping, named, number, span, table

TITLES = {
    "ner": "named entity recognition",
    "nli": "natural language inference",
    "pi": "paraphrase identification",
    "text-classification": "text classification",
    "causal-lm": "language modelling",
}
"""Name of a task to what it is, in words."""

_MANY_LABELS = 40


def training_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Take the part of a record that says how a module was trained.

    Args:
        record: What `transfer.json` holds.

    Returns:
        That part; empty for a module that was only moved.
    """
    return mapping(record.get("training"))


def is_transfer(record: Mapping[str, Any]) -> bool:
    """Say whether a module was moved from a teacher.

    Args:
        record: What `transfer.json` holds.

    Returns:
        Whether it was, be it trained since or not.
    """
    return not training_of(record) or bool(mapping(record.get("teacher")))


def task_name(record: Mapping[str, Any]) -> str:
    """Name the task that a module was trained for.

    Args:
        record: What `transfer.json` holds.

    Returns:
        Markdown: what it is in words, and its name.
    """
    task = training_of(record).get("task")
    title = TITLES.get(task) if isinstance(task, str) else None
    return f"{title} ({span(task)})" if title else span(task)


def trained_on(record: Mapping[str, Any]) -> str:
    """Name the data that a module was trained on.

    Args:
        record: What `transfer.json` holds.

    Returns:
        Markdown.
    """
    return data_name(mapping(mapping(training_of(record).get("data")).get("train")))


def began_as(record: Mapping[str, Any]) -> str:
    """Say what a training began with.

    Args:
        record: What `transfer.json` holds.

    Returns:
        A sentence, as markdown.
    """
    initial = mapping(training_of(record).get("init_module"))
    if not initial:
        return "It began at the usual initialisation of its method."
    name = named(initial.get("name"), initial.get("revision"))
    entry = f", the entry {span(initial['entry'])} of a registry" if initial.get("entry") else ""
    return f"It began as the module {name}{entry}{', which was moved here' if is_transfer(record) else ''}."


def training_lines(record: Mapping[str, Any]) -> list[str]:
    """Say how a module was trained: data, choice of the step, settings.

    Args:
        record: What `transfer.json` holds.

    Returns:
        Lines of markdown; none for a module that was only moved.
    """
    training = training_of(record)
    if not training:
        return []
    data, fit = mapping(training.get("data")), mapping(training.get("fit"))
    looks = [look for look in map(items, items(fit.get("curve"))) if look and look[0] != 0]  # the start is not chosen from
    value = measured_value(fit.get("best_value"), fit.get("metric"))
    return [
        f"* Task: {task_name(record)}",
        f"* {began_as(record)}",
        *(
            _data_line(title, mapping(data.get(split)))
            for split, title in (("train", "Trained on"), ("validation", "Chosen on"))
        ),
        *_labels(training.get("labels")),
        f"* How it was chosen: of {number(len(looks))} looks after training began at the data that it was chosen on, "
        f"the one with the best {escape(fit.get('metric'))}, {value}, at step {number(fit.get('best_step'))} of "
        f"{number(fit.get('steps'))}"
        f"{'; it stopped early, since nothing got better' if fit.get('stopped_early') is True else ''}",
        "",
        *table(["Setting", "Value"], _settings(training)),
    ]


def _data_line(title: str, data: Mapping[str, Any]) -> str:
    part = data_part(data)
    return f"* {title}: {data_name(data)}{'' if part == '–' else f', {part}'}, {number(data.get('rows'))} rows"


def _labels(found: object) -> list[str]:
    labels = items(found)
    more = f" and {len(labels) - _MANY_LABELS:,} more" if len(labels) > _MANY_LABELS else ""
    return [f"* Labels: {', '.join(map(span, labels[:_MANY_LABELS]))}{more}"] if labels else []


def _settings(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    settings, fit, options = (mapping(training.get(key)) for key in ("settings", "fit", "options"))
    pieces = f"{number(fit.get('micro_batch_size'))} × {number(fit.get('accumulation'))} × {number(fit.get('processes'))}"
    rows = {
        "Steps": number(fit.get("steps")),
        "Learning rate": f"{_short(settings.get('learning_rate'))}, {escape(settings.get('schedule'))}",
        "Warm-up": f"{_short(settings.get('warmup'))} of the steps",
        "Weight decay": _short(settings.get("weight_decay")),
        "Batch": f"{number(settings.get('batch_size'))} a step ({pieces}: at a time, times, processes)",
        "Tokens of an example": number(settings.get("max_tokens")),
        "Precision": f"{escape(fit.get('precision'))}, on {escape(fit.get('device'))}",
        "Seed": number(settings.get("seed")),
        "Parameters trained": f"{number(fit.get('trainable_parameters'))} of {number(fit.get('total_parameters'))}",
        "Options": ", ".join(f"{span(key)} {span(value)}" for key, value in options.items()),
        "Versions": ", ".join(f"{span(key)} {span(value)}" for key, value in mapping(training.get("versions")).items()),
    }
    return [(title, value) for title, value in rows.items() if value]


def _short(value: object) -> str:
    """Write a setting without digits that say nothing."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else "–"
