"""`modxfer experiment`: run, report."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting

app = typer.Typer(help="Compare transferred students with default ones, by a plan.", no_args_is_help=True)

HOW_TO = """A plan is a YAML file: teachers, students, methods, tasks with data, layer maps, aligners, controls and seeds; see
examples/plans. ${NAME} in it stands for what --set NAME=VALUE says. Relative paths begin at its folder, those in a VALUE
where you are.

DIR gets results.jsonl (one line a cell, added as cells end), the plan, and the teachers' modules. Run the same command again
to go on after a kill, to try failed cells again, and to add what was added to the plan."""
"""What the help page of `run` says below the options."""


@app.command(epilog=HOW_TO, short_help="Run the cells of a plan that have no result yet.")
def run(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="The plan, a YAML file.")],
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Folder of the results; one that exists is gone on with.")
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="What ${NAME} in the plan stands for; repeatable.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="N", help="Cells at a time.  [default: what cores, memory and GPUs allow]")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the students' modules too, in DIR/modules.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the cells; run and write nothing.")] = False,
    offline: options.OfflineOption = False,
    device: options.DeviceOption = options.Device.AUTO,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Run an experiment: every cell of PLAN that has no result yet, in parallel processes.

    Prints the file of the results; what is going on goes to stderr. Cells that fail are told, and leave the others alone.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.experiment_reports import Follower, cells_table, failure_lines
        from modxfer.errors import TrainingError
        from modxfer.experiments.plan import parse_settings, read_plan
        from modxfer.experiments.results import RESULTS
        from modxfer.experiments.running import list_cells, run_experiment

        wanted = read_plan(plan, parse_settings(set_ or ()))
        if dry_run:
            cells = list_cells(wanted)
            out.note("Nothing was run: this was a dry run.")
            out.result(
                {"plan": wanted.name, "total": len(cells), "cells": [cell.as_json() for cell in cells]},
                cells_table(cells),
                f"{len(cells)} cells",
            )
            return
        with out.progress("Cells", unit="cells") as report:
            result = run_experiment(
                wanted, output, jobs=jobs, keep=keep, device=device.value, progress=Follower(out, report).follow
            )
        out.warn(failure_lines(result))
        if result.rows and len(result.failed) == len(result.rows):
            raise TrainingError(
                f"All {len(result.rows)} cells failed, the first with {result.failed[0].error}",
                do=f"See `{output / RESULTS}` for the others, and run it again.",
            )
        out.note(f"Next: modxfer experiment report {output}")
        out.result(result.as_json(), str(output / RESULTS))


@app.command(short_help="Write tables, tests and curves of the results.")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `experiment run` wrote.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Folder for the report.  [default: DIR/report]", show_default=False),
    ] = None,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Write the report of an experiment, as markdown, HTML, CSV and pictures.

    Prints the folder of the report. Cells that have not run yet are not in it.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.experiments.report import write_report
        from modxfer.experiments.results import count_waiting, read_results
        from modxfer.experiments.running import PLAN

        name = folder.resolve().name
        again = shlex.join(["modxfer", "experiment", "run", f"{name}/{PLAN}", "--output", name])
        rows = read_results(folder)
        written = write_report(rows, output or folder / "report", command=again, waiting=count_waiting(folder, rows))
        out.warn(written.warnings)
        out.note(*written.findings)
        out.result(written.as_json(), str(written.output))
