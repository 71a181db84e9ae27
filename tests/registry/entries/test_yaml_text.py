"""Reading YAML of strangers: right values at right places, and whatever else a file holds is reported and nothing worse."""

import time
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modxfer.registry.entries.problems import Place
from modxfer.registry.entries.yaml_text import Document, Keys, read_yaml

PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], include_characters=" "), max_size=20)
NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False)
SCALARS = st.none() | st.booleans() | NUMBERS | PRINTABLE
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PRINTABLE, inner, max_size=4), max_leaves=12
)
DOCUMENTS = st.dictionaries(PRINTABLE, VALUES, max_size=5)


def rules(content: bytes) -> list[str]:
    """Say which faults a file has."""
    return [fault.rule for fault in read_yaml(content).faults]


def ways(value: Any, keys: Keys = ()) -> dict[Keys, Any]:
    """List the ways to all values."""
    found = {keys: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found |= ways(item, (*keys, key))
    return found


@given(st.binary(max_size=200) | st.text("[]{}:-,#&*!|>'\"%@` \n\tab1\x00\ufeff\u2028", max_size=60).map(str.encode))
@example(b"\xef\xbb\xbf\xff")
@example(b"? [a]\n: b")
@example(b"- &a [*a]")
@example(b"\xef\xbb\xbf a: \x01")
@example(b"<<: {a: b}")
@example(b"%YAML 1.1\n---\na: b")
@example(b"!!python/object/apply:os.system ['true']")
@example(b"")
def test_any_bytes_can_be_read(content: bytes) -> None:
    """Nothing that a file holds raises; places are in it, and messages are one line of plain text."""
    document = read_yaml(content)
    assert document.value is None or not document.faults or isinstance(document.value, str | int | float | list | dict)
    for fault in document.faults:
        assert 1 <= fault.place.line <= content.count(b"\n") + content.count(b"\r") + 3 + content.count("\u2028".encode())
        assert fault.place.column >= 1
        assert (fault.what + fault.do).isprintable()
    for way in ways(document.value):
        assert document.place(way).line >= 1


@settings(max_examples=40)
@given(DOCUMENTS, st.booleans())
def test_values_are_what_was_written(value: dict[str, Any], flow: bool) -> None:
    """What PyYAML writes of plain values reads as those values, in any style, and as PyYAML reads it."""
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=flow, sort_keys=False)
    agreed = yaml.safe_load(text)
    document = read_yaml(text.encode())
    assert agreed == value
    if not any(isinstance(item, str) and "e" in item.lower() for item in ways(value).values()):
        assert document.value == value  # `1e5` is a number in YAML 1.2 only
        assert document.faults == []


@settings(max_examples=40)
@given(DOCUMENTS, st.booleans())
def test_both_ways_of_reading_agree(value: dict[str, Any], flow: bool) -> None:
    """A second document has the file read the slow way: the values are the same, and each value has a place."""
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=flow).encode()
    fast, slow = read_yaml(text), read_yaml(text + b"--- more\n")
    assert [fault.rule for fault in slow.faults] == ["yaml-syntax"]
    assert fast.value == slow.value
    assert set(fast.values) == set(slow.values) == set(ways(fast.value))


@settings(max_examples=40)
@given(DOCUMENTS, st.booleans())
def test_places_are_where_values_begin(value: dict[str, Any], flow: bool) -> None:
    """At its place in the file stands the value, in quotes or as it is; and so does each key."""
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=flow, width=10_000)
    document = read_yaml(text.encode())
    for keys, item in ways(document.value).items():
        if isinstance(item, str) and item:
            assert at(text, document.place(keys)).startswith((item[0], "'", '"')), keys
        if isinstance(item, bool):
            assert at(text, document.place(keys)).startswith("true" if item else "false")
        if keys and isinstance(keys[-1], str) and keys[-1]:
            assert at(text, document.key_place(keys)).lstrip("? ").startswith((keys[-1][0], "'", '"'))


def at(text: str, place: Place) -> str:
    """Give what stands at a place of a file."""
    return text.split("\n")[place.line - 1][place.column - 1 :]


def test_places_count_characters_not_bytes() -> None:
    """After letters of several bytes, the column is what an editor shows."""
    document = read_yaml("a: {é: 日本, 𝒳: b}\n".encode())
    assert document.place(("a", "𝒳")) == Place(line=1, column=15)
    assert document.key_place(("a", "𝒳")) == Place(line=1, column=12)


def test_a_value_that_is_not_there_is_where_it_should_be() -> None:
    """A missing field is reported where the mapping begins; without any values, at the start."""
    document = read_yaml(b"a:\n  b: 1\n")
    assert document.place(("a", "c", "d")) == Place(line=2, column=3)
    assert Document().place(("a",)) == Place()


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"), ("Yes", "Yes"), ("on", "on"), ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
        ("010", 10), ("1_000", "1_000"), ("0x1F", "0x1F"), ("12:30", "12:30"), ("2001-01-01", "2001-01-01"), ("1e5", 1e5),
        ("-.5", -0.5), ("+.inf", float("inf")), ("'7'", "7"), ('"true"', "true"), (".", "."), ("=", "="), ("<<", "<<"),
        ("1" * 40, "1" * 40), ("4e" + "1" * 38, "4e" + "1" * 38),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(written: str, value: object) -> None:
    """No text turns into a truth value, a date or a number of base 60; a hash of digits stays a text."""
    assert read_yaml(f"a: {written}\n".encode()).value == {"a": value}


@pytest.mark.parametrize(
    ("content", "rule", "line", "column"),
    [
        (b"a: \xff", "encoding", 1, 4),
        (b"a: b\nc: \xe9\n", "encoding", 2, 4),
        ("title: x\n".encode("utf-16"), "encoding", 1, 1),
        ("title: x\n".encode("utf-16-le"), "control-characters", 1, 2),
        ("title: x\n".encode("utf-32"), "encoding", 1, 1),
        (b"\xef\xbb\xbfa: b\n", "encoding", 1, 1),
        ("é: \x01\n".encode(), "control-characters", 1, 4),
        (b"a: [1\nb: 2\n", "yaml-syntax", 2, 2),
        (b"a: b\n\tc: d\n", "yaml-syntax", 2, 1),
        (b"a: 'b\n", "yaml-syntax", 2, 1),
        (b"a: b\n---\nc: d\n", "yaml-syntax", 3, 1),
        (b"? [a]\n: b\n", "yaml-syntax", 1, 3),
        (b"a: &x b\n", "yaml-alias", 1, 4),
        (b"a: b\nc: *x\n", "yaml-alias", 2, 4),
        (b"a: !!python/name:os.system b\n", "yaml-alias", 1, 4),
        (b"&k a: b\n", "yaml-alias", 1, 1),
        (b"a: b\na: c\n", "duplicate-key", 2, 1),
        (b"a: {b: 1, b: 2}\n", "duplicate-key", 1, 11),
        (b"a: " + b"[" * 100 + b"]" * 100, "yaml-depth", 1, 19),
    ],
)
def test_each_fault_is_reported_at_its_place(content: bytes, rule: str, line: int, column: int) -> None:
    """What is wrong with the YAML itself has a rule and a place."""
    fault = read_yaml(content).faults[0]
    assert (fault.rule, fault.place.line, fault.place.column) == (rule, line, column)


def test_all_faults_are_reported_at_once() -> None:
    """Duplicate keys, also below one that is left out, and all anchors and aliases; the first value is kept."""
    document = read_yaml(b"a: 1\na: {x: 1, x: 2}\nb: &b 3\nc: *b\nd: !t 4\nd: 5\n")
    assert [(fault.rule, fault.place.line) for fault in document.faults] == [
        ("duplicate-key", 2),
        ("duplicate-key", 2),
        ("yaml-alias", 3),
        ("yaml-alias", 4),
        ("yaml-alias", 5),
        ("duplicate-key", 6),
    ]
    assert document.value == {"a": 1, "b": 3, "c": None, "d": "4"}


def laughs() -> bytes:
    """Write a billion laughs."""
    lines = ["a0: &a0 [lol, lol]"] + [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    "bomb",
    [
        laughs(),
        b"a: &a [*a, *a]\n",
        b"[" * 190_000,
        b"{a: " * 45_000,
        b"- " * 95_000,
        b"? " * 95_000,
        b"a: " + b"x" * 190_000,
        b"&a " * 60_000,
        b"".join(b"k%d: v\n" % number for number in range(6_000)),
        b"a: b\n" * 5_000,
        b"a: |\n" + b"  x\n" * 45_000,
        b"# \n" * 60_000,
        b"'" * 190_000,
        b"%TAG ! tag:x,2000:\n" * 9_000,
    ],
    ids=lambda bomb: bomb[:12].decode(),
)
def test_bombs_do_not_go_off(bomb: bytes) -> None:
    """Aliases are not expanded, nesting is not followed, and no file of the largest size takes long."""
    start = time.process_time()
    document = read_yaml(bomb)
    document.place(("nowhere",))
    assert time.process_time() - start < 10  # most take milliseconds
    assert sum(1 for _ in ways(document.value)) < 100_000
