"""`modxfer align`: compute, show, list, push, pull, rm, prune."""

import time
from pathlib import Path
from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting

app = typer.Typer(help="Compute, show, publish, fetch and remove alignment maps.", no_args_is_help=True)

MapArgument = Annotated[
    str, typer.Argument(metavar="MAP", help="A folder, the start of an id in the store, a Hub id or registry:NAME.")
]


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
    registry: options.RegistryOption = None,
    force: options.ForceOption = False,
    offline: options.OfflineOption = False,
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

        choice = api.AlignmentChoice(
            aligner=align, corpus=corpus, column=column, tokens=tokens, device=device.value, registry=registry
        )
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
    registry: options.RegistryOption = None,
    force: options.ForceOption = False,
    offline: options.OfflineOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Show an alignment map: how well the units correspond, by layer and site."""
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer import api
        from modxfer.cli.alignment_reports import alignment_json, alignment_tables
        from modxfer.cli.plot import draw_scores

        alignment = api.find_alignment_map(reference, registry=registry)
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
        from modxfer.cli.alignment_reports import set_aside_json, store_notes, store_table, stored_json
        from modxfer.paths import home
        from modxfer.registry.store import Store

        store = Store(home())
        stored, aside = list(store.list()), store.set_aside()
        values = {
            "store": str(store.root),
            "alignments": [stored_json(item) for item in stored],
            "set_aside": set_aside_json(store.root, aside),
        }
        table = store_table(stored, now=time.time()) if stored else f"No alignment maps in {store.root}"
        out.result(values, table, *store_notes(store.root, stored, aside))


@app.command(short_help="Publish an alignment map on the Hub.")
def push(
    reference: Annotated[str, typer.Argument(metavar="MAP", help="A folder, or the start of an id in the store.")],
    name: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="The Hub id.  [default: yours, named after the pair]", show_default=False),
    ] = None,
    licence: options.MapLicenceOption = None,
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
    """Publish an alignment map on the Hub, where those who convert on the same pair find it.

    Prints the address of the commit or the pull request.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer import api
        from modxfer.cli.hub_reports import show_pushed

        choice = api.PushChoice(
            name=name or api.usual_map_name(reference),
            licence=licence,
            private=private or None,
            create_pr=create_pr,
            branch=revision,
            message=message,
            parent_commit=parent_commit,
        )
        show_pushed(out, api.push_alignment(reference, choice, dry_run=dry_run))


@app.command(short_help="Fetch an alignment map from the Hub.")
def pull(
    reference: Annotated[str, typer.Argument(metavar="ID[@REVISION]", help="An alignment map on the Hub, or registry:NAME.")],
    output: options.CopyOption = None,
    registry: options.RegistryOption = None,
    force: options.ForceOption = False,
    offline: options.OfflineOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Fetch an alignment map, verify it, and keep it in the store, where conversions of its pair find it.

    Prints its id in the store.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer import api
        from modxfer.cli.hub_reports import pulled_table

        pulled = api.pull_alignment(reference, output=output, force=force, registry=registry)
        out.note(pulled_table(pulled))
        out.result(pulled.as_json(), str(pulled.key))


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


@app.command(short_help="Remove what was not used for some time.")
def prune(
    keep_days: Annotated[
        float, typer.Option("--keep-days", metavar="N", help="Keep what was used in the last N days.", show_default=False)
    ],
    damaged: Annotated[bool, typer.Option("--damaged", help="Only maps set aside as damaged.")] = False,
    dry_run: options.DryRunOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Remove from the store what was not used for N days: maps, damaged ones set aside, hashes, and leftovers."""
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.alignment_reports import in_use_warnings, prune_tables, pruned_json
        from modxfer.paths import home
        from modxfer.registry.store import Store

        store = Store(home())
        pruned = store.prune(older_than_days=keep_days, now=time.time(), only_damaged=damaged, dry_run=dry_run)
        out.warn(in_use_warnings(pruned))
        out.note("Nothing was removed: this was a dry run. It would be:" if dry_run else "Removed:")
        values = {"store": str(store.root), **pruned_json(pruned), "dry_run": dry_run}
        out.result(values, *prune_tables(pruned))
