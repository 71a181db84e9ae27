"""Tags of spans: BIO passes, IOBES and BILOU become it, and everything else is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from modxfer.errors import DataError
from modxfer.training.data.bio import Tags, as_bio

SPANS = st.lists(st.tuples(st.sampled_from(["PER", "B-ROLE", "O"]), st.integers(1, 4), st.integers(0, 2)), max_size=5)


def _write(spans: list[tuple[str, int, int]], scheme: str) -> Tags:
    """Write spans, given as kind, length and words after it, in a scheme."""
    begin, inside, end, single = list({"BIO": "BIIB", "IOBES": "BIES", "BILOU": "BILU"}[scheme])
    tags: list[str] = []
    for kind, length, gap in spans:
        marks = single if length == 1 else begin + inside * (length - 2) + end
        tags += [f"{mark}-{kind}" for mark in marks] + ["O"] * gap
    return tuple(tags or ["O"])


def _places(rows: object) -> list[str]:
    return [f"line {number} of `t`" for number in range(1, 1 + len(rows))]  # type: ignore[arg-type] # any sequence


@given(rows=st.lists(SPANS, min_size=1, max_size=4), scheme=st.sampled_from(["IOBES", "BILOU"]))
def test_as_bio_keeps_every_span_of_iobes_and_bilou(rows: list[list[tuple[str, int, int]]], scheme: str) -> None:
    """The tags that it gives are those that BIO has for the same spans, and seqeval finds these."""
    wanted = [_write(spans, "BIO") for spans in rows]
    written = [_write(spans, scheme) for spans in rows]
    found, warnings = as_bio(written, name="t", places=_places(written))
    assert list(found) == wanted
    assert [get_entities(list(tags)) for tags in found] == [get_entities(list(tags)) for tags in wanted]
    needs_change = any(tag[0] in "ESLU" for tags in written for tag in tags)
    assert [scheme in warning for warning in warnings] == [True] * needs_change


def test_as_bio_takes_bio_as_it_is_and_counts_loose_tags() -> None:
    """An `I-` that continues nothing stays, and is told of with its number and the first place."""
    rows = [("B-X", "I-X", "O", "B-X", "B-X"), ("O", "I-X"), ("B-X", "I-Y")]
    assert as_bio(rows[:1], name="t", places=_places(rows[:1])) == (rows[:1], ())
    found, warnings = as_bio(rows, name="t", places=_places(rows))
    assert found == rows
    assert len(warnings) == 1
    assert warnings[0].startswith("2 tags of `t` are `I-` with no span of that kind before them (first in line 2 of `t`)")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("I-X", "I-X", "B-X", "O")], r"are IOB1 and not BIO: 1 spans begin with `I-` \(first in line 1"),
        ([("O",), ("I-X", "O")], r"are IOB1 .*first in line 2"),
        ([("O", "PER")], r"`PER`, the tag of word 2 in line 1 of `t`, is not BIO"),
        ([("O", "B-")], r"`B-`, the tag of word 2"),
        ([("0", "3")], r"`0`.*numbers need names, which the data does not declare"),
        ([("B-X", "E-X", "L-X")], r"mix IOBES and BILOU: they begin with `B-`, `E-`, `L-`"),
        ([("O",), ("B-X", "O", "S-X")], r"are IOBES, and `O` cannot follow `B-X` \(word 2 in line 2"),
        ([("S-X", "I-X", "E-X")], r"are IOBES, and `I-X` cannot follow `S-X` \(word 2 in line 1"),
        ([("U-X", "B-X", "I-Y", "L-Y")], r"are BILOU, and `I-Y` cannot follow `B-X` \(word 3"),
        ([("S-X", "B-X")], r"are IOBES, and `the end` cannot follow `B-X` \(word 3"),
    ],
)
def test_as_bio_names_what_is_not_bio(rows: list[Tags], message: str) -> None:
    """The scheme or the tag is named, with its place."""
    with pytest.raises(DataError, match=message):
        as_bio(rows, name="t", places=_places(rows))
