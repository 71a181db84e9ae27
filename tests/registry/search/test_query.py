"""Every filter finds what going through all entries one by one finds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modxfer.errors import UsageError
from modxfer.registry.entries.folder import Registry
from modxfer.registry.search.index import Index, use_index
from modxfer.registry.search.query import MinimumScore, Query, find, parse_minimum_score, search
from tests.entries import COMMIT, make_registry, module_entry
from tests.registry.search import planted

ENTRIES = planted.make_entries()
EVERYTHING = len(ENTRIES) + 1


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Give the index of a registry of varied entries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODXFER_HOME", str(tmp_path_factory.mktemp("home")))
        registry = make_registry(tmp_path_factory.mktemp("registry"), *ENTRIES)
        opened: list[Index] = []
        use_index(registry, lambda index: opened.append(_kept(index)))
        yield opened[0]
        opened[0].connection.close()


def _kept(index: Index) -> Index:
    """Copy an index into memory, so that it can be asked many times."""
    import sqlite3

    memory = sqlite3.connect(":memory:")
    index.connection.backup(memory)
    return Index(registry=index.registry, connection=memory, problems=index.problems)


def some(*values: str | None) -> st.SearchStrategy[str | None]:
    """Draw nothing, one of some values, in any case, or one that is not there."""
    there = st.sampled_from([value for value in values if value])
    return st.none() | there | there.map(str.upper) | st.just("nowhere")


BASES = (*planted.BASES, "roberta", f"acme/bert-base@{COMMIT}", "BERT-base@4f1c", "acme/roberta@4f1c0", "acme/roberta@5")
METRICS = (*planted.METRICS, "mean_correlation", "F1")
SCORES = st.sampled_from(
    [MinimumScore(metric=metric, value=value) for metric in METRICS for value in (-5.0, 0.0, 0.5, 0.75, 0.9)]
)
WORDS = st.sampled_from(
    (*planted.WORDS, "new", "cafe", "UBER", "named-ent", "entry-01", "acme/entry", "lee", "pt-BR", "gross", "e")
)
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "base": some(*BASES),
        "family": some(*planted.FAMILIES),
        "task": some(*planted.TASKS),
        "method": some(*planted.METHODS, "lsa"),
        "format": some("peft", "adapters"),
        "licence": some(*planted.LICENCES),
        "author": some(*planted.NAMES, "ann", "a@b.org", "ann-lee"),
        "kind": some("module", "alignment"),
        "languages": st.lists(st.sampled_from((*planted.LANGUAGES, "zh", "PT", "p")), max_size=2).map(tuple),
        "tags": st.lists(st.sampled_from((*planted.TAGS, "LAW", "nothing")), max_size=2).map(tuple),
        "scores": st.lists(SCORES, max_size=2).map(tuple),
        "text": st.lists(WORDS, max_size=3).map(" ".join),
    },
)


@settings(max_examples=300)
@given(fields=QUERIES, limit=st.integers(1, EVERYTHING))
def test_find_means_what_its_filters_mean(index: Index, fields: dict[str, Any], limit: int) -> None:
    """All entries that pass every filter are counted, and the first of them are returned, each once."""
    query = Query(**fields)
    meant = {entry["id"] for entry in ENTRIES if planted.means(query, entry)}
    results = find(index, query, limit=EVERYTHING)
    assert {hit.id for hit in results.hits} == meant
    assert (results.total, len(results.hits)) == (len(meant), len(meant))
    first = find(index, query, limit=limit)
    assert (first.hits, first.total) == (results.hits[:limit], results.total)


@pytest.mark.parametrize("field", ["base", "family", "task", "method", "format", "licence", "author", "kind"])
@pytest.mark.parametrize("entry", ENTRIES[:12:5], ids=lambda entry: entry["id"])
def test_find_finds_each_entry_by_each_of_its_fields(index: Index, field: str, entry: dict[str, Any]) -> None:
    """No filter is without effect: an entry's own value finds it and not everything."""
    alignment = "aligner" in entry
    own = {
        "base": (entry["student"] if alignment else entry["base"])["name"],
        "family": (entry["student"] if alignment else entry["base"])["family"],
        "task": entry.get("task"),
        "method": entry["aligner"] if alignment else entry["method"]["name"],
        "format": entry.get("format"),
        "licence": entry["license"],
        "author": entry["authors"][0]["name"],
        "kind": "alignment" if alignment else "module",
    }
    results = find(index, Query(**{field: own[field]}), limit=EVERYTHING)
    assert entry["id"] in {hit.id for hit in results.hits}
    assert results.total < len(ENTRIES) or own[field] is None


@settings(max_examples=400)
@given(
    text=st.text() | st.text(alphabet="\"*():^-+{}'; \0ANDORNEAR\ud800a"),
    field=st.sampled_from(("text", "base", "task", "author")),
)
@example(text='" OR 1=1 --', field="text")
@example(text="name : news", field="text")
@example(text="news* NEAR(x y)", field="text")
@example(text="'; DROP TABLE entries; --", field="base")
@example(text="\0", field="text")
@example(text="@", field="base")
@example(text="%@%", field="base")
@example(text="word " * 3000, field="text")
def test_find_takes_any_text(index: Index, text: str, field: str) -> None:
    """No text is an error or a command: it finds something or nothing, and the index stays as it is."""
    results = find(index, Query(**{field: text}), limit=1)  # type: ignore[arg-type]
    assert 0 <= results.total <= len(ENTRIES)
    assert find(index, Query(), limit=1).total == len(ENTRIES)


@pytest.mark.parametrize("text", ["news OR zebra", "title:news", "name:news", '"zebra" OR "news"', "NOT zebra", "ne*s"])
def test_find_knows_no_operators(index: Index, text: str) -> None:
    """What FTS5 would take as an operator is a word like any other."""
    assert find(index, Query(text=text)).total == 0


def test_find_sorts_by_relevance(tmp_path: Path) -> None:
    """A word in the title counts more than one in the description, and ids decide between equals."""
    prose = {"title": "Another one", "description": "All of it about insects."}
    named = {"title": "Insects", "description": "Nothing of note here at all."}
    entries = [module_entry("a/b", **prose), module_entry("z/b", **named), module_entry("z/a", **named)]
    registry = make_registry(tmp_path / "registry", *entries)
    assert [hit.id for hit in search(registry, Query(text="insect")).hits] == ["z/a", "z/b", "a/b"]


def test_find_sorts_by_the_score_that_was_asked_for(index: Index) -> None:
    """With a minimum score the best come first, each with its best value by that metric; otherwise ids decide."""
    hits = find(index, Query(scores=(MinimumScore(metric="ACCURACY", value=-9.0),)), limit=EVERYTHING).hits
    best = {entry["id"]: planted.best(entry, "accuracy") for entry in ENTRIES}
    assert [(hit.id, hit.scores[str(hit.metric)]) for hit in hits] == sorted(
        ((id, score) for id, score in best.items() if score is not None), key=lambda item: (-item[1], item[0])
    )
    ids = [hit.id for hit in find(index, Query(), limit=EVERYTHING).hits]
    assert ids == sorted(entry["id"] for entry in ENTRIES)


def test_many_hits_come_in_the_order_of_few(index: Index) -> None:
    """Whichever way the first entries are looked up, they are the first by id; words that occur in many do not rank."""
    for query in (Query(), Query(kind="module"), Query(tags=("law",))):
        assert find(index, query, limit=7, many=3) == find(index, query, limit=7)
    ranked, listed = (find(index, Query(text="e"), limit=EVERYTHING, many=many) for many in (EVERYTHING, 3))
    ids = [hit.id for hit in listed.hits]
    assert ids == sorted(ids)
    assert sorted(hit.id for hit in ranked.hits) == ids != [hit.id for hit in ranked.hits]


@pytest.mark.parametrize("fields", [{}, {"text": "e"}, {"scores": (MinimumScore(metric="f1", value=0.0),)}])
def test_find_takes_any_limit(index: Index, fields: dict[str, Any]) -> None:
    """One that SQLite could not count to shows everything."""
    assert find(index, Query(**fields), limit=10**30) == find(index, Query(**fields), limit=EVERYTHING)


def test_find_tells_which_metrics_there_are(index: Index) -> None:
    """A metric that no entry has is a mistake, and the message names those that there are."""
    with pytest.raises(UsageError, match=r"a score by `f2`\. It has `accuracy`, `f1`, `F1-macro`, `mean_correlation`\."):
        find(index, Query(scores=(MinimumScore(metric="f2", value=0.5),)))


def test_find_tells_that_there_are_no_metrics(tmp_path: Path) -> None:
    """In a registry without scores there is none to name."""
    registry = make_registry(tmp_path, module_entry(results=None))
    with pytest.raises(UsageError, match=r"a score by `f1`\. None of them has any score\."):
        search(registry, Query(scores=(MinimumScore(metric="f1", value=0.5),)))


def test_find_needs_a_limit_that_shows_something(index: Index) -> None:
    """A limit below 1 is refused with its value."""
    with pytest.raises(UsageError, match="limit of 0"):
        find(index, Query(), limit=0)


@pytest.mark.parametrize("text", ["f1=0.8", "f1>=0.8", " f1 >= 8e-1 "])
def test_parse_minimum_score_reads_metric_and_value(text: str) -> None:
    """Both spellings are read."""
    assert parse_minimum_score(text) == MinimumScore(metric="f1", value=0.8)


@pytest.mark.parametrize("text", ["f1", "=0.8", "f1=", "f1=high", "f1=nan", "f1=1e", "f1<=0.8", "f1=0.8=0.9", "f1=inf", ""])
def test_parse_minimum_score_refuses_others(text: str) -> None:
    """What has no metric, no number or another comparison is refused, and shown."""
    with pytest.raises(UsageError, match=f"`{text or r'[?]'}` is no minimum score"):
        parse_minimum_score(text)


def test_a_hit_tells_what_the_entry_says(tmp_path: Path) -> None:
    """Fields are the entry's own, and of several scores by one metric the best is kept."""
    results = [
        {"metric": metric, "value": value, "dataset": "d", "split": "test", "ran_by": "us"}
        for metric, value in (("f1", 0.5), ("accuracy", 0.75), ("f1", 0.625))
    ]
    registry: Registry = make_registry(tmp_path, module_entry(results=results, languages=["en", "pt-BR"]))
    (hit,) = search(registry, Query()).hits
    assert hit.as_json() == {
        "kind": "module",
        "id": "acme/ner",
        "title": "Named entities, LoRA",
        "method": "lora",
        "format": "peft",
        "task": "token-classification",
        "license": "Apache-2.0",
        "metric": "f1",
        "base": {"name": "acme/bert-student", "revision": COMMIT},
        "teacher": None,
        "languages": ["en", "pt-BR"],
        "scores": {"f1": 0.625, "accuracy": 0.75},
    }
