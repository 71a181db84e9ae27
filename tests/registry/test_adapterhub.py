"""AdapterHub's entries become entries, and what does not is reported: nothing is guessed, and nothing lost."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modxfer.errors import EntryError, OutputError, UsageError
from modxfer.registry.adapterhub.cards import Card
from modxfer.registry.adapterhub.drafts import Drafts, draft
from modxfer.registry.adapterhub.importing import Imported, ImportReport, import_adapterhub
from modxfer.registry.checks.rules import RULES, Severity
from modxfer.registry.checks.run import check
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import Aliases, ArchiveSource, ModuleEntry
from modxfer.registry.entries.writing import plain_values
from tests.entries import make_registry, module_entry, sha256

NARROW = """\
name: narrow
config:
  {
    "ln_after": false,
    "output_adapter": true,
    "non_linearity": "relu",
    "reduction_factor": 16,
    "inv_adapter": null,
  }
"""


def _file(version: str = "1", /, **changes: Any) -> dict[str, Any]:
    file = {
        "version": version,
        "url": f"https://files.example.com/{version}.zip",
        "sha1": sha256(version)[:40],
        "sha256": sha256(f"zip {version}"),
    }
    return _changed(file, changes)


def _card(**changes: Any) -> dict[str, Any]:
    card = {
        "type": "text_task",
        "task": "qa",
        "subtask": "trivia",
        "model_type": "bert",
        "model_name": "acme/bert-large",
        "author": "A. Person",
        "config": {"using": "narrow"},
        "default_version": "1",
        "files": [_file()],
        "description": "Answers questions. \n\nAsk it some.\n",
        "email": "a@acme.org",
        "github": "a-person",
        "url": "https://acme.org/a",
        "citation": "@misc{a,\n  title={B}\n}\n",
        "hidden_size": 1024,
    }
    return _changed(card, changes)


def _changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**copy.deepcopy(values), **changes}.items() if value is not None}


def _hub(root: Path, **cards: dict[str, Any] | str) -> Path:
    """Write a copy of AdapterHub's registry: its entries by name, all of one owner."""
    (root / "adapters/acme").mkdir(parents=True)
    (root / "architectures").mkdir()
    (root / "architectures/narrow.yaml").write_text(NARROW)
    for name, card in cards.items():
        text = card if isinstance(card, str) else yaml.safe_dump(card, sort_keys=False, allow_unicode=True)
        (root / f"adapters/acme/{name}.yaml").write_text(text)
    return root


def _import(tmp_path: Path, *, into: Registry | None = None, **cards: dict[str, Any] | str) -> tuple[Registry, ImportReport]:
    registry = into or make_registry(tmp_path / "registry")
    return registry, import_adapterhub(_hub(tmp_path / "hub", **cards), registry)


def _entry(registry: Registry, id: str) -> ModuleEntry:
    return registry.find(ModuleEntry, id)


def _notes(imported: Imported) -> dict[str, tuple[str, str]]:
    return {note.field: (note.value, note.why) for note in imported.notes}


def _errors(registry: Registry) -> list[tuple[str, str]]:
    problems = check(registry).problems
    return [(problem.path, problem.what) for problem in problems if RULES[problem.rule].severity is Severity.ERROR]


def test_import_carries_over_what_an_entry_can_say(tmp_path: Path) -> None:
    """A good entry arrives whole, and passes the checks; what has no field is noted with its value."""
    registry, report = _import(tmp_path, trivia=_card(twitter="@a", model_class="BertForQA", prediction_head=True))

    entry = _entry(registry, "acme/trivia")
    assert entry.title == "trivia (qa), narrow adapter for acme/bert-large"
    assert entry.description == "Answers questions.\n\nAsk it some."
    assert entry.source == ArchiveSource(archive="https://files.example.com/1.zip", sha256=sha256("zip 1"))
    assert (entry.base.name, entry.base.family, entry.base.widths, entry.base.revision) == (
        "acme/bert-large",
        "bert",
        {"hidden": 1024},
        None,
    )
    assert (entry.method.name, entry.method.inner_sizes) == ("bottleneck", (64,))
    assert entry.method.settings == {
        "using": "narrow",
        "ln_after": False,
        "output_adapter": True,
        "non_linearity": "relu",
        "reduction_factor": 16,
        "inv_adapter": None,
    }
    assert (entry.format, entry.license, entry.languages, entry.tags) == (
        "adapters",
        "NOASSERTION",
        (),
        ("text_task", "qa", "trivia"),
    )
    (author,) = entry.authors
    assert (author.name, author.email, author.github, author.url) == (
        "A. Person",
        "a@acme.org",
        "a-person",
        "https://acme.org/a",
    )
    assert entry.citation == "@misc{a,\n  title={B}\n}"
    assert _errors(registry) == []

    (imported,) = report.files
    assert (imported.path, imported.ids, imported.alias, imported.refused) == (
        "adapters/acme/trivia.yaml",
        ("acme/trivia",),
        None,
        (),
    )
    assert _notes(imported) == {
        "task": ("qa", "It is no task of the Hub; it is kept as a tag."),
        "files.0.version": ("1", "It is the only version, and so no part of the entry's name."),
        "files.0.sha1": (sha256("1")[:40], "The sha256 is kept."),
        "twitter": ("@a", "An entry has no field for it."),
        "model_class": ("BertForQA", "It names a class of a library, and says nothing that an entry has a field for."),
        "prediction_head": (
            "true",
            "It says that there is a head, and neither of which kind nor how many labels it has.",
        ),
    }
    assert report.written == ("modules/acme/trivia.yaml",)


def test_import_makes_an_entry_of_each_version(tmp_path: Path) -> None:
    """Several versions are several entries, and the default one is an alias; each keeps what is said of it alone."""
    files = [_file("1"), _file("New_2", description="Better.", score=87.5)]
    registry, report = _import(tmp_path, trivia=_card(files=files, default_version="New_2"))

    assert report.files[0].ids == ("acme/trivia-1", "acme/trivia-new_2")
    assert report.files[0].alias == "acme/trivia"
    assert _entry(registry, "acme/trivia") == _entry(registry, "acme/trivia-new_2")
    assert _entry(registry, "acme/trivia-1").title.endswith(", version 1")
    assert _entry(registry, "acme/trivia-1").description == "Answers questions.\n\nAsk it some."
    assert _entry(registry, "acme/trivia-new_2").description == "Answers questions.\n\nAsk it some.\nBetter."
    notes = _notes(report.files[0])
    assert notes["files.1.version"] == ("New_2", "In ids it is written `new_2`.")
    assert notes["files.1.score"] == ("87.5", "A result names metric, data set and split, and this is only a number.")
    assert _errors(registry) == []


@pytest.mark.parametrize("default", ["3", "01", "1.1"])
def test_import_reports_a_default_version_that_there_is_not(tmp_path: Path, default: str) -> None:
    """No other version is taken for the default; versions are texts, whatever they look like."""
    text = yaml.safe_dump(_card(files=[_file("1"), _file("1.10")])).replace(
        "default_version: '1'", f"default_version: {default}"
    )
    registry, report = _import(tmp_path, trivia=text.replace("version: '1.10'", "version: 1.10"))

    assert report.files[0].ids == ("acme/trivia-1", "acme/trivia-1.10")
    assert report.files[0].alias is None
    assert _notes(report.files[0])["default_version"] == (default, "There is no such version among the entries.")
    assert not (registry.root / "aliases").exists()


@pytest.mark.parametrize(
    ("type", "task", "languages", "tags", "note"),
    [
        ("text_lang", "el", ("el",), ("text_lang", "trivia"), None),
        ("text_lang", "PT_br", ("pt-BR",), ("text_lang", "trivia"), "The language is written `pt-BR`."),
        ("text_lang", "english", (), ("text_lang", "english", "trivia"), "It is not the BCP 47 tag in use for a language"),
        ("text_lang", "iw", (), ("text_lang", "iw", "trivia"), "It is not the BCP 47 tag in use for a language"),
        ("text_task", "el", (), ("text_task", "el", "trivia"), "It is no task of the Hub; it is kept as a tag."),
    ],
)
def test_import_takes_a_language_from_language_adapters_only(
    tmp_path: Path, type: str, task: str, languages: tuple[str, ...], tags: tuple[str, ...], note: str | None
) -> None:
    """The task of a language adapter is its language, if it is one; another tag for it would be a guess."""
    registry, report = _import(tmp_path, trivia=_card(type=type, task=task))

    entry, notes = _entry(registry, "acme/trivia"), _notes(report.files[0])
    assert (entry.languages, entry.tags) == (languages, tags)
    assert notes.get("task", ("", ""))[1].startswith(note) if note else "task" not in notes


@pytest.mark.parametrize(
    ("config", "hidden", "sizes"),
    [
        ({}, 1024, (64,)),
        ({"reduction_factor": 3}, 100, (33,)),  # rounded down
        ({"reduction_factor": 0.5}, 100, (200,)),
        ({"reduction_factor": 200}, 100, (1,)),  # one unit at least
        ({"reduction_factor": 7.5}, 100, (13,)),
        ({}, None, ()),
        ({"reduction_factor": {"default": 16, "1": 2}}, 1024, ()),
        ({"reduction_factor": 0}, 1024, ()),
        ({"reduction_factor": "16"}, 1024, ()),
    ],
)
def test_import_computes_inner_sizes_from_stated_numbers_only(
    tmp_path: Path, config: dict[str, Any], hidden: int | None, sizes: tuple[int, ...]
) -> None:
    """The width follows from hidden size and a plain reduction factor, as `adapters` rounds it, or is not known."""
    changes = {"hidden_size": hidden, "config": {"using": "narrow", **config}}
    registry, report = _import(tmp_path, trivia=_card(**changes))

    if sizes == (200,):  # wider than the base model: the checks do not believe it
        assert _notes(report.files[0])["hidden_size // reduction_factor"][0] == "200"
        sizes = ()
    assert _entry(registry, "acme/trivia").method.inner_sizes == sizes


@pytest.mark.adapters
@pytest.mark.parametrize(("factor", "hidden"), [(16, 64), (3, 100), (200, 100), (7.5, 100), (0.5, 100)])
def test_inner_sizes_are_those_of_the_library(tmp_path: Path, factor: float, hidden: int) -> None:
    """The library that runs such modules makes a bottleneck of the same width."""
    import adapters
    from transformers import BertConfig, BertModel

    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 9}
    model = BertModel(BertConfig(hidden_size=hidden, **shape))
    adapters.init(model)
    getattr(model, "add_adapter")("a", config=adapters.SeqBnConfig(reduction_factor=factor))  # noqa: B009 (two of them)
    (width,) = {value.shape[0] for name, value in model.named_parameters() if "adapter_down" in name and "weight" in name}

    card = Card(
        path="adapters/acme/a.yaml",
        values=_card(hidden_size=hidden, config={"using": "narrow", "reduction_factor": factor}),
        spelled={"files": [{"version": "1"}], "default_version": "1"},
    )
    (drafted,) = draft(card, _hub(tmp_path)).entries
    assert drafted.values["method"]["inner_sizes"] == [width]


def test_import_takes_settings_as_stated(tmp_path: Path) -> None:
    """What the entry says overrides its architecture; what is no single value is noted."""
    own = {"using": "narrow", "non_linearity": "gelu", "leave_out": [1, 2], "phm": {"dim": 4}, "note": "a\nb"}
    registry, report = _import(tmp_path, trivia=_card(config=own))

    settings = _entry(registry, "acme/trivia").method.settings
    assert (settings["non_linearity"], settings["phm.dim"], settings["ln_after"]) == ("gelu", 4, False)
    assert "leave_out" not in settings
    notes = _notes(report.files[0])
    assert notes["config.leave_out.0"] == ("1", "A setting is one value.")
    assert notes["config.leave_out.1"] == ("2", "A setting is one value.")
    assert notes["config.note"][0] == "a\nb"
    assert "is not one line" in notes["config.note"][1]


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("email", "a@acme", "It is no e-mail address."),
        ("email", "a@acme.some-where", "It is no e-mail address."),
        ("email", "a (at) acme.org", "It is no e-mail address."),
        ("url", "http://acme.org", "is not a plain https address"),
        ("url", "https://localhost/a", "leads to no public host"),
        ("url", "javascript:alert(1)", "is not a plain https address"),
        ("github", "@a", "is not a plain word"),
        ("subtask", "<b>x</b>", "is not a plain word"),
        ("subtask", "a" * 300, "is not a plain word"),
        ("description", "See [this](https://a.org).", "which a reader's page would show as markup"),
        ("description", "=HYPERLINK(1)", "which a spreadsheet would run as a formula"),
        ("description", "a\x1b[31mb", "cannot be seen"),
        ("description", "a" * 5001, "is too long"),
        ("description", 5, "It is not a text."),
        ("citation", "\u202eabc", "cannot be seen"),
        ("hidden_size", "768d", "not a whole number"),
        ("hidden_size", -1, "must be above 0"),
        ("unheard_of", "x", "An entry has no field for it."),
    ],
)
def test_import_leaves_out_and_reports_what_no_entry_takes(tmp_path: Path, field: str, value: Any, why: str) -> None:
    """A bad value of an optional field costs that field, not the entry, and is reported with its reason."""
    registry, report = _import(tmp_path, trivia=_card(**{field: value}))

    note = next((said.value, said.why) for said in report.files[0].notes if said.field == field and why in said.why)
    assert note[0] == (value if isinstance(value, str) else json.dumps(value))
    assert report.refused == 0
    plain = {said for _, said in _leaves(plain_values(_entry(registry, "acme/trivia")))}
    assert value not in plain
    assert _errors(registry) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model_name": None}, "It has no `model_name`."),
        ({"model_name": "a b"}, "is not a Hub id"),
        ({"model_type": None}, "It has no `model_type`."),
        ({"author": None}, "It has no `author`."),
        ({"author": "=cmd()"}, "a spreadsheet would run as a formula"),
        ({"author": ["A", "B"]}, "not a text"),
        ({"files": None}, "It names no files."),
        ({"files": []}, "It names no files."),
        ({"files": "a.zip"}, "It names no files."),
        ({"config": None}, "It does not say which architecture it is of"),
        ({"config": {"reduction_factor": 2}}, "It does not say which architecture it is of"),
        ({"config": {"using": "wide"}}, "It is not known which method it is of: there is no architecture `wide`."),
        ({"config": {"using": "../../adapters/acme/trivia"}}, "there is no architecture `../../adapters/acme/trivia`"),
        ({"config": {"using": "/etc/passwd"}}, "there is no architecture `/etc/passwd`"),
        ({"config": {"using": "narrow", "architecture": "lora"}}, "`narrow` is no bottleneck adapter's"),
        ({"model_name": "a" * 300}, "is not one line of 1 to 200 characters"),
    ],
)
def test_import_refuses_what_cannot_be_an_entry(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    """A file without what every entry has is refused with its reason, and others are imported all the same."""
    registry, report = _import(tmp_path, other=_card(files=[_file("9")], default_version="9"), trivia=_card(**changes))

    other, trivia = report.files
    assert other.ids == ("acme/other",)
    assert (trivia.ids, len(trivia.refused)) == ((), 1)
    assert why in trivia.refused[0].why
    assert [path.name for path in (registry.root / "modules/acme").iterdir()] == ["other.yaml"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"url": "http://files.example.com/a.zip"}, "is not a plain https address"),
        ({"url": "file:///etc/passwd"}, "is not a plain https address"),
        ({"url": "https://127.0.0.1/a.zip"}, "leads to no public host"),
        ({"url": None}, "It has no `url`."),
        ({"sha256": None}, "It has no `sha256`."),
        ({"sha256": "abc"}, "is not a sha256"),
        ({"version": None}, "has no letter that an id can have"),
        ({"version": "1"}, "Another version is called `trivia-1` already."),
        ({"version": "a" * 96}, "is not an entry's id"),
        ({"sha256": sha256("zip 1")}, "`acme/trivia-1` has the same sha256"),
    ],
)
def test_import_refuses_single_versions(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    """A version that cannot be an entry costs that version only."""
    registry, report = _import(tmp_path, trivia=_card(files=[_file("1"), _file("2", **changes)], default_version="1"))

    (trivia,) = report.files
    assert (trivia.ids, trivia.alias) == (("acme/trivia-1",), "acme/trivia")
    (refused,) = trivia.refused
    assert (refused.field, report.refused) == ("files.1", 1)
    assert why in refused.why
    assert _errors(registry) == []


def test_import_makes_no_alias_for_a_version_that_was_refused(tmp_path: Path) -> None:
    """An alias that leads nowhere would be wrong."""
    files = [_file("1"), _file("2", url="ftp://a.org")]
    registry, report = _import(tmp_path, trivia=_card(files=files, default_version="2"))

    assert report.files[0].alias is None
    assert _notes(report.files[0])["default_version"] == ("trivia-2", "That version did not become an entry.")
    assert _errors(registry) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [b\n", "This is not YAML"),
        ("- a\n", "It is not a mapping"),
        ("a: &x [*x, *x]\n", "Line 1: `&x` is an anchor."),
        ("a: 1\na: 2\n", "Line 2: The key `a` is there already, in line 1."),
        ("a: !!python/object/apply:os.system ['true']\n", "is a tag"),
        ("a: " + "b" * 200_000, "It has 200,003 bytes, and an entry has 200,000 at most."),
        ("a: \x00\n", "which YAML does not allow"),
        ("", "It is not a mapping"),
    ],
)
def test_import_refuses_what_is_not_plain_yaml(tmp_path: Path, text: str, why: str) -> None:
    """What cannot be read is refused; nothing in it is expanded or built."""
    _, report = _import(tmp_path, trivia=text)

    assert why in report.files[0].refused[0].why
    assert report.entries == 0


def test_import_follows_no_links_and_reports_other_files(tmp_path: Path) -> None:
    """What is no file of an entry is listed too, so that nobody thinks that it was imported."""
    hub = _hub(tmp_path / "hub")
    (tmp_path / "secret.yaml").write_text(yaml.safe_dump(_card()))
    (hub / "adapters/acme/link.yaml").symlink_to(tmp_path / "secret.yaml")
    (hub / "adapters/linked").symlink_to(tmp_path, target_is_directory=True)
    (hub / "adapters/acme/notes.txt").write_text("a")
    (hub / "adapters/acme/folder.yaml").mkdir()
    (hub / "adapters/alone.yaml").write_text(yaml.safe_dump(_card()))
    (hub / "adapters/.gitkeep").write_text("")
    (hub / "architectures/linked.yaml").symlink_to(hub / "architectures/narrow.yaml")
    (hub / "adapters/acme/uses.yaml").write_text(yaml.safe_dump(_card(config={"using": "linked"})))

    report = import_adapterhub(hub, make_registry(tmp_path / "registry"))

    assert {file.path.removeprefix("adapters/"): file.refused[0].why for file in report.files} == {
        "acme/folder.yaml": "It is no `.yaml` file.",
        "acme/link.yaml": "It is a symbolic link, and was not followed.",
        "acme/notes.txt": "It is no `.yaml` file.",
        "acme/uses.yaml": "It is not known which method it is of: `architectures/linked.yaml` cannot be read: It is a symbolic "
        "link, and was not followed.",
        "alone.yaml": "It lies in no one's folder.",
        "linked": "It is a symbolic link, and was not followed.",
    }


def test_import_writes_names_as_ids_are_written(tmp_path: Path) -> None:
    """Names of files become ids; a change is noted, and two that become one are not both imported."""
    other = _card(files=[_file("2")], default_version="2")
    cards = {"Émile__x (v2)": _card(), "emile_x-v2": other, "con": _card(files=[_file("3")]), "---": other}
    registry = make_registry(tmp_path / "registry")
    report = import_adapterhub(_hub(tmp_path / "hub", **cards), registry)

    by_path = {Path(file.path).stem: file for file in report.files}
    assert by_path["Émile__x (v2)"].ids == ()
    assert by_path["emile_x-v2"].ids == ("acme/emile_x-v2",)
    assert by_path["Émile__x (v2)"].refused[0].why == "Its id, `acme/emile_x-v2`, is that of `adapters/acme/emile_x-v2.yaml`."
    assert _notes(by_path["Émile__x (v2)"])["the file's name"] == ("Émile__x (v2)", "In ids it is written `emile_x-v2`.")
    assert "`acme/con` is not an entry's id" in by_path["con"].refused[0].why
    assert by_path["---"].refused[0].why == "`---`, the file's name, has no letter that an id can have."
    assert _errors(registry) == []


def test_import_can_be_done_again(tmp_path: Path) -> None:
    """A second run changes nothing, and a dry run changes nothing at all but says the same."""
    hub = _hub(tmp_path / "hub", trivia=_card(files=[_file("1"), _file("2")]))
    registry = make_registry(tmp_path / "registry")

    tried = import_adapterhub(hub, registry, dry_run=True)
    assert [path.name for path in registry.root.iterdir()] == ["registry.yaml"]
    done = import_adapterhub(hub, registry)
    again = import_adapterhub(hub, registry)

    assert tried.as_json() == {**done.as_json(), "dry_run": True}
    assert done.written == ("modules/acme/trivia-1.yaml", "modules/acme/trivia-2.yaml", "aliases/acme.yaml")
    assert again.as_json() == {**done.as_json(), "written": []}


def test_import_replaces_other_entries_with_force_only(tmp_path: Path) -> None:
    """An entry or alias that says something else is not lost by mistake."""
    hub = _hub(tmp_path / "hub", trivia=_card(), many=_card(files=[_file("2"), _file("3")], default_version="3"))
    aliases = "# yaml-language-server: $schema=../schema/aliases.json\nformat_version: 1\nmodules:\n  many: ner\n"
    own = module_entry("acme/trivia", title="Ours")
    registry = make_registry(tmp_path / "registry", module_entry(), own, **{"aliases/acme.yaml": aliases})

    report = import_adapterhub(hub, registry)
    many, trivia = report.files
    assert (trivia.ids, trivia.refused[0].why) == (
        (),
        "There is another entry of this id in the registry; `--force` replaces it.",
    )
    assert _entry(registry, "acme/trivia").title == "Ours"
    assert many.alias is None
    assert _notes(many)["default_version"][1] == "The alias `many` leads to `ner` already; `--force` replaces it."

    forced = import_adapterhub(hub, registry, force=True)
    assert forced.refused == 0
    assert _entry(registry, "acme/trivia").title == "trivia (qa), narrow adapter for acme/bert-large"
    assert _entry(registry, "acme/many") == _entry(registry, "acme/many-3")


def test_import_keeps_aliases_that_are_there(tmp_path: Path) -> None:
    """New aliases join the others; a file that somebody wrote by hand keeps its comments, and the rest is told."""
    files = {"files": [_file("1"), _file("2")], "default_version": "2"}
    clean = "# yaml-language-server: $schema=../schema/aliases.json\nformat_version: 1\nmodules:\n  stable: ner\n"
    registry = make_registry(tmp_path / "a", module_entry(), **{"aliases/acme.yaml": clean})
    report = import_adapterhub(_hub(tmp_path / "hub", trivia=_card(**files)), registry)
    assert report.files[0].alias == "acme/trivia"
    model = registry.read("aliases/acme.yaml").model
    assert isinstance(model, Aliases)
    assert model.modules == {"stable": "ner", "trivia": "trivia-2"}

    by_hand = clean.replace("stable: ner", "stable: ner # for now")
    registry = make_registry(tmp_path / "b", module_entry(), **{"aliases/acme.yaml": by_hand})
    report = import_adapterhub(tmp_path / "hub", registry)
    assert (registry.root / "aliases/acme.yaml").read_text() == by_hand
    why = "`aliases/acme.yaml` was written by hand: add the alias there."
    assert _notes(report.files[0])["default_version"] == ("trivia-2", why)


def test_import_makes_no_alias_that_is_called_as_an_entry(tmp_path: Path) -> None:
    """A name means one thing."""
    registry = make_registry(tmp_path / "registry", module_entry("acme/trivia"))
    _, report = _import(tmp_path, into=registry, trivia=_card(files=[_file("1"), _file("2")]))

    assert _notes(report.files[0])["default_version"][1] == "The alias would be called as the entry `acme/trivia`."
    assert _errors(registry) == []


def test_import_refuses_what_is_registered_already(tmp_path: Path) -> None:
    """The same archive is one module, whoever registered it."""
    source = {"archive": "https://elsewhere.example.com/a.zip", "sha256": sha256("zip 1")}
    registry = make_registry(tmp_path / "registry", module_entry("zeta/old", source=source))
    _, report = _import(tmp_path, into=registry, trivia=_card())

    assert report.files[0].refused[0].why == "`zeta/old` has the same sha256: it is the same module."


def test_import_breaks_no_entry_that_is_there(tmp_path: Path) -> None:
    """An entry may not take the name of an alias; nothing is written then. What was wrong before does not matter."""
    aliases = "format_version: 1\nmodules:\n  trivia: ner\n"
    registry = make_registry(
        tmp_path / "registry", module_entry(), **{"aliases/acme.yaml": aliases, "modules/acme/broken.yaml": "id: a\n"}
    )
    with pytest.raises(EntryError, match=r"`aliases/acme\.yaml` would be wrong, in line 3: .*trivia"):
        _import(tmp_path, into=registry, trivia=_card())
    assert sorted(path.name for path in (registry.root / "modules/acme").iterdir()) == ["broken.yaml", "ner.yaml"]


def test_import_writes_through_no_link(tmp_path: Path) -> None:
    """A link in the registry leads nowhere."""
    registry = make_registry(tmp_path / "registry")
    (tmp_path / "outside").mkdir()
    (registry.root / "modules").symlink_to(tmp_path / "outside", target_is_directory=True)

    with pytest.raises(OutputError, match="modules` is a symbolic link"):
        _import(tmp_path, into=registry, trivia=_card())
    assert list((tmp_path / "outside").iterdir()) == []


def test_import_needs_a_copy_of_adapterhub_and_a_folder(tmp_path: Path) -> None:
    """Another folder is wrong usage, and so is a registry that cannot be written."""
    registry = make_registry(tmp_path / "registry")
    with pytest.raises(UsageError, match=r"registry` is no copy of AdapterHub's registry: it holds no folder `adapters`"):
        import_adapterhub(registry.root, registry)
    remote = Registry(root=registry.root, name="hf://datasets/a/b", revision="a" * 40)
    with pytest.raises(UsageError, match=r"`hf://datasets/a/b` is on the Hub"):
        import_adapterhub(_hub(tmp_path / "hub"), remote)


# --- nothing is lost -----------------------------------------------------------------------------------------------------


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield where, value
    else:
        for key, item in items:
            yield from _leaves(item, f"{where}.{key}" if where else str(key))


def _squeezed(text: object) -> str:
    return " ".join(str(text).split())


def _assert_nothing_is_lost(values: dict[str, Any], found: Drafts) -> None:
    """Each value of a file is in a draft, in a note of its field, or in a file or version that was refused."""
    carried = {_squeezed(value) for drafted in found.entries for _, value in _leaves(drafted.values)}
    whole = "\n".join(carried)
    noted = [note.field for note in found.notes]
    refused = [note.field for note in found.refused]
    if not found.entries:
        assert refused
        return
    for where, value in _leaves(values):
        if value in (None, "", [], {}) or (where, value) == ("prediction_head", False):
            continue
        if any(f"{where}.".startswith(f"{known}.") for known in (*refused, *noted)):
            continue
        if where.startswith("files.") and where.endswith(".version"):
            assert f"version {value}" in whole, where
        elif where == "default_version":
            assert found.alias is not None or len(values["files"]) == 1, where
        else:
            assert _squeezed(value) in carried or any(_squeezed(value) in text for text in carried), where


_ANY = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 2000), st.sampled_from(["a", "el", "1", "", "x y", "=a", "@a", "http://a"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("abc"), inner, max_size=2)),
    max_leaves=4,
)
_FIELDS = st.sampled_from([*_card(), "twitter", "prediction_head", "model_class", "license", "x"])


@settings(max_examples=50)
@given(
    changes=st.dictionaries(_FIELDS, _ANY, max_size=4),
    config=st.dictionaries(st.sampled_from("abcd"), _ANY),
    files=st.lists(_ANY),
)
def test_drafts_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], config: dict[str, Any], files: list[Any]
) -> None:
    """Whatever a file says, each of its values is carried over, noted or refused."""
    root = tmp_path_factory.getbasetemp() / "drafts"
    if not root.exists():
        _hub(root)
    values = _card(**{"config": {"using": "narrow", **config}, "files": [_file(), *files], **changes})
    spelled = yaml.load(yaml.safe_dump(values), yaml.BaseLoader)

    _assert_nothing_is_lost(values, draft(Card(path="adapters/acme/a.yaml", values=values, spelled=spelled), root))


@pytest.mark.data
def test_import_takes_over_the_real_sample(data_dir: Path, tmp_path: Path) -> None:
    """All of AdapterHub's own entries become entries with warnings only, and each value is there or noted."""
    registry = make_registry(tmp_path / "registry")
    hub = data_dir / "adapterhub"

    report = import_adapterhub(hub, registry)

    versions = 0
    for file in report.files:
        values = yaml.safe_load((hub / file.path).read_text())
        versions += len(values["files"])
        assert file.refused == ()
        entries = [yaml.safe_load((registry.root / f"modules/{id}.yaml").read_text()) for id in file.ids]
        carried = [_squeezed(value) for entry in entries for _, value in _leaves(entry)]
        noted = {note.field for note in file.notes}
        for where, value in _leaves(values):
            if where in noted or value in ("", None, False) or where == "default_version" or where.endswith(".version"):
                continue
            assert any(_squeezed(value) in text for text in carried), (file.path, where)
    assert report.entries == versions > len(report.files) > 20
    assert {problem.rule for problem in check(registry).problems} == {"incomplete", "license-unknown", "unknown-family"}
    assert import_adapterhub(hub, registry).written == ()
