"""Tallies against seqeval and scikit-learn, and against cases counted by hand."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modxfer.errors import DataError, TrainingError
from modxfer.training.data.encoding import IGNORED, Encoded
from modxfer.training.data.rows import TaggedRow, TextRow
from modxfer.training.tallies import tally
from modxfer.training.tally import Tally
from modxfer.training.tasks import TASKS

NER, NLI, LM = TASKS["ner"], TASKS["nli"], TASKS["causal-lm"]
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")
CLASSES = ("entailment", "neutral", "contradiction", "other")


def encoded_tags(truth: Sequence[Sequence[str]], *, kept: Sequence[int] | None = None, labels: Sequence[str] = TAGS) -> Encoded:
    """Encode sentences as a tokenizer would that makes two tokens of every word; of each row so many words are kept."""
    kept = [len(tags) for tags in truth] if kept is None else kept
    examples: list[dict[str, object]] = [
        {"labels": [IGNORED, *(number for tag in tags[:some] for number in (labels.index(tag), IGNORED)), IGNORED]}
        for tags, some in zip(truth, kept, strict=True)
    ]
    return Encoded(
        rows=[TaggedRow(words=tuple("w" for _ in tags), tags=tuple(tags)) for tags in truth],
        examples=examples,
        words=[tuple(range(some)) for some in kept],
        labels=tuple(labels),
        cut=sum(some < len(tags) for tags, some in zip(truth, kept, strict=True)),
    )


def predicted_tags(found: Sequence[Sequence[str]], *, labels: Sequence[str] = TAGS) -> np.ndarray:
    """Give predictions as a model does: a number at every token, also where none is asked for, padded with -100."""
    longest = 2 + 2 * max(map(len, found))
    predictions = np.full((len(found), longest), IGNORED)
    for row, tags in enumerate(found):
        predictions[row, : 2 + 2 * len(tags)] = 1  # at special tokens and second pieces: not to be read
        predictions[row, 1 : 1 + 2 * len(tags) : 2] = [labels.index(tag) for tag in tags]
    return predictions


def encoded_classes(truth: Sequence[str], *, labels: Sequence[str] = CLASSES) -> Encoded:
    """Encode texts with a class each."""
    return Encoded(
        rows=[TextRow(texts=("a", "b"), label=label) for label in truth],
        examples=[{"labels": labels.index(label)} for label in truth],
        words=[() for _ in truth],
        labels=tuple(labels),
        cut=0,
    )


def language_tally(losses: Sequence[float], tokens: Sequence[int]) -> Tally:
    """Tally summed losses."""
    rows = [TextRow(texts=("a",)) for _ in losses]
    examples: list[dict[str, object]] = [{"labels": [0]} for _ in losses]
    encoded = Encoded(rows=rows, examples=examples, words=[() for _ in losses], labels=(), cut=0)
    return tally(LM, encoded, np.stack([np.array(losses), np.array(tokens)], axis=1).astype(np.float64))


@st.composite
def tagged(draw: st.DrawFn) -> tuple[list[list[str]], list[list[str]]]:
    """Sentences with true and predicted tags, any sequence of tags."""
    tags = st.sampled_from(TAGS)
    pairs = draw(st.lists(st.lists(st.tuples(tags, tags), min_size=1, max_size=9), min_size=1, max_size=6))
    return [[true for true, _ in row] for row in pairs], [[found for _, found in row] for row in pairs]


def details(made: Tally) -> dict[str, dict[str, float]]:
    """Compute each label's metrics over all examples."""
    totals = made.counts.sum(axis=0)
    return {label: {name: float(metric(totals)) for name, metric in own.items()} for label, own in made.details.items()}


@settings(max_examples=40)
@given(sentences=tagged())
def test_tally_of_tags_gives_what_seqeval_gives(sentences: tuple[list[list[str]], list[list[str]]]) -> None:
    """F1, precision, recall, macro F1 and each kind's own are those of seqeval, for any tags."""
    import seqeval.metrics as seqeval

    truth, found = sentences
    made = tally(NER, encoded_tags(truth), predicted_tags(found))

    values = made.values()
    scores = {"f1": seqeval.f1_score, "precision": seqeval.precision_score, "recall": seqeval.recall_score}
    for name, score in scores.items():
        assert values[name] == pytest.approx(100 * score(truth, found, zero_division=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of a mean over no kinds
        report: dict[str, Any] = (
            seqeval.classification_report(truth, found, output_dict=True, zero_division=0) if made.details else {}
        )
    own = details(made)
    assert own.keys() == report.keys() - {"micro avg", "macro avg", "weighted avg"}
    for kind, metrics in own.items():
        for name, theirs in {"precision": "precision", "recall": "recall", "f1": "f1-score"}.items():
            assert metrics[name] == pytest.approx(100 * report[kind][theirs])
        assert metrics["support"] == report[kind]["support"]
    assert values["macro_f1"] == pytest.approx(100 * report["macro avg"]["f1-score"] if report else 0.0)
    assert made.units == {"spans": sum(metrics["support"] for metrics in own.values()), "words": sum(map(len, truth))}


@settings(max_examples=40)
@given(sentences=tagged(), weights=st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_tally_counts_each_example_on_its_own(sentences: tuple[list[list[str]], list[list[str]]], weights: list[int]) -> None:
    """Metrics of weighted counts are seqeval's of sentences that are there so often, which resampling stands on."""
    import seqeval.metrics as seqeval

    truth, found = sentences
    times = np.array(weights[: len(truth)])
    made = tally(NER, encoded_tags(truth), predicted_tags(found))
    repeated = [[row for row, often in zip(rows, times, strict=True) for _ in range(often)] for rows in (truth, found)]

    value = float(made.metrics["f1"](times @ made.counts))

    expected = 100 * seqeval.f1_score(*repeated, zero_division=0) if times.any() else 0.0
    assert value == pytest.approx(expected)


def test_tally_of_tags_counts_what_was_cut_off_as_outside() -> None:
    """The truth is the whole row: a span beyond the cut is missed, and one that the cut goes through has a wrong border."""
    truth = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O"], ["B-LOC", "I-LOC"]]
    made = tally(NER, encoded_tags(truth, kept=[3, 2, 1]), predicted_tags([["B-PER", "I-PER", "O"], ["B-ORG", "O"], ["B-LOC"]]))

    assert made.values() == pytest.approx({"f1": 100 * 4 / 7, "precision": 100 * 2 / 3, "recall": 50, "macro_f1": 200 / 3})


def test_tally_of_tags_reads_words_that_the_tokenizer_drops_as_outside() -> None:
    """A prediction belongs to the word that `words` says, not to the one at its place."""
    encoded = Encoded(
        rows=[TaggedRow(words=("\u200b", "Rome", "is"), tags=("O", "B-LOC", "O"))],
        examples=[{"labels": [IGNORED, 3, 0, IGNORED]}],
        words=[(1, 2)],
        labels=TAGS,
        cut=0,
    )
    assert tally(NER, encoded, np.array([[0, 3, 0, 0]])).values()["f1"] == 100.0


def test_tally_of_tags_without_any_span_is_zero() -> None:
    """Where there is neither a true nor a predicted span, all metrics are 0, and there is no label to tell of."""
    made = tally(NER, encoded_tags([["O", "O"]]), predicted_tags([["O", "O"]]))

    assert made.values() == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "macro_f1": 0.0}
    assert made.details == {}


@settings(max_examples=40)
@given(pairs=st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=30))
def test_tally_of_classes_gives_what_scikit_learn_gives(pairs: list[tuple[str, str]]) -> None:
    """Accuracy, macro F1 over the classes of the truth, and each class's own are those of scikit-learn."""
    import sklearn.metrics as sklearn

    truth, found = [true for true, _ in pairs], [guess for _, guess in pairs]
    made = tally(NLI, encoded_classes(truth), np.array([CLASSES.index(guess) for guess in found]))

    there = sorted(set(truth))
    assert list(made.values()) == ["accuracy", "macro_f1"]
    assert made.values()["accuracy"] == pytest.approx(100 * sklearn.accuracy_score(truth, found))
    macro = sklearn.f1_score(truth, found, labels=there, average="macro", zero_division=0)
    assert made.values()["macro_f1"] == pytest.approx(100 * macro)
    own = details(made)
    assert own.keys() == set(truth) | set(found)
    theirs = sklearn.precision_recall_fscore_support(truth, found, labels=list(own), zero_division=0)
    for name, values, scale in zip(("precision", "recall", "f1", "support"), theirs, (100, 100, 100, 1), strict=True):
        assert [metrics[name] for metrics in own.values()] == pytest.approx([scale * value for value in values])


def test_tally_of_text_is_the_perplexity_of_all_tokens() -> None:
    """Perplexity is exp of the summed loss by all tokens, not a mean of the rows' perplexities."""
    made = language_tally([2.0, 9.0], [1, 9])

    assert made.values() == pytest.approx({"perplexity": np.exp(1.1), "loss": 1.1})
    assert made.units == {"tokens": 10}


def test_tally_of_text_refuses_losses_that_are_no_numbers() -> None:
    """A NaN is no score; the row is named."""
    with pytest.raises(TrainingError, match="1 of 2 rows, row 2"):
        language_tally([2.0, float("nan")], [1, 9])


def test_tally_of_text_refuses_texts_without_a_token_to_predict() -> None:
    """Where nothing was predicted there is no perplexity."""
    with pytest.raises(DataError, match="one token long"):
        language_tally([0.0], [0])


def test_tally_refuses_a_number_that_is_no_label() -> None:
    """A predicted number outside the labels is a bug, never a score."""
    with pytest.raises(AssertionError, match="label 4 was predicted of 4"):
        tally(NLI, encoded_classes(["neutral"]), np.array([4]))
    with pytest.raises(AssertionError, match="label -100 was predicted of 7"):
        tally(NER, encoded_tags([["O"]]), np.array([[-100, -100, -100, -100]]))


def test_tally_counts_the_names_asked_for() -> None:
    """Two heads with other labels are counted in the same columns, by name and not by number."""
    other = ("contradiction", "entailment")
    truth = ["entailment", "contradiction"]
    first = tally(NLI, encoded_classes(truth), np.array([0, 0]), names=CLASSES)
    second = tally(NLI, encoded_classes(truth, labels=other), np.array([1, 1]), names=CLASSES)

    np.testing.assert_array_equal(first.counts, second.counts)
    assert first.columns == second.columns == CLASSES
