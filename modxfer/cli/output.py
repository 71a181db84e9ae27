"""The one sink of the command line: results to stdout, everything else to stderr, and tokens nowhere."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from modxfer.secrets import redact

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Report = Callable[..., None]
"""Called with how much is done, how much there is and, if that has changed, what is going on now."""


@runtime_checkable
class Stream(Protocol):
    """What is printed to."""

    def write(self, text: str, /) -> int:
        """Print text, and say how much."""

    def flush(self) -> None:
        """Let nothing wait."""

    def isatty(self) -> bool:
        """Say whether a person looks on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where a command prints.

    Attributes:
        json: Print one JSON object as the result, and nothing else on stdout.
        quiet: Print results and errors only.
        debug: Print tracebacks and what libraries log.
        stdout: For results.
        stderr: For everything else.
    """

    json: bool
    quiet: bool
    debug: bool
    stdout: Stream
    stderr: Stream

    @property
    def shows_bars(self) -> bool:
        """Whether progress bars are shown: on a terminal, unless quiet."""
        return not self.quiet and self.stderr.isatty()

    def result(self, values: Mapping[str, Any], *tables: "RenderableType") -> None:
        """Print a command's result: as JSON if that was asked for, else as tables or lines.

        Args:
            values: What `--json` prints: plain values.
            *tables: What people see; plain strings, and texts with `no_wrap`, are lines that are never broken.
        """
        if self.json:
            printed = json.dumps(values, ensure_ascii=False, allow_nan=False)
            if redact(printed) != printed:  # rare, and then text by text, so that it stays JSON
                printed = json.dumps(_redacted(values), ensure_ascii=False, allow_nan=False)
            print(printed, file=self.stdout, flush=True)
            return
        self._print(self.stdout, tables)

    def note(self, *notes: "RenderableType") -> None:
        """Print what goes with a result, on stderr.

        Args:
            *notes: Texts or tables; texts that are plain strings are never broken.
        """
        if not self.quiet:
            self._print(self.stderr, notes)

    def warn(self, warnings: Iterable[str]) -> None:
        """Print warnings on stderr.

        Args:
            warnings: Sentences.
        """
        for sentence in warnings:
            self.note(_labelled("Warning:", "yellow", redact(sentence)))

    def error(self, kind: str, what: str, do: str) -> None:
        """Print an error: one line on stderr, and with `--json` an object on stdout too.

        Args:
            kind: Its class.
            what: What is wrong, one sentence.
            do: What to do, one sentence.
        """
        console = self._console(self.stderr)
        console.print(_labelled("Error:", "bold red", redact(f"{what} {do}")), soft_wrap=True)
        if self.json:
            self.result({"error": {"type": kind, "what": what, "do": do}})

    @contextlib.contextmanager
    def progress(self, title: str, *, unit: str = "") -> Iterator[Report]:
        """Show a progress bar while a block runs, if stderr is a terminal; it appears with the first report.

        Args:
            title: What is going on.
            unit: What is counted; empty for a percentage.

        Yields:
            What to call with how much is done and how much there is.
        """
        if not self.shows_bars:
            yield lambda done, total, step=None: None
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        count = f"{{task.completed:,.0f}} of {{task.total:,.0f}} {unit}" if unit else "{task.percentage:3.0f}%"
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn(count), TimeRemainingColumn())
        bar = Progress(*columns, console=self._console(self.stderr), transient=True)
        task = bar.add_task(title, total=None, start=False)

        def report(done: int | float, total: int | float, step: str | None = None) -> None:
            bar.update(task, completed=done, total=total, description=redact(step or title))
            if not bar.live.is_started:
                bar.start()
                bar.start_task(task)

        try:
            yield report
        finally:
            bar.stop()

    def follow(self, report: Report) -> Callable[[str, int | float], None]:
        """Show named steps of one long piece of work: in its bar, or one line a step where no bar is shown.

        Args:
            report: What `progress` gave.

        Returns:
            What to call with the name of the step, and the part of the work that is done, in [0, 1].
        """
        seen: set[str] = set()

        def follow(step: str, done: int | float) -> None:
            if not self.shows_bars and step not in seen:
                self.note(step)
            seen.add(step)
            report(done, 1.0, step)

        return follow

    def _print(self, stream: Stream, items: "Iterable[RenderableType]") -> None:
        """Print without the spaces that fill tables up to the right edge."""
        console = self._console(stream)
        with console.capture() as captured:
            for item in items:
                # A text with styles is broken like a paragraph, unless it says that it is a line.
                console.print(item, soft_wrap=isinstance(item, str) or getattr(item, "no_wrap", None) is True)
        for line in redact(captured.get()).splitlines():
            print(line.rstrip(), file=stream)
        stream.flush()

    def _console(self, stream: Stream) -> "Console":
        from rich.console import Console

        return Console(file=cast("IO[str]", stream), highlight=False, markup=False, emoji=False)


def _redacted(value: Any) -> Any:
    """Hide tokens in every text of plain values."""
    match value:
        case str():
            return redact(value)
        case Mapping():
            return {_redacted(key): _redacted(item) for key, item in value.items()}
        case list() | tuple():
            return [_redacted(item) for item in value]
        case _:
            return value


def _labelled(label: str, style: str, sentence: str) -> "RenderableType":
    from rich.text import Text

    return Text.assemble((label, style), " ", " ".join(sentence.split()))


def human_size(size_bytes: int | float) -> str:
    """Write a size for people.

    Args:
        size_bytes: The size in bytes.

    Returns:
        Three digits or so, and the unit (1 kB is 1000 bytes).
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"
