"""`modxfer convert`."""

from pathlib import Path
from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting


def convert(
    module: options.ModuleArgument,
    to: options.ToOption,
    teacher: options.FromOption = None,
    layers: options.LayersOption = "skip",
    align: options.AlignOption = "auto",
    alignment: options.AlignmentOption = None,
    corpus: options.CorpusOption = None,
    column: options.ColumnOption = None,
    tokens: options.TokensOption = options.DEFAULT_TOKENS,
    head: Annotated[options.Head, typer.Option("--head", help="The prediction head.")] = options.Head.KEEP,
    format: Annotated[
        options.Format | None,
        typer.Option("--format", help="Format to write.  [default: MODULE's own]"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Folder to write.  [default: MODULE-to-MODEL]"),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option("--push", metavar="ID", help="Then publish it under this Hub id."),
    ] = None,
    licence: options.LicenceOption = None,
    private: options.PrivateOption = False,
    registry: options.RegistryOption = None,
    force: options.ForceOption = False,
    dry_run: options.DryRunOption = False,
    offline: options.OfflineOption = False,
    device: options.DeviceOption = options.Device.AUTO,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Convert a module from its base model (the teacher) to another one (the student).

    Prints the folder of the result; what was done goes to stderr.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer import api
        from modxfer.cli.hub_reports import pushed_table
        from modxfer.cli.summary import conversion_summary, how_to_load
        from modxfer.errors import UsageError

        choice = api.AlignmentChoice(
            aligner=align,
            alignment=alignment,
            corpus=corpus,
            column=column,
            tokens=tokens,
            device=device.value,
            registry=registry,
        )
        if push is None and (licence or private):
            raise UsageError("`--license` and `--private` are about publishing.", do="Name the Hub id with `--push`.")
        push_to = api.PushChoice(name=push, licence=licence, private=private or None) if push else None
        with out.progress("Aligning", unit="tokens") as report:
            converted = api.convert(
                module,
                to=to,
                teacher=teacher,
                layers=layers,
                align=choice,
                keep_head=head is options.Head.KEEP,
                format=format.value if format else None,
                output=output,
                force=force,
                dry_run=dry_run,
                push_to=push_to,
                progress=report,
            )
        out.note(conversion_summary(converted))
        out.warn(converted.record["warnings"])
        if converted.output is None:
            out.note("Nothing was written: this was a dry run.")
        else:
            out.note(*how_to_load(converted))
        if converted.pushed is not None:
            out.note(*pushed_table(converted.pushed), f"Published: {converted.pushed.url}")
        out.result(converted.as_json(), *([str(converted.output)] if converted.output else []))
