"""The file of differences: a pickle of parameters by name, sparse differences in one part and whole values in the other.

A sparse difference is its `size`, its `values` that are not zero, and `index_steps`: the first axis counts fastest, the first
step is the index of the first value, and each other one leads from the value before. Here a parameter's key is the part's name,
a dot and the parameter's name, and its tensor is dense.

Source: composable-sft (Ansell et al. 2022, arXiv 2110.07560), `src/sft/sft.py`, whose class `SFT` reads and writes such files.
"""

import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from modxfer.converters.formats.checks import FETCH_AGAIN, FLOATING
from modxfer.converters.formats.pickles import torch_dtype_name, torch_to_numpy, unpickle
from modxfer.converters.module import Array, TensorHeader
from modxfer.errors import ConversionError, FormatError

DIFF_FILE = "pytorch_diff.bin"

DIFFERENCES, VALUES = "diffs", "abs"
"""The file's two parts: what is added to a parameter, and what takes its place."""

_LARGEST = 2**31 - 1  # the library counts entries in 32 bits
_FIELDS = {"size", "index_steps", "values"}


def difference_headers(path: Path) -> tuple[TensorHeader, ...]:
    """List the parameters of a file of differences.

    Args:
        path: The file.

    Returns:
        Their headers, each with the shape of the whole parameter, in order of their keys.

    Raises:
        FormatError: the file is damaged, or wants to run code.
    """
    return tuple(
        TensorHeader(file=path.name, key=key, dtype=torch_dtype_name(values), shape=shape)
        for key, (shape, _, values) in sorted(_load(path).items())
    )


def read_differences(path: Path) -> dict[str, Array]:
    """Load a file of differences.

    Args:
        path: The file.

    Returns:
        Key to dense tensor, each in the file's own dtype.

    Raises:
        FormatError: the file is damaged, lies about a tensor, or wants to run code.
    """
    tensors = {}
    for key, (shape, steps, values) in _load(path).items():
        own = torch_to_numpy(key, values, path)
        if steps is None:
            tensors[key] = own
            continue
        if own.dtype not in FLOATING:
            raise FormatError(f"`{key}` in `{path}` is of dtype {own.dtype}.", do=FETCH_AGAIN)
        indices = np.cumsum(steps, dtype=np.int64)
        tensors[key] = np.zeros(shape, dtype=own.dtype)
        tensors[key][np.unravel_index(indices, shape, order="F")] = own
    return tensors


def write_differences(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write a file of differences.

    Args:
        path: The file.
        tensors: Key to dense tensor.

    Raises:
        ConversionError: a parameter has more entries than the library can count.
    """
    import torch

    content: dict[str, dict[str, Any]] = {DIFFERENCES: {}, VALUES: {}}
    for key, tensor in sorted(tensors.items()):
        part, _, name = key.partition(".")
        if part == VALUES:
            content[VALUES][name] = _to_torch(tensor)
            continue
        if tensor.size > _LARGEST:
            raise ConversionError(
                f"`{name}` has {tensor.size} entries, and a file of differences counts up to {_LARGEST}.",
                do="Leave it out of the module.",
            )
        flat = tensor.reshape(-1, order="F")
        indices = np.flatnonzero(flat)
        content[DIFFERENCES][name] = {
            "size": torch.Size(tensor.shape),
            "index_steps": np.diff(indices, prepend=0).tolist(),
            "values": _to_torch(flat[indices]),
        }
    torch.save(content, path)


def _to_torch(tensor: Array) -> Any:
    import torch

    own = np.array(tensor, order="C")
    if own.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(own.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(own)


_Entry = tuple[tuple[int, ...], list[int] | None, Any]
"""Shape, index steps (None of a whole tensor) and values, these as a torch tensor."""


def _load(path: Path) -> dict[str, _Entry]:
    """Load and check what a file holds, and make nothing dense."""
    import torch

    content = unpickle(path, stand_ins=_STAND_INS)
    parts = {part: content.get(part, {}) for part in (DIFFERENCES, VALUES)}
    if not set(content) <= set(parts) or not all(isinstance(part, dict) for part in parts.values()) or not any(parts.values()):
        raise FormatError(
            f"`{path}` holds {', '.join(map(repr, content)) or 'nothing'}, and a file of differences holds parameters under "
            f"`{DIFFERENCES}` and `{VALUES}`.",
            do=FETCH_AGAIN,
        )
    entries: dict[str, _Entry] = {}
    for part, found in parts.items():
        for name, entry in found.items():
            key = f"{part}.{name}"
            if part == DIFFERENCES:
                entries[key] = _sparse(key, entry, path)
            elif not isinstance(name, str) or not isinstance(entry, torch.Tensor):
                raise FormatError(f"`{key}` in `{path}` is no tensor with a name.", do=FETCH_AGAIN)
            else:
                entries[key] = (tuple(entry.shape), None, entry)
    return entries


def _sparse(key: str, entry: Any, path: Path) -> _Entry:
    """Check one sparse difference."""
    import torch

    if not isinstance(entry, dict) or set(entry) != _FIELDS or not isinstance(entry["values"], torch.Tensor):
        raise FormatError(f"`{key}` in `{path}` is no difference ({', '.join(sorted(_FIELDS))}).", do=FETCH_AGAIN)
    shape, steps, values = entry["size"], entry["index_steps"], entry["values"]
    is_shape = isinstance(shape, tuple | list) and all(type(size) is int and size > 0 for size in shape)
    if not is_shape or not isinstance(steps, list) or not all(type(step) is int for step in steps):
        raise FormatError(f"`{key}` in `{path}` has a size or steps that are no whole numbers.", do=FETCH_AGAIN)
    fits = math.prod(shape) <= _LARGEST and tuple(values.shape) == (len(steps),) and sum(steps) < math.prod(shape)
    if not fits or min(steps[1:], default=1) < 1 or min(steps[:1], default=0) < 0:
        raise FormatError(
            f"`{key}` in `{path}` has {len(steps)} indices up to {sum(steps)} for {len(values)} values and the size "
            f"{tuple(shape)}, and these do not fit.",
            do=FETCH_AGAIN,
        )
    return tuple(shape), steps, values


class _WholeNumbers:
    """Stands in for numpy's dtype, of which the files hold that of their first indices."""

    def __init__(self, code: str, *_: Any) -> None:
        if code not in ("i4", "i8"):
            raise pickle.UnpicklingError(f"Unsupported numpy dtype {code}")
        self.num_bytes, self.order = int(code[1:]), "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


def _whole_number(kind: _WholeNumbers, data: Any) -> int:
    """Stands in for what makes a number of numpy out of its bytes."""
    if not isinstance(data, bytes) or len(data) != getattr(kind, "num_bytes", None):
        raise pickle.UnpicklingError("Unsupported number of numpy")
    return int.from_bytes(data, "big" if kind.order == ">" else "little", signed=True)


_STAND_INS: Mapping[str, Callable[..., Any]] = {
    "numpy.dtype": _WholeNumbers,
    "numpy.core.multiarray.scalar": _whole_number,
    "numpy._core.multiarray.scalar": _whole_number,
}
"""The library writes the first step as a number of numpy, and torch's unpickler does not know these."""
