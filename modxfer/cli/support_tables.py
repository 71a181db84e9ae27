"""Tables of what can be moved."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from modxfer.cli.tables import grid
from modxfer.converters.support import Cell, Verdict
from modxfer.converters.support_page import lines


def support_tables(cells: Sequence[Cell]) -> Iterator[RenderableType]:
    """Show a part of the support table: one family's cells, or each method's families.

    Args:
        cells: The cells, method after method.

    Yields:
        The table, and what its words mean.
    """
    if len({cell.family for cell in cells}) == 1:
        table = grid("method", "format", "", "")
        for cell in cells:
            table.add_row(cell.sample.method, cell.sample.format, str(cell.verdict), Text(cell.why))
    else:
        table = grid("method", "format", *(str(verdict) for verdict in Verdict))
        for line in lines(cells):
            families = (line.families.get(verdict, "") for verdict in Verdict)
            table.add_row(line.sample.method, line.sample.format, *families)
    yield table
    yield ""
    yield Text("exact: on a permuted student the module computes what it did on the teacher. `--family NAME` says why not.")
