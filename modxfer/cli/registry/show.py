"""`modxfer registry show`."""

from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Namespace and name of an entry, or of an alias.")]
AlignmentOption = Annotated[bool, typer.Option("--alignment", help="The alignment map, where a module has the same id.")]


def show(
    id: IdArgument,
    registry: options.RegistryOption = None,
    alignment: AlignmentOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Show an entry: what it is, its files, results and lineage, and the commands that use it."""
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.registry.reports import entry_tables
        from modxfer.registry.entries.opening import open_registry
        from modxfer.registry.showing import find_entry

        found = find_entry(open_registry(registry), id, alignment=alignment)
        out.result(found.as_json(), *entry_tables(found))
        if found.has_alignment:
            out.note("An alignment map has the same id: see it with --alignment.")
