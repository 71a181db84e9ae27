"""A report as plain values, for JSON."""

from typing import Any

from modxfer.registry.checks.rules import RULES
from modxfer.registry.checks.run import Report


def report_values(report: Report) -> dict[str, Any]:
    """Turn a report into plain values.

    Args:
        report: What a check found.

    Returns:
        The problems with paths relative to the registry, how many files were checked, errors and warnings were found, and
        which stages were run.
    """
    return {
        "problems": [
            {
                "rule": problem.rule,
                "severity": RULES[problem.rule].severity.value,
                "path": problem.path,
                "line": problem.place.line,
                "column": problem.place.column,
                "what": problem.what,
                "do": problem.do,
            }
            for problem in report.problems
        ],
        "files": report.files,
        "errors": report.errors,
        "warnings": report.warnings,
        "stages": [stage.value for stage in report.stages],
    }


def rule_values() -> dict[str, Any]:
    """Turn the table of rules into plain values.

    Returns:
        The rules, cheapest stage first.
    """
    return {
        "rules": [
            {
                "id": rule.id,
                "stage": rule.stage.value,
                "severity": rule.severity.value,
                "says": rule.says,
                "why": rule.why,
                "is_mechanical": rule.is_mechanical,
            }
            for rule in RULES.values()
        ]
    }
