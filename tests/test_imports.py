"""What an import may load, and what the package shows."""

import importlib.metadata
import json
import os
import subprocess
import sys
from types import ModuleType

import pytest

import modxfer

HEAVY = ("torch", "transformers", "scipy", "datasets", "adapters", "peft", "pandas", "pyarrow", "matplotlib")

REPORT = f"""
import json, sys
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)
"""

CALL_MAIN = """
import sys
from modxfer.cli import main
sys.argv = ["modxfer", *{arguments!r}]
try:
    status = main()
except SystemExit as ending:
    status = ending.code
if status:
    sys.exit(f"modxfer ended with {{status}}")
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh Python, without the hooks and the coverage of this one."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("COV_CORE", "COVERAGE"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean, check=False)
    assert done.returncode == 0, done.stderr
    return done


def heavy_modules(code: str) -> list[str]:
    """List the heavy packages that are loaded once the code has run."""
    loaded = json.loads(run(code + REPORT).stderr.splitlines()[-1])
    assert isinstance(loaded, list)
    return loaded


def test_heavy_modules_sees_an_import() -> None:
    """The helper reports a heavy package that is loaded, so that an empty answer means something."""
    assert heavy_modules("import scipy") == ["scipy"]


@pytest.mark.parametrize(
    "module",
    [
        "modxfer",
        "modxfer.errors",
        "modxfer.paths",
        "modxfer.cli",
        "modxfer.architectures",
        "modxfer.converters",
        "modxfer.registry",
    ],
)
def test_import_loads_nothing_heavy(module: str) -> None:
    """The package, its command line and the rooms that work without models load no heavy package."""
    assert heavy_modules(f"import {module}") == []


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["convert"],
        ["align"],
        ["align", "compute"],
        ["align", "show"],
        ["align", "list"],
        ["align", "rm"],
        ["inspect"],
        ["env"],
        ["demo"],
    ],
    ids=lambda words: " ".join(words) or "modxfer",
)
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    """Help for the program and for each command is printed without any heavy package."""
    assert heavy_modules(CALL_MAIN.format(arguments=[*command, "--help"])) == []


def test_python_dash_m_prints_help() -> None:
    """`python -m modxfer --help` is the program: it ends well and prints its usage on stdout."""
    done = subprocess.run([sys.executable, "-m", "modxfer", "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage" in done.stdout


def test_console_script_is_the_cli() -> None:
    """The installed command `modxfer` is `modxfer.cli.main`."""
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="modxfer")
    assert script.value == "modxfer.cli:main"
    assert callable(script.load())


def test_all_is_what_is_public() -> None:
    """`__all__` is sorted, every name in it is there, and no other public name is."""
    public = {
        name
        for name in {*dir(modxfer), *vars(modxfer)}
        if not name.startswith("_") and not isinstance(getattr(modxfer, name), ModuleType)
    }
    assert list(modxfer.__all__) == sorted(modxfer.__all__)
    assert set(modxfer.__all__) - {"__version__"} == public
    for name in modxfer.__all__:
        assert hasattr(modxfer, name), name


def test_version_is_the_installed_one() -> None:
    """The version comes from the package's metadata, its one home."""
    assert modxfer.__version__ == importlib.metadata.version("modxfer")
