"""`modxfer inspect`."""

from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting


def inspect(
    reference: Annotated[
        str, typer.Argument(metavar="MODULE_OR_MODEL", help="A module or a base model: a folder, a Hub id or registry:NAME.")
    ],
    registry: options.RegistryOption = None,
    offline: options.OfflineOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Say what a module or a base model is: method, sites, shapes, sizes. Reads headers, not weights."""
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.reports import base_tables, module_tables
        from modxfer.registry.inspection import inspect as find_out
        from modxfer.registry.reports import BaseReport

        report = find_out(reference, registry=registry)
        tables = base_tables(report) if isinstance(report, BaseReport) else module_tables(report)
        out.result(report.as_json(), *tables)
