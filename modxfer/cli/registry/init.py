"""`modxfer registry init`."""

from pathlib import Path
from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting

FolderArgument = Annotated[Path, typer.Argument(metavar="[DIR]", help="Its folder.  [default: this one]", show_default=False)]
TitleOption = Annotated[
    str | None, typer.Option("--title", metavar="TEXT", help="What to call it.  [default: the folder's name]")
]


def init(
    folder: FolderArgument = Path(),
    title: TitleOption = None,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Make a registry in a folder: settings, JSON Schemas, a README, and a workflow that checks it on GitHub.

    Files that exist are left as they are.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.registry.reports import started_lines
        from modxfer.registry.starting import start

        started = start(folder, title=title)
        out.note(*started_lines(started))
        out.result(started.as_json(), str(started.root))
