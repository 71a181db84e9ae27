"""Reading one file: its model, or everything that is wrong with it, at its place."""

from typing import Any

import pytest

from modxfer.registry.entries.models import Aliases, AlignmentEntry, ModuleEntry, Settings
from modxfer.registry.entries.reading import Model, ReadFile, id_of, path_of, read_file
from tests.entries import alignment_entry, as_yaml, entry_path, module_entry, transferred_entry

NER = "modules/acme/ner.yaml"
SCHEMA = "Add it; `modxfer registry schema module` says what it takes."


def problems(entry: dict[str, Any]) -> list[str]:
    """Say what is wrong with an entry: rule, place, what, do."""
    read = read_file(NER, as_yaml(entry).encode())
    assert read.model is None
    assert read.entry is None
    return [f"{found.rule} {found.place.line}:{found.place.column} {found.what} {found.do}" for found in read.problems]


@pytest.mark.parametrize(
    ("path", "content", "model"),
    [
        (NER, as_yaml(module_entry()), ModuleEntry),
        ("modules/acme/ner-small.yaml", as_yaml(transferred_entry()), ModuleEntry),
        ("alignments/acme/bert-to-student.yaml", as_yaml(alignment_entry()), AlignmentEntry),
        ("aliases/acme.yaml", "format_version: 1\nmodules: {stable: ner}\n", Aliases),
        ("registry.yaml", "format_version: 1\ntitle: A\n", Settings),
    ],
)
def test_each_kind_of_file_is_read_as_its_model(path: str, content: str, model: type[Model]) -> None:
    """The path says what a file is."""
    read = read_file(path, content.encode())
    assert read.problems == ()
    assert isinstance(read.model, model)
    assert (read.entry is not None) == (model in (ModuleEntry, AlignmentEntry))


def test_values_arrive_as_they_were_written() -> None:
    """The model says what the file says."""
    entry = read_file("modules/acme/ner-small.yaml", as_yaml(transferred_entry()).encode()).entry
    assert isinstance(entry, ModuleEntry)
    assert entry.model_dump(mode="json", exclude_unset=True) == transferred_entry()


def test_ids_and_paths_are_two_ways_to_say_the_same() -> None:
    """Names with points too."""
    assert id_of("modules/acme/ner-1.0.yaml") == "acme/ner-1.0"
    assert path_of(ModuleEntry, "acme/ner-1.0") == "modules/acme/ner-1.0.yaml"
    assert path_of(AlignmentEntry, "a/b") == "alignments/a/b.yaml"
    assert id_of(path_of(Aliases, "acme")) == "acme"
    read = read_file(NER, b"")
    assert read.id == "acme/ner"


def test_all_that_is_wrong_is_reported_at_once() -> None:
    """Missing, unknown, of the wrong type and of the wrong value, at any depth, each at its own place."""
    entry = module_entry(id="acme/other", licence="MIT", license=None, languages=["en", 7])
    entry["source"]["files"][1]["size_bytes"] = "101"
    del entry["source"]["files"][0]["sha256"]
    entry["base"]["widths"]["hidden"] = 0
    entry["method"]["inner_sizes"] = 8
    entry["base"]["widths"]["<b>"] = 3
    assert problems(entry) == [
        f"missing-field 13:5 The field `source.files.0.sha256` is missing. {SCHEMA}",
        "wrong-type 17:17 `source.files.1.size_bytes` is `101`, not a whole number. Write a whole number.",
        "bad-value 24:13 `base.widths.hidden` is `0`, and must be above 0. Correct the value.",
        "bad-value 27:5 `base.widths.<b>`: `<b>` is not a plain word. Write letters and digits, with single spaces or one of "
        "`._:/+-` between them.",
        "wrong-type 32:16 `method.inner_sizes` is `8`, not a list. Write a list.",
        "wrong-type 46:3 `languages.1` is `7`, not a text. Write a text.",
        f"missing-field 1:1 The field `license` is missing. {SCHEMA}",
        "unknown-field 58:1 There is no field `licence`. Did you mean `license`?",
        "id-path 2:5 The id `acme/other` is not the one of this file, `acme/ner`. Correct it, or move the file.",
    ]


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"format_version": "1"}, "format-version 1:17 `format_version`: `1` is not 1."),
        ({"format_version": True}, "format-version 1:17 `format_version`: `True` is not 1."),
        ({"format_version": 1.0}, "format-version 1:17 `format_version`: `1.0` is not 1."),
        ({"format": "pickle"}, "bad-value 40:9 `format` is `pickle`: input should be 'peft' or 'adapters'."),
        ({"source": []}, "wrong-type 9:9 `source` is `[]`, not a mapping of fields to values."),
        ({"source": {"archive": "https://example.com/a.zip"}}, "missing-field 10:3 The field `source.sha256` is missing."),
        ({"source": {"archive": "https://example.com/a.zip", "sha256": "x"}}, "unpinned 11:11 `source.sha256`: `x` is not"),
        ({"authors": []}, "bad-value 55:10 `authors` has 0 items, and needs 1 at least. Add some."),
        ({"results": [{}]}, "missing-field 48:3 The field `results.0.metric` is missing."),
        ({"lineage": {"teacher": "a/b"}}, "missing-field 60:3 The field `lineage.layers` is missing."),
        ({"x" * 500: 1}, f"unknown-field 59:3 There is no field `{'x' * 59}…`. Take it out"),
        ({"\x1b[31m`": 1}, "unknown-field 59:1 There is no field `[31m'`. Take it out"),
        ({"method": {"name": "lora", "settings": {"a": [1]}}}, "wrong-type 34:5 `method.settings.a` is `[1]`, not a text."),
        ({"method": {"name": "lora", "settings": {"a": "x" * 300}}}, "bad-value 33:8 `method.settings.a`: `xxxx"),
        ({"method": {"name": "lora", "settings": {"a": float("inf")}}}, "bad-value 33:8 `method.settings.a` is `inf`: input"),
    ],
)
def test_each_kind_of_mistake_is_put_into_words(changes: dict[str, Any], start: str) -> None:
    """Where it is, what was found, and what to write."""
    assert problems(module_entry(**changes))[0].startswith(start)


@pytest.mark.parametrize(
    ("value", "wrong"),
    [(".nan", True), (".inf", True), ("1e999", True), ("1e-3", False), ("1", False), ("'1'", True), ("true", True)],
)
def test_scores_are_finite_numbers(value: str, wrong: bool) -> None:
    """No infinity, no NaN, no text and no truth value."""
    text = as_yaml(module_entry()).replace("value: 0.875", f"value: {value}")
    assert bool(read_file(NER, text.encode()).problems) == wrong


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "The file is empty."),
        (b"# nothing\n", "The file is empty."),
        (b"- a\n", "The file is not a mapping of fields to values."),
        (b"text\n", "The file is not a mapping of fields to values."),
    ],
)
def test_what_is_no_mapping_is_reported(content: bytes, what: str) -> None:
    """Nothing to read, or not what an entry is."""
    (problem,) = read_file(NER, content).problems
    assert (problem.rule, problem.what) == ("yaml-syntax", what)


def test_a_file_with_thousands_of_unknown_fields_is_read_quickly() -> None:
    """What was meant is only guessed for the first of them."""
    unknown = "".join(f"titl{number}: x\n" for number in range(3000))
    read = read_file(NER, (as_yaml(module_entry()) + unknown).encode())
    assert [problem.rule for problem in read.problems] == ["unknown-field"] * 3000
    assert read.problems[0].do == "Did you mean `title`?"
    assert read.problems[-1].do == "Take it out; `modxfer registry schema` lists the fields."


def test_a_problem_can_be_made_at_a_value_or_at_its_key() -> None:
    """For the rules that come later."""
    read: ReadFile = read_file(entry_path(module_entry()), as_yaml(module_entry()).encode())
    value, key = (read.problem("markup", ("title",), "No.", do="Yes.", at_key=at_key) for at_key in (False, True))
    assert ((value.place.line, value.place.column), (key.place.line, key.place.column)) == ((3, 8), (3, 1))
