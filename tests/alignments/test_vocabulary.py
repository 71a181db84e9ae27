"""Vocabularies are mapped by what their tokens stand for, and nothing is measured."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from modxfer.alignments.compute import compute_alignment
from modxfer.alignments.corpus import open_corpus
from modxfer.alignments.request import AlignmentRequest, RouteUse, missing
from modxfer.alignments.vocabulary import (
    count_tokens,
    read_vocabulary,
    score_vocabulary,
    vocabulary_map,
    vocabulary_warnings,
)
from modxfer.architectures import Point, Side, Site
from modxfer.converters.methods import route_of_role
from modxfer.errors import AlignmentError
from tests.planted import base_model, make_teacher, small_text


@cache
def english() -> list[str]:
    """Give some lines of English, and a few letters that take two bytes."""
    return [*[text for text in open_corpus(None).texts() if text.isascii()][:150], "café naïve café naïve"]


def save(tokenizer: Tokenizer, folder: Path) -> Path:
    """Save a tokenizer's own file."""
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def byte_level() -> Tokenizer:
    """Train a byte-level BPE, as GPT-2 has."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<s>", "</s>"], show_progress=False, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(english(), trainer)
    return tokenizer


def sentence_piece() -> Tokenizer:
    """Train a Unigram model with SentencePiece's spaces, as XLM-R has."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=700, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(english(), trainer)
    return tokenizer


def word_piece() -> Tokenizer:
    """Train a WordPiece, as BERT has."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=700, special_tokens=["[UNK]", "[CLS]"], show_progress=False)
    tokenizer.train_from_iterator(english(), trainer)
    return tokenizer


@given(size=st.integers(1, 30), spare=st.integers(0, 6), seed=st.integers(0, 2**32 - 1))
def test_a_shuffled_vocabulary_is_found_again(size: int, spare: int, seed: int) -> None:
    """Each token goes to its own id, and one that the teacher lacks to none."""
    order = np.random.default_rng(seed).permutation(size + spare)
    teacher = [f"token {index}" for index in range(size)]
    student = [f"token {index}" if index < size else f"new {index}" for index in order]
    found = vocabulary_map([*teacher, None], [*student, None])
    expected = [int(index) if index < size else -1 for index in order]
    assigned = np.arange(size + spare + 1) if found.assignment is None else found.assignment
    assert (found.form == "identity") == (not spare and expected == list(range(size)))
    assert assigned[: size + spare].tolist() == expected
    assert found.correlation[: size + spare].tolist() == [float(index >= 0) for index in expected]


def test_an_id_without_a_token_is_nobodys() -> None:
    """Empty ids of two padded tables do not serve each other, unless all is equal."""
    found = vocabulary_map(["a", None], ["b", "a", None])
    assert found.assignment is not None
    assert found.assignment.tolist() == [-1, 0, -1]


def test_equal_vocabularies_are_identity() -> None:
    """Where ids and tokens are the same, empty ids included, nothing moves."""
    found = vocabulary_map(["a", None, "b"], ["a", None, "b"])
    assert found.form == "identity"
    assert score_vocabulary(found).mean_correlation == score_vocabulary(found).same_index == 1.0
    assert list(vocabulary_warnings(found)) == []


def test_scores_say_how_much_is_shared() -> None:
    """The correlation of a vocabulary is the part of the student's tokens that the teacher has."""
    found = vocabulary_map(["a", "b", "c", "d"], ["a", "c", "x", "y", "z"])
    score = score_vocabulary(found)
    assert (score.mean_correlation, score.same_index, score.aligner, score.tokens) == (0.4, 0.2, "tokens", 0)
    assert list(vocabulary_warnings(found)) == [
        "Of the student's 5 tokens the teacher has 2; the others get nothing of the module."
    ]


def test_of_two_equal_tokens_the_first_counts() -> None:
    """A teacher with a token twice serves it from the lower id."""
    assigned = vocabulary_map(["a", "b", "b"], ["b"]).assignment
    assert assigned is not None
    assert assigned.tolist() == [1]


@pytest.mark.parametrize(
    ("one", "other"), [(byte_level, sentence_piece), (sentence_piece, word_piece), (word_piece, byte_level)]
)
def test_tokens_are_compared_by_their_text(
    one: Callable[[], Tokenizer], other: Callable[[], Tokenizer], tmp_path: Path
) -> None:
    """Across ways to write a space, tokens that are mapped decode to the same text, and words in both are mapped."""
    made = [one(), other()]
    read = [
        read_vocabulary(save(tokenizer, tmp_path / str(index)), size=tokenizer.get_vocab_size(), name="x")
        for index, tokenizer in enumerate(made)
    ]
    found = vocabulary_map(*read).assignment
    assert found is not None
    texts = [[decoded(tokenizer, index) for index in range(tokenizer.get_vocab_size())] for tokenizer in made]
    pairs = [(texts[0][teacher], texts[1][index]) for index, teacher in enumerate(found) if teacher >= 0]
    assert all(mine == theirs for mine, theirs in pairs)
    assert " the" in {mine for mine, _ in pairs}
    assert len(pairs) > 60


def decoded(tokenizer: Tokenizer, index: int) -> str:
    """Say what the tokenizer's own decoder makes of a token behind another one."""
    first = tokenizer.token_to_id("a") if tokenizer.token_to_id("a") is not None else tokenizer.token_to_id("##a")
    text: str = tokenizer.decode([first, index], skip_special_tokens=False)
    return text.removeprefix(tokenizer.decode([first], skip_special_tokens=False))


def test_special_tokens_are_compared_as_written(tmp_path: Path) -> None:
    """`<s>` is `<s>` in both, and never the text of three characters."""
    read = read_vocabulary(save(byte_level(), tmp_path / "b"), size=700, name="x")
    assert read[0] == ("special", "<s>")
    other = read_vocabulary(save(sentence_piece(), tmp_path / "s"), size=700, name="x")
    assert vocabulary_map(read, other).correlation[other.index(("special", "<s>"))] == 1.0


def test_single_bytes_are_none_of_the_letters(tmp_path: Path) -> None:
    """A byte of `byte_fallback` is not the letter that it could stand for."""
    vocabulary = {"<unk>": 0, "<0x41>": 1, "A": 2, "▁A": 3}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    assert read_vocabulary(save(tokenizer, tmp_path), size=5, name="x")[1:] == (("byte", "<0x41>"), b"A", b" A", None)


def test_ids_beyond_the_table_are_left_out(tmp_path: Path) -> None:
    """The size is the base model's: a table that is padded has empty ids, and one that is cut has fewer."""
    folder = save(word_piece(), tmp_path)
    whole = read_vocabulary(folder, size=word_piece().get_vocab_size(), name="x")
    assert read_vocabulary(folder, size=len(whole) + 2, name="x") == (*whole, None, None)
    assert read_vocabulary(folder, size=7, name="x") == whole[:7]


def test_older_files_are_read_too(tmp_path: Path) -> None:
    """A `vocab.txt` without a `tokenizer.json` says the same."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "water", "##ing"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert read_vocabulary(tmp_path, size=7, name="x")[4:] == (("special", "[MASK]"), b" water", b"ing")


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"model": {"vocab": 3}}', '{"model": {"vocab": [[]]}}'])
def test_a_tokenizer_that_cannot_be_read_is_named(content: str | None, tmp_path: Path) -> None:
    """What is missing or damaged is said with the base model's name and folder."""
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(AlignmentError, match=rf"vocabulary of `acme/x` in `{tmp_path}`") as caught:
        read_vocabulary(tmp_path, size=7, name="acme/x")
    assert "tokenizer.json" in caught.value.do


def test_tokens_beside_a_module_are_counted(tmp_path: Path) -> None:
    """The highest id counts, of whatever file there is; a damaged one or none says nothing."""
    assert count_tokens(tmp_path) is None
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<new>": 52, "<newer>": 51}))
    assert count_tokens(tmp_path) == 53
    tokenizer = word_piece()
    tokenizer.add_tokens(["<new>"])
    assert count_tokens(save(tokenizer, tmp_path)) == tokenizer.get_vocab_size() == word_piece().get_vocab_size() + 1
    (tmp_path / "tokenizer.json").write_text("{")
    assert count_tokens(tmp_path) is None


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Save two base models with different tokenizers."""
    folder = tmp_path_factory.mktemp("bases")
    return make_teacher(folder / "teacher", "bert", vocab=300), make_teacher(folder / "student", "bert", vocab=200, seed=1)


@pytest.mark.parametrize("aligner", ["lsa", "paper", "linear"])
def test_an_alignment_maps_embeddings_by_tokens(aligner: str, bases: tuple[Path, Path], tmp_path: Path) -> None:
    """For a LoRA on the embeddings the token ids go by the tokenizers, and their output is measured like any other."""
    text = tmp_path / "text.txt"
    text.write_text(small_text(), encoding="utf-8")
    teacher, student = (base_model(folder) for folder in bases)
    route = route_of_role("embeddings")
    request = AlignmentRequest(layers=(), outside=(RouteUse(route=route, reads=True, writes=True, updates=True),))
    found = compute_alignment(
        request, teacher=teacher, student=student, corpus=open_corpus(str(text)), tokens=800, aligner=aligner
    )
    maps: dict[str, Any] = {str(pair.student.point): found.maps[pair] for pair in found.maps}
    assert set(maps) == {"embeddings.input", "embeddings.output"} == {str(pair.student.point) for pair in found.scores}
    words = maps["embeddings.input"].assignment
    texts = [
        read_vocabulary(base.folder, size=base.architecture.width(Site("", None, Point("embeddings", Side.INPUT))), name="x")
        for base in (teacher, student)
    ]
    assert all(texts[0][theirs] == texts[1][mine] for mine, theirs in enumerate(words) if theirs >= 0)
    assert (words >= 0).mean() > 0.5
    assert maps["embeddings.output"].form == ("matrix" if aligner == "linear" else "assignment")
    assert missing(found, request.uses(teacher.architecture, student.architecture)) == ()
