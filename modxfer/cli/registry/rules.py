"""`modxfer registry rules`."""

from modxfer.cli import options
from modxfer.cli.errors import reporting


def rules(json: options.JsonOption = False, quiet: options.QuietOption = False, debug: options.DebugOption = False) -> None:
    """List the rules that `modxfer registry check` checks, cheapest stage first.

    Their ids, for --rule and --skip, never change their meaning.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.tables import grid
        from modxfer.registry.checks.formats.values import rule_values
        from modxfer.registry.checks.rules import RULES

        table = grid("id", "stage", "severity", "what must hold")
        for rule in RULES.values():
            table.add_row(rule.id, rule.stage.value, rule.severity.value, rule.says)
        out.result(rule_values(), table)
