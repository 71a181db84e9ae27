"""The templates, and how they write values. Everything is escaped; nothing from an entry is ever marked as safe."""

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from modxfer.registry.entries.fields import check_address
from modxfer.registry.site.charts import format_number

if TYPE_CHECKING:
    from jinja2 import Environment

POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'"
"""What a browser may load for a page, and run: only the page's own two files."""


@lru_cache(maxsize=1)
def templates() -> "Environment":
    """Load the templates.

    Returns:
        The environment, with the filters that write numbers and addresses.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("modxfer.registry.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "address": address,
        "json": _as_json,
        "number": format_number,
        "size": human_size,
        "whole": _whole,
    }
    environment.globals["policy"] = POLICY
    return environment


def address(text: str | None) -> str:
    """Let an address become a link only if it may.

    Args:
        text: An address from an entry, checked before; None for none.

    Returns:
        It, checked again here, since this is where it would do harm; empty for any other text.
    """
    try:
        return "" if text is None else check_address(text)
    except ValueError:
        return ""


def human_size(size_bytes: int) -> str:
    """Write a size for people.

    Args:
        size_bytes: The size.

    Returns:
        Three digits or so, and the unit (1 kB is 1000 bytes).
    """
    size = float(size_bytes)
    if size < 1000:
        return f"{size_bytes} B"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.3g} {unit}"
    return f"{size / 1000:,.3g} TB"


def _whole(number: int) -> str:
    return f"{number:,}"


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
