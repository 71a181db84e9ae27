"""Read a JSON array, or JSON lines, value by value."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from modxfer.alignments.corpora.columns import read_cell, read_texts
from modxfer.alignments.corpora.lines import read_chunks
from modxfer.errors import CorpusError

_MOST_CHARACTERS = 4_194_304
_BLANK = re.compile(r"[ \t\r\n]*")
_SEPARATOR = re.compile(r"[ \t\r\n,]*")


def read_json(path: Path, column: str | None) -> Iterator[str]:
    """Stream the texts of a JSON array of objects or strings, or of one JSON value a line.

    Args:
        path: A UTF-8 file.
        column: The key of the text in every object, or None to choose.

    Yields:
        The texts, in the order of the file.

    Raises:
        CorpusError: the file cannot be read, is not JSON, holds other values, or the column cannot be chosen.
    """
    values = (value for _, value in read_values(path))
    first = next(values, None)
    if first is None:
        return
    if isinstance(first, str):
        if column is not None:
            raise CorpusError(
                f"The corpus `{path}` holds strings, which have no column `{column}`.",
                do="Leave the column out.",
            )
        yield from read_cell(first, where=f"value 1 of the corpus `{path}`")
        for number, value in enumerate(values, start=2):
            yield from read_cell(value, where=f"value {number} of the corpus `{path}`")
        return
    yield from read_texts(_require_objects(first, values, path), wanted=column, name=str(path))


def _require_objects(first: object, values: Iterator[object], path: Path) -> Iterator[dict[str, object]]:
    number, value = 1, first
    while value is not None:
        if not isinstance(value, dict):
            raise CorpusError(
                f"Value {number} of the corpus `{path}` is a string, and the ones before it are objects.",
                do="Give objects throughout, or strings throughout.",
            )
        yield value
        number, value = number + 1, next(values, None)


def read_values(path: Path) -> Iterator[tuple[int, object]]:
    """Stream the objects and strings of a JSON array, or of a file of JSON lines.

    Args:
        path: A UTF-8 file.

    Yields:
        The line that a value begins in, from 1, and the value.

    Raises:
        CorpusError: the file cannot be read, is not JSON, or holds other values.
    """
    source = _Source(path)
    is_array = source.peek(_BLANK) == "["
    if is_array:
        source.advance(1)
    separator = _SEPARATOR if is_array else _BLANK
    while character := source.peek(separator):
        if is_array and character == "]":
            source.advance(1)
            if source.peek(_BLANK):
                raise source.fail("there is more after the end of the array")
            return
        if character not in '{"':
            raise source.fail(f"a value starts with `{character}`, and objects or strings are needed")
        yield source.line, source.take()
    if is_array:
        raise source.fail("the file ends inside its array")


class _Source:
    """A window on a file of JSON that grows until the next value fits in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._chunks = read_chunks(path)
        self._text = ""
        self._at = 0
        self.line = 1
        self._decoder = json.JSONDecoder()

    def peek(self, blank: re.Pattern[str]) -> str:
        """Skip what `blank` matches, and give the character after it, or nothing at the end of the file."""
        while True:
            match = blank.match(self._text, self._at)
            self.advance(match.end() - self._at if match else 0)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                return ""

    def advance(self, characters: int) -> None:
        """Go forward, counting lines."""
        self.line += self._text.count("\n", self._at, self._at + characters)
        self._at += characters

    def take(self) -> object:
        """Decode the value that starts here."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > _MOST_CHARACTERS:
                    what = f"a value is longer than {_MOST_CHARACTERS} characters, or not closed"
                    raise self.fail(what) from error
                if not self._fill():
                    raise self.fail(error.msg) from error
            except (RecursionError, ValueError) as error:
                raise self.fail(f"a value cannot be decoded ({type(error).__name__})") from error
            else:
                self.advance(end - self._at)
                return value

    def fail(self, what: str) -> CorpusError:
        """Make the error that says where the reading stands."""
        return CorpusError(
            f"The corpus `{self._path}` is not a JSON array or JSON lines: line {self.line}, {what}.",
            do="Correct the file, or give another with `--corpus`.",
        )

    def _fill(self) -> bool:
        """Double the window, and drop what has been read; tell whether there was more."""
        parts = [self._text[self._at :]]
        self._at = 0
        wanted = max(1, len(parts[0]))
        while wanted > 0 and (chunk := next(self._chunks, "")):
            parts.append(chunk)
            wanted -= len(chunk)
        self._text = "".join(parts)
        return len(parts) > 1
