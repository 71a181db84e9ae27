"""Pruning the store: what is old goes, what is young or in use stays, and nobody meets half of anything."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modxfer.errors import StoreError, UsageError
from modxfer.registry.store import Store
from modxfer.registry.upkeep import Item, Pruned, prunable
from tests.registry.test_store import KEY, OTHER, example

NOW = 2_000_000_000.0
DAY = 86_400


def aged(path: Path, days: float) -> Path:
    """Let a file or a folder with all in it look as if it was last touched some days before NOW."""
    for part in [*path.rglob("*"), path]:
        os.utime(part, (NOW - days * DAY,) * 2)
    return path


def write(path: Path, text: str = "12345") -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def kinds(items: tuple[Item, ...]) -> list[tuple[str, str]]:
    """Give kind and file name of what was pruned."""
    return [(item.kind, item.path.name) for item in items]


def test_maps_go_by_their_last_use(tmp_path: Path) -> None:
    """A map that was used within the time stays; an older one goes, and its bytes are counted."""
    store = Store(tmp_path)
    aged(store.add(KEY, example()), 31)
    size = sum(path.stat().st_size for path in aged(store.add(OTHER, example()), 29).iterdir())
    pruned = store.prune(older_than_days=30, now=NOW)
    assert kinds(pruned.removed)[0] == ("map", KEY)
    assert (pruned.size_bytes, pruned.in_use) == (size, ())
    assert [stored.key for stored in store.list()] == [OTHER]
    assert [path.name for path in (tmp_path / "alignments").iterdir()] == [OTHER]


def test_a_map_that_was_just_used_stays(tmp_path: Path) -> None:
    """To find a map is to use it; to list it is not."""
    store = Store(tmp_path)
    for key in (KEY, OTHER):
        os.utime(store.add(key, example()), (1, 1))
    store.find(KEY)
    assert len(list(store.list())) == 2
    now = (tmp_path / "alignments" / KEY).stat().st_mtime + 1
    assert [item.key for item in store.prune(older_than_days=1, now=now).removed if item.kind == "map"] == [OTHER]


def test_damaged_maps_go_by_when_they_were_set_aside(tmp_path: Path) -> None:
    """The name says when that was; the folder's own time may be much older."""
    for days in (1, 3):
        aged(write(tmp_path / "damaged" / f"{KEY}-{int((NOW - days * DAY) * 1e9)}" / "alignment.json").parent, 300)
    aged(write(tmp_path / "damaged" / f"{OTHER}-by-hand" / "alignment.json").parent, 5)
    store = Store(tmp_path)
    assert [item.key for item in store.prune(older_than_days=2, now=NOW).removed] == [KEY, OTHER]
    assert len(store.set_aside()) == 1
    assert store.prune(older_than_days=0, now=NOW).size_bytes == 5
    assert store.set_aside() == ()


def test_what_a_killed_process_left_goes_after_a_day(tmp_path: Path) -> None:
    """Hidden folders beside the maps go when nothing in them was touched for a day, whatever age was asked for."""
    maps = tmp_path / "alignments"
    old = aged(write(maps / f".{KEY}-abc_1" / "alignment.json").parent, 2)
    swapped = aged(write(maps / f".{KEY}-old-x" / KEY / "alignment.json").parent.parent, 2)
    young = aged(write(maps / f".{OTHER}-abc_1" / "alignment.json").parent, 2)
    os.utime(young / "alignment.json", (NOW - DAY / 2,) * 2)
    store = Store(tmp_path)
    pruned = store.prune(older_than_days=365, now=NOW)
    assert [item for item in kinds(pruned.removed) if item[0] != "lock"] == [
        ("unfinished", old.name),
        ("unfinished", swapped.name),
    ]
    assert {item.key for item in pruned.removed} == {KEY}
    store.prune(older_than_days=0, now=NOW)
    assert list(maps.iterdir()) == [young]


def test_hashes_go_by_age_and_locks_if_nobody_holds_them(tmp_path: Path) -> None:
    """A remembered hash of that age goes and a younger one stays; a lock is only a file, and goes at once."""
    old, young = aged(write(tmp_path / "hashes" / "aa"), 8), aged(write(tmp_path / "hashes" / "bb"), 6)
    write(tmp_path / "locks" / f"{KEY}.lock", "")
    pruned = Store(tmp_path).prune(older_than_days=7, now=NOW)
    assert kinds(pruned.removed) == [("hash", old.name), ("lock", f"{KEY}.lock")]
    assert (pruned.removed[0].key, pruned.size_bytes) == ("", 5)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [young.name]


def test_copies_of_registries_go_by_age(tmp_path: Path) -> None:
    """One that is used stays; an old one goes with its lock, and so does what a killed process left of one."""
    old, young = (
        aged(write(tmp_path / "registries" / key / "registry.yaml").parent, days) for key, days in ((KEY, 8), (OTHER, 6))
    )
    left = write(tmp_path / "registries" / f".{OTHER}-x1" / "registry.yaml")
    aged(aged(left, 2).parent, 2)
    found = Store(tmp_path).prune(older_than_days=7, now=NOW)
    assert [item for item in kinds(found.removed) if item[0] != "lock"] == [
        ("registry", old.name),
        ("unfinished", left.parent.name),
    ]
    assert list((tmp_path / "registries").iterdir()) == [young]


def test_listings_go_by_age(tmp_path: Path) -> None:
    """What the Hub said long ago of a repository goes, and what it said lately stays."""
    old, young = aged(write(tmp_path / "listings" / "aa.json"), 8), aged(write(tmp_path / "listings" / "bb.json"), 6)
    found = [item for item, _ in prunable(tmp_path, older_than_days=7, now=NOW, only_damaged=False)]
    assert found == [Item(kind="listing", path=old, key="", size_bytes=5)]
    assert list(prunable(tmp_path, older_than_days=7, now=NOW, only_damaged=True)) == []
    Store(tmp_path).prune(older_than_days=7, now=NOW)
    assert list((tmp_path / "listings").iterdir()) == [young]


def test_pruning_damaged_maps_alone_touches_nothing_else(tmp_path: Path) -> None:
    """With only the damaged ones asked for, maps, hashes and locks stay, however old."""
    store = Store(tmp_path)
    aged(store.add(KEY, example()), 99)
    aged(write(tmp_path / "damaged" / f"{KEY}-1" / "alignment.json").parent, 99)
    aged(write(tmp_path / "hashes" / "aa"), 99)
    before = {path for path in tmp_path.rglob("*") if "damaged" not in path.parts}
    assert kinds(store.prune(older_than_days=0, now=NOW, only_damaged=True).removed) == [("damaged", f"{KEY}-1")]
    assert {path for path in tmp_path.rglob("*") if "damaged" not in path.parts} == before


def test_a_dry_run_tells_the_same_and_changes_nothing(tmp_path: Path) -> None:
    """What a dry run says is what goes then, but for the locks that pruning itself makes; not a file changes before."""
    store = Store(tmp_path)
    aged(store.add(KEY, example()), 9)
    aged(write(tmp_path / "damaged" / f"{OTHER}-1" / "alignment.json").parent, 9)
    aged(write(tmp_path / "hashes" / "aa"), 9)
    write(tmp_path / "locks" / f"{OTHER}.lock", "")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    told = store.prune(older_than_days=1, now=NOW, dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    done = store.prune(older_than_days=1, now=NOW)
    assert len(told.removed) == 4
    assert set(told.removed) == {item for item in done.removed if (item.kind, item.key) != ("lock", KEY)}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_empty_store_has_nothing_to_prune(tmp_path: Path) -> None:
    """A store that was never made is not made by pruning it."""
    assert Store(tmp_path / "store").prune(older_than_days=0, now=NOW) == Pruned(removed=(), in_use=())
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("days", [-1.0, -0.001, float("nan"), float("inf")])
def test_an_age_that_is_none_is_refused(tmp_path: Path, days: float) -> None:
    """A negative age, or one that is no number, removes nothing."""
    store = Store(tmp_path)
    aged(store.add(KEY, example()), 9)
    with pytest.raises(UsageError, match=f"--keep-days {days:g}"):
        store.prune(older_than_days=days, now=NOW)
    assert len(list(store.list())) == 1


HOLD = """
import sys
from pathlib import Path
from modxfer.registry.store import Store
from tests.registry.test_store import KEY, example

def compute():
    print("computing", flush=True)
    sys.stdin.readline()
    return example()

print(Store(Path(sys.argv[1])).find_or_compute(KEY, compute)[1], flush=True)
"""


@pytest.fixture
def computing(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Let another process compute the map under KEY until it is told to go on."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "computing\n"
        yield process
        process.kill()


def test_what_another_process_works_on_stays(tmp_path: Path, computing: "subprocess.Popen[str]") -> None:
    """While a process computes a map, its lock, what it has staged, and what lies under its key stay, and that is said."""
    store = Store(tmp_path)
    aged(store.add(KEY, example()), 9)
    staged = aged(write(tmp_path / "alignments" / f".{KEY}-abc" / "alignment.json").parent, 9)
    aged(store.add(OTHER, example()), 9)
    for dry_run in (True, False):
        pruned = store.prune(older_than_days=1, now=NOW, dry_run=dry_run)
        assert kinds(pruned.in_use) == [("map", KEY), ("unfinished", staged.name)]
        assert [item for item in kinds(pruned.removed) if item[0] == "map"] == [("map", OTHER)]
    assert [path.name for path in (tmp_path / "locks").iterdir()] == [f"{KEY}.lock"]
    assert staged.is_dir()
    assert computing.communicate("go\n", timeout=60)[0] == "False\n"
    assert [stored.key for stored in store.list() if stored.alignment] == [KEY]
    assert store.prune(older_than_days=1, now=NOW).in_use == ()


def test_pruning_and_computing_at_once_loses_nothing(tmp_path: Path) -> None:
    """While locks are pruned again and again, processes that ask for one map all get it, and nothing is set aside."""
    code = HOLD.replace("sys.stdin.readline()", "pass").replace("print(Store", "for _ in range(20): print(Store")
    store = Store(tmp_path)
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(2)]
    while any(process.poll() is None for process in processes):
        store.prune(older_than_days=0, now=NOW)
    for process in processes:
        assert process.communicate()[0].split().count(b"computing") >= 1
        assert process.returncode == 0
    assert store.set_aside() == ()


def test_a_map_goes_at_once(tmp_path: Path) -> None:
    """However long its files take to delete, there is no moment at which some of them are gone and the map is there."""
    store = Store(tmp_path)
    folder = store.add(KEY, example())
    for number in range(3000):
        (folder / f"more-{number}").touch()
    remover = threading.Thread(target=store.remove, args=(KEY,))
    remover.start()
    halves = 0
    while remover.is_alive():
        has_lost = not (folder / "alignment.json").exists() or not (folder / "alignment.safetensors").exists()
        halves += has_lost and folder.exists()
    assert halves == 0
    assert list((tmp_path / "alignments").iterdir()) == []


def test_a_map_that_cannot_be_locked_is_not_removed(tmp_path: Path) -> None:
    """Where no lock can be made, pruning stops with the lock's path, and the map is still there."""
    store = Store(tmp_path)
    aged(store.add(KEY, example()), 9)
    write(tmp_path / "locks")
    with pytest.raises(StoreError, match=f"Cannot lock .*{KEY}"):
        store.prune(older_than_days=1, now=NOW)
    assert [stored.key for stored in store.list()] == [KEY]
