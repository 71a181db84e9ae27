"""The index agrees with the files, whatever happens to them, to itself, or at the same time."""

import os
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modxfer.registry.entries.folder import Registry
from modxfer.registry.search.bits import pack, to_bits, to_mask, to_numbers, unpack
from modxfer.registry.search.index import index_path, use_index
from modxfer.registry.search.query import MinimumScore, Query, find, search
from tests.entries import alignment_entry, as_yaml, entry_path, make_registry, module_entry, whole_lineage
from tests.registry.search import planted

OLD = 10**9
"""Long before now, in seconds since the epoch."""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Give a registry of three entries."""
    return make_registry(tmp_path / "registry", *whole_lineage())


def ids(registry: Registry, query: Query | None = None) -> list[str]:
    """List what a search finds."""
    return [hit.id for hit in search(registry, query or Query(), limit=1000).hits]


def put(registry: Registry, entry: dict[str, Any]) -> Path:
    """Write an entry."""
    path = registry.root / entry_path(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_yaml(entry))
    return path


def files_read(registry: Registry) -> int:
    """Count the files that a search reads for its index."""
    counts = [0]
    search(registry, Query(), report=lambda _, total: counts.append(total))
    return counts[-1]


@given(numbers=st.sets(st.integers(0, 3000)) | st.sets(st.integers(0, 80), min_size=20))
def test_bits_keep_their_members(numbers: set[int]) -> None:
    """A set is the same after every way of writing it."""
    bits = to_bits(numbers)
    assert to_numbers(bits) == to_numbers(unpack(pack(bits))) == sorted(numbers)
    assert bits.bit_count() == len(numbers)
    assert [index for index, flag in enumerate(to_mask(bits)) if flag == ord("1")] == sorted(numbers)


def test_changes_are_found(registry: Registry) -> None:
    """What was added is found, what was changed only as it is now, and what was removed or renamed not where it was."""
    assert ids(registry) == ["acme/bert-to-student", "acme/ner-large", "acme/ner-small"]
    put(registry, module_entry("zoo/new", title="Whales"))
    assert ids(registry, Query(text="whales")) == ["zoo/new"]
    put(registry, module_entry("zoo/new", title="Sharks", tags=["sea"], results=None))
    assert ids(registry, Query(text="whales")) == ids(registry, Query(text="whales", tags=("news",))) == []
    assert ids(registry, Query(text="sharks", tags=("sea",))) == ["zoo/new"]
    assert "zoo/new" not in ids(registry, Query(scores=(MinimumScore(metric="f1", value=0.1),)))
    (registry.root / "modules/zoo/new.yaml").unlink()
    put(registry, module_entry("zoo/other", title="Sharks"))
    (registry.root / "modules/acme/ner-large.yaml").unlink()
    assert ids(registry) == ["acme/bert-to-student", "acme/ner-small", "zoo/other"]
    assert ids(registry, Query(text="sharks")) == ["zoo/other"]
    assert ids(registry, Query(tags=("sea",))) == []


@settings(max_examples=6)
@given(seed=st.integers(0, 10**6))
def test_an_updated_index_is_like_a_new_one(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """After any changes, every filter means the entries that are there now."""
    chance = random.Random(seed)
    entries = {entry["id"]: entry for entry in planted.make_entries(8, seed)}
    registry = make_registry(tmp_path_factory.mktemp("registry"), *entries.values())
    for step in range(3):
        for id in chance.sample(sorted(entries), min(len(entries), chance.randrange(4))):
            (registry.root / entry_path(entries.pop(id))).unlink()
        for entry in planted.make_entries(chance.randrange(9), seed=seed + chance.choice((0, step + 1))):
            entries[entry["id"]] = entry
            put(registry, entry)
        queries = [Query(), Query(text="news"), Query(text="e", base="bert-base"), Query(tags=("law",)), Query(licence="mit")]
        for query in [*queries, Query(languages=("pt",)), Query(author="lee", kind="module"), Query(kind="alignment")]:
            assert sorted(ids(registry, query)) == sorted(id for id, entry in entries.items() if planted.means(query, entry))


def test_only_changed_files_are_read(registry: Registry) -> None:
    """Files that were left alone for a while are read once; then only one that changes, and nothing if none does."""
    time.sleep(2.1)  # younger ones could change again without their time of change showing it
    assert [files_read(registry), files_read(registry)] == [3, 0]
    put(registry, module_entry("acme/ner-large"))
    assert files_read(registry) == 1


def test_young_files_are_remembered_later(registry: Registry) -> None:
    """Files that were just written are looked at again, until they are old enough to be trusted."""
    first = files_read(registry)
    path = index_path(registry)
    made = path.stat().st_ino
    assert (first, files_read(registry), path.stat().st_ino) == (3, 0, made)
    time.sleep(2.1)
    assert (files_read(registry), path.stat().st_ino == made) == (3, False)
    assert files_read(registry) == 0


def test_a_change_that_keeps_size_and_time_is_found(registry: Registry) -> None:
    """A file that was changed and given its old time of change is not taken for the old one."""
    path = registry.root / "modules/acme/ner-large.yaml"
    os.utime(path, (OLD, OLD))
    time.sleep(2.1)
    assert ids(registry, Query(text="entities")) == ["acme/ner-large", "acme/ner-small"]
    assert files_read(registry) == 0
    path.write_text(path.read_text().replace("Named entities", "Named octopuse"))
    os.utime(path, (OLD, OLD))
    assert ids(registry, Query(text="octopuse")) == ["acme/ner-large"]


def test_changes_within_a_tick_are_found(registry: Registry) -> None:
    """Files that change faster than the clock of the file system are read as they are now."""
    for word in ("aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff", "gggg", "hhhh"):
        path = put(registry, module_entry("acme/ner-large", title=word))
        os.utime(path, (OLD, OLD))
        assert ids(registry, Query(text=word)) == ["acme/ner-large"]


def test_broken_entries_are_left_out_and_counted(registry: Registry) -> None:
    """A file with problems, and one that lies where it should not, is counted until it is mended; the others are found."""
    broken = registry.root / "modules/acme/broken.yaml"
    broken.write_text("title: [")
    (registry.root / "modules/acme/notes.txt").write_text("x")
    (registry.root / "modules/acme/link.yaml").symlink_to("ner-large.yaml")
    results = search(registry, Query())
    assert (results.total, results.problems) == (3, 3)
    put(registry, module_entry("acme/broken"))
    (registry.root / "modules/acme/notes.txt").unlink()
    results = search(registry, Query())
    assert (results.total, results.problems) == (4, 1)
    put(registry, module_entry("acme/broken", license="My own"))
    assert [hit.id for hit in search(registry, Query()).hits] == ["acme/bert-to-student", "acme/ner-large", "acme/ner-small"]


def test_a_module_and_a_map_of_one_id_are_two(tmp_path: Path) -> None:
    """Ids are unique within a kind only."""
    registry = make_registry(tmp_path, module_entry("a/b"), alignment_entry("a/b"))
    assert [(hit.id, hit.kind) for hit in search(registry, Query()).hits] == [("a/b", "alignment"), ("a/b", "module")]


def _overwrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _other_database(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE facts (name, value)")


def _other_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")


def _lost_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE entries")


DAMAGE = {
    "empty": lambda path: _overwrite(path, b""),
    "text": lambda path: _overwrite(path, b"SQLite it is not\n" * 500),
    "cut": lambda path: _overwrite(path, path.read_bytes()[:9000]),
    "pages of noise": lambda path: _overwrite(path, path.read_bytes()[:4096] + random.Random(0).randbytes(60_000)),
    "another database": _other_database,
    "another version": _other_version,
    "without entries": _lost_table,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_index_is_made_anew(registry: Registry, damage: Any) -> None:
    """Whatever became of the index, the search finds what there is, and leaves an index that is used again."""
    before = ids(registry, Query(text="entities"))
    damage(index_path(registry))
    results = search(registry, Query(text="entities"))
    assert ([hit.id for hit in results.hits], results.warnings) == (before, ())
    made = index_path(registry).stat().st_ino
    assert ids(registry, Query(text="entities")) == before
    assert index_path(registry).stat().st_ino == made


def test_a_store_that_cannot_be_written_is_done_without(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is then made in memory, the search finds the same, and a warning says where it could not be kept."""
    before = ids(registry)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MODXFER_HOME", str(tmp_path / "file" / "home"))
    results = search(registry, Query())
    assert [hit.id for hit in results.hits] == before
    (warning,) = results.warnings
    assert f"could not be kept in `{tmp_path / 'file' / 'home' / 'search'}` (Not a directory)" in warning


def test_a_fetched_registry_is_not_listed(registry: Registry, tmp_path: Path) -> None:
    """A commit never changes: once it is indexed, no file of it is looked at; another commit has an index of its own."""
    at = Registry(root=registry.root, name="hf://datasets/acme/registry", revision="a" * 40)
    before = ids(at)
    registry.root.rename(tmp_path / "away")
    assert ids(at) == before != []
    other = make_registry(tmp_path / "other", module_entry())
    assert ids(Registry(root=other.root, name=at.name, revision="b" * 40)) == ["acme/ner"]
    assert ids(at) == before


def test_two_ways_to_a_folder_have_one_index(registry: Registry, tmp_path: Path) -> None:
    """The index belongs to the folder, not to what the user called it."""
    (tmp_path / "link").symlink_to(registry.root)
    assert index_path(Registry(root=tmp_path / "link", name="link")) == index_path(registry)
    assert index_path(Registry(root=tmp_path, name="parent")) != index_path(registry)


def test_a_reader_keeps_what_it_has(registry: Registry) -> None:
    """While one reads, another may put a new index in place; the one who reads still sees the whole of the old one."""
    search(registry, Query())

    def read(index: Any) -> tuple[int, int, int]:
        first = find(index, Query()).total
        put(registry, module_entry("zoo/new"))
        return first, search(registry, Query()).total, find(index, Query()).total

    assert use_index(registry, read) == (3, 4, 3)


SEARCHER = """
import sys, time
from pathlib import Path
from modxfer.registry.entries.folder import Registry
from modxfer.registry.search.query import Query, search
registry, start = Registry(root=Path(sys.argv[1]), name="r"), Path(sys.argv[2])
print("ready", flush=True)
while not start.exists():
    time.sleep(0.001)
print(*sorted(hit.id for hit in search(registry, Query(text="news"), limit=1000).hits), flush=True)
"""


def test_processes_that_build_at_once_find_the_same(tmp_path: Path) -> None:
    """Two that start together, with no index, a damaged one, or changed files, both find all, and leave one good file."""
    entries = planted.make_entries(30)
    registry = make_registry(tmp_path / "registry", *entries)
    meant = sorted(entry["id"] for entry in entries if planted.means(Query(text="news"), entry))
    for round in range(3):
        if round == 1:
            index_path(registry).write_bytes(b"damaged" * 1000)
        if round == 2:
            put(registry, module_entry("zoo/extra", title="News"))
            meant = sorted([*meant, "zoo/extra"])
        start = tmp_path / f"start-{round}"
        command = [sys.executable, "-c", SEARCHER, str(registry.root), str(start)]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        assert [process.stdout.readline() for process in running if process.stdout] == ["ready\n"] * 2
        start.touch()
        assert [process.communicate(timeout=60)[0].split() for process in running] == [meant, meant]
        assert [path.name for path in index_path(registry).parent.iterdir()] == [index_path(registry).name]
