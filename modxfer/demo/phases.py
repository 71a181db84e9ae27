"""How far the demo is, and how long each part of it took."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

Report = Callable[[str, float], None]
"""Called with the name of the phase, and the part of the whole work that is done, in [0, 1]."""

Tick = Callable[[int, int], None]
"""Called inside a phase with the steps done, and the steps there are."""


class Phases:
    """The phases of a run, in order, each with its share of the work."""

    def __init__(self, shares: Mapping[str, float], report: Report) -> None:
        """Plan a run.

        Args:
            shares: Phase to its share of the work, in any unit.
            report: Told about every step.
        """
        self.seconds: dict[str, float] = {}
        self._shares = dict(shares)
        self._total = sum(shares.values())
        self._report = report
        self._before = 0.0

    @contextlib.contextmanager
    def run(self, name: str) -> Iterator[Tick]:
        """Time one phase.

        Args:
            name: One of the planned phases.

        Yields:
            What to call after every step of it.
        """
        share, start = self._shares[name], time.perf_counter()
        self._report(name, self._before / self._total)

        def tick(done: int, total: int) -> None:
            part = min(done / total, 1.0) if total else 1.0
            self._report(name, (self._before + share * part) / self._total)

        yield tick
        self._before += share
        self.seconds[name] = time.perf_counter() - start
        self._report(name, self._before / self._total)
