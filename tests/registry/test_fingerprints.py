"""Fingerprints of base models: every byte that matters counts, and unchanged files are not read again."""

import os
from pathlib import Path

import pytest

from modxfer.errors import ArchitectureError
from modxfer.registry.fingerprints import fingerprint_folder, remembered_hash, weight_files


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Make a folder with the files of a base model."""
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "README.md"):
        (folder / name).write_bytes(name.encode() * 10)
    return folder


def flip(path: Path) -> None:
    """Change one byte of a file, and nothing else that can be seen from outside."""
    state = path.stat()
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_one_byte_changes_the_fingerprint(base: Path, tmp_path: Path, name: str) -> None:
    """A change of one byte in config or weights is another base model."""
    before = fingerprint_folder(base, memory=tmp_path / "memory")
    assert fingerprint_folder(base, memory=tmp_path / "memory") == before
    flip(base / name)
    assert fingerprint_folder(base, memory=tmp_path / "memory") != before


def test_what_does_not_compute_does_not_count(base: Path, tmp_path: Path) -> None:
    """A new card, another place and another memory leave the fingerprint."""
    before = fingerprint_folder(base, memory=tmp_path / "memory")
    (base / "README.md").write_text("new")
    moved = base.rename(tmp_path / "moved")
    assert fingerprint_folder(moved, memory=tmp_path / "other") == before


def test_unchanged_files_are_remembered(base: Path, tmp_path: Path) -> None:
    """An untouched file's hash comes from memory; one that was written to is read again, even with its old size and time."""
    file, memory = base / "model.safetensors", tmp_path / "memory"
    before = remembered_hash(file, memory=memory)
    (note,) = memory.iterdir()
    note.write_text(note.read_text().replace(before, "0" * 64))
    assert remembered_hash(file, memory=memory) == "0" * 64
    state = file.stat()
    file.write_bytes(b"x" * state.st_size)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert remembered_hash(file, memory=memory) not in (before, "0" * 64)


def test_a_damaged_or_missing_memory_does_no_harm(base: Path, tmp_path: Path) -> None:
    """Notes that cannot be read or written only cost time."""
    file, memory = base / "config.json", tmp_path / "memory"
    before = remembered_hash(file, memory=memory)
    (note,) = memory.iterdir()
    for content in (b"{", b"[]", b"{}", b"\xff"):
        note.write_bytes(content)
        assert remembered_hash(file, memory=memory) == before
    assert remembered_hash(file, memory=base / "config.json" / "below") == before


def test_safetensors_come_before_pickles(base: Path, tmp_path: Path) -> None:
    """Pickles count only where there are no safetensors; without weights there is no fingerprint."""
    (base / "pytorch_model.bin").write_bytes(b"pickle")
    assert [path.name for path in weight_files(base)] == ["model.safetensors"]
    (base / "model.safetensors").unlink()
    assert [path.name for path in weight_files(base)] == ["pytorch_model.bin"]
    (base / "pytorch_model.bin").unlink()
    with pytest.raises(ArchitectureError, match="base` holds no weights"):
        fingerprint_folder(base, memory=tmp_path / "memory")


def test_variants_of_the_weights_do_not_count(base: Path, tmp_path: Path) -> None:
    """Weights in another precision, a training run's leftovers and a whole other model beside them change nothing."""
    before = fingerprint_folder(base, memory=tmp_path / "memory")
    for name in (
        "model.fp16.safetensors",
        "training_args.bin",
        "optimizer.bin",
        "adapter_model.safetensors",
        "pytorch_model.bin",
    ):
        (base / name).write_bytes(b"other")
    assert fingerprint_folder(base, memory=tmp_path / "memory") == before


def test_shards_count_all(base: Path, tmp_path: Path) -> None:
    """Where there is no single file, all shards are the weights."""
    (base / "model.safetensors").unlink()
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        (base / name).write_bytes(name.encode())
    assert [path.name[:11] for path in weight_files(base)] == ["model-00001", "model-00002"]
