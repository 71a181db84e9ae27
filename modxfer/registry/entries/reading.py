"""Reading one file of a registry: its model, or all that is wrong with it."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError

from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.models import FOLDERS, SCHEMAS, SETTINGS, Aliases, AlignmentEntry, Entry, ModuleEntry, Settings
from modxfer.registry.entries.problems import START, Place, Problem
from modxfer.registry.entries.yaml_text import Document, Keys, read_yaml

LARGEST_BYTES = 200_000
"""What an entry may weigh; real ones weigh some 3 kB."""

_MOST_GUESSED = 50
"""Problems of one file for which it is guessed what was meant, which takes time; a file with more is no slip."""

Model = ModuleEntry | AlignmentEntry | Aliases | Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFile:
    """A file of a registry, read.

    Attributes:
        path: Where it lies, relative to the registry, with "/".
        document: Its values, with their places.
        model: What it holds; None where something is wrong with it.
        problems: What is wrong with it, as far as that shows in the file alone.
    """

    path: str
    document: Document
    model: Model | None
    problems: tuple[Problem, ...]

    @property
    def entry(self) -> Entry | None:
        """The entry, if it is one and nothing is wrong with it."""
        return self.model if isinstance(self.model, ModuleEntry | AlignmentEntry) else None

    @property
    def id(self) -> str:
        """What its path says that it is called: `<namespace>/<name>`."""
        return id_of(self.path)

    def problem(self, rule: str, keys: Keys, what: str, *, do: str, at_key: bool = False) -> Problem:
        """Report a problem of this file.

        Args:
            rule: Id of the rule.
            keys: The way to the value that is wrong.
            what: What is wrong, one sentence.
            do: How to mend it, one sentence.
            at_key: Whether the key is meant, and not the value.

        Returns:
            The problem, at its place.
        """
        place = self.document.key_place(keys) if at_key else self.document.place(keys)
        return Problem(rule=rule, path=self.path, place=place, what=what, do=do)


def id_of(path: str) -> str:
    """Say what the entry of a path is called.

    Args:
        path: A file's path in a registry, as in `modules/acme/ner.yaml`.

    Returns:
        `<namespace>/<name>`.
    """
    return path.partition("/")[2].removesuffix(".yaml")


def path_of(model: type[Entry] | type[Aliases], id: str) -> str:
    """Say where an entry lies.

    Args:
        model: What kind of entry.
        id: `<namespace>/<name>`.

    Returns:
        Its path in a registry.
    """
    return f"{model.folder}/{id}.yaml"


def read_file(path: str, content: bytes) -> ReadFile:
    """Read a file of a registry.

    Args:
        path: Where it lies, relative to the registry, with "/".
        content: What it holds.

    Returns:
        Its model, or all that is wrong with it.
    """
    document = read_yaml(content)
    problems = [
        Problem(rule=fault.rule, path=path, place=fault.place, what=fault.what, do=fault.do) for fault in document.faults
    ]
    expected: type[Model] = Settings if path == SETTINGS else FOLDERS[path.partition("/")[0]]
    model: Model | None = None
    if not isinstance(document.value, dict):
        if not problems:
            what = "The file is empty." if document.value is None else "The file is not a mapping of fields to values."
            problems.append(Problem(rule="yaml-syntax", path=path, place=START, what=what, do="Write `field: value` lines."))
    else:
        try:
            model = expected.model_validate(document.value)
        except ValidationError as error:
            problems += _validation_problems(path, document, error, expected)
        problems += _id_problems(path, document)
    return ReadFile(path=path, document=document, model=None if problems else model, problems=tuple(problems))


def _id_problems(path: str, document: Document) -> Iterator[Problem]:
    stated = document.value.get("id")
    if isinstance(stated, str) and stated != id_of(path):
        yield Problem(
            rule="id-path",
            path=path,
            place=document.place(("id",)),
            what=f"The id {shown(stated)} is not the one of this file, {shown(id_of(path))}.",
            do="Correct it, or move the file.",
        )


def _validation_problems(path: str, document: Document, error: ValidationError, expected: type[Model]) -> Iterator[Problem]:
    found: dict[tuple[Keys, bool], list[Any]] = {}
    for item in error.errors(include_url=False):
        if item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]:
            continue  # only because its items are wrong, which is reported of each
        found.setdefault(_way(document, item), []).append(item)
    for number, ((keys, is_key), items) in enumerate(found.items()):
        rule, what, do = _explain(_likeliest(items), keys, expected if number < _MOST_GUESSED else None)
        place = document.key_place(keys) if is_key or rule == "unknown-field" else document.place(keys)
        yield Problem(rule=rule, path=path, place=place, what=what, do=do)


def _way(document: Document, item: Any) -> tuple[Keys, bool]:
    """Turn a location of pydantic's into the way to a value: without the names of union members, and with keys as such."""
    location: Sequence[str | int] = item["loc"]
    if location[:1] == ("source",) and location[1:2] in (("hub",), ("archive",)):
        location = ("source", *location[2:])
    is_key = bool(location) and location[-1] == "[key]"
    keys: Keys = ()
    for number, step in enumerate(location[:-1] if is_key else location, start=1):
        if (*keys, step) in document.values or (item["type"] == "missing" and number == len(location)):
            keys = (*keys, step)
    return keys, is_key


def _likeliest(items: Sequence[Any]) -> Any:
    """Of what the members of a union say of one value, choose what says most: what is wrong with it, else its type."""
    return next((item for item in items if "do" in item.get("ctx", {})), None) or next(
        (item for item in items if item["type"] not in _TYPES), items[-1]
    )


_TYPES = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping of fields to values",
    "model_attributes_type": "a mapping of fields to values",
    "tuple_type": "a list",
}


_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


def _explain(item: Any, keys: Keys, expected: type[Model] | None) -> tuple[str, str, str]:
    """Turn an error of pydantic's into rule, what is wrong and how to mend it."""
    kind, context = item["type"], item.get("ctx", {})
    name = ".".join(str(key) for key in keys) or "the file"
    if "do" in context:
        return kind, f"`{_safe(name)}`: {context['what']}", context["do"]
    match kind:
        case "missing":
            return "missing-field", f"The field `{name}` is missing.", f"Add it; {_where_said(expected)} says what it takes."
        case "extra_forbidden":
            return "unknown-field", f"There is no field `{_safe(name)}`.", _suggest(keys, expected)
        case "too_short" | "too_long":
            bound = f"{context['min_length']} at least" if kind == "too_short" else f"{context['max_length']} at most"
            what = f"`{_safe(name)}` has {len(item['input'])} items, and needs {bound}."
            return "bad-value", what, "Add some." if kind == "too_short" else "Take some out."
    if kind in _TYPES:
        found = "nothing" if item["input"] is None else shown(item["input"])
        return "wrong-type", f"`{_safe(name)}` is {found}, not {_TYPES[kind]}.", f"Write {_TYPES[kind]}."
    if kind in _BOUNDS:
        word, bound = _BOUNDS[kind]
        what = f"`{_safe(name)}` is {shown(item['input'])}, and must be {word} {context[bound]}."
        return "bad-value", what, "Correct the value."
    return "bad-value", f"`{_safe(name)}` is {shown(item['input'])}: {_lower(item['msg'])}.", "Correct the value."


def _where_said(expected: type[Model] | None) -> str:
    return f"`modxfer registry schema{f' {SCHEMAS[expected]}' if expected else ''}`"


def _safe(name: str) -> str:
    return shown(name)[1:-1]


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _suggest(keys: Keys, expected: type[Model] | None) -> str:
    """Name the field that was probably meant."""
    names = [] if expected is None else _field_names(expected, keys[:-1])
    near = difflib.get_close_matches(str(keys[-1])[:60], names, n=1)
    return f"Did you mean `{near[0]}`?" if near else f"Take it out; {_where_said(expected)} lists the fields."


def _field_names(model: Any, keys: Keys) -> list[str]:
    """List the fields that a mapping has, found through the JSON Schema, which knows every nesting."""
    schema = node = _schema(model)
    for key in keys:
        node = _step(schema, node, key)
    return [name for option in _options(schema, node) for name in option.get("properties", {})]


@cache
def _schema(model: type[Model]) -> dict[str, Any]:
    return model.model_json_schema()


def _step(schema: Any, node: Any, key: str | int) -> Any:
    for option in _options(schema, node):
        below = option.get("items") if isinstance(key, int) else option.get("properties", {}).get(key)
        if below is not None:
            return below
    return {}


def _options(schema: Any, node: Any) -> Iterator[Any]:
    """List what a node of a schema may be, references followed."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    alternatives = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    if not alternatives:
        yield node
    for alternative in alternatives:
        yield from _options(schema, alternative)


def problem_at_start(rule: str, path: str, what: str, *, do: str) -> Problem:
    """Report a problem of a whole file.

    Args:
        rule: Id of the rule.
        path: The file, relative to the registry.
        what: What is wrong, one sentence.
        do: How to mend it, one sentence.

    Returns:
        The problem.
    """
    return Problem(rule=rule, path=path, place=Place(), what=what, do=do)
