"""Reading YAML that a stranger wrote: plain values, with the place of each in the file.

Only what an entry needs is read: mappings, lists and scalars, in one document. Anchors, aliases and tags are reported and
their values left out, so that nothing expands and nothing is built; a key that comes twice is reported, and the first is kept.
Scalars are those of YAML 1.2's core schema: `no` is a text, and only `true` and `false` are truth values.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import yaml

from modxfer.registry.entries.problems import START, Place

Keys = tuple[str | int, ...]
"""The way to a value: keys of mappings and indices of lists."""

MOST_LEVELS = 16
"""How deep values may be nested; an entry needs seven."""

PARSER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_LONGEST_NUMBER = 32  # longer ones are hashes that happen to have no letter
_SCALAR, _LIST_END, _MAPPING_END = yaml.ScalarEvent, yaml.SequenceEndEvent, yaml.MappingEndEvent
_CONSTANTS: Mapping[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?\d+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)
_MAY_BE_NUMBER = frozenset("0123456789+-.")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong with the YAML itself.

    Attributes:
        rule: Id of the rule.
        place: Where.
        what: What is wrong, one sentence.
        do: How to mend it, one sentence.
    """

    rule: str
    place: Place
    what: str
    do: str


@dataclass(slots=True)
class _Marks:
    """Where values and their keys begin: way to a value, to the parser's mark."""

    values: dict[Keys, Any] = field(default_factory=dict)
    keys: dict[Keys, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Document:
    """What a file says.

    Places are looked up when the first is asked for, by reading once more: hardly any file needs them.

    Attributes:
        value: Plain values; None where the file cannot be read at all.
        faults: What is wrong with the YAML itself.
        text: The file's text, without a byte order mark; None where it is no text.
    """

    value: Any = None
    faults: list[Fault] = field(default_factory=list)
    text: str | None = None
    _marks: _Marks | None = None

    @property
    def values(self) -> dict[Keys, Any]:
        """Way to a value, to where it begins."""
        return self._find_marks().values

    @property
    def keys(self) -> dict[Keys, Any]:
        """Way to a value, to where its key begins."""
        return self._find_marks().keys

    def _find_marks(self) -> _Marks:
        if self._marks is None:
            self._marks = _Marks()
            if self.text is not None:
                with suppress(yaml.YAMLError, _TooDeepError):
                    _Builder([], self._marks).build(self.text)
        return self._marks

    def place(self, keys: Keys) -> Place:
        """Say where a value is.

        Args:
            keys: The way to it.

        Returns:
            Where it begins; of a value that is not there, where what should hold it begins.
        """
        while keys and keys not in self.values:
            keys = keys[:-1]
        mark = self.values.get(keys)
        return START if mark is None else _place(mark)

    def key_place(self, keys: Keys) -> Place:
        """Say where the key of a value is.

        Args:
            keys: The way to the value.

        Returns:
            Where its key begins; for an item of a list, where the item does.
        """
        return _place(self.keys[keys]) if keys in self.keys else self.place(keys)


def read_yaml(content: bytes) -> Document:
    """Read a file.

    Args:
        content: What it holds.

    Returns:
        Its values, with their places and what is wrong with the YAML.
    """
    document = Document()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8").removeprefix("\ufeff")
        found = f"0x{content[error.start]:02x}"
        document.faults.append(
            Fault("encoding", _at_end(before), f"The file is not UTF-8: byte {found} is no text.", "Save it as UTF-8.")
        )
        return document
    if text.startswith("\ufeff"):
        document.faults.append(
            Fault("encoding", START, "The file begins with a byte order mark.", "Save it as UTF-8 without one.")
        )
        text = text[1:]
    document.text = text
    try:
        document.value = _read_usual(text)
    except (_UnusualError, yaml.YAMLError):
        _read_unusual(document, text)
    return document


def _read_usual(text: str) -> Any:
    """Read a text with which nothing is wrong; raise for any other."""
    parser = PARSER(text)
    next_event = parser.get_event
    try:
        next_event()
        if next_event().__class__ is not yaml.DocumentStartEvent:
            raise _UnusualError
        value = _usual_node(next_event(), next_event, MOST_LEVELS)
        next_event()
        if next_event().__class__ is not yaml.StreamEndEvent:
            raise _UnusualError
    finally:
        parser.dispose()
    return value


def _usual_node(event: Any, next_event: Callable[[], Any], levels: int) -> Any:
    if event.__class__ is _SCALAR:
        if event.anchor is not None or event.tag is not None:
            raise _UnusualError
        return event.value if event.style else _scalar(event.value)
    if event.__class__ is yaml.AliasEvent or event.anchor is not None or event.tag is not None or not levels:
        raise _UnusualError
    if event.__class__ is yaml.MappingStartEvent:
        return _usual_mapping(next_event, levels - 1)
    found: list[Any] = []
    while (item := next_event()).__class__ is not _LIST_END:
        found.append(_usual_node(item, next_event, levels - 1))
    return found


def _usual_mapping(next_event: Callable[[], Any], levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while (event := next_event()).__class__ is not _MAPPING_END:
        if event.__class__ is not _SCALAR or event.anchor is not None or event.tag is not None:
            raise _UnusualError
        key = event.value
        if key in found:
            raise _UnusualError
        found[key] = _usual_node(next_event(), next_event, levels)
    return found


def _read_unusual(document: Document, text: str) -> None:
    """Read any text, and report what is wrong."""
    marks = _Marks()
    document._marks = marks
    try:
        document.value = _Builder(document.faults, marks).build(text)
    except yaml.reader.ReaderError as error:
        place = _at_end(text.encode("utf-8")[: error.position].decode("utf-8", errors="replace"))
        what = f"The file holds the character U+{_code_point(error.character):04X}, which YAML does not allow."
        document.faults.append(Fault("control-characters", place, what, "Take it out."))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(text for text in (error.context, error.problem) if text)
        document.faults.append(
            Fault("yaml-syntax", START if mark is None else _place(mark), f"This is not YAML: {reason}.", "Correct the line.")
        )
    except _TooDeepError as error:
        what = f"Values are nested more than {MOST_LEVELS} levels deep."
        document.faults.append(Fault("yaml-depth", _place(error.mark), what, "No field needs that; take it out."))


class _UnusualError(Exception):
    """The text has something that an entry has not."""


class _TooDeepError(Exception):
    def __init__(self, mark: Any) -> None:
        super().__init__()
        self.mark = mark


class _Builder:
    """Builds values from the parser's events, without recursion over what is read."""

    def __init__(self, faults: list[Fault], marks: _Marks) -> None:
        self._faults = faults
        self._marks = marks

    def build(self, text: str) -> Any:
        """Read the one document of a text."""
        value = None
        parser = PARSER(text)
        try:
            events = self._events(parser)
            first = next(events, None)
            if first is not None:
                value = self._node(first, events, ())
            extra = next(events, None)
            if extra is not None:
                self._fault("yaml-syntax", extra.start_mark, "The file holds more than one document.", "Keep one.")
        finally:
            parser.dispose()
        return value

    @staticmethod
    def _events(parser: Any) -> Iterator[Any]:
        """Yield the events that are values, or begin or end them."""
        skipped = (yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)
        while True:
            event = parser.get_event()
            if event is None or event.__class__ is yaml.StreamEndEvent:
                return
            if event.__class__ not in skipped:
                yield event

    def _node(self, event: Any, events: Iterator[Any], keys: Keys) -> Any:
        """Read one value. The depth is limited, so this may call itself."""
        self._marks.values[keys] = event.start_mark
        kind = event.__class__
        if kind is yaml.ScalarEvent:
            self._refuse_extras(event)
            return _scalar(event.value) if event.implicit[0] and not event.style else event.value
        if kind is yaml.AliasEvent:
            self._fault("yaml-alias", event.start_mark, f"`*{event.anchor}` is an alias.", "Write the value itself.")
            return None
        self._refuse_extras(event)
        if len(keys) >= MOST_LEVELS:
            raise _TooDeepError(event.start_mark)
        return self._list(events, keys) if kind is yaml.SequenceStartEvent else self._mapping(events, keys)

    def _list(self, events: Iterator[Any], keys: Keys) -> list[Any]:
        found: list[Any] = []
        while (event := next(events)).__class__ is not yaml.SequenceEndEvent:
            found.append(self._node(event, events, (*keys, len(found))))
        return found

    def _mapping(self, events: Iterator[Any], keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (event := next(events)).__class__ is not yaml.MappingEndEvent:
            if event.__class__ is not yaml.ScalarEvent:
                self._fault("yaml-syntax", event.start_mark, "A key is not a plain text.", "Write a field's name there.")
                self._node(event, events, (*keys, ""))
                self._node(next(events), events, (*keys, ""))
                continue
            self._refuse_extras(event)
            key = event.value
            way = (*keys, key)
            if key in found:
                first = _place(self._marks.keys[way])
                what = f"The key `{_shown(key)}` is there already, in line {first.line}."
                self._fault("duplicate-key", event.start_mark, what, "Keep one of the two.")
                _Builder(self._faults, _Marks())._node(next(events), events, way)
                continue
            self._marks.keys[way] = event.start_mark
            found[key] = self._node(next(events), events, way)
        return found

    def _refuse_extras(self, event: Any) -> None:
        if event.anchor is not None:
            what = f"`&{event.anchor}` is an anchor."
            self._fault("yaml-alias", event.start_mark, what, "Take it out; entries have no aliases.")
        if event.tag not in (None, "!"):
            self._fault(
                "yaml-alias", event.start_mark, f"`{_shown(event.tag)}` is a tag.", "Take it out; entries have plain values."
            )

    def _fault(self, rule: str, mark: Any, what: str, do: str) -> None:
        self._faults.append(Fault(rule, _place(mark), what, do))


def _scalar(text: str) -> Any:
    """Say what a scalar without quotes is."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] in _MAY_BE_NUMBER and len(text) <= _LONGEST_NUMBER:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _place(mark: Any) -> Place:
    return Place(line=mark.line + 1, column=mark.column + 1)


def _at_end(text: str) -> Place:
    """Give the place after a text."""
    return Place(line=text.count("\n") + 1, column=len(text) - text.rfind("\n"))


def _code_point(character: object) -> int:
    return character if isinstance(character, int) else ord(str(character)[0])


def _shown(text: str) -> str:
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:60])
    return shown.replace("`", "'")
