"""Vocabularies as spaces: which token of a teacher is which token of a student.

Token ids are no activations, so nothing is measured: two tokens are the same where they stand for the same text. What a token
stands for depends on how its tokenizer writes it: a space in front is `Ġ` in byte-level vocabularies and `▁` in SentencePiece,
and WordPiece marks the pieces that have none (`##ing`). Tokens are compared after that is undone, byte by byte; special tokens
and single bytes are compared as they are written. Case, accents and normal forms count.
"""

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modxfer.alignments.alignment_map import UNASSIGNED, SiteMap, SiteScore
from modxfer.errors import AlignmentError

TOKENS = "tokens"
"""What scores name in place of an aligner."""

_FEW_SHARED = 0.5
"""Below this part of the student's tokens that the teacher has too, the user is told."""


def vocabulary_map(teacher_tokens: Sequence[Hashable], student_tokens: Sequence[Hashable]) -> SiteMap:
    """Map two vocabularies.

    Args:
        teacher_tokens: What each token id of the teacher stands for; None where an id has no token.
        student_tokens: The same of the student.

    Returns:
        Identity where the two are equal, else an assignment: the teacher's id of the same token, -1 where it has none. Of
        several such ids the first counts. The correlation is 1 where there is one, and else 0.
    """
    if tuple(teacher_tokens) == tuple(student_tokens):
        return SiteMap(correlation=np.ones(len(student_tokens), dtype=np.float32))
    known: dict[Hashable, int] = {}
    for index, token in enumerate(teacher_tokens):
        if token is not None:
            known.setdefault(token, index)
    found = [UNASSIGNED if token is None else known.get(token, UNASSIGNED) for token in student_tokens]
    assignment = np.array(found, dtype=np.int32)
    return SiteMap(correlation=(assignment != UNASSIGNED).astype(np.float32), assignment=assignment)


def score_vocabulary(site_map: SiteMap) -> SiteScore:
    """Sum up how much of a vocabulary is shared.

    Args:
        site_map: What `vocabulary_map` gave.

    Returns:
        The score; its correlation is the part of the student's ids whose token the teacher has.
    """
    shared = float(np.mean(site_map.correlation, dtype=np.float64)) if len(site_map.correlation) else 0.0
    own = np.arange(len(site_map.correlation))
    same = 1.0 if site_map.assignment is None else float(np.mean(site_map.assignment == own))
    return SiteScore(
        aligner=TOKENS,
        tokens=0,
        mean_correlation=shared,
        chance=None,
        explained_by_units=shared,
        explained_by_linear=None,
        same_index=same,
        constant_units=0,
    )


def vocabulary_warnings(site_map: SiteMap) -> Iterator[str]:
    """Say when most of the student's tokens are none of the teacher's.

    Args:
        site_map: What `vocabulary_map` gave.

    Yields:
        At most one sentence.
    """
    shared, whole = int(np.sum(site_map.correlation)), len(site_map.correlation)
    if shared < _FEW_SHARED * whole:
        yield f"Of the student's {whole} tokens the teacher has {shared}; the others get nothing of the module."


def read_vocabulary(folder: Path, *, size: int, name: str) -> tuple[Hashable, ...]:
    """Read what a base model's token ids stand for, from the files of its tokenizer.

    Args:
        folder: The base model's folder.
        size: Number of its token ids, which may be more or fewer than its tokenizer has.
        name: What to call it in messages.

    Returns:
        One entry for each id; None where the tokenizer has no such token.

    Raises:
        AlignmentError: there is no tokenizer, or it cannot be read.
    """
    try:
        content = _read_tokenizer(folder)
        model, kinds = content["model"], _kinds(content)
        table = {index: _text(token, model, kinds) for token, index in _tokens(model)}
        table |= {item["id"]: ("special", item["content"]) for item in content.get("added_tokens") or ()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ImportError) as error:
        raise AlignmentError(
            f"Cannot read the vocabulary of `{name}` in `{folder}`: {str(error).strip() or type(error).__name__}.",
            do="Put its `tokenizer.json` there.",
        ) from error
    return tuple(table.get(index) for index in range(size))


def count_tokens(folder: Path) -> int | None:
    """Count the tokens of a tokenizer, up to its highest id.

    Args:
        folder: A folder that may hold one.

    Returns:
        The number; None where there is none, or none that can be read.
    """
    try:
        if (folder / "tokenizer.json").is_file():
            content = _read_tokenizer(folder)
            ids = [index for _, index in _tokens(content["model"])]
            ids += [item["id"] for item in content.get("added_tokens") or ()]
        else:
            ids = list(json.loads((folder / "added_tokens.json").read_text(encoding="utf-8")).values())
        return int(max(ids)) + 1
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _read_tokenizer(folder: Path) -> Mapping[str, Any]:
    """Read a tokenizer's own file, or let `transformers` make one of older files."""
    path = folder / "tokenizer.json"
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
    else:
        from transformers import AutoTokenizer

        if not any(True for pattern in ("vocab.*", "*.model") for _ in folder.glob(pattern)):
            raise FileNotFoundError("there is no tokenizer")
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        content = json.loads(tokenizer.backend_tokenizer.to_str())
    if not isinstance(content, dict):
        raise TypeError("it is no JSON object")
    return content


def _tokens(model: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """List tokens and ids: a mapping, or for Unigram a list of tokens with their scores."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        yield from ((entry[0], index) for index, entry in enumerate(vocabulary))
    else:
        yield from vocabulary.items()


def _text(token: str, model: Mapping[str, Any], kinds: set[str]) -> Hashable:
    """Say what a token stands for, as bytes; what is no text stays as it is written."""
    if len(token) == 6 and token.startswith("<0x") and model.get("byte_fallback"):
        return "byte", token
    if model.get("type") == "WordPiece":
        mark = model.get("continuing_subword_prefix") or "##"
        return token.removeprefix(mark).encode() if token.startswith(mark) else f" {token}".encode()
    if "ByteLevel" in kinds:
        known = [_BYTES.get(character) for character in token]
        return ("written", token) if None in known else bytes(byte for byte in known if byte is not None)
    return token.replace("▁", " ").encode() if kinds & {"Metaspace", "Replace"} else token.encode()


def _kinds(tokenizer: Mapping[str, Any]) -> set[str]:
    """List the kinds of the steps before and behind a tokenizer's model."""
    found: set[str] = set()
    steps = [tokenizer.get("pre_tokenizer"), tokenizer.get("decoder")]
    while steps:
        step = steps.pop()
        if isinstance(step, Mapping):
            found.add(str(step.get("type")))
            steps += [*(step.get("pretokenizers") or ()), *(step.get("decoders") or ())]
    return found


def _byte_characters() -> dict[str, int]:
    """Give the byte of each character of a byte-level vocabulary: printable ones stand for themselves, others are from 256 on.

    Source:
        Radford et al. 2019 (GPT-2), `bytes_to_unicode` in `encoder.py`.
    """
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + index): byte for index, byte in enumerate(others)}


_BYTES = _byte_characters()
