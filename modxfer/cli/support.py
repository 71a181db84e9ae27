"""`modxfer support`."""

from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting


def support(
    family: Annotated[
        str | None,
        typer.Option("--family", metavar="FAMILY", help="Only this family: the model_type of a config."),
    ] = None,
    method: Annotated[str | None, typer.Option("--method", metavar="TEXT", help="Only methods whose name has this.")] = None,
    format: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help="Only this: peft, adapters or diff.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the whole table as the page in docs/support.md.")] = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Say what can be moved: families of base models, methods and formats. Asks the code's own tables, and reads no file."""
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.support_tables import support_tables
        from modxfer.converters import support as table
        from modxfer.converters.support_page import markdown as page
        from modxfer.errors import UsageError

        if markdown and (family or method or format or json):
            raise UsageError("`--markdown` prints the whole table.", do="Leave the other options out.")
        if markdown:
            out.result({}, page().rstrip("\n"))
            return
        cells = table.support(family=family, method=method, format=format)
        out.result({"cells": [cell.as_json() for cell in cells]}, *support_tables(cells))
