"""`modxfer align`: compute, show, list, rm."""

import builtins
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from modxfer.alignments.files import read_alignment
from tests.cli.conftest import World

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def computed(world: World, call: Callable[..., Result]) -> dict[str, Any]:
    """Compute a small alignment map into the store and into the folder `map`."""
    words = ["align", "compute", world.module, "--to", world.student, "--align", "lsa", "--tokens", 300]
    done = call(*words, "--output", "map", "--json")
    assert done.exit_code == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def test_compute_writes_a_map_and_its_scores(computed: dict[str, Any]) -> None:
    """The folder holds the map that was printed: same id, a score for each site, chance measured."""
    alignment = read_alignment(Path("map"))
    assert computed["id"] == alignment.key
    assert computed["output"] == "map"
    assert computed["source"] == "computed"
    assert {site["student"] for site in computed["sites"]} == {str(pair.student) for pair in alignment.maps}
    assert all(site["chance"] is not None for site in computed["sites"])
    assert Path("map/README.md").is_file()


def test_compute_warns_where_lsa_is_no_better_than_chance(world: World, call: Callable[..., Result]) -> None:
    """Two random models share no units, and the user who asked for lsa is told."""
    done = call("align", "compute", world.module, "--to", world.student, "--align", "lsa", "--tokens", 300)
    assert "no better than chance" in " ".join(done.stderr.split())


def test_show_is_the_same_for_folder_and_id(computed: dict[str, Any], call: Callable[..., Result]) -> None:
    """A map is shown by its folder, its id or the start of it, and its numbers are those of the file."""
    by_folder, by_id = (json.loads(call("align", "show", name, "--json").stdout) for name in ("map", computed["id"][:9]))
    assert by_folder == by_id
    assert by_folder["mean_correlation"] == read_alignment(Path("map")).mean_correlation


def test_show_prints_layers_by_sites(computed: dict[str, Any], call: Callable[..., Result]) -> None:
    """The table has a row for each pair of layers and a cell with chance for each site, within 80 columns."""
    page = call("align", "show", "map").stdout
    site = next(item for item in computed["sites"] if item["student"] == "encoder.1.query.input")
    row = next(line for line in page.splitlines() if line.startswith("encoder 1 <- 2"))
    assert f"{site['mean_correlation']:.2f} ({site['chance']:.2f})" in row
    assert "300 matched tokens" in page
    assert max(len(line) for line in page.splitlines()) <= 80


def test_show_draws_the_scores(computed: dict[str, Any], call: Callable[..., Result]) -> None:
    """--plot writes a PNG; one that exists is kept without --force."""
    assert call("align", "show", "map", "--plot", "scores.png").exit_code == 0
    first = Path("scores.png").read_bytes()
    assert first.startswith(PNG)
    refused = call("align", "show", "map", "--plot", "scores.png")
    assert (refused.exit_code, "`scores.png` exists" in refused.stderr) == (1, True)
    assert call("align", "show", "map", "--plot", "scores.png", "--force").exit_code == 0
    assert sorted(path.name for path in Path().iterdir()) == ["map", "scores.png"]


@pytest.mark.parametrize(
    ("file", "status", "message"),
    [("scores.gif", 2, "the suffix `.gif`"), ("no/such/scores.png", 1, "Cannot write `no/such/scores.png`")],
)
def test_show_refuses_a_plot_file(
    computed: dict[str, Any], call: Callable[..., Result], file: str, status: int, message: str
) -> None:
    """A file of another kind or in a folder that is not there is named."""
    done = call("align", "show", "map", "--plot", file)
    assert (done.exit_code, done.stdout) == (status, "")
    assert message in done.stderr


def test_show_says_how_to_get_matplotlib(
    computed: dict[str, Any], call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without matplotlib, --plot says what to install, and the rest works."""
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    done = call("align", "show", "map", "--plot", "scores.png")
    assert (done.exit_code, "pip install 'modxfer[plot]'" in done.stderr) == (1, True)
    assert call("align", "show", "map").exit_code == 0


def test_show_refuses_what_is_not_there(call: Callable[..., Result]) -> None:
    """An id that no map has, and a folder without a map, are named."""
    done = call("align", "show", "abc123")
    assert (done.exit_code, "`abc123`" in done.stderr) == (1, True)
    Path("nothing").mkdir()
    done = call("align", "show", "nothing")
    assert (done.exit_code, "`nothing` is no alignment map" in done.stderr) == (1, True)


def test_list_and_rm(computed: dict[str, Any], call: Callable[..., Result]) -> None:
    """A stored map is listed; rm takes the start of its id, and --dry-run removes nothing."""
    key = computed["id"]
    (listed,) = json.loads(call("align", "list", "--json").stdout)["alignments"]
    assert (listed["id"], listed["student"], listed["damaged"]) == (key, "tiny-student", False)
    assert key[:12] in call("align", "list").stdout

    assert json.loads(call("align", "rm", key[:10], "--dry-run", "--json").stdout) == {"id": key, "removed": False}
    assert call("align", "show", key).exit_code == 0
    assert call("align", "rm", key[:10]).stdout == f"{key}\n"
    assert json.loads(call("align", "list", "--json").stdout)["alignments"] == []
    assert call("align", "rm", key).exit_code == 1


def test_list_shows_damage(computed: dict[str, Any], call: Callable[..., Result]) -> None:
    """A map whose tensors were changed is listed as damaged, and showing it fails."""
    folder = Path(os.environ["MODXFER_HOME"]) / "alignments" / computed["id"]
    (folder / "alignment.safetensors").write_bytes(b"not what it was")
    (listed,) = json.loads(call("align", "list", "--json").stdout)["alignments"]
    assert listed["damaged"] is True
    assert "damaged" in call("align", "list").stdout
    done = call("align", "show", computed["id"])
    assert (done.exit_code, "is damaged" in done.stderr) == (1, True)
