"""`modxfer registry build`."""

from pathlib import Path
from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting

SiteOption = Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder to write.")]


def build(
    output: SiteOption,
    registry: options.RegistryOption = None,
    force: options.ForceOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Build the web page of a registry: a folder for GitHub Pages or a static Space, which also opens without a server.

    Entries with problems are left out, and named. Prints the page's first file.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.registry.building import built_table, left_out_warnings
        from modxfer.registry.entries.opening import open_registry
        from modxfer.registry.site.build import build as build_site

        built = build_site(open_registry(registry), output, force=force)
        out.note(built_table(built))
        out.warn(left_out_warnings(built))
        out.result(built.as_json(), str(built.first))
