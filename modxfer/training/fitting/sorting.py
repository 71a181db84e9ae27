"""Examples by length, so that little is padded, and results back in the order in which they were given."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from modxfer.training.data.encoding import Encoded


def by_length(encoded: Encoded) -> tuple[list[Any], np.ndarray]:
    """Put examples in order of their length, the longest first: if memory runs out, then at once.

    Args:
        encoded: The examples.

    Returns:
        The examples, and for each of `encoded` its place among them.
    """
    order = np.argsort([-length for length in lengths(encoded)], kind="stable")
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return [encoded.examples[row] for row in order], places


def lengths(encoded: Encoded) -> Sequence[int]:
    """Count the tokens of each example.

    Args:
        encoded: The examples.

    Returns:
        The numbers, special tokens included.
    """
    examples: Sequence[Any] = encoded.examples
    return [len(example["input_ids"]) for example in examples]
