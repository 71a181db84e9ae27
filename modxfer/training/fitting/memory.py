"""Memory that runs out, and a disk that does."""

import errno
import gc
from pathlib import Path

import torch

from modxfer.errors import OutputError

_FULL = "os error 28"
"""What safetensors says of a full disk."""
_UNWRITTEN = ("inline_container", "PytorchStreamWriter", "iostream error")
"""What torch says of a file that cannot be written, whatever the reason."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out.

    Args:
        error: The error.

    Returns:
        Whether it does.
    """
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, torch.OutOfMemoryError) or (isinstance(error, Exception) and should_reduce_batch_size(error))


def free_memory() -> None:
    """Give back the memory of what nobody uses any more."""
    from accelerate.utils.memory import clear_device_cache

    gc.collect()
    clear_device_cache()


def next_smaller(batch: int, *, share: int) -> int:
    """Give the largest piece of a batch that is at most half as large as another piece.

    Args:
        batch: The piece; above 1.
        share: The batch, which all pieces divide.

    Returns:
        The piece, at least 1.
    """
    return max(piece for piece in range(1, batch // 2 + 1) if share % piece == 0)


def writing_error(folder: Path, error: Exception) -> OutputError | None:
    """Say in our words what went wrong while a checkpoint was written.

    Args:
        folder: Where checkpoints go.
        error: What came up.

    Returns:
        The error to raise; None if it has nothing to do with writing.
    """
    text = str(error)
    go_on = "Free some space, then go on with `--resume`."
    if getattr(error, "errno", None) == errno.ENOSPC or _FULL in text:
        return OutputError(f"The disk is full while writing a checkpoint in `{folder}`.", do=go_on)
    if any(words in text for words in _UNWRITTEN):
        return OutputError(f"Cannot write a checkpoint in `{folder}`: the disk seems to be full.", do=go_on)
    if isinstance(error, OSError):
        return OutputError(
            f"Cannot write a checkpoint in `{folder}`: {error.strerror or error}.",
            do="Name a place that can be written with `--output`.",
        )
    return None
