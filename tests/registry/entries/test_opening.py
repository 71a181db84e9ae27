"""Registries are found in folders and on the Hub; a copy of one on the Hub is whole or not there."""

import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modxfer.errors import EntryError, HubError, StoreError, UsageError
from modxfer.paths import home
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.opening import named_registry, open_registry
from modxfer.registry.hub.failures import RepositoryMissing, RevisionMissing
from tests.entries import alignment_entry, as_yaml, make_registry, module_entry
from tests.hub.faults import Fault
from tests.hub.remote import Person
from tests.hub.server import HubServer
from tests.registry.conftest import contents

NAME = "acme/modules"
ON_HUB = f"hf://datasets/{NAME}"
FILES = "/resolve/"


@pytest.fixture
def entries(tmp_path: Path) -> dict[str, bytes]:
    """Give the files of a registry of two modules, a map and an alias."""
    make_registry(
        tmp_path / "source",
        module_entry("acme/ner"),
        module_entry("acme/pos"),
        alignment_entry(),
        **{"aliases/acme.yaml": "format_version: 1\nmodules:\n  stable: ner\n"},
    )
    return contents(tmp_path / "source")


@pytest.fixture
def published(hub: HubServer, entries: dict[str, bytes]) -> HubServer:
    """Publish it, with other things beside."""
    beside = {"README.md": b"# Modules", "check.py": b"print()", ".github/workflows/check.yaml": b"on: push"}
    hub.add_repo(NAME, {**entries, **beside}, repo_type="dataset")
    hub.clear_log()
    return hub


def copied(registry: Registry) -> dict[str, bytes]:
    """Read what a copy holds, without what it notes of itself."""
    return {path: content for path, content in contents(registry.root).items() if path != ".fetched.json"}


def head(hub: HubServer) -> str:
    """Give the commit that the registry is at."""
    return hub.head(NAME, repo_type="dataset")


def test_a_folder_is_opened_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is named by option, by variable or by standing in it; only the commands of the registry look around."""
    make_registry(tmp_path / "mine", module_entry())
    (tmp_path / "mine" / "modules" / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "mine" / "modules" / "deep")
    assert open_registry().root == tmp_path / "mine"
    assert named_registry() is None
    monkeypatch.setenv("MODXFER_REGISTRY", str(tmp_path / "mine"))
    assert named_registry() == open_registry(str(tmp_path / "mine")) == Registry(
        root=tmp_path / "mine", name=str(tmp_path / "mine")
    )  # fmt: skip


def test_what_is_no_registry_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another folder, none, and nothing at all are three errors."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EntryError, match=r"is no registry: it holds no `registry\.yaml`"):
        open_registry(str(tmp_path))
    with pytest.raises(UsageError, match=r"There is no folder `nowhere`"):
        open_registry("nowhere")
    with pytest.raises(UsageError, match=r"No registry was named, and this folder is in none"):
        open_registry()


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("hf://models/acme/x", r"`hf://models/acme/x` is no place that a registry can be at"),
        ("hf://spaces/acme/x", r"`hf://spaces/acme/x` is no place"),
        ("hf://acme/x", r"`hf://acme/x` is no place"),
        ("https://huggingface.co/datasets/acme/x", r"`https://huggingface\.co/datasets/acme/x` is no place"),
        ("http://localhost/x", r"`http://localhost/x` is no place"),
        ("file:///etc", r"`file:///etc` is no place"),
        ("s3://bucket/\x1b[31mx", r"`s3://bucket/[^\x1b]*` is no place"),
        ("hf://datasets/acme", r"`hf://datasets/acme` does not say whose data set it is"),
        ("hf://datasets/", r"no id that the Hub could have"),
        ("hf://datasets/acme/../x", r"no id that the Hub could have"),
        ("hf://datasets/acme/x/y", r"no id that the Hub could have"),
    ],
)
def test_other_places_are_refused(hub: HubServer, reference: str, said: str) -> None:
    """What is no folder and no data set is wrong usage, and nobody is asked."""
    with pytest.raises(UsageError, match=said):
        open_registry(reference)
    assert hub.log == []


def test_a_registry_on_the_hub_is_fetched_once(published: HubServer, entries: dict[str, bytes]) -> None:
    """Its entries come as a plain folder, by one request each; then one asks for the branch's commit, and none for a commit."""
    registry = open_registry(ON_HUB)
    assert copied(registry) == entries
    assert (registry.name, registry.revision) == (ON_HUB, head(published))
    assert registry.root.is_relative_to(home())
    assert not [path for path in registry.root.rglob("*") if path.is_symlink()]
    assert len(registry.list_files().files) == len(entries) == 5
    assert [request.method for request in published.requests(path=FILES)] == ["GET"] * len(entries)
    assert len(published.requests(path="/api/datasets/")) == 2
    published.clear_log()
    assert open_registry(ON_HUB) == registry
    assert [request.path for request in published.requests(path=NAME)] == [f"/api/datasets/{NAME}"]
    published.clear_log()
    assert open_registry(f"{ON_HUB}@{registry.revision}") == registry
    assert published.log == []


def test_only_what_changed_is_fetched(published: HubServer, entries: dict[str, bytes]) -> None:
    """At the next commit, the rest is copied from the last one, which stays as it is."""
    old = open_registry(ON_HUB)
    changed = as_yaml(module_entry("acme/pos", title="Another title")).encode()
    published.commit(NAME, {"modules/acme/pos.yaml": changed, "modules/acme/ner.yaml": None}, repo_type="dataset")
    published.clear_log()
    new = open_registry(ON_HUB)
    kept = {path: content for path, content in entries.items() if path != "modules/acme/ner.yaml"}
    assert copied(new) == kept | {"modules/acme/pos.yaml": changed}
    assert [request.path.rpartition(FILES)[2].partition("/")[2] for request in published.requests(path=FILES)] == [
        "modules/acme/pos.yaml"
    ]
    assert copied(old) == entries
    assert open_registry(f"{ON_HUB}@{old.revision}") == old


def test_what_cannot_be_an_entry_is_not_fetched(
    hub: HubServer, entries: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Files with odd names, in odd places and of odd sizes are named from the Hub's list, and never asked for."""
    odd = {
        "modules/Acme/ner.yaml": b"x",
        "modules/acme/ner.yml": b"x",
        "modules/acme/deep/ner.yaml": b"x",
        "modules/acme/large.yaml": b"x" * 200_001,
        "alignments/lone.yaml": b"x",
        "aliases/acme/x.yaml": b"x",
        "modules/acme/\x1b[31m.yaml": b"x",
        "modules/acme/.gitkeep": b"",
    }
    hub.add_repo(NAME, {**entries, **odd}, repo_type="dataset")
    hub.clear_log()
    with caplog.at_level(logging.WARNING, logger="modxfer"):
        assert copied(open_registry(ON_HUB)) == entries
    assert len(hub.requests(path=FILES)) == len(entries)
    assert "7 files of `hf://datasets/acme/modules` cannot be an entry, by name or size" in caplog.text
    assert "\x1b" not in caplog.text


def test_a_data_set_of_something_else(hub: HubServer) -> None:
    """Without its settings nothing of a data set is fetched."""
    hub.add_repo(NAME, {"train.csv": b"a,b", "modules/acme/ner.yaml": b"x"}, repo_type="dataset")
    with pytest.raises(EntryError, match=r"`hf://datasets/acme/modules` is no registry: it holds no `registry\.yaml`"):
        open_registry(ON_HUB)
    assert hub.requests(path=FILES) == []


def test_what_is_not_there(published: HubServer) -> None:
    """A data set and a revision that do not exist are named; a model of the same name is no data set."""
    published.add_repo("acme/model", {"registry.yaml": b"format_version: 1\ntitle: x\n"})
    with pytest.raises(RepositoryMissing, match="`datasets/acme/model` is no folder here and not on the Hub"):
        open_registry("hf://datasets/acme/model")
    with pytest.raises(RevisionMissing, match="`datasets/acme/modules` has no revision `v9`"):
        open_registry(f"{ON_HUB}@v9")


@pytest.mark.parametrize("kind", ["drop", "status"])
def test_the_last_commit_is_used_while_the_hub_is_away(
    published: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """With a warning that names it; where nothing was fetched there is nothing to use."""
    monkeypatch.setenv("MODXFER_HUB_TIMEOUT", "1")
    before = open_registry(ON_HUB)
    published.commit(NAME, {"modules/acme/pos.yaml": None}, repo_type="dataset")
    published.faults.add(Fault(kind="drop", times=None) if kind == "drop" else Fault(kind="status", status=503, times=None))
    with caplog.at_level(logging.WARNING, logger="modxfer"):
        assert open_registry(ON_HUB) == before
    said = f"The Hub could not be reached; `{ON_HUB}` is taken at commit {str(before.revision)[:12]}, as last seen."
    assert said in [record.getMessage() for record in caplog.records]
    with pytest.raises(HubError, match="`datasets/acme/other`"):
        open_registry("hf://datasets/acme/other")


OPEN = f"from modxfer.registry.entries.opening import open_registry; found = open_registry('{ON_HUB}%s'); print(found.revision)"


def test_offline_it_is_as_last_seen(published: HubServer, tmp_path: Path) -> None:
    """Without the Hub the branch is where it was, and a commit needs not even the Hub's client."""
    person, commit = Person(folder=tmp_path / "one"), head(published)
    assert person.python(OPEN % "") == f"{commit}\n"
    published.clear_log()
    offline = "import os, sys; os.environ['HF_HUB_OFFLINE'] = '1'\n"
    assert person.python(offline + OPEN % "") == f"{commit}\n"
    loaded = "; print('huggingface_hub' in sys.modules, 'torch' in sys.modules)"
    assert person.python(offline + OPEN % f"@{commit}" + loaded) == f"{commit}\nFalse False\n"
    assert published.log == []


def _damage(what: str, root: Path) -> None:
    entry = root / "modules" / "acme" / "ner.yaml"
    match what:
        case "truncated":
            entry.write_bytes(entry.read_bytes()[:-5])
        case "changed":
            content = entry.read_bytes()
            entry.write_bytes(content.replace(b"Named", b"Other"))
        case "missing":
            entry.unlink()
        case "link":
            entry.rename(root / "elsewhere.yaml")
            entry.symlink_to(root / "elsewhere.yaml")
        case "extra":
            (root / "modules" / "acme" / "evil.yaml").write_bytes(entry.read_bytes())
        case "unmarked":
            (root / ".fetched.json").unlink()
        case "mismarked":
            (root / ".fetched.json").write_text(json.dumps({"files": {"registry.yaml": 5}}))


@pytest.mark.parametrize("what", ["truncated", "changed", "missing", "link", "extra", "unmarked", "mismarked"])
def test_a_damaged_copy_is_not_used(published: HubServer, entries: dict[str, bytes], what: str) -> None:
    """Whatever happened to it, it is made anew, and only what is not right is fetched again."""
    registry = open_registry(ON_HUB)
    _damage(what, registry.root)
    published.clear_log()
    again = open_registry(f"{ON_HUB}@{registry.revision}")
    assert (again, copied(again)) == (registry, entries)
    is_lost = what in ("truncated", "changed", "missing", "link")
    assert len(published.requests(path=FILES)) == is_lost
    assert not [path for path in again.root.parent.iterdir() if path != again.root]


def test_a_copy_with_other_times_is_still_right(published: HubServer) -> None:
    """A store that was moved to another disk is not fetched again."""
    registry = open_registry(ON_HUB)
    (registry.root / "registry.yaml").touch()
    published.clear_log()
    assert open_registry(f"{ON_HUB}@{registry.revision}") == registry
    assert published.log == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(kind="status", status=404, path=FILES, skip=2, times=None), "`datasets/acme/modules` at `"),
        (Fault(kind="corrupt", path=f"{FILES}.*ner", times=None), "`modules/acme/ner.yaml` of `acme/modules` arrived twice"),
        (Fault(kind="drop", path=f"{FILES}.*ner", times=None), "for `datasets/acme/modules` at `"),
    ],
    ids=["status", "corrupt", "drop"],
)
def test_half_a_registry_is_never_there(
    published: HubServer, entries: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, fault: Fault, said: str
) -> None:
    """If one file does not come, nothing is left; the next try begins anew."""
    monkeypatch.setenv("MODXFER_HUB_TIMEOUT", "0.5")
    published.faults.add(fault)
    with pytest.raises((HubError, UsageError), match=said):
        open_registry(ON_HUB)
    assert list((home() / "registries").iterdir()) == []
    published.faults.clear()
    assert copied(open_registry(ON_HUB)) == entries


def test_of_several_processes_one_fetches(published: HubServer, entries: dict[str, bytes], tmp_path: Path) -> None:
    """All open the same whole copy, and each file came once."""
    person = Person(folder=tmp_path / "one")
    person.folder.mkdir()
    published.faults.add(Fault(kind="delay", seconds=0.3, path=FILES, times=None))
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: person.run(sys.executable, "-c", OPEN % ""), range(3)))
    assert [(run.returncode, run.stdout, run.stderr) for run in runs] == [(0, f"{head(published)}\n", "")] * 3
    assert len(published.requests(path=FILES)) == len(entries)


def test_a_store_that_cannot_be_written(published: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place for the copy there is none."""
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MODXFER_HOME", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="Cannot lock"):
        open_registry(ON_HUB)
