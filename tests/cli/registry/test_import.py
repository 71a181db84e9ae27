"""`modxfer registry import`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modxfer.cli import app
from tests.entries import make_registry, sha256

GOOD = f"""\
type: text_task
task: qa
subtask: trivia
model_type: bert
model_name: acme/bert-large
author: A. Person
twitter: "@a\\e[31m"
config:
  using: narrow
default_version: "1"
files:
- version: "1"
  url: https://files.example.com/a.zip
  sha256: {sha256("a")}
"""


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Make a copy of an AdapterHub with one good entry."""
    for name, text in {
        "adapters/acme/good.yaml": GOOD,
        "architectures/narrow.yaml": "config: {reduction_factor: 16}\n",
    }.items():
        (tmp_path / "hub" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "hub" / name).write_text(text)
    return tmp_path / "hub"


def test_import_prints_what_became_of_each_file(hub: Path, tmp_path: Path) -> None:
    """A table for each file, with field, value and reason, harmless in a terminal; exit status 0 where nothing was refused."""
    registry = make_registry(tmp_path / "registry")
    result = CliRunner().invoke(app, ["registry", "import", "adapterhub", str(hub), "--registry", str(registry.root)])

    assert result.exit_code == 0
    assert "adapters/acme/good.yaml -> acme/good\n" in result.stdout
    assert "An entry has no field for it." in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stdout.endswith("1 entry from 1 file, 0 refused; 1 file written.\n")
    assert (registry.root / "modules/acme/good.yaml").is_file()


def test_import_fails_if_something_was_refused(hub: Path, tmp_path: Path) -> None:
    """What can be imported is, and exit status 1 says that not all could."""
    (hub / "adapters/acme/bad.yaml").write_text("a: [\n")
    registry = make_registry(tmp_path / "registry")
    result = CliRunner().invoke(app, ["registry", "import", "adapterhub", str(hub), "--registry", str(registry.root), "--json"])

    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["entries"], report["refused"], report["dry_run"]) == (1, 1, False)
    assert report["written"] == ["modules/acme/good.yaml"]
    bad, good = report["files"]
    assert (bad["path"], bad["ids"], bad["refused"][0]["field"]) == ("adapters/acme/bad.yaml", [], "")
    assert bad["refused"][0]["why"].startswith("Line 2: This is not YAML")
    assert {"field": "twitter", "value": "@a\x1b[31m", "why": "An entry has no field for it."} in good["notes"]


def test_import_tries_with_dry_run(hub: Path, tmp_path: Path) -> None:
    """A dry run says what would be written, and writes nothing."""
    registry = make_registry(tmp_path / "registry")
    result = CliRunner().invoke(
        app, ["registry", "import", "adapterhub", str(hub), "--registry", str(registry.root), "--dry-run"]
    )

    assert result.exit_code == 0
    assert result.stdout.endswith("1 file would be written.\n")
    assert [path.name for path in registry.root.iterdir()] == ["registry.yaml"]


def test_import_replaces_with_force(hub: Path, tmp_path: Path) -> None:
    """Another entry of the same id is replaced only if that was asked for."""
    other = GOOD.replace("trivia", "science")
    registry = make_registry(tmp_path / "registry")
    command = ["registry", "import", "adapterhub", str(hub), "--registry", str(registry.root)]
    assert CliRunner().invoke(app, command).exit_code == 0
    (hub / "adapters/acme/good.yaml").write_text(other)

    refused = CliRunner().invoke(app, command)
    assert (refused.exit_code, "`--force` replaces it" in " ".join(refused.stdout.split())) == (1, True)
    assert CliRunner().invoke(app, [*command, "--force"]).exit_code == 0
    assert "science" in (registry.root / "modules/acme/good.yaml").read_text()


@pytest.mark.parametrize("arguments", [["elsewhere", "."], ["adapterhub"], ["adapterhub", "nowhere"]])
def test_import_refuses_wrong_usage(arguments: list[str], tmp_path: Path) -> None:
    """Unknown origins and folders are wrong usage."""
    registry = make_registry(tmp_path / "registry")
    result = CliRunner().invoke(app, ["registry", "import", *arguments, "--registry", str(registry.root)])

    assert result.exit_code == 2
    assert result.stdout == ""
