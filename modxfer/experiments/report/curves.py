"""Learning curves as pictures: mean over seeds, and a band of one deviation."""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from modxfer.errors import DependencyError
from modxfer.experiments.report.blocks import Block, Variant, VariantKey
from modxfer.experiments.report.document import joined, plain
from modxfer.experiments.report.statistics import Point, mean_curve
from modxfer.experiments.report.wording import block_name, metric_name, model_name, word
from modxfer.registry.card_text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_INK, _SOFT, _GRID = "#1f2933", "#5f6b78", "#e3e7ec"
_PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's, which people with any colour vision can tell apart, without black and yellow."""
_DASHES = ("-", "-.", (0, (5, 1, 1, 1, 1, 1)))
_GREYS = ("#4b5563", "#8b95a1", "#b0803f")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_NAME = 60
_UNITS = {"f1": " (0 to 100)", "accuracy": " (%)"}


def check_matplotlib() -> None:
    """Make sure that pictures can be drawn, before any other work.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401  (only whether it is there)
    except ImportError as error:
        raise DependencyError(
            "Learning curves need matplotlib, which is not installed.", do="Install it: pip install 'modxfer[plot]'."
        ) from error


def draw_curves(block: Block) -> bytes | None:
    """Draw the learning curves of a block.

    Args:
        block: The block.

    Returns:
        A PNG: a panel for students with a new head and one for those with the teacher's, the default student in both. None if
        no cell has a curve.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    curves = [(variant, points) for variant in block.students if (points := mean_curve(variant.curves))]
    if not curves:
        return None
    check_matplotlib()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks: boxes will do
        stream = io.BytesIO()
        _draw(block, curves).savefig(stream, format="png", facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def _draw(block: Block, curves: Sequence[tuple[Variant, list[Point]]]) -> "Figure":
    from matplotlib.figure import Figure

    others = [variant for variant, _ in curves if variant.key.kind != "default"]
    heads = [head for head in ("new", "kept") if any(variant.key.head == head for variant in others)] or ["new"]
    figure = Figure(figsize=(1.6 + 4.2 * len(heads) if len(heads) > 1 else 7.2, 4.9), dpi=144, layout="constrained")
    panels = figure.subplots(1, len(heads), sharex=True, sharey=True, squeeze=False)[0]
    looks = _looks([variant for variant, _ in curves])
    shown: dict[str, Line2D] = {}
    for head, axes in zip(heads, panels, strict=True):
        for variant, points in curves:
            if variant.key.kind == "default" or variant.key.head == head:
                shown.setdefault(_label(variant), _draw_line(axes, points, looks[variant.key]))
        _dress(axes, block, title={"new": "New head", "kept": "Head kept"}[head] if len(heads) > 1 else "")
    panels[0].set_ylabel(_axis(block), fontsize=9, color=_INK, parse_math=False)
    title = one_line(plain(block_name(block)), limit=110 if len(heads) > 1 else 70)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=_INK, parse_math=False)
    legend = figure.legend(
        list(shown.values()), list(shown), loc="outside lower left", ncols=2 if len(heads) == 1 else 3,
        frameon=False, fontsize=8.5, labelcolor=_INK, handlelength=3.2,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _draw_line(axes: "Axes", points: list[Point], look: Mapping[str, object]) -> "Line2D":
    steps, means = [point.step for point in points], [point.average.mean for point in points]
    deviations = [point.average.deviation or 0.0 for point in points]
    if any(deviations):
        low = [mean - deviation for mean, deviation in zip(means, deviations, strict=True)]
        high = [mean + deviation for mean, deviation in zip(means, deviations, strict=True)]
        axes.fill_between(steps, low, high, color=str(look["color"]), alpha=0.12, linewidth=0)
    (line,) = axes.plot(steps, means, **look)  # type: ignore[arg-type]  # a look is what `plot` takes
    return line


def _dress(axes: "Axes", block: Block, *, title: str) -> None:
    if title:
        axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.set_xlabel("optimiser steps", fontsize=9, color=_INK)
    axes.set_xlim(left=0)
    if not block.is_higher_better:
        _scale_by_factors(axes)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=8.5, colors=_INK, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_SOFT)


def _scale_by_factors(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _axis(block: Block) -> str:
    lower = "" if block.is_higher_better else ", lower is better"
    return f"{plain(metric_name(block.metric))}{_UNITS.get(block.metric, '')}, validation split{lower}"


def _looks(variants: Sequence[Variant]) -> dict[VariantKey, dict[str, object]]:
    """Give each student its line: one colour for the same layers and aligner, whatever the head."""
    transfers = list(
        dict.fromkeys((variant.key.layers, variant.key.aligner) for variant in variants if variant.key.kind == "transferred")
    )
    controls = [variant.key for variant in variants if variant.key.kind == "control"]
    looks: dict[VariantKey, dict[str, object]] = {}
    for key in (variant.key for variant in variants):
        if key.kind == "default":
            looks[key] = {"color": "black", "linestyle": "--", "linewidth": 2.0, "zorder": 4}
        elif key in controls:
            index = controls.index(key)
            looks[key] = {
                "color": _GREYS[index % len(_GREYS)], "linestyle": ":", "linewidth": 1.4,
                "marker": _MARKERS[index % len(_MARKERS)], "markersize": 3.5, "zorder": 2,
            }  # fmt: skip
        else:
            index = transfers.index((key.layers, key.aligner))
            dashes = _DASHES[index // len(_PALETTE) % len(_DASHES)]
            looks[key] = {"color": _PALETTE[index % len(_PALETTE)], "linestyle": dashes, "linewidth": 1.8, "zorder": 3}
    return looks


def _label(variant: Variant) -> str:
    """Name a line; the head is not in it, as the panel says that."""
    aligner = [", ", word(variant.aligner)] if variant.key.aligner else []
    return one_line(plain(joined(model_name(variant), *aligner)), limit=_NAME)
