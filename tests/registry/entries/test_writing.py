"""Files of a registry are written in one way, and read back as they were."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from modxfer.errors import EntryError, OutputError
from modxfer.registry.checks.layout import check_layout
from modxfer.registry.entries.models import Aliases, AlignmentEntry, ModuleEntry, Settings
from modxfer.registry.entries.reading import Model, path_of, read_file
from modxfer.registry.entries.writing import entry_text, plain_values, write_entry, write_model
from tests.entries import alignment_entry, base, module_entry, source, transferred_entry

NASTY = [
    *(
        "no",
        "Yes",
        "on",
        "y",
        "~",
        "null",
        "True",
        "1e5",
        "1.0e-05",
        "0x1",
        "0o17",
        "017",
        "0b1",
        "1_000",
        "12:30:45",
        "1.",
        ".5",
    ),
    *("2020-01-01", "2020-01-01 10:00:00", "+1", "-1", "=", "<<", "...", "---", "?", "- a", "a: b", "a:", "a #b", "# a", "a,b"),
    *(
        "'",
        '"',
        "\\",
        "{}",
        "[a]",
        "{a: b}",
        "&a",
        "*a",
        "!a",
        "%a",
        "@a",
        "`a`",
        "|",
        ">",
        " before",
        "after ",
        "a  b",
        "über",
    ),
    *(
        "日本",
        "\u202ea",
        "a\u2028b",
        "a\x85b",
        "\ufeffa",
        "a\tb",
        "\x1b[31ma",
        "a\x00b",
        "a\rb",
        "\U0001f600",
        "<b>",
        "é" * 200,
    ),
]
LINES = st.one_of(st.sampled_from(NASTY), st.text(min_size=1, max_size=30)).filter(
    lambda text: text.strip() and "\n" not in text
)
PROSE = st.one_of(st.lists(st.one_of(LINES, st.sampled_from(["", " ", "  a"])), max_size=4).map("\n".join), st.text())
WORDS = st.sampled_from(["no", "1e5", "0x1F", "2020-01-01", "12:30", "a b", "a/b", "3.14", "Null", "a", "1-2", "0123", "1e5.2"])
VALUES = st.one_of(
    st.booleans(), st.none(), LINES, st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False)
)


@st.composite
def modules(draw: st.DrawFn) -> ModuleEntry:
    """Make a module entry with texts that YAML readers may take for something else."""
    value = draw(st.floats(allow_nan=False, allow_infinity=False))
    entry = module_entry(
        title=draw(LINES),
        description=draw(PROSE),
        citation=draw(PROSE),
        base=base(family=draw(WORDS), widths=draw(st.dictionaries(WORDS, st.integers(1, 9)))),
        method={"name": "lora", "settings": draw(st.dictionaries(WORDS, VALUES)), "scalings": [value]},
        datasets=[{"name": draw(LINES)}, {"name": draw(LINES), "revision": "1" * 40}],
        tags=draw(st.lists(WORDS)),
        languages=["no", "en"],
        results=[{"metric": draw(WORDS), "value": value, "dataset": draw(LINES), "split": "test", "ran_by": draw(LINES)}],
    )
    return ModuleEntry.model_validate(entry)


def _model(entry: dict[str, Any]) -> ModuleEntry | AlignmentEntry:
    return (AlignmentEntry if "aligner" in entry else ModuleEntry).model_validate(entry)


@settings(max_examples=50)
@given(entry=modules())
def test_entry_text_reads_back_as_it_was(entry: ModuleEntry) -> None:
    """Whatever a text holds, our reader and readers of YAML 1.1 and 1.2 give it back, and the layout is clean."""
    path, text = path_of(ModuleEntry, entry.id), entry_text(entry)

    read = read_file(path, text.encode())

    assert read.problems == ()
    assert read.model == entry
    assert list(check_layout(path, text.encode(), read)) == []
    assert yaml.safe_load(text) == plain_values(entry)
    assert YAML(typ="safe", pure=True).load(text) == plain_values(entry)


@settings(max_examples=50)
@given(scores=st.dictionaries(st.one_of(LINES, st.just("\x00" * 200)), st.floats(-1, 1)))
def test_entry_text_takes_any_text_as_a_key(scores: dict[str, float]) -> None:
    """Keys are texts too; a very long one is marked as a key."""
    entry = _model(alignment_entry(scores={"mean_correlation": 0.5, "layers": scores}))
    text = entry_text(entry)

    assert read_file(path_of(AlignmentEntry, entry.id), text.encode()).model == entry
    assert yaml.safe_load(text)["scores"].get("layers", {}) == scores


def test_entry_text_of_a_transferred_module_is_this() -> None:
    """Fields in order, what says nothing left out, lists indented, numbers on one line, texts of several lines as blocks."""
    files = source("acme/ner-small", "a.json")
    entry = _model(
        transferred_entry(
            source={**files, "branch": "main"}, method={"name": "no", "scalings": [2, 0.5]}, description="One.\nTwo."
        )
    )

    assert entry_text(entry).splitlines()[:16] == [
        "# yaml-language-server: $schema=../../schema/module.json",
        "format_version: 1",
        "id: acme/ner-small",
        "title: Named entities, LoRA",
        "description: |-",
        "  One.",
        "  Two.",
        "source:",
        "  repository: acme/ner-small",
        f"  revision: {files['revision']}",
        "  files:",
        "    - path: a.json",
        f"      sha256: {files['files'][0]['sha256']}",
        "      size_bytes: 106",
        "base:",
        "  name: acme/bert-student",
    ]
    text = entry_text(entry)
    assert "\n  widths: {hidden: 384, heads: 384, ffn: 1536}\n" in text
    assert '\n  name: "no"\n  scalings: [2.0, 0.5]\nformat: peft\n' in text
    assert "\nlanguages:\n  - en\n" in text
    assert text.endswith("      encoder: [[[0, 1.0]], [[2, 1.0]], [[4, 1.0]], [[6, 1.0]], [[8, 1.0]], [[10, 1.0]]]\n")


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (
            Aliases(format_version=1, modules={"stable": "ner", "1e5": "no"}),
            "# yaml-language-server: $schema=../schema/aliases.json\nformat_version: 1\n"
            'modules:\n  stable: ner\n  "1e5": "no"\n',
        ),
        (
            Settings(format_version=1, title="Ours: all"),
            '# yaml-language-server: $schema=schema/registry.json\nformat_version: 1\ntitle: "Ours: all"\n',
        ),
    ],
)
def test_entry_text_of_the_other_files_is_this(model: Model, text: str) -> None:
    """Aliases and settings are written alike."""
    assert entry_text(model) == text


def test_entry_text_breaks_long_lists_of_numbers() -> None:
    """A list of numbers that does not fit on a line has a line an item."""
    layers = {"mode": "skip", "map": {"encoder": [[[layer, 1.0]] for layer in range(24)]}}
    text = entry_text(_model(transferred_entry(lineage={"teacher": "acme/ner-large", "layers": layers})))

    assert "      encoder:\n        - [[0, 1.0]]\n        - [[1, 1.0]]\n" in text
    assert max(map(len, text.splitlines())) <= 100


def test_write_entry_writes_a_file_that_others_can_read(tmp_path: Path) -> None:
    """The file lies at its id's place, and the same entry may be written again."""
    entry = _model(module_entry())

    assert write_entry(tmp_path, entry) == tmp_path / "modules/acme/ner.yaml"
    assert write_entry(tmp_path, entry).read_text() == entry_text(entry)
    assert (tmp_path / "modules/acme/ner.yaml").stat().st_mode & 0o444 == 0o444
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["ner.yaml"]


def test_write_entry_replaces_another_entry_with_force_only(tmp_path: Path) -> None:
    """What somebody else registered is not lost by mistake."""
    first, second = _model(module_entry()), _model(module_entry(title="Another"))
    target = write_entry(tmp_path, first)

    with pytest.raises(OutputError, match=r"ner\.yaml` exists, and says something else"):
        write_entry(tmp_path, second)
    assert target.read_text() == entry_text(first)
    write_entry(tmp_path, second, force=True)
    assert target.read_text() == entry_text(second)


@pytest.mark.parametrize("link", ["modules", "modules/acme", "modules/acme/ner.yaml"])
def test_write_entry_follows_no_link(tmp_path: Path, link: str) -> None:
    """A link on the way could lead out of the registry, and nothing is written through it."""
    outside, root = tmp_path / "outside", tmp_path / "registry"
    outside.mkdir()
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(outside, target_is_directory=True)

    with pytest.raises(OutputError, match=f"{link}` is a symbolic link"):
        write_entry(root, _model(module_entry()), force=True)
    assert list(outside.iterdir()) == []


def test_write_model_writes_nothing_that_cannot_be_read(tmp_path: Path) -> None:
    """An entry whose path is another's is refused before anything is written."""
    with pytest.raises(EntryError, match="`acme/ner` is not the one of this file, `acme/other`"):
        write_model(tmp_path, "modules/acme/other.yaml", _model(module_entry()))
    assert list(tmp_path.iterdir()) == []
