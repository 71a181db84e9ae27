"""Registries for tests: valid entries to break, and a folder to put them in."""

import copy
import hashlib
from pathlib import Path
from typing import Any

import yaml

from modxfer.registry.entries.folder import Registry

_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times as fast

COMMIT = "4f1c2e9ab37d5068f1e2d3c4b5a69788796a5b4c"


def sha256(of: str) -> str:
    """Give a sha256 that looks like any other."""
    return hashlib.sha256(of.encode()).hexdigest()


def base(name: str = "acme/bert-student", *, hidden: int = 384, layers: int = 6, **changes: Any) -> dict[str, Any]:
    """Describe a base model of the family BERT."""
    return {
        "name": name,
        "revision": COMMIT,
        "fingerprint": sha256(name),
        "family": "bert",
        "widths": {"hidden": hidden, "heads": hidden, "ffn": 4 * hidden},
        "depths": {"encoder": layers},
    } | changes


def source(repository: str, *files: str) -> dict[str, Any]:
    """Pin files of a repository."""
    return {
        "repository": repository,
        "revision": COMMIT,
        "files": [{"path": path, "sha256": sha256(f"{repository}/{path}"), "size_bytes": 100 + len(path)} for path in files],
    }


def pinned(name: str, commit: str, files: dict[str, bytes]) -> dict[str, Any]:
    """Pin files of a repository by what they hold."""
    return {
        "repository": name,
        "revision": commit,
        "files": [
            {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
            for path, content in files.items()
        ],
    }


def module_entry(id: str = "acme/ner", **changes: Any) -> dict[str, Any]:
    """Describe a LoRA for named entities; fields to change, or None to leave one out."""
    entry = {
        "format_version": 1,
        "id": id,
        "title": "Named entities, LoRA",
        "description": "Trained on some news.\nTwo lines of it.\n",
        "source": source(id, "adapter_config.json", "adapter_model.safetensors"),
        "base": base(),
        "method": {"name": "lora", "inner_sizes": [8], "scalings": [2.0], "roles": ["query", "value"], "parameters": 73728},
        "format": "peft",
        "task": "token-classification",
        "datasets": [{"name": "acme/news", "revision": COMMIT}],
        "languages": ["en"],
        "results": [
            {
                "metric": "f1",
                "value": 0.875,
                "dataset": "acme/news",
                "dataset_revision": COMMIT,
                "split": "test",
                "ran_by": "seqeval 1.2.2",
            }
        ],
        "license": "Apache-2.0",
        "authors": [{"name": "A. Person"}],
        "tags": ["news"],
    }
    return _changed(entry, changes)


def alignment_entry(id: str = "acme/bert-to-student", **changes: Any) -> dict[str, Any]:
    """Describe an alignment map from a BERT of 12 layers and 768 units; fields to change, or None to leave one out."""
    entry = {
        "format_version": 1,
        "id": id,
        "title": "From the large to the small one",
        "source": source(id, "alignment.json", "alignment.safetensors"),
        "teacher": base("acme/bert-teacher", hidden=768, layers=12),
        "student": base(),
        "aligner": "lsa",
        "requested": "auto",
        "key": sha256(f"key of {id}"),
        "corpus": {"name": "acme/news", "revision": COMMIT, "fingerprint": sha256("news"), "texts": 1000, "tokens": 20000},
        "scores": {"mean_correlation": 0.4375, "layers": {"encoder 0 <- 0": 0.5, "encoder 1 <- 2": 0.375}},
        "license": "Apache-2.0",
        "authors": [{"name": "A. Person"}],
    }
    return _changed(entry, changes)


def transferred_entry(id: str = "acme/ner-small", **changes: Any) -> dict[str, Any]:
    """Describe a module that was transferred from `teacher_entry` with `alignment_entry`."""
    feeds = [[[2 * layer, 1.0]] for layer in range(6)]
    lineage = {
        "teacher": "acme/ner-large",
        "alignment": "acme/bert-to-student",
        "layers": {"mode": "skip", "map": {"encoder": feeds}},
    }
    return _changed(module_entry(id, lineage=lineage), changes)


def teacher_entry(id: str = "acme/ner-large", **changes: Any) -> dict[str, Any]:
    """Describe the module that `transferred_entry` comes from."""
    return _changed(module_entry(id, base=base("acme/bert-teacher", hidden=768, layers=12)), changes)


def _changed(entry: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = {**copy.deepcopy(entry), **changes}
    return {key: value for key, value in merged.items() if value is not None}


def entry_path(entry: dict[str, Any]) -> str:
    """Say where an entry belongs."""
    return f"{'alignments' if 'aligner' in entry else 'modules'}/{entry['id']}.yaml"


def as_yaml(entry: dict[str, Any]) -> str:
    """Write an entry as YAML, fields in the given order."""
    return yaml.dump(entry, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)


def make_registry(root: Path, *entries: dict[str, Any], **files: str | bytes) -> Registry:
    """Write a registry: entries at their paths, and other files by theirs."""
    texts: dict[str, str | bytes] = {"registry.yaml": "format_version: 1\ntitle: Modules of Acme\n"}
    texts |= {entry_path(entry): as_yaml(entry) for entry in entries} | files
    for path, text in texts.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Registry(root=root, name=str(root))


def whole_lineage() -> tuple[dict[str, Any], ...]:
    """Give a teacher's module, the alignment map and the module transferred with it: all valid."""
    return teacher_entry(), alignment_entry(), transferred_entry()
