"""What a machine has for the cells of an experiment: cores, memory, GPUs, and what each worker process gets of them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_CELL_BYTES = 1_500_000_000
"""What a process takes beside weights: the libraries, data, and activations of a usual batch."""

_WEIGHTS_HELD = 3
"""A base model's weights while it is loaded and converted, at most."""

_CALM_MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "4294967296"}
"""glibc gives large blocks back to the system and asks for them anew at every step, a fifth of a training's time."""


def count_cores() -> int:
    """Count the cores that this process may use.

    Returns:
        Their number, at least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def available_bytes() -> int | None:
    """Say how much memory is free for new processes, within what this container may have.

    Returns:
        Bytes; None where the system does not say.
    """
    found = [size for size in (_of_machine(), _of_container()) if size is not None]
    return min(found) if found else None


def choose_jobs(*, asked: int | None, weights_bytes: int, num_gpus: int) -> int:
    """Choose how many cells run at a time.

    Args:
        asked: What the user says; None to choose by cores and memory, or one for each GPU.
        weights_bytes: Size of the largest base model's weights.
        num_gpus: GPUs that cells run on; 0 for the CPU.

    Returns:
        The number, at least 1.
    """
    if asked is not None:
        return asked
    if num_gpus:
        return num_gpus
    free = available_bytes()
    fitting = count_cores() if free is None else free // (_CELL_BYTES + _WEIGHTS_HELD * weights_bytes)
    return max(1, min(count_cores(), fitting))


def list_gpus(device: str) -> tuple[str, ...]:
    """List the GPUs that cells run on, as CUDA_VISIBLE_DEVICES names them.

    Args:
        device: "auto", "cpu", "cuda" or "mps".

    Returns:
        Their names; none where cells run on something else.
    """
    if device not in ("auto", "cuda"):
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(name.strip() for name in named.split(",") if name.strip())
    import torch

    return tuple(str(number) for number in range(torch.cuda.device_count()))


@contextlib.contextmanager
def worker_environment(*, threads: int) -> Iterator[None]:
    """Set what worker processes read when they start; the environment is as it was afterwards.

    Args:
        threads: Threads of each worker.

    Yields:
        Nothing.
    """
    wanted = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", **_CALM_MALLOC}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _of_machine() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_container() -> int | None:
    """What the control group (version 2) leaves, apart from what the system can take back."""
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError, KeyError):
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        rows = (line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        used = int({row[0]: row[1] for row in rows}["anon"])
        return None if limit == "max" else max(0, int(limit) - used)
    return None
