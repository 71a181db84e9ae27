"""Long texts are cut into pieces between words."""

from modxfer.alignments.corpora.lines import split_long


def test_split_long_cuts_between_words() -> None:
    """Pieces of a long text are of a bounded length and hold all its words; a blank text has none."""
    texts = list(split_long("wort " * 100_000))
    assert max(map(len, texts)) <= 65_536
    assert " ".join(texts).split() == ["wort"] * 100_000
    assert "".join(split_long("雪" * 150_000)) == "雪" * 150_000
    assert list(split_long(" \n ")) == []
