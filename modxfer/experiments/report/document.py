"""What a report is made of, before it is markdown or HTML. Texts from outside stand apart, and the writers escape them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Name:
    """A text from outside: a name in a plan, a message, a hash.

    Attributes:
        text: The text.
        is_prose: Whether it is a sentence; else it is shown as code.
    """

    text: str
    is_prose: bool = False


Text = str | Name | tuple[str | Name, ...]
"""One text: our own words, which hold no mark that markdown knows, and texts from outside between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What stands in it.
        is_best: Whether it is the best of its column.
    """

    text: Text
    is_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows of a table that belong together.

    Attributes:
        title: What they are; empty if that needs no saying.
        rows: The rows, each with a cell for every column.
    """

    title: str
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        title: What it shows, for those who cannot see it.
        columns: Titles of its columns.
        texts: How many columns from the left hold texts; the others hold numbers.
        groups: Its rows.
    """

    title: str
    columns: Sequence[Text]
    texts: int
    groups: Sequence[Group]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture in a file beside the report.

    Attributes:
        file: The file's name.
        png: Its bytes.
        alternative: What it shows, in words.
        table: The same in numbers.
    """

    file: str
    png: bytes
    alternative: str
    table: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """A sentence or more.

    Attributes:
        text: The text.
        is_warning: Whether a reader must not miss it.
    """

    text: Text
    is_warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullets:
    """A list.

    Attributes:
        items: Its items.
    """

    items: Sequence[Text]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What was typed.

    Attributes:
        text: The command, from outside.
    """

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading inside a section.

    Attributes:
        text: The heading.
    """

    text: Text


Part = Table | Picture | Paragraph | Bullets | Command | Heading


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section.

    Attributes:
        title: Its title.
        parts: What it holds.
    """

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A report.

    Attributes:
        title: Its title.
        sections: Its sections.
    """

    title: Text
    sections: Sequence[Section]


def joined(*texts: Text) -> tuple[str | Name, ...]:
    """Put texts behind each other.

    Args:
        *texts: The texts.

    Returns:
        One text.
    """
    return tuple(piece for text in texts for piece in (text if isinstance(text, tuple) else (text,)))


def listed(texts: Sequence[Text], *, between: str = ", ") -> tuple[str | Name, ...]:
    """Put texts behind each other, with something between them.

    Args:
        texts: The texts.
        between: What stands between them.

    Returns:
        One text; a dash for none.
    """
    pieces: list[Text] = []
    for text in texts:
        pieces += [between, text] if pieces else [text]
    return joined(*pieces) if pieces else (DASH,)


def plain(text: Text) -> str:
    """Give a text as it is, for places that know no markup.

    Args:
        text: The text.

    Returns:
        Its pieces, one after the other.
    """
    return "".join(piece.text if isinstance(piece, Name) else piece for piece in joined(text))


DASH = "–"
"""What stands where there is no number."""
