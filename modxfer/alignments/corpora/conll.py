"""Read files with one token a line: CoNLL-2003 and its likes, index-token-tag tables, CoNLL-U."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from modxfer.alignments.corpora.lines import read_lines, split_long
from modxfer.errors import CorpusError

_SAMPLE_LINES = 2_000
_MOST_TOKENS = 4_096
_TAG = re.compile(r"O|[BIESLU]-\S+")
_RANGE = re.compile(r"(\d+)-(\d+)")
_EMPTY_NODE = re.compile(r"\d+\.\d+")

Line = tuple[int, list[str]]
"""Number of a line, from 1, and its fields."""


def read_conll(path: Path) -> Iterator[str]:
    """Stream the sentences of a file with one token a line, tokens joined by single spaces.

    Three layouts are told apart by looking at the first lines: an index that counts up in every sentence and
    then the token (`0 TAB The TAB O`, and the ten columns of CoNLL-U, where a multiword range stands for its
    words and empty nodes are left out), else the token first. Columns are separated by tabs, or by spaces
    where there is no tab. `-DOCSTART-` lines and comments are left out.

    Args:
        path: A UTF-8 file.

    Yields:
        One text a sentence; a sentence of more than 4,096 tokens comes in parts.

    Raises:
        CorpusError: the file cannot be read or is not text, or a line has an index and no token.
    """
    indexed = has_index(path)
    for sentence in read_sentences(read_lines(path)):
        tokens = list(_pick_indexed(sentence, path)) if indexed else [fields[0] for _, fields in sentence]
        yield from split_long(" ".join(tokens))


def read_sentences(lines: Iterator[str]) -> Iterator[list[Line]]:
    """Group numbered lines, split into fields, into sentences.

    Args:
        lines: The lines of a file, from its first.

    Yields:
        The lines of a sentence; of one with more than 4,096 tokens, a part.
    """
    sentence: list[Line] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("-DOCSTART-") or len(sentence) >= _MOST_TOKENS:
            if sentence:
                yield sentence
            sentence = []
        if line.strip() and not line.startswith("-DOCSTART-") and not _is_comment(line, first=not sentence):
            sentence.append((number, line.split("\t") if "\t" in line else line.split()))
    if sentence:
        yield sentence


def is_word(fields: list[str]) -> bool:
    """Tell a word from the other lines of CoNLL-U: ranges of several words, and nodes that no word stands for.

    Args:
        fields: A line whose first column is an index.

    Returns:
        Whether it is a word.
    """
    return not (_RANGE.fullmatch(fields[0]) or _EMPTY_NODE.fullmatch(fields[0]))


def _is_comment(line: str, *, first: bool) -> bool:
    """Tell a comment from the token `#`: comments stand before a sentence, and are no token with a tag."""
    if not (first and line.startswith("#")) or "\t" in line:
        return False
    fields = line.split()
    return not (fields[0] == "#" and len(fields) > 1 and _TAG.fullmatch(fields[-1]))


def has_index(path: Path) -> bool:
    """Tell whether the first column counts the tokens of every sentence, from 0 or from 1.

    Args:
        path: A UTF-8 file.

    Returns:
        Whether it does, as far as the first 2,000 lines show.

    Raises:
        CorpusError: the file cannot be read or is not text.
    """
    sentences = list(read_sentences(islice(read_lines(path), _SAMPLE_LINES)))
    return bool(sentences) and all(_counts_up([fields[0] for _, fields in sentence]) for sentence in sentences)


def _counts_up(column: list[str]) -> bool:
    indices = [cell for cell in column if not (_RANGE.fullmatch(cell) or _EMPTY_NODE.fullmatch(cell))]
    if not indices or indices[0] not in ("0", "1"):
        return False
    first = int(indices[0])
    return indices == [str(first + position) for position in range(len(indices))]


def _pick_indexed(sentence: list[Line], path: Path) -> Iterator[str]:
    """Yield the tokens of a sentence whose first column is an index."""
    covered = -1
    for number, fields in sentence:
        if len(fields) < 2 or not fields[1]:
            raise CorpusError(
                f"Line {number} of the corpus `{path}` has the index `{fields[0]}` and no token.",
                do="Correct the line, or give another file with `--corpus`.",
            )
        if multiword := _RANGE.fullmatch(fields[0]):
            covered = int(multiword[2])
            yield fields[1]
        elif not _EMPTY_NODE.fullmatch(fields[0]) and not (fields[0].isdecimal() and int(fields[0]) <= covered):
            yield fields[1]
