"""Folders are written whole or not at all, and an old one survives until the new one stands."""

import subprocess
import sys
from pathlib import Path

import pytest

from modxfer.errors import OutputError
from modxfer.paths import _swap, check_free, home, staged_folder


def test_home_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`MODXFER_HOME` comes first, then the user's cache directory."""
    monkeypatch.setenv("MODXFER_HOME", str(tmp_path / "own"))
    assert home() == tmp_path / "own"
    monkeypatch.delenv("MODXFER_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home() == tmp_path / "modxfer"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / ".cache" / "modxfer"


def test_staged_folder_appears_whole(tmp_path: Path) -> None:
    """The target is not there while it is written, and then all of it is, readable as others are."""
    target = tmp_path / "deep" / "er" / "out"
    with staged_folder(target) as staging:
        (staging / "a.txt").write_text("a")
        assert not target.exists()
    plain = tmp_path / "plain"
    plain.mkdir()
    assert (target / "a.txt").read_text() == "a"
    assert target.stat().st_mode == plain.stat().st_mode
    assert [path.name for path in target.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_failure_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    """On an error or an interrupt nothing is left, beside the target either."""
    with pytest.raises(type(error)), staged_folder(tmp_path / "out") as staging:  # noqa: PT012 (what is tested)
        (staging / "half.txt").write_text("h")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_existing_target_needs_force(tmp_path: Path) -> None:
    """Without `force` an existing folder is refused by name; a file always is."""
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(OutputError, match="out` exists"), staged_folder(target):
        pass
    check_free(target, force=True)
    check_free(tmp_path / "free", force=False)
    (tmp_path / "file").write_text("f")
    with pytest.raises(OutputError, match="file` is a file"):
        check_free(tmp_path / "file", force=True)


def test_force_replaces_all_and_the_old_one_survives_a_failure(tmp_path: Path) -> None:
    """A failed replacement leaves the old folder; a good one leaves nothing of it."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(ValueError, match="no"), staged_folder(target, force=True):
        raise ValueError("no")
    assert (target / "old.txt").read_text() == "old"
    with staged_folder(target, force=True) as staging:
        (staging / "new.txt").write_text("new")
        assert (target / "old.txt").exists()
    assert [path.name for path in target.iterdir()] == ["new.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_full_disk_is_said_and_changes_nothing(tmp_path: Path) -> None:
    """A full disk is an error that says so, and the old folder stays."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(OutputError, match="disk is full while writing") as caught, staged_folder(target, force=True):
        Path("/dev/full").write_bytes(b"x" * 100_000)
    assert caught.value.__cause__ is not None
    assert (target / "old.txt").read_text() == "old"


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from modxfer.converters.formats.files import write_tensors
from modxfer.errors import OutputError
from modxfer.paths import staged_folder
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with staged_folder(Path(sys.argv[1])) as staging:
        write_tensors(staging / "adapter_model.safetensors", {"a": np.zeros(100_000, dtype=np.float32)})
except OutputError as error:
    print(error)
"""


def test_tensors_that_do_not_fit_on_the_disk_leave_nothing(tmp_path: Path) -> None:
    """The system's own limit on a file's size, in the middle of a tensor file, is told as an error of the output."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path / "out")], capture_output=True, text=True, check=True)
    assert "Cannot write" in done.stdout
    assert "File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_replacement_that_fails_half_way_puts_the_old_folder_back(tmp_path: Path) -> None:
    """If the new folder is gone when it should take the old one's place, the old one is there again, and nothing else."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "old.txt").write_text("old")
    staging = tmp_path / "gone"
    with pytest.raises(FileNotFoundError):
        _swap(staging, target)
    assert (target / "old.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A target below a file is refused with its path and the reason."""
    (tmp_path / "file").write_text("f")
    with pytest.raises(OutputError, match="file/out"), staged_folder(tmp_path / "file" / "out"):
        pass


KILLED = """
import sys, time
from pathlib import Path
from modxfer.paths import staged_folder
with staged_folder(Path(sys.argv[1]), force=True) as staging:
    (staging / "half.txt").write_text("h")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_killed_writer_leaves_the_target_alone(tmp_path: Path) -> None:
    """A process that is killed in the middle of writing changes nothing that a reader looks at."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with subprocess.Popen([sys.executable, "-c", KILLED, str(target)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.kill()
        process.wait()
    assert [path.name for path in target.iterdir()] == ["old.txt"]
    with staged_folder(target, force=True) as staging:
        (staging / "new.txt").write_text("new")
    assert [path.name for path in target.iterdir()] == ["new.txt"]
