"""How the files of a registry are laid out: the order of fields, line ends and the like. `--fix` mends all of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from modxfer.registry.entries.fields import Commit, Language, Licence, Sha256, Word, shown
from modxfer.registry.entries.models import FOLDERS, SETTINGS, Settings
from modxfer.registry.entries.problems import Place, Problem
from modxfer.registry.entries.reading import ReadFile
from modxfer.registry.entries.yaml_text import Keys


class Spelling(Enum):
    """What a field's value must be spelled as; each value is how the field's type is known."""

    SHA256 = get_args(Sha256)[1]
    COMMIT = get_args(Commit)[1]
    LICENCE = get_args(Licence)[1]
    LANGUAGE = get_args(Language)[1]
    WORD = get_args(Word)[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is known of a mapping's fields, for the layout.

    Attributes:
        order: Field to its place among the fields.
        below: Field to the shape of the mapping, or mappings, that it holds.
        spelled: Field to how its value, or each item of it, is spelled.
    """

    order: Mapping[str, int]
    below: Mapping[str, "Shape"]
    spelled: Mapping[str, Spelling]


@cache
def shape_of(*models: type[BaseModel]) -> Shape:
    """Find out what fields mappings have, from the models.

    Args:
        *models: What the mappings are read as, one of them each.

    Returns:
        Their shape.
    """
    order: dict[str, int] = {}
    below: dict[str, Shape] = {}
    spelled: dict[str, Spelling] = {}
    for model in models:
        for name, field in model.model_fields.items():
            order.setdefault(name, len(order))
            parts = [*_parts(field.annotation), *field.metadata]
            inner = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
            if inner:
                below[name] = shape_of(*inner)
            elif not any(get_origin(part) is dict for part in parts):
                spelled |= {name: spelling for spelling in Spelling if spelling.value in parts}  # noqa: B035 (one at most)
    return Shape(order=order, below=below, spelled=spelled)


def shape_of_file(path: str) -> Shape:
    """Find out what fields a file of a registry has.

    Args:
        path: The file, relative to the registry, with "/".

    Returns:
        The shape of its mapping.
    """
    return shape_of(Settings if path == SETTINGS else FOLDERS[path.partition("/")[0]])


def check_layout(path: str, content: bytes, read: ReadFile) -> Iterator[Problem]:
    """Check how a file is laid out.

    Args:
        path: The file, relative to the registry, with "/".
        content: What it holds.
        read: The same, read.

    Yields:
        Fields out of order: of each mapping the first. Untidy lines: of each kind the first.
    """
    if is_untidy(content):
        yield from _untidy_lines(path, content.decode("utf-8", errors="replace"))
    if isinstance(read.document.value, dict):
        for keys, above in out_of_order(read.document.value, shape_of_file(path)):
            what = f"The field {shown(keys[-1])} stands below {shown(above)}, and belongs above it."
            yield read.problem("key-order", keys, what, do="Move it, or run `modxfer registry check --fix`.", at_key=True)


def out_of_order(value: object, shape: Shape, keys: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """List the mappings whose fields are not in order.

    Args:
        value: A mapping, or a list of them; anything else has no order.
        shape: Its shape.
        keys: The way to it.

    Yields:
        The way to the first field of each that should stand higher, and the field that it should stand above.
    """
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from out_of_order(item, shape, (*keys, index))
        return
    if not isinstance(value, dict):
        return
    order, last = shape.order, -1
    for key in value:
        place = order.get(key, last)
        if place < last:
            yield (*keys, key), next(other for other in value if order.get(other, -1) > place)
            break
        last = place
    for key, below in shape.below.items():
        if key in value:
            yield from out_of_order(value[key], below, (*keys, key))


def is_untidy(content: bytes) -> bool:
    """Say quickly whether a file has untidy lines.

    Args:
        content: What it holds.

    Returns:
        Whether it has line ends of Windows, tabs, spaces at the end of a line, empty lines at its end or none.
    """
    return (
        b"\r" in content
        or b"\t" in content
        or b" \n" in content
        or content.endswith(b"\n\n")
        or (content != b"" and not content.endswith(b"\n"))
    )


def _untidy_lines(path: str, text: str) -> Iterator[Problem]:
    lines = text.split("\n")
    ended, last = lines[:-1], lines[-1]
    kinds = {
        "ends in a carriage return": [(number, line.index("\r")) for number, line in enumerate(lines) if "\r" in line],
        "has a tab": [(number, line.index("\t")) for number, line in enumerate(lines) if "\t" in line],
        "ends in a space": [
            (number, len(bare.rstrip(" ")))
            for number, line in enumerate(lines)
            if (bare := line.rstrip("\r")).endswith(" ") and not bare.rstrip(" ").endswith("\t")
        ],
        "is the last, and does not end": [(len(ended), len(last))] if last else [],
    }
    for what, places in kinds.items():
        if places:
            yield _untidy(path, places[0], f"This line {what}{_and_more(len(places) - 1)}.")
    if not last and ended and not ended[-1].strip():
        first = len(text.rstrip().split("\n"))
        yield _untidy(path, (first, 0), "There are empty lines at the end of the file.")


def _and_more(others: int) -> str:
    return f"; {others} more {'is' if others == 1 else 'are'} like it" if others else ""


def _untidy(path: str, at: tuple[int, int], what: str) -> Problem:
    place = Place(line=at[0] + 1, column=at[1] + 1)
    return Problem(rule="layout", path=path, place=place, what=what, do="Mend it with `modxfer registry check --fix`.")


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    yield from getattr(annotation, "__metadata__", ())
    for argument in get_args(annotation):
        yield from _parts(argument)
