"""Tags of spans: check that they are BIO, tell the other schemes apart, and turn those that say the same into BIO."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modxfer.errors import DataError
from modxfer.training.data.tables import shorten

Tags = tuple[str, ...]
"""The tags of one row."""

_TAG = re.compile(r"O|[BIESLU]-\S.*")
_CHANGES = {"S": "B", "U": "B", "E": "I", "L": "I"}
_BEGINS = {"B", "S", "U"}
_GOES_ON = {"B", "I"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    prefixes: frozenset[str]
    loose: int
    first_loose: int
    needless: int


def looks_like_tag(text: str) -> bool:
    """Tell a tag of a span from other text.

    Args:
        text: Any text.

    Returns:
        Whether some scheme has such tags.
    """
    return _TAG.fullmatch(text) is not None


def as_bio(rows: Sequence[Tags], *, name: str, places: Sequence[str]) -> tuple[Sequence[Tags], tuple[str, ...]]:
    """Check tags, and make BIO of IOBES and BILOU.

    An `I-` that continues no span of its kind begins one, as `seqeval` has it; data sets have some, and a warning counts them.

    Args:
        rows: The tags of each row.
        name: The data, for messages.
        places: The place of each row, for messages.

    Returns:
        The tags, and warnings.

    Raises:
        DataError: a tag is none of a span, or they are of a scheme that says something else (IOB1).
    """
    _check_shape(rows, places)
    counts = _count(rows)
    if counts.prefixes & set(_CHANGES):
        return _convert(rows, counts, name=name, places=places)
    if counts.loose and not counts.needless:
        raise DataError(
            f"The tags of `{name}` are IOB1 and not BIO: {counts.loose} spans begin with `I-` "
            f"(first in {places[counts.first_loose]}), and `B-` is only where a span touches the one before.",
            do="Begin every span with `B-`.",
        )
    if not counts.loose:
        return rows, ()
    warning = (
        f"{counts.loose} tags of `{name}` are `I-` with no span of that kind before them "
        f"(first in {places[counts.first_loose]}); they begin a span, as seqeval has it."
    )
    return rows, (warning,)


def _check_shape(rows: Sequence[Tags], places: Sequence[str]) -> None:
    known: set[str] = set()
    for row, place in zip(rows, places, strict=True):
        for position, tag in enumerate(row, start=1):
            if tag in known:
                continue
            if not looks_like_tag(tag):
                hint = "; numbers need names, which the data does not declare" if tag.isdecimal() else ""
                raise DataError(
                    f"`{shorten(tag)}`, the tag of word {position} in {place}, is not BIO (`O`, `B-X` or `I-X`){hint}.",
                    do="Write the tags as BIO, or name another column with `--tags-column`.",
                )
            known.add(tag)


def _count(rows: Sequence[Tags]) -> _Counts:
    """Count `I-` that continue nothing, and `B-` that BIO needs and IOB1 does not."""
    loose = needless = 0
    first_loose = -1
    prefixes = {tag[0] for row in rows for tag in row}
    for number, row in enumerate(rows):
        for before, tag in zip(("O", *row), row, strict=False):
            touches = before != "O" and before[2:] == tag[2:]
            if tag[0] == "I" and not touches:
                loose += 1
                first_loose = number if first_loose < 0 else first_loose
            needless += tag[0] == "B" and not touches
    return _Counts(prefixes=frozenset(prefixes), loose=loose, first_loose=first_loose, needless=needless)


def _convert(
    rows: Sequence[Tags], counts: _Counts, *, name: str, places: Sequence[str]
) -> tuple[Sequence[Tags], tuple[str, ...]]:
    is_bilou = bool(counts.prefixes & {"L", "U"})
    scheme = "BILOU" if is_bilou else "IOBES"
    if is_bilou and counts.prefixes & {"E", "S"}:
        found = ", ".join(f"`{prefix}-`" for prefix in sorted(counts.prefixes - {"O"}))
        raise DataError(f"The tags of `{name}` mix IOBES and BILOU: they begin with {found}.", do="Write them as BIO.")
    for row, place in zip(rows, places, strict=True):
        for position, (before, tag) in enumerate(zip(("O", *row), (*row, "O"), strict=True)):
            is_open = before[0] in _GOES_ON
            continues = tag != "O" and tag[0] not in _BEGINS
            if is_open != continues or (is_open and before[2:] != tag[2:]):
                wrong = tag if position < len(row) else "the end"
                raise DataError(
                    f"The tags of `{name}` are {scheme}, and `{shorten(wrong)}` cannot follow `{shorten(before)}` "
                    f"(word {position + 1} in {place}).",
                    do="Put the tags right, or write them as BIO.",
                )
    changed = [tuple(_CHANGES.get(tag[0], tag[0]) + tag[1:] for tag in row) for row in rows]
    return changed, (f"The tags of `{name}` are {scheme}; they were turned into BIO, which says the same.",)
