"""What is logged and warned of while a command runs."""

import io
import logging
import warnings

import pytest

from modxfer.cli.noise import noise_to
from modxfer.cli.output import Output

TOKEN = "hf_" + "sEcReT1" * 5


def make_output(*, debug: bool = False) -> Output:
    """Make a sink that prints into memory."""
    return Output(json=True, quiet=False, debug=debug, stdout=io.StringIO(), stderr=io.StringIO())


def printed(output: Output) -> str:
    """Give what went to stderr, on one line."""
    assert isinstance(output.stderr, io.StringIO)
    return " ".join(output.stderr.getvalue().split())


@pytest.fixture
def other() -> tuple[logging.Logger, io.StringIO]:
    """Give another package's logger, which has one handler and no parents."""
    logger, stream = logging.Logger("somebody.else"), io.StringIO()
    logger.addHandler(logging.StreamHandler(stream))
    return logger, stream


@pytest.mark.parametrize(("debug", "said"), [(False, "Warning: the hub is slow"), (True, "a note Warning: the hub is slow")])
def test_our_own_log_is_printed(debug: bool, said: str) -> None:
    """Warnings always, notes with --debug, and nothing after the command."""
    output = make_output(debug=debug)
    logger = logging.getLogger("modxfer.registry")
    with noise_to(output):
        logger.info("a %s", "note")
        logger.warning("the %s is slow", "hub")
    logger.warning("later")
    assert printed(output) == said


def test_no_record_shows_a_token(other: tuple[logging.Logger, io.StringIO]) -> None:
    """Neither ours nor another package's, in text, arguments or a traceback."""
    logger, stream = other
    output = make_output(debug=True)
    with noise_to(output):
        logging.getLogger("modxfer").warning("sent %s", TOKEN)
        logger.warning("sent %s", TOKEN)
        try:
            raise ValueError(f"Bearer {TOKEN}")
        except ValueError:
            logger.exception("and failed with %d", 7)
    assert printed(output) == "Warning: sent ***"
    assert "sent ***\nand failed with 7\nTraceback" in stream.getvalue()
    assert "ValueError: Bearer ***" in stream.getvalue()
    assert TOKEN not in stream.getvalue()


def test_records_are_their_own_again_afterwards(other: tuple[logging.Logger, io.StringIO]) -> None:
    """A program that calls the command line finds its logging as it was, also after an error."""
    logger, stream = other
    before = logging.getLogRecordFactory()
    with pytest.raises(KeyError, match="gone"), noise_to(make_output()):
        raise KeyError("gone")
    assert logging.getLogRecordFactory() is before
    logger.warning("sent %s", TOKEN)
    assert TOKEN in stream.getvalue()


def test_a_record_that_does_not_fit_its_arguments_is_left_to_logging(
    other: tuple[logging.Logger, io.StringIO], capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake of another package's does not end the command."""
    logger, stream = other
    with noise_to(make_output()):
        logger.warning("%d of %d", 3)
    assert stream.getvalue() == ""
    assert "not enough arguments" in capsys.readouterr().err


def test_warnings_are_for_debug_and_show_no_token(capsys: pytest.CaptureFixture[str]) -> None:
    """Another package's warning is kept back, and with --debug printed without the token in it."""
    for debug in (False, True):
        with noise_to(make_output(debug=debug)):
            warnings.warn_explicit(f"old {TOKEN}", UserWarning, "library.py", 1, module="library")
        assert capsys.readouterr().err == ("library.py:1: UserWarning: old ***\n" if debug else "")
