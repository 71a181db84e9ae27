"""`modxfer registry build`: what it prints and writes, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.entries import make_registry, module_entry, whole_lineage


def test_build_prints_the_first_page(tmp_path: Path, call: Callable[..., Result]) -> None:
    """The file to open is the one line on stdout; what is on the page goes to stderr."""
    make_registry(tmp_path / "registry", *whole_lineage())
    done = call("registry", "build", "--registry", tmp_path / "registry", "--output", "site")
    assert (done.exit_code, done.stdout) == (0, "site/index.html\n"), done.stderr
    assert done.stderr.splitlines() == ["modules         2", "alignment maps  1", "files           10"]
    assert Path("site/modules/acme/ner-small.html").is_file()


def test_build_warns_of_what_is_left_out(tmp_path: Path, call: Callable[..., Result]) -> None:
    """Files with problems are named, and the rest is built all the same."""
    make_registry(tmp_path / "registry", module_entry(), module_entry("acme/bad", license="mine"), **{"modules/a.txt": ""})
    done = call("registry", "build", "--registry", tmp_path / "registry", "--output", "site")
    assert done.exit_code == 0
    expected = "Warning: 2 files have problems and are not on the page: `modules/a.txt`, `modules/acme/bad.yaml`."
    assert f"{expected} See them with `modxfer registry check`." in " ".join(done.stderr.split())
    assert sorted(path.name for path in Path("site/modules/acme").iterdir()) == ["ner.html"]


def test_build_json_has_the_promised_keys(tmp_path: Path, call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """--json prints folder, numbers and what was left out; the registry may come from the environment."""
    make_registry(tmp_path / "registry", module_entry(), module_entry("acme/bad", license="mine"))
    monkeypatch.setenv("MODXFER_REGISTRY", str(tmp_path / "registry"))
    done = call("registry", "build", "--output", "site", "--json")
    assert json.loads(done.stdout) == {
        "output": "site", "modules": 1, "alignments": 0, "files": 8, "left_out": ["modules/acme/bad.yaml"]
    }  # fmt: skip


def test_build_refuses_a_folder_that_exists(tmp_path: Path, call: Callable[..., Result]) -> None:
    """Nothing is overwritten without --force."""
    make_registry(tmp_path / "registry", module_entry())
    Path("site").mkdir()
    words = ["registry", "build", "--registry", tmp_path / "registry", "--output", "site"]
    done = call(*words)
    assert (done.exit_code, done.stdout, done.stderr) == (
        1,
        "",
        "Error: The output folder `site` exists. Name another with `--output`, or replace it with `--force`.\n",
    )
    assert call(*words, "--force").exit_code == 0


def test_build_needs_an_output(call: Callable[..., Result]) -> None:
    """Where to write is never guessed."""
    done = call("registry", "build")
    assert done.exit_code == 2
    assert "--output" in done.stderr
