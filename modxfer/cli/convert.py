"""`modxfer convert`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting

if TYPE_CHECKING:
    from modxfer.api import Converted
    from modxfer.cli.output import Output


def convert(
    modules: Annotated[
        list[str], typer.Argument(metavar="MODULE...", help="A folder, a Hub id or registry:NAME; several of one teacher.")
    ],
    to: options.ToOption,
    teacher: options.FromOption = None,
    layers: options.LayersOption = "skip",
    align: options.AlignOption = "auto",
    alignment: options.AlignmentOption = None,
    corpus: options.CorpusOption = None,
    column: options.ColumnOption = None,
    tokens: options.TokensOption = options.DEFAULT_TOKENS,
    head: Annotated[options.Head, typer.Option("--head", help="The prediction head.")] = options.Head.KEEP,
    drop_missing: options.DropMissingOption = False,
    rank: Annotated[int | None, typer.Option("--rank", metavar="N", help="Cut every LoRA to this rank or less.")] = None,
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
    """Convert modules from their base model (the teacher) to another one (the student).

    Prints the folder of each result; what was done goes to stderr. Several modules share one alignment.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer import api
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
        if push is not None and len(modules) > 1:
            raise UsageError(
                f"`--push {push}` names one place for {len(modules)} modules.", do="Publish each with `modxfer push`."
            )
        push_to = api.PushChoice(name=push, licence=licence, private=private or None) if push else None
        wanted: dict[str, Any] = {
            "to": to,
            "teacher": teacher,
            "layers": layers,
            "align": choice,
            "keep_head": head is options.Head.KEEP,
            "drop_missing": drop_missing,
            "rank": rank,
            "format": format.value if format else None,
            "output": output,
            "force": force,
            "dry_run": dry_run,
        }
        with out.progress("Aligning", unit="tokens") as report:
            if len(modules) == 1:
                done = [api.convert(modules[0], **wanted, push_to=push_to, progress=report)]
            else:
                done = list(api.convert_set(modules, **wanted, progress=report))
        for converted in done:
            show_conversion(out, converted)
        values = [converted.as_json() for converted in done]
        folders = [str(converted.output) for converted in done if converted.output]
        out.result(values[0] if len(modules) == 1 else {"converted": values}, *folders)


def show_conversion(out: "Output", converted: "Converted") -> None:
    """Say what a conversion did, on stderr.

    Args:
        out: Where to.
        converted: The conversion.
    """
    from modxfer.cli.hub_reports import pushed_table
    from modxfer.cli.summary import conversion_summary, how_to_load

    out.note(conversion_summary(converted))
    out.warn(converted.record["warnings"])
    if converted.output is None:
        out.note("Nothing was written: this was a dry run.")
    else:
        out.note(*how_to_load(converted))
    if converted.pushed is not None:
        out.note(*pushed_table(converted.pushed), f"Published: {converted.pushed.url}")
