"""Publishing a folder: only what verifies, with a card and a licence, in one commit."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
import yaml
from huggingface_hub import HfApi
from safetensors.numpy import load_file

from modxfer import api
from modxfer.alignments.files import hash_file
from modxfer.api import PushChoice, push
from modxfer.errors import FormatError, HubError, UsageError
from modxfer.paths import home
from modxfer.registry.cards import python_blocks
from modxfer.registry.store import Store
from modxfer.registry.transfers import as_text
from tests.builders import make_peft_module
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
    (folder / "transfer.json").write_text(as_text(record))
    with pytest.raises(FormatError, match=r"`\.\./secret` is not what"):
        push(folder, PushChoice(name=NAME))
    record["files"].pop("../secret")
    (folder / "transfer.json").write_text(as_text(record))
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
    (folder / "transfer.json").write_text(as_text(record))
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
    (folder / "transfer.json").write_text(as_text({**record, "licence": None}))
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
    assert body == "# My own words\n"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("language: no\ntags: foo\n", "language: no\ntags: foo\nlicense: apache-2.0\n"),
        ("license: mit  # ours\n# a note\nx: {a: yes}\n", "license: apache-2.0\n# a note\nx: {a: yes}\n"),
        ("license:\n- mit\n- isc\n\nlanguage: [no, en]\n", "license: apache-2.0\n\nlanguage: [no, en]\n"),
        ("a: 1\r\nlicense: mit\r\n", "a: 1\r\nlicense: apache-2.0\r\n"),
        ("license: mit\nb: 2\nlicense: isc\n", "license: apache-2.0\nb: 2\n"),
        ("{license: mit, language: no}\n", "license: apache-2.0\nlanguage: 'no'\n"),
        ("", "license: apache-2.0\n"),
    ],
)
def test_only_the_licence_of_a_users_card_changes(
    acme: HubServer, made: Made, tmp_path: Path, head: str, expected: str
) -> None:
    """All other metadata and the body stay byte for byte; `no` is Norwegian."""
    folder = copy(made.converted, tmp_path / "mine")
    (folder / "README.md").write_bytes(f"---\n{head}---\nWords.\r\n\n---\nno\n".encode())
    planned = push(folder, PushChoice(name=NAME, licence="apache-2.0"), dry_run=True)
    assert planned.parcel.card == f"---\n{expected}---\nWords.\r\n\n---\nno\n"


def test_a_users_card_without_metadata_gets_some(acme: HubServer, made: Made, tmp_path: Path) -> None:
    """What was there follows as it was."""
    folder = copy(made.converted, tmp_path / "mine")
    (folder / "README.md").write_text("# My own words\n")
    push(folder, PushChoice(name=NAME))
    assert acme.files(NAME)["README.md"] == b"---\nlicense: mit\n---\n\n# My own words\n"


@pytest.mark.parametrize("head", ["- a list\n", "a: [broken\n", "tags: {a: b}\n"])
def test_a_users_card_that_cannot_be_read_is_refused(acme: HubServer, made: Made, tmp_path: Path, head: str) -> None:
    """Nothing of it is guessed."""
    folder = copy(made.map, tmp_path / "mine")
    (folder / "README.md").write_text(f"---\n{head}---\n")
    with pytest.raises(FormatError, match="metadata of the card cannot be read"):
        push(folder, PushChoice(name=NAME, licence="cc0-1.0"))
    assert acme.log == []


def test_a_card_with_several_licences_is_asked_about(made: Made, tmp_path: Path) -> None:
    """Neither of them is taken."""
    folder = copy(made.converted, tmp_path / "mine")
    (folder / "README.md").write_text("---\nlicense: [mit, isc]\n---\n")
    with pytest.raises(UsageError, match="`mit, isc` names several licences"):
        push(folder, PushChoice(name=NAME))


@pytest.mark.parametrize("kind", ["converted", "map"])
def test_a_card_that_leads_elsewhere_is_refused(acme: HubServer, made: Made, tmp_path: Path, kind: str) -> None:
    """What a link leads to may be a secret of this machine; a folder of that name is no card either."""
    folder = copy(getattr(made, kind), tmp_path / "mine")
    (tmp_path / "secret").write_text("a secret")
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError, match=r"README\.md` is a link"):
        push(folder, PushChoice(name=NAME, licence="mit"))
    (tmp_path / "secret").unlink()
    with pytest.raises(FormatError, match=r"README\.md` is a link"):
        push(folder, PushChoice(name=NAME, licence="mit"))
    (folder / "README.md").unlink()
    (folder / "README.md").mkdir()
    with pytest.raises(FormatError, match=r"README\.md` is no file"):
        push(folder, PushChoice(name=NAME, licence="mit"))
    assert acme.log == []


def test_a_token_is_not_published(acme: HubServer, made: Made, tmp_path: Path) -> None:
    """Whatever looks like one in a card or a record stops the push, which does not repeat it."""
    token = "hf_" + "abcdEFGH" * 4
    folder = copy(made.converted, tmp_path / "mine")
    (folder / "README.md").write_text(f"# Load it with {token}\n")
    with pytest.raises(UsageError, match=r"`README\.md` that looks like a token") as caught:
        push(folder, PushChoice(name=NAME))
    assert token not in str(caught.value)
    (folder / "README.md").unlink()
    record = json.loads((folder / "transfer.json").read_text())
    (folder / "transfer.json").write_text(as_text({**record, "warnings": [f"From https://me:{token}@example.org"]}))
    with pytest.raises(UsageError, match="that looks like a token"):
        push(folder, PushChoice(name=NAME))
    assert acme.log == []


# --- what is there already ---------------------------------------------------------------------------------------------


def replace_card(name: str, text: str) -> None:
    """Edit a card on the Hub, as anybody with access does."""
    HfApi().upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id=name)


@pytest.mark.parametrize("dry_run", [True, False])
def test_nothing_of_another_kind_is_replaced(acme: HubServer, made: Made, dry_run: bool) -> None:
    """A module, an alignment map and a base model keep their repositories, also on a new branch; nothing is changed."""
    push(made.converted, PushChoice(name="acme/module"))
    push(made.map, PushChoice(name="acme/map", licence="cc0-1.0"))
    acme.add_repo("acme/base", {"config.json": b"{}", "README.md": b"theirs"})
    before = {name: acme.commits(f"acme/{name}") for name in ("module", "map", "base")}
    for folder, name, said in (
        (made.map, "module", "`acme/module` holds a module, and this is an alignment map"),
        (made.converted, "map", "`acme/map` holds an alignment map, and this is a module"),
        (made.converted, "base", "`acme/base` holds a base model, and this is a module"),
        (made.map, "base", "`acme/base` holds a base model, and this is an alignment map"),
    ):
        for branch in ("main", "dev"):
            with pytest.raises(UsageError, match=said):
                push(folder, PushChoice(name=f"acme/{name}", licence="mit", branch=branch), dry_run=dry_run)
    assert {name: acme.commits(f"acme/{name}") for name in before} == before


def test_a_card_that_was_changed_there_is_said(acme: HubServer, made: Made) -> None:
    """The card of an earlier push is replaced without a word, one that somebody edited or wrote is not."""
    said = f"The card of `{NAME}` was changed on the Hub, and is replaced."
    push(made.converted, PushChoice(name=NAME))
    assert said not in push(made.converted, PushChoice(name=NAME, licence="isc")).parcel.warnings
    replace_card(NAME, "---\nlicense: mit\n---\nTheir words\n")
    assert said in push(made.converted, PushChoice(name=NAME), dry_run=True).parcel.warnings
    assert said in push(made.converted, PushChoice(name=NAME)).parcel.warnings
    assert said not in push(made.converted, PushChoice(name=NAME)).parcel.warnings
    acme.add_repo("acme/other", {"README.md": b"Their words"})
    assert "`acme/other` was changed" in push(made.converted, PushChoice(name="acme/other")).parcel.warnings[-1]


def test_a_maps_card_that_was_changed_there_is_said(acme: HubServer, made: Made) -> None:
    """A card without the tag of alignment maps is none that modxfer wrote."""
    said = f"The card of `{NAME}` was changed on the Hub, and is replaced."
    push(made.map, PushChoice(name=NAME, licence="cc0-1.0"))
    assert said not in push(made.map, PushChoice(name=NAME, licence="mit")).parcel.warnings
    replace_card(NAME, "---\nlicense: mit\n---\nTheir words\n")
    assert said in push(made.map, PushChoice(name=NAME, licence="mit")).parcel.warnings


def test_what_is_public_does_not_become_private(acme: HubServer, made: Made) -> None:
    """`--private` for a public repository is refused, not passed over; for a private one it is fine."""
    acme.add_repo("acme/public", {"notes.txt": b"x"})
    before = acme.commits("acme/public")
    with pytest.raises(UsageError, match="`acme/public` exists and is public"):
        push(made.converted, PushChoice(name="acme/public", private=True))
    assert acme.commits("acme/public") == before
    push(made.converted, PushChoice(name=NAME, private=True))
    assert push(made.converted, PushChoice(name=NAME, private=True)).commit.is_needed is False


def test_a_module_of_private_origin_is_said(acme: HubServer, made: Made, tmp_path: Path) -> None:
    """What is made of a private module may be public by mistake; not if it goes where it is private too."""
    folder = copy(made.converted, tmp_path / "mine")
    record = json.loads((folder / "transfer.json").read_text())
    for name, is_private in (("acme/secret", True), ("acme/known", False)):
        commit = acme.add_repo(name, {"notes.txt": b"x"}, private=is_private)
        (folder / "transfer.json").write_text(
            as_text({**record, "module": {**record["module"], "name": name, "revision": commit}})
        )
        said = [text for text in push(folder, PushChoice(name=NAME)).parcel.warnings if f"`{name}` is private" in text]
        assert bool(said) is is_private
        private = PushChoice(name="acme/hidden", private=True)
        for choice in (private, PushChoice(name="acme/hidden")):
            assert "is private" not in " ".join(push(folder, choice).parcel.warnings)


def test_the_card_on_a_branch_names_it(acme: HubServer, made: Made) -> None:
    """On a branch other than the main one; a pull request is for the main one."""
    push(made.converted, PushChoice(name=NAME))
    assert "revision=" not in push(made.converted, PushChoice(name=NAME)).parcel.card
    assert f'"{NAME}", revision="dev"' in push(made.converted, PushChoice(name=NAME, branch="dev")).parcel.card
    request = PushChoice(name=NAME, create_pr=True, licence="isc")
    assert "revision=" not in push(made.converted, request).parcel.card
    on_branch = PushChoice(name="acme/map", branch="dev", licence="mit")
    assert '"acme/map@dev"' in push(made.map, on_branch).parcel.card


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


@pytest.mark.parametrize(("name", "wrong"), [("a b", "`a b`"), ("acme/x@v2", "`acme/x@v2` names a revision")])
def test_names_that_cannot_be_are_refused(name: str, wrong: str) -> None:
    """Before anything is read or sent."""
    with pytest.raises(UsageError, match=wrong):
        PushChoice(name=name)


@pytest.mark.parametrize("format", ["peft", pytest.param("adapters", marks=pytest.mark.adapters)])
def test_the_card_on_a_branch_loads_from_there(
    acme: HubServer, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    """Its code is run as pasted beside the student; the main branch has nothing to load."""
    shutil.copytree(made.student, tmp_path / "student")
    monkeypatch.chdir(tmp_path)
    model = transformers.AutoModel.from_pretrained(made.teacher)
    make_peft_module(tmp_path / "module", model, target_modules=["query"])  # which both libraries can have
    use = api.AlignmentChoice(alignment=str(made.map))
    api.convert("module", to="student", teacher=str(made.teacher), align=use, format=format, output=Path("out"))
    pushed = push(Path("out"), PushChoice(name=NAME, branch="dev", licence="mit"))
    assert set(acme.files(NAME)) == set()
    names: dict[str, Any] = {}
    exec("\n".join(python_blocks(pushed.parcel.card)), names)
    weights = load_file(next(Path("out").glob("adapter*.safetensors")))
    loaded = [value.numpy() for key, value in names["model"].state_dict().items() if "lora_a" in key.lower()]
    expected = [value for key, value in weights.items() if "lora_a" in key.lower()]
    assert sorted(map(np.sum, loaded)) == pytest.approx(sorted(map(np.sum, expected)))
    assert expected


def test_an_alignment_map_is_found_by_its_tags(acme: HubServer, made: Made) -> None:
    """A map is pushed as it is, with the tags of its pair, and needs a licence."""
    with pytest.raises(UsageError, match=r"for the alignment map, .* `teacher` and `student`.*--license"):
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
