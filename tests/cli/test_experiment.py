"""`modxfer experiment`: run, report."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import Result

from modxfer.cli.experiment_reports import cell_line, duration
from modxfer.experiments.results import RESULTS, append_row
from tests.experiments.test_results import ROW
from tests.experiments.worlds import plan_values, write_plan, write_world


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a plan with base models and data beside it."""
    folder = write_world(tmp_path_factory.mktemp("plan"))
    return write_plan(folder, plan_values(controls=["head-only"], seeds=[0, 1]))


def test_run_lists_the_cells_of_a_dry_run(call: Callable[..., Result], plan: Path, tmp_path: Path) -> None:
    """A dry run prints every cell, and writes nothing."""
    output = tmp_path / "out"
    words = ("experiment", "run", str(plan), "--output", str(output), "--set", f"DATA={plan.parent / 'data'}", "--dry-run")
    done = call(*words, "--json")
    values = json.loads(done.stdout)
    assert (values["plan"], values["total"]) == ("tiny", 7)
    kinds = [cell["kind"] for cell in values["cells"]]
    assert kinds == ["teacher", "default", "transferred", "control", "default", "transferred", "control"]
    page = call(*words).stdout
    assert "7 cells" in page
    assert "head-only" in page
    assert max(len(line) for line in page.splitlines()) <= 80
    assert not output.exists()


def test_run_refuses_a_plan_with_problems(call: Callable[..., Result], plan: Path, tmp_path: Path) -> None:
    """A value that is not set is a usage error that says the flag; so is a value without a name."""
    done = call("experiment", "run", str(plan), "--output", str(tmp_path / "out"), "--json")
    assert done.exit_code == 2
    assert "--set DATA=VALUE" in json.loads(done.stdout)["error"]["what"]
    assert call("experiment", "run", str(plan), "--output", str(tmp_path), "--set", "DATA").exit_code == 2


def test_report_writes_what_the_rows_show(call: Callable[..., Result], tmp_path: Path) -> None:
    """The report lies in the experiment's folder, and its name is what is printed."""
    default = replace(ROW, cell="c0", kind="default", layers=None, aligner=None, used_aligner=None, head="new", value=40.0)
    for row in (ROW, default):
        append_row(tmp_path / RESULTS, row)
    done = call("experiment", "report", str(tmp_path))
    assert done.exit_code == 0
    assert done.stdout.strip() == str(tmp_path / "report")
    assert "51.50" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    shutil.rmtree(tmp_path / "report")
    values = json.loads(call("experiment", "report", str(tmp_path), "--output", str(tmp_path / "r"), "--json").stdout)
    assert (values["cells"], values["failed"]) == (2, 0)
    assert not (tmp_path / "report").exists()


def test_report_refuses_a_folder_without_results(call: Callable[..., Result], tmp_path: Path) -> None:
    """It says which command makes them."""
    done = call("experiment", "report", str(tmp_path))
    assert done.exit_code == 1
    assert "modxfer experiment run" in done.stderr


def test_cell_line_says_what_a_cell_was_and_gave() -> None:
    """Pair, kind, seed, rate and value; of a cell that failed why."""
    line = cell_line(ROW)
    for word in ("big to small", "transferred skip auto head kept", "seed 1", "rate 0.003", "f1 51.50", "2 s"):
        assert word in line
    assert "failed: TrainingError: it broke" in cell_line(replace(ROW, value=None, error="TrainingError: it broke"))
    assert "50.25 on validation" in cell_line(replace(ROW, kind="sweep", value=None))


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "5 s"), (300, "5 min"), (9000, "2.5 h")])
def test_duration_has_the_unit_that_fits(seconds: int | float, text: str) -> None:
    """Seconds, minutes, hours."""
    assert duration(seconds) == text
