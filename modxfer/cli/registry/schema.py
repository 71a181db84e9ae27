"""`modxfer registry schema`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting


class Kind(StrEnum):
    """What a file of a registry holds."""

    MODULE = "module"
    ALIGNMENT = "alignment"
    ALIASES = "aliases"
    REGISTRY = "registry"


def schema(
    kind: Annotated[Kind | None, typer.Argument(metavar="KIND", help="What the file holds.  [default: all]")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Registry to write schema/*.json into.")
    ] = None,
    force: options.ForceOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Print the JSON Schema of a registry's files, or write all of them, for editors.

    Entries that modxfer writes name theirs in their first line, where editors look for it.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.registry.entries.schema import choose_schema, schema_text, write_schemas

        if output is not None:
            written = write_schemas(output, kind, force=force)
            out.result({"written": [str(path) for path in written]}, *map(str, written))
        else:
            chosen = choose_schema(kind)
            out.result(chosen, schema_text(chosen).rstrip("\n"))
