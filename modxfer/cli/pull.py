"""`modxfer pull`."""

from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting


def pull(
    reference: Annotated[
        str, typer.Argument(metavar="ID[@REVISION]", help="A module or an alignment map on the Hub, or registry:NAME.")
    ],
    output: options.CopyOption = None,
    registry: options.RegistryOption = None,
    force: options.ForceOption = False,
    offline: options.OfflineOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Fetch a module or an alignment map from the Hub: only the files it needs, verified, at one commit.

    Prints the folder that holds them.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer import api
        from modxfer.cli.hub_reports import pulled_table

        pulled = api.pull(reference, output=output, force=force, registry=registry)
        out.note(pulled_table(pulled))
        out.result(pulled.as_json(), str(pulled.folder))
