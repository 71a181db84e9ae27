"""`modxfer registry search`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from modxfer.registry.entries.opening import REGISTRY_VARIABLE
from tests.entries import COMMIT, alignment_entry, make_registry, module_entry, whole_lineage
from tests.hub.server import HubServer

Call = Callable[..., Result]
STUDENT = "acme/bert-student"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a registry, and name it as the user's."""
    root = tmp_path / "registry"
    make_registry(root, *whole_lineage(), module_entry(title="Whales", languages=["pt-BR"], results=None))
    monkeypatch.setenv(REGISTRY_VARIABLE, str(root))
    return root


def found(done: Result) -> list[str]:
    """List the ids that were found."""
    assert done.exit_code == 0, done.stderr
    return [entry["id"] for entry in json.loads(done.stdout)["entries"]]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["whal"], ["acme/ner"]),
        (["named", "entities"], ["acme/ner-large", "acme/ner-small"]),
        (["--base", "bert-teacher", "--kind", "module"], ["acme/ner-large"]),
        (["--base", f"bert-teacher@{COMMIT[:7]}", "--task", "token-classification"], ["acme/ner-large"]),
        (["--family", "BERT", "--method", "lsa"], ["acme/bert-to-student"]),
        (["--format", "peft", "--language", "pt"], ["acme/ner"]),
        (["--license", "apache-2.0", "--tag", "news", "--author", "person", "--min-score", "F1>=0.875"],
         ["acme/ner-large", "acme/ner-small"]),
        (["--min-score", "f1=0.88"], []),
    ],
)  # fmt: skip
def test_search_passes_its_options_on(registry: Path, call: Call, words: list[str], ids: list[str]) -> None:
    """Each option is the filter that it is called."""
    assert found(call("registry", "search", *words, "--json")) == ids


def test_search_prints_a_record_an_entry(registry: Path, call: Call) -> None:
    """People see whole ids, titles, base models and the best score, within 80 columns; nothing else on stdout."""
    done = call("registry", "search", "--kind", "module", "--limit", 2)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("  ")] == ["acme/ner", "acme/ner-large"]
    assert lines[1] == "  Whales"
    assert "  lora on acme/bert-teacher; token-classification; f1 0.875" in lines
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert "These are 2 of 3; see more with --limit." in done.stderr


def test_search_that_finds_nothing_says_so(registry: Path, call: Call) -> None:
    """That is no failure."""
    done = call("registry", "search", "zebra")
    assert (done.exit_code, done.stdout) == (0, "Nothing was found.\n")


def test_search_says_what_it_could_not_read(registry: Path, call: Call) -> None:
    """Files with problems are counted, with the command that shows them."""
    (registry / "modules/acme/broken.yaml").write_text("title: [")
    done = call("registry", "search")
    assert "1 file has problems and was not searched: see `modxfer registry check`." in " ".join(done.stderr.split())
    assert json.loads(call("registry", "search", "--json").stdout)["files_with_problems"] == 1


def test_search_shows_no_control_characters(tmp_path: Path, call: Call) -> None:
    """What would move a cursor or turn a text round is left out, and escaped or harmless in JSON."""
    make_registry(tmp_path / "r", module_entry(title="A\x1b[31mB\u202eC [bold]D[/bold] :smile:"))
    done = call("registry", "search", "--registry", tmp_path / "r")
    assert not set("\x1b\u202e") & set(done.stdout)
    assert "[bold]D[/bold]" in "".join(done.stdout.split())
    assert "\x1b" not in call("registry", "search", "--registry", tmp_path / "r", "--json").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--min-score", "f2=0.5"], "It has `f1`, `mean_correlation`."),
        (["--min-score", "f1"], "`f1` is no minimum score."),
        (["--limit", 0], "A limit of 0 shows nothing."),
        (["--kind", "thing"], "'thing' is not one of"),
        (["--fits", "./no/such"], "`./no/such`"),
    ],
)
def test_search_refuses_wrong_usage(registry: Path, call: Call, words: list[str], message: str) -> None:
    """What cannot be meant ends with status 2 and says what can."""
    done = call("registry", "search", *words)
    assert done.exit_code == 2
    assert message in " ".join(str(done.stderr or done.exception).split())


def test_fits_tells_what_is_for_a_model_and_what_could_be(registry: Path, hub: HubServer, call: Call) -> None:
    """Modules of the base model, those that a map brings there, and the command that does so."""
    values = json.loads(call("registry", "search", "--fits", STUDENT, "--json").stdout)
    assert [module["id"] for module in values["as_is"]["modules"]] == ["acme/ner", "acme/ner-small"]
    (brought,) = values["transferable"]["modules"]
    assert (brought["id"], brought["route"]["mean_correlation"]) == ("acme/ner-large", 0.4375)
    done = call("registry", "search", "--fits", STUDENT)
    command = f"modxfer convert registry:acme/ner-large --to {STUDENT} --alignment registry:acme/bert-to-student"
    assert f"{command} --registry {registry}" in done.stdout.splitlines()
    assert "compared by their names" in " ".join(done.stderr.split())


def test_fits_that_finds_nothing_says_so(registry: Path, hub: HubServer, call: Call) -> None:
    """Both lists are told to be empty, and that is no failure."""
    done = call("registry", "search", "--fits", "acme/other")
    assert done.exit_code == 0
    assert "No module was found that is for acme/other." in done.stdout
    assert "No known alignment map brings another module to acme/other." in done.stdout


def test_an_alignment_map_is_shown_as_one(tmp_path: Path, call: Call) -> None:
    """Its record names both base models and its mean correlation."""
    make_registry(tmp_path / "r", alignment_entry())
    words = " ".join(call("registry", "search", "--registry", tmp_path / "r").stdout.split())
    assert "alignment map, lsa on acme/bert-teacher -> acme/bert-student; correlation 0.4375" in words
