"""Conversions through a registry: its modules, its alignment maps, and what is written down of that."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from modxfer import api
from modxfer.api import AlignmentChoice, Converted
from modxfer.errors import AlignmentError, EntryError, FormatError, UsageError
from modxfer.registry.inspection import inspect
from modxfer.registry.reports import ModuleReport
from tests.entries import alignment_entry, make_registry, module_entry, pinned
from tests.hub.faults import Fault
from tests.hub.server import HubServer
from tests.registry.conftest import Made, contents

TEACHER, STUDENT, NER, MAP = "acme/teacher", "acme/student", "acme/ner", "stranger/map"


@pytest.fixture
def shared(acme: HubServer, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """Publish teacher, student, a module that names no base model, and a stranger's map; the registry is in `entries`."""
    monkeypatch.chdir(tmp_path)
    acme.add_repo(TEACHER, contents(made.teacher))
    acme.add_repo(STUDENT, contents(made.student))
    acme.add_repo(MAP, contents(made.map))
    publish_module(acme, made, base=None)
    register(acme)
    acme.clear_log()
    return acme


def publish_module(hub: HubServer, made: Made, *, base: str | None, revision: str | None = None) -> None:
    """Publish the module, with a config that says this of its base model."""
    files = contents(made.module)
    config = json.loads(files["adapter_config.json"]) | {"base_model_name_or_path": base, "revision": revision}
    files["adapter_config.json"] = json.dumps(config).encode()
    if ("model", NER) in hub.repos:
        hub.commit(NER, files)
    else:
        hub.add_repo(NER, files)


def register(hub: HubServer, *, module: dict[str, Any] | None = None, map: dict[str, Any] | None = None) -> None:
    """Write the registry: the module and the map as they are on the Hub, with these changes."""
    record = json.loads(hub.files(MAP)["alignment.json"])
    sides = {
        side: {**alignment_entry()[side], "name": name, "revision": hub.head(name), "fingerprint": record[side]["fingerprint"]}
        for side, name in (("teacher", TEACHER), ("student", STUDENT))
    }
    corpus = {**alignment_entry()["corpus"], "fingerprint": record["corpus"]["fingerprint"], "tokens": 900}
    an_alignment = alignment_entry("acme/to-student", source=pinned(MAP, hub.head(MAP), hub.files(MAP)), corpus=corpus, **sides)
    a_module = module_entry("acme/tagger", source=pinned(NER, hub.head(NER), hub.files(NER)), base=sides["teacher"])
    make_registry(Path("entries"), {**a_module, **(module or {})}, {**an_alignment, **(map or {})})


def convert(*, module: str = "registry:acme/tagger", output: str = "out", **choice: Any) -> Converted:
    """Convert, with a few of the options."""
    align = AlignmentChoice(**{"registry": "entries", **choice})
    return api.convert(module, to=STUDENT, align=align, output=Path(output), force=True)


def test_a_conversion_through_a_registry(shared: HubServer, made: Made) -> None:
    """Module, teacher and map come by their entries; the record and the card say so; the second time the store has the map."""
    found = convert().found
    published = {"repository": MAP, "revision": shared.head(MAP), "entry": "acme/to-student"}
    assert (found.source, found.published) == ("registry", published)
    assert contents(Path("out"))["adapter_model.safetensors"] == contents(made.converted)["adapter_model.safetensors"]
    record = json.loads(Path("out/transfer.json").read_text())
    assert (record["module"]["name"], record["module"]["entry"]) == (NER, "acme/tagger")
    assert (record["teacher"]["name"], record["teacher"]["revision"]) == (TEACHER, shared.head(TEACHER))
    assert record["alignment"]["published"] == published
    card = Path("out/README.md").read_text()
    assert "the entry `acme/tagger` of a registry" in card
    assert "the entry `acme/to-student` of a registry" in card
    shared.clear_log()
    again = convert(output="again").found
    assert (again.source, again.published) == ("store", published)
    assert shared.requests(path=MAP) == []
    assert contents(Path("again")) == contents(Path("out"))


def test_a_map_that_a_registry_led_to_serves_nobody_else(
    shared: HubServer, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without that registry the stranger's map in the store is not used, until it is pulled by its name."""
    publish_module(shared, made, base=TEACHER)
    register(shared)
    assert convert(module=NER).found.source == "registry"
    assert convert(module=NER, registry=None, corpus=str(made.text)).found.source == "computed"
    monkeypatch.setenv("MODXFER_HOME", "second-home")
    pulled = api.pull_alignment("registry:acme/to-student", registry="entries")
    assert (pulled.repository, pulled.entry) == (MAP, "acme/to-student")
    found = convert(module=NER, registry=None).found
    assert (found.source, found.alignment and found.alignment.key) == ("store", pulled.key)


def test_the_map_with_the_most_tokens_is_tried_first(shared: HubServer, made: Made, caplog: pytest.LogCaptureFixture) -> None:
    """A better one that fails is said and passed over, as are broken entries and those of other pairs and aligners."""
    register(shared, map={"id": "acme/fewer", "corpus": {**alignment_entry()["corpus"], "tokens": 5}})
    good = Path("entries/alignments/acme/to-student.yaml").read_text()
    sha256 = pinned("", "", shared.files(MAP))["files"][-1]["sha256"]
    assert sha256 in good
    for name, old, new in (
        ("bad", sha256, "0" * 64),
        ("gone", shared.head(MAP), "0" * 40),
        ("ridge", "requested: auto", "requested: lsa"),
        ("broken", "license: Apache-2.0", "license: whatever"),
    ):
        text = good.replace("acme/to-student", f"acme/{name}").replace("tokens: 900", "tokens: 9000")
        assert old in text
        Path(f"entries/alignments/acme/{name}.yaml").write_text(text.replace(old, new))
    with caplog.at_level(logging.INFO, logger="modxfer"):
        found = convert().found
    assert found.published is not None
    assert found.published["entry"] == "acme/to-student"
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert any(level == "WARNING" and "and the entry `acme/bad` pins 0000" in text for level, text in said)
    assert any("The entry `acme/gone` names `stranger/map` at commit 000000000000" in text for _, text in said)
    assert any(level == "WARNING" and "`alignments/acme/broken.yaml` has problems" in text for level, text in said)
    assert not any("ridge" in text or "fewer" in text for _, text in said)


@pytest.mark.parametrize("what", ["hash", "away", "registry away"])
def test_a_registry_never_stops_a_conversion(
    shared: HubServer, made: Made, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Where its map cannot be had or is not what is pinned, one is computed."""
    registry = "entries"
    if what == "hash":
        source = pinned(MAP, shared.head(MAP), shared.files(MAP))
        register(shared, map={"source": {**source, "files": [{**file, "sha256": "0" * 64} for file in source["files"]]}})
    elif what == "away":
        shared.faults.add(Fault(kind="status", status=403, path=MAP, times=None))
    else:
        registry = "hf://datasets/acme/modules"
        shared.faults.add(Fault(kind="status", status=403, path="/datasets/", times=None))
    publish_module(shared, made, base=TEACHER)
    found = convert(module=NER, registry=registry, corpus=str(made.text)).found
    assert found.source == "computed"
    if what != "away":
        expected = "pins 000000000000" if what == "hash" else "The registry was not looked into: You may not read"
        assert expected in caplog.text


def test_a_registry_that_is_not_there_is_told(shared: HubServer, made: Made) -> None:
    """A slip of the pen is no reason to compute for an hour."""
    with pytest.raises(UsageError, match="There is no folder `entires`"):
        convert(module=str(made.module), registry="entires")


def test_a_map_is_named_by_its_entry(shared: HubServer, made: Made) -> None:
    """`--alignment registry:...` takes it, if it is of this pair; `align show` shows it."""
    named = convert(alignment="registry:acme/to-student").found
    assert (named.source, named.published and named.published["entry"]) == ("registry", "acme/to-student")
    shown = api.find_alignment_map("registry:acme/to-student", registry="entries")
    assert named.alignment is not None
    assert shown.scores == named.alignment.scores
    raw = (made.student / "model.safetensors").read_bytes()
    shared.commit(STUDENT, {"model.safetensors": bytes([*raw[:-1], raw[-1] ^ 1])})
    with pytest.raises(AlignmentError, match="`registry:acme/to-student` was made for the student"):
        convert(alignment="registry:acme/to-student")


@pytest.mark.parametrize(
    ("base", "revision"),
    [("/home/me/bert", None), ("my-bert", None), (TEACHER, None), (TEACHER, "main"), (TEACHER, "head"), ("acme/former", None)],
)
def test_the_teacher_is_what_the_entry_says(shared: HubServer, made: Made, base: str, revision: str | None) -> None:
    """Where the config names a folder, or the same base model, also by a former name: at the entry's commit."""
    if base == "acme/former":
        shared.add_repo(base, contents(made.teacher))
        from huggingface_hub import HfApi

        shared.repos.pop(("model", TEACHER))
        HfApi().move_repo(base, TEACHER)
    at_head = shared.head(TEACHER)
    publish_module(shared, made, base=base, revision=at_head if revision == "head" else revision)
    register(shared)
    shared.commit(TEACHER, {"README.md": b"newer"})
    teacher = convert().record["teacher"]
    assert (teacher["name"], teacher["revision"]) == (TEACHER, at_head)


@pytest.mark.parametrize(
    ("base", "revision", "said"),
    [
        (STUDENT, None, f"the module belongs to `{TEACHER}@[0-9a-f]{{40}}`, and the module's own config says `{STUDENT}`"),
        (TEACHER, "1" * 40, f"and the module's own config says `{TEACHER}@1{{40}}`"),
    ],
)
def test_config_and_entry_may_not_contradict_each_other(
    shared: HubServer, made: Made, base: str, revision: str | None, said: str
) -> None:
    """Two different base models, or commits, are an error that names both, and `--from` decides."""
    publish_module(shared, made, base=base, revision=revision)
    register(shared)
    with pytest.raises(EntryError, match=said):
        convert()
    align = AlignmentChoice(registry="entries")
    done = api.convert("registry:acme/tagger", to=STUDENT, teacher=TEACHER, align=align, output=Path("out"), dry_run=True)
    assert done.record["teacher"]["name"] == TEACHER


def test_a_module_is_inspected_by_its_entry(shared: HubServer) -> None:
    """Its headers alone are read, after the Hub's hashes were held against the entry."""
    report = inspect("registry:acme/tagger", registry="entries")
    assert isinstance(report, ModuleReport)
    assert (report.repository, report.revision) == (NER, shared.head(NER))
    size = len(shared.files(NER)["adapter_model.safetensors"])
    assert all(request.range for request in shared.requests("GET", host="storage")), size
    source = pinned(NER, shared.head(NER), shared.files(NER))
    for path in ("adapter_model.safetensors", "adapter_config.json"):
        files = [{**file, "sha256": "0" * 64} if file["path"] == path else file for file in source["files"]]
        register(shared, module={"source": {**source, "files": files}})
        with pytest.raises(EntryError, match=f"`{path}` of `acme/ner` has the sha256 .* pins 000000000000"):
            inspect("registry:acme/tagger", registry="entries")
    with pytest.raises(FormatError, match="`registry:acme/to-student` is an alignment map"):
        inspect("registry:acme/to-student", registry="entries")


def test_modules_and_maps_are_pulled_by_their_entries(shared: HubServer) -> None:
    """What is copied is what the entry pins, and the copy knows where it came from."""
    pulled = api.pull("registry:acme/tagger", output=Path("copy"), registry="entries")
    assert (pulled.kind, pulled.repository, pulled.entry) == ("module", NER, "acme/tagger")
    expected = {path: content for path, content in shared.files(NER).items() if path in pulled.files}
    assert {path: content for path, content in contents(Path("copy")).items() if path != "origin.json"} == expected
    assert json.loads(Path("copy/origin.json").read_text())["repository"] == NER
    as_map = api.pull("registry:acme/to-student", registry="entries")
    assert (as_map.kind, as_map.entry, as_map.as_json()["entry"]) == ("alignment map", "acme/to-student", "acme/to-student")
    with pytest.raises(EntryError, match="has no alignment map `acme/tagger`"):
        api.pull_alignment("registry:acme/tagger", registry="entries")


def test_a_student_is_no_entry(shared: HubServer) -> None:
    """Where a base model is expected, the id of an entry is refused."""
    align = AlignmentChoice(registry="entries")
    for to, teacher in (("registry:acme/tagger", None), (STUDENT, "registry:acme/tagger")):
        with pytest.raises(UsageError, match="`registry:acme/tagger` names an entry of a registry, and those are modules"):
            api.convert("registry:acme/tagger", to=to, teacher=teacher, align=align, output=Path("out"))


def test_a_map_is_computed_for_a_registered_module(shared: HubServer, made: Made) -> None:
    """`align compute` takes the module too, and finds the registry's map."""
    found = api.compute_alignment("registry:acme/tagger", to=STUDENT, align=AlignmentChoice(registry="entries"))
    assert found.source == "registry"
