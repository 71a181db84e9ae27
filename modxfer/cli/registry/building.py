"""What people read after a page was built."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType

from modxfer.cli.tables import facts

if TYPE_CHECKING:
    from modxfer.registry.site.build import Built

_MOST_NAMED = 10


def built_table(built: "Built") -> RenderableType:
    """Say what is on the page.

    Args:
        built: The page.

    Returns:
        A table of facts.
    """
    return facts({"modules": f"{built.modules:,}", "alignment maps": f"{built.alignments:,}", "files": f"{built.files:,}"})


def left_out_warnings(built: "Built") -> Iterator[str]:
    """Say what is not on the page.

    Args:
        built: The page.

    Yields:
        A sentence, if anything was left out.
    """
    if not built.left_out:
        return
    number = len(built.left_out)
    named = ", ".join(f"`{path}`" for path in built.left_out[:_MOST_NAMED])
    more = f" and {number - _MOST_NAMED:,} more" if number > _MOST_NAMED else ""
    has, it = ("file has", "is") if number == 1 else ("files have", "are")
    yield f"{number:,} {has} problems and {it} not on the page: {named}{more}. See them with `modxfer registry check`."
