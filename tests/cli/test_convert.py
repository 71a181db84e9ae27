"""`modxfer convert`: what it prints and writes, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import Result

from modxfer import api
from modxfer.cli import options
from tests.builders import load_peft_module, tiny_config, tiny_model
from tests.cli.conftest import VOCABULARY, World, save_module
from tests.hub.server import HubServer

FEW = ("--tokens", 300)
KEYS = {
    "output", "format", "method", "teacher", "student", "layers", "alignment", "tensors", "head", "dropped",
    "approximated", "notes", "warnings", "pushed", "seconds",
}  # fmt: skip


def test_convert_writes_a_module_that_peft_loads(world: World, call: Callable[..., Result]) -> None:
    """The folder on stdout holds a module that the real peft loads on the student, whole."""
    done = call("convert", world.module, "--to", world.student, *FEW)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "ner-module-to-tiny-student\n"
    config = tiny_config("roberta", vocab=VOCABULARY, hidden=15, ffn=22, layers=2)
    load_peft_module(Path(done.stdout.strip()), tiny_model(config, task="TOKEN_CLS"))


def test_convert_says_what_it_did(world: World, call: Callable[..., Result]) -> None:
    """The summary has layer map, aligner and why, corpus, correlations, what was dropped, and how to load it; no line is longer
    than 80 columns but code."""
    lines = call("convert", world.module, "--to", world.student, *FEW).stderr.splitlines()
    text = "\n".join(lines)
    for part in (
        "skip, encoder: 0<-0  1<-2",
        "asked for: auto; computed now",
        "because",
        "modxfer multilingual text: 300 matched tokens",
        "encoder 0 <- 0: 0.",
        "head         kept",
        "10 converted",
        "encoder 1, encoder 3",
        "num_labels=5)",
        'PeftModel.from_pretrained(model, "ner-module-to-tiny-student")',
    ):
        assert part in text, part
    assert [line for line in lines if len(line) > 80 and not line.startswith("  model =")] == []
    assert [line for line in lines if line != line.rstrip()] == []


def test_convert_json_has_the_promised_keys(world: World, call: Callable[..., Result]) -> None:
    """--json prints the output, the alignment's source and id, the layer map and the rest."""
    words = ["convert", world.module, "--to", world.twin, "--layers", "1,3", "--head", "drop", "--json", *FEW]
    values = json.loads(call(*words).stdout)
    assert set(values) == KEYS
    assert values["layers"] == {"mode": "explicit", "map": {"encoder": [[[1, 1.0]], [[3, 1.0]]]}}
    assert values["head"] == "dropped"
    assert values["alignment"]["source"] == "computed"
    assert len(values["alignment"]["id"]) == 64
    again = json.loads(call(*words, "--force").stdout)
    assert again["alignment"]["source"] == "store"
    assert again["alignment"]["id"] == values["alignment"]["id"]


def test_convert_identity_keeps_tensors(world: World, call: Callable[..., Result]) -> None:
    """--align identity needs no text, and the summary says that it was stated, not measured."""
    done = call("convert", world.module, "--to", world.twin, "--align", "identity", "--output", "out")
    assert done.exit_code == 0, done.stderr
    assert "identity, stated, not measured" in done.stderr
    assert (Path("out") / "transfer.json").is_file()


def test_convert_quiet_prints_the_folder_only(world: World, call: Callable[..., Result]) -> None:
    """--quiet leaves stderr empty."""
    done = call("convert", world.module, "--to", world.twin, "--align", "identity", "--output", "out", "--quiet")
    assert (done.stdout, done.stderr) == ("out\n", "")


def test_convert_dry_run_writes_nothing(world: World, call: Callable[..., Result]) -> None:
    """--dry-run does the work, says so, and writes no module."""
    done = call("convert", world.module, "--to", world.twin, "--align", "identity", "--dry-run")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "Nothing was written" in done.stderr
    assert list(Path().iterdir()) == []


@pytest.mark.adapters
def test_convert_to_the_other_format(world: World, call: Callable[..., Result]) -> None:
    """--format adapters writes a module that says how `adapters` loads it."""
    words = ["convert", world.module, "--to", world.twin, "--align", "identity", "--format", "adapters"]
    done = call(*words, "--output", "out", "--json")
    assert json.loads(done.stdout)["format"] == "adapters"
    assert 'load_adapter("out", set_active=True, use_safetensors=True)' in done.stderr


def refuse(done: Result, status: int, *parts: str) -> None:
    """Check that a call failed as it must: status, no result, two sentences with these parts."""
    assert done.exit_code == status, done.stderr
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: "), done.stderr
    for part in parts:
        assert part in last
    assert "bug" not in last


def test_convert_refuses_what_is_no_module(world: World, call: Callable[..., Result]) -> None:
    """A base model's folder is no module."""
    refuse(call("convert", world.teacher, "--to", world.twin), 1, "`adapter_config.json`", "no module")


def test_convert_refuses_a_place_that_is_not_there(world: World, call: Callable[..., Result]) -> None:
    """A name that is neither a folder nor on the Hub is wrong usage."""
    refuse(call("convert", "no/such-module", "--to", world.twin), 2, "`no/such-module`", "no folder here")


@pytest.mark.parametrize(
    ("option", "value", "parts"),
    [
        ("--align", "magic", ("no aligner `magic`", "auto, identity, lsa, paper, linear")),
        ("--layers", "every-other", ("`every-other` is no layer map", "skip, last, avg")),
        ("--layers", "0,9", ("9",)),
        ("--layers", "0", ("layers 0 to 1",)),
        ("--tokens", "0", ("`--tokens 0`",)),
        ("--from", "no/such-base", ("`no/such-base`",)),
    ],
)
def test_convert_refuses_options_that_name_nothing(
    world: World, call: Callable[..., Result], option: str, value: str, parts: tuple[str, ...]
) -> None:
    """An aligner, layer map, number or teacher that is not there is wrong usage, and nothing is written."""
    refuse(call("convert", world.module, "--to", world.twin, option, value), 2, *parts)
    assert list(Path().iterdir()) == []


def test_convert_refuses_an_unknown_family(world: World, call: Callable[..., Result], tmp_path: Path) -> None:
    """A student of a family that is not in the table is named, with the file where a row is added."""
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "acme", "hidden_size": 12}')
    done = call("convert", world.module, "--to", tmp_path / "odd")
    refuse(done, 1, "`acme`", "hidden_size=12", "modxfer/architectures/families")


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("missing.txt", None, ("missing.txt", "There is no corpus")),
        ("empty.txt", "", ("empty.txt` is empty",)),
        ("small.txt", "two words\n", ("small.txt` gives", "12 units", "--corpus")),
        ("odd.bin", "text", ("odd.bin", "suffix")),
    ],
)
def test_convert_refuses_a_corpus(
    world: World, call: Callable[..., Result], name: str, text: str | None, parts: tuple[str, ...]
) -> None:
    """A corpus that is missing, empty, too small or of no known kind is named, and nothing is written."""
    if text is not None:
        Path(name).write_text(text)
    before = sorted(Path().iterdir())
    refuse(call("convert", world.module, "--to", world.twin, "--corpus", name), 1, *parts)
    assert sorted(Path().iterdir()) == before


def test_convert_refuses_a_device_that_is_not_here(world: World, call: Callable[..., Result]) -> None:
    """A device that this machine lacks is wrong usage."""
    device = "mps" if torch.cuda.is_available() else "cuda"
    done = call("convert", world.module, "--to", world.twin, "--device", device)
    refuse(done, 2, f"`{device}` is not available", "--device")


def test_convert_refuses_a_base_of_another_width(world: World, call: Callable[..., Result], tmp_path: Path) -> None:
    """A module whose base has another width than its tensors is refused with both numbers."""
    wide = save_module(tmp_path / "wide", world.teacher, tiny_config("bert", vocab=VOCABULARY, hidden=18, layers=4))
    refuse(call("convert", wide, "--to", world.twin), 1, "12", "18")


def test_convert_needs_the_teacher_of_a_module_that_names_none(
    world: World, call: Callable[..., Result], tmp_path: Path
) -> None:
    """A module that names a base that is nowhere is refused, and works with --from."""
    lost = save_module(tmp_path / "lost", Path("gone/teacher"), tiny_config("bert", vocab=VOCABULARY, layers=4))
    refuse(call("convert", lost, "--to", world.twin), 2, "`gone/teacher`", "--from")
    words = ["convert", lost, "--to", world.twin, "--from", world.teacher, "--align", "identity"]
    assert call(*words).exit_code == 0


def test_convert_keeps_an_output_that_exists(world: World, call: Callable[..., Result]) -> None:
    """An output that exists needs --force; a failure under --force leaves it as it was, success replaces it."""
    Path("out").mkdir()
    Path("out/mine").write_text("precious")
    words = ["convert", world.module, "--to", world.twin, "--output", "out"]
    refuse(call(*words, "--align", "identity"), 1, "`out` exists", "--force")

    Path("small.txt").write_text("two words\n")
    refuse(call(*words, "--force", "--corpus", "small.txt"), 1, "too few")
    assert Path("out/mine").read_text() == "precious"

    assert call(*words, "--force", "--align", "identity").exit_code == 0
    assert not Path("out/mine").exists()
    assert sorted(path.name for path in Path().iterdir()) == ["out", "small.txt"]


def test_convert_error_is_json_if_asked(world: World, call: Callable[..., Result]) -> None:
    """With --json an error is an object on stdout too, and the status stays."""
    done = call("convert", world.teacher, "--to", world.twin, "--json")
    assert done.exit_code == 1
    error = json.loads(done.stdout)["error"]
    assert error["type"] == "FormatError"
    assert done.stderr == f"Error: {error['what']} {error['do']}\n"


def test_default_tokens_are_those_of_the_library() -> None:
    """The number of tokens that the help page promises is the library's."""
    assert api.AlignmentChoice().tokens == options.DEFAULT_TOKENS


def test_options_of_publishing_need_a_name(world: World, call: Callable[..., Result]) -> None:
    """A licence or privacy without a place to publish would go unnoticed."""
    for words in (["--license", "mit"], ["--private"]):
        refuse(call("convert", world.module, "--to", world.twin, *words), 2, "`--license` and `--private`", "--push")


def test_a_push_that_fails_says_where_the_module_is(
    hub: HubServer, world: World, call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was converted is kept, and the message says how to go on."""
    monkeypatch.setenv("HF_TOKEN", hub.add_user("acme", role="read"))
    words = ["convert", world.module, "--to", world.twin, "--align", "identity", "--output", "out"]
    refuse(call(*words, "--push", "acme/x", "--license", "mit"), 1, "403", "The module is in `out`", "modxfer push out acme/x")
    assert (Path("out") / "transfer.json").is_file()


def test_convert_takes_several_modules(world: World, call: Callable[..., Result], tmp_path: Path) -> None:
    """Several modules go to folders of their names, share one alignment, and give one JSON object with a list."""
    other = save_module(
        tmp_path / "other", world.teacher, tiny_config("bert", vocab=VOCABULARY, layers=4), target_modules=["key"]
    )
    words = ["convert", world.module, other, "--to", world.twin, "--output", "both", *FEW]
    values = json.loads(call(*words, "--json").stdout)
    assert set(values) == {"converted"}
    assert [set(each) for each in values["converted"]] == [KEYS, KEYS]
    assert [each["output"] for each in values["converted"]] == ["both/ner-module", "both/other"]
    assert values["converted"][0]["alignment"]["id"] == values["converted"][1]["alignment"]["id"]
    done = call(*words, "--force")
    assert done.stdout == "both/ner-module\nboth/other\n"
    assert done.stderr.count("Load it in Python") == 2
    refuse(call(*words, "--force", "--push", "acme/x"), 2, "`--push acme/x`", "2 modules", "modxfer push")


def test_convert_refuses_a_rank(world: World, call: Callable[..., Result]) -> None:
    """A rank of nothing is wrong usage; the largest one is said by the config that is written."""
    words = ["convert", world.module, "--to", world.twin, "--align", "identity", "--output", "out"]
    refuse(call(*words, "--rank", 0), 2, "`--rank 0`")
    done = call(*words, "--rank", 2)
    assert done.exit_code == 0, done.stderr
    assert "cut to rank 2" in done.stderr
    assert json.loads(Path("out/adapter_config.json").read_text())["r"] == 2
