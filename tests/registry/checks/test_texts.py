"""Hostile texts: in whatever field one stands, it is reported at its place, and none gets into a message as it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modxfer.registry.checks.run import check
from modxfer.registry.checks.texts import check_texts, is_unseen
from modxfer.registry.entries.models import FOLDERS, SETTINGS, Settings
from modxfer.registry.entries.reading import ReadFile, read_file
from tests.entries import alignment_entry, as_yaml, make_registry, transferred_entry

HOSTILE = {
    "markup": [
        "<script>alert(1)</script>",
        "a <img src=x onerror=alert(1)",
        "<!-- -->",
        "</td>",
        "<?php ?>",
        "<https://example.com>",
        "&lt;script&gt;",
        "&#60;b&#62;",
        "&#x3C;b",
        "[click](javascript:alert(1))",
        "![x](https://example.com/x.png)",
        "[a][b]",
        "text\n[b]: https://example.com",
    ],
    "control-characters": [
        "a \x1b[31m red",
        "bell \a",
        "nul \x00 byte",
        "over\rwritten",
        "a\tb",
        "right \u202e to left",
        "zero\u200bwidth",
        "\ufeffmark",
        "isolate \u2066 d",
        "tag \U000e0041",
        "line\u2028two",
        "private \ue000",
        "filler \u3164",
        "variation \U000e0100",
        "next\x85line",
    ],
    "formula": [
        "=1+1",
        "=cmd|' /C calc'!A0",
        "+1-1",
        "-1+1",
        "- one line",
        "@SUM(A1)",
        "  =1",
        "\N{FULLWIDTH EQUALS SIGN}1",
        "=1\nand more",
    ],
}
HARMLESS = [
    "a < b and b > c",
    "p<0.05",
    "AT&T, R&D",
    "a && b; c",
    "encoder 0 <- 1",
    "C++ (mostly) = good",
    "e-mail: a@example.com",
    "see [1] and (2)",
    "**bold** `code` #tag | bar",
    "- one\n- two\n",
    "two\n\nparagraphs\n",
    "日本語, Ελληνικά, العربية, हिन्दी",
    "naïve é \N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16} \N{GRINNING FACE}",
    "no-break\N{NO-BREAK SPACE}space",
    "100 %, 5 – 7, “quoted”",
]


def quoted(text: str) -> str:
    """Write a text in YAML so that the reader gives the same one."""
    return '"' + "".join(char if char.isalnum() and char.isascii() else _escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    return f"\\U{ord(char):08x}" if ord(char) > 0xFF else f"\\x{ord(char):02x}"


def rules(value: str, *, path: str = SETTINGS, before: str = "format_version: 1\ntitle: A\ndescription: ") -> set[str]:
    """Say which rules on texts a value breaks."""
    return {problem.rule for problem in check_texts(read_file(path, f"{before}{value}\n".encode()))}


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in HOSTILE.items() for text in texts])
def test_hostile_texts_are_reported(rule: str, text: str) -> None:
    """Each breaks its rule, also where YAML's escapes hide it."""
    assert rule in rules(quoted(text))


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_texts_are_not(text: str) -> None:
    """Comparisons, ampersands, brackets, lists, other scripts and emoji are plain text."""
    assert rules(quoted(text)) == set()


@pytest.mark.parametrize("char", ["\u202e", "\u200b", "\x7f", "\u2066", "\u00ad"])
def test_comments_are_looked_at_too(char: str) -> None:
    """A reviewer reads comments: what cannot be seen is reported there at the character itself, once for each."""
    content = f"format_version: 1\ntitle: A # note {char}{char}\n".encode()
    found = list(check_texts(read_file(SETTINGS, content)))
    assert [(problem.rule, problem.place.line, problem.place.column) for problem in found] == [
        ("control-characters", 2, 17),
        ("control-characters", 2, 18),
    ]


def test_a_file_that_is_no_yaml_is_looked_at_too() -> None:
    """Characters that YAML refuses are all reported, not the first one only."""
    found = list(check_texts(read_file(SETTINGS, b"title: \x1b[1m\n# \x07\n")))
    assert [(problem.place.line, problem.place.column) for problem in found] == [(1, 8), (2, 3)]


def _spread(value: Any, text: str) -> Iterator[Any]:
    """Give a mapping of a file again and again, each time with another text replaced: values and keys."""
    for key, item in value.items():
        for changed in _changes(item, text):
            yield {**value, key: changed}
        yield {text if old == key else old: kept for old, kept in value.items()}


def _changes(item: Any, text: str) -> Iterator[Any]:
    if isinstance(item, dict):
        yield from _spread(item, text)
    elif isinstance(item, list):
        for index, inner in enumerate(item):
            for changed in _changes(inner, text):
                yield [*item[:index], changed, *item[index + 1 :]]
    else:
        yield text


def _whole(schema: Any, node: Any) -> Any:
    """Make a value with every field that a JSON Schema knows, so that a new field is covered by itself."""
    if "$ref" in node:
        return _whole(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    for alternatives in ("anyOf", "oneOf"):
        if alternatives in node:
            wholes = [_whole(schema, option) for option in node[alternatives] if option.get("type") != "null"]
            return next((whole for whole in wholes if isinstance(whole, dict)), wholes[0])
    if "properties" in node:
        return {name: _whole(schema, inner) for name, inner in node["properties"].items()}
    if node.get("type") == "object":
        return {"key": _whole(schema, node.get("additionalProperties") or {"type": "string"})}
    if node.get("type") == "array":
        return [_whole(schema, node.get("items") or {"type": "string"})]
    return "text"


MODELS = {SETTINGS: Settings, **{f"{folder}/acme.yaml": model for folder, model in FOLDERS.items()}}


@pytest.mark.parametrize("path", MODELS)
def test_no_field_can_hide_a_hostile_text(path: str) -> None:
    """In every field and key of every kind of file: all three rules are broken, and messages are plain."""
    text = "=1 \x1b[31m <script>alert(1)</script> \u202e `|`"
    schema = MODELS[path].model_json_schema()
    variants = list(_spread(_whole(schema, schema), text))
    assert len(variants) > 3
    for variant in variants:
        read = read_file(path, as_yaml(variant).encode())
        found = list(check_texts(read))
        assert {problem.rule for problem in found} == set(HOSTILE), variant
        assert_plain(read, *(problem.what + problem.do + problem.path for problem in found))


def assert_plain(read: ReadFile, *texts: str) -> None:
    """Fail if a message could move a cursor, reverse text, or break out of its backticks."""
    for text in (*texts, *(problem.what + problem.do for problem in read.problems)):
        assert text.isprintable(), text
        assert text.count("`") % 2 == 0, text


@pytest.mark.parametrize("path", ["modules/acme/ner-small.yaml", "alignments/acme/bert-to-student.yaml"])
def test_hostile_entries_are_reported_and_nothing_breaks(path: str, tmp_path: Path) -> None:
    """In each field of a real entry in turn: the whole check reports it as an error, in plain messages."""
    entry = transferred_entry() if path.startswith("modules") else alignment_entry()
    text = "=\x1b]0;x\a<img src=x>`\n"
    files: dict[str, str | bytes] = {
        f"{path.partition('/')[0]}/acme/n{number}.yaml": as_yaml(variant) for number, variant in enumerate(_spread(entry, text))
    }
    report = check(make_registry(tmp_path, **files))
    hostile = {problem.path for problem in report.problems if problem.rule == "markup"}
    assert hostile == set(files)
    for problem in report.problems:
        assert (problem.path + problem.what + problem.do).isprintable()


@given(st.text(max_size=60))
def test_the_quick_look_and_the_slow_one_agree(text: str) -> None:
    """Whatever a text holds: a character that cannot be seen is reported exactly where there is one."""
    has_unseen = any(is_unseen(char) for char in text if char != "\n")
    assert ("control-characters" in rules(quoted(text))) == has_unseen
