"""The command line as a process: exit statuses, clean stdout, interrupts."""

import contextlib
import importlib.metadata
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from modxfer.alignments.aligners import ALIGNERS, AUTO
from modxfer.alignments.layer_maps import MODES
from modxfer.cli import calm_libraries
from tests.cli.conftest import World

COMMANDS = (
    ["convert"],
    ["align", "compute"],
    ["align", "show"],
    ["align", "list"],
    ["align", "rm"],
    ["align", "prune"],
    ["inspect"],
    ["demo"],
    ["env"],
)


def run(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the program in a folder."""
    command = [sys.executable, "-m", "modxfer", *(str(word) for word in words)]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_the_common_options_on_one_line_each(call: Callable[..., Result], words: list[str]) -> None:
    """Each command takes --json, --quiet and --debug, and no option's help needs a second line at 80 columns."""
    page = call(*words, "--help").stdout
    assert {"--json", "--quiet", "--debug"} <= set(re.findall(r"^  (--[a-z-]+)", page, re.MULTILINE))
    options = page.split("Options:\n")[1].split("\n\n")[0].splitlines()
    assert [line for line in options if not re.match(r"  (-h, )?--[a-z-]+ .*\S {2,}\S|  (-h, )?--[a-z-]+ {2,}\S", line)] == []


def test_help_names_every_aligner_and_layer_map(call: Callable[..., Result]) -> None:
    """The help page of convert names all aligners and layer maps that the library has."""
    page = call("convert", "--help").stdout
    for name in [AUTO, *ALIGNERS, *MODES]:
        assert re.search(rf"\b{name}\b", page), name


@pytest.mark.parametrize("words", [[], ["align"]], ids=["modxfer", "modxfer align"])
def test_no_command_prints_help_and_is_wrong_usage(call: Callable[..., Result], words: list[str]) -> None:
    """Without a command, help goes to stderr and the exit status is 2."""
    done = call(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: modxfer")


def test_program_without_a_command_prints_its_help_page(tmp_path: Path) -> None:
    """The program itself prints the whole page, not one line, on stderr."""
    done = run(folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "\nCommands:\n" in done.stderr


def test_version(call: Callable[..., Result]) -> None:
    """--version prints the installed version."""
    assert call("--version").stdout == f"modxfer {importlib.metadata.version('modxfer')}\n"


@pytest.mark.parametrize(
    ("words", "what", "do"),
    [
        (["polish"], "No such command 'polish'", "See `modxfer --help`."),
        (["convert", "--to", "x"], "Missing argument 'MODULE...'", "See `modxfer convert --help`."),
        (["convert", "x", "--to", "y", "--head", "swap"], "'swap'", "See `modxfer convert --help`."),
        (["align", "show", "x", "--plott", "y"], "No such option: --plott", "See `modxfer align show --help`."),
    ],
)
def test_wrong_usage_is_status_2_and_json_if_asked(tmp_path: Path, words: list[str], what: str, do: str) -> None:
    """A command line that cannot be read ends with 2, one line on stderr, and an error object with --json."""
    done = run(*words, "--json", folder=tmp_path)
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert (error["type"], error["do"]) == ("UsageError", do)
    assert what in error["what"]
    assert done.stderr == f"Error: {error['what']} {do}\n"


def test_failure_of_ours_is_status_1(tmp_path: Path) -> None:
    """An error of the library ends the process with 1 and two sentences on stderr."""
    (tmp_path / "empty").mkdir()
    done = run("inspect", "empty", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: `empty` holds no `adapter_config.json`")
    assert done.stderr.count("\n") == 1


def test_json_is_all_there_is_on_stdout(world: World, tmp_path: Path) -> None:
    """With --json a whole conversion prints one JSON object on stdout; people's summary is on stderr."""
    words = ["convert", world.module, "--to", world.twin, "--tokens", 300, "--output", "out", "--json"]
    done = run(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == "out"
    assert done.stdout.count("\n") == 1
    assert "because" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout


def read_to_the_end(terminal: int) -> None:
    """Read what a process prints on a terminal until it has left."""
    with contextlib.suppress(OSError):  # what Linux says then
        while os.read(terminal, 4096):
            pass


def heed_interrupts() -> None:
    """Take Ctrl-C as a terminal gives it: a shell lets its background jobs ignore it, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupt_is_status_130_and_leaves_nothing(world: World, tmp_path: Path) -> None:
    """Ctrl-C while an alignment is computed ends with 130; neither output nor half a map is left."""
    store, corpus = Path(os.environ["MODXFER_HOME"]), tmp_path / "long.txt"
    corpus.write_text("the weather is fine and the way is long today, so we walk and walk\n" * 200_000)
    words = ["convert", world.module, "--to", world.twin, "--corpus", corpus, "--tokens", 50_000_000, "--json"]
    here = tmp_path / "here"
    here.mkdir()
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "modxfer", *(str(word) for word in words)],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "TERM": "xterm", "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=end,
        text=True,
        preexec_fn=heed_interrupts,
    )
    os.close(end)
    guard = threading.Timer(120, process.kill)
    guard.start()
    seen = b""
    while b"tokens" not in seen:  # the progress bar, which only a terminal gets
        seen += os.read(terminal, 4096)
    process.send_signal(signal.SIGINT)
    reader = threading.Thread(target=read_to_the_end, args=(terminal,))  # a full terminal would stop the process
    reader.start()
    printed, _ = process.communicate()
    reader.join()
    guard.cancel()
    os.close(terminal)

    assert process.returncode == 130
    assert json.loads(printed)["error"]["type"] == "KeyboardInterrupt"
    assert list(here.iterdir()) == []
    assert list((store / "alignments").glob("*")) + list((store / "alignments").glob(".*")) == []


def test_closed_stdout_is_no_bug(world: World, tmp_path: Path) -> None:
    """A reader that goes away, as `head` does, ends the program without a traceback."""
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen(
        [sys.executable, "-m", "modxfer", "inspect", str(world.teacher)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (1, "")


def test_calm_libraries_keeps_what_the_user_set() -> None:
    """Other packages' bars and notes are switched off, except where the user or --debug says otherwise."""
    environment = {"TRANSFORMERS_VERBOSITY": "info"}
    calm_libraries(environment, bars=False, debug=False)
    assert environment["TRANSFORMERS_VERBOSITY"] == "info"
    assert environment["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"
    loud: dict[str, str] = {}
    calm_libraries(loud, bars=True, debug=True)
    assert loud == {}
