"""The record of a transfer: what is in it cannot be changed unnoticed."""

import json
import shutil
from pathlib import Path

import pytest

from modxfer.errors import FormatError
from modxfer.registry.transfers import as_text, read_transfer
from tests.registry.conftest import Made


@pytest.fixture
def folder(made: Made, tmp_path: Path) -> Path:
    """Give a converted module that a test may change."""
    return Path(shutil.copytree(made.converted, tmp_path / "mine"))


def test_a_record_reads_back(folder: Path) -> None:
    """As it was written, in another layout too."""
    record = read_transfer(folder)
    assert (folder / "transfer.json").read_text() == as_text(record)
    (folder / "transfer.json").write_text(json.dumps(dict(reversed(record.items()))))
    assert read_transfer(folder) == record


@pytest.mark.parametrize("key", ["licence", "warnings", "teacher", "sha256"])
def test_a_changed_record_is_refused(folder: Path, key: str) -> None:
    """Whatever was changed in it, or its hash taken away."""
    record = read_transfer(folder)
    changed = {**record, key: {"name": "another"}}
    for content in (changed, {name: value for name, value in record.items() if name != key} if key == "sha256" else changed):
        (folder / "transfer.json").write_text(json.dumps(content))
        with pytest.raises(FormatError, match=r"transfer\.json` was changed after it was written"):
            read_transfer(folder)


def test_keys_that_are_no_texts_are_hashed_as_they_are_read() -> None:
    """JSON has only texts for keys, and they sort otherwise."""
    text = as_text({"layers": {10: "a", 9: "b"}})
    assert as_text(json.loads(text)) == text
