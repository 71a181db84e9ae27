"""What tests read out of a card: its metadata, its structure as a CommonMark parser sees it, and the Python that it shows."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from modxfer.registry.cards import python_blocks

__all__ = ["Parsed", "body_of", "head_of", "parse", "python_blocks"]

_FOUND_BY_RENDERERS = re.compile(r"[a-z][a-z0-9+.-]*://\S|//\w|www\.|mailto:\S|\w@\w|(^|\s)@\w|\S\.(com|org|net|io|рф)\b", re.I)
"""What renderers turn into links without any marks: URLs, bare domains, addresses, mentions."""


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """A card's body, parsed.

    Attributes:
        blocks: Its block tokens in order: kind and HTML tag.
        kinds: The kinds of its inline tokens.
        links: Where its links lead, in order.
        texts: Its texts outside of code.
        codes: Its code spans.
        shown: All that a reader sees of its paragraphs, lists and tables, texts and code in order.
        headings: Its headings.
    """

    blocks: list[tuple[str, str]]
    kinds: set[str]
    links: list[str]
    texts: list[str]
    codes: list[str]
    shown: str
    headings: list[str]

    @property
    def found_by_renderers(self) -> list[str]:
        """The texts outside of code that would become links by themselves."""
        return [text for text in self.texts if _FOUND_BY_RENDERERS.search(text)]


def head_of(card: str) -> dict[str, Any]:
    """Read a card's YAML head."""
    assert card.startswith("---\n")
    return dict(yaml.safe_load(card[4:].split("\n---\n", 1)[0]))


def body_of(card: str) -> str:
    """Give what follows a card's head."""
    return card.split("\n---\n", 1)[1]


def parse(card: str) -> Parsed:
    """Parse a card's body with HTML and the tables of the Hub."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(body_of(card))
    inline = [child for token in tokens for child in token.children or []]
    return Parsed(
        blocks=[(token.type, token.tag) for token in tokens],
        kinds={token.type for token in inline},
        links=[str(token.attrGet("href") or token.attrGet("src")) for token in inline if token.type in ("link_open", "image")],
        texts=list(_texts(tokens)),
        codes=[token.content for token in inline if token.type == "code_inline"],
        shown="".join(token.content for token in inline if token.type in ("text", "text_special", "code_inline")),
        headings=[after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"],
    )


def _texts(tokens: list[Token]) -> Iterator[str]:
    """Give runs of text, joined where only escapes or references part them; those in our own links are left out."""
    for token in tokens:
        run, depth = "", 0
        for child in token.children or []:
            depth += child.nesting if child.type.startswith("link") else 0
            if child.type in ("text", "text_special"):
                run += "" if depth else child.content
            else:
                yield run
                run = ""
        yield run
