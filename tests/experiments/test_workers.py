"""Worker processes: one that dies takes one piece of work with it, and none outlives its run."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modxfer.experiments.resources import worker_environment
from modxfer.experiments.workers import Slot, Workers
from tests.experiments.pieces import work


def _is_alive(pid: int) -> bool:
    """Say whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def test_workers_go_on_after_one_died(tmp_path: Path) -> None:
    """The piece whose process was killed is told so, the others have their results; workers get GPU, threads and log."""
    log = tmp_path / "log.txt"
    slots = [Slot("7", log)]
    with worker_environment(threads=3), Workers(slots) as workers:
        outcomes = {
            str(arguments[0]): outcome
            for arguments, outcome in workers.run(work, [(name, str(tmp_path)) for name in ("a", "die", "b", "c")])
        }
    died = outcomes.pop("die")
    assert isinstance(died, str)
    assert "memory ran out" in died
    assert list(outcomes) == ["a", "b", "c"]
    pids = set()
    for name, outcome in outcomes.items():
        assert not isinstance(outcome, str)
        assert outcome["what"] == name
        assert outcome["environment"] == {"OMP_NUM_THREADS": "3", "MALLOC_MMAP_MAX_": "0", "CUDA_VISIBLE_DEVICES": "7"}
        pids.add(outcome["pid"])
    assert len(pids) == 2
    assert not any(_is_alive(pid) for pid in pids)
    assert "MALLOC_MMAP_MAX_" not in os.environ
    assert "printed by b" in log.read_text(encoding="utf-8")


def test_workers_go_on_after_an_idle_one_died(tmp_path: Path) -> None:
    """A worker that the system killed while it had nothing to do is started again, and no piece is lost."""
    slot = Slot(None, tmp_path / "log")
    with Workers([slot]) as workers:
        ((_, first),) = workers.run(work, [("a", str(tmp_path))])
        assert not isinstance(first, str)
        os.kill(first["pid"], signal.SIGKILL)
        _wait(lambda: not _is_alive(first["pid"]))
        time.sleep(0.2)  # the pool takes a moment to see it
        ((_, second),) = workers.run(work, [("b", str(tmp_path))])
    assert not isinstance(second, str)
    assert second["what"] == "b"


def test_workers_end_with_an_interrupt(tmp_path: Path) -> None:
    """Ctrl-C ends a worker in the middle of its work; what has ended was handed out before."""
    seen = []

    def interrupt() -> None:
        slots = [Slot(None, tmp_path / "log"), Slot(None, tmp_path / "log")]
        with Workers(slots) as workers:
            for (name, _), _ in workers.run(work, [("hang", str(tmp_path)), ("a", str(tmp_path))]):
                seen.append(name)
                _wait(lambda: (tmp_path / "hanging").exists())
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert seen == ["a"]
    assert not multiprocessing.active_children()


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """A worker in the middle of its work leaves when its parent is gone: nobody would take its result."""
    code = (
        "from pathlib import Path\n"
        "from modxfer.experiments.workers import Slot, Workers\n"
        "from tests.experiments.pieces import work\n"
        "if __name__ == '__main__':\n"
        f"    with Workers([Slot(None, Path({str(tmp_path / 'log')!r}))]) as workers:\n"
        f"        list(workers.run(work, [('hang', {str(tmp_path)!r})]))\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code, encoding="utf-8")
    with subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(Path.cwd())}) as parent:
        note = tmp_path / "hanging"
        _wait(lambda: note.exists() and note.read_text(encoding="utf-8"))
        worker = int(note.read_text(encoding="utf-8"))
        assert _is_alive(worker)
        parent.kill()
        parent.wait()
    _wait(lambda: not _is_alive(worker))
