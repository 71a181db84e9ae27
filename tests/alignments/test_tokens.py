"""Tokens of two models are matched by the characters that they cover, by real tokenizers and random ones."""

from functools import cache
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from modxfer.alignments.corpus import open_corpus
from modxfer.alignments.tokens import Matches, Mode, TokenSpans, encode_spans, match_spans, require_fast
from modxfer.errors import AlignmentError

MODES: tuple[Mode, ...] = ("spans", "words", "ends")
Offsets = list[tuple[int, int]]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
TEXTS = [
    "The quick brown fox doesn't jump over 13 lazy dogs.",
    "Größere Überraschungen gab es in Öhringen nicht, sagte Frau Weiß.",
    "हिन्दी में लिखा हुआ एक छोटा वाक्य।",
    "我们在北京喝茶,然后去了长城。",
    "ذهب الولد إلى المدرسة في الصباح.",
    "Party 🎉🎉 at 9 👩‍🚀 — bring 🍕, né?",
    "  two  spaces\tand a tab \n",
    "e\u0301te\u0301 with decomposed accents, ｆｕｌｌ width and №5½",
    "print(x[3], 'ok')  # see https://example.org/a?b=1",
]


def wrap(tokenizer: Tokenizer, trainer: trainers.Trainer) -> PreTrainedTokenizerFast:
    """Train a tokenizer on text in many languages, and give it special tokens around every text."""
    tokenizer.train_from_iterator(open_corpus(None).texts(), trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    template = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    own = tokenizer.post_processor
    tokenizer.post_processor = template if own is None else processors.Sequence([own, template])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def train_wordpiece(*, lowercase: bool) -> PreTrainedTokenizerFast:
    """Train a tokenizer like BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return wrap(tokenizer, trainers.WordPieceTrainer(vocab_size=3_000, special_tokens=SPECIAL, show_progress=False))


def train_bytes(*, trim_offsets: bool, prefix: bool) -> PreTrainedTokenizerFast:
    """Train a tokenizer like GPT-2's and RoBERTa's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=3_000, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    return wrap(tokenizer, trainer)


def train_unigram() -> PreTrainedTokenizerFast:
    """Train a tokenizer like XLM-RoBERTa's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=2_500, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False)
    return wrap(tokenizer, trainer)


TRAINERS = {
    "bert-uncased": lambda: train_wordpiece(lowercase=True),
    "bert-cased": lambda: train_wordpiece(lowercase=False),
    "roberta": lambda: train_bytes(trim_offsets=True, prefix=True),
    "gpt2": lambda: train_bytes(trim_offsets=False, prefix=False),
    "xlm-roberta": train_unigram,
}
PAIRS = list(permutations(TRAINERS, 2))


@cache
def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    """Train each tokenizer once."""
    return TRAINERS[name]()


def spans_of(name: str, text: str, **options: object) -> TokenSpans:
    """Encode a text with a tokenizer, special tokens included."""
    encoding = tokenizer_of(name)(text, return_offsets_mapping=True, return_special_tokens_mask=True, **options)
    return encode_spans(encoding["offset_mapping"], encoding["special_tokens_mask"], text)


def covered(spans: TokenSpans, tokens: np.ndarray, text: str) -> str:
    """Give the characters, whitespace left out, that some tokens cover."""
    places = sorted({at for token in tokens for at in range(spans.starts[token], spans.ends[token])})
    return "".join(text[at] for at in places if not text[at].isspace())


def make_spans(*spans: tuple[int, int], usable: list[bool] | None = None) -> TokenSpans:
    """Make spans by hand."""
    pairs = np.array(spans, dtype=np.int64).reshape(-1, 2)
    mask = np.array([True] * len(pairs) if usable is None else usable, dtype=np.bool_)
    return TokenSpans(starts=pairs[:, 0], ends=pairs[:, 1], usable=mask)


def pairs_of(matches: Matches) -> list[tuple[list[int], list[int]]]:
    """List the tokens of each group, teacher's and student's."""
    return [
        (
            matches.teacher_token[matches.teacher_group == group].tolist(),
            matches.student_token[matches.student_group == group].tolist(),
        )
        for group in range(matches.count)
    ]


@pytest.mark.parametrize("name", TRAINERS)
@pytest.mark.parametrize("text", TEXTS)
def test_encode_spans_covers_the_text_without_whitespace(name: str, text: str) -> None:
    """No span begins or ends with a space, special tokens are not usable, and nothing else goes missing."""
    spans = spans_of(name, text)
    tokens = np.flatnonzero(spans.usable)
    assert not spans.usable[[0, -1]].any()
    for token in tokens:
        piece = text[spans.starts[token] : spans.ends[token]]
        assert piece == piece.strip() != ""
    assert covered(spans, tokens, text) == "".join(text.split())


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
@pytest.mark.parametrize("text", TEXTS)
def test_match_spans_pairs_tokens_of_the_same_characters(teacher: str, student: str, text: str) -> None:
    """Pairs of single tokens cover the same characters; special tokens and doubled spans are in none."""
    left, right = spans_of(teacher, text), spans_of(student, text)
    matches = match_spans(left, right, mode="spans")
    assert matches.is_one_to_one
    assert matches.count > 0 or not text.isascii()
    for mine, theirs in pairs_of(matches):
        for spans, (token,) in ((left, mine), (right, theirs)):
            assert spans.usable[token]
            same = (spans.starts == spans.starts[token]) & (spans.ends == spans.ends[token]) & spans.usable
            assert same.sum() == 1
        assert covered(left, np.array(mine), text) == covered(right, np.array(theirs), text)


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
@pytest.mark.parametrize("text", TEXTS)
def test_match_spans_words_groups_cover_the_same_characters(teacher: str, student: str, text: str) -> None:
    """Both sides of a group cover the same characters of one word, and all usable tokens are in one."""
    left, right = spans_of(teacher, text), spans_of(student, text)
    matches = match_spans(left, right, mode="words")
    np.testing.assert_array_equal(matches.teacher_token, np.flatnonzero(left.usable))
    np.testing.assert_array_equal(matches.student_token, np.flatnonzero(right.usable))
    words = text.split()
    for mine, theirs in pairs_of(matches):
        piece = covered(left, np.array(mine), text)
        assert piece == covered(right, np.array(theirs), text)
        assert any(piece in word for word in words)


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
@pytest.mark.parametrize("text", TEXTS)
def test_match_spans_ends_read_the_same_text(teacher: str, student: str, text: str) -> None:
    """Tokens matched by their ends have the same text before them, and are the last ones that touch it."""
    left, right = spans_of(teacher, text), spans_of(student, text)
    matches = match_spans(left, right, mode="ends")
    assert matches.is_one_to_one
    assert matches.count >= match_spans(left, right, mode="words").count > 0
    for spans, tokens in ((left, matches.teacher_token), (right, matches.student_token)):
        assert spans.usable[tokens].all()
        for token in tokens:
            later = np.flatnonzero(spans.usable)
            later = later[later > token]
            assert (spans.starts[later] >= spans.ends[token]).all()
    np.testing.assert_array_equal(left.ends[matches.teacher_token], right.ends[matches.student_token])


def test_match_spans_finds_every_word_of_plain_text() -> None:
    """Where both tokenizers have a word as one token, the pair is found."""
    words = ["the", "and", "of", "was", "in", "to", "is", "for", "with", "on"]
    text = " ".join(words)
    for teacher, student in PAIRS:
        matches = match_spans(spans_of(teacher, text), spans_of(student, text), mode="spans")
        assert matches.count == len(words), (teacher, student)
        assert matches.teacher_token.tolist() == matches.student_token.tolist() == list(range(1, 11))


def test_encode_spans_is_not_moved_by_normalization() -> None:
    """Lower case and stripped accents leave each token where its characters are, decomposed accents too."""
    text = "ÉTÉ e\u0301te\u0301 Über"
    for name in TRAINERS:
        spans = spans_of(name, text)
        ends = set(spans.ends[spans.usable].tolist())
        assert {3, 9, 14} <= ends, name
        starts = set(spans.starts[spans.usable].tolist())
        assert {0, 4, 10} <= starts, name


def test_encode_spans_takes_bytes_of_a_character_together() -> None:
    """The bytes of a character are one group for words, none for spans, and the last byte counts for ends."""
    text = "𐍈 of"
    left, right = spans_of("gpt2", text), spans_of("bert-cased", text)
    num_bytes = int((left.usable & (left.starts == 0)).sum())
    assert num_bytes > 1
    assert pairs_of(match_spans(left, right, mode="words"))[0] == (list(range(1, num_bytes + 1)), [1])
    assert match_spans(left, right, mode="ends").teacher_token[0] == num_bytes
    assert 0 not in left.starts[match_spans(left, right, mode="spans").teacher_token]


@pytest.mark.parametrize("mode", MODES)
def test_match_spans_leaves_padding_out(mode: Mode) -> None:
    """Padding on either side changes the positions and nothing else."""
    text = TEXTS[0]
    options: dict[str, object] = {"padding": "max_length", "max_length": 90}
    plain = match_spans(spans_of("gpt2", text), spans_of("bert-cased", text), mode=mode)
    padded = match_spans(spans_of("gpt2", text, **options), spans_of("bert-cased", text, **options), mode=mode)
    assert pairs_of(plain) == pairs_of(padded)
    tokenizer_of("gpt2").padding_side = "left"
    left = spans_of("gpt2", text, **options)
    tokenizer_of("gpt2").padding_side = "right"
    shift = 90 - len(spans_of("gpt2", text).starts)
    shifted = match_spans(left, spans_of("bert-cased", text), mode=mode)
    np.testing.assert_array_equal(shifted.teacher_token, plain.teacher_token + shift)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [4, 7, 12])
def test_match_spans_stops_where_one_text_is_cut_off(mode: Mode, length: int) -> None:
    """A model that saw only the beginning is matched only there, and no group is left half."""
    text = TEXTS[1]
    short = spans_of("gpt2", text, truncation=True, max_length=length)
    whole, other = spans_of("gpt2", text), spans_of("xlm-roberta", text)
    end = short.ends[short.usable].max()
    matches = match_spans(short, other, mode=mode)
    full = pairs_of(match_spans(whole, other, mode=mode))
    expected = [pair for pair in full if whole.ends[pair[0]].max() <= end and other.ends[pair[1]].max() <= end]
    assert pairs_of(matches) == expected


def test_match_spans_by_hand() -> None:
    """A worked example: `ab cd` as ab|cd and as a|b|cd, and one token over both words."""
    left = make_spans((0, 0), (0, 2), (3, 5), usable=[False, True, True])
    right = make_spans((0, 1), (1, 2), (3, 5))
    assert pairs_of(match_spans(left, right, mode="spans")) == [([2], [2])]
    assert pairs_of(match_spans(left, right, mode="ends")) == [([1], [1]), ([2], [2])]
    words = match_spans(left, right, mode="words")
    assert pairs_of(words) == [([1], [0, 1]), ([2], [2])]
    assert not words.is_one_to_one
    assert pairs_of(match_spans(make_spans((0, 5)), right, mode="words")) == [([0], [0, 1, 2])]


def test_match_spans_leaves_out_what_one_side_lacks() -> None:
    """A token over characters that the other model has no token for is in no group."""
    left, right = make_spans((0, 2), (2, 4), (4, 6)), make_spans((0, 2), (4, 5), (5, 6))
    assert pairs_of(match_spans(left, right, mode="words")) == [([0], [0]), ([2], [1, 2])]


def test_match_spans_words_leaves_out_a_segment_that_one_side_saw_half() -> None:
    """A token that reaches out of what the other model has seen, behind it or before it, is in no group."""
    whole = make_spans((0, 2), (3, 7), (8, 9))
    assert pairs_of(match_spans(make_spans((0, 2), (3, 5)), whole, mode="words")) == [([0], [0])]
    assert pairs_of(match_spans(whole, make_spans((1, 2), (3, 7), (8, 9)), mode="words")) == [
        ([1], [1]),
        ([2], [2]),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_match_spans_of_nothing_is_nothing(mode: Mode) -> None:
    """A text without usable tokens on one side or on both has no matches."""
    empty, unusable, some = make_spans(), make_spans((0, 0), usable=[False]), make_spans((0, 2))
    for left, right in permutations((empty, unusable, some), 2):
        matches = match_spans(left, right, mode=mode)
        assert (matches.count, matches.teacher_token.tolist(), matches.is_one_to_one) == (0, [], True)


def test_spans_refuse_what_does_not_fit() -> None:
    """An empty usable span, too few marks and offsets outside the text are refused with their values."""
    with pytest.raises(AlignmentError, match="Token 1 covers no character"):
        make_spans((0, 1), (3, 3))
    with pytest.raises(AlignmentError, match="2 offsets and 1 marks"):
        encode_spans([(0, 1), (1, 2)], [0], "ab")
    with pytest.raises(AlignmentError, match="do not lie in a text of 2 characters"):
        encode_spans([(0, 3)], [0], "ab")


def test_require_fast_names_the_tokenizer() -> None:
    """A tokenizer without offsets is refused with its class; a fast one is not."""
    from transformers import CanineTokenizer

    with pytest.raises(AlignmentError, match="`acme/canine`, CanineTokenizer, is not a fast one"):
        require_fast(CanineTokenizer(), "acme/canine")
    require_fast(tokenizer_of("gpt2"), "gpt2")


@st.composite
def segmented_texts(draw: st.DrawFn) -> tuple[str, Offsets, Offsets]:
    """Draw a text and two ways to cut its words into tokens, spaces left or right of a cut at random."""
    words = draw(st.lists(st.text("abé雪🎉", min_size=1, max_size=6), min_size=1, max_size=8))
    text = " ".join(words)
    sides = []
    for _ in range(2):
        offsets, at = [], 0
        for word in words:
            cuts = draw(st.sets(st.integers(1, len(word) - 1))) if len(word) > 1 else set()
            borders = [0, *sorted(cuts), len(word)]
            spans = [(at + a, at + b) for a, b in pairwise(borders)]
            if at and draw(st.booleans()):
                spans[0] = (at - 1, spans[0][1])
            offsets.extend(spans)
            at += len(word) + 1
        sides.append([(0, 0), *offsets, (0, 0)])
    return text, sides[0], sides[1]


def encode_drawn(drawn: tuple[str, Offsets, Offsets]) -> list[TokenSpans]:
    """Make the spans of both sides, with a special token at either end."""
    text, *sides = drawn
    return [encode_spans(offsets, [1, *[0] * (len(offsets) - 2), 1], text) for offsets in sides]


@given(drawn=segmented_texts(), mode=st.sampled_from(MODES))
def test_match_spans_is_symmetric_and_ascending(drawn: tuple[str, Offsets, Offsets], mode: Mode) -> None:
    """Swapping the models swaps the sides; tokens and groups ascend; no token is in two groups."""
    left, right = encode_drawn(drawn)
    matches, swapped = (match_spans(*sides, mode=mode) for sides in ((left, right), (right, left)))
    assert pairs_of(matches) == [(mine, theirs) for theirs, mine in pairs_of(swapped)]
    for token, group in (
        (matches.teacher_token, matches.teacher_group),
        (matches.student_token, matches.student_group),
    ):
        assert (np.diff(token) > 0).all()
        assert (np.diff(group) >= 0).all()
        assert sorted(set(group.tolist())) == list(range(matches.count))


@given(drawn=segmented_texts(), mode=st.sampled_from(MODES))
def test_match_spans_of_equal_segmentations_is_everything(drawn: tuple[str, Offsets, Offsets], mode: Mode) -> None:
    """A segmentation matched with itself pairs every usable token with itself."""
    left, _ = encode_drawn(drawn)
    matches = match_spans(left, left, mode=mode)
    usable = np.flatnonzero(left.usable)
    np.testing.assert_array_equal(matches.teacher_token, usable)
    np.testing.assert_array_equal(matches.student_token, usable)
    assert matches.count == len(usable)


@given(drawn=segmented_texts())
def test_match_spans_agrees_with_sets_of_borders(drawn: tuple[str, Offsets, Offsets]) -> None:
    """Counted with plain sets: pairs are common spans, and segments lie between common ends."""
    text = drawn[0]
    left, right = encode_drawn(drawn)
    spans = [{(int(s.starts[t]), int(s.ends[t])) for t in np.flatnonzero(s.usable)} for s in (left, right)]
    common = spans[0] & spans[1]
    ends = {end for _, end in spans[0]} & {end for _, end in spans[1]}
    assert match_spans(left, right, mode="spans").count == len(common)
    assert match_spans(left, right, mode="ends").count == len(ends)
    words = match_spans(left, right, mode="words")
    assert words.count == len(ends)
    np.testing.assert_array_equal(words.teacher_token, np.flatnonzero(left.usable))
    np.testing.assert_array_equal(words.student_token, np.flatnonzero(right.usable))
    for mine, theirs in pairs_of(words):
        piece = covered(left, np.array(mine), text)
        assert piece == covered(right, np.array(theirs), text)
        assert piece in text
