"""What people read of a check, one line a problem."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from modxfer.registry.checks.formats.plain import plain_line, plain_path
from modxfer.registry.checks.rules import RULES, Severity, Stage

if TYPE_CHECKING:
    from modxfer.registry.checks.fixing import Fixed
    from modxfer.registry.checks.run import Report
    from modxfer.registry.entries.problems import Problem

_COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "yellow"}
_SAYS = {Stage.OFFLINE: "offline", Stage.ONLINE: "online", Stage.WEIGHTS: "with weights"}


def problem_lines(report: "Report", *, name: str) -> Text:
    """Say what a check found.

    Args:
        report: What.
        name: What the user calls the registry; comes before the paths.

    Returns:
        Two lines a problem, an empty one between files, and the summary: one text, since printing thousands takes its time.
    """
    return _together(_all_lines(report, name))


def _all_lines(report: "Report", name: str) -> Iterator[Text]:
    before = None
    for problem in report.problems:
        if before not in (None, problem.path):
            yield _line("")
        before = problem.path
        yield from _lines(problem, name)
    if report.problems:
        yield _line("")
    yield _line(summary(report))
    if any(RULES[problem.rule].is_mechanical for problem in report.problems):
        yield _line("What is mechanical can be mended with `modxfer registry check --fix`.")


def fixed_lines(fixed: "Fixed", *, name: str) -> Text:
    """Say what was mended.

    Args:
        fixed: What.
        name: What the user calls the registry.

    Returns:
        A line for each thing that was done, and for each file that had to be left.
    """
    return _together(_mended(fixed, name))


def _mended(fixed: "Fixed", name: str) -> Iterator[Text]:
    for change in fixed.changes:
        yield _line(_at(name, change.path), f": mended[{change.rule}] ", plain_line(change.what))
    for left in fixed.left:
        yield _line(_at(name, left.path), ": left as it is: ", plain_line(left.why))
    mended = f"Mended {_count(len(fixed.changes), 'problem')} in {_count(len(fixed.files), 'file')}."
    yield _line(mended if fixed.changes else "Nothing was mended.")


def summary(report: "Report") -> str:
    """Sum a check up.

    Args:
        report: What it found.

    Returns:
        One sentence.
    """
    files = f"{_count(report.files, 'file')} checked {_and([_SAYS[stage] for stage in report.stages])}"
    found = [_count(number, kind) for number, kind in ((report.errors, "error"), (report.warnings, "warning")) if number]
    if not found:
        return f"No problems; {files}."
    return f"{_and(found)} in {_count(len({problem.path for problem in report.problems}), 'file')}; {files}."


def _lines(problem: "Problem", name: str) -> Iterator[Text]:
    severity = RULES[problem.rule].severity
    place = f"{_at(name, problem.path)}:{problem.place.line}:{problem.place.column}"
    yield _line((place, "bold"), ": ", (f"{severity}[{problem.rule}]", _COLOURS[severity]), f" {plain_line(problem.what)}")
    yield _line(f"    {plain_line(problem.do)}")


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts)


def _together(lines: Iterable[Text]) -> Text:
    """Make a text of lines that are never broken."""
    return Text("\n", no_wrap=True, overflow="ignore").join(lines)


def _at(name: str, path: str) -> str:
    return plain_path(path if name == "." else f"{name.rstrip('/')}/{path}")


def _count(number: int, kind: str) -> str:
    return f"{number:,} {kind}{'' if number == 1 else 's'}"


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
