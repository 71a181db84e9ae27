"""Modules by the id of their entry: fetched at the pinned commit, and nothing that differs from the entry is used."""

from pathlib import Path
from typing import Any

import pytest

from modxfer.errors import EntryError, FormatError, UsageError
from modxfer.registry.entries.models import AlignmentEntry, ModuleEntry
from modxfer.registry.entries.references import open_registered, resolve, resolve_alignment, resolve_module
from modxfer.registry.locate import locate_base, locate_module
from tests.entries import alignment_entry, make_registry, module_entry, pinned
from tests.hub.faults import Fault
from tests.hub.server import HubServer

CONFIG, TENSORS, CARD = "adapter_config.json", "adapter_model.safetensors", "README.md"
FILES = {CONFIG: b'{"peft_type": "LORA"}', TENSORS: b"tensors" * 9, CARD: b"A card.", "tokenizer.json": b"{}"}


@pytest.fixture
def commit(hub: HubServer) -> str:
    """Publish a module, which moves on after the commit that is given."""
    commit = hub.add_repo("acme/lora", FILES)
    hub.commit("acme/lora", {TENSORS: b"newer ones"})
    return commit


def registry(root: Path, *entries: dict[str, Any], **files: str) -> str:
    """Make a registry; gives its name."""
    return make_registry(root, *entries, **files).name


def fetched(hub: HubServer) -> set[str]:
    """Name the files that were asked for."""
    return {request.path.rpartition("/")[2] for request in hub.requests(path="/resolve/")}


def test_a_module_is_located_by_its_entry(hub: HubServer, commit: str, tmp_path: Path) -> None:
    """Its files come from the pinned commit, under the repository's name, by the entry's id or an alias; others do not."""
    entry = module_entry(source=pinned("acme/lora", commit, FILES))
    name = registry(tmp_path, entry, **{"aliases/acme.yaml": "format_version: 1\nmodules:\n  stable: ner\n"})
    found = locate_module("registry:acme/ner", registry=name)
    assert (found.name, found.revision, found.registered) == ("acme/lora", commit, "acme/ner")
    assert found.base == (entry["base"]["name"], entry["base"]["revision"])
    assert (found.folder / TENSORS).read_bytes() == FILES[TENSORS]
    assert set(found.files) == fetched(hub) | {CARD} == {CONFIG, TENSORS, CARD}
    hub.clear_log()
    assert locate_module("registry:acme/stable", registry=name) == found
    assert hub.log == []


def test_the_registry_is_named_and_not_stood_in(commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable names it as well as the option; the current folder does not."""
    registry(tmp_path, module_entry(source=pinned("acme/lora", commit, FILES)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match=r"`registry:acme/ner` names an entry, and no registry.*`--registry`, or in MODXFER_REG"
    ):
        locate_module("registry:acme/ner")
    monkeypatch.setenv("MODXFER_REGISTRY", ".")
    assert locate_module("registry:acme/ner").name == "acme/lora"


def test_a_registry_on_the_hub_serves_too(hub: HubServer, commit: str, tmp_path: Path) -> None:
    """A data set is a registry like a folder."""
    made = make_registry(tmp_path, module_entry(source=pinned("acme/lora", commit, FILES)))
    files = {path: (made.root / path).read_bytes() for path in ("registry.yaml", "modules/acme/ner.yaml")}
    hub.add_repo("acme/modules", files, repo_type="dataset")
    assert locate_module("registry:acme/ner", registry="hf://datasets/acme/modules").revision == commit


@pytest.mark.parametrize(
    ("path", "change", "said", "before"),
    [
        (TENSORS, {"sha256": "0" * 64}, f"`{TENSORS}` of `acme/lora` has the sha256 .*, and the entry `acme/ner` pins 0", 0),
        (TENSORS, {"size_bytes": 62}, f"`{TENSORS}` of `acme/lora` has 63 bytes, and the entry `acme/ner` pins 62", 0),
        (CONFIG, {"size_bytes": 5}, f"`{CONFIG}` of `acme/lora` has 21 bytes", 0),
        (CONFIG, {"sha256": "0" * 64}, f"`{CONFIG}` of `acme/lora` has the sha256 .* pins 000000000000", 1),
        (CARD, {"sha256": "0" * 64}, f"`{CARD}` of `acme/lora` has the sha256 .* pins 000000000000", 1),
        (TENSORS, {"path": "other.safetensors"}, f"The entry `acme/ner` does not pin `{TENSORS}`", 0),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_the_entry_pins_is_refused(
    hub: HubServer, commit: str, tmp_path: Path, path: str, change: dict[str, Any], said: str, before: int
) -> None:
    """Hash, size and name count: by what the Hub says where it says it, before anything is fetched; else afterwards."""
    source = pinned("acme/lora", commit, FILES)
    source["files"] = [{**file, **change} if file["path"] == path else file for file in source["files"]]
    name = registry(tmp_path, module_entry(source=source))
    hub.clear_log()
    for _ in range(2):
        with pytest.raises(EntryError, match=said):
            locate_module("registry:acme/ner", registry=name)
    assert bool(fetched(hub)) == bool(before)


def test_a_card_need_not_be_pinned(hub: HubServer, commit: str, tmp_path: Path) -> None:
    """It comes from the pinned commit, since it says what the module may be used for."""
    without = {path: content for path, content in FILES.items() if path != CARD}
    name = registry(tmp_path, module_entry(source=pinned("acme/lora", commit, without)))
    assert (locate_module("registry:acme/ner", registry=name).folder / CARD).read_bytes() == FILES[CARD]


def test_a_file_that_is_pinned_and_not_there(hub: HubServer, commit: str, tmp_path: Path) -> None:
    """What the repository lacks at the pinned commit is named; without a config it is no module."""
    newer = hub.commit("acme/lora", {TENSORS: None})
    found = open_registered(ModuleEntry.model_validate(module_entry(source=pinned("acme/lora", newer, FILES))))
    with pytest.raises(EntryError, match=f"pins `{TENSORS}`, which `acme/lora` does not hold at commit {newer[:12]}"):
        found.check([TENSORS])
    bare = hub.commit("acme/lora", {CONFIG: None})
    name = registry(tmp_path, module_entry(source=pinned("acme/lora", bare, FILES)))
    with pytest.raises(FormatError, match=r"`acme/lora` holds no `adapter_config\.json`"):
        locate_module("registry:acme/ner", registry=name)


def test_bytes_that_change_on_the_way_are_noticed(hub: HubServer, commit: str, tmp_path: Path) -> None:
    """What the Hub says is right, and what it sends is not."""
    name = registry(tmp_path, module_entry(source=pinned("acme/lora", commit, FILES)))
    hub.faults.add(Fault(kind="corrupt", host="storage", method="GET", times=None))
    with pytest.raises(Exception, match=f"`{TENSORS}` of `acme/lora` arrived twice with another content"):
        locate_module("registry:acme/ner", registry=name)


@pytest.mark.parametrize(
    ("repository", "revision"), [("acme/lora", "0" * 40), ("acme/gone", None)], ids=["revision", "repository"]
)
def test_what_is_gone_is_told(hub: HubServer, commit: str, tmp_path: Path, repository: str, revision: str | None) -> None:
    """An entry whose commit or repository is no longer there names both."""
    source = pinned(repository, revision or commit, FILES)
    name = registry(tmp_path, module_entry(source=source))
    said = f"The entry `acme/ner` names `{repository}` at commit {source['revision'][:12]}, which is not on the Hub"
    with pytest.raises(EntryError, match=said):
        locate_module("registry:acme/ner", registry=name)


def test_an_archive_is_for_the_user_to_fetch(hub: HubServer, tmp_path: Path) -> None:
    """What lies outside the Hub is named with its hash, and not asked for."""
    archive = {"archive": "https://example.com/ner.zip", "sha256": "a" * 64}
    name = registry(tmp_path, module_entry(source=archive))
    with pytest.raises(EntryError, match=r"archive outside the Hub, `https://example\.com/ner\.zip`.*sha256 is a{64}, unpack"):
        locate_module("registry:acme/ner", registry=name)
    assert hub.log == []


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("registry:", r"`\?` is not an entry's id"),
        ("registry:acme", "`acme` is not an entry's id"),
        ("registry:acme/../../secret", r"`acme/\.\./\.\./secret` is not an entry's id"),
        ("registry:../acme/ner", r"`\.\./acme/ner` is not an entry's id"),
        ("registry:..", r"`\.\.` is not an entry's id"),
        ("registry:Acme/Ner", "`Acme/Ner` is not an entry's id"),
        ("registry:acme/ner@main", "`acme/ner@main` is not an entry's id"),
        ("registry:acme/ner\x1b[31m", r"`acme/ner[^\x1b]*` is not an entry's id"),
        ("registry:/etc/passwd", "`/etc/passwd` is not an entry's id"),
        ("registry:acme/none", "has no module `acme/none`"),
        ("registry:acme/lost", "has no module `acme/gone`"),
        ("registry:acme/broken", r"`modules/acme/broken\.yaml` of the registry .* has \d+ problems"),
        ("registry:acme/bert-to-student", "has no module `acme/bert-to-student`"),
    ],
)  # fmt: skip
def test_names_of_no_module(hub: HubServer, tmp_path: Path, reference: str, said: str) -> None:
    """What is no id, leads nowhere, is broken or is something else is refused, and no file outside is read."""
    (tmp_path / "secret.yaml").write_text("password: x")
    aliases, broken = "format_version: 1\nmodules:\n  lost: gone\n", "title: x\nlicense: none of yours\n"
    more = {"aliases/acme.yaml": aliases, "modules/acme/broken.yaml": broken}
    name = registry(tmp_path / "mine", module_entry(), alignment_entry(), **more)
    with pytest.raises(EntryError, match=said):
        locate_module(reference, registry=name)
    assert hub.log == []


def test_an_id_may_be_a_modules_or_a_maps(tmp_path: Path) -> None:
    """Where one name is both, each kind is found where it is expected, and the module where either may be."""
    name = registry(tmp_path, module_entry("acme/x"), alignment_entry("acme/x"), alignment_entry("acme/y"))
    assert isinstance(resolve("registry:acme/x", name), ModuleEntry)
    assert isinstance(resolve("registry:acme/y", name), AlignmentEntry)
    assert resolve_module("registry:acme/x", name).title == "Named entities, LoRA"
    assert resolve_alignment("registry:acme/x", name).title == "From the large to the small one"
    with pytest.raises(EntryError, match="has no alignment map `acme/z`"):
        resolve_alignment("registry:acme/z", name)


def test_a_base_model_is_no_entry(tmp_path: Path) -> None:
    """Registries name modules and maps."""
    with pytest.raises(UsageError, match=r"`registry:acme/bert` names an entry.*Give the base model's Hub id"):
        locate_base("registry:acme/bert", memory=tmp_path)
