"""`modxfer evaluate`: what it prints and writes, and what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from modxfer.cli.evaluation_reports import comparison_line
from modxfer.training.significance import Comparison
from modxfer.training.tasks import TASKS
from tests.training.made import make_base, write_tagged
from tests.training.trained import train

LABELS = ("O", "B-LOC", "B-PER")
KEYS = {
    "module", "base", "task", "metrics", "intervals", "examples", "units", "per_label", "per_language", "per_source", "cut",
    "speed", "data", "comparison", "written", "warnings", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a base model, two modules on it and data, in one folder."""
    folder = tmp_path_factory.mktemp("place")
    base = make_base(folder / "base")
    for name in ("module", "other"):
        train(folder / name, str(base), labels=LABELS)
    write_tagged(folder / "test.conll", 20)
    return folder


def test_evaluate_prints_metrics_with_intervals(place: Path, call: Callable[..., Result]) -> None:
    """Stdout has the metrics, each label and the comparison; stderr what was measured on what, and how fast; 80 columns do."""
    data = [word for language in ("en", "de") for word in ("--data", f"{language}={place / 'test.conll'}")]
    done = call("evaluate", place / "module", "--task", "ner", *data, "--compare", place / "other", "--draws", 40)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["metric", "value", "95", "%", "interval"]
    assert [line.split()[0] for line in lines[2:5]] == ["F1", "precision", "recall"]
    for part in ("label", "LOC", "PER", "language", "de", "en"):
        assert any(line.startswith(part) for line in lines), part
    # The two are the same module under two names.
    assert "The same F1 as other (95 % interval 0.00 to 0.00), p = 1, paired" in done.stdout
    assert "over 40 sentences." in " ".join(lines)
    for part in ("module      module", "base model  base", "40: 80 spans, 200 words", "(cpu, fp32)"):
        assert part in done.stderr, part
    assert [line for line in (*lines, *done.stderr.splitlines()) if len(line) > 80 or line != line.rstrip()] == []


def test_evaluate_json_has_the_promised_keys(place: Path, call: Callable[..., Result]) -> None:
    """--json prints one object: metrics, intervals, labels, languages, sources with hashes, speed."""
    done = call("evaluate", place / "module", "--task", "ner", "--data", place / "test.conll", "--limit", 9, "--json")
    values = json.loads(done.stdout)
    assert set(values) == KEYS
    assert list(values["metrics"]) == ["f1", "precision", "recall", "macro_f1"]
    assert values["intervals"]["f1"][0] <= values["metrics"]["f1"] <= values["intervals"]["f1"][1]
    assert values["examples"] == values["data"]["rows"] == 9
    assert len(values["data"]["sha256"]) == 64
    assert (values["comparison"], values["written"], values["per_language"]) == (None, None, {})
    assert values["speed"]["examples_per_second"] > 0


def test_evaluate_write_says_where(place: Path, call: Callable[..., Result], tmp_path: Path) -> None:
    """--write puts the results into card and record, and says so."""
    shutil.copytree(place / "module", tmp_path / "copy")
    done = call("evaluate", tmp_path / "copy", "--task", "ner", "--data", place / "test.conll", "--write", "--draws", 40)
    assert done.exit_code == 0, done.stderr
    assert "written     the results are in" in done.stderr
    assert "| token-classification |" in (tmp_path / "copy" / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--task", "chess"], 2, "There is no task `chess`."),
        (["--task", "ner", "--labels", "O,,B-PER"], 2, "`--labels O,,B-PER` has an empty label."),
        (["--task", "ner", "--limit", "0"], 2, "`--limit 0` is no number above 0."),
        (["--task", "ner", "--split", "dev"], 1, "has no split `dev`"),
        (["--task", "ner", "--max-tokens", "99"], 2, "`--max-tokens 99` is more than the base model takes, which is 36."),
        (["--task", "nli"], 1, "The task `nli` needs two texts"),
    ],
)
def test_evaluate_refuses(place: Path, call: Callable[..., Result], words: list[str], status: int, message: str) -> None:
    """What makes no sense is said in an error with the right exit status, and nothing is printed as a result."""
    done = call("evaluate", place / "module", "--data", place / "test.conll", *words)
    assert done.exit_code == status, done.stderr
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("task", "values", "sentence"),
    [
        ("ner", (2.1, 0.4, 3.7), "Better by 2.10 F1 than B (95 % interval 0.40 to 3.70), p = 0.012,"),
        ("ner", (-2.1, -3.7, 0.4), "Worse by 2.10 F1 than B (95 % interval -0.40 to 3.70), p = 0.012,"),
        ("causal-lm", (-2.1, -3.7, -0.4), "Better by 2.10 perplexity than B (95 % interval 0.40 to 3.70), p = 0.012,"),
        ("causal-lm", (2.1, -0.4, 3.7), "Worse by 2.10 perplexity than B (95 % interval -0.40 to 3.70), p = 0.012,"),
        ("ner", (0.0, -1.0, 1.5), "The same F1 as B (95 % interval -1.00 to 1.50), p = 0.012,"),
    ],
)
def test_comparison_line_says_which_is_better(task: str, values: tuple[float, float, float], sentence: str) -> None:
    """More F1 is better and more perplexity is worse; the interval has the direction of the verdict."""
    difference, low, high = values
    made = Comparison(
        metric=TASKS[task].metric, difference=difference, low=low, high=high, p_value=0.0123, draws=100, examples=1000
    )
    line = comparison_line(made, TASKS[task], other="B")

    assert line.startswith(sentence)
    assert line.endswith(f"over 1,000 {'sentences' if task == 'ner' else 'examples'}.")
