"""Read UTF-8 text in bounded steps, and say where a file stops being text."""

import codecs
import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from modxfer.errors import CorpusError

CHUNK_BYTES = 65_536
PIECE_BYTES = 65_536
LINE_BYTES = 1_048_576

_BOM = codecs.BOM_UTF8
_NOT_TEXT = "Give UTF-8 text (`iconv -t UTF-8` converts), or a file whose suffix fits what is in it."


def hash_files(paths: Iterable[Path]) -> str:
    """Hash files by their raw bytes, a chunk at a time.

    Args:
        paths: The files, in the order that counts.

    Returns:
        The sha256 of their bytes one after another, as 64 hexadecimal digits.

    Raises:
        CorpusError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with reading(path) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, and turn what the system says about it into one kind of error.

    Args:
        path: The file.

    Yields:
        The open file.

    Raises:
        CorpusError: the file cannot be opened or read.
    """
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        reason = error.strerror or str(error)
        raise CorpusError(
            f"Cannot read the corpus `{path}`: {reason}.",
            do="Check that the file exists and that you may read it, or give another with `--corpus`.",
        ) from error


def read_pieces(path: Path) -> Iterator[str]:
    """Read lines of text, and cut a line that is very long into pieces, at whitespace where there is some.

    Args:
        path: A UTF-8 file, with or without a byte order mark.

    Yields:
        Lines or pieces of a line without the line break, at most some 128 kB each; blank ones too.

    Raises:
        CorpusError: the file cannot be read or is not UTF-8 text.
    """
    rest = b""
    number, start = 1, 0
    for number, offset, raw in _read_raw(path, limit=PIECE_BYTES):
        start, joined = offset - len(rest), rest + raw
        goes_on = len(raw) == PIECE_BYTES and not raw.endswith(b"\n")
        cut = _find_cut(joined) if goes_on else len(joined)
        rest = joined[cut:]
        yield _decode(joined[:cut], path=path, number=number, offset=start)
        start += cut
    if rest:
        yield _decode(rest, path=path, number=number, offset=start)


def read_lines(path: Path) -> Iterator[str]:
    """Read whole lines, for formats in which a line must not be cut.

    Args:
        path: A UTF-8 file, with or without a byte order mark.

    Yields:
        Every line without its line break, blank ones too.

    Raises:
        CorpusError: the file cannot be read, is not UTF-8 text, or a line is longer than 1 MiB.
    """
    for number, offset, raw in _read_raw(path, limit=LINE_BYTES):
        if len(raw) == LINE_BYTES and not raw.endswith(b"\n"):
            raise CorpusError(
                f"Line {number} of the corpus `{path}` is longer than {LINE_BYTES} bytes.",
                do="Check that the suffix fits what is in the file; plain text goes into a `.txt` file.",
            )
        yield _decode(raw, path=path, number=number, offset=offset)


def read_chunks(path: Path) -> Iterator[str]:
    """Read text in chunks that pay no heed to lines.

    Args:
        path: A UTF-8 file, with or without a byte order mark.

    Yields:
        The text, at most 64 kB at a time, never empty.

    Raises:
        CorpusError: the file cannot be read or is not UTF-8 text.
    """
    rest, start, number = b"", 0, 1
    with reading(path) as file:
        while raw := file.read(CHUNK_BYTES):
            joined = rest + raw
            cut = _find_character_end(joined)
            rest = joined[cut:]
            if text := _decode(joined[:cut], path=path, number=number, offset=start, keep_break=True):
                yield text
            start += cut
            number += joined.count(b"\n", 0, cut)
    if rest:
        yield _decode(rest, path=path, number=number, offset=start)


def split_long(text: str) -> Iterator[str]:
    """Strip a text, and cut it into pieces that a tokenizer can take.

    Args:
        text: Any text.

    Yields:
        Its pieces of at most 65,536 characters, cut at a space where there is one; nothing for a blank text.
    """
    text = text.strip()
    while len(text) > PIECE_BYTES:
        cut = text.rfind(" ", 1, PIECE_BYTES)
        cut = cut if cut > 0 else PIECE_BYTES
        yield text[:cut].rstrip()
        text = text[cut:].lstrip()
    if text:
        yield text


def _read_raw(path: Path, *, limit: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield (line number from 1, byte offset, bytes) of lines, one longer than `limit` in several parts."""
    number, offset = 1, 0
    with reading(path) as file:
        while raw := file.readline(limit):
            yield number, offset, raw
            offset += len(raw)
            number += raw.endswith(b"\n")


def _find_cut(raw: bytes) -> int:
    """Find where to cut a line that goes on: after its last space, else after its last whole character."""
    space = max(raw.rfind(b" "), raw.rfind(b"\t"))
    return space + 1 if space > 0 else _find_character_end(raw)


def _find_character_end(raw: bytes) -> int:
    """Find the end of the last character that is surely whole."""
    cut = len(raw)
    while cut > max(0, len(raw) - 3) and raw[cut - 1] & 0xC0 == 0x80:
        cut -= 1
    return cut - 1 if cut and raw[cut - 1] >= 0xC0 else len(raw)


def _decode(raw: bytes, *, path: Path, number: int, offset: int, keep_break: bool = False) -> str:
    if offset == 0:
        raw = raw.removeprefix(_BOM)
    if (nul := raw.find(b"\0")) >= 0:
        raise CorpusError(
            f"The corpus `{path}` is not text: line {number} holds a NUL byte (byte {offset + nul}).",
            do=_NOT_TEXT,
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"The corpus `{path}` is not UTF-8 text: line {number} holds the byte 0x{raw[error.start]:02x} "
            f"(byte {offset + error.start}), {error.reason}.",
            do=_NOT_TEXT,
        ) from error
    return text if keep_break else text.rstrip("\r\n")


def list_folder(folder: Path, *, most: int = 10) -> str:
    """Name what lies in a folder, for a message.

    Args:
        folder: The folder.
        most: How many names to give.

    Returns:
        The names in order, separated by commas, or the word "nothing".

    Raises:
        CorpusError: the folder cannot be read.
    """
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208  (names only, no Path objects)
    except OSError as error:
        raise CorpusError(
            f"Cannot read the folder `{folder}`: {error.strerror}.",
            do="Give a file that you may read with `--corpus`.",
        ) from error
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more
