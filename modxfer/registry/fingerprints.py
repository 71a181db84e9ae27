"""Fingerprints of base models: hashes of their config and weights, remembered by size and time of change."""

import contextlib
import fnmatch
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from modxfer.alignments.files import hash_file
from modxfer.errors import ArchitectureError
from modxfer.paths import write_aside

CONFIG = "config.json"
WEIGHTS = (
    "model.safetensors",
    "model-[0-9]*-of-[0-9]*.safetensors",
    "pytorch_model.bin",
    "pytorch_model-[0-9]*-of-[0-9]*.bin",
)
"""The names under which `transformers` looks for weights, in its order; the first that is there counts, others are variants."""


def choose_weights(names: Iterable[str]) -> list[str]:
    """Choose the files with a base model's weights: safetensors where there are any, else pickles.

    Args:
        names: Files of a base model's folder or repository, as paths.

    Returns:
        The files, sorted; empty if there are none.
    """
    here = [name for name in names if "/" not in name]
    return next((found for pattern in WEIGHTS if (found := sorted(fnmatch.filter(here, pattern)))), [])


def weight_files(folder: Path) -> list[Path]:
    """List the files with a base model's weights in a folder.

    Args:
        folder: The base model's folder.

    Returns:
        The files, sorted; empty if there are none.
    """
    return [folder / name for name in choose_weights(path.name for path in folder.iterdir() if path.is_file())]


def fingerprint(hashes: Mapping[str, str], *, config: Path) -> str:
    """Join the hashes of what a base model computes with: its config and its weights.

    What else lies beside them (tokenizer, card) does not change which unit is which, so the same model has one fingerprint in a
    folder, on the Hub, and at a later commit that only mends the card.

    Args:
        hashes: Name to sha256 of the files with its weights.
        config: Its `config.json`.

    Returns:
        sha256, 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, found in sorted({CONFIG: hash_file(config), **hashes}.items()):
        digest.update(f"{name}\0{found}\n".encode())
    return digest.hexdigest()


def fingerprint_folder(folder: Path, *, memory: Path) -> str:
    """Hash what a base model in a folder computes with.

    Args:
        folder: The base model's folder.
        memory: Where hashes of unchanged files are remembered.

    Returns:
        sha256, 64 hexadecimal digits.

    Raises:
        ArchitectureError: there are no weights.
    """
    weights = weight_files(folder)
    if not weights:
        is_gguf = any(folder.glob("*.gguf"))
        raise ArchitectureError(
            f"`{folder}` holds no weights ({' or '.join(WEIGHTS)}){', only a GGUF file' if is_gguf else ''}.",
            do="Name the base model that it was made from." if is_gguf else "Fetch the base model with its weights.",
        )
    return fingerprint({path.name: remembered_hash(path, memory=memory) for path in weights}, config=folder / CONFIG)


def remembered_hash(path: Path, *, memory: Path) -> str:
    """Hash a file, or remember its hash if size, time of change and inode are what they were.

    Args:
        path: The file.
        memory: The folder that remembers.

    Returns:
        sha256, 64 hexadecimal digits.
    """
    state = path.stat()
    seen = {"size": state.st_size, "changed": state.st_mtime_ns, "status": state.st_ctime_ns, "inode": state.st_ino}
    note = memory / hashlib.sha256(str(path.resolve()).encode()).hexdigest()
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(note.read_text(encoding="utf-8"))
        if isinstance(known, Mapping) and {key: known.get(key) for key in seen} == seen:
            return str(known["sha256"])
    found = hash_file(path)
    with contextlib.suppress(OSError):
        write_aside(note, json.dumps({**seen, "sha256": found}))
    return found
