"""Tags on words, and their labels on tokens."""

import numpy as np
import pytest

from modxfer.training.tagging import IGNORED, TaggedSentence, encode, pad, span_tags, tag_names
from tests.demo.tiny import tiny_tokenizer

TAGS = tag_names(("PER", "LOC"))


def test_tag_names_lists_outside_first() -> None:
    """Label 0 is outside, then begin and inside of each kind."""
    assert TAGS == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def test_span_tags_begins_once() -> None:
    """Only a span's first word begins it."""
    assert span_tags("LOC", 3) == ["B-LOC", "I-LOC", "I-LOC"]


def test_tagged_sentence_refuses_other_numbers_of_tags() -> None:
    """Every word has one tag."""
    with pytest.raises(ValueError, match="2 words have 1 tags"):
        TaggedSentence(words=("a", "b"), tags=("O",))


def test_encode_labels_the_first_token_of_every_word() -> None:
    """A word of several tokens has its label on the first one; the others and the special tokens are ignored."""
    tokenizer = tiny_tokenizer(("Mara", "Vel", "##den", "slept"))
    sentence = TaggedSentence(words=("Mara", "Velden", "slept"), tags=("B-PER", "I-PER", "O"))

    (example,) = encode([sentence], tokenizer, tags=TAGS, max_tokens=16)

    assert tokenizer.convert_ids_to_tokens(example.ids) == ["[CLS]", "Mara", "Vel", "##den", "slept", "[SEP]"]
    assert example.labels == (IGNORED, 1, 2, IGNORED, 0, IGNORED)


def test_encode_cuts_long_sentences() -> None:
    """What lies behind the maximum is neither read nor labelled."""
    tokenizer = tiny_tokenizer(("a", "b", "c"))
    sentence = TaggedSentence(words=("a", "b", "c"), tags=("O", "B-LOC", "B-PER"))

    (example,) = encode([sentence], tokenizer, tags=TAGS, max_tokens=4)

    assert example.labels == (IGNORED, 0, 3, IGNORED)


def test_pad_fills_the_ends() -> None:
    """Short rows get the value at their ends."""
    np.testing.assert_array_equal(pad([[1, 2, 3], [4]], -7), [[1, 2, 3], [4, -7, -7]])
