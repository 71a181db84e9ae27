"""`modxfer env`."""

import importlib.metadata
import json
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from modxfer.cli import env


def test_env_says_versions_and_store(call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Versions are the installed ones, the store is measured, and no token is shown."""
    store = tmp_path / "store"
    (store / "alignments" / "abc").mkdir(parents=True)
    (store / "alignments" / "abc" / "file").write_bytes(b"x" * 1234)
    monkeypatch.setenv("MODXFER_HOME", str(store))
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    done = call("env", "--json")
    values = json.loads(done.stdout)
    assert values["python"] == platform.python_version()
    assert values["packages"]["numpy"] == importlib.metadata.version("numpy")
    assert values["store"] == {"path": str(store), "alignments": 1, "size_bytes": 1234, "size": "1.23 kB"}
    assert any(device.startswith("cpu") for device in values["devices"])
    page = call("env").stdout
    assert "1.23 kB" in page
    assert "hf_secret" not in done.stdout + page


def test_env_does_not_mind_what_is_absent(call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package and a store that are not there are reported, not errors."""
    monkeypatch.setattr(env, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setenv("MODXFER_HOME", str(tmp_path / "nowhere"))
    values = json.loads(call("env", "--json").stdout)
    assert values["packages"]["no-such-package"] is None
    assert values["store"]["size_bytes"] == 0
    assert "not installed" in call("env").stdout
