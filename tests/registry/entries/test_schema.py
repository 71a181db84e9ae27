"""The JSON Schemas say what the models say."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modxfer.errors import OutputError
from modxfer.registry.entries.models import Aliases, Settings
from modxfer.registry.entries.reading import read_file
from modxfer.registry.entries.schema import choose_schema, schema_text, schemas, write_schemas
from modxfer.registry.entries.writing import entry_text
from tests.entries import alignment_entry, as_yaml, base, entry_path, module_entry, sha256, transferred_entry

ALIASES = {"format_version": 1, "modules": {"stable": "ner"}, "alignments": {"latest": "bert-to-student"}}
SETTINGS = {"format_version": 1, "title": "Modules of Acme", "homepage": "https://acme.org/modules"}
ARCHIVED: dict[str, Any] = {"source": {"archive": "https://acme.org/a.zip", "sha256": sha256("a")}}
FULL: dict[str, Any] = {
    "method": {"name": "lora", "settings": {"bias": None, "dropout": 0.1, "fan_in": True, "init": "gaussian", "layers": 3}},
    "head": {"task": "tagging", "labels": 9},
    "authors": [{"name": "A", "email": "a@acme.org", "url": "https://acme.org", "github": "acme"}],
    "homepage": "https://acme.org",
    "citation": "@misc{a,\n  title = {b}\n}\n",
}


def _valid(kind: str, value: Any) -> bool:
    schema = schemas()[kind]
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def _read(path: str, value: Any) -> bool:
    return read_file(path, as_yaml(value).encode()).model is not None


@pytest.mark.parametrize("kind", ["module", "alignment", "aliases", "registry"])
def test_schemas_are_json_schemas(kind: str) -> None:
    """Each is valid in the dialect that it names, and has an id of its own."""
    schema = schemas()[kind]

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    assert schema["$id"] == f"urn:modxfer:registry:1:{kind}"
    assert json.loads(schema_text(schema)) == schema


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for name, part in {"": schema, **schema.get("$defs", {})}.items():
        yield from ((f"{name}.{field}", body, schema) for field, body in part.get("properties", {}).items())


@pytest.mark.parametrize("kind", ["module", "alignment", "aliases", "registry"])
def test_schemas_describe_every_field(kind: str) -> None:
    """An editor can show what a field is for, whichever it is."""
    undescribed = []
    for name, body, schema in _fields(schemas()[kind]):
        target = schema["$defs"][body["$ref"].rpartition("/")[2]] if "$ref" in body else body
        inner = [schema["$defs"][option["$ref"].rpartition("/")[2]] for option in body.get("anyOf", ()) if "$ref" in option]
        inner += [schema["$defs"][body["items"]["$ref"].rpartition("/")[2]]] if "$ref" in body.get("items", {}) else []
        if not any("description" in found for found in (target, *inner)):
            undescribed.append(name)
    assert undescribed == []


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("module", "modules/acme/ner.yaml", module_entry()),
        ("module", "modules/acme/ner.yaml", module_entry(**FULL)),
        ("module", "modules/acme/ner.yaml", module_entry(**ARCHIVED)),
        ("module", "modules/acme/ner-small.yaml", transferred_entry()),
        ("alignment", "alignments/acme/bert-to-student.yaml", alignment_entry()),
        ("aliases", "aliases/acme.yaml", ALIASES),
        ("registry", "registry.yaml", SETTINGS),
    ],
)
def test_schemas_take_what_the_models_take(kind: str, path: str, value: dict[str, Any]) -> None:
    """Valid files are valid for both, and what is written back too."""
    assert _read(path, value)
    jsonschema.validate(value, schemas()[kind], cls=jsonschema.Draft202012Validator)
    model = read_file(path, as_yaml(value).encode()).model
    assert model is not None
    again = read_file(path, entry_text(model).encode()).document.value
    jsonschema.validate(again, schemas()[kind], cls=jsonschema.Draft202012Validator)


def _set(entry: dict[str, Any], way: str, value: Any) -> dict[str, Any]:
    entry = copy.deepcopy(entry)
    *above, last = [int(step) if step.isdigit() else step for step in way.split("/")]
    node: Any = entry
    for step in above:
        node = node[step]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return entry


BROKEN = [
    ("format_version", 2),
    ("format_version", "1"),
    *((field, ...) for field in ("format_version", "id", "title", "source", "base", "method", "format", "license", "authors")),
    *(("id", value) for value in ("acme", "Acme/ner", "acme/ner/x", "acme/n--er", "../ner", "acme/-ner", 3, None)),
    ("titel", "a"),
    ("source/file", []),
    ("base/widths", {"hid den ": 3}),
    ("title", ""),
    ("title", " "),
    ("title", "a\nb"),
    ("title", "a" * 201),
    ("title", 3),
    ("description", ["a"]),
    ("description", "a" * 5001),
    ("source", {}),
    ("source", "acme/ner"),
    ("source/repository", "a/b/c"),
    *(("source/revision", value) for value in ("main", "4F1C" * 10, "4f1c", "4f1c" * 11, ...)),
    ("source/files", []),
    ("source/files", {}),
    *(
        ("source/files/0/path", value)
        for value in ("/a", "../a", "a/../b", "a//b", "a\\b", "c:a", "./a", "a/", "", "a.bin", "x/a.pt")
    ),
    *(("source/files/0/sha256", value) for value in ("AB" * 32, "ab" * 31, "sha256:" + "ab" * 32, 3, ...)),
    ("source/files/0/size_bytes", -1),
    ("source/files/0/size_bytes", "3"),
    ("source/files/0/size_bytes", 1.5),
    ("source/files/0/size_bytes", True),
    ("source", {**ARCHIVED["source"], "archive": "http://acme.org/a.zip"}),
    ("source", {**ARCHIVED["source"], "archive": "file:///etc/passwd"}),
    ("source", {"archive": "https://acme.org/a.zip"}),
    ("base/name", "a b"),
    ("base/family", ...),
    ("base/family", "bert "),
    ("base/widths/hidden", 0),
    ("base/widths/hidden", "768"),
    ("base/depths", [12]),
    ("method/inner_sizes", 8),
    ("method/inner_sizes/0", 0),
    ("method/scalings/0", "2"),
    ("method/settings", {"a": [1]}),
    ("format", "pickle"),
    ("task", "a\nb"),
    ("head", {}),
    ("datasets/0", "acme/news"),
    ("languages", "en"),
    ("languages/0", "English, mostly"),
    ("results/0/value", "0.9"),
    ("results/0/metric", ...),
    ("results/0/deviation", -1.0),
    ("license", "Apache 2.0; or so"),
    ("license", None),
    ("authors", []),
    ("authors/0/name", ...),
    ("authors/0/url", "javascript:alert(1)"),
    ("tags/0", "<b>"),
    ("lineage/teacher", "Ner"),
    ("lineage/layers/map/encoder/0/0", [0]),
    ("lineage/layers/map/encoder/0/0", [0, 1.0, 2.0]),
]


@pytest.mark.parametrize(("way", "value"), BROKEN)
def test_schemas_refuse_what_the_models_refuse(way: str, value: Any) -> None:
    """What is wrong in one field, both see."""
    broken = _set(transferred_entry(), way, value)

    assert not _read("modules/acme/ner-small.yaml", broken)
    assert not _valid("module", broken)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("alignment", "alignments/acme/a.yaml", alignment_entry("acme/a", key="abc")),
        ("alignment", "alignments/acme/a.yaml", alignment_entry("acme/a", **ARCHIVED)),
        ("alignment", "alignments/acme/a.yaml", alignment_entry("acme/a", scores={"mean_correlation": 1.5})),
        ("alignment", "alignments/acme/a.yaml", alignment_entry("acme/a", student=base(revision="main"))),
        ("alignment", "alignments/acme/a.yaml", alignment_entry("acme/a", corpus={"name": "a"})),
        ("aliases", "aliases/acme.yaml", {**ALIASES, "modules": {"stable": "acme/ner"}}),
        ("aliases", "aliases/acme.yaml", {**ALIASES, "modules": {"Stable": "ner"}}),
        ("aliases", "aliases/acme.yaml", {**ALIASES, "stable": "ner"}),
        ("registry", "registry.yaml", {"format_version": 1}),
        ("registry", "registry.yaml", {**SETTINGS, "homepage": "ftp://acme.org"}),
    ],
)
def test_schemas_of_the_other_files_refuse_what_the_models_refuse(kind: str, path: str, value: dict[str, Any]) -> None:
    """Alignment maps, aliases and settings likewise."""
    assert not _read(path, value)
    assert not _valid(kind, value)


def test_choose_schema_gives_one_or_all() -> None:
    """One by its kind; without a kind, all."""
    assert choose_schema("aliases")["$id"] == "urn:modxfer:registry:1:aliases"
    assert list(choose_schema()) == ["module", "alignment", "aliases", "registry"]


def test_write_schemas_writes_where_entries_look(tmp_path: Path) -> None:
    """The first line of an entry leads an editor to the schema that was written."""
    write_schemas(tmp_path)
    for model, path in [
        (read_file(entry_path(module_entry()), as_yaml(module_entry()).encode()).model, "modules/acme/ner.yaml"),
        (
            read_file("alignments/acme/bert-to-student.yaml", as_yaml(alignment_entry()).encode()).model,
            "alignments/acme/a.yaml",
        ),
        (Aliases.model_validate(ALIASES), "aliases/acme.yaml"),
        (Settings.model_validate(SETTINGS), "registry.yaml"),
    ]:
        assert model is not None
        named = entry_text(model).partition("$schema=")[2].partition("\n")[0]
        assert json.loads((tmp_path / path).parent.joinpath(named).resolve().read_text())["title"] == type(model).__name__


def test_write_schemas_replaces_others_with_force_only(tmp_path: Path) -> None:
    """A schema that somebody changed is not lost by mistake, and nothing is written through a link."""
    written = write_schemas(tmp_path, "module")
    assert written == (tmp_path / "schema/module.json",)
    assert write_schemas(tmp_path, "module") == written
    written[0].write_text("{}")

    with pytest.raises(OutputError, match=r"module\.json` exists, and is another schema"):
        write_schemas(tmp_path)
    assert [path.name for path in (tmp_path / "schema").iterdir()] == ["module.json"]
    write_schemas(tmp_path, force=True)
    assert json.loads(written[0].read_text()) == schemas()["module"]

    (tmp_path / "schema/aliases.json").unlink()
    (tmp_path / "schema/aliases.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(OutputError, match=r"aliases\.json` is a symbolic link"):
        write_schemas(tmp_path, force=True)
    assert not (tmp_path / "elsewhere.json").exists()
