"""Tables that several commands print; all fit 80 columns."""

from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from modxfer.alignments.alignment_map import AlignmentMap, SitePair, SiteScore

TABLE_WIDTH = 80


def facts(values: Mapping[str, str]) -> Table:
    """Show facts, one a line.

    Args:
        values: What it is to what it is like; facts without text are left out.

    Returns:
        The table.
    """
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        if value:
            table.add_row(Text(name), Text(value))
    return table


def grid(*titles: str, right: Sequence[str] = ()) -> Table:
    """Make an empty table.

    Args:
        *titles: Titles of its columns.
        right: Those whose cells stand on the right.

    Returns:
        The table.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for title in titles:
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    return table


def score_tables(alignment: AlignmentMap) -> Iterator[RenderableType]:
    """Show how well each site fits: layers down, sites across, as many tables as 80 columns need.

    Args:
        alignment: The map.

    Yields:
        The tables, and what their numbers are.
    """
    layers = [(title, pairs) for title, pairs in alignment.layers()]
    points = list(dict.fromkeys(str(pair.student.point) for _, pairs in layers for pair, _ in pairs))
    has_chance = any(score.chance is not None for score in alignment.scores.values())
    first = max((len(title) for title, _ in layers), default=0)
    for shown in _pages(points, room=TABLE_WIDTH - first, cell=11 if has_chance else 5):
        table = grid("layer", *(_heading(point) for point in shown), right=[_heading(point) for point in shown])
        for title, pairs in layers:
            cells = {str(pair.student.point): _cell(score) for pair, score in pairs}
            if cells.keys() & set(shown):
                table.add_row(title, *(cells.get(point, "") for point in shown))
        yield ""
        yield table
    yield ""
    note = "Mean correlation of each student unit with the teacher unit that serves it"
    yield Text(f"{note}{' (in brackets: by chance)' if has_chance else ''}; layers: student <- teacher.")


def layer_means(alignment: AlignmentMap) -> dict[str, float]:
    """Average the scores of each layer's sites.

    Args:
        alignment: The map.

    Returns:
        Layer (student <- teacher, or a site's own name) to the mean matched correlation.
    """
    return {title: _mean(pairs) for title, pairs in alignment.layers()}


def _mean(pairs: Sequence[tuple[SitePair, SiteScore]]) -> float:
    return sum(score.mean_correlation for _, score in pairs) / len(pairs)


def _pages(points: Sequence[str], *, room: int, cell: int) -> Iterator[list[str]]:
    """Split columns into tables that are narrow enough."""
    page: list[str] = []
    used = 0
    for point in points:
        width = 2 + max(cell, *(len(line) for line in _heading(point).split("\n")))
        if page and used + width > room:
            yield page
            page, used = [], 0
        page.append(point)
        used += width
    if page:
        yield page


def _heading(point: str) -> str:
    """Break a site's name into short lines."""
    role, _, side = point.rpartition(".")
    return "\n".join([*role.split("_"), side])


def _cell(score: SiteScore) -> str:
    chance = "" if score.chance is None else f" ({score.chance:.2f})"
    return f"{score.mean_correlation:.2f}{chance}"
