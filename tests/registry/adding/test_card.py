"""What is taken out of a card's metadata, and what is said of the rest."""

from typing import Any

import pytest

from modxfer.registry.adding.card import Card, read_card_in
from tests.entries import COMMIT


def card_with(**head: Any) -> Card:
    """Make a card of its metadata."""
    return Card(head=head, text="")


def results_card(dataset: dict[str, Any], *metrics: Any, **result: Any) -> Card:
    """Make a card with results on one data set."""
    found = {"task": {"type": "token-classification"}, "dataset": dataset, "metrics": list(metrics), **result}
    return card_with(**{"model-index": [{"name": "news", "results": [found]}]})


NEWS = {"type": "acme/news", "name": "News", "split": "test"}


def test_results_are_those_of_the_model_index() -> None:
    """Metric, value, data set with its configuration, split and revision; who ran it as the card says, else the card."""
    dataset = {**NEWS, "config": "de", "revision": COMMIT}
    (result,), notes = results_card(dataset, {"type": "f1", "value": 0.875}, source={"name": "**seqeval** 1.2"}).results()
    assert (result.metric, result.value, result.dataset, result.split) == ("f1", 0.875, "acme/news (de)", "test")
    assert (result.dataset_revision, result.ran_by, notes) == (COMMIT, "seqeval 1.2", [])
    (plain,), _ = results_card(NEWS, {"type": "f1", "value": 1}).results()
    assert (plain.ran_by, plain.value, plain.dataset_revision) == ("model card", 1.0, None)


@pytest.mark.parametrize(
    ("dataset", "metric", "why"),
    [
        (NEWS, {"type": "f1", "value": "87.5"}, "`f1` `87.5` on `acme/news` is left out: its value is no number"),
        (NEWS, {"type": "f1", "value": True}, "its value is no number"),
        (NEWS, {"type": "f1", "value": float("nan")}, "its value is no number"),
        (NEWS, {"value": 0.5}, "it names no metric"),
        (NEWS, {"type": "<b>", "value": 0.5}, "it names no metric"),
        ({"type": "acme/news"}, {"type": "f1", "value": 0.5}, "it does not say on which split it was measured"),
        ({"type": "=x", "split": "test"}, {"type": "f1", "value": 0.5}, "it names no data set"),
        ({"split": "test"}, {"type": "f1", "value": 0.5}, "it names no data set"),
    ],
)
def test_a_result_that_cannot_be_used_is_named(dataset: dict[str, Any], metric: dict[str, Any], why: str) -> None:
    """It is left out, and the reason is given."""
    results, notes = results_card(dataset, metric).results()
    assert results == ()
    assert len(notes) == 1
    assert why in notes[0]


def test_two_numbers_for_one_thing_are_not_both_kept() -> None:
    """The second is named; the same number twice is one result."""
    results, notes = results_card(NEWS, *({"type": "f1", "value": value} for value in (0.5, 0.5, 0.6))).results()
    assert [result.value for result in results] == [0.5]
    assert notes == ["The card's result `f1` `0.6` on `acme/news` is left out: there is another one of it."]


def test_a_revision_that_is_no_commit_is_named() -> None:
    """The result stays, without it."""
    (result,), notes = results_card({**NEWS, "revision": "main"}, {"type": "f1", "value": 0.5}).results()
    assert result.dataset_revision is None
    assert notes == ["The revision `main` of the data set `acme/news` is no commit, and is left out."]


@pytest.mark.parametrize("head", [{"model-index": "x"}, {"model-index": [3, {"results": {"a": 1}}]}, {"model-index": None}])
def test_a_model_index_of_another_form_is_passed_over(head: dict[str, Any]) -> None:
    """Cards are written by anyone."""
    assert card_with(**head).results() == ((), [])


@pytest.mark.parametrize(
    ("said", "tags"),
    [("en", ("en",)), (["EN-us", "iw", "en"], ("en-US", "he", "en")), ("no", ("no",)), ("multilingual", ("mul",))],
)
def test_languages_are_brought_into_use(said: object, tags: tuple[str, ...]) -> None:
    """Tags are spelled as BCP 47 spells them."""
    assert card_with(language=said).languages() == (tags, [])


@pytest.mark.parametrize("said", ["english", "jp-JP-Latn-x", "code", "x" * 50, "日本"])
def test_what_is_no_language_is_not_guessed_at(said: str) -> None:
    """It is named and left out."""
    tags, notes = card_with(language=[said]).languages()
    assert tags == ()
    assert "which is none that an entry can say" in notes[0]


def test_tags_that_say_what_the_entry_says_are_left_out() -> None:
    """What libraries and the Hub add is no news; what somebody chose stays, once."""
    tags, notes = card_with(tags=["PEFT", "lora", "News", "news", "region:us", "license:mit", "x" * 99]).tags(
        automatic=["LoRA"]
    )
    assert tags == ("news",)
    assert len(notes) == 1


def test_a_title_is_that_of_the_results_before_the_heading() -> None:
    """Both are plain text."""
    heading = Card(head={}, text="# The *heading*\n")
    named = Card(head={"model-index": [{"name": "`acme/ner`"}]}, text=heading.text)
    assert (heading.title, named.title, card_with().title) == ("The heading", "acme/ner", "")


def test_a_card_that_is_not_there_or_not_readable_is_said(tmp_path: Any) -> None:
    """Its text is still of use where its metadata are not."""
    card, notes = read_card_in(tmp_path)
    assert (card.text, len(notes)) == ("", 1)
    (tmp_path / "README.md").write_text("---\n{ no yaml\n---\n# Title\n")
    card, notes = read_card_in(tmp_path / "none", tmp_path)
    assert (card.head, card.title) == ({}, "Title")
    assert notes == ["The card's metadata cannot be read, and is passed over."]
