"""Trained modules are published, pulled, inspected and registered like converted ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi
from typer.testing import CliRunner

from modxfer import api
from modxfer.api import PushChoice, push
from modxfer.cli import app
from modxfer.converters.formats import inspect_files
from modxfer.errors import UsageError
from modxfer.registry.head_names import head_names
from modxfer.registry.inspection import inspect
from modxfer.registry.locate import locate_module
from modxfer.registry.reports import ModuleReport
from tests.hub.server import HubServer
from tests.registry.conftest import Made, acme, made
from tests.training.trained import LABELS, result, train

__all__ = ["acme", "made"]


@pytest.fixture
def base(acme: HubServer, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a base model that is on the Hub."""
    monkeypatch.chdir(tmp_path)
    HfApi().create_repo("acme/small")
    HfApi().upload_folder(repo_id="acme/small", folder_path=str(made.student))
    return "acme/small"


def test_a_module_from_scratch_needs_a_licence(base: str, acme: HubServer) -> None:
    """Nobody has stated one yet; then it arrives with it, and names the base model at its commit."""
    train(Path("mine"), base, results=[result()])
    with pytest.raises(UsageError, match="trained from scratch on `acme/small`"):
        push(Path("mine"), PushChoice(name="acme/mine"))
    push(Path("mine"), PushChoice(name="acme/mine", licence="mit"))
    card = acme.files("acme/mine")["README.md"].decode()
    head = yaml.safe_load(card.split("---")[1])
    assert (head["license"], head["base_model"], head["model-index"][0]["name"]) == ("mit", "acme/small", "acme/mine")
    config = json.loads(acme.files("acme/mine")["adapter_config.json"])
    assert config["base_model_name_or_path"] == "acme/small"
    assert len(config["revision"]) == 40


def test_a_trained_transfer_goes_under_its_teachers_licence(
    made: Made, acme: HubServer, tmp_path: Path, monkeypatch: Any
) -> None:
    """As the converted module would."""
    monkeypatch.chdir(tmp_path)
    train(Path("mine"), str(made.student), init=str(made.converted))
    assert push(Path("mine"), PushChoice(name="acme/mine")).parcel.licence == "mit"


def test_a_private_beginning_is_not_made_public_without_a_word(base: str, acme: HubServer) -> None:
    """Neither the teacher module, nor the module that a training began with."""
    train(Path("first"), base)
    push(Path("first"), PushChoice(name="acme/first", licence="mit", private=True))
    train(Path("second"), base, init="acme/first")
    pushed = push(Path("second"), PushChoice(name="acme/second", licence="mit"))
    assert pushed.parcel.warnings == (
        "The module `acme/first` is private, and what is made of it goes where others may see it.",
    )


def test_a_pulled_module_knows_its_labels(base: str, acme: HubServer) -> None:
    """The record comes with it, into the cache and into a folder."""
    train(Path("mine"), base)
    push(Path("mine"), PushChoice(name="acme/mine", licence="mit"))
    located = locate_module("acme/mine")
    assert (located.folder / "transfer.json").is_file()
    api.pull("acme/mine", output=Path("pulled"))
    assert head_names(inspect_files(Path("pulled"))) == LABELS
    again = train(Path("again"), base, init="pulled")
    assert again["training"]["init_module"]["name"] == "acme/mine"
    assert len(again["training"]["init_module"]["revision"]) == 40


def test_inspect_shows_training_and_results(base: str, acme: HubServer) -> None:
    """Of a folder and of a repository, in words and as JSON."""
    train(Path("mine"), base, results=[result()])
    push(Path("mine"), PushChoice(name="acme/mine", licence="mit"))
    for reference in ("mine", "acme/mine"):
        report = inspect(reference)
        assert isinstance(report, ModuleReport)
        assert (report.training["task"], report.results[0]["value"]) == ("ner", 79.5)
        printed = CliRunner().invoke(app, ["inspect", reference], env={"COLUMNS": "200"})
        shown = " ".join(printed.stdout.split())
        assert "for ner on acme/names, 40 steps; best f1 81.25 at step 30" in shown
        assert "f1 79.50 (75.00 to 84.00) on acme/names acme/names test, after training" in shown


def test_a_trained_module_is_registered_with_its_results(base: str, acme: HubServer) -> None:
    """Its entry repeats what the card says was measured, as fractions, pins the record, and passes all checks online."""
    train(Path("mine"), base, results=[result(), result(stage="before training", value=1.0)])
    push(Path("mine"), PushChoice(name="acme/mine", licence="mit"))
    runner = CliRunner()
    assert runner.invoke(app, ["registry", "init", "reg", "--title", "Mine"]).exit_code == 0
    added = runner.invoke(app, ["registry", "add", "acme/mine", "--registry", "reg"])
    assert added.exit_code == 0, added.output
    (path,) = Path("reg/modules").glob("*/*.yaml")
    entry = yaml.safe_load(path.read_text())
    (measured,) = entry["results"]
    assert (measured["metric"], measured["value"], measured["split"]) == ("f1", 0.795, "test")
    assert "transfer.json" in {file["path"] for file in entry["source"]["files"]}
    checked = runner.invoke(app, ["registry", "check", "reg", "--online", "--json"])
    assert json.loads(checked.stdout)["problems"] == [], checked.stdout
    shutil.rmtree("mine")
    assert locate_module("registry:acme/mine", registry="reg").files[-1] == "transfer.json"
