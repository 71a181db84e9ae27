"""Small checks that every format shares, and the sentences they fail with."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from modxfer.converters.module import Array
from modxfer.errors import FormatError

FLOATING = frozenset(np.dtype(name) for name in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16))
"""The dtypes that a module's tensors may have."""

FETCH_AGAIN = "Fetch the module again, or ask whoever made it."
"""What to do about a file that is damaged."""

_HUB_ID = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*")


def is_hub_id(name: str) -> bool:
    """Say whether a name can be that of a repository on the Hub, and so is no path of one machine.

    Args:
        name: Any text.

    Returns:
        Whether it is one or two words of letters, digits, "_", "-" and ".", and no word is only dots.
    """
    words = name.split("/")
    return len(words) <= 2 and all(_HUB_ID.fullmatch(word) for word in words)


def listing(names: Iterable[object], *, most: int = 8) -> str:
    """Write names for a message, in order, not too many of them.

    Args:
        names: What to name.
        most: How many to write out before only counting.

    Returns:
        The names in backticks, joined by commas.
    """
    texts = sorted(f"`{name}`" for name in names)
    rest = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {rest} more" if rest > 0 else "")


def check_tensor(key: str, tensor: Array, *, where: str) -> None:
    """Refuse a tensor that holds no floating-point numbers, or some that are not finite.

    Args:
        key: Its name in the file.
        tensor: Any shape.
        where: The file, for the message.

    Raises:
        FormatError: the dtype is not a floating one, or a value is NaN or infinite.
    """
    if tensor.dtype not in FLOATING:
        raise FormatError(
            f"`{key}` in {where} is of dtype {tensor.dtype}, and a module's tensors are float64, float32, float16 or bfloat16.",
            do="Save the module again in one of these.",
        )
    finite = np.isfinite(tensor)
    if not finite.all():
        raise FormatError(
            f"`{key}` in {where} holds {int(tensor.size - finite.sum())} values that are not finite.",
            do="Train the module again: it has diverged.",
        )


def check_shape(key: str, tensor: Array, shape: tuple[int | None, ...], *, where: str, base: str) -> None:
    """Refuse a tensor that does not fit the base model.

    Args:
        key: Its name in the file.
        tensor: Any shape.
        shape: What it must be; None where any size will do.
        where: The file, for the message.
        base: What the base model is called.

    Raises:
        FormatError: the number of axes, or the size of one of them, is another.
    """
    fits = tensor.ndim == len(shape) and all(
        size > 0 and need in (None, size) for size, need in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        needed = ", ".join("any" if size is None else str(size) for size in shape)
        raise FormatError(
            f"`{key}` in {where} has the shape {tensor.shape}, and `{base}` needs ({needed}).",
            do="Name the base model that the module was trained on with `--from`.",
        )


def number(config: Mapping[str, Any], key: str, *, where: str, least: int | float = -math.inf) -> int | float:
    """Take a finite number out of a config.

    Args:
        config: The config.
        key: Which of its values.
        where: The file, for the message.
        least: The smallest value that makes sense.

    Returns:
        The number, as it is in the config.

    Raises:
        FormatError: it is missing, no number, not finite, or too small.
    """
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < least:
        at_least = f" of at least {least:g}" if math.isfinite(least) else ""
        raise FormatError(
            f"`{key}` in {where} is {value!r}, and must be a finite number{at_least}.",
            do="Correct it in that file.",
        )
    return value


def whole(config: Mapping[str, Any], key: str, *, where: str) -> int:
    """Take a whole number above 0 out of a config.

    Args:
        config: The config.
        key: Which of its values.
        where: The file, for the message.

    Returns:
        The number.

    Raises:
        FormatError: it is missing, or anything else.
    """
    value = number(config, key, where=where, least=1)
    if value != int(value):
        raise FormatError(f"`{key}` in {where} is {value!r}, and must be a whole number.", do="Correct it in that file.")
    return int(value)


def strings(config: Mapping[str, Any], key: str, *, where: str) -> list[str]:
    """Take a list of strings out of a config; nothing, or null, is an empty list.

    Args:
        config: The config.
        key: Which of its values.
        where: The file, for the message.

    Returns:
        The strings.

    Raises:
        FormatError: it is anything else.
    """
    value = config.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise FormatError(f"`{key}` in {where} is {value!r}, and must be a list of strings.", do="Correct it in that file.")
    return value


def whole_numbers(config: Mapping[str, Any], key: str, *, where: str) -> list[int]:
    """Take a list of layer indices out of a config; nothing, or null, is an empty list, and one number a list
    of one.

    Args:
        config: The config.
        key: Which of its values.
        where: The file, for the message.

    Returns:
        The numbers.

    Raises:
        FormatError: it is anything else.
    """
    value = config.get(key)
    if value is None:
        return []
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, int) and not isinstance(entry, bool) for entry in entries):
        raise FormatError(
            f"`{key}` in {where} is {value!r}, and must be a list of layer numbers.",
            do="Correct it in that file.",
        )
    return entries
