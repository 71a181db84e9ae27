"""Numbers and names as the tables, sentences and legends show them."""

import math
import re

from modxfer.experiments.report.blocks import Block, Variant
from modxfer.experiments.report.document import DASH, Name, Text, joined
from modxfer.experiments.report.statistics import DIGITS, Average, SignTest

_HARMLESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9,-]| (?=[A-Za-z0-9])){0,40}")
_QUOTED_PATH = re.compile(r"`(?:~?/[^`]*/|[A-Za-z]:\\[^`]*\\)([^`/\\]+)[/\\]?`")
_PATH = re.compile(r"(?<![\w.:/~-])(?:~?(?:/[^/\s`'\",:;]+)+|[A-Za-z]:(?:\\[^\\\s`'\",:;]+)+)[/\\]([^/\\\s`'\",:;]+)")
_METRICS = {"f1": "F1", "accuracy": "accuracy", "perplexity": "perplexity"}


def number(value: float | None, *, sign: bool = False) -> str:
    """Write a measured number.

    Args:
        value: The number; None for none.
        sign: Whether to write a plus.

    Returns:
        Two digits after the point, fewer for what is very large; a dash for none.
    """
    if value is None or not math.isfinite(value):
        return DASH
    shown = f"{value:+,.{DIGITS}f}" if sign else f"{value:,.{DIGITS}f}"
    if abs(value) >= 1e6:
        shown = f"{value:+.3g}" if sign else f"{value:.3g}"
    return shown.replace("-", "−") if float(shown.replace(",", "")) else shown.replace("-", "+" if sign else "")


def spread(average: Average | None, *, sign: bool = False) -> str:
    """Write a mean and its deviation over seeds.

    Args:
        average: The average.
        sign: Whether to write a plus.

    Returns:
        Such as 93.45 ± 0.20; without the second number where there is but one seed; a dash for none.
    """
    if average is None:
        return DASH
    mean = number(average.mean, sign=sign)
    return mean if average.deviation is None else f"{mean} ± {number(average.deviation)}"


def probability(value: float | None) -> str:
    """Write a p-value.

    Args:
        value: It; None for none.

    Returns:
        Two digits that count; a dash for none.
    """
    if value is None:
        return DASH
    return f"p = {value:.2g}" if value >= 0.001 else "p < 0.001"


def tally(test: SignTest) -> str:
    """Write a sign test.

    Args:
        test: It.

    Returns:
        Wins, ties and losses, and the p-value; a dash for no pairs.
    """
    if not test.pairs:
        return DASH
    return f"{test.wins} / {test.ties} / {test.losses} ({probability(test.p_value)})"


def rate(value: float) -> str:
    """Write a learning rate.

    Args:
        value: It.

    Returns:
        Few digits, as people write it.
    """
    return f"{value:g}".replace("e-0", "e-")


def count(number_of: int, noun: str) -> str:
    """Write a number of things.

    Args:
        number_of: How many.
        noun: What, in the singular.

    Returns:
        Both.
    """
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"


def word(text: str) -> str | Name:
    """Take a word from outside as our own where nothing in it can mean anything.

    Args:
        text: The word.

    Returns:
        It, or what the writers will escape.
    """
    return text if _HARMLESS.fullmatch(text) else Name(text)


def without_folders(text: str) -> str:
    """Take the folders out of paths in a message: a report is published, and they name machines and people.

    Args:
        text: The message.

    Returns:
        It, with the last part of each absolute path.
    """
    return _PATH.sub(r"…/\1", _QUOTED_PATH.sub(r"`…/\1`", text))


def metric_name(metric: str) -> str | Name:
    """Write the name of a metric.

    Args:
        metric: The name in rows.

    Returns:
        The name that tables show.
    """
    return _METRICS.get(metric) or word(metric)


def model_name(variant: Variant) -> Text:
    """Name a row of the tables as the paper does.

    Args:
        variant: The row.

    Returns:
        Its name, without aligner and head.
    """
    key = variant.key
    match key.kind:
        case "teacher":
            return "Teacher"
        case "default":
            return "Student (default init)"
        case "control":
            return joined("Control ", word(key.control), *([" ", _layers(key.layers)] if key.layers else []))
        case _:
            return joined("TM-Student ", _layers(key.layers) if key.layers else "")


def full_name(variant: Variant) -> Text:
    """Name a row so that nothing else in its table has the name.

    Args:
        variant: The row.

    Returns:
        Its name with aligner and head.
    """
    if variant.key.kind in ("teacher", "default"):
        return model_name(variant)
    aligner = [", ", word(variant.aligner)] if variant.key.aligner else []
    return joined(model_name(variant), *aligner, ", head kept" if variant.key.head == "kept" else ", new head")


def block_name(block: Block) -> Text:
    """Name a block.

    Args:
        block: The block.

    Returns:
        Pair, method and task.
    """
    return joined(pair_name(block), ", ", word(block.method), ", ", block.task)


def pair_name(block: Block) -> Text:
    """Name a pair.

    Args:
        block: A block of it.

    Returns:
        The pair and what it is: a matching pair, say.
    """
    return joined(word(block.pair), " (", word(block.relation), ")")


def _layers(layers: str) -> str | Name:
    shown = word(layers)
    return shown.upper() if isinstance(shown, str) else shown
