"""Entries of what is really there: modules and an alignment map on the Hub of the tests, and entries that say what they are."""

import copy
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from modxfer.registry.entries.problems import Place, Problem
from modxfer.registry.entries.reading import ReadFile, read_file
from tests import entries
from tests.hub.server import HubServer
from tests.registry.conftest import Made, contents

TEACHER, STUDENT = "acme/bert-teacher", "acme/bert-student"
MODULE_FILES = ("adapter_config.json", "adapter_model.safetensors")
MAP_FILES = ("alignment.json", "alignment.safetensors")
ROLES = ["attention_output", "ffn_down", "ffn_up", "query"]
CARD = """---
license: mit
language: [en]
base_model: acme/bert-teacher
datasets: [acme/news]
pipeline_tag: token-classification
library_name: peft
tags: [lora, news]
---
Names.
"""

Check = Callable[[ReadFile], Iterable[Problem]]


def publish(hub: HubServer, made: Made) -> None:
    """Put the pair, the module, the converted one and the map on the Hub, each in a repository of its own."""
    hub.add_repo(TEACHER, contents(made.teacher))
    hub.add_repo(STUDENT, contents(made.student))
    files = contents(made.module)
    config = json.loads(files["adapter_config.json"])
    files["adapter_config.json"] = json.dumps({**config, "base_model_name_or_path": TEACHER}).encode()
    hub.add_repo("acme/ner-large", {**files, "README.md": CARD.encode()})
    hub.add_repo("acme/ner-small", contents(made.converted))
    hub.add_repo("acme/bert-to-student", contents(made.map))


def base_of(hub: HubServer, name: str) -> dict[str, Any]:
    """Describe one of the two base models."""
    files = hub.files(name)
    hashes = {path: _sha256(files.get(path, b"")) for path in ("config.json", "model.safetensors")}
    whole = "".join(f"{path}\0{found}\n" for path, found in sorted(hashes.items()))
    return {
        "name": name,
        "revision": hub.head(name),
        "fingerprint": _sha256(whole.encode()),
        "family": "bert",
        "widths": {"hidden": 12, "heads": 12, "ffn": 20},
        "depths": {"encoder": 3},
    }


def source_of(hub: HubServer, name: str, *paths: str) -> dict[str, Any]:
    """Pin files of a repository as they are."""
    files = hub.files(name)
    pinned = [{"path": path, "sha256": _sha256(files[path]), "size_bytes": len(files[path])} for path in paths]
    return {"repository": name, "revision": hub.head(name), "files": pinned}


def large(hub: HubServer, **changes: Any) -> dict[str, Any]:
    """Describe the module on the teacher."""
    method = {"name": "lora", "inner_sizes": [3], "scalings": [2.3333], "roles": ROLES, "parameters": 1060}
    entry = entries.teacher_entry(
        source=source_of(hub, "acme/ner-large", *MODULE_FILES),
        base=base_of(hub, TEACHER),
        method=method,
        head={"task": "TOKEN_CLS", "labels": 4},
        license="MIT",
    )
    return {**entry, **changes}


def small(hub: HubServer, **changes: Any) -> dict[str, Any]:
    """Describe the module that was moved to the student."""
    lineage = {
        "teacher": "acme/ner-large",
        "alignment": "acme/bert-to-student",
        "layers": {"mode": "skip", "map": {"encoder": [[[0, 1.0]], [[1, 1.0]], [[2, 1.0]]]}},
    }
    source = source_of(hub, "acme/ner-small", *MODULE_FILES)
    return {
        **large(hub),
        "id": "acme/ner-small",
        "source": source,
        "base": base_of(hub, STUDENT),
        "lineage": lineage,
        **changes,
    }


def a_map(hub: HubServer, **changes: Any) -> dict[str, Any]:
    """Describe the alignment map."""
    record = json.loads(hub.files("acme/bert-to-student")["alignment.json"])
    corpus = {key: record["corpus"][key] for key in ("name", "fingerprint", "texts", "tokens")}
    layers: dict[str, list[float]] = {}
    for site in record["sites"]:
        stack, layer, *_ = site["student"].split(".")
        inside = layer.isdigit()
        title = f"{stack} {layer} <- {site['teacher'].split('.')[1]}" if inside else site["student"]
        layers.setdefault(title, []).append(site["mean_correlation"])
    scores = {
        "mean_correlation": round(record["mean_correlation"], 4),
        "layers": {title: round(sum(values) / len(values), 4) for title, values in layers.items()},
    }
    entry = entries.alignment_entry(
        source=source_of(hub, "acme/bert-to-student", *MAP_FILES),
        teacher=base_of(hub, TEACHER),
        student=base_of(hub, STUDENT),
        aligner=record["aligner"],
        requested=record["requested"],
        key=record["key"],
        corpus=corpus,
        scores=scores,
    )
    return {**entry, **changes}


KINDS: dict[str, Callable[[HubServer], dict[str, Any]]] = {"large": large, "small": small, "map": a_map}
"""The entries that can be broken."""


def read_entry(entry: dict[str, Any]) -> ReadFile:
    """Read an entry that is all right as far as its file shows."""
    read = read_file(entries.entry_path(entry), entries.as_yaml(entry).encode())
    assert read.entry is not None, read.problems
    return read


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to break an entry or what it points at, and the whole report of it.

    Attributes:
        rule: The rule that is broken.
        line: How the line of the problem begins; its value is where the problem is.
        what: What is wrong; `{...}` stands for what `values` gives.
        do: How to mend it.
        kind: The entry.
        repository: What is done at the Hub, before the entry is written.
        change: What is done to the entry.
        later: What is done at the Hub after the entry was written.
        at: What of that line: "value", "key", "item" (of a list), or "list" (one that begins in the next line).
        values: What is only known when the test runs.
    """

    rule: str
    line: str
    what: str
    do: str
    kind: str = "large"
    repository: Callable[[HubServer], object] = field(default=lambda hub: None)
    change: Callable[[dict[str, Any]], object] = field(default=lambda entry: None)
    later: Callable[[HubServer], object] = field(default=lambda hub: None)
    at: str = "value"
    values: Callable[[HubServer], dict[str, object]] = field(default=lambda hub: {})

    def report(self, hub: HubServer, check: Check) -> tuple[list[Problem], Problem]:
        """Break it and check it; gives what was reported and what should have been."""
        self.repository(hub)
        entry = copy.deepcopy(KINDS[self.kind](hub))
        self.change(entry)
        self.later(hub)
        read = read_entry(entry)
        values = self.values(hub)
        line, column = _locate(entries.as_yaml(entry), self.line.format(**values), at=self.at)
        place = Place(line=line, column=column)
        what, do = self.what.format(**values), self.do.format(**values)
        return list(check(read)), Problem(rule=self.rule, path=read.path, place=place, what=what, do=do)


def _locate(text: str, start: str, *, at: str) -> tuple[int, int]:
    """Find the only line that begins so, and in it what is meant."""
    lines = text.splitlines()
    (number,) = (number for number, line in enumerate(lines, start=1) if line.startswith(start))
    line = lines[number - 1]
    key = len(line) - len(line.lstrip(" -"))
    match at:
        case "key":
            return number, key + 1
        case "item":
            return number, line.index("- ") + 3
        case "list":
            return number + 1, lines[number].index("-") + 1
    return number, line.index(": ", key) + 3


def change(*keys: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    """Set a value of an entry."""

    def do(entry: dict[str, Any]) -> None:
        owner: Any = entry
        for key in keys[:-1]:
            owner = owner[key]
        owner[keys[-1]] = to

    return do


def commit(name: str, **files: bytes | None) -> Callable[[HubServer], object]:
    """Change files of a repository; the entry then pins the commit that this makes. `__` stands for a dot."""
    return lambda hub: hub.commit(name, {path.replace("__", "."): content for path, content in files.items()})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
