"""From an entry of AdapterHub's to drafts of entries: what it states goes where entries state it, and the rest is noted.

Nothing is guessed. Every value of the file ends in an entry or in a note.
"""

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from modxfer.registry.adapterhub.cards import CannotReadError, Card, read_architecture
from modxfer.registry.adding.values import takes
from modxfer.registry.entries.fields import NO_LICENCE, Word, language_fault, shown
from modxfer.registry.entries.models import FORMAT_VERSION, ModuleEntry
from modxfer.registry.entries.reading import path_of
from modxfer.registry.entries.yaml_text import Keys

_EMAIL = re.compile(r"[^@\s<>(),;:]+@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}")

_WHY = {
    "sha1": "The sha256 is kept.",
    "twitter": "An entry has no field for it.",
    "model_class": "It names a class of a library, and says nothing that an entry has a field for.",
    "prediction_head": "It says that there is a head, and neither of which kind nor how many labels it has.",
    "score": "A result names metric, data set and split, and this is only a number.",
}
_NO_FIELD = "An entry has no field for it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that was not carried over, or not as it was.

    Attributes:
        field: Where AdapterHub's entry says it: names of fields and numbers of items, with dots; empty for all of it.
        value: What it says there.
        why: Why, or what became of it, one sentence.
    """

    field: str
    value: str
    why: str


@dataclass(slots=True, kw_only=True)
class Draft:
    """An entry in the making.

    Attributes:
        path: Where it will lie in the registry.
        field: Where AdapterHub's entry names its file, as in `files.0`.
        values: What it says so far.
        sources: Way to a value, to the field of AdapterHub's that it comes from.
    """

    path: str
    field: str
    values: dict[str, Any]
    sources: Mapping[Keys, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """What becomes of an entry of AdapterHub's.

    Attributes:
        entries: The entries, one a version.
        alias: An alias, and the name of the entry that it leads to.
        notes: What was not carried over.
        refused: What cannot be carried over at all.
    """

    entries: tuple[Draft, ...] = ()
    alias: tuple[str, str] | None = None
    notes: tuple[Note, ...] = ()
    refused: tuple[Note, ...] = ()


class _RefusedError(Exception):
    """An entry that cannot be carried over; says why in one sentence."""


def draft(card: Card, root: Path) -> Drafts:
    """Draft entries for an entry of AdapterHub's.

    Args:
        card: The entry.
        root: The folder that holds the architectures.

    Returns:
        The drafts, which nobody has checked yet, and what they leave out.
    """
    try:
        if card.fault is not None:
            raise _RefusedError(card.fault)
        return _Drafting(card, root).drafts()
    except _RefusedError as error:
        return Drafts(refused=(Note(field="", value=card.path, why=str(error)),))


class _Drafting:
    """Takes value by value out of a file; what is left in the end is noted."""

    def __init__(self, card: Card, root: Path) -> None:
        self._card, self._root = card, root
        self._left: dict[Keys, Any] = {keys: value for keys, value in _leaves(card.values) if value not in (None, "", {}, [])}
        self._notes: list[Note] = []
        self._sources: dict[Keys, str] = {}

    def drafts(self) -> Drafts:
        files = self._card.values.get("files")
        if not isinstance(files, list) or not files:
            raise _RefusedError("It names no files.")
        path = PurePosixPath(self._card.path)
        namespace = self._slug(path.parent.name, "the folder's name")
        name = self._slug(path.stem, "the file's name")
        common = self._common()
        entries: list[Draft] = []
        refused: list[Note] = []
        names: dict[str, str] = {}
        for index, file in enumerate(files):
            try:
                entries.append(self._version(index, file, common, namespace, name, names, is_only=len(files) == 1))
            except _RefusedError as error:
                refused.append(Note(field=f"files.{index}", value=as_text(file), why=str(error)))
                self._forget("files", index)
        alias = self._alias(name, names, is_only=len(files) == 1)
        self._note_left()
        return Drafts(entries=tuple(entries), alias=alias, notes=tuple(self._notes), refused=tuple(refused))

    def _common(self) -> dict[str, Any]:
        """Take what all versions share."""
        if self._left.get(("prediction_head",)) is False:
            self._take("prediction_head")  # an entry without a head says the same
        author = {"name": self._required("author")}
        author |= {field: value for field in ("email", "url", "github") if (value := self._author(field)) is not None}
        base: dict[str, Any] = {"name": self._required("model_name"), "family": self._required("model_type")}
        hidden = self._take("hidden_size", to=("base", "widths"))
        if hidden is not None:
            base["widths"] = {"hidden": hidden}
        self._sources |= {("base", "name"): "model_name", ("base", "family"): "model_type", ("authors", 0, "name"): "author"}
        values = {
            "description": self._prose("description", to=("description",)),
            "base": base,
            "method": self._method(hidden),
            "format": "adapters",
            "languages": self._languages(),
            "license": NO_LICENCE,
            "authors": [author],
            "tags": self._tags(),
            "citation": self._prose("citation", to=("citation",)),
        }
        return {field: value for field, value in values.items() if value}

    def _version(
        self,
        index: int,
        file: Any,
        common: Mapping[str, Any],
        namespace: str,
        name: str,
        names: dict[str, str],
        *,
        is_only: bool,
    ) -> Draft:
        """Draft the entry of one version."""
        if not isinstance(file, dict):
            raise _RefusedError("It is not a mapping of fields to values.")
        where = ("files", index)
        version = self._spelled_version(index)
        if not is_only:
            name = f"{name}-{self._slug(version, f'files.{index}.version')}"
        if name in names.values():
            raise _RefusedError(f"Another version is called {shown(name)} already.")
        for needed in ("url", "sha256"):
            if (*where, needed) not in self._left:
                raise _RefusedError(f"It has no `{needed}`.")
        names[version] = name
        source = {"archive": self._left.pop((*where, "url")), "sha256": self._left.pop((*where, "sha256"))}
        described = self._prose("files", index, "description")
        if version and self._left.pop((*where, "version"), None) is not None and is_only:
            why = "It is the only version, and so no part of the entry's name."
            self._notes.append(Note(field=f"files.{index}.version", value=version, why=why))
        entry = {
            "format_version": FORMAT_VERSION,
            "id": f"{namespace}/{name}",
            "title": self._title("" if is_only else version),
            "description": "\n".join(filter(None, (common.get("description"), described))),
            "source": source,
        }
        ordered = {field: value for field in ModuleEntry.model_fields if (value := (dict(common) | entry).get(field)) != ""}
        values = {field: value for field, value in ordered.items() if value is not None}
        sources = {("source", "archive"): f"files.{index}.url", ("source", "sha256"): f"files.{index}.sha256"}
        path = path_of(ModuleEntry, f"{namespace}/{name}")
        return Draft(path=path, field=f"files.{index}", values=_copied(values), sources=self._sources | sources)

    def _spelled_version(self, index: int) -> str:
        spelled = self._card.spelled["files"][index].get("version")
        return spelled if isinstance(spelled, str) else ""

    def _alias(self, name: str, names: Mapping[str, str], *, is_only: bool) -> tuple[str, str] | None:
        """Take the version that counts where none is named."""
        if self._take("default_version") is None:
            return None
        version = as_text(self._card.spelled["default_version"])
        if version not in names:
            self._notes.append(Note(field="default_version", value=version, why="There is no such version among the entries."))
            return None
        return None if is_only else (name, names[version])

    def _title(self, version: str) -> str:
        """Say what it is with the words of the file."""
        said = self._card.values
        task, subtask = (said[field] if takes(Word, said.get(field)) else "" for field in ("task", "subtask"))
        config = said.get("config")
        using = config.get("using") if isinstance(config, dict) else None
        what = f"{subtask} ({task})" if task and subtask else f"{subtask or task or 'Module'}"
        suffix = f", version {version}" if version else ""
        return f"{what}, {using} adapter for {said['model_name']}{suffix}"

    def _method(self, hidden: Any) -> dict[str, Any]:
        """Take the architecture, with what the file says otherwise."""
        using = self._take("config", "using")
        if not isinstance(using, str):
            raise _RefusedError("It does not say which architecture it is of, in `config.using`.")
        try:
            config = dict(read_architecture(self._root, using))
        except CannotReadError as error:
            raise _RefusedError(f"It is not known which method it is of: {error}.") from error
        own = self._card.values["config"]
        config |= {key: value for key, value in own.items() if key != "using"}
        if "architecture" in config or "reduction_factor" not in config:
            raise _RefusedError(f"The architecture {shown(using)} is no bottleneck adapter's, and no other is carried over.")
        settings: dict[str, Any] = {"using": using}
        for keys, value in _leaves(config):
            key = ".".join(map(str, keys))
            stated = self._left.pop(("config", *keys), None) is not None
            field = f"config.{key}" if stated else f"config.using.{key}"
            if isinstance(value, (list, dict)) or any(isinstance(step, int) for step in keys):
                why = "A setting is one value."
                self._notes.append(Note(field=field, value=as_text(value), why=why))
            else:
                settings[key] = value
                self._sources["method", "settings", key] = field
        sizes = _inner_size(hidden, config["reduction_factor"])
        self._sources["method", "inner_sizes"] = "hidden_size // reduction_factor"
        return {"name": "bottleneck", **({"inner_sizes": [sizes]} if sizes else {}), "settings": settings}

    def _languages(self) -> list[str]:
        """Take the language of a language adapter: AdapterHub calls it the task."""
        task = self._card.values.get("task")
        if self._card.values.get("type") != "text_lang" or not isinstance(task, str) or not task:
            return []
        right = language_fault(task)
        if right is None:
            self._take("task", to=("languages", 0))
            return [task]
        if right.lower() == task.replace("_", "-").lower():
            self._notes.append(Note(field="task", value=task, why=f"The language is written {shown(right)}."))
            self._take("task", to=("languages", 0))
            return [right]
        return []

    def _tags(self) -> list[str]:
        """Keep words that say what it is for and that no field takes."""
        tags: dict[str, None] = {}
        for field in ("type", "task", "subtask"):
            value = self._take(field)
            if value is None:
                continue
            if not isinstance(value, str):
                self._notes.append(Note(field=field, value=as_text(value), why="It is not a text."))
                continue
            self._sources["tags", len(tags)] = field
            tags[value] = None
            if field == "task":
                is_language = self._card.values.get("type") == "text_lang"
                why = "It is not the BCP 47 tag in use for a language" if is_language else "It is no task of the Hub"
                self._notes.append(Note(field=field, value=value, why=f"{why}; it is kept as a tag."))
        return list(tags)

    def _author(self, field: str) -> Any:
        value = self._take(field, to=("authors", 0, field))
        if field == "email" and value is not None and not (isinstance(value, str) and _EMAIL.fullmatch(value)):
            self._notes.append(Note(field=field, value=as_text(value), why="It is no e-mail address."))
            return None
        return value

    def _slug(self, name: str, where: str) -> str:
        """Write a name as ids are written."""
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        slug = re.sub(r"([._-])[._-]+", r"\1", re.sub(r"[^a-z0-9._-]+", "-", plain)).strip("._-")
        if not slug:
            raise _RefusedError(f"{shown(name)}, {where}, has no letter that an id can have.")
        if slug != name:
            note = Note(field=where, value=name, why=f"In ids it is written {shown(slug)}.")
            if note not in self._notes:
                self._notes.append(note)
        return slug

    def _prose(self, *keys: str | int, to: Keys | None = None) -> str | None:
        """Take a text of several lines, without the spaces at their ends."""
        value = self._take(*keys, to=to)
        if value is not None and not isinstance(value, str):
            self._notes.append(Note(field=".".join(map(str, keys)), value=as_text(value), why="It is not a text."))
            return None
        return value and "\n".join(line.rstrip() for line in value.strip().split("\n"))

    def _required(self, field: str) -> Any:
        value = self._take(field)
        if value is None:
            raise _RefusedError(f"It has no `{field}`.")
        return value

    def _take(self, *keys: str | int, to: Keys | None = None) -> Any:
        """Take a value out of the file; None if it says nothing there."""
        value = self._left.pop(keys, None)
        if value is None:
            inner = [way for way in self._left if way[: len(keys)] == keys]
            if inner and len(keys) == 1:
                value = self._card.values[str(keys[0])]
                self._forget(*keys)
        if to is not None and value is not None:
            self._sources[to] = ".".join(map(str, keys))
        return value

    def _forget(self, *keys: str | int) -> None:
        self._left = {way: value for way, value in self._left.items() if way[: len(keys)] != keys}

    def _note_left(self) -> None:
        for keys, value in self._left.items():
            why = _WHY.get(str(keys[-1]), _NO_FIELD) if keys[-1] != "sha1" or keys[0] == "files" else _NO_FIELD
            self._notes.append(Note(field=".".join(map(str, keys)), value=as_text(value), why=why))


def _inner_size(hidden: Any, factor: Any) -> int | None:
    """Compute the bottleneck's width as `adapters` does: rounded down, and at least one unit.

    Source: adapters `methods/bottleneck.py` and `methods/modeling.py` (class Adapter).
    """
    if isinstance(hidden, bool) or not isinstance(hidden, int) or isinstance(factor, bool) or hidden < 1:
        return None
    if not isinstance(factor, (int, float)) or not math.isfinite(factor) or factor <= 0:
        return None
    return max(1, int(hidden // factor))


def _leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """List the single values in mappings and lists; an empty one of those counts as a value."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*keys, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, (*keys, index))
    else:
        yield keys, value


def as_text(value: Any) -> str:
    """Write a value into a note.

    Args:
        value: A value of a YAML file.

    Returns:
        A text as it is; anything else as JSON.
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _copied(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _copied(value) for key, value in values.items()}
    return [_copied(value) for value in values] if isinstance(values, list) else values
