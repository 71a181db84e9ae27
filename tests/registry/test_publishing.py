"""Publishing a folder: only what verifies, with a card and a licence, in one commit."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from modxfer import api
from modxfer.alignments.files import hash_file
from modxfer.api import PushChoice, push
from modxfer.errors import FormatError, HubError, UsageError
from modxfer.paths import home
from modxfer.registry.store import Store
from tests.hub.server import HubServer
from tests.registry.conftest import Made

NAME = "acme/moved"


def copy(folder: Path, to: Path) -> Path:
    """Copy a folder that a test is about to change."""
    return Path(shutil.copytree(folder, to))


def test_a_module_arrives_as_it_was_with_its_card(acme: HubServer, made: Made) -> None:
    """The weights and configs are the folder's, the card is written for its id, and the record knows the card's hash."""
    pushed = push(made.converted, PushChoice(name=NAME))
    there = acme.files(NAME)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert there[name] == (made.converted / name).read_bytes()
    card = there["README.md"].decode()
    assert card == pushed.parcel.card
    assert yaml.safe_load(card.split("---")[1])["license"] == "mit"
    assert f'"{NAME}"' in card
    assert set(there) == {"adapter_config.json", "adapter_model.safetensors", "README.md", "transfer.json"}
    record = json.loads(there["transfer.json"])
    assert record["licence"] == "mit"
    again = api.pull(NAME)
    assert again.files["README.md"] == record["files"]["README.md"]


def test_the_same_folder_again_makes_no_commit(acme: HubServer, made: Made) -> None:
    """Pushing is the same twice."""
    first = push(made.converted, PushChoice(name=NAME))
    again = push(made.converted, PushChoice(name=NAME))
    assert (again.commit.is_needed, again.commit.commit) == (False, first.commit.commit)
    assert again.as_json()["changed"] is False
    assert len(acme.commits(NAME)) == 2


def test_a_dry_run_changes_nothing_and_shows_everything(acme: HubServer, made: Made) -> None:
    """Files, sizes and card are those of the real push, and the repository is not made."""
    planned = push(made.converted, PushChoice(name=NAME), dry_run=True)
    assert ("model", NAME) not in acme.repos
    done = push(made.converted, PushChoice(name=NAME))
    assert planned.parcel.card == done.parcel.card
    assert planned.as_json()["files"] == done.as_json()["files"]
    assert planned.as_json()["commit"] is None


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_changed_folder_is_refused(acme: HubServer, made: Made, tmp_path: Path, name: str) -> None:
    """A file that is not what `transfer.json` says is named, and nothing is sent."""
    folder = copy(made.converted, tmp_path / "mine")
    (folder / name).write_bytes((folder / name).read_bytes().replace(b"lora", b"loRa", 1))
    with pytest.raises(FormatError, match=rf"mine` `{name}` is not what `transfer\.json` says"):
        push(folder, PushChoice(name=NAME))
    (folder / name).unlink()
    with pytest.raises(FormatError, match=rf"`{name}` is not what"):
        push(folder, PushChoice(name=NAME))
    assert acme.log == []


def test_a_record_that_names_files_elsewhere_is_refused(acme: HubServer, made: Made, tmp_path: Path) -> None:
    """Neither a path out of the folder nor a link is read, even with the right hash."""
    folder = copy(made.converted, tmp_path / "mine")
    shutil.copy(folder / "adapter_config.json", tmp_path / "secret")
    record = json.loads((folder / "transfer.json").read_text())
    record["files"]["../secret"] = record["files"]["adapter_config.json"]
    (folder / "transfer.json").write_text(json.dumps(record))
    with pytest.raises(FormatError, match=r"`\.\./secret` is not what"):
        push(folder, PushChoice(name=NAME))
    record["files"].pop("../secret")
    (folder / "transfer.json").write_text(json.dumps(record))
    (folder / "adapter_config.json").unlink()
    (folder / "adapter_config.json").symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError, match=r"`adapter_config\.json` is not what"):
        push(folder, PushChoice(name=NAME))


def test_a_record_that_agrees_with_nonsense_is_refused(acme: HubServer, made: Made, tmp_path: Path) -> None:
    """Weights that are no tensors are not published, even if somebody has written their hash into the record."""
    folder = copy(made.converted, tmp_path / "mine")
    (folder / "adapter_model.safetensors").write_bytes(b"no tensors at all")
    record = json.loads((folder / "transfer.json").read_text())
    record["files"]["adapter_model.safetensors"] = hash_file(folder / "adapter_model.safetensors")
    (folder / "transfer.json").write_text(json.dumps(record))
    with pytest.raises(FormatError, match=r"adapter_model\.safetensors`"):
        push(folder, PushChoice(name=NAME))
    assert acme.log == []


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("{", "as JSON"),
        ('{"format_version": 7}', "format version 7"),
        ('{"format_version": 1}', "not the record of a transfer"),
    ],
)
def test_a_record_that_is_none_is_refused(made: Made, tmp_path: Path, content: str, wrong: str) -> None:
    """What is no record, or one of a later version, is said."""
    folder = copy(made.converted, tmp_path / "mine")
    (folder / "transfer.json").write_text(content)
    with pytest.raises(FormatError, match=wrong):
        push(folder, PushChoice(name=NAME))


def test_a_folder_of_something_else_is_refused(made: Made, tmp_path: Path) -> None:
    """A module that modxfer did not write cannot be verified, and goes with another command."""
    with pytest.raises(UsageError, match=r"ner` holds neither `transfer\.json` nor `alignment\.json`.*`hf upload`"):
        push(made.module, PushChoice(name=NAME))
    with pytest.raises(UsageError, match="nowhere` is no folder"):
        push(tmp_path / "nowhere", PushChoice(name=NAME))


def test_a_card_without_licence_is_refused(acme: HubServer, made: Made, tmp_path: Path) -> None:
    """If the teacher module states none, the user must; then that is what the card and the record say."""
    folder = copy(made.converted, tmp_path / "mine")
    record = json.loads((folder / "transfer.json").read_text())
    (folder / "transfer.json").write_text(json.dumps({**record, "licence": None}))
    with pytest.raises(UsageError, match="--license"):
        push(folder, PushChoice(name=NAME))
    assert acme.log == []
    push(folder, PushChoice(name=NAME, licence="Apache-2.0"))
    assert yaml.safe_load(acme.files(NAME)["README.md"].decode().split("---")[1])["license"] == "apache-2.0"


def test_a_card_that_the_user_changed_is_kept(acme: HubServer, made: Made, tmp_path: Path) -> None:
    """The user's own card goes as it is, with the licence in it."""
    folder = copy(made.converted, tmp_path / "mine")
    (folder / "README.md").write_text("---\ntags: [mine]\nlicense: cc-by-4.0\n---\n# My own words\n")
    push(folder, PushChoice(name=NAME))
    head, body = acme.files(NAME)["README.md"].decode().split("---\n", 2)[1:]
    assert yaml.safe_load(head) == {"tags": ["mine"], "license": "cc-by-4.0"}
    assert body.strip() == "# My own words"


def test_what_does_not_belong_to_it_stays_here(acme: HubServer, made: Made, tmp_path: Path) -> None:
    """Other files in the folder are left out, and said."""
    folder = copy(made.converted, tmp_path / "mine")
    (folder / "training_args.bin").write_bytes(b"pickle")
    (folder / "notes").mkdir()
    (folder / "notes" / "private.txt").write_text("secret")
    pushed = push(folder, PushChoice(name=NAME))
    assert pushed.parcel.left_out == ("notes/private.txt", "training_args.bin")
    assert "training_args.bin" not in acme.files(NAME)


def test_an_old_file_of_weights_is_removed(acme: HubServer, made: Made) -> None:
    """A pickle of an earlier version would be loaded by somebody, so it goes in the same commit; a picture stays."""
    acme.add_repo(NAME, {"adapter_model.bin": b"old", "plot.png": b"picture"})
    push(made.converted, PushChoice(name=NAME))
    assert "adapter_model.bin" not in acme.files(NAME)
    assert acme.files(NAME)["plot.png"] == b"picture"


def test_base_models_that_only_this_machine_knows_are_said(acme: HubServer, made: Made) -> None:
    """Whoever loads the module needs the same files."""
    pushed = push(made.converted, PushChoice(name=NAME))
    (warning,) = pushed.parcel.warnings
    assert "student `student` is a folder" in warning


def test_a_private_repository_is_private(acme: HubServer, made: Made) -> None:
    """Nobody else sees it."""
    push(made.converted, PushChoice(name=NAME, private=True))
    assert acme.repository(NAME).private is True


@pytest.mark.parametrize(("name", "wrong"), [("a b", "`a b` is no folder"), ("acme/x@v2", "`acme/x@v2` names a revision")])
def test_names_that_cannot_be_are_refused(name: str, wrong: str) -> None:
    """Before anything is read or sent."""
    with pytest.raises(UsageError, match=wrong):
        PushChoice(name=name)


def test_an_alignment_map_is_found_by_its_tags(acme: HubServer, made: Made) -> None:
    """A map is pushed as it is, with the tags of its pair, and needs a licence."""
    with pytest.raises(UsageError, match="--license"):
        push(made.map, PushChoice(name=NAME))
    pushed = push(made.map, PushChoice(name=NAME, licence="cc0-1.0"))
    there = acme.files(NAME)
    for name in ("alignment.safetensors", "alignment.json"):
        assert there[name] == (made.map / name).read_bytes()
    tags = yaml.safe_load(there["README.md"].decode().split("---")[1])["tags"]
    assert {"modxfer", "alignment-map"} < set(tags)
    assert any(tag.startswith("modxfer-pair-") for tag in tags)
    assert [warning.split("`")[1] for warning in pushed.parcel.warnings] == ["teacher", "student"]
    assert str(made.text.parent) not in there["alignment.json"].decode()


def test_a_damaged_alignment_map_is_refused(acme: HubServer, made: Made, tmp_path: Path) -> None:
    """One changed byte is enough."""
    folder = copy(made.map, tmp_path / "mine")
    raw = bytearray((folder / "alignment.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "alignment.safetensors").write_bytes(bytes(raw))
    with pytest.raises(FormatError, match="is damaged"):
        push(folder, PushChoice(name=NAME, licence="cc0-1.0"))
    assert acme.log == []


def test_what_cannot_be_published_is_known_before_any_work(
    acme: HubServer, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a licence or a login, nothing is computed, written or sent."""
    module = copy(made.module, tmp_path / "ner")
    (module / "README.md").unlink()

    def convert(choice: PushChoice) -> api.Converted:
        corpus = api.AlignmentChoice(corpus=str(made.text))
        return api.convert(str(module), to=str(made.student), align=corpus, output=tmp_path / "out", push_to=choice)

    with pytest.raises(UsageError, match="--license"):
        convert(PushChoice(name=NAME))
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=NAME):
        convert(PushChoice(name=NAME, licence="mit"))
    assert not (tmp_path / "out").exists()
    assert list(Store(home()).list()) == []
    monkeypatch.setenv("HF_TOKEN", acme.add_user("acme"))
    done = convert(PushChoice(name=NAME, licence="mit"))
    assert done.pushed is not None
    assert acme.files(NAME)["adapter_model.safetensors"] == (tmp_path / "out" / "adapter_model.safetensors").read_bytes()
