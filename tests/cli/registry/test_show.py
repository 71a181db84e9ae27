"""`modxfer registry show`: what an entry is, for people and programs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.entries import COMMIT, alignment_entry, make_registry, module_entry, whole_lineage


@pytest.fixture
def shown(call: Callable[..., Result], tmp_path: Path) -> Callable[..., Result]:
    """Show an entry of a registry."""
    make_registry(tmp_path / "registry", *whole_lineage(), alignment_entry("acme/ner-small"))
    return lambda *words: call("registry", "show", *words, "--registry", tmp_path / "registry")


def test_show_a_module(shown: Callable[..., Result]) -> None:
    """Base, method, files with short hashes, results, lineage and commands; all fits 80 columns but the commands."""
    result = shown("acme/ner-small")
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    for part in (
        "module acme/ner-small",
        f"base model acme/bert-student at {COMMIT}",
        "bert, 6 layers (encoder), hidden 384, heads 384, ffn 1536",
        "lora, inner size 8, scaling 2",
        "places query, value",
        "parameters 73,728",
        "Trained on some news. Two lines of it.",
        "adapter_model.safetensors 125 B",
        "f1 0.875 acme/news test seqeval 1.2.2",
        "acme/ner-small on acme/bert-student",
        "made from acme/ner-large on acme/bert-teacher",
        "with alignment map acme/bert-to-student, layers skip",
        "modxfer convert registry:acme/ner-small --to MODEL",
        "modxfer pull registry:acme/ner-small --output DIR",
    ):
        assert part in words
    assert max(len(line) for line in result.stdout.splitlines() if not line.startswith("modxfer ")) <= 80
    assert "An alignment map has the same id: see it with --alignment." in result.stderr


def test_show_an_alignment_map(shown: Callable[..., Result]) -> None:
    """Both base models, corpus and scores, also by the option where a module has the same id."""
    words = " ".join(shown("acme/bert-to-student").stdout.split())
    for part in (
        "alignment map acme/bert-to-student",
        "teacher acme/bert-teacher at",
        "student acme/bert-student at",
        "aligner lsa (asked for: auto)",
        "acme/news, 20,000 tokens of 1,000 texts",
        "encoder 1 <- 2 0.3750",
        "--alignment registry:acme/bert-to-student",
    ):
        assert part in words
    assert shown("acme/ner-small", "--alignment").stdout.startswith("alignment map")


def test_show_prints_one_object(shown: Callable[..., Result]) -> None:
    """With `--json` the entry is as in its file, with its ancestors and commands."""
    printed = json.loads(shown("registry:acme/ner-small", "--json").stdout)
    assert (printed["kind"], printed["entry"]["base"]["widths"]) == ("module", {"hidden": 384, "heads": 384, "ffn": 1536})
    (step,) = printed["ancestors"]
    assert step == {
        "id": "acme/ner-large",
        "base": "acme/bert-teacher",
        "alignment": "acme/bert-to-student",
        "layers": "skip",
        "problem": None,
    }
    assert len(printed["commands"]) == 2


def test_texts_of_an_entry_do_nothing_to_a_terminal(call: Callable[..., Result], tmp_path: Path) -> None:
    """No escape sequence gets through, wherever it stands, and marks of markup are only text."""
    evil = "\x1b]0;owned\x07 \x1b[2J\u202e\x9b [red]x[/red] <b>"
    result = {"metric": "f1", "value": 0.5, "dataset": evil, "split": "test", "ran_by": evil}
    entry = module_entry(
        title=evil,
        description=f"{evil}\n{evil}\n",
        results=[result],
        authors=[{"name": evil}],
        datasets=[{"name": evil}],
        citation=evil,
    )
    make_registry(tmp_path / "registry", entry)
    found = call("registry", "show", "acme/ner", "--registry", tmp_path / "registry")
    assert found.exit_code == 0, found.stderr
    assert not set(found.stdout) & set("\x1b\x07\u202e\x9b")
    assert found.stdout.count("[red]x[/red] <b>") >= 3


def test_show_says_what_is_not_there(shown: Callable[..., Result]) -> None:
    """Exit status 1, and the id."""
    result = shown("acme/none")
    assert result.exit_code == 1
    assert "has no module `acme/none`" in result.stderr
