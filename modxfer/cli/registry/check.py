"""`modxfer registry check`."""

import os
from collections.abc import Collection
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting
from modxfer.cli.output import Output
from modxfer.errors import OutputError, UsageError
from modxfer.secrets import redact

if TYPE_CHECKING:
    from modxfer.registry.checks.choosing import Choice
    from modxfer.registry.checks.rules import Stage
    from modxfer.registry.checks.run import Report


class ReportFormat(StrEnum):
    """How problems are reported."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


PathsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATHS", help="Files or folders of a registry.  [default: all]"),
]
OnlineOption = Annotated[bool, typer.Option("--online", help="Also ask the Hub; no weights are fetched.")]
WeightsOption = Annotated[bool, typer.Option("--weights", help="Also fetch, load and run; implies --online.")]
SinceOption = Annotated[
    str | None, typer.Option("--changed-since", metavar="REV", help="Only what changed since this git revision.")
]
RuleOption = Annotated[list[str] | None, typer.Option("--rule", metavar="ID", help="Only this rule; may come again.")]
SkipOption = Annotated[list[str] | None, typer.Option("--skip", metavar="ID", help="Not this rule; may come again.")]
FormatOption = Annotated[
    ReportFormat | None, typer.Option("--format", metavar="FORMAT", help="text, json, github or sarif.  [default: text]")
]
FixOption = Annotated[bool, typer.Option("--fix", help="First mend what is mechanical.")]
SarifOption = Annotated[Path | None, typer.Option("--sarif", metavar="FILE", help="Also write the report there, as SARIF.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a --sarif file that exists.")]


def check(
    paths: PathsArgument = None,
    registry: options.RegistryOption = None,
    online: OnlineOption = False,
    weights: WeightsOption = False,
    changed_since: SinceOption = None,
    rule: RuleOption = None,
    skip: SkipOption = None,
    format: FormatOption = None,
    fix: FixOption = False,
    sarif: SarifOption = None,
    force: ForceOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Check the entries of a registry: every problem of every file in one run.

    Exit status 0: no errors; warnings do not count. 1: errors were found. 2: wrong usage.
    """
    with reporting(json=json or format is ReportFormat.JSON, quiet=quiet, debug=debug) as out:
        from modxfer.registry.checks.choosing import check_rules, choose_files
        from modxfer.registry.checks.rules import Stage

        if json and format not in (None, ReportFormat.JSON):
            raise UsageError(f"`--json` and `--format {format}` are two formats.", do="Give one of them.")
        if sarif is not None and os.path.lexists(sarif) and not force:
            raise OutputError(f"`{sarif}` exists.", do="Name another file with `--sarif`, or replace it with `--force`.")
        through = Stage.WEIGHTS if weights else Stage.ONLINE if online else Stage.OFFLINE
        check_rules(only=rule or (), skip=skip or (), through=through, mends=fix)
        choice = choose_files(paths or (), registry=registry, changed_since=changed_since)
        if fix:
            _fix(out, choice)
        report = _check(out, choice, only=rule or (), skip=skip or (), through=through)
        _show(out, report, choice, format=ReportFormat.JSON if json else format or ReportFormat.TEXT, sarif=sarif)
        if report.errors:
            raise typer.Exit(1)


def _fix(out: Output, choice: "Choice") -> None:
    """Mend what is mechanical, and say so."""
    from modxfer.cli.registry.problem_lines import fixed_lines
    from modxfer.registry.checks.choosing import check_mendable
    from modxfer.registry.checks.fixing import fix

    check_mendable(choice.registry)
    out.note(fixed_lines(fix(choice.registry, choice.paths), name=choice.registry.name))


def _check(out: Output, choice: "Choice", *, only: Collection[str], skip: Collection[str], through: "Stage") -> "Report":
    """Run the check, with a bar where it takes its time, and let no token into the report."""
    from modxfer.registry.checks.rules import Stage
    from modxfer.registry.checks.run import check

    titles = {Stage.ONLINE: "Asking the Hub", Stage.WEIGHTS: "Fetching and running"}
    with out.progress("", unit="entries") as bar:

        def follow(stage: Stage, done: int, total: int) -> None:
            if stage in titles:  # offline, a thousand files take a second
                bar(done, total, titles[stage])

        report = check(choice.registry, paths=choice.paths, only=only, skip=skip, through=through, progress=follow)
    return _without_tokens(report)


def _without_tokens(report: "Report") -> "Report":
    """Hide tokens before a format is written, in which stars in the wrong place could do harm."""
    said = "\n".join(f"{problem.what}\n{problem.do}\n{problem.path}" for problem in report.problems)
    if redact(said) == said:
        return report
    problems = (
        replace(problem, what=redact(problem.what), do=redact(problem.do), path=redact(problem.path))
        for problem in report.problems
    )
    return replace(report, problems=tuple(problems))


def _show(out: Output, report: "Report", choice: "Choice", *, format: ReportFormat, sarif: Path | None) -> None:
    """Print the report, and write it where that was asked for."""
    from importlib.metadata import version

    from modxfer.cli.registry.problem_lines import problem_lines, summary
    from modxfer.paths import write_aside
    from modxfer.registry.checks.formats.github import github_commands
    from modxfer.registry.checks.formats.places import folder_in_repository
    from modxfer.registry.checks.formats.sarif import sarif as as_sarif
    from modxfer.registry.checks.formats.values import report_values

    folder = folder_in_repository(choice.registry, os.environ)
    alerts = as_sarif(report, version=version("modxfer"), folder=folder) if sarif or format is ReportFormat.SARIF else ""
    if sarif is not None:
        write_aside(sarif, alerts)
    match format:
        case ReportFormat.SARIF:
            out.result({}, alerts)
        case ReportFormat.GITHUB:
            out.result({}, "\n".join([*github_commands(report, folder=folder), summary(report)]))
        case ReportFormat.TEXT:
            out.result({}, problem_lines(report, name=choice.registry.name))
        case ReportFormat.JSON:
            out.result(report_values(report))
