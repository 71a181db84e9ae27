"""What the library logs and what other packages warn of, while a command runs."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

from modxfer.cli.output import Output


@contextlib.contextmanager
def noise_to(output: Output) -> Iterator[None]:
    """Print what modxfer logs, and keep other packages' warnings back, which are for developers, unless asked for.

    Args:
        output: The sink.

    Yields:
        Nothing.
    """
    logger, handler = logging.getLogger("modxfer"), _LogHandler(output)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if output.debug else logging.WARNING)
    with warnings.catch_warnings():
        if not output.debug:
            warnings.filterwarnings("ignore", module=r"(?!modxfer)")
        try:
            yield
        finally:
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
