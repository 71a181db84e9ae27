"""Tiny base models with tokenizers, and small data files that a tiny model can learn."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.builders import tiny_config, tiny_model
from tests.demo.tiny import tiny_tokenizer

NAMES = ("ada", "bob", "cy", "dee")
PLACES = ("rome", "oslo", "bern", "lima")
OTHERS = ("saw", "met", "in", "the", "old", "town", "near", "and", "went", "to")
WORDS = (*NAMES, *PLACES, *OTHERS)


def make_base(folder: Path, *, family: str = "bert", seed: int = 0, hidden: int = 12, layers: int = 2) -> Path:
    """Save a tiny base model of a family, with a tokenizer that knows `WORDS`."""
    config = tiny_config(family, hidden=hidden, layers=layers, vocab=40)
    config.pad_token_id = 0
    tiny_model(config, seed=seed).save_pretrained(folder)
    tokenizer = tiny_tokenizer(WORDS)
    tokenizer.model_max_length = 40 - 4
    tokenizer.save_pretrained(folder)
    return folder


def tagged_sentences(count: int, *, seed: int = 0) -> list[list[tuple[str, str]]]:
    """Make sentences in which a word decides its tag."""
    rng = np.random.default_rng(seed)
    sentences = []
    for _ in range(count):
        words = [str(rng.choice(part)) for part in (NAMES, OTHERS, OTHERS, PLACES, OTHERS)]
        sentences.append([(word, "B-PER" if word in NAMES else "B-LOC" if word in PLACES else "O") for word in words])
    return sentences


def write_tagged(path: Path, count: int, *, seed: int = 0) -> Path:
    """Write such sentences as a CoNLL-like file."""
    blocks = ("\n".join(f"{word}\t{tag}" for word, tag in sentence) for sentence in tagged_sentences(count, seed=seed))
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def write_pairs(path: Path, count: int, *, seed: int = 0, labels: Sequence[str] = ("same", "other")) -> Path:
    """Write pairs of texts with a label, as TSV: the first label where both begin with one word, else the second."""
    rng = np.random.default_rng(seed)
    lines = ["sentence1\tsentence2\tlabel"]
    for _ in range(count):
        first, second = (" ".join(map(str, rng.choice(WORDS, size=4))) for _ in range(2))
        is_same = bool(rng.integers(2))
        second = f"{first.split()[0]} {second}" if is_same else second
        lines.append(f"{first}\t{second}\t{labels[0] if is_same else labels[-1]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
