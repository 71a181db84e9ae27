"""`modxfer registry rules`."""

import json
from collections.abc import Callable

from typer.testing import Result

from modxfer.registry.checks.formats.values import rule_values
from modxfer.registry.checks.rules import RULES

Call = Callable[..., Result]


def test_rules_are_a_table(call: Call) -> None:
    """Id, stage, severity and what must hold of each, within 80 columns."""
    done = call("registry", "rules")
    assert (done.exit_code, done.stderr) == (0, "")
    head, _, *lines = done.stdout.splitlines()
    assert head.split() == ["id", "stage", "severity", "what", "must", "hold"]
    assert max(map(len, done.stdout.splitlines())) <= 80
    first = [line.split() for line in lines if line and line[0] != " "]
    assert [words[:3] for words in first] == [[rule.id, rule.stage.value, rule.severity.value] for rule in RULES.values()]
    said = " ".join(done.stdout.split())
    assert RULES["pickle"].says in said


def test_rules_as_json(call: Call) -> None:
    """With the reasons, and which can be mended."""
    done = call("registry", "rules", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == rule_values()
