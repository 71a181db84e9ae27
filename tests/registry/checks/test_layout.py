"""The layout of a file: each rule is reported at its place."""

import pytest

from modxfer.registry.checks.layout import check_layout
from modxfer.registry.entries.models import AlignmentEntry, ModuleEntry
from modxfer.registry.entries.reading import read_file
from modxfer.registry.entries.writing import entry_text
from tests.entries import alignment_entry, transferred_entry

PATH = "modules/acme/ner.yaml"


def _problems(content: bytes, path: str = PATH) -> list[tuple[str, int, int, str]]:
    found = check_layout(path, content, read_file(path, content))
    return [(problem.rule, problem.place.line, problem.place.column, problem.what) for problem in found]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"id: a\r\ntitle: b\r\n", (1, 6, "This line ends in a carriage return; 1 more is like it.")),
        (b"id: a\ntitle: b \nunknown: c\n", (2, 9, "This line ends in a space.")),
        (b"id: a  \ntitle: b \nunknown: c \n", (1, 6, "This line ends in a space; 2 more are like it.")),
        (b"id: a\ntitle:\tb\n", (2, 7, "This line has a tab.")),
        ("id: é\t\n".encode(), (1, 6, "This line has a tab.")),
        (b"id: a\ntitle: b", (2, 9, "This line is the last, and does not end.")),
        (b"id: a\n\n\n", (2, 1, "There are empty lines at the end of the file.")),
    ],
)
def test_check_layout_reports_untidy_lines(content: bytes, expected: tuple[int, int, str]) -> None:
    """Each kind of untidy line is reported at its first place, with the number of others."""
    assert _problems(content) == [("layout", *expected)]


def test_check_layout_reports_every_kind_in_one_file() -> None:
    """A file with all of them has all of them reported; a CRLF does not hide the space before it."""
    found = _problems(b"id: a \r\ntitle:\tb\n\n \n")

    assert [(line, what.partition(";")[0]) for _, line, _, what in found] == [
        (1, "This line ends in a carriage return."),
        (2, "This line has a tab."),
        (1, "This line ends in a space"),
        (3, "There are empty lines at the end of the file."),
    ]


def test_check_layout_reports_untidy_lines_of_what_is_no_text() -> None:
    """A file that cannot be read as YAML has a layout all the same."""
    assert _problems(b"a: [\xff \n") == [("layout", 1, 6, "This line ends in a space.")]
    assert _problems(b"") == []


def test_check_layout_reports_the_first_field_out_of_order_of_each_mapping() -> None:
    """Fields are compared with the models' order, at every depth, in lists and in brackets; unknown ones stand anywhere."""
    content = b"""\
unknown: 1
format_version: 1
title: a
id: acme/ner
description: b
source:
  files:
    - {path: a, size_bytes: 1, sha256: b, other: c}
    - path: a
      other: c
      sha256: b
  revision: c
  repository: d
base: {name: a, widths: {zeta: 1, alpha: 2}}
"""
    assert _problems(content) == [
        ("key-order", 4, 1, "The field `id` stands below `title`, and belongs above it."),
        ("key-order", 12, 3, "The field `revision` stands below `files`, and belongs above it."),
        ("key-order", 8, 32, "The field `sha256` stands below `size_bytes`, and belongs above it."),
    ]


def test_check_layout_knows_the_fields_of_every_file() -> None:
    """Archives, alignment maps, aliases and settings have orders of their own."""
    assert _problems(b"source:\n  sha256: a\n  archive: b\n")[0][1:3] == (3, 3)
    assert _problems(b"student: {}\nteacher: {}\n", "alignments/acme/a.yaml")[0][1:3] == (2, 1)
    assert _problems(b"alignments: {}\nmodules: {}\n", "aliases/acme.yaml")[0][1:3] == (2, 1)
    assert _problems(b"title: a\nformat_version: 1\n", "registry.yaml")[0][1:3] == (2, 1)


def test_check_layout_takes_what_we_write() -> None:
    """Entries that modxfer wrote are laid out as they must be."""
    module, alignment = ModuleEntry.model_validate(transferred_entry()), AlignmentEntry.model_validate(alignment_entry())

    assert _problems(entry_text(module).encode()) == []
    assert _problems(entry_text(alignment).encode(), "alignments/acme/bert-to-student.yaml") == []
