"""A report as one HTML file that asks for nothing: style and pictures are in it, and its policy lets nothing else in."""

import base64
import hashlib
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

from modxfer.experiments.report.document import Document, Name, Text, joined, plain
from modxfer.registry.card_text import one_line

if TYPE_CHECKING:
    from jinja2 import Environment


def as_page(document: Document) -> str:
    """Write a report as HTML.

    Args:
        document: The report.

    Returns:
        The page.
    """
    style = (resources.files("modxfer.experiments.report") / "templates" / "report.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return _templates().get_template("report.html").render(document=document, style=style, policy=policy)


@lru_cache(maxsize=1)
def _templates() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("modxfer.experiments.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"pieces": _pieces, "plain": _plain, "kind": _kind, "base64": _base64}
    return environment


def _pieces(text: Text) -> list[tuple[str, str]]:
    """Take a text apart: our own words, and sentences and names from outside."""
    return [
        ("prose" if piece.is_prose else "name", one_line(piece.text) or "?") if isinstance(piece, Name) else ("own", piece)
        for piece in joined(text)
    ]


def _plain(text: Text) -> str:
    return one_line(plain(text))


def _kind(part: object) -> str:
    return type(part).__name__


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
