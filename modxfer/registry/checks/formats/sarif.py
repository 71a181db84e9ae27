"""A report in SARIF 2.1.0, the format in which code scanning takes its alerts."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from modxfer.registry.checks.formats.plain import plain_line
from modxfer.registry.checks.rules import RULES, Rule
from modxfer.registry.checks.run import Report
from modxfer.registry.entries.problems import Problem

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
"""The name of the standard's schema."""

_ROOT = "%SRCROOT%"
_SEMANTIC_VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_LINE_NUMBER = re.compile(r"\bline \d+")
_PLACEHOLDER = re.compile(r"\{(\d+)\}")


def sarif(report: Report, *, version: str, folder: str = "") -> str:
    """Write a report in SARIF.

    Args:
        report: What a check found.
        version: That of modxfer.
        folder: Where the registry lies in the git repository, with "/"; empty for its root.

    Returns:
        JSON, in ASCII.
    """
    run = {
        "tool": {"driver": _driver(version)},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The root of the repository that the registry is in."}}},
        "results": list(_results(report, folder)),
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, allow_nan=False)


def _driver(version: str) -> dict[str, Any]:
    kind = "semanticVersion" if _SEMANTIC_VERSION.fullmatch(version) else "version"
    return {"name": "modxfer", kind: version, "rules": [_rule(rule) for rule in RULES.values()]}


def _rule(rule: Rule) -> dict[str, Any]:
    mend = " `modxfer registry check --fix` mends it." if rule.is_mechanical else ""
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.says},
        "fullDescription": {"text": f"{rule.says} {rule.why}"},
        "help": {"text": f"{rule.says} {rule.why}{mend}"},
        "defaultConfiguration": {"level": rule.severity.value},
        "properties": {"stage": rule.stage.value, "problem.severity": rule.severity.value},
    }


def _results(report: Report, folder: str) -> Iterator[dict[str, Any]]:
    numbers: Mapping[str, int] = {rule: number for number, rule in enumerate(RULES)}
    seen: Counter[str] = Counter()
    for problem in report.problems:
        mark = _fingerprint(problem)
        seen[mark] += 1
        yield {
            "ruleId": problem.rule,
            "ruleIndex": numbers[problem.rule],
            "level": RULES[problem.rule].severity.value,
            "message": {"text": _message(f"{problem.what} {problem.do}")},
            "locations": [{"physicalLocation": _location(problem, folder)}],
            "partialFingerprints": {"problem/v1": f"{mark}:{seen[mark]}"},
        }


def _location(problem: Problem, folder: str) -> dict[str, Any]:
    path = f"{folder}/{problem.path}" if folder else problem.path
    return {
        "artifactLocation": {"uri": quote(path, safe="/", errors="replace"), "uriBaseId": _ROOT},
        "region": {"startLine": problem.place.line, "startColumn": problem.place.column},
    }


def _fingerprint(problem: Problem) -> str:
    """Name a problem so that it is the same one after lines were added above it."""
    said = _LINE_NUMBER.sub("line", problem.what)
    return hashlib.sha256("\0".join([problem.rule, problem.path, said]).encode(errors="replace")).hexdigest()[:32]


def _message(text: str) -> str:
    """Write a message in which nothing is a link or a placeholder, which plain SARIF messages can have."""
    return _PLACEHOLDER.sub(r"{ \1 }", plain_line(text).replace("](", "] ("))
