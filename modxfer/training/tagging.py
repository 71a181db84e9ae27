"""Sentences with one tag a word (named entities and the like), and their form as numbers for a model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

OUTSIDE = "O"
"""The tag of a word that belongs to no span."""

IGNORED = -100
"""The label of a token that is no first piece of a word: neither trained nor scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedSentence:
    """Words with their tags.

    Attributes:
        words: The words.
        tags: One a word: "O", or "B-" or "I-" and the kind of the span.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.words) != len(self.tags):
            raise ValueError(f"{len(self.words)} words have {len(self.tags)} tags")

    @property
    def text(self) -> str:
        """The words as one text."""
        return " ".join(self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One sentence as numbers.

    Attributes:
        ids: Token ids, special tokens included.
        labels: Label of each token; -100 for all but the first token of a word.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]


def tag_names(kinds: Iterable[str]) -> tuple[str, ...]:
    """List the tags of some kinds of spans; a tag's place in the list is its label.

    Args:
        kinds: The kinds.

    Returns:
        "O", then "B-" and "I-" for each kind.
    """
    return (OUTSIDE, *(f"{start}-{kind}" for kind in kinds for start in "BI"))


def span_tags(kind: str, words: int) -> list[str]:
    """Give the tags of one span.

    Args:
        kind: Its kind.
        words: Its number of words.

    Returns:
        "B-" for the first word, "I-" for the others.
    """
    return [f"{'I' if index else 'B'}-{kind}" for index in range(words)]


def encode(sentences: Sequence[TaggedSentence], tokenizer: Any, *, tags: Sequence[str], max_tokens: int) -> list[Example]:
    """Turn sentences into numbers.

    Args:
        sentences: The sentences.
        tokenizer: A fast tokenizer of `transformers`.
        tags: Every tag; its place is its label.
        max_tokens: Tokens of a sentence to keep, special tokens included.

    Returns:
        One example a sentence.
    """
    numbers = {tag: label for label, tag in enumerate(tags)}
    words = [list(sentence.words) for sentence in sentences]
    encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=max_tokens)
    examples = []
    for row, sentence in enumerate(sentences):
        labels, previous = [], None
        for word in encoded.word_ids(row):
            is_first = word is not None and word != previous
            labels.append(numbers[sentence.tags[word]] if is_first else IGNORED)
            previous = word
        examples.append(Example(ids=tuple(encoded["input_ids"][row]), labels=tuple(labels)))
    return examples


def pad(rows: Sequence[Sequence[int]], value: int) -> np.ndarray:
    """Put rows of unequal length into one array.

    Args:
        rows: The rows.
        value: What fills them up at their ends.

    Returns:
        Array of shape (rows, longest row), int64.
    """
    padded = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded
