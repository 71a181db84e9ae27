"""Rows as numbers: labels on the first token of a word, what is cut is counted, and batches are padded by the libraries."""

from typing import Any

import pytest
import tokenizers
import torch
import transformers

from modxfer.errors import DataError
from modxfer.training.data.encoding import encode, make_collator, token_limit
from modxfer.training.data.rows import TaggedRow, TextRow
from modxfer.training.tasks import Task, find_task
from tests.demo.tiny import tiny_tokenizer

NER, PI, LM = find_task("ner"), find_task("pi"), find_task("causal-lm")
WORDS = ("new", "york", "##ers", "is", "big")  # numbers 5 to 9, after the special tokens
LABELS = ("O", "B-X", "I-X")
TAGGED = [
    TaggedRow(words=("new", "yorkers", "\u00a0", "big"), tags=("B-X", "I-X", "I-X", "O")),
    TaggedRow(words=("is",), tags=("O",)),
]


def _bytes_tokenizer(*, nested: bool) -> Any:
    """Make a tokenizer of bytes that tells words by the space before them, as GPT-2's (or, nested, Llama 3's) does."""
    names = ["<eos>", *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()), "Ġa", "Ġb"]
    merges = [("Ġ", "a"), ("Ġ", "b")]
    model = tokenizers.models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=merges)
    tokenizer = tokenizers.Tokenizer(model)
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not nested)
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(" ?\\w+"), "isolated")
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, level]) if nested else level
    kind = transformers.PreTrainedTokenizerFast if nested else transformers.GPT2TokenizerFast
    return kind(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<eos>", bos_token="<eos>")


def test_encode_labels_the_first_token_of_each_word() -> None:
    """Other tokens have -100; a word without tokens is not among the words."""
    encoded = encode(TAGGED, tiny_tokenizer(WORDS), task=NER, labels=LABELS, max_tokens=40)
    assert encoded.examples[0]["input_ids"] == [2, 5, 6, 7, 9, 3]
    assert encoded.examples[0]["labels"] == [-100, 1, 2, -100, 0, -100]
    assert list(encoded.words) == [(0, 1, 3), (0,)]
    assert (encoded.cut, encoded.labels, encoded.rows) == (0, LABELS, TAGGED)


def test_encode_cuts_and_counts() -> None:
    """Rows beyond the limit are cut to it; words that fall off have no label. The tokenizer is as before."""
    tokenizer = tiny_tokenizer(WORDS)
    encoded = encode(TAGGED, tokenizer, task=NER, labels=LABELS, max_tokens=4)
    assert encoded.examples[0]["labels"] == [-100, 1, 2, -100]
    assert (encoded.cut, list(encoded.words)) == (1, [(0, 1), (0,)])
    assert len(tokenizer("new york is big new york is big").input_ids) == 10
    tokenizer.model_input_names = ["input_ids", "attention_mask", "token_type_ids"]  # as BERT's does
    pairs = [TextRow(texts=("new york is big", "is"), label="y"), TextRow(texts=("is", "big"), label="n")]
    encoded = encode(pairs, tokenizer, task=PI, labels=("n", "y"), max_tokens=6)
    assert [example["input_ids"] for example in encoded.examples] == [[2, 5, 6, 3, 8, 3], [2, 8, 3, 9, 3]]
    assert ([example["labels"] for example in encoded.examples], encoded.cut) == ([1, 0], 1)
    assert encoded.examples[0]["token_type_ids"] == [0, 0, 0, 0, 1, 1]
    assert list(encoded.words) == [(), ()]


@pytest.mark.parametrize("nested", [False, True])
def test_encode_gives_byte_tokenizers_a_space_before_each_word(nested: bool) -> None:
    """Words get the tokens that they have in a sentence, and the tokenizer that was given stays as it is."""
    tokenizer = _bytes_tokenizer(nested=nested)
    rows = [TaggedRow(words=("a", "b", "ab"), tags=("O", "B-X", "O"))]
    encoded = encode(rows, tokenizer, task=NER, labels=LABELS, max_tokens=40)
    assert encoded.examples[0]["input_ids"] == tokenizer(" a b ab").input_ids
    assert (encoded.examples[0]["labels"], encoded.words) == ([0, 1, 0, -100], [(0, 1, 2)])
    assert getattr(tokenizer, "add_prefix_space", False) is False


def test_encode_predicts_every_token_of_a_text() -> None:
    """Language modelling has its own ids as labels; it needs one row of two tokens."""
    tokenizer = _bytes_tokenizer(nested=False)
    rows = [TextRow(texts=("aab",)), TextRow(texts=("a",))]
    encoded = encode(rows, tokenizer, task=LM, labels=(), max_tokens=2)
    assert [example["labels"] for example in encoded.examples] == [example["input_ids"] for example in encoded.examples]
    assert ([len(example["labels"]) for example in encoded.examples], encoded.cut) == ([2, 1], 1)  # type: ignore[arg-type] # lists
    with pytest.raises(DataError, match=r"No row has two tokens"):
        encode(rows, tokenizer, task=LM, labels=(), max_tokens=1)


def test_encode_names_labels_that_the_head_lacks() -> None:
    """Unknown labels are refused, counted and listed, with those that are known."""
    with pytest.raises(
        DataError, match=r"1 of 2 rows have labels that the head does not know: `B-X`, `I-X` \(it knows: `O`, `B-Y`\)"
    ):
        encode(TAGGED, tiny_tokenizer(WORDS), task=NER, labels=("O", "B-Y"), max_tokens=9)


@pytest.mark.parametrize(("task", "rows", "least"), [(NER, TAGGED, 3), (PI, [TextRow(texts=("is", "big"), label="O")], 5)])
def test_encode_refuses_a_limit_without_room(task: Any, rows: Any, least: int) -> None:
    """A limit must leave a token of each text beside the special ones."""
    assert encode(rows, tiny_tokenizer(WORDS), task=task, labels=LABELS, max_tokens=least).examples
    with pytest.raises(DataError, match=rf"`--max-tokens {least - 1}` leaves no room: .* are {least}\."):
        encode(rows, tiny_tokenizer(WORDS), task=task, labels=LABELS, max_tokens=least - 1)


def test_encode_refuses_slow_tokenizers() -> None:
    """A tokenizer that does not tell which word a token is of is named."""
    slow = transformers.ByT5Tokenizer()
    with pytest.raises(DataError, match=r"slow one \(`ByT5Tokenizer`\)"):
        encode(TAGGED, slow, task=NER, labels=LABELS, max_tokens=9)


def test_make_collator_pads_labels_with_ignored_ones() -> None:
    """Batches are as long as their longest row, and what is padded is neither trained nor scored."""
    tokenizer = tiny_tokenizer(WORDS)
    encoded = encode(TAGGED, tokenizer, task=NER, labels=LABELS, max_tokens=40)
    batch = make_collator(NER, tokenizer)(list(encoded.examples))
    assert batch["labels"].tolist() == [[-100, 1, 2, -100, 0, -100], [-100, 0, -100, -100, -100, -100]]
    assert batch["attention_mask"].sum(dim=1).tolist() == [6, 3]
    pairs = [TextRow(texts=("new york", "is"), label="y"), TextRow(texts=("is", "big"), label="n")]
    examples = encode(pairs, tokenizer, task=PI, labels=("n", "y"), max_tokens=9).examples
    batch = make_collator(PI, tokenizer)(list(examples))
    assert torch.equal(batch["labels"], torch.tensor([1, 0]))
    assert batch["input_ids"].shape == (2, 6)


@pytest.mark.parametrize("task", [NER, LM, PI])
def test_make_collator_pads_on_the_right(task: Task) -> None:
    """A tokenizer that pads on the left, for generating, is not changed; what is predicted is looked for at its own place."""
    tokenizer = tiny_tokenizer(WORDS)
    tokenizer.padding_side = "left"
    rows = TAGGED if task == NER else [TextRow(texts=(text,), label="" if task == LM else "y") for text in ("new york", "is")]
    labels = {NER: LABELS, LM: (), PI: ("y",)}[task]
    encoded = encode(rows, tokenizer, task=task, labels=labels, max_tokens=40)
    batch = make_collator(task, tokenizer)(list(encoded.examples))
    assert batch["attention_mask"][1].tolist() == [1, 1, 1] + [0] * (batch["attention_mask"].shape[1] - 3)
    if task != PI:
        assert batch["labels"][1, 3:].eq(-100).all()
    assert tokenizer.padding_side == "left"


def test_make_collator_pads_without_a_padding_token() -> None:
    """A tokenizer that has none is not changed: its end of text pads, masked out, and is still learned where it is real."""
    tokenizer = _bytes_tokenizer(nested=False)
    encoded = encode([TextRow(texts=("ab<eos>",)), TextRow(texts=("a",))], tokenizer, task=LM, labels=(), max_tokens=9)
    batch = make_collator(LM, tokenizer)(list(encoded.examples))
    end = tokenizer.eos_token_id
    assert batch["labels"][0, -1] == end
    assert batch["labels"][1, 1:].tolist() == [-100, -100]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert tokenizer.pad_token is None
    bare = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(DataError, match=r"no token to pad with"):
        make_collator(LM, bare)


@pytest.mark.parametrize(
    ("kind", "settings", "longest", "wanted"),
    [
        ("bert", {"max_position_embeddings": 40}, None, 40),
        ("bert", {"max_position_embeddings": 40}, 30, 30),
        ("roberta", {"max_position_embeddings": 514, "pad_token_id": 1}, None, 512),
        ("xlm-roberta", {"max_position_embeddings": 30, "pad_token_id": 1}, 40, 28),
        ("gpt2", {"n_positions": 64}, None, 64),
        ("t5", {}, None, None),
        ("t5", {}, 77, 77),
    ],
)
def test_token_limit_is_the_smaller_of_two(
    kind: str, settings: dict[str, int], longest: int | None, wanted: int | None
) -> None:
    """Positions that a model has (RoBERTa's count on from the padding token), or what its tokenizer says, whichever is less."""
    tokenizer = tiny_tokenizer(WORDS)
    if longest is not None:
        tokenizer.model_max_length = longest
    assert token_limit(tokenizer, transformers.AutoConfig.for_model(kind, **settings)) == wanted
