"""A small synthetic data set for named entities, made from a grammar. Only the context tells a name's kind.

Names are held out: no name of the test sentences, and no phrase around them, is in a training sentence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modxfer.demo.words import OPEN_WORDS
from modxfer.training.data.rows import TaggedRow
from modxfer.training.tallies import OUTSIDE

KINDS = ("PER", "ORG", "LOC")
"""Persons, organisations, places."""

DECLARATION = (
    "The data set is synthetic: sentences from a small grammar, names and phrases of the test sentences held out of training. "
    "Its scores say nothing about real text."
)

HELD_OUT = 3
"""One in this many words of every open class is kept for the test sentences."""

CLOSED_WORDS = (
    "Group",
    "Motors",
    "Bank",
    "Systems",
    "University",
    "of",
    "&",
    "Port",
    "Mount",
    "Lake",
    "Valley",
    "Bay",
    "Island",
)
"""Words inside names that both parts of the data set have."""

_RULES: Mapping[str, Sequence[str]] = {
    "sentence": (
        "$clause .",
        "$clause .",
        "$clause , and $clause .",
        "$clause , while $clause .",
        "$when , $clause .",
        "according to $person , $clause .",
        "$clause , a spokesman for $ORG said .",
        "people in $LOC say that $clause .",
    ),
    "clause": (
        "$person $person_does",
        "$person $person_does",
        "$ORG $firm_does",
        "$ORG $firm_does",
        "$LOC $place_does",
        "$LOC $place_does",
        "$person $person_to_firm $ORG",
        "$person $person_to_place $LOC",
        "$person $person_to_person $PER",
        "$ORG $firm_to_firm $ORG",
        "$ORG $firm_to_place $LOC",
        "the $noun $noun_does",
    ),
    "person": ("$PER", "$PER", "$PER", "$title $PER"),
    "PER": ("$name", "$name", "$first", "$first $name"),
    "ORG": (
        "$name",
        "$name",
        "$name",
        "$name Group",
        "$name Motors",
        "$name Bank",
        "$name Systems",
        "University of $name",
        "$name & $name",
    ),
    "LOC": (
        "$name",
        "$name",
        "$name",
        "$name",
        "Port $name",
        "Mount $name",
        "Lake $name",
        "$name Valley",
        "$name Bay",
        "$name Island",
    ),
    "title": ("Mr", "Mrs", "Dr", "Professor", "Judge"),
    "when": ("last year", "on Tuesday", "in the spring", "before the war", "a month ago", "to nobody's surprise"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedData:
    """The two parts of the data set.

    Attributes:
        train: Sentences to train on.
        test: Sentences to evaluate on.
    """

    train: tuple[TaggedRow, ...]
    test: tuple[TaggedRow, ...]

    @property
    def texts(self) -> list[str]:
        """The training sentences without their tags."""
        return [" ".join(row.words) for row in self.train]

    def write(self, folder: Path) -> None:
        """Write the two parts as `train.conll` and `test.conll`: a word, a tab and its tag a line.

        Args:
            folder: The folder, which is made.
        """
        folder.mkdir(parents=True)
        for name, rows in (("train", self.train), ("test", self.test)):
            sentences = ("".join(f"{word}\t{tag}\n" for word, tag in zip(row.words, row.tags, strict=True)) for row in rows)
            (folder / f"{name}.conll").write_text("\n".join(sentences), encoding="utf-8", newline="\n")


def make_data(*, train: int, test: int, seed: int) -> TaggedData:
    """Make the data set.

    Args:
        train: Number of training sentences.
        test: Number of test sentences.
        seed: Seed of the split of the words and of the sentences; the same seed gives the same data set.

    Returns:
        The data set.
    """
    split_rng, train_rng, test_rng = (np.random.default_rng([seed, part]) for part in range(3))
    train_words, test_words = _split_words(split_rng)
    return TaggedData(
        train=tuple(_make_sentence(train_words, train_rng) for _ in range(train)),
        test=tuple(_make_sentence(test_words, test_rng) for _ in range(test)),
    )


def _split_words(rng: np.random.Generator) -> tuple[dict[str, Sequence[str]], dict[str, Sequence[str]]]:
    """Give each part of the data set its own words of every open class."""
    parts: tuple[dict[str, Sequence[str]], dict[str, Sequence[str]]] = ({}, {})
    for symbol, words in OPEN_WORDS.items():
        order = [words[index] for index in rng.permutation(len(words))]
        held_out = len(words) // HELD_OUT
        parts[0][symbol], parts[1][symbol] = order[held_out:], order[:held_out]
    for part in parts:
        part["name"] = [*part["surname"], *(noun.capitalize() for noun in part["noun"])]
    return parts


def _make_sentence(words: Mapping[str, Sequence[str]], rng: np.random.Generator) -> TaggedRow:
    pairs = _expand("sentence", {**_RULES, **words}, rng)
    return TaggedRow(words=tuple(word for word, _ in pairs), tags=tuple(tag for _, tag in pairs))


def _expand(symbol: str, rules: Mapping[str, Sequence[str]], rng: np.random.Generator) -> list[tuple[str, str]]:
    """Write a symbol of the grammar out as words with their tags."""
    chosen = rules[symbol][int(rng.integers(len(rules[symbol])))]
    pairs: list[tuple[str, str]] = []
    for word in chosen.split():
        pairs += _expand(word[1:], rules, rng) if word.startswith("$") else [(word, OUTSIDE)]
    if symbol not in KINDS:
        return pairs
    return [(word, f"{'I' if index else 'B'}-{symbol}") for index, (word, _) in enumerate(pairs)]
