"""The folder of a training's checkpoints."""

from pathlib import Path

import pytest

from modxfer.errors import OutputError, UsageError
from modxfer.training.checkpoints import open_workplace, place_of

ASKED = {"task": "ner", "settings": {"seed": 1}, "data": {"train": ("a", "b")}}


def test_open_workplace_lies_beside_the_output(tmp_path: Path) -> None:
    """A new training gets a new folder beside its output, and is not resumed."""
    place = open_workplace(tmp_path / "out", asked=ASKED, resume=False, force=False, is_main=True)

    assert place.folder == tmp_path / "out-checkpoints" == place_of(tmp_path / "out")
    assert not place.is_resumed
    assert [path.name for path in place.folder.iterdir()] == ["request.json"]


def test_open_workplace_refuses_what_did_not_end(tmp_path: Path) -> None:
    """Checkpoints are neither used nor removed unless that is asked for."""
    place = open_workplace(tmp_path / "out", asked=ASKED, resume=False, force=False, is_main=True)
    (place.folder / "checkpoint-3").mkdir()

    with pytest.raises(OutputError, match=r"left its checkpoints in `.*out-checkpoints`.*--resume"):
        open_workplace(tmp_path / "out", asked=ASKED, resume=False, force=False, is_main=True)

    assert (place.folder / "checkpoint-3").is_dir()


def test_open_workplace_resumes_the_same(tmp_path: Path) -> None:
    """What was begun goes on, with its checkpoints."""
    place = open_workplace(tmp_path / "out", asked=ASKED, resume=False, force=False, is_main=True)
    (place.folder / "checkpoint-3").mkdir()

    again = open_workplace(tmp_path / "out", asked=ASKED, resume=True, force=False, is_main=True)

    assert again.is_resumed
    assert (again.folder / "checkpoint-3").is_dir()


def test_open_workplace_does_not_resume_another_training(tmp_path: Path) -> None:
    """Another request is told by the names of what differs, and nothing is removed."""
    place = open_workplace(tmp_path / "out", asked=ASKED, resume=False, force=False, is_main=True)

    with pytest.raises(UsageError, match="another `settings` and another `task`"):
        open_workplace(tmp_path / "out", asked={**ASKED, "task": "pi", "settings": {}}, resume=True, force=False, is_main=True)

    assert place.folder.is_dir()


def test_open_workplace_begins_where_nothing_was_begun(tmp_path: Path) -> None:
    """Resuming what never began is beginning, so that one command serves a queue that restarts jobs."""
    place = open_workplace(tmp_path / "out", asked=ASKED, resume=True, force=False, is_main=True)

    assert not place.is_resumed
    assert place.folder.is_dir()


def test_open_workplace_force_begins_anew(tmp_path: Path) -> None:
    """With force, checkpoints of a training that did not end are removed."""
    place = open_workplace(tmp_path / "out", asked=ASKED, resume=False, force=False, is_main=True)
    (place.folder / "checkpoint-3").mkdir()

    again = open_workplace(tmp_path / "out", asked={"task": "pi"}, resume=False, force=True, is_main=True)

    assert not again.is_resumed
    assert [path.name for path in again.folder.iterdir()] == ["request.json"]


def test_open_workplace_leaves_files_to_the_main_process(tmp_path: Path) -> None:
    """Other processes of one training learn where it is, and write nothing."""
    place = open_workplace(tmp_path / "out", asked=ASKED, resume=False, force=False, is_main=False)

    assert not place.folder.exists()


def test_workplace_remove_removes_it(tmp_path: Path) -> None:
    """What is done leaves nothing."""
    place = open_workplace(tmp_path / "out", asked=ASKED, resume=False, force=False, is_main=True)

    place.remove()

    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("made", "is_kept"), [("checkpoints/checkpoint-3", True), ("checkpoints", False)])
def test_until_done_keeps_what_can_be_gone_on_from(tmp_path: Path, made: str, is_kept: bool) -> None:
    """A training that fails leaves its folder only if a checkpoint is in it, so that nothing empty is in the way."""
    place = open_workplace(tmp_path / "out", asked=ASKED, resume=False, force=False, is_main=True)
    (place.folder / made).mkdir(parents=True)

    with pytest.raises(KeyError, match="gone"), place.until_done():
        raise KeyError("gone")

    assert place.folder.exists() == is_kept


@pytest.mark.parametrize(("resume", "force"), [(True, False), (False, True)])
def test_open_workplace_removes_nothing_of_others(resume: bool, force: bool, tmp_path: Path) -> None:
    """A folder that has the name by chance is left alone, whatever was asked for."""
    (tmp_path / "out-checkpoints").mkdir()
    (tmp_path / "out-checkpoints" / "thesis.txt").write_text("mine")

    with pytest.raises(
        OutputError, match=r"out-checkpoints` is where the checkpoints go, and it holds something else.*--output"
    ):
        open_workplace(tmp_path / "out", asked=ASKED, resume=resume, force=force, is_main=True)

    assert (tmp_path / "out-checkpoints" / "thesis.txt").read_text() == "mine"


def test_remove_keeps_what_tensorboard_shows(tmp_path: Path) -> None:
    """`--report-to tensorboard` would be for nothing if its files went with the checkpoints; older ones stay beside them."""
    for run in ("first", "second"):
        place = open_workplace(tmp_path / "out", asked=ASKED, resume=False, force=False, is_main=True)
        (place.folder / "checkpoints" / "runs" / run).mkdir(parents=True)
        (place.folder / "checkpoints" / "runs" / run / "events").write_text(run)
        place.remove()

    assert [path.name for path in tmp_path.iterdir()] == ["out-runs"]
    assert {path.name: (path / "events").read_text() for path in (tmp_path / "out-runs").iterdir()} == {
        "first": "first",
        "second": "second",
    }
