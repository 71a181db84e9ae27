"""The command line: parses, calls the library, prints. One file a group of commands."""

import os
import sys
from collections.abc import MutableMapping, Sequence
from typing import Annotated

import typer

from modxfer.cli import align, convert, demo, env, evaluate, experiment, inspect, options, pull, push, registry, support, train
from modxfer.cli.errors import INTERRUPTED, USAGE_ERROR, explain_usage
from modxfer.cli.output import Output

_HUB = "https://huggingface.co"

app = typer.Typer(
    name="modxfer",
    help="Move PEFT modules from the base model they were trained on to another one.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help pages load twice as fast
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("convert", epilog=options.HOW_TO, short_help="Move a module to another base model.")(convert.convert)
app.command("evaluate", epilog=evaluate.HOW_TO, short_help="Measure a module on a task's data.")(evaluate.evaluate)
app.add_typer(align.app, name="align")
app.command("train", epilog=train.HOW_TO, short_help="Train a module, new or transferred, and measure it.")(train.train)
app.command("inspect", short_help="Say what a module or a base model is.")(inspect.inspect)
app.command("pull", short_help="Fetch a module or an alignment map from the Hub.")(pull.pull)
app.command("push", short_help="Publish a module or an alignment map on the Hub.")(push.push)
app.command("support", short_help="Say which methods can be moved on which base models.")(support.support)
app.add_typer(registry.app, name="registry")
app.add_typer(experiment.app, name="experiment")
app.command("demo", short_help="Show the whole job on a real base model.")(demo.demo)
app.command("env", short_help="Say what modxfer runs on.")(env.env)


def _print_version(asked: bool) -> bool:
    if asked:
        from importlib.metadata import version

        typer.echo(f"modxfer {version('modxfer')}")
        raise typer.Exit
    return asked


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave.", show_default=False
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line on the arguments of this process, and leave with its exit status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    words = set(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    calm_libraries(os.environ, bars=sys.stderr.isatty() and "--quiet" not in words, debug="--debug" in words)
    limit_hub(os.environ, offline="--offline" in words)
    try:
        return app(args=list(arguments), prog_name="modxfer", standalone_mode=False) or 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except USAGE_ERROR as error:
        if str(error).startswith("Usage:"):  # no command was named, and this is the help page
            typer.echo(str(error), err=True)
            return 2
        output = Output(json="--json" in words, quiet=False, debug=False, stdout=sys.stdout, stderr=sys.stderr)
        failure = explain_usage(error)
        output.error(failure.kind, failure.what, failure.do)
        return failure.status


def calm_libraries(environment: MutableMapping[str, str], *, bars: bool, debug: bool) -> None:
    """Tell other packages to keep their notes, and their progress bars where nobody would see them, to themselves.

    They read this when they are imported; what the user has set stays.

    Args:
        environment: The environment, changed in place.
        bars: Whether progress bars are wanted.
        debug: Whether notes are wanted.
    """
    if not debug:
        environment.setdefault("TRANSFORMERS_VERBOSITY", "error")
        environment.setdefault("DATASETS_VERBOSITY", "error")
        environment.setdefault("HF_HUB_VERBOSITY", "error")
    if not bars:
        environment.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        environment.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


def limit_hub(environment: MutableMapping[str, str], *, offline: bool) -> None:
    """Say how long to go on asking the Hub, and whether to ask it at all; what the user has set stays.

    Args:
        environment: The environment, changed in place; read when `huggingface_hub` is imported.
        offline: Whether the Hub is not to be asked.
    """
    environment.setdefault("MODXFER_HUB_TIMEOUT", "60")
    if environment.get("HF_ENDPOINT", _HUB).rstrip("/") != _HUB:
        # The client would send by Xet without asking whether it is there.
        environment.setdefault("HF_HUB_DISABLE_XET", "1")
    if offline:
        environment["HF_HUB_OFFLINE"] = "1"
