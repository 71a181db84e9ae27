"""Plain text out of cards: the words stay, and nothing that an entry must not hold."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modxfer.registry.adding.plain_text import first_heading, first_paragraph, is_plain, plain
from modxfer.registry.checks.texts import check_texts
from modxfer.registry.entries.reading import read_file
from tests.entries import as_yaml

PIECES = ["<b>", "</b>", "&lt;", "&amp;lt;", "[a](b)", "![i](j)", "[", "](", "]", "[x]:", "\\[", "=", "+", "-", "@", "\t", "`"]
PIECES += ["*", "_", "~~", "<!--", "-->", "\n", " ", "word", "\x1b[31m", "\u202e", "\ufe00", "\uff1d", "\\", "&#60;", "<", "a"]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map("".join))
@example("\\[a](b)")
@example("&amp;lt;script>")
@example("[[x]](y)(z)")
@example("[x]: word")
def test_plain_text_breaks_no_rule_of_texts(text: str) -> None:
    """Whatever stands on a card, what is left of it is right in an entry."""
    found = plain(text)
    read = read_file("modules/acme/ner.yaml", as_yaml({"title": found}).encode())
    assert read.document.value == {"title": found}
    assert list(check_texts(read)) == []


@pytest.mark.parametrize(("text", "holds"), [("acme/news (de)", True), ("a  b", False), ("<b>x</b>", False), ("=x", False)])
def test_is_plain_tells_what_can_be_repeated(text: str, holds: bool) -> None:
    """A name that would have to be changed is not taken as another one."""
    assert is_plain(text) is holds


@pytest.mark.parametrize(
    ("markdown", "words"),
    [
        ("**Bold**, *slanted*, `code` and ~~gone~~", "Bold, slanted, code and gone"),
        ("See [the *page*](https://example.org/a_b) ![badge](x.svg)", "See the page"),
        ("a snake_case_name and _this_", "a snake_case_name and this"),
        ("[`acme/ner`](https://x) &#95;x&#95; 3 &lt; 4", "acme/ner x 3 < 4"),
        ("p < 0.05 and 2 <- 1", "p < 0.05 and 2 <- 1"),
        ("= SUM(A1)", "SUM(A1)"),
        ("<a href='javascript:x'>click</a> here", "click here"),
        ("Model Card for Model ID", ""),
        ("[More Information Needed]", ""),
        ("--- **", ""),
    ],
)
def test_plain_keeps_the_words(markdown: str, words: str) -> None:
    """Marks go, words stay; what templates say is nothing."""
    assert plain(markdown) == words


CARD = """\
---
title: in the head
---
<!-- Provide a quick summary
# not this
-->
# Model Card for Model ID

```
# nor this
neither
```

![badge](x)

* a list
* of two

| a | table |
|---|---|

The title
=========
> a quotation

    some code

The first
paragraph.

The second.
"""


def test_the_first_heading_and_paragraph_are_found() -> None:
    """Metadata, comments, code, lists, tables, quotations, images and templates are passed over."""
    assert first_heading(CARD) == "The title"
    assert first_paragraph(CARD) == "The first paragraph."
    assert first_heading("no heading here") == ""
    assert first_paragraph("# Only a heading") == ""
    assert first_heading("## A *second* level ##\n") == "A second level"


def test_a_long_paragraph_is_cut() -> None:
    """An entry repeats no essays."""
    assert len(first_paragraph("word " * 5000)) <= 1000
