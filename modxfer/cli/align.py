"""`modxfer align`: compute, show, list, rm."""

from pathlib import Path
from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting

app = typer.Typer(help="Compute, show and remove alignment maps.", no_args_is_help=True)

MapArgument = Annotated[str, typer.Argument(metavar="FOLDER|ID", help="A folder, or the start of an id in the store.")]


@app.command(epilog=options.HOW_TO, short_help="Compute the map that a conversion would use.")
def compute(
    module: options.ModuleArgument,
    to: options.ToOption,
    teacher: options.FromOption = None,
    layers: options.LayersOption = "skip",
    align: options.AlignOption = "auto",
    corpus: options.CorpusOption = None,
    column: options.ColumnOption = None,
    tokens: options.TokensOption = options.DEFAULT_TOKENS,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Folder for a copy.  [default: the store only]"),
    ] = None,
    force: options.ForceOption = False,
    device: options.DeviceOption = options.Device.AUTO,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Compute the alignment map that a conversion of MODULE would use, and store it."""
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer import api
        from modxfer.cli.alignment_reports import alignment_json, alignment_tables
        from modxfer.cli.summary import alignment_line

        choice = api.AlignmentChoice(aligner=align, corpus=corpus, column=column, tokens=tokens, device=device.value)
        with out.progress("Aligning", unit="tokens") as report:
            found = api.compute_alignment(
                module, to=to, teacher=teacher, layers=layers, align=choice, output=output, force=force, progress=report
            )
        assert found.alignment is not None
        out.note(alignment_line(found), *([f"Written to {output}"] if output else []))
        out.warn([*found.warnings, *found.alignment.warnings])
        values = {**alignment_json(found.alignment), **found.as_json(), "output": str(output) if output else None}
        out.result(values, *alignment_tables(found.alignment))


@app.command(short_help="Show how well the units of two base models match.")
def show(
    reference: MapArgument,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", help="Draw the scores into this file."),
    ] = None,
    force: options.ForceOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Show an alignment map: how well the units correspond, by layer and site."""
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer import api
        from modxfer.cli.alignment_reports import alignment_json, alignment_tables
        from modxfer.cli.plot import draw_scores

        alignment = api.find_alignment_map(reference)
        if plot is not None:
            draw_scores(alignment, plot, force=force)
            out.note(f"Drawn in {plot}")
        out.warn(alignment.warnings)
        values = {**alignment_json(alignment), "plot": str(plot) if plot else None}
        out.result(values, *alignment_tables(alignment))


@app.command("list")
def list_(json: options.JsonOption = False, quiet: options.QuietOption = False, debug: options.DebugOption = False) -> None:
    """List the alignment maps in the store."""
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.alignment_reports import store_table, stored_json
        from modxfer.paths import home
        from modxfer.registry.store import Store

        root = home()
        stored = list(Store(root).list())
        values = {"store": str(root), "alignments": [stored_json(item) for item in stored]}
        out.result(values, store_table(stored) if stored else f"No alignment maps in {root}")


@app.command()
def rm(
    reference: Annotated[str, typer.Argument(metavar="ID", help="The start of an id in the store.")],
    dry_run: options.DryRunOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Remove an alignment map from the store."""
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.paths import home
        from modxfer.registry.store import Store

        store = Store(home())
        key = store.resolve(reference)
        if not dry_run:
            store.remove(key)
        out.note("Nothing was removed: this was a dry run." if dry_run else "Removed:")
        out.result({"id": key, "removed": not dry_run}, key)
