"""`modxfer align`: compute, show, list, rm, prune."""

import builtins
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from modxfer.alignments.files import read_alignment
from modxfer.registry.store import Store
from tests.cli.conftest import World
from tests.hub.server import HubServer

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


def stored_folder(key: str) -> Path:
    """Give the folder of a stored map."""
    return Path(os.environ["MODXFER_HOME"]) / "alignments" / key


def flip_a_byte(folder: Path) -> None:
    """Change one byte of a map's tensors."""
    path = folder / "alignment.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


def age(folder: Path, days: float) -> None:
    """Let a map look as if it was last used some days ago."""
    os.utime(folder, (time.time() - days * 86_400,) * 2)


def test_a_damaged_map_is_reported_and_rebuilt(world: World, call: Callable[..., Result], computed: dict[str, Any]) -> None:
    """One changed byte: list says so, a conversion says so, computes again, and the map has the bytes that it had."""
    folder = stored_folder(computed["id"])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    flip_a_byte(folder)
    page = call("align", "list").stdout
    assert f"Damaged: {folder.name[:12]}." in page
    assert f"{folder.name[:12]}  damaged " in page
    assert "`modxfer align rm ID` removes it" in page

    words = ["convert", world.module, "--to", world.student, "--align", "lsa", "--tokens", 300, "--dry-run", "--json"]
    done = call(*words)
    assert json.loads(done.stdout)["alignment"]["source"] == "computed"
    said = " ".join(done.stderr.split())  # a long path may be broken anywhere, so only what comes after it is looked for
    assert "is damaged: its sha256 is not the one that `alignment.json` says." in said
    assert "It was moved to" in said
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert json.loads(call(*words).stdout)["alignment"]["source"] == "store"

    listed = json.loads(call("align", "list", "--json").stdout)
    assert [item["damaged"] for item in listed["alignments"]] == [False]
    (aside,) = listed["set_aside"]["maps"]
    assert (aside["id"], aside["size_bytes"]) == (folder.name, sum(map(len, before.values())))
    page = call("align", "list").stdout
    assert "Damaged:" not in page
    assert "Set aside earlier: 1 damaged map, " in page
    assert call("align", "prune", "--damaged", "--keep-days", 0).exit_code == 0  # as the page says
    assert "Set aside" not in call("align", "list").stdout
    assert call("align", "show", folder.name).exit_code == 0


def test_rm_removes_a_damaged_map(call: Callable[..., Result], computed: dict[str, Any]) -> None:
    """What cannot be read can be removed by its id."""
    flip_a_byte(stored_folder(computed["id"]))
    assert call("align", "rm", computed["id"][:12]).exit_code == 0
    assert json.loads(call("align", "list", "--json").stdout)["alignments"] == []


def test_list_says_when_a_map_was_used_and_where_it_is_from(call: Callable[..., Result], computed: dict[str, Any]) -> None:
    """Last use is a date and a number of days, which showing the map leaves alone; a fetched map names its repository."""
    key, folder = computed["id"], stored_folder(computed["id"])
    assert "today" in call("align", "list").stdout
    age(folder, 3.5)
    used = folder.stat().st_mtime
    assert call("align", "show", key).exit_code == 0
    page = call("align", "list").stdout
    assert time.strftime("%Y-%m-%d", time.localtime(used)) in page
    assert "3 days ago" in " ".join(page.split())
    assert "computed here" in " ".join(page.split())
    (listed,) = json.loads(call("align", "list", "--json").stdout)["alignments"]
    assert (listed["used"], listed["origin"]) == (used, None)
    assert listed["size_bytes"] == sum(path.stat().st_size for path in folder.iterdir())

    origin = {"repository": "org/map", "revision": "0123456" + "f" * 33}
    Store(folder.parent.parent).add("ab" * 32, read_alignment(folder), origin=origin)
    page = call("align", "list").stdout
    assert max(len(line) for line in page.splitlines()) <= 80
    assert "org/map@0123456" in page.replace("\n", "").replace(" ", "")
    fetched = json.loads(call("align", "list", "--json").stdout)["alignments"]
    assert [item["origin"] for item in fetched if item["id"] == "ab" * 32] == [origin]


def test_a_conversion_is_a_use(world: World, call: Callable[..., Result], computed: dict[str, Any]) -> None:
    """Converting with a stored map makes it recent, so that pruning leaves it."""
    age(stored_folder(computed["id"]), 40)
    words = ["convert", world.module, "--to", world.student, "--align", "lsa", "--tokens", 300, "--dry-run", "--json"]
    assert json.loads(call(*words).stdout)["alignment"]["source"] == "store"
    pruned = json.loads(call("align", "prune", "--keep-days", 1, "--json").stdout)
    assert [item for item in pruned["removed"] if item["kind"] == "map"] == []


def test_prune_removes_what_is_old(call: Callable[..., Result], computed: dict[str, Any]) -> None:
    """A dry run says what would go and leaves it; then it goes, and its size is what was freed."""
    key, folder = computed["id"], stored_folder(computed["id"])
    size = sum(path.stat().st_size for path in folder.iterdir())
    kept = json.loads(call("align", "prune", "--keep-days", 10, "--json").stdout)
    assert [item for item in kept["removed"] if item["kind"] == "map"] == []
    age(folder, 11)
    told = json.loads(call("align", "prune", "--keep-days", 10, "--dry-run", "--json").stdout)
    assert (told["dry_run"], folder.is_dir()) == (True, True)
    assert {"kind": "map", "id": key, "path": str(folder), "size_bytes": size} in told["removed"]
    done = call("align", "prune", "--keep-days", 10)
    assert (done.exit_code, folder.exists()) == (0, False)
    row = next(line for line in done.stdout.splitlines() if line.startswith("alignment map"))
    assert key[:12] in row
    assert done.stdout.splitlines()[-1].endswith("in all")
    assert call("align", "prune", "--keep-days", 10).stdout == "Nothing\n"


def test_prune_zero_removes_all(call: Callable[..., Result], computed: dict[str, Any]) -> None:
    """With no days to keep, nothing stays: maps, damaged ones, hashes, locks."""
    store = Path(os.environ["MODXFER_HOME"])
    time.sleep(0.01)  # what was written this very moment is not older than now
    call("align", "prune", "--keep-days", 0)
    assert [path for path in store.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--keep-days", "-1"], "`--keep-days -1` is no number of days"),
        (["--keep-days", "soon"], "--keep-days"),
        ([], "--keep-days"),
    ],
)
def test_prune_wants_a_number_of_days(
    call: Callable[..., Result], computed: dict[str, Any], words: list[str], said: str
) -> None:
    """Without one, or with a negative one, nothing is removed and the exit status is 2."""
    done = call("align", "prune", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert stored_folder(computed["id"]).is_dir()


def test_prune_counts_remembered_listings(
    hub: HubServer, world: World, call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was remembered of repositories goes too, and is one line."""
    hub.add_repo("acme/base", {"config.json": b"{}"})
    call("inspect", "acme/base")
    page = call("align", "prune", "--keep-days", 0).stdout
    assert "2 remembered listings" in page
    assert call("align", "prune", "--keep-days", 0).stdout == "Nothing\n"
