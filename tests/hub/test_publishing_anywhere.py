"""Pushing, pulling and looking, on whatever Hub there is: nothing here knows the server but through the genuine client."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

import modxfer
from modxfer import AlignmentChoice, PushChoice
from modxfer.errors import HubError, UsageError
from tests.hub.remote import Remote
from tests.registry.conftest import Made, contents


def commits(name: str, revision: str | None = None) -> list[str]:
    """List the commits of a branch, newest first."""
    return [commit.commit_id for commit in HfApi().list_repo_commits(name, revision=revision)]


def read(name: str, path: str, revision: str | None = None) -> bytes:
    """Read a file, as any client would."""
    return Path(HfApi().hf_hub_download(name, path, revision=revision)).read_bytes()


def test_a_module_goes_there_and_comes_back(remote: Remote, made: Made, tmp_path: Path) -> None:
    """One commit holds all of it; what is pulled is what was pushed; pushing again makes no commit."""
    name = remote.name("module")
    pushed = modxfer.push(made.converted, PushChoice(name=name, private=True))
    assert pushed.commit.is_new
    assert commits(name)[0] == pushed.commit.commit
    assert HfApi().model_info(name).private is True
    assert modxfer.push(made.converted, PushChoice(name=name)).commit.is_needed is False
    assert commits(name)[0] == pushed.commit.commit
    pulled = modxfer.pull(name, output=tmp_path / "copy")
    assert pulled.revision == pushed.commit.commit
    for path in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "copy" / path).read_bytes() == (made.converted / path).read_bytes()
    info = HfApi().model_info(name)
    assert info.card_data is not None
    assert (info.card_data["license"], info.card_data["library_name"]) == ("mit", "peft")
    assert {"modxfer", "lora", "license:mit"} <= set(info.tags or ())


def test_a_dry_run_leaves_no_trace(remote: Remote, made: Made) -> None:
    """The repository is not even made."""
    name = remote.name("dry")
    planned = modxfer.push(made.converted, PushChoice(name=name), dry_run=True)
    assert {change.kind for change in planned.commit.changes} == {"new"}
    assert HfApi().repo_exists(name) is False


def test_a_branch_and_a_pull_request_leave_main_alone(remote: Remote, made: Made, tmp_path: Path) -> None:
    """A branch is made from main; a pull request has the content, and main does not."""
    name = remote.name("branches")
    first = modxfer.push(made.converted, PushChoice(name=name)).commit.commit
    changed = Path(shutil.copytree(made.converted, tmp_path / "changed"))
    (changed / "README.md").write_text("---\nlicense: mit\n---\n# Other words\n")
    branch = modxfer.push(changed, PushChoice(name=name, branch="v2"))
    assert commits(name, "v2")[0] == branch.commit.commit
    request = modxfer.push(changed, PushChoice(name=name, create_pr=True, message="A better card"))
    (opened,) = (item for item in HfApi().get_repo_discussions(name) if item.is_pull_request)
    assert opened.title == "A better card"
    assert request.url.endswith(f"/discussions/{opened.num}")
    assert read(name, "README.md", f"refs/pr/{opened.num}").endswith(b"# Other words\n")
    assert commits(name)[0] == first


def test_a_branch_that_moved_is_refused(remote: Remote, made: Made, tmp_path: Path) -> None:
    """Whoever names the commit that they saw does not overwrite a later one."""
    name = remote.name("moved")
    seen = modxfer.push(made.converted, PushChoice(name=name)).commit.commit
    HfApi().upload_file(path_or_fileobj=b"theirs", path_in_repo="notes.txt", repo_id=name)
    changed = Path(shutil.copytree(made.converted, tmp_path / "changed"))
    (changed / "README.md").write_text("---\nlicense: mit\n---\n# Other words\n")
    with pytest.raises(HubError, match=f"and not at {str(seen)[:12]}"):
        modxfer.push(changed, PushChoice(name=name, parent_commit=seen))
    assert read(name, "notes.txt") == b"theirs"
    assert b"Other words" not in read(name, "README.md")


def test_what_is_not_there_is_said(remote: Remote) -> None:
    """A missing repository and a missing revision are usage errors."""
    name = remote.name("missing")
    with pytest.raises(UsageError, match=f"`{name}` is no folder here and not on the Hub"):
        modxfer.pull(name)
    HfApi().create_repo(name)
    with pytest.raises(UsageError, match=f"`{name}` has no revision `v9`"):
        modxfer.pull(f"{name}@v9")


def test_inspect_downloads_no_weights(remote: Remote, made: Made, tmp_path: Path) -> None:
    """Shapes and sizes are known, and no file of weights is in the cache; in a process of its own, so the cache is empty."""
    teacher = remote.upload("base", made.teacher)
    folder = Path(shutil.copytree(made.module, tmp_path / "module"))
    config = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": teacher}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    module = remote.upload("lora", folder)
    cache = tmp_path / "huggingface"
    for name, here in ((module, made.module), (teacher, made.teacher)):
        command = [sys.executable, "-m", "modxfer", "inspect", name, "--json"]
        environment = os.environ | {"HF_HOME": str(cache)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        there, expected = json.loads(done.stdout), modxfer.inspect(str(here)).as_json()
        for key in ("tensors", "weights", "parameters", "size_bytes"):
            assert there.get(key) == json.loads(json.dumps(expected.get(key)))
    assert [path.name for path in cache.rglob("*.safetensors")] == []


def test_an_alignment_map_is_found_by_others(
    remote: Remote, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one publishes another finds by its pair, and folders of the same models find it too."""
    name = remote.name("map")
    modxfer.push(made.map, PushChoice(name=name, licence="cc0-1.0"))
    monkeypatch.chdir(tmp_path)
    named = modxfer.convert(str(made.module), to=str(made.student), align=AlignmentChoice(alignment=name), output=Path("named"))
    assert named.found.published is not None
    assert named.found.published["repository"] == name
    pulled = modxfer.pull_alignment(name)
    found = modxfer.convert(str(made.module), to=str(made.student), output=Path("pulled")).found
    assert found.alignment is not None
    assert found.alignment.key == pulled.key
    weights = "adapter_model.safetensors"
    assert contents(Path("named"))[weights] == contents(Path("pulled"))[weights] == contents(made.converted)[weights]
    loaded = modxfer.AlignmentMap.from_pretrained(name)
    assert loaded.scores == modxfer.find_alignment_map(str(made.map)).scores
