"""No text from outside can break out of its place on a card, and a reader still sees what it says."""

import ast
import importlib
import itertools
import os
import re
import subprocess
import sys
import unicodedata
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import HFValidationError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modxfer.alignments.alignment_map import AlignmentMap, BaseRecord, CorpusRecord, SitePair
from modxfer.architectures import Site
from modxfer.registry.card_text import code, escape, is_hub_id, number, one_line
from modxfer.registry.cards import alignment_card, module_card
from tests.modules import SCORE, assignment_map, map_of
from tests.registry.cards import head_of, parse, python_blocks

NASTY = [
    "`", "``", "```", "~~~", "\n", "\r", "\u2028", "\x85", "---", "- ", "+ ", "* ", "1. ", "2) ", "# ", "> ", "    ", "\t",
    "|", "\\", "\\|", "<", ">", "<b>", "</td>", "<!--", "-->", "<script>alert(1)</script>", "&lt;", "&#60;", "[", "](",
    "[x](javascript:x)", "![", "[x]: http://e.com\n",
    "[x](y)", "![x](y)", "[x]: y\n", "evil&#46;com", "[^1]", "[ ] ", "http://", "https://evil.com/a", "<http://e.com>",
    "www.evil.com", "//e.com", "evil.com", "a@evil.com", "@me", "mailto:a@e.org", "*", "**", "_", "__", "~~", "=", "===",
    "$$", "{{", "}}", "{%", ":", ": ", "key: value", "!!python/object:x", "&a", "*a", "'", '"', "%", "\x1b[31m", "\x00",
    "\u202e", "\u2066", "\u200b", "\ufeff", "\ud800", "x", "é", "a b",
]  # fmt: skip
hostile = st.one_of(
    st.lists(st.sampled_from(NASTY), max_size=8).map("".join),
    st.text(max_size=30),
    st.tuples(st.text(max_size=9), st.sampled_from(NASTY), st.text(max_size=9)).map("".join),
)


def record_of(texts: list[str], *, format: str) -> dict[str, Any]:
    """Put texts wherever a record has one."""
    take = itertools.cycle(texts)

    def text() -> str:
        return "x" + next(take)  # never empty, for an empty text is left out

    base = {"revision": None, "fingerprint": text(), "model_type": text()}
    dataset = {key: text() for key in ("name", "type", "config", "split", "revision")}
    result = {"task": text(), "dataset": dataset, "metric": text(), "value": text(), "seed": text(), "ran": text()}
    return {
        "module": {"name": text(), "format": format, "method": text(), "revision": text(), "module_name": text()},
        "teacher": {"name": text(), **base, "revision": text()},
        "student": {"name": text(), **base},
        "layers": {"mode": text(), "map": {"s" + text(): [[[text(), text()]], [[0, text()]]]}},
        "alignment": {
            "source": text(),
            "aligner": text(),
            "mean_correlation": text(),
            "tokens": text(),
            "corpus": text(),
            "reason": text(),
            "published": {"repository": text(), "revision": text()},
            "scores": {"t" + text(): text()},
        },
        "tensors": {"converted": text()},
        "dropped": [next(take), next(take)],
        "approximated": [next(take)],
        "warnings": [text()],
        "versions": {"modxfer": next(take)},
        "licence": text(),
        "languages": ["en", text()],
        "datasets": ["a/b", text()],
        "head": {"task": "TOKEN_CLS", "labels": text()},
        "results": [
            result,
            {**result, "dataset": {**dataset, "type": "imdb"}, "task": "a", "metric": "b", "value": 1, "seed": 1},
        ],
    }


def alignment_of(texts: list[str]) -> AlignmentMap:
    """Put texts wherever an alignment map has one."""
    take = itertools.cycle(texts)

    def text() -> str:
        return "x" + next(take)

    point = SitePair.parse("final.output<-final.output").student.point
    pair = SitePair(Site("s" + text(), 0, point), Site("s" + text(), 1, point))
    return map_of(
        {pair: assignment_map(np.arange(3))},
        teacher=BaseRecord(name=text(), revision=text(), fingerprint=text(), model_type=text()),
        student=BaseRecord(name=text(), revision=text(), fingerprint=text(), model_type=text()),
        corpus=CorpusRecord(name=text(), revision=text(), fingerprint=text(), texts=1, tokens=2, matching=text()),
        aligner=text(),
        requested=text(),
        reason=text(),
        warnings=(next(take), text()),
        key=text(),
        scores={pair: SCORE},
    )


def check_harmless(card: str, plain: str) -> None:
    """Check that a card with texts from outside has the structure of the same card with plain ones."""
    found, expected = parse(card), parse(plain)
    assert found.blocks == expected.blocks
    assert found.links == expected.links
    assert found.kinds <= {"text", "code_inline", "softbreak", "em_open", "em_close", "link_open", "link_close"}
    assert found.found_by_renderers == []
    assert head_of(card).keys() == head_of(plain).keys()
    assert {char for char in card if unicodedata.category(char)[0] == "C"} == {"\n"}
    assert card.count("\n```") == plain.count("\n```")
    folder = re.compile(r'"\./[\w.-]+"', re.ASCII)  # a plain name of a folder is shown as it is
    assert [folder.sub("", block) for block in python_blocks(card)] == [folder.sub("", block) for block in python_blocks(plain)]
    assert str(ModelCard(card)) == card


def trained_record_of(texts: list[str], *, format: str, is_transfer: bool) -> dict[str, Any]:
    """Put texts wherever a record of a training has one, too."""
    take = itertools.cycle(texts)

    def text() -> str:
        return "x" + next(take)

    record = record_of(texts, format=format)
    data = {
        "type": text(),
        "name": text(),
        "config": text(),
        "split": text(),
        "revision": text(),
        "part": text(),
        "rows": text(),
    }
    files = {"name": text(), "sha256": text(), "rows": 3}
    training = {
        "task": text(),
        "init_module": {"name": text(), "revision": text(), "entry": text()},
        "options": {text(): text()},
        "settings": {key: text() for key in ("learning_rate", "schedule", "warmup", "batch_size", "seed", "max_tokens")},
        "data": {"train": data, "validation": files},
        "labels": [text(), next(take)],
        "languages": [text()],
        "fit": {key: text() for key in ("steps", "best_step", "best_value", "metric", "curve", "precision", "device")},
        "versions": {text(): text()},
    }
    measured = {**record["results"][0], "dataset": data, "interval": [text(), 1], "examples": text(), "stage": text()}
    head = {"task": "TOKEN_CLS", "labels": 2, "names": [text(), "y" + text()]}
    changes = {"training": training, "results": [*record["results"], measured], "head": head}
    return record | changes | ({} if is_transfer else {"teacher": {}})


@settings(max_examples=75)
@given(st.lists(hostile, min_size=1, max_size=12), st.sampled_from(["peft", "adapters"]), st.booleans())
def test_no_text_in_a_record_breaks_out_of_a_trained_modules_card(texts: list[str], format: str, is_transfer: bool) -> None:
    """As in those of modules that were only moved; a snippet has labels only if all are plain words."""
    labels = re.compile(r"^labels = \[.*\]\n|, id2label=dict\(enumerate\(labels\)\)", re.MULTILINE)
    plain, card = (
        labels.sub("", module_card(trained_record_of(each, format=format, is_transfer=is_transfer))) for each in (["y"], texts)
    )
    check_harmless(card, plain)
    for block in python_blocks(card):
        ast.parse(block)


@settings(max_examples=150)
@given(st.lists(hostile, min_size=1, max_size=12), st.sampled_from(["peft", "adapters", "<b>"]))
def test_no_text_in_a_record_breaks_out_of_a_module_card(texts: list[str], format: str) -> None:
    """Whatever the texts, the blocks, links, code blocks and keys of the head are those of plain texts."""
    plain = module_card(record_of(["y"], format=format))
    card = module_card(record_of(texts, format=format))
    check_harmless(card, plain)
    head, expected = head_of(card), head_of(plain)
    assert head["tags"][0] == "modxfer"
    assert all(re.fullmatch(r"[\w.:/+-]+", tag) for tag in head["tags"])
    assert all(re.fullmatch(r"[a-z]{2,3}(-\w+)*", language) for language in head["language"])
    assert head["model-index"][0]["results"][0]["metrics"] == expected["model-index"][0]["results"][0]["metrics"]


@settings(max_examples=100)
@given(st.lists(hostile, min_size=1, max_size=12))
def test_no_text_in_a_map_breaks_out_of_an_alignment_card(texts: list[str]) -> None:
    """The same for the card of an alignment map."""
    check_harmless(alignment_card(alignment_of(texts), tags=texts), alignment_card(alignment_of(["y"])))


@settings(max_examples=300)
@given(hostile, st.sampled_from(["{}", "* {}", "# {}", "| a |\n| --- |\n| {} |", "word {} word", "**{}**"]))
def test_escaped_text_is_text_wherever_it_stands(text: str, place: str) -> None:
    """At the start of a line, in a list, a heading or a cell, escaped text is what was put in, as text or code."""
    head = "---\na: 1\n---\n\n"
    found = parse(head + place.format(escape("x" + text) if place == "**{}**" else escape(text)))
    plain = parse(head + place.format("y" if one_line(text) or place == "**{}**" else ""))
    assert found.blocks == plain.blocks
    assert found.links == []
    assert found.found_by_renderers == []
    assert found.kinds <= {"text", "code_inline", "strong_open", "strong_close"}


@given(hostile)
def test_code_is_one_span(text: str) -> None:
    """Between two backticks, code is one code span that shows the text, in a paragraph and in a table."""
    shown = code(text)
    assert parse(f"---\na: 1\n---\n`{shown}`").codes == [shown]
    assert parse(f"---\na: 1\n---\n| a | b |\n| --- | --- |\n| `{shown}` | `{shown}` |").codes == [shown, shown]


@example("&lt;b&gt;&amp;")
@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z"], exclude_characters="`|"), min_size=1, max_size=50))
def test_escape_keeps_what_is_said(text: str) -> None:
    """A reader sees every character that can be seen."""
    assert parse(f"---\na: 1\n---\n{escape(text)}").shown == text


def test_escape_shows_what_our_sentences_have_in_backticks_as_code() -> None:
    """Names in our own warnings stay code; a backtick without a partner is a mark."""
    assert escape("The layer map `skip` does not use *them*") == "The layer map `skip` does not use &#42;them&#42;"
    assert escape("a.com`b`c.com") == "`a.com` `b` `c.com`"
    assert escape("it`s") == "it&#96;s"
    assert escape("evil``.com") == "`evil''.com`"
    assert escape("evil` `.com") == "evil&#96; `'.com`"
    assert escape("see https://evil.com now") == "see `https://evil.com` now"
    assert escape("most at (final.output<-final.output: 3), said.") == "most at (`final.output<-final.output`: 3), said."
    assert escape("1. first") == "1&#46; first"
    assert escape("0.1.0") == "0.1.0"


def test_texts_are_cut() -> None:
    """A text without end does not make a card without end."""
    assert len(one_line("x" * 10**6)) == 2000
    assert len(code("x" * 10**6)) == 200
    assert code("\u202e") == "?"


@given(st.from_regex(r"[\w.-]{1,6}(/[\w.-]{1,6}(/a)?)?(\.git)?\n?", fullmatch=True))
def test_is_hub_id_is_as_strict_as_the_library(name: str) -> None:
    """What we take for a Hub id, `huggingface_hub` does too; what it takes beyond that is not ASCII or has a line break."""
    validate = importlib.import_module("huggingface_hub.utils").validate_repo_id
    try:
        validate(name)
        taken = True
    except HFValidationError:
        taken = False
    assert is_hub_id(name) == (taken and name.isascii() and "\n" not in name)


def test_hub_url_gives_away_no_password() -> None:
    """The address of the Hub is the one in use, without what its setting may hold before the @."""
    program = "from modxfer.registry.card_text import hub_url; print(hub_url('a/b', revision='c0ffee'))"
    environment = os.environ | {"HF_ENDPOINT": "http://me:hf_secret@127.0.0.1:8080/hub)"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "http://127.0.0.1:8080/hub%29/a/b/tree/c0ffee\n"


@pytest.mark.parametrize(
    ("value", "shown"), [(1234, "1,234"), (0.12345, "0.123"), (float("inf"), "–"), (True, "–"), ("1", "–"), (None, "–")]
)
def test_number(value: object, shown: str) -> None:
    """What is no number is not shown as one."""
    assert number(value) == shown
