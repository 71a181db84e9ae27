"""The local store: each map is computed once, whoever asks, and a damaged one is never used."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modxfer.alignments.alignment_map import AlignmentMap, SitePair
from modxfer.errors import StoreError
from modxfer.registry.store import Store, alignment_key
from tests.modules import assignment_map, map_of

KEY = "ab" * 32
OTHER = "ac" * 32
PAIR = SitePair.parse("encoder.0.query.input<-encoder.1.query.input")


def example() -> AlignmentMap:
    """Make a small map."""
    return map_of({PAIR: assignment_map(np.array([2, 0, 1]))})


def units(alignment: AlignmentMap) -> list[int]:
    """Give what the small map holds."""
    found = alignment.maps[PAIR].assignment
    assert found is not None
    return [int(unit) for unit in found]


def test_what_is_computed_is_found_again(tmp_path: Path) -> None:
    """The first asks compute, the second finds the same map, under its key."""
    store, calls = Store(tmp_path / "store"), []

    def compute() -> AlignmentMap:
        calls.append(1)
        return example()

    assert store.find(KEY) is None
    first, was_there = store.find_or_compute(KEY, compute)
    again, was_there_again = store.find_or_compute(KEY, compute)
    assert (was_there, was_there_again, len(calls)) == (False, True, 1)
    assert first.key == again.key == KEY
    assert units(first) == units(again) == [2, 0, 1]


def test_a_failed_computation_leaves_nothing(tmp_path: Path) -> None:
    """An error while computing is passed on, nothing is stored, and the next one can compute."""
    store = Store(tmp_path)

    def fail() -> AlignmentMap:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.find_or_compute(KEY, fail)
    assert list(store.list()) == []
    assert store.find_or_compute(KEY, example)[1] is False


@pytest.mark.parametrize("name", ["alignment.safetensors", "alignment.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_a_damaged_object_is_set_aside_and_rebuilt(tmp_path: Path, name: str, how: str) -> None:
    """Whatever happened to a file, the map is computed again, and the damaged one is kept out of the way."""
    store = Store(tmp_path)
    file = store.add(KEY, example()) / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:40] if how == "cut" else content)
    assert [stored.alignment for stored in store.list()] == [None]
    found, was_there = store.find_or_compute(KEY, example)
    assert not was_there
    assert units(found) == [2, 0, 1]
    (aside,) = (tmp_path / "damaged").iterdir()
    assert aside.name.startswith(KEY)
    assert [stored.alignment is None for stored in store.list()] == [False]


def test_a_map_under_a_wrong_key_is_not_used(tmp_path: Path) -> None:
    """A folder that was moved to another key counts as damaged."""
    store = Store(tmp_path)
    store.add(KEY, example()).rename(tmp_path / "alignments" / OTHER)
    assert store.find(OTHER) is None
    assert len(list((tmp_path / "damaged").iterdir())) == 1


def test_list_resolve_and_remove(tmp_path: Path) -> None:
    """Maps are listed by key with their size, found by a prefix, and removed."""
    store = Store(tmp_path)
    assert list(store.list()) == []
    for key in (OTHER, KEY):
        store.add(key, example())
    listed = list(store.list())
    assert [stored.key for stored in listed] == [KEY, OTHER]
    for stored in listed:
        assert stored.size_bytes == sum(path.stat().st_size for path in stored.folder.iterdir()) > 500
    assert store.resolve("ab") == store.resolve(KEY) == KEY
    for prefix, found in (("a", "2 alignment maps"), ("ff", "No alignment map"), ("", "2 alignment maps"), ("*", "No al")):
        with pytest.raises(StoreError, match=found):
            store.resolve(prefix)
    store.remove(KEY)
    assert [stored.key for stored in store.list()] == [OTHER]
    with pytest.raises(StoreError, match="Cannot remove"):
        store.remove(KEY)


def test_a_map_says_where_it_was_fetched_from(tmp_path: Path) -> None:
    """The origin that was given is listed; without one the map was computed here; one that cannot be read is neither."""
    store = Store(tmp_path)
    origin = {"repository": "org/map", "revision": "ab" * 20}
    store.add(KEY, example(), origin=origin)
    folder = store.add(OTHER, example())
    assert [stored.origin for stored in store.list()] == [origin, None]
    assert store.find(KEY) is not None
    for content in (b"", b"[]", b"\xff", b"{", b"5"):
        (folder / "origin.json").write_bytes(content)
        assert [stored.origin for stored in store.list()] == [origin, {}]
    (folder / "origin.json").write_text('{"repository": "org/map", "revision": 5, "files": {}}')
    assert [stored.origin for stored in store.list()] == [origin, {"repository": "org/map"}]
    assert all(stored.alignment for stored in store.list())
    store.add(KEY, example())
    assert next(store.list()).origin is None


def test_a_map_under_a_wrong_key_is_listed_as_damaged(tmp_path: Path) -> None:
    """What a conversion would not use is not listed as if it would."""
    store = Store(tmp_path)
    store.add(KEY, example()).rename(tmp_path / "alignments" / OTHER)
    assert [(stored.key, stored.alignment) for stored in store.list()] == [(OTHER, None)]


def test_a_file_in_the_place_of_a_map_is_listed_and_removed(tmp_path: Path) -> None:
    """Whatever lies under a key can be seen and removed."""
    store = Store(tmp_path)
    (tmp_path / "alignments").mkdir()
    (tmp_path / "alignments" / KEY).write_bytes(b"12345")
    assert [(stored.alignment, stored.size_bytes) for stored in store.list()] == [(None, 5)]
    store.remove(KEY)
    assert list(store.list()) == []


def test_a_damaged_map_can_be_removed(tmp_path: Path) -> None:
    """Removing needs nothing of a map but its folder, and leaves nothing, set aside or hidden."""
    store = Store(tmp_path)
    (store.add(KEY, example()) / "alignment.json").write_bytes(b"{")
    store.remove(KEY)
    assert list((tmp_path / "alignments").iterdir()) == []
    assert store.set_aside() == ()


def test_what_was_set_aside_is_listed_with_its_size(tmp_path: Path) -> None:
    """Each damaged map that was moved away is there with its key and its bytes, however often that happened."""
    store = Store(tmp_path)
    for key in (KEY, OTHER, KEY):
        (store.add(key, example()) / "alignment.json").write_bytes(b"{")
        assert store.find(key) is None
    aside = store.set_aside()
    assert [(item.kind, item.key) for item in aside] == [("damaged", KEY), ("damaged", KEY), ("damaged", OTHER)]
    for item in aside:
        assert item.size_bytes == sum(path.stat().st_size for path in item.path.iterdir()) > 100


def test_using_a_map_makes_it_recent(tmp_path: Path) -> None:
    """The time of last use is that of the last find."""
    import os

    store = Store(tmp_path)
    os.utime(store.add(KEY, example()), (1, 1))
    assert next(store.list()).used == 1
    assert next(store.list()).used == 1
    assert store.find(KEY, is_use=False) is not None
    assert next(store.list()).used == 1
    for use in (store.find, store.mark_used, lambda key: store.find_or_compute(key, example)):
        os.utime(tmp_path / "alignments" / KEY, (1, 1))
        use(KEY)
        assert next(store.list()).used > 1e9
    store.mark_used(OTHER)
    assert [stored.key for stored in store.list()] == [KEY]


def test_a_store_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A store below a file is refused with its path and what to set."""
    (tmp_path / "file").write_text("f")
    with pytest.raises(StoreError, match="file/store") as caught:
        Store(tmp_path / "file" / "store").find_or_compute(KEY, example)
    assert "MODXFER_HOME" in caught.value.do
    with pytest.raises(StoreError, match="file/store"):
        Store(tmp_path / "file" / "store").add(KEY, example())


def test_alignment_key_depends_on_values_and_not_on_order() -> None:
    """The same inputs give the same key in any order; any other input another."""
    one = alignment_key({"teacher": "t", "tokens": 5, "layers": [["encoder", 0, 1]]})
    assert one == alignment_key({"layers": (("encoder", 0, 1),), "tokens": 5, "teacher": "t"})
    assert len({one, alignment_key({"teacher": "t", "tokens": 6}), alignment_key({"teacher": "u", "tokens": 5})}) == 3
    assert len(one) == 64


COMPUTE = """
import sys, time
from pathlib import Path
from modxfer.registry.store import Store
from tests.registry.test_store import KEY, example, units

def compute():
    with open(sys.argv[2], "a") as log:
        log.write("computed\\n")
    time.sleep(0.5)
    return example()

print("ready", flush=True)
sys.stdin.readline()
alignment, was_there = Store(Path(sys.argv[1])).find_or_compute(KEY, compute)
print(was_there, units(alignment), flush=True)
"""

KILLED = """
import sys, time
from pathlib import Path
import modxfer.registry.store as module
from tests.registry.test_store import KEY, example
from modxfer.alignments.files import write_alignment

def write_half(alignment, folder):
    write_alignment(alignment, folder)
    (folder / "alignment.json").unlink()
    print("half written", flush=True)
    time.sleep(60)

module.write_alignment = write_half
module.Store(Path(sys.argv[1])).find_or_compute(KEY, example)
"""


def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a process of its own."""
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_that_ask_at_once_compute_once(tmp_path: Path) -> None:
    """Of three processes that ask for one key at the same time, one computes, and all get the map."""
    log = tmp_path / "log"
    processes = [start(COMPUTE, str(tmp_path / "store"), str(log)) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        answers.append(process.communicate(timeout=60)[0])
        assert process.returncode == 0
    assert log.read_text() == "computed\n"
    assert sorted(answers) == ["False [2, 0, 1]\n", "True [2, 0, 1]\n", "True [2, 0, 1]\n"]


def test_a_killed_writer_leaves_nothing_visible_and_no_lock(tmp_path: Path) -> None:
    """A process that is killed while it stores a map leaves no half map and no lock that others wait for."""
    with start(KILLED, str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half written\n"
        process.kill()
        process.wait()
    store = Store(tmp_path)
    assert list(store.list()) == []
    assert store.find(KEY) is None
    found, was_there = store.find_or_compute(KEY, example)
    assert (was_there, units(found)) == (False, [2, 0, 1])
    assert not (tmp_path / "damaged").exists()
