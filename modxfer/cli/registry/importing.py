"""`modxfer registry import`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting


class Origin(StrEnum):
    """Whose entries are imported."""

    ADAPTERHUB = "adapterhub"


def import_(
    origin: Annotated[Origin, typer.Argument(metavar="ORIGIN", help="Whose entries they are.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A copy of that registry.")],
    registry: options.RegistryOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace other entries of the same ids.")] = False,
    dry_run: options.DryRunOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Make entries of another registry's. Nothing that they point at is fetched.

    What an entry cannot say is left out and reported, and so is a file that cannot become one: the exit status is then 1.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.registry.imported import imported_lines
        from modxfer.registry.adapterhub.importing import import_adapterhub
        from modxfer.registry.entries.opening import open_registry

        report = import_adapterhub(path, open_registry(registry), force=force, dry_run=dry_run)
        out.result(report.as_json(), *imported_lines(report))
        if report.refused:
            raise typer.Exit(1)
