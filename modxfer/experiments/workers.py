"""Worker processes for cells: one pool of one process for each slot, so that a worker that dies takes one cell with it."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Run = Callable[..., dict[str, Any]]


@dataclass(slots=True)
class Slot:
    """A place for one worker process, which is started when it is first needed, and again when it died.

    Attributes:
        gpu: The GPU that it sees; None for what this process sees.
        log: The file that its output goes to.
    """

    gpu: str | None
    log: Path
    _pool: ProcessPoolExecutor | None = field(default=None, init=False)

    def submit(self, run: Run, *arguments: Any) -> "Future[dict[str, Any]]":
        """Begin with a piece of work.

        Args:
            run: The function, which the worker imports.
            *arguments: What it gets.

        Returns:
            Its result, in the future.
        """
        try:
            return self._started().submit(run, *arguments)
        except BrokenProcessPool:  # it died while it had nothing to do
            self.close()
            return self._started().submit(run, *arguments)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                max_workers=1, mp_context=context, initializer=_begin, initargs=(self.gpu, str(self.log))
            )
        return self._pool

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None


@dataclass(frozen=True, slots=True)
class Workers:
    """The worker processes of a run; they end with the block.

    Attributes:
        slots: Their places.
    """

    slots: Sequence[Slot]
    _others: set[Any] = field(default_factory=lambda: set(multiprocessing.active_children()), init=False)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for slot in self.slots:
            slot.close()
        for process in set(multiprocessing.active_children()) - self._others:
            process.terminate()
            process.join()

    def run(self, run: Run, work: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any] | str]]:
        """Run pieces of work, as many at a time as there are slots.

        Args:
            run: What is called.
            work: The arguments of each piece.

        Yields:
            The arguments of a piece that ended, and its result; or, of one whose worker died, a sentence that says so.
        """
        waiting, free = list(reversed(work)), list(self.slots)
        running: dict[Future[dict[str, Any]], tuple[Slot, tuple[Any, ...]]] = {}
        while waiting or running:
            while waiting and free:
                slot, arguments = free.pop(0), waiting.pop()
                running[slot.submit(run, *arguments)] = slot, arguments
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                slot, arguments = running.pop(future)
                outcome = _outcome(future, slot)
                free.append(slot)
                yield arguments, outcome


def _outcome(future: "Future[dict[str, Any]]", slot: Slot) -> Mapping[str, Any] | str:
    try:
        return future.result()
    except BrokenProcessPool:
        slot.close()
        return "TrainingError: The worker process died; most often the system killed it because the memory ran out."


def _begin(gpu: str | None, log: str) -> None:
    """Set a worker up, before it imports anything large."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave when the parent is gone: nobody would take the result, and the next run cleans up under this one's feet."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
