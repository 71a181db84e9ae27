"""Running an experiment: its cells in parallel processes, one row of results each, and going on where a run was killed."""

import contextlib
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from modxfer.errors import OutputError, UsageError
from modxfer.experiments.cells import Cell, Group, Rate, choose_rates, first_stage, second_stage
from modxfer.experiments.comparable import find_unfair
from modxfer.experiments.inputs import Inputs, find_inputs, largest_base
from modxfer.experiments.plan import Plan
from modxfer.experiments.resources import choose_jobs, count_cores, list_gpus, worker_environment
from modxfer.experiments.results import RESULTS, ResultRow, append_row, read_rows, write_cells
from modxfer.experiments.run_cell import WORK, Workspace, failed_row, run_cell
from modxfer.experiments.workers import Slot, Workers
from modxfer.paths import write_aside

PLAN, LOG, LOCK = "plan.yaml", "log.txt", ".lock"
_RECENT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far an experiment is.

    Attributes:
        done: Cells that have a result.
        total: All cells.
        seconds_left: An estimate; None before the first cell ended.
        row: What has just ended; None at the beginning.
    """

    done: int
    total: int
    seconds_left: float | None
    row: ResultRow | None


Progress = Callable[[State], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentResult:
    """An experiment that was run.

    Attributes:
        output: Its folder.
        rows: The results of all its cells.
        run: Cells that were run now.
        seconds: Time it took now.
    """

    output: Path
    rows: tuple[ResultRow, ...]
    run: int
    seconds: float

    @property
    def failed(self) -> tuple[ResultRow, ...]:
        """The rows of cells that failed."""
        return tuple(row for row in self.rows if row.error is not None)

    def as_json(self) -> dict[str, Any]:
        """Give what `experiment run --json` prints.

        Returns:
            Plain values.
        """
        return {
            "output": str(self.output),
            "cells": len(self.rows),
            "run": self.run,
            "failed": [{"cell": row.cell, "error": row.error} for row in self.failed],
            "seconds": round(self.seconds, 3),
        }


def list_cells(plan: Plan) -> tuple[Cell, ...]:
    """List the cells of a plan; nothing is run or fetched. Where learning rates are swept, the first stands for the best.

    Args:
        plan: The plan.

    Returns:
        The cells.

    Raises:
        UsageError: something that the plan names is not to be had, or does not compare.
    """
    inputs = _checked_inputs(plan, fetch=False)
    first = first_stage(plan, inputs)
    return (*first, *second_stage(plan, inputs, choose_rates(plan, _sweep(first), {})))


def run_experiment(
    plan: Plan,
    output: Path,
    *,
    jobs: int | None = None,
    keep: bool = False,
    device: str = "auto",
    progress: Progress = lambda state: None,
) -> ExperimentResult:
    """Run the cells of a plan that have no result yet.

    A cell that failed before is tried again. A row is on disk as soon as its cell has ended, so a run that is killed goes on
    where it was when it is started again.

    Args:
        plan: The plan.
        output: The experiment's folder; made if it is not there.
        jobs: Cells to run at a time; None for the plan's number, or what cores, memory and GPUs allow.
        keep: Keep the students' modules too.
        device: Where models run: "auto", "cpu", "cuda" or "mps".
        progress: Called at the beginning and whenever a cell has ended.

    Returns:
        The results, of cells that failed too.

    Raises:
        UsageError: something that the plan names is not to be had or does not compare, or another run uses the folder.
        FormatError: the results in the folder cannot be read.
        OutputError: the folder cannot be written.
    """
    start = time.perf_counter()
    if jobs is not None and jobs < 1:
        raise UsageError(f"`--jobs {jobs}` is not a number above 0.", do="Leave it out, or give one.")
    inputs = _checked_inputs(plan, fetch=True)
    with _opened(output):
        run = _Run(
            plan=plan,
            inputs=inputs,
            workspace=Workspace(folder=str(output.resolve()), device=device, keep=keep),
            jobs=jobs or plan.jobs,
            progress=progress,
            rows={row.cell: row for row in read_rows(output / RESULTS, repair=True)},
        )
        write_aside(output / PLAN, _as_yaml(plan))
        run.run()
    return ExperimentResult(
        output=output,
        rows=tuple(run.rows[cell.id] for cell in run.cells),
        run=run.ended,
        seconds=time.perf_counter() - start,
    )


@dataclass(slots=True, kw_only=True)
class _Run:
    """One run: what is done, and what that says about the rest."""

    plan: Plan
    inputs: Inputs
    workspace: Workspace
    jobs: int | None
    progress: Progress
    rows: dict[str, ResultRow]
    ended: int = 0
    cells: tuple[Cell, ...] = ()
    settled: set[str] = field(default_factory=set)
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))

    @property
    def folder(self) -> Path:
        return Path(self.workspace.folder)

    def run(self) -> None:
        first = first_stage(self.plan, self.inputs)
        sweep = _sweep(first)
        self._take((*first, *self._second_stage(sweep)))
        self.progress(State(done=len(self.settled), total=len(self.cells), seconds_left=None, row=None))
        slots = self._slots()
        threads = self.plan.threads or max(1, count_cores() // max(1, len(slots)))
        with worker_environment(threads=threads), Workers(slots) as workers:
            self._run_stage(first, {}, workers)
            self._take((*first, *self._second_stage(sweep)))
            self._run_stage(self.cells[len(first) :], choose_rates(self.plan, sweep, self.rows), workers)

    def _second_stage(self, sweep: Sequence[Cell]) -> tuple[Cell, ...]:
        return second_stage(self.plan, self.inputs, choose_rates(self.plan, sweep, self.rows))

    def _take(self, cells: tuple[Cell, ...]) -> None:
        """Make these the cells of the run; those that have a result are settled."""
        self.cells = cells
        write_cells(self.folder, (cell.id for cell in cells), plan=self.plan.name)
        self.settled |= {cell.id for cell in cells if self._is_done(cell)}
        self.settled &= {cell.id for cell in cells}

    def _is_done(self, cell: Cell) -> bool:
        row = self.rows.get(cell.id)
        is_there = cell.kind != "teacher" or cell.module is not None or self.workspace.teacher(cell.id).is_dir()
        return row is not None and row.error is None and is_there

    def _slots(self) -> list[Slot]:
        """Choose how many cells run at a time, and where."""
        left = len(self.cells) - len(self.settled)
        if not left:
            return []
        gpus = list_gpus(self.workspace.device)
        jobs = choose_jobs(asked=self.jobs, weights_bytes=largest_base(self.inputs), num_gpus=len(gpus))
        return [Slot(gpus[index % len(gpus)] if gpus else None, self.folder / LOG) for index in range(min(jobs, left))]

    def _run_stage(self, cells: Sequence[Cell], rates: Mapping[Group, Rate], workers: Workers) -> None:
        to_do: dict[str, Cell] = {}
        for cell in cells:
            if cell.id in self.settled:
                continue
            reason = self._why_not(cell, rates)
            if reason is None:
                to_do[cell.id] = cell
            else:
                self._end(failed_row(cell, f"TrainingError: {reason}"))
        work = [(cell.as_json(), self.workspace) for cell in to_do.values()]
        for (values, _), outcome in workers.run(run_cell, work):
            row = failed_row(to_do[values["id"]], outcome) if isinstance(outcome, str) else ResultRow.from_json(outcome)
            self._end(row, jobs=len(workers.slots))

    def _why_not(self, cell: Cell, rates: Mapping[Group, Rate]) -> str | None:
        """Say why a cell cannot be run; None if it can."""
        rate = rates.get(cell.group)
        if rate is not None and rate.failure is not None:
            return rate.failure
        made = self.rows.get(cell.teacher_cell) if cell.teacher_cell else None
        if cell.teacher_cell and (made is None or made.error is not None):
            return f"The teacher's module could not be had: {'there is no result of its cell' if made is None else made.error}"
        return None

    def _end(self, row: ResultRow, *, jobs: int = 1) -> None:
        """Write down what a cell gave, and tell how far this is."""
        append_row(self.folder / RESULTS, row)
        self.rows[row.cell] = row
        self.settled.add(row.cell)
        self.ended += 1
        if row.seconds:
            self.seconds.append(row.seconds / jobs)
        left = (len(self.cells) - len(self.settled)) * fmean(self.seconds) if self.seconds else None
        self.progress(State(done=len(self.settled), total=len(self.cells), seconds_left=left, row=row))


def _checked_inputs(plan: Plan, *, fetch: bool) -> Inputs:
    inputs = find_inputs(plan, fetch=fetch)
    problems = list(find_unfair(plan, inputs))
    if problems:
        raise UsageError(
            f"The plan `{plan.name}` compares what does not compare: {' '.join(problems)}",
            do="Correct the plan, and run it again.",
        )
    return inputs


def _sweep(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    return tuple(cell for cell in cells if cell.kind == "sweep")


@contextlib.contextmanager
def _opened(output: Path) -> Iterator[None]:
    """Hold an experiment's folder, which one run at a time may write, and clear what a killed one left of its work."""
    from filelock import FileLock, Timeout

    lock = None
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output / LOCK)
        lock.acquire(blocking=False)
    except Timeout as error:
        raise UsageError(
            f"Another run is at work in `{output}`.", do="Wait for it, or name another folder with `--output`."
        ) from error
    except OSError as error:
        raise OutputError(
            f"Cannot write to `{output}`: {error.strerror or error}.", do="Name another folder with `--output`."
        ) from error
    try:
        shutil.rmtree(output / WORK, ignore_errors=True)
        yield
    finally:
        shutil.rmtree(output / WORK, ignore_errors=True)
        lock.release()


def _as_yaml(plan: Plan) -> str:
    import yaml

    values = plan.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
