"""Pieces of work for worker processes; what imports this is quick to start."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def work(what: str, folder: str) -> dict[str, Any]:
    """Do as told."""
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        Path(folder, "hanging").write_text(str(os.getpid()), encoding="utf-8")
        time.sleep(600)
    sys.stdout.write(f"printed by {what}\n")
    names = ("OMP_NUM_THREADS", "MALLOC_MMAP_MAX_", "CUDA_VISIBLE_DEVICES")
    return {"what": what, "pid": os.getpid(), "environment": {name: os.environ.get(name) for name in names}}
