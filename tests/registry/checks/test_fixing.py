"""`--fix` mends what is mechanical, and nothing else."""

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modxfer.registry.checks.fixing import Fixed, fix, fix_text
from modxfer.registry.checks.layout import check_layout
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import ModuleEntry
from modxfer.registry.entries.reading import read_file
from modxfer.registry.entries.yaml_text import read_yaml
from tests.entries import COMMIT, alignment_entry, as_yaml, make_registry, module_entry, transferred_entry

PATH = "modules/acme/ner.yaml"
HASH = "ab" * 32

MESSY = f"""\
\ufeff# yaml-language-server: $schema=../../schema/module.json
# Our own.

id: acme/ner   # the id
format_version: 1
# why this licence
license: apache-2.0 # from the card
title: "A: title"\t
source:
  revision: {COMMIT.upper()} # at this commit
  repository: acme/ner # there
  # files follow
  files:
    # the first
    - sha256: 'sha256:{HASH.upper()}'
      # its path
      path: a.json   # as it is
    - {{size_bytes: 3, path: b, sha256: {HASH}}}
# the base
base: {{family: bert, name: x/y}}
languages: [NO, no, EN_us,
   en-US]
description: |
  Some # text \n  # no comment

  more
tags:
  - b
  - a
  - b
  - a # kept

unknown: 1


"""

MENDED = f"""\
# yaml-language-server: $schema=../../schema/module.json
# Our own.

format_version: 1
id: acme/ner   # the id
title: "A: title"
description: |
  Some # text
  # no comment

  more
source:
  repository: acme/ner # there
  revision: {COMMIT} # at this commit
  # files follow
  files:
    # the first
    # its path
    - path: a.json   # as it is
      sha256: '{HASH}'
    - {{path: b, sha256: {HASH}, size_bytes: 3}}
# the base
base: {{name: x/y, family: bert}}
languages: ["no", en-US]
# why this licence
license: Apache-2.0 # from the card
tags:
  - b
  - a
  - a # kept

unknown: 1
"""


def _fix(text: str) -> str:
    return fix_text(PATH, text.encode())[0]


def test_fix_text_mends_all_that_is_mechanical() -> None:
    """Order, line ends, hashes, licence and languages are mended; comments, quotes and unknown fields stay."""
    text, changes = fix_text(PATH, MESSY.replace("\n", "\r\n").encode())

    assert text == MENDED
    assert [(change.rule, change.what) for change in changes] == [
        ("encoding", "Took out the byte order mark."),
        ("layout", "Tidied line ends, spaces and tabs."),
        ("license", "`apache-2.0` is now `Apache-2.0`."),
        ("unpinned", f"`{COMMIT.upper()}` is now `{COMMIT}`."),
        ("unpinned", f"`sha256:{HASH.upper()[:52]}…` is now `{HASH[:59]}…`."),
        ("language", "`NO` is now `no`."),
        ("language", "`EN_us` is now `en-US`."),
        ("duplicate-item", "`no` is in `languages` once now."),
        ("duplicate-item", "`en-US` is in `languages` once now."),
        ("duplicate-item", "`b` is in `tags` once now."),
        ("key-order", "Put the fields `sha256`, `path` in order."),
        ("key-order", "Put the fields `size_bytes`, `path`, `sha256` in order."),
        ("key-order", "Put the fields `family`, `name` in order."),
        ("key-order", "Put the fields `revision`, `repository`, `files` in order."),
        ("key-order", "Put the fields `id`, `format_version`, `license`, ... in order."),
    ]
    assert fix_text(PATH, text.encode()) == (text, [])


@pytest.mark.parametrize(
    "text",
    [
        "license: Apache-2.1\n",  # no licence
        "license: MIT OR\n",
        "license: [mit]\n",
        "languages: [english]\n",
        "source: {revision: ABCDEF, sha256: main}\n",  # too short, and none
        "source:\n  files:\n    - sha256: sha512:AB\n",
        "title: A  title\ndescription: |\n  MIT\n\n  en_us\n",
        "tags:\n  - b # this\n  - b # that\n",
        "tags: [b, # this\n  b]\n",
        "tags: [[a], [a]]\n",
        "base: {widths: {b: 1, a: 2}, depths: {d: 1, c: 2}}\n",  # their order is the author's
        "method: {settings: {license: mit}}\n",
        "corpus: {revision: ABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCD}\n",  # no field of a module
        "12: 1\n",
    ],
)
def test_fix_text_leaves_what_is_not_mechanical(text: str) -> None:
    """What a person has to decide stays as it is, letter by letter."""
    assert fix_text(PATH, text.encode()) == (text, [])


def test_fix_text_keeps_a_language_a_text() -> None:
    """Norwegian in lower case would be read as false elsewhere, so it gets quotes."""
    assert _fix("languages:\n  - NO # Norwegian\n") == 'languages:\n  - "no" # Norwegian\n'
    assert _fix("languages: ['NO']\n") == "languages: ['no']\n"


def test_fix_text_puts_lists_of_mappings_in_order() -> None:
    """The dash stays where it is, and comments above a field move with it."""
    text = "authors:\n- github: a # his\n  # her name\n  name: B\n- url: c\n\n  name: D\n# then\nid: x\n"

    assert _fix(text) == "# then\nid: x\nauthors:\n# her name\n- name: B\n  github: a # his\n- name: D\n  url: c\n"


def _shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        items = list(value.items())
        rng.shuffle(items)
        return {key: _shuffled(item, rng) for key, item in items}
    return [_shuffled(item, rng) for item in value] if isinstance(value, list) else value


def _with_comments(text: str, rng: random.Random) -> str:
    """Put comments beside fields and above them; each says which value its field has."""
    lines = []
    for number, line in enumerate(text.splitlines()):
        key, colon, value = line.partition(": ")
        bare = key.strip("- ")
        if colon and not value.startswith(("[", "'Trained")) and "{" not in line and rng.random() < 0.5:
            if number and rng.random() < 0.5 and not key.lstrip().startswith("-"):
                lines.append(f"{' ' * (len(key) - len(key.lstrip()))}# above {bare} {number}")
            line = f"{line} # at {bare} {number}"
        lines.append(line)
    return "\n".join(lines) + "\n"


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), flow=st.booleans())
def test_fix_text_changes_nothing_but_the_order(seed: int, flow: bool) -> None:
    """However the fields of an entry are shuffled: they are put in order, values and comments stay, and once is enough."""
    rng = random.Random(seed)
    entry = _shuffled(transferred_entry("acme/ner", title="A: title # no comment"), rng)
    messy = _with_comments(yaml.safe_dump(entry, sort_keys=False, default_flow_style=None if flow else False, width=999), rng)

    text, changes = fix_text(PATH, messy.encode())
    read = read_file(PATH, text.encode())

    assert read.model == ModuleEntry.model_validate(entry)
    assert read.document.value == read_yaml(messy.encode()).value
    assert [problem.rule for problem in check_layout(PATH, text.encode(), read)] == []
    assert {change.rule for change in changes} <= {"key-order"}
    assert (
        sorted(line.strip("- ") for line in text.splitlines()) == sorted(line.strip("- ") for line in messy.splitlines())
        or flow
    )
    assert text.count("#") == messy.count("#")
    _assert_comments_stay(text)
    assert fix_text(PATH, text.encode()) == (text, [])


def _assert_comments_stay(text: str) -> None:
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if "# at " in line:
            assert line.partition(": ")[0].strip("- ") == line.rpartition("# at ")[2].split()[0]
        elif "# above " in line:
            below = next(other for other in lines[index:] if "# above " not in other)
            assert below.endswith(line.rpartition("# above ")[2])


@given(
    st.text(st.sampled_from("abc:#-|>&*!'\"{}[], \n\t\r\\?01"), max_size=60),
    st.sampled_from(["", "tags:", "id: ", "source:\n "]),
)
def test_fix_text_keeps_values_whatever_the_file(text: str, start: str) -> None:
    """Any text that is YAML keeps its values but for spaces at line ends and tabs, and once is enough."""
    content = (start + text).encode()
    before = read_yaml(content)
    if before.faults or not isinstance(before.value, dict):
        return
    fixed = _fixed_or_left(content)

    if fixed is not None:
        after = read_yaml(fixed.encode())
        assert after.faults == []
        assert _words(after.value) == _words(before.value)
        assert _fixed_or_left(fixed.encode()) == fixed


def _fixed_or_left(content: bytes) -> str | None:
    try:
        return fix_text(PATH, content)[0]
    except Exception as error:
        assert "Mending it would change what it says" in str(error)  # noqa: PT017
        return None


def _words(value: Any) -> Any:
    """Forget about spaces, the order of fields and words that come twice."""
    if isinstance(value, dict):
        return {key: _words(item) for key, item in value.items()}
    if isinstance(value, list):
        words = [_words(item) for item in value]
        return list(dict.fromkeys(words)) if all(isinstance(word, str) for word in words) else words
    return " ".join(value.split()) if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"title: [a \n", "This is not YAML"),
        (b"id: a\nid: b \n", "The key `id` is there already, in line 1."),
        (b"title: &a b \nid: *a\n", "`&a` is an anchor."),
        (b"title: \xff\n", "The file is not UTF-8"),
        (b"- a \n", "It is not a mapping of fields to values."),
        (b"title: a\ntitle : b\n", "The key `title` is there already"),
    ],
)
def test_fix_leaves_what_it_cannot_read(tmp_path: Path, content: bytes, why: str) -> None:
    """A file that is not plain YAML is left as it is, and that is said; others are mended all the same."""
    registry = make_registry(tmp_path, **{PATH: content, "modules/acme/other.yaml": b"title: a \n"})

    fixed = fix(registry)

    assert (tmp_path / PATH).read_bytes() == content
    assert [left.path for left in fixed.left] == [PATH]
    assert fixed.left[0].why.startswith(why)
    assert fixed.files == ("modules/acme/other.yaml",)


def test_fix_mends_the_named_files_only(tmp_path: Path) -> None:
    """Entries that are clean are not written, and others only if they are meant."""
    messy = as_yaml(dict(reversed(module_entry("acme/b").items())))
    registry = make_registry(
        tmp_path, module_entry("acme/a"), alignment_entry(), **{"modules/acme/b.yaml": messy, "modules/acme/c.yaml": "title: a"}
    )
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.rglob("*.yaml")}

    assert fix(registry, ["modules/acme/b.yaml"]).files == ("modules/acme/b.yaml",)

    after = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.rglob("*") if path.is_file()}
    assert [path.name for path in after if before.get(path) != after[path]] == ["b.yaml"]
    assert registry.read("modules/acme/b.yaml").model == ModuleEntry.model_validate(module_entry("acme/b"))
    assert fix(registry).files == ("modules/acme/c.yaml",)
    assert fix(registry) == Fixed(changes=(), left=())


def test_fix_writes_through_no_link(tmp_path: Path) -> None:
    """A link in a registry is no file of it; a registry that is itself a link's target is as good as any."""
    outside = tmp_path / "outside.yaml"
    outside.write_text("title: a ")
    registry = make_registry(tmp_path / "registry")
    (registry.root / "modules/acme").mkdir(parents=True)
    (registry.root / PATH).symlink_to(outside)
    (tmp_path / "link").symlink_to(registry.root, target_is_directory=True)

    assert fix(registry) == Fixed(changes=(), left=())
    assert outside.read_text() == "title: a "
    (registry.root / "registry.yaml").write_text("format_version: 1\ntitle: a")
    assert fix(Registry(root=tmp_path / "link", name="link")).files == ("registry.yaml",)
