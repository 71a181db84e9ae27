"""The table of rules: what people write into their CI stays right, and nothing is reported that is not in it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import modxfer.registry.checks.rules as rules_module
from modxfer.registry.checks.rules import RULES, Stage

REGISTRY = Path(rules_module.__file__).parents[1]
FIRST_IS_RULE = {"problem", "refuse", "problem_at_start", "Fault", "_spelled", "_fault"}


def calls() -> Iterator[ast.Call]:
    """List all calls in the code that checks entries."""
    for folder in ("checks", "entries"):
        for path in sorted((REGISTRY / folder).rglob("*.py")):
            yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def reported_ids() -> set[str]:
    """Find the ids of rules with which problems are made."""
    found: set[str] = set()
    for call in calls():
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        given = [keyword.value for keyword in call.keywords if keyword.arg == "rule"]
        if name in FIRST_IS_RULE:
            given += call.args[:1]
        found |= {arg.value for arg in given if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return found


def test_every_reported_id_is_in_the_table() -> None:
    """A problem of an id without a rule would crash the report."""
    found = reported_ids()
    assert {"symlink", "entry-id", "markup", "lineage-cycle", "yaml-alias"} <= found
    assert found <= set(RULES)


def test_every_rule_is_reported_somewhere() -> None:
    """A rule that nothing checks would promise what does not hold."""
    code = "\n".join(
        path.read_text()
        for path in REGISTRY.rglob("*.py")
        if path.name != "rules.py" and path.parent.name in ("checks", "entries")
    )
    assert [id for id in RULES if f'"{id}"' not in code] == []


def test_rules_are_written_as_people_will_read_them() -> None:
    """Ids are words with hyphens; each rule says in one sentence what must hold, and in one why."""
    for id, rule in RULES.items():
        assert rule.id == id
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", id)
        for sentence in (rule.says, rule.why):
            assert re.fullmatch(r"[A-Z][^\n]*\.", sentence), sentence


def test_rules_come_cheapest_stage_first() -> None:
    """They are listed in the order in which they are checked."""
    stages = [list(Stage).index(rule.stage) for rule in RULES.values()]
    assert stages == sorted(stages)
