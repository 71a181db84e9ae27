"""A report as commands to GitHub's runner, which shows them beside the lines of a pull request.

One command a line; the runner reads whatever is printed, so nothing of an entry may begin a line, or end a command early.
"""

from modxfer.registry.checks.formats.plain import plain_line, plain_path
from modxfer.registry.checks.rules import RULES
from modxfer.registry.checks.run import Report
from modxfer.registry.entries.problems import Problem


def github_commands(report: Report, *, folder: str = "") -> tuple[str, ...]:
    """Turn a report into commands.

    Args:
        report: What a check found.
        folder: Where the registry lies in the git repository, with "/"; empty for its root.

    Returns:
        A line for each problem.
    """
    return tuple(_command(problem, folder) for problem in report.problems)


def _command(problem: Problem, folder: str) -> str:
    properties = {
        "file": plain_path(f"{folder}/{problem.path}" if folder else problem.path),
        "line": str(problem.place.line),
        "col": str(problem.place.column),
        "title": problem.rule,
    }
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    message = _data(plain_line(f"{problem.what} {problem.do}"))
    return f"::{RULES[problem.rule].severity} {listed}::{message}"


def _data(text: str) -> str:
    """Write what follows the second `::`."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Write the value of a property."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
