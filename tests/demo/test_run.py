"""The whole demo with a tiny teacher: real training, real conversions, everything small."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modxfer.demo.descending import Schedule
from modxfer.demo.run import run_demo
from modxfer.demo.settings import FULL, DemoSettings, Narrow
from modxfer.demo.words import OPEN_WORDS
from modxfer.errors import ModxferError, OutputError
from modxfer.registry.transfers import read_transfer
from modxfer.training.libraries.context import has_adapters
from tests.demo.tiny import tiny_teacher, tiny_tokenizer

STUDENTS = ("matching", "incompatible")
METHODS = ("LoRA", "adapter") if has_adapters() else ("LoRA",)
MODELS = ("default", "transferred SKIP", "transferred AVG")


@pytest.fixture
def settings(tmp_path: Path) -> DemoSettings:
    """The demo's settings, shrunk, with a tiny teacher whose vocabulary is that of the sentences."""
    words = sorted({word for phrases in OPEN_WORDS.values() for phrase in phrases for word in phrase.split()})
    folder = tmp_path / "tiny-teacher"
    folder.mkdir()
    tokenizer = tiny_tokenizer(words)
    tokenizer.save_pretrained(folder)
    tiny_teacher(vocabulary=len(tokenizer)).save_pretrained(folder)
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(" ".join(words[start::40]) for start in range(40)), encoding="utf-8")
    short = Schedule(steps=2, batch_size=4, learning_rate=1e-3)
    return replace(
        FULL,
        teacher=folder,
        train_sentences=24,
        test_sentences=8,
        max_tokens=24,
        narrow=Narrow(hidden=8, heads=2, ffn=14),
        rank=2,
        bottleneck=4,
        teach=short,
        distil=short,
        fine_tune=short,
        corpus=str(corpus),
        tokens=2000,
    )


def test_run_demo_fills_the_table(settings: DemoSettings, tmp_path: Path) -> None:
    """Every student, method and model has its row, every conversion its choice; files and progress are complete."""
    seen: list[tuple[str, float]] = []
    output = tmp_path / "out"

    result = run_demo(output=output, progress=lambda name, part: seen.append((name, part)), seed=1, settings=settings)

    assert [(row["student"], row["method"], row["model"]) for row in result.rows] == [
        *((None, method, "teacher") for method in METHODS),
        *((student, method, model) for student in STUDENTS for method in METHODS for model in MODELS),
    ]
    assert all(0 <= row[score] <= 100 for row in result.rows for score in ("f1", "zero_shot_f1"))
    assert {row["head"] for row in result.rows if row["model"] == "default"} == {"new"}
    assert [(done.student, done.method, done.layers) for done in result.conversions] == [
        (student, method, layers) for student in STUDENTS for method in METHODS for layers in ("skip", "avg")
    ]
    assert all(done.head == "kept" and done.reason for done in result.conversions)
    assert all((Path(done.output) / "transfer.json").is_file() for done in result.conversions)
    assert all((output / "students" / name / "model.safetensors").is_file() for name in STUDENTS)
    _check_trained(output, result.rows)
    assert json.loads((output / "demo.json").read_text(encoding="utf-8")) == json.loads(json.dumps(result.as_json()))
    assert "synthetic" in result.as_json()["data"]
    assert [part for _, part in seen] == sorted(part for _, part in seen)
    assert seen[0][1] == 0.0
    assert seen[-1][1] == pytest.approx(1.0)
    assert list(result.phases) == list(dict.fromkeys(name for name, _ in seen))
    assert (result.notes == ()) == ("adapter" in METHODS)


def _check_trained(output: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Every row of the table is that of a trained module with a card, in its place, with the same scores and steps."""
    for row in rows:
        begun = row["model"].removeprefix("transferred ").lower()
        place = ("teacher",) if row["student"] is None else ("trained", row["student"])
        folder = output.joinpath(*place, row["method"].lower(), *([begun] if row["student"] else []))
        record = read_transfer(folder)
        f1 = {result["stage"]: result["value"] for result in record["results"] if result["metric"] == "f1"}
        assert (f1["before training"], f1["after training"]) == (
            pytest.approx(row["zero_shot_f1"], abs=0.051),  # rounded in the table
            pytest.approx(row["f1"], abs=0.051),
        )
        assert record["training"]["fit"]["steps"] == row["steps"]
        assert (record["training"]["init"] == "module") == (row["head"] == "transferred")
        assert (folder / "README.md").is_file()
    assert not list(output.rglob("*checkpoint*"))


def test_run_demo_says_what_training_lacks(tmp_path: Path) -> None:
    """Where a package that scores is not installed, nothing is begun, and the message says what to install."""
    code = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "seqeval" else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from modxfer.demo.run import run_demo
from modxfer.errors import DependencyError
try:
    run_demo(output=Path(sys.argv[1]), progress=lambda name, part: None)
except DependencyError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert "needs `seqeval`, which is not installed. Install it with `pip install 'modxfer[train]'`" in done.stdout
    assert not (tmp_path / "out").exists()


def test_run_demo_leaves_nothing_after_an_error(settings: DemoSettings, tmp_path: Path) -> None:
    """Where a conversion fails (too little text here), the error comes through and the output is taken away again."""
    short = tmp_path / "short.txt"
    short.write_text("a b\n")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ModxferError, match="matched tokens"):
        run_demo(
            output=tmp_path / "out",
            progress=lambda name, part: None,
            settings=replace(settings, corpus=str(short)),
        )
    assert sorted(tmp_path.iterdir()) == before


def test_run_demo_refuses_an_output_that_exists(settings: DemoSettings, tmp_path: Path) -> None:
    """A folder that is there stays as it is, and this is known before anything is computed."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="taken` exists"):
        run_demo(output=tmp_path / "taken", progress=lambda name, part: None, settings=settings)
    assert list((tmp_path / "taken").iterdir()) == []
