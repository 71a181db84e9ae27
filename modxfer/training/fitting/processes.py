"""The processes that `accelerate launch` starts: only the main one writes and reports."""

import os


def num_processes() -> int:
    """Count the processes that train together.

    Returns:
        How many there are: 1, unless `accelerate launch` or `torchrun` started this one.
    """
    return int(os.environ.get("WORLD_SIZE", "1")) if _is_launched() else 1


def is_main_process() -> bool:
    """Say whether this process is the one that writes and reports.

    Returns:
        Whether it is; a process that is alone is.
    """
    return not _is_launched() or os.environ.get("RANK", "0") == "0"


def wait_for_all() -> None:
    """Wait until every process has come here; a process that is alone goes on."""
    if num_processes() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def _is_launched() -> bool:
    """Say whether a launcher started this process; some clusters set the world's size and no more."""
    return int(os.environ.get("LOCAL_RANK", "-1")) >= 0
