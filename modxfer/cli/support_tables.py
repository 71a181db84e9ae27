"""Tables of what can be moved."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from modxfer.architectures import FAMILIES
from modxfer.cli.tables import grid
from modxfer.converters.support import Cell, Verdict
from modxfer.converters.support_page import lines

_LONGEST = max(map(len, FAMILIES)) + 1
"""Width of a family's name with its comma, which stays on one line."""

_METHOD = 15
"""Width of methods, which leaves room for two such columns in 80."""


def support_tables(cells: Sequence[Cell]) -> Iterator[RenderableType]:
    """Show a part of the support table: one family's cells, or each method's families.

    Args:
        cells: The cells, method after method.

    Yields:
        The table, and what its words mean.
    """
    is_one = len({cell.family for cell in cells}) == 1
    if is_one:
        table = grid("method", "format", "verdict", "remark")
        for cell in cells:
            table.add_row(cell.sample.method, cell.sample.format, str(cell.verdict), Text(cell.why))
    else:
        table = grid("method", "format", *(str(verdict) for verdict in Verdict))
        table.columns[0].max_width = _METHOD
        for column, verdict in zip(table.columns[2:], Verdict, strict=True):
            column.min_width = _LONGEST if verdict is not Verdict.APPROXIMATE else None  # there it is "all but" few
        for line in lines(cells):
            families = (line.families.get(verdict, "") for verdict in Verdict)
            table.add_row(line.sample.method, line.sample.format, *families)
    yield table
    yield ""
    more = "" if is_one else " `--family NAME` says why not."
    yield Text(f"exact: on a permuted student the module computes what it did on the teacher.{more}")
