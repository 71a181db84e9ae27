"""From errors to text and exit status."""

import errno
import json
import logging
import sys
import warnings

import pytest
import typer

from modxfer.cli.errors import explain, reporting
from modxfer.errors import FormatError, UsageError

DISK = OSError(errno.ENOSPC, "No space left on device", "/data/out")


@pytest.mark.parametrize(
    ("error", "status", "part"),
    [
        (FormatError("`x` is cut off.", do="Fetch it again."), 1, "`x` is cut off."),
        (UsageError("There is no `y`.", do="Name another."), 2, "There is no `y`."),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (DISK, 1, "`/data/out`: No space left on device"),
        (MemoryError(), 1, "memory ran out"),
        (KeyError("colour"), 1, "bug in modxfer: KeyError: 'colour'"),
        (AssertionError(), 1, "bug in modxfer: AssertionError: no message"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_explain(error: BaseException, status: int, part: str) -> None:
    """Every kind of error has its status, and says what it is about."""
    failure = explain(error)
    assert failure.status == status
    assert part in failure.what
    assert failure.do.endswith(".")


def test_reporting_prints_one_line_for_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """An error that nobody foresaw is one line that names --debug, and status 1."""
    with pytest.raises(typer.Exit) as caught, reporting(json=False, quiet=False, debug=False):
        raise ZeroDivisionError("division\nby zero")
    printed = capsys.readouterr()
    assert caught.value.exit_code == 1
    assert printed.out == ""
    assert printed.err == (
        "Error: This is a bug in modxfer: ZeroDivisionError: division by zero. Run it again with --debug, and report what "
        "that prints.\n"
    )


def test_reporting_prints_the_traceback_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    """--debug puts the traceback before the error, on stderr."""
    with pytest.raises(typer.Exit), reporting(json=True, quiet=False, debug=True):
        raise FormatError("`x` is cut off.", do="Fetch it again.")
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"error": {"type": "FormatError", "what": "`x` is cut off.", "do": "Fetch it again."}}
    assert "Traceback (most recent call last)" in printed.err


def test_reporting_keeps_stdout_clean(capsys: pytest.CaptureFixture[str]) -> None:
    """What a library prints, logs or warns of does not reach stdout; logged warnings reach stderr."""
    with reporting(json=True, quiet=False, debug=False) as out:
        sys.stdout.write("noise\n")
        logging.getLogger("modxfer.somewhere").warning("the %s is old", "store")
        warnings.warn_explicit("for developers", UserWarning, "library.py", 1, module="library")
        out.result({"fine": True})
    printed = capsys.readouterr()
    assert printed.out == '{"fine": true}\n'
    assert printed.err == "noise\nWarning: the store is old\n"


def test_reporting_quiet_prints_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    """--quiet keeps notes and warnings back, and not results."""
    with reporting(json=False, quiet=True, debug=False) as out:
        out.note("a note")
        out.warn(["a warning"])
        out.result({}, "a/folder")
    assert capsys.readouterr() == ("a/folder\n", "")


TOKEN = "hf_" + "sEcReT1" * 5


def fail(error: Exception) -> None:
    """Raise an error with a cause."""
    try:
        raise KeyError(f"Bearer {TOKEN}")
    except KeyError as cause:
        raise error from cause


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("error", [ValueError(f"sent {TOKEN}"), FormatError(f"`{TOKEN}` is no file.", do=f"Drop {TOKEN}.")])
def test_no_error_shows_a_token(capsys: pytest.CaptureFixture[str], error: Exception, debug: bool) -> None:
    """Neither the line, the JSON, nor the traceback with all its causes."""
    with pytest.raises(typer.Exit), reporting(json=True, quiet=False, debug=debug):
        fail(error)
    printed = capsys.readouterr()
    assert "***" in json.loads(printed.out)["error"]["what"]
    assert "***" in printed.err.splitlines()[-1]
    assert ("KeyError: 'Bearer ***'" in printed.err) == debug
    assert TOKEN not in printed.out + printed.err
