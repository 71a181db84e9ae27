"""The files of a module on disk: JSON, safetensors headers and tensors, pickles without code, the card.

Nothing that a file says is trusted: sizes are checked before anything is allocated, and no path out of a file
is ever opened.
"""

import functools
import json
import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save

from modxfer.converters.formats.checks import FETCH_AGAIN
from modxfer.converters.formats.diff.files import DIFF_FILE, difference_headers, read_differences, write_differences
from modxfer.converters.formats.pickles import DTYPE_NAMES, load_tensors, torch_dtype_name, torch_to_numpy
from modxfer.converters.module import Array, TensorHeader
from modxfer.errors import FormatError

if TYPE_CHECKING:
    import yaml

_ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
_LARGEST_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
_LARGEST_JSON_BYTES = 50_000_000
_LARGEST_CARD_BYTES = 5_000_000


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.

    Returns:
        The object.

    Raises:
        FormatError: the file cannot be read, is no JSON, or holds something other than an object.
    """
    try:
        if path.stat().st_size > _LARGEST_JSON_BYTES:
            raise FormatError(f"`{path}` has {path.stat().st_size} bytes, too many for a config.", do=FETCH_AGAIN)
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, json.JSONDecodeError) as error:
        raise FormatError(f"Cannot read `{path}` as JSON: {error}.", do=FETCH_AGAIN) from error
    if not isinstance(content, dict):
        raise FormatError(f"`{path}` holds a JSON {type(content).__name__}, not an object.", do=FETCH_AGAIN)
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object as `peft` and `adapters` do: sorted keys, two spaces.

    Args:
        path: The file.
        content: The object.
    """
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_headers(path: Path) -> tuple[TensorHeader, ...]:
    """List the tensors of a file, without loading them where the file allows it.

    Args:
        path: A `.safetensors` file, or a pickle.

    Returns:
        The tensors' headers, in order of their keys.

    Raises:
        FormatError: the file is damaged, lies about its tensors, or wants to run code.
    """
    if path.suffix == ".safetensors":
        return _safetensors_headers(path)
    if path.name == DIFF_FILE:
        return difference_headers(path)
    return tuple(
        TensorHeader(file=path.name, key=key, dtype=torch_dtype_name(tensor), shape=tuple(tensor.shape))
        for key, tensor in sorted(load_tensors(path).items())
    )


def read_tensors(path: Path) -> dict[str, Array]:
    """Load the tensors of a file.

    Args:
        path: A `.safetensors` file, or a pickle.

    Returns:
        Key to tensor, each in the file's own dtype.

    Raises:
        FormatError: the file is damaged, lies about its tensors, or wants to run code.
    """
    if path.name == DIFF_FILE:
        return read_differences(path)
    if path.suffix != ".safetensors":
        return {key: torch_to_numpy(key, tensor, path) for key, tensor in load_tensors(path).items()}
    headers = _safetensors_headers(path)
    odd = next((header for header in headers if header.dtype not in DTYPE_NAMES.values()), None)
    if odd is not None:
        raise FormatError(
            f"`{odd.key}` in `{path}` is of dtype {odd.dtype}, and a module's tensors are F64, F32, F16 or BF16.",
            do="Save the module again in one of these.",
        )
    tensors: dict[str, Array] = load_file(path)
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write a safetensors file as torch's libraries do, or a file of differences as its own library does.

    Args:
        path: The file.
        tensors: Key to tensor.
    """
    if path.name == DIFF_FILE:
        write_differences(path, tensors)
        return
    content = save({key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}, metadata={"format": "pt"})
    path.write_bytes(content)  # which says plainly when the disk is full


def read_card(folder: Path) -> dict[str, Any]:
    """Read the metadata at the top of a module's card.

    Args:
        folder: The module's folder.

    Returns:
        The metadata; empty where there is no card, or none that can be read.
    """
    import yaml

    path = folder / "README.md"
    try:
        if path.stat().st_size > _LARGEST_CARD_BYTES:
            return {}
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return {}
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---":
        return {}
    end = next((index for index, line in enumerate(lines[1:], 1) if line.strip() == "---"), 0)
    block = "\n".join(lines[1:end])
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(block)):
            return {}  # no card needs them, and they can expand without end
        content = yaml.load(block, Loader=text_loader())
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@functools.cache
def text_loader() -> type["yaml.SafeLoader"]:
    """Give a loader of YAML to which `no` is a text (the language Norwegian), as in YAML 1.2 and on the Hub.

    Returns:
        A safe loader; only `true` and `false` are truth values for it.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Kept apart, so that other users of YAML in this process have theirs."""

    truth = "tag:yaml.org,2002:bool"
    resolvers: dict[str, list[Any]] = yaml.SafeLoader.yaml_implicit_resolvers
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag != truth] for first, known in resolvers.items()
    }
    Loader.add_implicit_resolver(truth, re.compile("(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
    return Loader


def check_header(
    content: Mapping[str, Any], *, file: str, file_bytes: int, header_bytes: int | None
) -> tuple[TensorHeader, ...]:
    """Check what a safetensors header says against the size of its file, wherever that lies.

    Args:
        content: The parsed header: key to `dtype`, `shape` and `data_offsets`; `__metadata__` is passed over.
        file: The file's path, for messages; the headers keep its last part.
        file_bytes: Size of the whole file.
        header_bytes: Size of the header alone; None where whoever parsed it did not say, and then the file may be longer than
            the tensors need, but not shorter.

    Returns:
        The tensors' headers, in order of their keys.

    Raises:
        FormatError: a tensor lies outside the file, over another one or apart from it, or in a space that does not fit it.
    """
    _check_sizes(file, file_bytes, header_bytes)
    entries = {key: entry for key, entry in content.items() if key != "__metadata__"}
    needed = _check_offsets(entries, file=file)
    _check_end(needed, file=file, file_bytes=file_bytes, header_bytes=header_bytes)
    return tuple(
        TensorHeader(file=PurePath(file).name, key=key, dtype=entry["dtype"], shape=tuple(entry["shape"]))
        for key, entry in sorted(entries.items())
    )


def _safetensors_headers(path: Path) -> tuple[TensorHeader, ...]:
    """Parse a safetensors header and check it against the file's size."""
    try:
        file_bytes = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            header_bytes = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
            _check_sizes(str(path), file_bytes, header_bytes)
            content = json.loads(file.read(header_bytes).decode(), object_pairs_hook=_unique)
    except (OSError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise FormatError(f"Cannot read the header of `{path}`: {error}.", do=FETCH_AGAIN) from error
    if not isinstance(content, dict):
        raise FormatError(f"The header of `{path}` is no JSON object.", do=FETCH_AGAIN)
    return check_header(content, file=str(path), file_bytes=file_bytes, header_bytes=header_bytes)


def _check_sizes(file: str, file_bytes: int, header_bytes: int | None) -> None:
    """Refuse a header of a length that the file cannot hold, before anything of that length is read."""
    if header_bytes is not None and not 2 <= header_bytes <= min(_LARGEST_HEADER_BYTES, file_bytes - 8):
        raise FormatError(
            f"`{file}` has {file_bytes} bytes and says that its header has {header_bytes}: it is cut "
            "off, or no safetensors file.",
            do=FETCH_AGAIN,
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; a key that comes twice is an error."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key comes twice")
    return result


def _check_offsets(entries: Mapping[str, Any], *, file: str) -> int:
    """Refuse tensors over each other, apart, or in a space that does not fit; gives the bytes of data that they take."""
    spans = []
    for key, entry in entries.items():
        if not _is_entry(entry):
            raise FormatError(f"The header of `{file}` says {entry!r} of `{key}`, which is no tensor.", do=FETCH_AGAIN)
        begin, end = entry["data_offsets"]
        needed = math.prod(entry["shape"]) * _ITEM_BYTES[entry["dtype"]]
        if end - begin != needed:
            raise FormatError(
                f"The header of `{file}` gives `{key}` {end - begin} bytes, and {entry['dtype']} of shape "
                f"{list(entry['shape'])} needs {needed}.",
                do=FETCH_AGAIN,
            )
        spans.append((begin, end, key))
    reached = 0
    for begin, end, key in sorted(spans):
        if begin != reached:
            raise FormatError(
                f"The header of `{file}` puts `{key}` at bytes {begin} to {end}: the tensor before ends at {reached}.",
                do=FETCH_AGAIN,
            )
        reached = end
    return reached


def _check_end(needed: int, *, file: str, file_bytes: int, header_bytes: int | None) -> None:
    """Refuse a file that is too short for its tensors, or has more in it than its header names."""
    data_bytes = file_bytes - 8 - (2 if header_bytes is None else header_bytes)
    if needed > data_bytes:
        raise FormatError(
            f"The header of `{file}` puts tensors up to byte {needed}, and the data ends at {data_bytes}: the file is cut off.",
            do=FETCH_AGAIN,
        )
    if header_bytes is not None and needed != data_bytes:
        raise FormatError(f"`{file}` holds {data_bytes} bytes of data, and its header names {needed}.", do=FETCH_AGAIN)


def _is_entry(entry: Any) -> bool:
    """Say whether a header's entry has a dtype, a shape and two offsets."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("dtype"), str) or entry["dtype"] not in _ITEM_BYTES:
        return False
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list | tuple) or not isinstance(offsets, list | tuple) or len(offsets) != 2:
        return False
    return all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in [*shape, *offsets])
