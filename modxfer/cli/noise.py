"""What the library logs and what other packages log and warn of, while a command runs."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

from modxfer.cli.output import Output
from modxfer.secrets import redact


@contextlib.contextmanager
def noise_to(output: Output) -> Iterator[None]:
    """Print what modxfer logs, and keep other packages' warnings back, which are for developers, unless asked for.

    Nothing that anybody logs or warns of shows a token.

    Args:
        output: The sink.

    Yields:
        Nothing.
    """
    logger, handler = logging.getLogger("modxfer"), _LogHandler(output)
    before, make_record = logger.level, logging.getLogRecordFactory()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if output.debug else logging.WARNING)

    def make_redacted(*args: Any, **kwargs: Any) -> logging.LogRecord:
        return _redacted(make_record(*args, **kwargs))

    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        if not output.debug:
            warnings.filterwarnings("ignore", module=r"(?!modxfer)")
        logging.setLogRecordFactory(make_redacted)
        try:
            yield
        finally:
            logging.setLogRecordFactory(make_record)
            logger.removeHandler(handler)
            logger.setLevel(before)


class _LogHandler(logging.Handler):
    """Prints what the library logs."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record.

        Args:
            record: The record.
        """
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            self._output.warn([message])
        else:
            self._output.note(message)


def _redacted(record: logging.LogRecord) -> logging.LogRecord:
    """Hide tokens in a record, for whatever handler prints it."""
    try:
        record.msg, record.args = redact(record.getMessage()), ()
    except (TypeError, ValueError):  # it does not fit its arguments; logging says so when it is printed
        return record
    if record.exc_info and record.exc_info[0] is not None:
        record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
    return record


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    (file or sys.stderr).write(redact(warnings.formatwarning(message, category, filename, lineno, line)))
