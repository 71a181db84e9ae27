"""Rows as token ids, in the form that the libraries' trainers and collators take."""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modxfer.errors import DataError
from modxfer.training.data.building import labels_of
from modxfer.training.data.rows import Row, TaggedRow, TextRow
from modxfer.training.data.tables import shorten
from modxfer.training.tasks import Task

IGNORED = -100
"""The label of a token that is neither trained nor scored."""

_Encoding = tuple[dict[str, list[int]], list[int | None]]  # columns, and the word of each token
_COLUMNS = ("input_ids", "attention_mask", "token_type_ids")
_MOST_LISTED = 10
_NO_LIMIT = 10**9
_AFTER_PADDING = {
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
"""Model types whose positions count on from the number of the padding token, as in fairseq."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Rows as numbers.

    Attributes:
        rows: The rows that they are of.
        examples: For each row its columns: `input_ids`, `attention_mask`, `token_type_ids` where the tokenizer gives them, and
            `labels`: a number a token (tagging, -100 for all but the first token of a word; language modelling), or one number.
        words: For each row of tagging the index of the word that each labelled token stands for, in order; empty otherwise.
            A word that was cut off, or that the tokenizer makes nothing of, is not in it.
        labels: The labels, in the order of their numbers.
        cut: Rows that were longer than allowed.
    """

    rows: Sequence[Row]
    examples: Sequence[dict[str, object]]
    words: Sequence[tuple[int, ...]]
    labels: tuple[str, ...]
    cut: int


def encode(rows: Sequence[Row], tokenizer: Any, *, task: Task, labels: tuple[str, ...], max_tokens: int) -> Encoded:
    """Turn rows into token ids.

    Args:
        rows: The rows.
        tokenizer: The base model's tokenizer, a fast one.
        task: The task.
        labels: The labels, in the order of their numbers.
        max_tokens: Tokens of a row, special tokens included; more are cut off, of the longer of two texts.

    Returns:
        The rows as numbers, in the same order.

    Raises:
        DataError: the tokenizer is a slow one, a label is not among `labels`, `max_tokens` leaves no room, or no row of
            language modelling has two tokens.
    """
    _check_fast(tokenizer)
    _check_known(rows, labels)
    _check_room(rows, tokenizer, max_tokens=max_tokens)
    encodings, cut = _tokenize(rows, tokenizer, max_tokens=max_tokens)
    numbers = {label: number for number, label in enumerate(labels)}
    examples: list[dict[str, object]] = []
    words: list[tuple[int, ...]] = []
    for row, (columns, word_ids) in zip(rows, encodings, strict=True):
        firsts = _first_tokens(word_ids) if isinstance(row, TaggedRow) else {}
        words.append(tuple(firsts.values()))
        examples.append({**columns, "labels": _label(row, columns, firsts, numbers, task=task)})
    if task.kind == "causal-lm" and all(len(columns["input_ids"]) < 2 for columns, _ in encodings):
        raise DataError("No row has two tokens, so there is none to predict.", do="Give longer texts, or raise `--max-tokens`.")
    return Encoded(rows=rows, examples=examples, words=words, labels=labels, cut=cut)


def make_collator(task: Task, tokenizer: Any) -> Any:
    """Make what puts examples into a batch: `transformers`' own, which pads to the longest.

    Args:
        task: The task.
        tokenizer: The base model's tokenizer.

    Returns:
        The collator; padded labels are -100.

    Raises:
        DataError: the tokenizer has nothing to pad with.
    """
    from transformers import DataCollatorForTokenClassification, DataCollatorWithPadding

    reads_end = task.kind == "classification" and type(tokenizer).__name__.startswith("XLNet")
    is_left = tokenizer.padding_side == "left" and not reads_end
    if tokenizer.pad_token_id is None or is_left:
        tokenizer = copy.deepcopy(tokenizer)
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise DataError("The tokenizer has no token to pad with.", do="Give it a `pad_token`, or use another base model.")
        tokenizer.pad_token = tokenizer.eos_token  # masked out, so that it does not matter which it is
    if is_left:  # that is for generating; here a token's prediction is looked for at its own place, and the first has none
        tokenizer.padding_side = "right"
    if task.kind == "classification":
        return DataCollatorWithPadding(tokenizer)
    return DataCollatorForTokenClassification(tokenizer, label_pad_token_id=IGNORED)


def token_limit(tokenizer: Any, config: Any) -> int | None:
    """Find how many tokens a base model takes, special tokens included.

    Args:
        tokenizer: Its tokenizer.
        config: Its config, of `transformers`.

    Returns:
        The smaller of what the two say; None if neither says anything.
    """
    found = [tokenizer.model_max_length]
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and getattr(config, "model_type", "") in _AFTER_PADDING:
        positions -= (config.pad_token_id or 0) + 1
    found.append(positions)
    limits = [int(limit) for limit in found if limit is not None and 0 < limit < _NO_LIMIT]
    return min(limits, default=None)


def _check_fast(tokenizer: Any) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise DataError(
            f"The tokenizer is a slow one (`{type(tokenizer).__name__}`), which does not say what word a token is of.",
            do="Save the base model with a fast tokenizer (`tokenizer.json`).",
        )


def _check_known(rows: Sequence[Row], labels: tuple[str, ...]) -> None:
    known = set(labels)
    unknown = sorted({label for row in rows for label in labels_of(row)} - known)
    if unknown:
        count = sum(not known.issuperset(labels_of(row)) for row in rows)
        raise DataError(
            f"{count} of {len(rows)} rows have labels that the head does not know: {_list(unknown)} "
            f"(it knows: {_list(labels)}).",
            do="Give data with the head's labels, or train a new head on this data.",
        )


def _check_room(rows: Sequence[Row], tokenizer: Any, *, max_tokens: int) -> None:
    is_pair = any(isinstance(row, TextRow) and len(row.texts) > 1 for row in rows)
    least = tokenizer.num_special_tokens_to_add(pair=is_pair) + 1 + is_pair
    if max_tokens < least:
        raise DataError(
            f"`--max-tokens {max_tokens}` leaves no room: special tokens and a token of each text are {least}.",
            do=f"Give at least {least}.",
        )


def _tokenize(rows: Sequence[Row], tokenizer: Any, *, max_tokens: int) -> tuple[list[_Encoding], int]:
    """Give the columns and the word of each token for every row, and count the rows that were cut."""
    whole = _call(rows, tokenizer)
    long = [number for number, (columns, _) in enumerate(whole) if len(columns["input_ids"]) > max_tokens]
    if long:
        shorter = _call([rows[number] for number in long], tokenizer, truncation=True, max_length=max_tokens)
        for number, encoding in zip(long, shorter, strict=True):
            whole[number] = encoding
    return whole, len(long)


def _call(rows: Sequence[Row], tokenizer: Any, **options: Any) -> list[_Encoding]:
    if not rows:
        return []
    options["verbose"] = False  # it would tell of long texts
    is_tagged = isinstance(rows[0], TaggedRow)
    if is_tagged:
        tokenizer, space = _for_words(tokenizer)
        words = [[_after(space, word) for word in row.words] for row in rows if isinstance(row, TaggedRow)]
        batch = tokenizer(words, is_split_into_words=True, **options)
    else:
        texts = [row.texts for row in rows if isinstance(row, TextRow)]
        second = [pair[1] for pair in texts] if len(texts[0]) > 1 else None
        batch = tokenizer([pair[0] for pair in texts], second, **options)
    names = [name for name in _COLUMNS if name in batch]
    return [
        ({name: batch[name][number] for name in names}, batch.word_ids(number) if is_tagged else [])
        for number in range(len(rows))
    ]


def _for_words(tokenizer: Any) -> tuple[Any, str]:
    """Give what takes words, and what is to stand before each: a space where words are told by it (GPT-2, Llama 3)."""
    pre_tokenizer = tokenizer.backend_tokenizer.pre_tokenizer
    state = {} if pre_tokenizer is None else json.loads(pre_tokenizer.__getstate__())
    parts = [state, *state.get("pretokenizers", [])]
    if not any(part.get("type") == "ByteLevel" and not part.get("add_prefix_space") for part in parts):
        return tokenizer, ""
    if getattr(tokenizer, "add_prefix_space", None) is False:  # transformers 4 refuses words then
        tokenizer = copy.copy(tokenizer)
        tokenizer.add_prefix_space = True
    return tokenizer, " "


def _after(space: str, word: str) -> str:
    return word if not word or word[0].isspace() else space + word


def _first_tokens(word_ids: list[int | None]) -> dict[int, int]:
    """Give the position of each word's first token, to the word."""
    return {
        position: word
        for position, (before, word) in enumerate(zip([None, *word_ids], word_ids, strict=False))
        if word is not None and word != before
    }


def _label(
    row: Row, columns: dict[str, list[int]], firsts: dict[int, int], numbers: dict[str, int], *, task: Task
) -> int | list[int]:
    if isinstance(row, TaggedRow):
        return [
            numbers[row.tags[firsts[position]]] if position in firsts else IGNORED
            for position in range(len(columns["input_ids"]))
        ]
    if task.kind == "causal-lm":
        return list(columns["input_ids"])
    return numbers[row.label]


def _list(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _MOST_LISTED} more" if len(labels) > _MOST_LISTED else ""
    return (", ".join(f"`{shorten(label)}`" for label in labels[:_MOST_LISTED]) or "none") + more
