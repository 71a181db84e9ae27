"""The README's commands run as written, on what the demo leaves behind."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.server import HubServer

README = Path(__file__).parent.parent / "README.md"


def commands() -> list[list[str]]:
    """List the README's `modxfer` commands, without the one that stands for any pair of names."""
    lines = re.findall(r"^\$ modxfer (.+)$", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def test_readme_shows_commands() -> None:
    """There is something to run: a conversion, and looking at its result."""
    assert {command[0] for command in commands()} >= {"convert", "inspect", "align", "registry"}


@pytest.mark.slow
@pytest.mark.adapters
def test_readme_commands_run_after_the_demo(hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The demo runs to its end, and then every command of the README, in its order, with a Hub on this machine."""
    monkeypatch.setenv("HF_TOKEN", hub.add_user("your-name"))
    shutil.copytree(README.parent / "examples", tmp_path / "examples")
    for command in (["demo"], *commands()):
        done = subprocess.run(
            [sys.executable, "-m", "modxfer", *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    weights = (tmp_path / "lora-to-incompatible" / "adapter_model.safetensors").read_bytes()
    assert hub.files("your-name/lora-to-incompatible")["adapter_model.safetensors"] == weights
