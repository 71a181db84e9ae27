"""`modxfer train`: what it prints, and what it refuses."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.training.made import make_base, write_tagged


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a base model and data, in one folder."""
    folder = tmp_path_factory.mktemp("ground")
    make_base(folder / "base")
    write_tagged(folder / "train.conll", 40)
    write_tagged(folder / "test.conll", 20, seed=1)
    return folder


def words(ground: Path, output: Path, *, steps: int = 12, rate: float = 0.05) -> list[str]:
    """Give a command that trains for some steps."""
    data = ["--data", str(ground / "train.conll"), "--test", str(ground / "test.conll")]
    course = ["--max-steps", str(steps), "--learning-rate", str(rate), "--batch-size", "8"]
    return ["train", "--model", str(ground / "base"), "--task", "ner", *data, *course, "--output", str(output)]


def test_train_prints_the_folder_and_says_what_was_done(ground: Path, call: Callable[..., Result], tmp_path: Path) -> None:
    """Stdout is the folder alone; stderr says what was measured, and that a start that was better was not taken."""
    first = call(*words(ground, tmp_path / "first"), "--targets", "query, key")
    assert first.exit_code == 0, first.stderr
    assert first.stdout.splitlines() == [str(tmp_path / "first")]
    for part in ("lora, peft format", "a new module", "12; the weights are those of step", "95 % interval"):
        assert part in first.stderr
    assert "that was better" not in first.stderr
    config = json.loads((tmp_path / "first" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["target_modules"] == ["key", "query"]
    worse = call(*words(ground, tmp_path / "worse", steps=1, rate=50), "--init", tmp_path / "first")
    assert worse.exit_code == 0, worse.stderr
    assert "after the start (that was better: f1" in " ".join(worse.stderr.split())


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--from", "m"), ("--layers", "last"), ("--align", "lsa"), ("--alignment", "map"), ("--corpus", "text.txt")],
)
def test_train_refuses_options_of_a_conversion_that_is_not_made(
    ground: Path, call: Callable[..., Result], tmp_path: Path, flag: str, value: str
) -> None:
    """Without --init-from they would do nothing, and nobody would know."""
    done = call(*words(ground, tmp_path / "out"), flag, value)
    assert done.exit_code == 2
    assert f"`{flag} {value}` is for a module that is converted first" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_train_reports_from_one_of_several_processes(ground: Path, tmp_path: Path) -> None:
    """Only the main process has a record to report; the others end well too, and print nothing."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "modxfer"]
    command = [sys.executable, *launch, *words(ground, tmp_path / "two", steps=2), "--device", "cpu", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == str(tmp_path / "two")
