"""Modules and base models are found in folders first, and what is nowhere is said."""

import json
from pathlib import Path

import pytest

from modxfer.errors import ArchitectureError, UsageError
from modxfer.registry.locate import locate_base, locate_module

BERT = {"model_type": "bert", "hidden_size": 12, "num_hidden_layers": 3, "intermediate_size": 20}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Make a base model's folder, its name with an `@` as a revision would have."""
    folder = tmp_path / "my@base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(BERT))
    return folder


def test_a_folder_needs_no_weights_to_be_described(base: Path, tmp_path: Path) -> None:
    """Structure comes from the config; weights matter when a fingerprint is asked for."""
    found = locate_base(str(base), memory=tmp_path / "memory")
    assert (found.name, found.revision, found.has_weights) == ("my@base", None, False)
    assert found.architecture.depths == {"encoder": 3}
    with pytest.raises(ArchitectureError, match="holds no weights"):
        _ = found.record
    (base / "model.safetensors").write_bytes(b"weights")
    found = locate_base(str(base), memory=tmp_path / "memory")
    assert found.has_weights
    assert found.with_weights().record == found.record
    assert found.record.model_type == "bert"


def test_a_relative_folder_has_its_own_name(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.` is called what the folder is called."""
    monkeypatch.chdir(base)
    assert locate_base(".", memory=tmp_path).name == "my@base"


def test_a_folder_without_a_config_is_no_base_model(tmp_path: Path) -> None:
    """A folder of something else is refused with its name."""
    with pytest.raises(ArchitectureError, match=r"holds no `config\.json`"):
        locate_base(str(tmp_path), memory=tmp_path)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("acme/not-cached", "`acme/not-cached` is no folder here and not on the Hub"),
        ("acme/not-cached@v2", "`acme/not-cached` at `v2` is no folder here"),
        ("not/a/hub/id", "no id that the Hub could have"),
        ("../missing", "no id that the Hub could have"),
        ("a b", "no id that the Hub could have"),
    ],
)
def test_what_is_nowhere_is_a_usage_error(name: str, wrong: str, tmp_path: Path) -> None:
    """A name that is no folder and on no Hub, is refused with the name."""
    with pytest.raises(UsageError, match=wrong):
        locate_module(name)
    with pytest.raises(UsageError, match=wrong):
        locate_base(name, memory=tmp_path)


def test_locate_module_takes_a_folder_and_refuses_a_file(tmp_path: Path) -> None:
    """A module is a folder."""
    found = locate_module(str(tmp_path))
    assert (found.name, found.revision, found.folder) == (tmp_path.name, None, tmp_path)
    (tmp_path / "adapter.safetensors").write_bytes(b"x")
    with pytest.raises(UsageError, match="is a file, not a folder"):
        locate_module(str(tmp_path / "adapter.safetensors"))
