"""Running whole processes in turn, and taking down their time and peak memory."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One finished process.

    Attributes:
        seconds: Wall time.
        peak_bytes: Largest resident memory.
    """

    seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two commands, run in turn.

    Attributes:
        ours: Median seconds of the first.
        theirs: Median seconds of the second.
        ratio: Median of the ratios of neighbouring runs.
        lowest: Smallest of those ratios.
        highest: Largest of those ratios.
        our_peak: Median peak memory of the first, in bytes.
        their_peak: Median peak memory of the second, in bytes.
    """

    ours: float
    theirs: float
    ratio: float
    lowest: float
    highest: float
    our_peak: float
    their_peak: float


def compare(ours: Sequence[str], theirs: Sequence[str], *, runs: int = 9) -> Comparison:
    """Run two commands in turn, after one warm-up each.

    Args:
        ours: The command to judge.
        theirs: The command to judge it by.
        runs: Counted runs of each.

    Returns:
        Medians, and the ratio pair by pair.
    """
    run(ours), run(theirs)
    pairs = [(run(ours), run(theirs)) for _ in range(runs)]
    ratios = [a.seconds / b.seconds for a, b in pairs]
    return Comparison(
        ours=statistics.median(a.seconds for a, _ in pairs),
        theirs=statistics.median(b.seconds for _, b in pairs),
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        our_peak=statistics.median(a.peak_bytes for a, _ in pairs),
        their_peak=statistics.median(b.peak_bytes for _, b in pairs),
    )


def run(command: Sequence[str]) -> Run:
    """Run a command to its end.

    Args:
        command: Program and arguments.

    Returns:
        Its time and peak memory.

    Raises:
        RuntimeError: it failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {errors.decode()[-2000:]}")
    scale = 1 if sys.platform == "darwin" else 1024
    return Run(seconds=seconds, peak_bytes=usage.ru_maxrss * scale)


def python(code: str) -> list[str]:
    """Give the command that runs a line of Python.

    Args:
        code: The line.

    Returns:
        Program and arguments.
    """
    return [sys.executable, "-c", code]
