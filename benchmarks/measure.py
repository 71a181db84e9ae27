"""Running whole processes in turn, and taking down their time and peak memory."""

import json
import statistics
import subprocess
import sys
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


_WATCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([done.returncode, seconds, peak, done.stderr.decode(errors="replace")[-2000:]]))
"""
"""Runs the command from a small process: what a process inherits from the one that started it counts in its peak memory."""


def run(command: Sequence[str]) -> Run:
    """Run a command to its end.

    Args:
        command: Program and arguments.

    Returns:
        Its time and peak memory.

    Raises:
        RuntimeError: it failed.
    """
    watcher = subprocess.run([sys.executable, "-S", "-c", _WATCHER, *command], capture_output=True, check=True)
    status, seconds, peak, errors = json.loads(watcher.stdout)
    if status:
        raise RuntimeError(f"{' '.join(command)} failed: {errors}")
    return Run(seconds=seconds, peak_bytes=peak * (1 if sys.platform == "darwin" else 1024))


def python(code: str) -> list[str]:
    """Give the command that runs a line of Python.

    Args:
        code: The line.

    Returns:
        Program and arguments.
    """
    return [sys.executable, "-c", code]
