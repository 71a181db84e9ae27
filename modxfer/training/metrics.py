"""Scores of tagged sentences, counted in whole spans."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanScores:
    """How many spans were found, in percent; higher is better.

    Attributes:
        precision: Part of the predicted spans that are right, 0 to 100; 0 if none was predicted.
        recall: Part of the true spans that were predicted, 0 to 100; 0 if there are none.
        f1: Harmonic mean of the two.
        spans: Number of true spans.
    """

    precision: float
    recall: float
    f1: float
    spans: int


def find_spans(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Read the spans out of a sentence's tags.

    An "I-" that continues no span of its kind begins one, as in the CoNLL shared tasks.

    Args:
        tags: One a word: "O", or "B-" or "I-" and a kind.

    Returns:
        Of each span its first word, the word behind its last one, and its kind.

    Source:
        conlleval, the script of the CoNLL-2000 and CoNLL-2003 shared tasks.
    """
    spans, start, open_kind = set(), 0, ""
    for index, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if open_kind and (prefix != "I" or kind != open_kind):
            spans.add((start, index, open_kind))
            open_kind = ""
        if kind and not open_kind:
            start, open_kind = index, kind
    return spans


def score_spans(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> SpanScores:
    """Compare predicted tags with the true ones; a span counts if its borders and its kind are right.

    Args:
        truth: The true tags of each sentence.
        predicted: The predicted ones, as many a sentence.

    Returns:
        The scores over all sentences together.
    """
    true_spans = {(row, *span) for row, tags in enumerate(truth) for span in find_spans(tags)}
    found = {(row, *span) for row, tags in enumerate(predicted) for span in find_spans(tags)}
    right = len(true_spans & found)
    return SpanScores(
        precision=100 * right / max(len(found), 1),
        recall=100 * right / max(len(true_spans), 1),
        f1=100 * 2 * right / max(len(true_spans) + len(found), 1),
        spans=len(true_spans),
    )
