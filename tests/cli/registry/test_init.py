"""`modxfer registry init`: a registry in a folder."""

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result


def test_init_makes_a_registry_in_this_folder(call: Callable[..., Result]) -> None:
    """Without a folder it is this one; what was written, and what is left to do, is said on stderr."""
    result = call("registry", "init")
    assert (result.exit_code, result.stdout) == (0, ".\n")
    assert Path("registry.yaml").read_text().endswith("format_version: 1\ntitle: here\n")
    assert "schema/module.json" in result.stderr.replace("\n", "")
    assert "where OWNER stands" in result.stderr
    assert call("registry", "check").exit_code == 0


def test_init_says_what_it_left_as_it_was(call: Callable[..., Result]) -> None:
    """With `--json` both lists are there, and nothing else is on stdout."""
    Path("new").mkdir()
    Path("new/README.md").write_text("Ours.")
    result = call("registry", "init", "new", "--title", "Modules of Acme", "--json")
    printed = json.loads(result.stdout)
    assert (result.exit_code, printed["folder"], printed["title"]) == (0, "new", "Modules of Acme")
    assert printed["kept"] == ["README.md"]
    assert "registry.yaml" in printed["written"]


def test_init_refuses_a_registry(call: Callable[..., Result]) -> None:
    """One sentence says what is wrong, one what to do."""
    call("registry", "init", "new")
    result = call("registry", "init", "new")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: `new` is a registry already: it holds `registry.yaml`. Name another folder.\n"


def test_the_page_names_commands_that_there_are(call: Callable[..., Result]) -> None:
    """What a new registry's README tells people to type is known, with its options."""
    call("registry", "init")
    lines = [line.split() for line in Path("README.md").read_text().splitlines() if line.startswith("modxfer ")]
    assert len(lines) == 5
    for _, *words in lines:
        names = [word for word in words if word.islower() and word.isalpha()]
        known = call(*names, "--help")
        assert known.exit_code == 0
        assert all(word in known.stdout for word in words if word.startswith("--"))
