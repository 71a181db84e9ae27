"""Fingerprints of base models in folders: hashes of their files, remembered by size and time of change."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from modxfer.alignments.files import hash_file
from modxfer.errors import ArchitectureError

WEIGHTS = ("*.safetensors", "*.bin")
_HASHED = ("*.json", "*.txt", "*.model", *WEIGHTS)
"""What a base model may compute with: configs, tokenizer, weights, whichever of them a library then reads."""


def weight_files(folder: Path) -> list[Path]:
    """List the files with a base model's weights: safetensors where there are any, else pickles.

    Args:
        folder: The base model's folder.

    Returns:
        The files, sorted; empty if there are none.
    """
    for pattern in WEIGHTS:
        if found := sorted(folder.glob(pattern)):
            return found
    return []


def fingerprint_folder(folder: Path, *, memory: Path) -> str:
    """Hash what a base model computes with: its config, tokenizer and weights.

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
        raise ArchitectureError(
            f"`{folder}` holds no weights ({' or '.join(WEIGHTS)}).", do="Fetch the base model with its weights."
        )
    named = sorted({path for pattern in _HASHED for path in folder.glob(pattern)})
    digest = hashlib.sha256()
    for path in named:
        digest.update(f"{path.name}\0{remembered_hash(path, memory=memory)}\n".encode())
    return digest.hexdigest()


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
        _remember(note, json.dumps({**seen, "sha256": found}))
    return found


def _remember(note: Path, text: str) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=note.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).replace(note)
