"""A registry of varied entries, and the plain way to find out which of them a query means."""

import random
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from modxfer.registry.search.query import Query
from tests.entries import COMMIT, alignment_entry, base, module_entry

OTHER_COMMIT = "4f1c" + "0" * 36
BASES = ("acme/bert-base", "Other/Bert-Base", "bert-base", "acme/roberta", "nine/distilbert-x")
COMMITS = (COMMIT, OTHER_COMMIT, None)
FAMILIES = ("bert", "roberta")
TASKS = ("token-classification", "text-classification", None)
METHODS = ("lora", "bottleneck")
LANGUAGES = ("en", "pt", "pt-BR", "zh-Hans", "zh-Hant", "de")
LICENCES = ("MIT", "Apache-2.0", "MIT OR Apache-2.0", "(MIT OR Apache-2.0) AND ISC", "CC-BY-NC-4.0")
TAGS = ("news", "law", "News archive", "x:y")
METRICS = ("f1", "accuracy", "F1-macro")
NAMES = ("Ann Lee", "Jürgen Groß", "lee", "Bo")
WORDS = ("news", "newsletter", "Café", "ner", "named-entity", "entity", "law", "über", "a", "two words")


def make_entries(number: int = 70, seed: int = 0) -> list[dict[str, Any]]:
    """Make entries in which every field varies."""
    return [_entry(index, random.Random(seed * 1000 + index)) for index in range(number)]


def _base(chance: random.Random) -> dict[str, Any]:
    found = base(chance.choice(BASES), family=chance.choice(FAMILIES), revision=chance.choice(COMMITS))
    return {key: value for key, value in found.items() if value is not None}


def _entry(index: int, chance: random.Random) -> dict[str, Any]:
    common: dict[str, Any] = {
        "title": " ".join(chance.choices(WORDS, k=3)),
        "description": " ".join(chance.choices(WORDS, k=chance.randrange(4))),
        "license": chance.choice(LICENCES),
        "authors": [_author(name, chance) for name in chance.sample(NAMES, chance.choice((1, 2)))],
        "tags": chance.sample(TAGS, chance.randrange(3)),
    }
    id = f"{chance.choice(('acme', 'zoo', 'bar'))}/entry-{index:03}"
    if index % 6 == 0:
        scores = {"mean_correlation": round(chance.uniform(-1, 1), 2)}
        return alignment_entry(
            id, **common, teacher=_base(chance), student=_base(chance), aligner=chance.choice(("lsa", "linear")), scores=scores
        )
    return module_entry(
        id,
        **common,
        base=_base(chance),
        method={"name": chance.choice(METHODS)},
        format=chance.choice(("peft", "adapters")),
        task=chance.choice(TASKS),
        languages=chance.sample(LANGUAGES, chance.randrange(3)),
        datasets=[{"name": chance.choice(("acme/data", "Wiki news"))}],
        results=[_result(chance) for _ in range(chance.randrange(4))],
    )


def _author(name: str, chance: random.Random) -> dict[str, str]:
    return {"name": name} | chance.choice(({}, {"github": "Ann-Lee"}, {"email": "a@b.org"}))


def _result(chance: random.Random) -> dict[str, Any]:
    value = chance.choice((0.5, 0.75, round(chance.uniform(0, 1), 2), -3.0))
    return {"metric": chance.choice(METRICS), "value": value, "dataset": "d", "split": "test", "ran_by": "us"}


def means(query: Query, entry: dict[str, Any]) -> bool:
    """Say whether a query means an entry, filter by filter over what the file says."""
    alignment = "aligner" in entry
    bases = [entry["teacher"], entry["student"]] if alignment else [entry["base"]]
    wanted = {
        "kind": ["alignment" if alignment else "module"],
        "family": [item["family"] for item in bases],
        "method": [entry["aligner"] if alignment else entry["method"]["name"]],
        "format": [entry.get("format")],
        "task": [entry.get("task")],
    }
    found = all(not getattr(query, field) or _equal(getattr(query, field), values) for field, values in wanted.items())
    found = found and (not query.base or any(_is_base(query.base, item) for item in bases))
    found = found and (not query.licence or _equal(query.licence, _licences(entry["license"])))
    found = found and (not query.author or _equal(query.author, _names(entry["authors"])))
    found = found and all(_equal(tag, entry.get("tags", [])) for tag in query.tags)
    languages = [] if alignment else entry.get("languages", [])
    found = found and all(
        any(f"{language}-".lower().startswith(f"{asked}-".lower()) for language in languages) for asked in query.languages
    )
    found = found and all((best(entry, item.metric) or -9e9) >= item.value for item in query.scores)
    return found and all(any(_has(word, column) for column in texts(entry)) for word in query.text.split())


def best(entry: dict[str, Any], metric: str) -> float | None:
    """Give the best score of an entry by a metric."""
    if "aligner" in entry:
        scores = [entry["scores"]["mean_correlation"]] if metric.lower() == "mean_correlation" else []
    else:
        scores = [item["value"] for item in entry.get("results", []) if item["metric"].lower() == metric.lower()]
    return max(scores, default=None)


def _equal(asked: str, values: list[Any]) -> bool:
    return any(value is not None and value.casefold() == asked.casefold() for value in values)


def _is_base(asked: str, item: dict[str, Any]) -> bool:
    name, _, revision = asked.lower().partition("@")
    is_named = name in (item["name"].lower(), item["name"].lower().split("/")[-1])
    return is_named and (not revision or item.get("revision", "").startswith(revision))


def _licences(licence: str) -> list[str]:
    return [licence] if "(" in licence else [licence, *licence.split(" OR ")]


def _names(authors: list[dict[str, str]]) -> list[str]:
    fields = [[author["name"], *author["name"].split(), author.get("github"), author.get("email")] for author in authors]
    return [name for names in fields for name in names if name]


def texts(entry: dict[str, Any]) -> Iterator[list[str]]:
    """List the words of an entry that can be found: those of id and title, and the others."""
    yield split(f"{entry['id']} {entry['title']}")
    values = [entry["description"], *entry.get("tags", []), *(author["name"] for author in entry["authors"]), entry["license"]]
    if "aligner" in entry:
        named = [entry[role][field] for field in ("name", "family") for role in ("teacher", "student")]
        yield split(" ".join([*values, *named, entry["aligner"], entry["corpus"]["name"]]))
        return
    values += [
        entry["base"]["name"],
        entry["base"]["family"],
        entry["method"]["name"],
        entry["format"],
        entry.get("task") or "",
    ]
    values += [item["name"] for item in entry["datasets"]] + entry.get("languages", [])
    yield split(" ".join(values))


def split(text: str) -> list[str]:
    """Split a text into words as the index does: letters and digits, without case and accents."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return re.findall(r"[^\W_]+", plain.lower())


def _has(word: str, column: list[str]) -> bool:
    """Say whether a column has the parts of a word one after another, the last as the beginning of a word."""
    parts = split(word)
    starts = range(len(column) - len(parts) + 1)
    return any(
        column[start : start + len(parts) - 1] == parts[:-1] and column[start + len(parts) - 1].startswith(parts[-1])
        for start in starts
    )
