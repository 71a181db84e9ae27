"""Writing the files of a registry: always the same text for the same values.

Fields are in the models' order, and those that say nothing are left out. Every text is written so that a reader of YAML 1.1
and one of YAML 1.2 take it for the same: what one of them would read as a number, a date or a truth value is in quotes.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel

from modxfer.errors import EntryError, OutputError
from modxfer.paths import write_aside
from modxfer.registry.entries.models import SCHEMAS, Aliases, AlignmentEntry, Entry, ModuleEntry, Settings
from modxfer.registry.entries.reading import Model, path_of, read_file

LONGEST_FLOW = 100
"""Characters of a list or mapping that is written on one line."""

_LONGEST_KEY = 900  # YAML readers give up on a key of more than 1024 characters, unless it is marked by a `?`
_FOLDERS_DOWN: Mapping[type[Model], int] = {ModuleEntry: 2, AlignmentEntry: 2, Aliases: 1, Settings: 0}

_ELSEWHERE_NO_TEXT = re.compile(
    r"(?i:null|true|false|yes|no|on|off|y|n)"
    r"|[0-9][0-9_.,:]*([eE][-+]?[0-9_]*)?"
    r"|0[xX][0-9a-fA-F_]*|0[oO][0-7_]*|0[bB][01_]*"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*"
)
"""Texts that some reader of YAML takes for something else."""

_NOT_PLAIN = re.compile(r":(\s|$)|\s#|\s$")
_NOT_IN_FLOW = frozenset(",[]{}:?")


def entry_text(entry: Model) -> str:
    """Write a file of a registry.

    Args:
        entry: What it is to hold.

    Returns:
        Its text: the same for the same values.
    """
    return values_text(type(entry), plain_values(entry))


def values_text(kind: type[Model], values: Mapping[str, Any]) -> str:
    """Write plain values as a file of a registry, whether or not they are what such a file takes.

    Args:
        kind: What the file is to hold.
        values: Its fields, in the order in which they are written.

    Returns:
        The text.
    """
    schema = f"{'../' * _FOLDERS_DOWN[kind]}schema/{SCHEMAS[kind]}.json"
    return "\n".join([f"# yaml-language-server: $schema={schema}", *_mapping(values, "")]) + "\n"


def plain_values(model: BaseModel) -> dict[str, Any]:
    """Take what a model says as plain values, as they are written.

    Args:
        model: An entry, or a part of one.

    Returns:
        Its fields in their order, without the optional ones that say nothing.
    """
    return {
        name: _plain(value)
        for name, field in type(model).model_fields.items()
        if (value := getattr(model, name)) != field.get_default() or field.is_required()
    }


def write_entry(registry_root: Path, entry: Entry, *, force: bool = False) -> Path:
    """Write an entry into a registry; nobody sees half of it.

    Args:
        registry_root: The registry's folder.
        entry: The entry.
        force: Replace another entry of this id.

    Returns:
        The file.

    Raises:
        OutputError: there is another entry of this id (without `force`), or a link on the way to it.
        EntryError: the entry could not be read again.
    """
    return write_model(registry_root, path_of(type(entry), entry.id), entry, force=force)


def write_model(registry_root: Path, path: str, model: Model, *, force: bool = False) -> Path:
    """Write a file of a registry; nobody sees half of it.

    Args:
        registry_root: The registry's folder.
        path: The file, relative to that folder, with "/".
        model: What it is to hold.
        force: Replace a file that holds something else.

    Returns:
        The file.

    Raises:
        OutputError: there is a file that holds something else (without `force`), or a link on the way to it.
        EntryError: the file could not be read again.
    """
    text = entry_text(model)
    read = read_file(path, text.encode())
    if read.model != model:
        why = read.problems[0].what if read.problems else "A value cannot be written."
        raise EntryError(f"`{path}` would not be an entry that can be read: {why}", do="Correct that value.")
    target = registry_root / path
    refuse_links(registry_root, path)
    if target.exists():
        if target.is_file() and target.read_bytes() == text.encode():
            return target
        if not force or not target.is_file():
            raise OutputError(
                f"`{target}` exists, and says something else.", do="Replace it with `--force`, or choose another id."
            )
    write_aside(target, text)
    return target


def refuse_links(registry_root: Path, path: str) -> None:
    """Refuse to write through a symbolic link, which can lead out of the registry.

    Args:
        registry_root: The registry's folder.
        path: A file, relative to that folder, with "/".

    Raises:
        OutputError: the file or a folder on the way to it is a link.
    """
    way = PurePosixPath(path)
    for step in (way, *way.parents[:-1]):
        if (registry_root / step).is_symlink():
            raise OutputError(f"`{registry_root / step}` is a symbolic link.", do="Put the file or folder itself there.")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return plain_values(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _mapping(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in values.items():
        written = one_line(key, in_flow=False)
        if len(written) > _LONGEST_KEY:
            yield f"{indent}? {written}"
            yield from _under(f"{indent}:", value, f"{indent}  ")
        else:
            yield from _under(f"{indent}{written}:", value, f"{indent}  ")


def _list(values: Iterable[Any], indent: str) -> Iterator[str]:
    for value in values:
        if isinstance(value, dict) and value:
            first, *others = _mapping(value, f"{indent}  ")
            yield f"{indent}- {first.lstrip(' ')}"
            yield from others
        else:
            yield from _under(f"{indent}-", value, f"{indent}  ")


def _under(head: str, value: Any, indent: str) -> Iterator[str]:
    """Write a value after its key or dash: on that line, or below it."""
    if isinstance(value, str):
        if _fits_block(value):
            yield f"{head} {'|' if value.endswith(chr(10)) else '|-'}"
            yield from (f"{indent}{line}" if line else "" for line in value.removesuffix("\n").split("\n"))
        else:
            yield f"{head} {one_line(value, in_flow=False)}"
        return
    if not isinstance(value, (dict, list)):
        yield f"{head} {_scalar(value)}"
        return
    flow = _flow(value) if not value or _is_numbers(value) else None
    if flow is not None and len(head) + 1 + len(flow) <= LONGEST_FLOW:
        yield f"{head} {flow}"
    else:
        yield head
        yield from _mapping(value, indent) if isinstance(value, dict) else _list(value, indent)


def _is_numbers(value: Any) -> bool:
    """Say whether there are no texts in a value, but for keys."""
    if isinstance(value, list):
        return all(map(_is_numbers, value))
    if isinstance(value, dict):
        return not any(isinstance(item, (str, list, dict)) for item in value.values())
    return not isinstance(value, str)


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{one_line(key, in_flow=True)}: {_flow(item)}' for key, item in value.items())}}}"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        text = repr(value) if math.isfinite(value) else f".{value}".replace(".-", "-.")
        mantissa, exponent, rest = text.partition("e")
        return f"{mantissa}.0e{rest}" if exponent and "." not in mantissa else text  # YAML 1.1 takes `1e-05` for a text
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def one_line(text: str, *, in_flow: bool) -> str:
    """Write a text on one line, in quotes where it needs them.

    Args:
        text: Any text.
        in_flow: Whether it is for a list or mapping in brackets.

    Returns:
        What every reader of YAML takes for this text.
    """
    is_plain = (
        text[:1].isalnum()
        and text.isprintable()
        and not _NOT_PLAIN.search(text)
        and not _ELSEWHERE_NO_TEXT.fullmatch(text)
        and not (in_flow and _NOT_IN_FLOW & set(text))
    )
    return text if is_plain else _quoted(text)


def _quoted(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in escaped)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _fits_block(text: str) -> bool:
    """Say whether a text has several lines, and none that would be lost, misread or untidy in a literal block."""
    lines = text.removesuffix("\n").split("\n")
    return (
        "\n" in text
        and lines[0] != ""
        and lines[-1] != ""
        and not lines[0].startswith(" ")
        and all(line.isprintable() and not line.endswith(" ") for line in lines)
    )
