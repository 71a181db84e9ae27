"""The registry's offline work on made-up entries: checking, searching, building the page."""

import hashlib
import itertools
import random
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from modxfer.registry.checks.run import check
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import AlignmentEntry, Entry, ModuleEntry
from modxfer.registry.entries.reading import path_of
from modxfer.registry.entries.writing import entry_text
from modxfer.registry.search.index import Index
from modxfer.registry.search.query import MinimumScore, Query, find, search
from modxfer.registry.search.rows import SCHEMA, Writer
from modxfer.registry.site.build import build

QUERIES = (
    Query(),
    Query(text="summarization"),
    Query(text="med"),
    Query(text="author 77", task="summarization"),
    Query(text="entry-0999"),
    Query(base="bert-0", kind="module"),
    Query(task="token-classification", method="lora", languages=("de",)),
    Query(licence="MIT", format="peft", kind="module"),
    Query(tags=("news", "legal")),
    Query(scores=(MinimumScore(metric="f1", value=0.9),)),
    Query(text="medical", scores=(MinimumScore(metric="f1", value=0.8),), languages=("pt",)),
    Query(kind="alignment", scores=(MinimumScore(metric="mean_correlation", value=0.5),)),
)
"""What is asked of 100,000 entries: from everything to very little, filters and words alone and together."""

_SUBJECTS = """
named entities news legal medical sentiment reviews questions answers summaries dialogue speech code tables biology chemistry
finance weather travel sports history poems letters tweets forums manuals patents
"""
_WORDS = _SUBJECTS.split()
_SYLLABLES = [first + vowel for first in "bdfgklmnprst" for vowel in "aeiou"]
_VOCABULARY = ["".join(pair) for pair in itertools.product(_SYLLABLES, _SYLLABLES)]
_WEIGHTS = list(itertools.accumulate(1 / rank for rank in range(1, len(_VOCABULARY) + 1)))  # as often as in real texts
_TASKS = {
    "token-classification": ("f1", "accuracy"),
    "text-classification": ("accuracy", "f1"),
    "question-answering": ("exact_match", "f1"),
    "summarization": ("rouge1", "rougeL"),
}
_LANGUAGES = ("en", "de", "fr", "pt-BR", "pt", "zh-Hans", "sw", "hi", "ar", "pl")
_LICENCES = ("Apache-2.0", "MIT", "CC-BY-4.0", "CC-BY-NC-4.0", "Apache-2.0 OR MIT")
_FAMILIES = ("bert", "roberta", "distilbert", "xlm-roberta")
_GROUP, _TRANSFERRED, _PAIRS = 20, (10, 11), 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """Searches of a large index.

    Attributes:
        entries: Number of entries in it.
        median: Median over the queries of their median seconds.
        slowest: The slowest query's median seconds.
        listing: Seconds to list as many files, which a folder's index is compared with before each search.
        adding: Seconds to add one entry that was read to the index.
    """

    entries: int
    median: float
    slowest: float
    listing: float
    adding: float


def measure_check(folder: Path, *, small: int = 1000, large: int = 10_000) -> tuple[float, float]:
    """Check two registries offline.

    Args:
        folder: A scratch folder.
        small: Number of entries of the first.
        large: Number of entries of the second, which is left in `folder / "large"`.

    Returns:
        Seconds an entry for the first and for the second.

    Raises:
        RuntimeError: a made-up entry has a problem.
    """
    seconds = []
    for name, number in (("small", small), ("large", large)):
        registry = write_registry(folder / name, number)
        seconds.append(min(_seconds(partial(_check, registry)) for _ in range(2)) / number)
    return seconds[0], seconds[1]


def _check(registry: Registry) -> None:
    problems = check(registry).problems
    if problems:
        raise RuntimeError(f"{problems[0].path}: {problems[0].what}")


def measure_search(folder: Path, *, number: int = 100_000, runs: int = 5) -> Searched:
    """Search many entries. They are put into the index as they were made, without files: reading those is measured apart.

    Args:
        folder: A scratch folder.
        number: How many entries.
        runs: How often each query is asked.

    Returns:
        The figures.
    """
    adding = _fill(folder / "index.sqlite", number) / number
    connection = sqlite3.connect(f"{(folder / 'index.sqlite').as_uri()}?mode=ro&immutable=1", uri=True)
    index = Index(registry=Registry(root=folder, name="made up"), connection=connection, problems=0)
    medians = [statistics.median(_seconds(partial(find, index, query)) for _ in range(runs)) for query in QUERIES]
    connection.close()
    registry = _write_placeholders(folder / "listed", number)
    listing = min(_seconds(registry.list_files) for _ in range(3))
    return Searched(entries=number, median=statistics.median(medians), slowest=max(medians), listing=listing, adding=adding)


def _fill(path: Path, number: int) -> float:
    """Write an index, and give the seconds that it took without making the entries."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000; {SCHEMA}")
    connection.execute("BEGIN")
    writer, seconds = Writer(connection), 0.0
    for entry in map(_model, make_entries(number)):
        seconds += _seconds(partial(writer.add, path_of(type(entry), entry.id), entry))
    seconds += _seconds(writer.finish)
    connection.execute("COMMIT")
    connection.close()
    return seconds


def _write_placeholders(root: Path, number: int) -> Registry:
    """Write files that are only listed, never read."""
    for index in range(number):
        path = root / "modules" / f"{_id(index)}.yaml"
        if index % _GROUP == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Registry(root=root, name="listed")


def measure_first_search(registry: Registry) -> tuple[float, float]:
    """Search a folder that has no index, and again.

    Args:
        registry: The folder.

    Returns:
        Seconds of the first search, which makes the index, and of one that finds it up to date.
    """
    first = _seconds(lambda: search(registry, Query(text="news")))
    time.sleep(2.1)  # files that were only just written are not yet trusted
    search(registry, Query(text="news"))
    return first, min(_seconds(lambda: search(registry, Query(text="news"))) for _ in range(3))


def measure_build(folder: Path, registry: Registry) -> float:
    """Build the web page of a registry.

    Args:
        folder: A scratch folder.
        registry: The registry.

    Returns:
        Seconds.
    """
    return _seconds(lambda: build(registry, folder / "site"))


def write_registry(root: Path, number: int) -> Registry:
    """Write made-up entries.

    Args:
        root: A folder that is not there.
        number: How many.

    Returns:
        The registry.
    """
    root.mkdir(parents=True)
    (root / "registry.yaml").write_text("format_version: 1\ntitle: Made up\n", encoding="utf-8")
    for entry in map(_model, make_entries(number)):
        path = root / path_of(type(entry), entry.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(entry_text(entry), encoding="utf-8")
    return Registry(root=root, name=str(root))


def _model(values: dict[str, Any]) -> Entry:
    return (AlignmentEntry if "aligner" in values else ModuleEntry).model_validate(values)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def make_entries(number: int) -> Iterator[dict[str, Any]]:
    """Make entries, the same ones each time: of 20, one is an alignment map and two are modules that were transferred with it.

    Args:
        number: How many.

    Yields:
        The entries, as their files say them.
    """
    for index in range(number):
        yield _module(index) if index % _GROUP else _alignment(index)


def _module(index: int) -> dict[str, Any]:
    chance, group = random.Random(index), index - index % _GROUP
    origin = group + 1 if index % _GROUP in _TRANSFERRED else index  # the module that it was transferred from
    first = random.Random(origin)
    task = first.choice(list(_TASKS))
    rank = first.choice((4, 8, 16))
    bottleneck = first.random() < 0.25
    subjects = chance.sample(_WORDS, 4)
    data = f"org-{chance.randrange(50)}/{subjects[0]}"
    entry = {
        "format_version": 1,
        "id": _id(index),
        "title": f"{task.replace('-', ' ').capitalize()} on {subjects[0]} and {subjects[1]}",
        "description": f"Trained on {' '.join(chance.choices(_VOCABULARY, cum_weights=_WEIGHTS, k=40))}.\n",
        "source": _source(index, "adapter_config.json", "adapter.safetensors" if bottleneck else "adapter_model.safetensors"),
        "base": _base(_pair(group) + (origin != index)),
        "method": {
            "name": "bottleneck" if bottleneck else "lora",
            "inner_sizes": [6 * rank if bottleneck else rank],
            "scalings": [1.0 if bottleneck else 2.0],
            "roles": ["ffn_down"] if bottleneck else ["query", "value"],
            "parameters": 10_000 * rank,
        },
        "format": "adapters" if bottleneck else "peft",
        "task": task,
        "datasets": [{"name": data, "revision": _commit(data)}],
        "languages": sorted(chance.sample(_LANGUAGES, chance.choice((1, 1, 2)))),
        "results": [_result(metric, data, chance) for metric in _TASKS[task]],
        "license": chance.choice(_LICENCES),
        "authors": [{"name": f"Author {chance.randrange(500)}"}],
        "tags": sorted(subjects[:2]),
    }
    if origin != index:
        feeds = [[[2 * layer, 1.0]] for layer in range(6)]
        layers = {"mode": "skip", "map": {"encoder": feeds}}
        entry["lineage"] = {"teacher": _id(origin), "alignment": _id(group), "layers": layers}
    return entry


def _alignment(index: int) -> dict[str, Any]:
    chance = random.Random(index)
    correlation = round(chance.uniform(0.2, 0.7), 4)
    return {
        "format_version": 1,
        "id": _id(index),
        "title": f"Alignment map {index}",
        "source": _source(index, "alignment.json", "alignment.safetensors"),
        "teacher": _base(_pair(index)),
        "student": _base(_pair(index) + 1),
        "aligner": "lsa",
        "requested": "auto",
        "key": _sha256(f"key {index}"),
        "corpus": {"name": "org/news", "fingerprint": _sha256("news"), "texts": 1000, "tokens": 20000},
        "scores": {
            "mean_correlation": correlation,
            "layers": {f"encoder {layer} <- {2 * layer}": correlation for layer in range(6)},
        },
        "license": "Apache-2.0",
        "authors": [{"name": f"Author {chance.randrange(500)}"}],
    }


def _id(index: int) -> str:
    return f"org-{index // _GROUP % 50}/entry-{index:06}"


def _pair(group: int) -> int:
    """Choose the teacher of a group of entries; the student is the next one."""
    return 2 * (group // _GROUP % _PAIRS)


def _base(number: int) -> dict[str, Any]:
    """Describe a base model; even ones are teachers, of 12 layers, odd ones students, of 6."""
    family, hidden = _FAMILIES[number // 2 % len(_FAMILIES)], 64 * (4 + number % 9)
    name = f"org-{number % 37}/{family}-{number}"
    return {
        "name": name,
        "revision": _commit(name),
        "fingerprint": _sha256(name),
        "family": family,
        "widths": {"hidden": hidden, "heads": hidden, "ffn": 4 * hidden},
        "depths": {"encoder": 6 if number % 2 else 12},
    }


def _source(index: int, *files: str) -> dict[str, Any]:
    pinned = [{"path": path, "sha256": _sha256(f"{index} {path}"), "size_bytes": 1000 + index} for path in files]
    return {"repository": _id(index), "revision": _commit(str(index)), "files": pinned}


def _result(metric: str, data: str, chance: random.Random) -> dict[str, Any]:
    return {
        "metric": metric,
        "value": round(chance.uniform(0.4, 0.99), 4),
        "dataset": data,
        "dataset_revision": _commit(data),
        "split": "test",
        "ran_by": "evaluate 0.4.6",
    }


def _sha256(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()


def _commit(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()[:40]
