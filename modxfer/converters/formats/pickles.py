"""Pickles of tensors, opened with torch's restricted unpickler, which runs no code."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import ml_dtypes
import numpy as np

from modxfer.converters.formats.checks import FETCH_AGAIN
from modxfer.converters.module import Array
from modxfer.errors import FormatError

DTYPE_NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""The name of a dtype to its name in safetensors."""

_ONE_AT_A_TIME = Lock()  # torch keeps one list of what else may be unpickled


def load_tensors(path: Path) -> dict[str, Any]:
    """Load a pickle of tensors by name.

    Args:
        path: The file.

    Returns:
        Name to torch tensor.

    Raises:
        FormatError: the file is damaged, holds something else, or wants to run code.
    """
    import torch

    content = unpickle(path)
    odd = next(
        (key for key, value in content.items() if not (isinstance(key, str) and isinstance(value, torch.Tensor))),
        None,
    )
    if odd is not None:
        raise FormatError(f"`{path}` holds `{odd}`, which is no tensor with a name.", do=FETCH_AGAIN)
    return content


def unpickle(path: Path, *, stand_ins: Mapping[str, Callable[..., Any]] | None = None) -> dict[Any, Any]:
    """Load a pickle of an object with torch's restricted unpickler.

    Args:
        path: The file.
        stand_ins: Names that the pickle may hold beside torch's own, and what is called in their place.

    Returns:
        The object.

    Raises:
        FormatError: the file is damaged, holds something else, or wants to run code.
    """
    import pickle

    import torch

    safe: list[Any] = [(stand_in, name) for name, stand_in in (stand_ins or {}).items()]
    try:
        with _ONE_AT_A_TIME, torch.serialization.safe_globals(safe) if safe else nullcontext():
            try:
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # the form from before torch 1.6 cannot be mapped
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "unsupported" not in str(error).lower():
            raise FormatError(f"Cannot read `{path}`: {_first_line(error)}.", do=FETCH_AGAIN) from error
        raise FormatError(
            f"`{path}` is refused: the pickle holds more than tensors and could run code ({_first_line(error)}).",
            do="Do not open it with anything else; ask whoever made it for a safetensors file.",
        ) from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise FormatError(f"Cannot read `{path}`: {_first_line(error)}.", do=FETCH_AGAIN) from error
    if not isinstance(content, dict):
        raise FormatError(f"`{path}` holds a {type(content).__name__}, not tensors by name.", do=FETCH_AGAIN)
    return content


def _first_line(error: Exception) -> str:
    """Take the line of torch's long message that says what was found, and none that says how to run it all the same."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = next((line for line in lines if "unsupported" in line.lower() or "Unpickler error" in line), lines[0])
    return said.removeprefix("WeightsUnpickler error:").split(". In PyTorch 2.6")[0].strip().rstrip(".")[:200]


def torch_dtype_name(tensor: Any) -> str:
    """Name a torch dtype as safetensors does.

    Args:
        tensor: A torch tensor.

    Returns:
        The name; torch's own for a dtype that modules do not have.
    """
    name = str(tensor.dtype).removeprefix("torch.")
    return DTYPE_NAMES.get(name, name)


def torch_to_numpy(key: str, tensor: Any, path: Path) -> Array:
    """Give a torch tensor's values as an array of the same dtype.

    Args:
        key: What the tensor is called, for the message.
        tensor: A torch tensor.
        path: The file that it comes from, for the message.

    Returns:
        A copy.

    Raises:
        FormatError: it is no plain tensor in memory.
    """
    import torch

    try:
        dense = tensor.detach().contiguous()
        if dense.dtype == torch.bfloat16:
            return np.asarray(dense.view(torch.int16).numpy().view(ml_dtypes.bfloat16)).copy()
        return np.asarray(dense.numpy()).copy()
    except (RuntimeError, TypeError) as error:
        raise FormatError(f"`{key}` in `{path}` is no plain tensor: {_first_line(error)}.", do=FETCH_AGAIN) from error
