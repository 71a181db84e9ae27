"""The plot of an alignment map: how well each site fits, and how the units' correlations are spread."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.errors import DependencyError, OutputError, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")
_INK, _SOFT, _BAR, _ACCENT = "#1f2933", "#7b8794", "#3b6fb6", "#c8553d"
_COLORMAP = "YlGnBu"


def draw_scores(alignment: AlignmentMap, path: Path, *, force: bool = False) -> None:
    """Draw an alignment map's scores into a file.

    Args:
        alignment: The map.
        path: The file; its suffix says of which kind.
        force: Replace a file that exists.

    Raises:
        UsageError: the suffix is of no known kind.
        OutputError: the file exists, or cannot be written.
        DependencyError: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"`{path}` has the suffix `{path.suffix}`, and plots are {', '.join(SUFFIXES)}.",
            do="Name such a file with `--plot`.",
        )
    if path.exists() and not force:
        raise OutputError(f"`{path}` exists.", do="Name another file with `--plot`, or replace it with `--force`.")
    figure = make_figure(alignment)
    try:
        _save(figure, path)
    except OSError as error:
        raise OutputError(
            f"Cannot write `{path}`: {error.strerror or error}.", do="Name another file with `--plot`."
        ) from error


def make_figure(alignment: AlignmentMap) -> "Figure":
    """Draw an alignment map's scores.

    Args:
        alignment: The map.

    Returns:
        A heat map of layer by site, and the histogram of all units' correlations.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError(
            "Plots need matplotlib, which is not installed.", do="Install it: pip install 'modxfer[plot]'."
        ) from error
    layers, points, scores = score_grid(alignment)
    width = 5.2 + max(2.4, 0.78 * len(points)) + 4.2
    figure = Figure(figsize=(width, max(3.9, 1.9 + 0.34 * len(layers))), dpi=150, layout="constrained")
    ratios = [max(2.4, 0.78 * len(points)) + 2.2, 4.2]
    left, right = figure.subplots(1, 2, width_ratios=ratios)
    _draw_heat_map(left, layers, points, scores)
    _draw_histogram(right, alignment)
    names = f"{alignment.teacher.name} → {alignment.student.name}"
    figure.suptitle(names, x=0.01, ha="left", fontsize=13, fontweight="bold", color=_INK)
    corpus = alignment.corpus
    figure.supxlabel(
        f"{alignment.aligner}, {corpus.tokens:,} matched tokens of {corpus.name}, map {alignment.key[:12]}",
        x=0.01, ha="left", fontsize=8, color=_SOFT,
    )  # fmt: skip
    return figure


def score_grid(alignment: AlignmentMap) -> tuple[list[str], list[str], Float[np.ndarray, "layers sites"]]:
    """Arrange the scores by layer and site.

    Args:
        alignment: The map.

    Returns:
        Names of the layers and of the sites, and their mean matched correlations, float64; NaN where there is none.
    """
    rows = [(title, _by_point(pairs)) for title, pairs in alignment.layers()]
    points = list(dict.fromkeys(point for _, row in rows for point in row))
    grid = [[row.get(point, np.nan) for point in points] for _, row in rows]
    return [title for title, _ in rows], points, np.array(grid, dtype=np.float64)


def _by_point(pairs: list[Any]) -> Mapping[str, float]:
    return {str(pair.student.point): score.mean_correlation for pair, score in pairs}


def _draw_heat_map(axes: "Axes", layers: list[str], points: list[str], scores: Float[np.ndarray, "layers sites"]) -> None:
    image = axes.imshow(scores, cmap=_COLORMAP, vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(range(len(points)), [_tick(point) for point in points], fontsize=8)
    axes.set_yticks(range(len(layers)), layers, fontsize=8)
    axes.set_title("Mean matched correlation", loc="left", fontsize=10, color=_INK)
    axes.tick_params(length=0, colors=_INK)
    axes.spines[:].set_visible(False)
    axes.set_facecolor("#eef1f4")
    axes.set_xticks(np.arange(len(points) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(layers) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    for row, column in np.argwhere(np.isfinite(scores)):
        value = scores[row, column]
        color = "white" if value > 0.55 else _INK
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7.5, color=color)
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.035, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, colors=_INK)


def _draw_histogram(axes: "Axes", alignment: AlignmentMap) -> None:
    units = np.concatenate([alignment.maps[pair].correlation for pair in alignment.scores])
    values = units[units != 0.0]  # 0 is that of a unit without a partner, or that never varies
    left_out = len(units) - len(values)
    axes.hist(
        values,
        bins=np.linspace(min(0.0, float(values.min(initial=0.0))), 1.0, 41).tolist(),
        color=_BAR,
        edgecolor="white",
        linewidth=0.4,
    )
    mean = alignment.mean_correlation
    axes.axvline(mean, color=_ACCENT, linewidth=1.6, label=f"mean {mean:.2f}")
    chances = [score.chance for score in alignment.scores.values() if score.chance is not None]
    if chances:
        chance = float(np.mean(chances))
        axes.axvline(chance, color=_SOFT, linewidth=1.6, linestyle="--", label=f"chance {chance:.2f}")
    without = f" ({left_out:,} have no partner)" if left_out else ""
    axes.set_title(f"{len(units):,} units of all sites{without}", loc="left", fontsize=10, color=_INK)
    axes.set_xlabel("correlation with the teacher unit that serves it", fontsize=8, color=_INK)
    axes.set_ylabel("student units", fontsize=8, color=_INK)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_SOFT)
    axes.legend(frameon=False, fontsize=8, labelcolor=_INK)
    axes.set_xlim(right=1.0)


def _tick(point: str) -> str:
    role, _, side = point.rpartition(".")
    return "\n".join([*role.split("_"), side])


def _save(figure: "Figure", path: Path) -> None:
    """Write the file beside its place, and put it there when it is whole."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix.lower(), dir=path.parent)
    os.close(descriptor)
    staging = Path(name)
    try:
        figure.savefig(staging, facecolor="white")
        umask = os.umask(0)
        os.umask(umask)
        staging.chmod(0o666 & ~umask)
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)
