"""From predictions to tallies: what each example adds to the metrics of its task."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from modxfer.errors import DataError, TrainingError
from modxfer.training.data.encoding import IGNORED, Encoded
from modxfer.training.data.rows import TaggedRow, TextRow
from modxfer.training.tally import Metric, Tally
from modxfer.training.tasks import Task

OUTSIDE = "O"
"""The tag of a word that belongs to no span; a word without a prediction is taken to have it."""

Sums = Float[np.ndarray, "*draws columns"]
Values = Float[np.ndarray, "*draws"]


def tally(task: Task, encoded: Encoded, predictions: np.ndarray, *, names: Sequence[str] | None = None) -> Tally:
    """Count what each example adds to the metrics of a task.

    Spans are those of `seqeval` in its usual mode, which is that of conlleval: borders and kind must be right, and an "I-" that
    continues nothing begins a span. The truth is the whole row's, so a word that was cut off counts as predicted "O".

    Args:
        task: The task.
        encoded: The rows as they were given to the model.
        predictions: As `predict` gives them, in the rows' order. Tagging: (rows, longest) numbers of labels, of which those at
            labelled tokens are read. Classification: (rows,) numbers of labels. Language modelling: (rows, 2), the summed
            negative log likelihood in nats and how many tokens it is of.
        names: The labels to count; None for those of `encoded`. Two tallies can only be compared if they count the same.

    Returns:
        The tally: f1 (micro), precision, recall and macro_f1; accuracy and macro_f1 (the mean over the classes that are some
        example's true one); or perplexity and loss (nats a token).

    Raises:
        DataError: a row has a label that is not counted, or language modelling has no token to predict.
        TrainingError: a loss is no finite number.
    """
    assert len(predictions) == len(encoded.rows), f"{len(predictions)} predictions for {len(encoded.rows)} rows"
    counted = tuple(encoded.labels if names is None else names)
    match task.kind:
        case "tagging":
            return _tally_spans(encoded, predictions, kinds=_kinds([*counted, *encoded.labels]))
        case "classification":
            return _tally_classes(encoded, predictions, classes=tuple(dict.fromkeys([*counted, *encoded.labels])))
        case "causal-lm":
            return _tally_tokens(predictions)


def _kinds(labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({label[2:] for label in labels if label != OUTSIDE}))


def _tally_spans(encoded: Encoded, predictions: np.ndarray, *, kinds: tuple[str, ...]) -> Tally:
    truth = [list(row.tags) for row in encoded.rows if isinstance(row, TaggedRow)]
    assert len(truth) == len(encoded.rows), "only rows with tags can be scored in spans"
    true, found = _spans(truth), _spans(_predicted_tags(encoded, predictions))
    counts = np.zeros((len(truth), 3, len(kinds)))
    starts = np.cumsum([0, *(len(tags) + 1 for tags in truth)])  # seqeval puts one "O" behind each sentence
    places = {kind: place for place, kind in enumerate(kinds)}
    for column, spans in enumerate((true & found, found, true)):
        rows = np.searchsorted(starts, [start for _, start, _ in spans], side="right") - 1
        of = _places(places, [kind for kind, _, _ in spans])
        np.add.at(counts[:, column], (rows, of), 1)
    return Tally(
        counts=counts.reshape(len(truth), -1),
        metrics={
            "f1": partial(_f1, names=len(kinds)),
            "precision": partial(_precision, names=len(kinds)),
            "recall": partial(_recall, names=len(kinds)),
            "macro_f1": partial(_macro_f1, names=len(kinds), is_counted_by_truth=False),
        },
        details=_details(counts, kinds),
        units={"spans": len(true), "words": sum(map(len, truth))},
        columns=kinds,
    )


def _spans(sentences: list[list[str]]) -> set[tuple[str, int, int]]:
    """Find all spans: kind, first and last word, counted through all sentences with one place between two."""
    from seqeval.metrics.sequence_labeling import get_entities

    return set(get_entities(sentences))


def _predicted_tags(encoded: Encoded, predictions: np.ndarray) -> list[list[str]]:
    tags = [[OUTSIDE] * len(row.tags) for row in encoded.rows if isinstance(row, TaggedRow)]
    places = [np.flatnonzero(np.asarray(example["labels"]) != IGNORED) for example in encoded.examples]
    numbers = [predicted[labelled] for predicted, labelled in zip(predictions, places, strict=True)]
    _check_numbers(np.concatenate(numbers), len(encoded.labels))
    for row, words, of_words in zip(tags, encoded.words, numbers, strict=True):
        for word, number in zip(words, of_words.tolist(), strict=True):
            row[word] = encoded.labels[number]
    return tags


def _tally_classes(encoded: Encoded, predictions: np.ndarray, *, classes: tuple[str, ...]) -> Tally:
    truth = [row.label for row in encoded.rows if isinstance(row, TextRow)]
    assert len(truth) == len(encoded.rows), "only rows with one label each can be scored in classes"
    places = {name: place for place, name in enumerate(classes)}
    _check_numbers(predictions, len(encoded.labels))
    true = _places(places, truth)
    found = _places(places, encoded.labels)[predictions]
    counts = np.zeros((len(truth), 3, len(classes)))
    rows = np.arange(len(truth))
    counts[rows, 0, true] = true == found
    counts[rows, 1, found] = 1
    counts[rows, 2, true] = 1
    return Tally(
        counts=counts.reshape(len(truth), -1),
        metrics={
            "accuracy": partial(_recall, names=len(classes)),  # each example has one true class: right of all is right of true
            "macro_f1": partial(_macro_f1, names=len(classes), is_counted_by_truth=True),
        },
        details=_details(counts, classes),
        units={"examples": len(truth)},
        columns=classes,
    )


def _tally_tokens(predictions: Float[np.ndarray, "rows 2"]) -> Tally:
    wrong = np.flatnonzero(~np.isfinite(predictions).all(axis=1))
    if wrong.size:
        raise TrainingError(
            f"The model's loss is no number for {wrong.size} of {len(predictions)} rows, row {wrong[0] + 1} for one.",
            do="Try `--precision fp32`; if that does not help, the module or the base model is broken.",
        )
    tokens = int(predictions[:, 1].sum())
    if not tokens:
        raise DataError("No row has a token to predict: each is one token long.", do="Give longer texts with `--data`.")
    return Tally(
        counts=predictions.astype(np.float64),
        metrics={"perplexity": _perplexity, "loss": _loss},
        details={},
        units={"tokens": tokens},
        columns=("loss", "tokens"),
    )


def _places(places: Mapping[str, int], names: Sequence[str]) -> Int[np.ndarray, " names"]:
    unknown = next((name for name in names if name not in places), None)
    if unknown is not None:
        raise DataError(
            f"The data has the label `{unknown[:80]}`, which the head does not know; it knows {len(places)} others.",
            do="Give data with the head's labels, or a module that was trained for these.",
        )
    return np.array([places[name] for name in names], dtype=np.int64)


def _check_numbers(numbers: np.ndarray, labels: int) -> None:
    wrong = numbers[(numbers < 0) | (numbers >= labels)]
    assert not wrong.size, f"label {wrong[0]} was predicted of {labels}"


def _details(counts: Float[np.ndarray, "examples 3 names"], names: Sequence[str]) -> dict[str, dict[str, Metric]]:
    """Give the metrics of each label that occurs in the truth or in the predictions."""
    occurs = counts[:, 1:].sum(axis=(0, 1)) > 0
    return {
        name: {
            "precision": partial(_precision, names=len(names), only=place),
            "recall": partial(_recall, names=len(names), only=place),
            "f1": partial(_f1, names=len(names), only=place),
            "support": partial(_support, names=len(names), only=place),
        }
        for place, name in enumerate(names)
        if occurs[place]
    }


def _columns(sums: Sums, *, names: int, only: int | None) -> list[np.ndarray]:
    """Take right, predicted and true out of the sums: of one label, or of all together."""
    blocks = sums.reshape(*sums.shape[:-1], 3, names)
    picked = blocks.sum(axis=-1) if only is None else blocks[..., only]
    return [np.asarray(picked[..., column]) for column in range(3)]


def _percent(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    """Divide; 0 of 0 is 0, as in seqeval and scikit-learn."""
    return np.asarray(100 * np.asarray(part) / np.where(np.equal(whole, 0), 1, whole))


def _f1(sums: Sums, *, names: int, only: int | None = None) -> Values:
    right, predicted, true = _columns(sums, names=names, only=only)
    return _percent(2 * right, predicted + true)


def _precision(sums: Sums, *, names: int, only: int | None = None) -> Values:
    right, predicted, _ = _columns(sums, names=names, only=only)
    return _percent(right, predicted)


def _recall(sums: Sums, *, names: int, only: int | None = None) -> Values:
    right, _, true = _columns(sums, names=names, only=only)
    return _percent(right, true)


def _support(sums: Sums, *, names: int, only: int | None = None) -> Values:
    return np.asarray(_columns(sums, names=names, only=only)[2])


def _macro_f1(sums: Sums, *, names: int, is_counted_by_truth: bool) -> Values:
    """Average over the labels that occur in the truth, or in the truth or the predictions, as seqeval does."""
    blocks = sums.reshape(*sums.shape[:-1], 3, names)
    right, predicted, true = blocks[..., 0, :], blocks[..., 1, :], blocks[..., 2, :]
    occurs = true > 0 if is_counted_by_truth else predicted + true > 0
    each = np.where(occurs, _percent(2 * right, predicted + true), 0.0)
    return np.asarray(each.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1))


def _loss(sums: Sums) -> Values:
    tokens = sums[..., 1]
    return np.asarray(np.where(tokens > 0, sums[..., 0] / np.where(tokens > 0, tokens, 1), np.nan))


def _perplexity(sums: Sums) -> Values:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(_loss(sums)))
