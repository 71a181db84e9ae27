"""From errors to text and exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import typer

from modxfer.cli.output import Output
from modxfer.errors import ModxferError
from modxfer.secrets import redact

INTERRUPTED = 130

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""What Typer raises for a command line that it cannot read; it has no public name in all versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is told of an error.

    Attributes:
        kind: Its class.
        what: What is wrong, one sentence.
        do: What to do, one sentence.
        status: The exit status.
    """

    kind: str
    what: str
    do: str
    status: int = 1


def explain(error: BaseException) -> Failure:
    """Turn an error into text and exit status: the one table for that.

    Args:
        error: Anything that a command raised.

    Returns:
        What to print, and the exit status.
    """
    kind = type(error).__name__
    match error:
        case ModxferError():
            return Failure(kind=kind, what=error.what, do=error.do, status=error.exit_status)
        case KeyboardInterrupt():
            return Failure(
                kind=kind, what="Interrupted.", do="Nothing was left half-written; run it again.", status=INTERRUPTED
            )
        case OSError() if error.strerror:
            where = f"`{error.filename}`" if error.filename else "a file"
            return Failure(
                kind=kind,
                what=f"Cannot read or write {where}: {error.strerror}.",
                do="Check that it is there, its permissions and the space on its disk.",
            )
        case MemoryError():
            return _out_of_memory(kind)
        case _ if kind == "OutOfMemoryError":  # torch's, named so that torch need not be there
            return _out_of_memory(kind)
        case _:
            return Failure(
                kind=kind,
                what=f"This is a bug in modxfer: {kind}: {' '.join(str(error).split()) or 'no message'}.",
                do="Run it again with --debug, and report what that prints.",
            )


def explain_usage(error: Exception) -> Failure:
    """Turn what Typer says of a command line into text.

    Args:
        error: A usage error of Typer's.

    Returns:
        What to print, and exit status 2.
    """
    message = getattr(error, "format_message", error.__str__)()
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "modxfer"
    what = " ".join(message.split())
    return Failure(
        kind="UsageError",
        what=what if what.endswith((".", "?", "!")) else f"{what}.",
        do=f"See `{command} --help`.",
        status=2,
    )


@contextlib.contextmanager
def reporting(*, json: bool, quiet: bool, debug: bool) -> Iterator[Output]:
    """Run a command's body: hand it the sink, and turn what it raises into text and an exit status.

    Args:
        json: Print one JSON object as the result.
        quiet: Print results and errors only.
        debug: Print tracebacks and what libraries log.

    Yields:
        The sink.

    Raises:
        typer.Exit: the body raised; the error has been printed.
    """
    from modxfer.cli.noise import noise_to

    output = Output(json=json, quiet=quiet, debug=debug, stdout=sys.stdout, stderr=sys.stderr)
    # What libraries print by themselves is no result, so it does not go to stdout.
    with contextlib.redirect_stdout(sys.stderr), noise_to(output):
        try:
            yield output
        except typer.Exit:
            raise
        except BrokenPipeError:
            _drop_stdout()
            raise typer.Exit(1) from None
        except (Exception, KeyboardInterrupt) as error:
            failure = explain(error)
            if debug:
                import traceback

                sys.stderr.write(redact("".join(traceback.format_exception(error))))
            output.error(failure.kind, failure.what, failure.do)
            raise typer.Exit(failure.status) from None


def _out_of_memory(kind: str) -> Failure:
    return Failure(kind=kind, what="The memory ran out.", do="Close other programs, or use another device with --device.")


def _drop_stdout() -> None:
    """Nobody reads stdout any more: send what is left of it nowhere, so that closing it raises nothing."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
