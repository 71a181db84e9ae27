"""Span scores against cases counted by hand."""

import pytest

from modxfer.training.metrics import find_spans, score_spans


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("", set()),
        ("O O", set()),
        ("B-PER I-PER O B-LOC", {(0, 2, "PER"), (3, 4, "LOC")}),
        ("B-PER B-PER", {(0, 1, "PER"), (1, 2, "PER")}),
        ("O I-ORG I-ORG", {(1, 3, "ORG")}),
        ("B-PER I-ORG I-ORG", {(0, 1, "PER"), (1, 3, "ORG")}),
        ("I-LOC O I-LOC", {(0, 1, "LOC"), (2, 3, "LOC")}),
    ],
)
def test_find_spans_reads_borders_and_kinds(tags: str, spans: set[tuple[int, int, str]]) -> None:
    """Spans end where another begins or the kind changes, and a stray "I-" begins one, as in conlleval."""
    assert find_spans(tags.split()) == spans


def test_score_spans_counts_whole_spans() -> None:
    """Of 4 true spans 2 are found exactly; 1 of the 5 predicted ones has the wrong kind, 1 a wrong border, 1 is invented."""
    truth = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O"], ["B-LOC", "I-LOC"]]
    predicted = [["B-PER", "I-PER", "O", "B-ORG"], ["B-ORG", "B-PER"], ["B-LOC", "O"]]

    scores = score_spans(truth, predicted)

    assert scores.spans == 4
    assert scores.precision == pytest.approx(100 * 2 / 5)
    assert scores.recall == pytest.approx(100 * 2 / 4)
    assert scores.f1 == pytest.approx(100 * 4 / 9)


def test_score_spans_does_not_mix_sentences() -> None:
    """The same span in another sentence is another span."""
    assert score_spans([["B-PER"], ["O"]], [["O"], ["B-PER"]]).f1 == 0.0


def test_score_spans_of_nothing_is_zero() -> None:
    """Without spans nothing is divided by zero."""
    scores = score_spans([["O"]], [["O"]])
    assert (scores.precision, scores.recall, scores.f1, scores.spans) == (0.0, 0.0, 0.0, 0)
