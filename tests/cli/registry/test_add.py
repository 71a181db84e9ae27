"""`modxfer registry add`: an entry written by itself."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.builders import make_peft_module, tiny_config, tiny_model
from tests.entries import make_registry
from tests.hub.server import HubServer


@pytest.fixture
def add(hub: HubServer, call: Callable[..., Result], tmp_path: Path) -> Callable[..., Result]:
    """Add the module that is on the Hub to a registry."""
    model = tiny_model(tiny_config("bert"))
    model.config.save_pretrained(tmp_path / "base")
    make_peft_module(tmp_path / "ner", model, task_type="FEATURE_EXTRACTION")
    config = json.loads((tmp_path / "ner" / "adapter_config.json").read_text())
    files = {
        "adapter_config.json": json.dumps({**config, "base_model_name_or_path": "acme/base"}).encode(),
        "adapter_model.safetensors": (tmp_path / "ner" / "adapter_model.safetensors").read_bytes(),
        "README.md": b"---\nlicense: mit\n---\n# Names\n",
    }
    hub.add_repo("acme/base", {"config.json": (tmp_path / "base" / "config.json").read_bytes()})
    hub.add_repo("acme/ner", files)
    make_registry(tmp_path / "registry")
    return lambda *words: call("registry", "add", *words, "--registry", tmp_path / "registry")


def test_add_prints_the_file_and_what_was_not_found(add: Callable[..., Result], tmp_path: Path) -> None:
    """The path is all of stdout; notes are on stderr; again it is nothing to do."""
    result = add("acme/ner")
    path = tmp_path / "registry" / "modules" / "acme" / "ner.yaml"
    assert (result.exit_code, result.stdout) == (0, f"{path}\n"), result.stderr
    assert "title: Names\n" in path.read_text()
    assert "task: feature-extraction\n" in path.read_text()
    assert "Not found, and left out: data sets, languages, results, description." in result.stderr
    assert result.stderr.endswith("acme/ner was added.\n")
    again = add("acme/ner")
    assert (again.exit_code, again.stdout) == (0, f"{path}\n")
    assert "says the same: nothing was to be done" in again.stderr


def test_add_takes_what_is_said(add: Callable[..., Result], tmp_path: Path) -> None:
    """Every option gets into the entry, and `--json` prints it."""
    said = [
        "--id",
        "x/y",
        "--license",
        "Apache-2.0",
        "--author",
        "A",
        "--author",
        "B",
        "--title",
        "T",
        "--tag",
        "t",
        "--task",
        "k",
    ]
    printed = json.loads(add("acme/ner", *said, "--no-lineage", "--json").stdout)
    entry = printed["entry"]
    assert (printed["id"], printed["path"], printed["new"], printed["changed"]) == ("x/y", "modules/x/y.yaml", True, True)
    assert (entry["license"], entry["title"], entry["tags"], entry["task"]) == ("Apache-2.0", "T", ["t"], "k")
    assert entry["authors"] == [{"name": "A"}, {"name": "B"}]
    assert any("left out" in note for note in printed["notes"])


def test_a_dry_run_prints_the_entry(add: Callable[..., Result], tmp_path: Path) -> None:
    """It is what would be written, and nothing is."""
    result = add("acme/ner", "--dry-run")
    assert result.exit_code == 0
    assert "id: acme/ner\n" in result.stdout
    assert "Nothing was written" in result.stderr
    assert not (tmp_path / "registry" / "modules").exists()
    add("acme/ner")
    assert (tmp_path / "registry" / "modules" / "acme" / "ner.yaml").read_text() == result.stdout


def test_add_replaces_only_if_asked(add: Callable[..., Result], tmp_path: Path) -> None:
    """An entry that says something else is not overwritten without `--force`."""
    add("acme/ner")
    refused = add("acme/ner", "--title", "Other")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "Replace it with `--force`" in refused.stderr
    assert add("acme/ner", "--title", "Other", "--force").stderr.endswith("acme/ner was replaced.\n")


def test_add_says_how_it_is_used_wrongly(add: Callable[..., Result], tmp_path: Path) -> None:
    """A folder is to be pushed, and a wrong option is named, with exit status 2."""
    folder = add(tmp_path / "ner")
    assert folder.exit_code == 2
    assert "Push it with `modxfer push`" in folder.stderr
    wrong = add("acme/ner", "--id", "NO")
    assert wrong.exit_code == 2
    assert "`--id`: `NO` is not an entry's id" in wrong.stderr
