"""`modxfer push`."""

from pathlib import Path
from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting


def push(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="What `convert` or `align compute --output` wrote.", show_default=False)
    ],
    name: options.NameArgument,
    licence: options.LicenceOption = None,
    private: options.PrivateOption = False,
    create_pr: options.CreatePrOption = False,
    revision: options.BranchOption = "main",
    message: options.MessageOption = None,
    parent_commit: options.ParentOption = None,
    dry_run: options.PushDryRunOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Publish a converted module or an alignment map on the Hub: verified, in one commit, with its card.

    Pushing the same content again makes no commit. Prints the address of the commit or the pull request.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer import api
        from modxfer.cli.hub_reports import show_pushed

        choice = api.PushChoice(
            name=name,
            licence=licence,
            private=private or None,
            create_pr=create_pr,
            branch=revision,
            message=message,
            parent_commit=parent_commit,
        )
        show_pushed(out, api.push(folder, choice, dry_run=dry_run))
