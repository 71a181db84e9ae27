"""Which tokens of two models stand for the same text, found by the characters that they cover."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64

from modxfer.errors import AlignmentError

Mode = Literal["spans", "words", "ends", "patches"]

_Keyed = tuple[Int64[np.ndarray, " found"], Int64[np.ndarray, " found"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSpans:
    """The characters that each token of one text covers, whitespace at either end left out.

    Attributes:
        starts: First character of each token, int64, shape (tokens,), in characters of the text.
        ends: One past the last character of each token, int64, shape (tokens,).
        usable: False for special tokens, padding and tokens that cover nothing, bool, shape (tokens,).
    """

    starts: Int64[np.ndarray, " tokens"]
    ends: Int64[np.ndarray, " tokens"]
    usable: Bool[np.ndarray, " tokens"]

    def __post_init__(self) -> None:
        if np.any(self.starts[self.usable] >= self.ends[self.usable]):
            token = int(np.flatnonzero(self.usable & (self.starts >= self.ends))[0])
            raise AlignmentError(f"Token {token} covers no character and is marked as usable.", do="Mark it as not usable.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """Matched tokens of teacher and student in one text, as groups to take the mean over.

    Activations are pooled with, say, `numpy.add.at` or `torch.Tensor.index_add_` from `*_token` into
    `*_group`.

    Attributes:
        teacher_token: Positions in the teacher's sequence, int64, shape (teacher_tokens,), ascending.
        teacher_group: The group of each of them, int64, shape (teacher_tokens,), in [0, count), ascending.
        student_token: Positions in the student's sequence, int64, shape (student_tokens,), ascending.
        student_group: The group of each of them, int64, shape (student_tokens,), in [0, count), ascending.
        count: Number of groups; every group has at least one token on each side.
    """

    teacher_token: Int64[np.ndarray, " teacher_tokens"]
    teacher_group: Int64[np.ndarray, " teacher_tokens"]
    student_token: Int64[np.ndarray, " student_tokens"]
    student_group: Int64[np.ndarray, " student_tokens"]
    count: int

    @property
    def is_one_to_one(self) -> bool:
        """Whether every group is one token of the teacher and one of the student."""
        return len(self.teacher_token) == len(self.student_token) == self.count


def require_fast(tokenizer: object, name: str) -> None:
    """Refuse a tokenizer that cannot say which characters a token covers.

    Args:
        tokenizer: A tokenizer of `transformers`.
        name: The base model that it belongs to, for the message.

    Raises:
        AlignmentError: it is not a fast tokenizer.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise AlignmentError(
            f"The tokenizer of `{name}`, {type(tokenizer).__name__}, is not a fast one: it does not "
            "say which characters a token covers.",
            do="Use a base model that comes with a `tokenizer.json`, or save one in its folder.",
        )


def encode_spans(
    offsets: Sequence[Sequence[int]] | Int64[np.ndarray, "tokens 2"],
    special: Sequence[int] | Int64[np.ndarray, " tokens"],
    text: str,
) -> TokenSpans:
    """Make the spans of one text out of what a fast tokenizer returns for it.

    Whitespace at either end of a span is left out, since tokenizers differ in which token a space belongs to.
    Combining marks and joiners right after a span that no token covers (a tokenizer that strips accents drops
    them) are added to it. Where the sequence was cut off before the text ends, its last token is not usable:
    it may be the first byte of a character.

    Args:
        offsets: `offset_mapping`: first character and one past the last, for each token, shape (tokens, 2).
        special: `special_tokens_mask`: 1 for each special token or padding, 0 for the others, shape
            (tokens,).
        text: The text as it was given to the tokenizer.

    Returns:
        The spans, one for each token of the sequence.

    Raises:
        AlignmentError: there are not as many marks as offsets, or an offset lies outside the text.
    """
    pairs = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    if len(pairs) != len(special) or (len(pairs) and (pairs.min() < 0 or pairs.max() > len(text))):
        raise AlignmentError(
            f"A tokenizer gave {len(pairs)} offsets and {len(special)} marks of special tokens, or offsets "
            f"that do not lie in a text of {len(text)} characters.",
            do="Give offsets, marks and text of one encoding.",
        )
    usable = np.array([not mark for mark in special], dtype=np.bool_)
    starts, ends = pairs[:, 0].copy(), pairs[:, 1].copy()
    for token in np.flatnonzero(usable):
        starts[token], ends[token] = _trim(text, int(starts[token]), int(ends[token]))
    usable &= starts < ends
    _extend_over_marks(text, starts, ends, usable)
    _drop_cut_off(text, starts, ends, usable)
    return TokenSpans(starts=starts, ends=ends, usable=usable)


def match_spans(teacher: TokenSpans, student: TokenSpans, *, mode: Mode) -> Matches:
    """Match the tokens of two models in one text.

    Tokens of one model whose spans overlap (the bytes of one character, say) are taken together. Nothing
    behind the point where the shorter of the two sequences was cut off is matched.

    Args:
        teacher: The teacher's spans.
        student: The student's spans, of the same text.
        mode: `spans`: tokens that cover the same characters, alone on each side. `words`: the smallest
            segments that begin and end at a token of both models, whatever number of tokens they have. `ends`
            (for causal models, which have then read the same text): the last token on each side where spans
            end at the same character.

    Returns:
        The matches, in the order of the text. Swapping teacher and student swaps the two sides and nothing
        else.
    """
    if mode == "words":
        return _match_segments(teacher, student)
    keys = _find_ends if mode == "ends" else _find_single_spans
    teacher_keys, teacher_token = keys(teacher)
    student_keys, student_token = keys(student)
    _, at_teacher, at_student = np.intersect1d(teacher_keys, student_keys, assume_unique=True, return_indices=True)
    group = np.arange(len(at_teacher), dtype=np.int64)
    return Matches(
        teacher_token=teacher_token[at_teacher],
        teacher_group=group,
        student_token=student_token[at_student],
        student_group=group.copy(),
        count=len(group),
    )


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _extend_over_marks(
    text: str,
    starts: Int64[np.ndarray, " tokens"],
    ends: Int64[np.ndarray, " tokens"],
    usable: Bool[np.ndarray, " tokens"],
) -> None:
    """Let spans cover the marks behind them that no token covers; changes `ends`, which the caller made."""
    tokens = np.flatnonzero(usable)
    limits = [*starts[tokens[1:]].tolist(), len(text)]
    for token, limit in zip(tokens.tolist(), limits, strict=False):
        end = int(ends[token])
        while end < limit and unicodedata.category(text[end]) in {"Mn", "Mc", "Me", "Cf"}:
            end += 1
        ends[token] = end


def _drop_cut_off(
    text: str,
    starts: Int64[np.ndarray, " tokens"],
    ends: Int64[np.ndarray, " tokens"],
    usable: Bool[np.ndarray, " tokens"],
) -> None:
    """Mark tokens as not usable that overlap a point where the text was cut off; changes `usable`."""
    tokens = np.flatnonzero(usable)
    if not len(tokens):
        return
    segment = _label_segments(starts[tokens], ends[tokens])
    if ends[tokens].max() < len(text.rstrip()):
        usable[tokens[segment == segment.max()]] = False
    if starts[tokens].min() > len(text) - len(text.lstrip()):
        usable[tokens[segment == 0]] = False


def _label_segments(starts: Int64[np.ndarray, " spans"], ends: Int64[np.ndarray, " spans"]) -> Int64[np.ndarray, " spans"]:
    """Number the connected groups of overlapping spans, from 0 in the order of the text."""
    order = np.argsort(starts, kind="stable")
    reach = np.maximum.accumulate(ends[order])
    begins = starts[order][1:] >= reach[:-1]
    segment = np.zeros(len(order), dtype=np.int64)
    segment[order[1:]] = np.cumsum(begins, dtype=np.int64)
    return segment


def _find_single_spans(spans: TokenSpans) -> _Keyed:
    """Give a key for the span of each token that overlaps no other, and the tokens."""
    tokens = np.flatnonzero(spans.usable).astype(np.int64)
    segment = _label_segments(spans.starts[tokens], spans.ends[tokens])
    single = tokens[np.bincount(segment)[segment] == 1] if len(tokens) else tokens
    return (spans.starts[single] << 32) + spans.ends[single], single


def _find_ends(spans: TokenSpans) -> _Keyed:
    """Give the end of each group of overlapping tokens, and the last token of the group."""
    tokens = np.flatnonzero(spans.usable).astype(np.int64)
    segment = _label_segments(spans.starts[tokens], spans.ends[tokens])
    count = int(segment.max()) + 1 if len(tokens) else 0
    ends, last = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    np.maximum.at(ends, segment, spans.ends[tokens])
    np.maximum.at(last, segment, tokens)
    return ends, last


def _match_segments(teacher: TokenSpans, student: TokenSpans) -> Matches:
    """Group the tokens of both sides that hang together by overlapping."""
    sides = [np.flatnonzero(spans.usable).astype(np.int64) for spans in (teacher, student)]
    starts = np.concatenate([teacher.starts[sides[0]], student.starts[sides[1]]])
    ends = np.concatenate([teacher.ends[sides[0]], student.ends[sides[1]]])
    segment = _label_segments(starts, ends)
    count = int(segment.max()) + 1 if len(segment) else 0
    of_teacher, of_student = np.split(segment, [len(sides[0])])
    kept = np.isin(np.arange(count), of_teacher) & np.isin(np.arange(count), of_student)
    kept[segment[_lies_outside(starts, ends, len(sides[0]))]] = False
    renumbered = np.cumsum(kept, dtype=np.int64) - 1
    return Matches(
        teacher_token=sides[0][kept[of_teacher]],
        teacher_group=renumbered[of_teacher[kept[of_teacher]]],
        student_token=sides[1][kept[of_student]],
        student_group=renumbered[of_student[kept[of_student]]],
        count=int(kept.sum()),
    )


def _lies_outside(
    starts: Int64[np.ndarray, " spans"], ends: Int64[np.ndarray, " spans"], num_teacher: int
) -> Bool[np.ndarray, " spans"]:
    """Mark spans that reach out of the part of the text that both models have seen."""
    if num_teacher in (0, len(starts)):
        return np.ones(len(starts), dtype=np.bool_)
    first = max(starts[:num_teacher].min(), starts[num_teacher:].min())
    last = min(ends[:num_teacher].max(), ends[num_teacher:].max())
    return np.asarray((starts < first) | (ends > last), dtype=np.bool_)
