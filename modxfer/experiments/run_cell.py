"""Running one cell: a plain function of plain values, so that any process can do it."""

import math
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from modxfer.errors import ModxferError, TrainingError
from modxfer.experiments.cells import Cell
from modxfer.experiments.results import ResultRow, shown_layers
from modxfer.registry.pairs import slug
from modxfer.secrets import redact
from modxfer.training.tally import finite
from modxfer.training.tasks import find_task

TEACHERS, MODULES, WORK = "teachers", "modules", "work"
_PACKAGES = ("modxfer", "torch", "transformers", "peft", "adapters", "numpy")
_LONGEST_ERROR = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where cells work, and how.

    Attributes:
        folder: The experiment's folder.
        device: Where models run.
        keep: Whether the students' modules are kept.
    """

    folder: str
    device: str = "auto"
    keep: bool = False

    def teacher(self, cell: str) -> Path:
        """Say where the module of a teacher's cell lies.

        Args:
            cell: Its id.

        Returns:
            The folder.
        """
        return Path(self.folder) / TEACHERS / cell


def run_cell(cell: Mapping[str, Any], workspace: Workspace) -> dict[str, Any]:
    """Run one cell. What goes wrong with it is told in its row, and its traceback on stderr.

    Args:
        cell: What `Cell.as_json` gave.
        workspace: Where to work.

    Returns:
        What `ResultRow.as_json` gives.
    """
    start = time.perf_counter()
    found = Cell.from_json(cell)
    try:
        row = _run(found, workspace)
    except ModxferError as error:
        row = failed_row(found, f"{type(error).__name__}: {error}")
    except Exception as error:  # one cell's mistake must not end the others
        sys.stderr.write(redact(f"{found.id}: {''.join(traceback.format_exception(error))}"))
        row = failed_row(found, f"{type(error).__name__}: {error}")
    return replace(row, seconds=round(time.perf_counter() - start, 3)).as_json()


def failed_row(cell: Cell, error: str) -> ResultRow:
    """Make the row of a cell that failed.

    Args:
        cell: The cell.
        error: What went wrong.

    Returns:
        The row, without values.
    """
    return replace(_row(cell), error=" ".join(redact(error).split())[:_LONGEST_ERROR])


def _row(cell: Cell) -> ResultRow:
    """Make a row that says what the cell is, and no result."""
    return ResultRow(
        cell=cell.id,
        plan=cell.plan,
        kind=cell.kind,
        pair=cell.pair,
        relation=cell.relation,
        teacher=cell.teacher,
        student=cell.student,
        method=cell.method,
        layers=shown_layers(cell.layers),
        aligner=cell.aligner,
        used_aligner=None,
        head=cell.head,
        control=cell.control,
        task=cell.task,
        language=cell.language,
        seed=cell.seed,
        learning_rate=cell.learning_rate,
        steps=0,
        metric=find_task(cell.task).metric,
        value=None,
        zero_shot=None,
        validation=None,
        interval=None,
        metrics={},
        curve=(),
        test={},
        seconds=0.0,
        notes=cell.notes,
    )


def _run(cell: Cell, workspace: Workspace) -> ResultRow:
    if cell.module is not None and cell.kind == "teacher":
        return _measure(cell, workspace)
    root = Path(workspace.folder) / WORK
    root.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{cell.id}-", dir=root))
    try:
        return _train(cell, workspace, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _train(cell: Cell, workspace: Workspace, work: Path) -> ResultRow:
    from modxfer.training.train import TrainRequest, train_module

    init, used_aligner = _initial_module(cell, workspace, work)
    trained = train_module(
        TrainRequest(
            model=cell.model,
            task=cell.task,
            data=_read_data(cell.task, _data_choice(cell)),
            method=None if init else cell.method,
            options={} if init else cell.options,
            init=None if init is None else str(init),
            head="keep" if cell.head == "kept" or init is None else "new",
            settings=cell.training_settings(workspace.device),
            output=work / slug(f"{cell.student or cell.teacher}-{cell.task}-{cell.language}-{cell.method}"),
            measure_start=cell.kind != "sweep",
        )
    )
    row = _trained_row(replace(_row(cell), used_aligner=used_aligner), trained)
    _keep(cell, workspace, trained.output)
    return row


def _measure(cell: Cell, workspace: Workspace) -> ResultRow:
    """Measure a teacher's module that is there already."""
    from modxfer.training.data.choice import ColumnChoice
    from modxfer.training.evaluating import DataSource, EvaluationRequest, evaluate_module

    assert cell.module is not None
    evaluated = evaluate_module(
        EvaluationRequest(
            module=cell.module,
            model=cell.model,
            task=cell.task,
            data=(DataSource(spec=cell.data["test"] or cell.data["data"]),),
            split=cell.data["test_split"],
            columns=ColumnChoice(**cell.data["columns"]),
            limit=cell.data["limit_test"],
            settings=cell.training_settings(workspace.device),
        )
    )
    speed = evaluated.evaluation.speed
    row = replace(_row(cell), versions={**_versions(), "device": speed.device, "precision": speed.precision})
    return _measured_row(row, evaluated.evaluation, None)


def _keep(cell: Cell, workspace: Workspace, module: Path) -> None:
    """Move what is still needed out of the folder that will be removed."""
    if cell.kind == "teacher":
        target = workspace.teacher(cell.id)
    elif workspace.keep and cell.kind != "sweep":
        target = Path(workspace.folder) / MODULES / cell.id
    else:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    module.rename(target)


def _initial_module(cell: Cell, workspace: Workspace, work: Path) -> tuple[Path | None, str | None]:
    """Make the module that a cell begins with; gives the aligner that was used too."""
    from modxfer import api

    if cell.teacher_cell is None or cell.teacher_model is None or cell.layers is None:
        return None, None
    from modxfer.experiments import controls

    module = cell.module or str(workspace.teacher(cell.teacher_cell))
    if cell.control == "random-gather":
        controls.write_random_gather(
            module,
            model=cell.model,
            teacher=cell.teacher_model,
            layers=cell.layers,
            work=work,
            target=work / "init",
            seed=cell.seed,
        )
        return work / "init", controls.RANDOM_GATHER
    # The head is always moved, and left behind afterwards where it is not wanted: so both need the same alignment map.
    converted = api.convert(
        module,
        to=cell.model,
        teacher=cell.teacher_model,
        layers=cell.layers,
        align=api.AlignmentChoice(
            aligner=cell.aligner or "auto", corpus=cell.corpus, tokens=cell.tokens, device=workspace.device
        ),
        output=work / "converted",
    )
    used = converted.found.alignment.aligner if converted.found.alignment else "identity"
    if cell.head == "kept" and converted.head != "kept":
        raise TrainingError(
            "The teacher's head cannot be moved to this student.", do="Leave `keep` out of the plan's `heads` for this pair."
        )
    if cell.control == "random-norm":
        controls.write_random_norm(converted, cell.model, work / "init", seed=cell.seed)
    elif cell.control == "head-only":
        controls.write_head_only(
            converted,
            model=cell.model,
            task=cell.task,
            method=cell.method,
            options=cell.options,
            work=work,
            target=work / "init",
            seed=cell.seed,
        )
    else:
        return converted.output, used
    return work / "init", used


def _data_choice(cell: Cell) -> Any:
    from modxfer.training.data.choice import ColumnChoice, DataChoice

    return DataChoice(**{**cell.data, "columns": ColumnChoice(**cell.data["columns"])})


@lru_cache(maxsize=8)
def _read_data(task: str, choice: Any) -> Any:
    """Read data once for all cells of this process: reading takes as long as some training steps."""
    from modxfer.training.data.reading import read_task_data

    return read_task_data(find_task(task), choice)


def _trained_row(row: ResultRow, trained: Any) -> ResultRow:
    fit, test = trained.fit, trained.evaluations.get("test")
    row = replace(
        row,
        steps=fit.steps,
        validation=finite(fit.best_value),
        curve=tuple((step, value) for step, value in fit.curve if math.isfinite(value)),
        versions={**_versions(), "device": fit.device, "precision": fit.precision},
    )
    if row.kind == "sweep":
        return row
    if test is None:
        raise TrainingError("The data has no test split, so nothing was measured.", do="Give the plan's data a `test`.")
    start = trained.evaluations.get("start")
    return _measured_row(row, test, None if start is None else start.metrics[row.metric])


def _measured_row(row: ResultRow, test: Any, zero_shot: float | None) -> ResultRow:
    value = finite(test.metrics[row.metric])
    if value is None:
        raise TrainingError(
            f"The {row.metric} on the test split is {test.metrics[row.metric]}.", do="Train with a lower learning rate."
        )
    interval = test.intervals.get(row.metric)
    return replace(
        row,
        value=value,
        zero_shot=None if zero_shot is None else finite(zero_shot),
        interval=None if interval is None else (float(interval.low), float(interval.high)),
        metrics={name: float(found) for name, found in test.metrics.items() if math.isfinite(found)},
        test=test.data.as_json(),
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
