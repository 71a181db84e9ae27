"""A broken registry for each rule that is checked offline."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modxfer.registry.checks.run import Report, check
from tests.entries import (
    alignment_entry,
    as_yaml,
    base,
    make_registry,
    module_entry,
    sha256,
    source,
    teacher_entry,
    transferred_entry,
)

NER = "modules/acme/ner.yaml"
SMALL = "modules/acme/ner-small.yaml"
ALIASES = "format_version: 1\nmodules:\n  "


@dataclass(frozen=True, kw_only=True)
class Case:
    """A registry in which one thing is wrong.

    Attributes:
        rule: Id of the rule that it breaks.
        entries: Entries to write.
        files: Other files to write.
        prepare: What else to do to the folder.
        meanwhile: What to do once the first file was read.
    """

    rule: str
    entries: tuple[dict[str, Any], ...] = ()
    files: dict[str, str | bytes] = field(default_factory=dict)
    prepare: Callable[[Path], object] = lambda root: None
    meanwhile: Callable[[Path], None] = lambda root: None

    def check(self, root: Path) -> Report:
        """Write the registry and check it."""
        registry = make_registry(root, *self.entries, **self.files)
        self.prepare(root)
        return check(registry, progress=lambda stage, done, total: self.meanwhile(root))


def reported(report: Report) -> list[str]:
    """Write each problem on one line, then how to mend it."""
    return [
        line
        for problem in report.problems
        for line in (
            f"{problem.path}:{problem.place.line}:{problem.place.column}: {problem.rule}: {problem.what}",
            f"  {problem.do}",
        )
    ]


def changed(old: str, new: str, entry: dict[str, Any] | None = None) -> str:
    """Change a valid module entry as text."""
    text = as_yaml(entry or module_entry())
    assert text.count(old) == 1, (old, text)
    return text.replace(old, new)


def module(rule: str, **changes: Any) -> Case:
    """Change a valid module entry."""
    return Case(rule=rule, entries=(module_entry(**changes),))


def text(rule: str, old: str, new: str) -> Case:
    """Change a valid module entry as text."""
    return Case(rule=rule, files={NER: changed(old, new)})


def lineage(rule: str, **changes: Any) -> Case:
    """Change a transferred module whose lineage is whole."""
    return Case(rule=rule, entries=(teacher_entry(), alignment_entry(), transferred_entry(**changes)))


def lineage_of(teacher: str = "acme/ner-large", alignment: str | None = "acme/bert-to-student", **feeds: Any) -> dict[str, Any]:
    """Describe a lineage; `encoder` for another layer map."""
    layers = {"mode": "skip", "map": {"encoder": [[[2 * layer, 1.0]] for layer in range(6)]} | feeds}
    return {"teacher": teacher} | ({"alignment": alignment} if alignment else {}) | {"layers": layers}


def _link(root: Path, path: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).symlink_to(root)


_RESULT = module_entry()["results"][0]
_FEEDS = [[[2 * layer, 1.0]] for layer in range(6)]

CASES = [
    Case(rule="symlink", prepare=lambda root: _link(root, NER)),
    Case(rule="misplaced", files={"modules/ner.yaml": as_yaml(module_entry())}),
    Case(rule="too-large", files={NER: as_yaml(module_entry()) + "#" * 200_000}),
    Case(rule="no-settings", prepare=lambda root: os.remove(root / "registry.yaml")),  # noqa: PTH107
    Case(
        rule="unreadable",
        entries=(module_entry(),),
        meanwhile=lambda root: (root / "registry.yaml").unlink(missing_ok=True),
    ),
    Case(rule="encoding", files={NER: changed("A. Person", "A. Pérson").encode("latin-1")}),
    text("control-characters", "A. Person", '"A. \\e[31mPerson"'),
    text("yaml-syntax", "license: Apache-2.0", "license: [Apache-2.0"),
    text("yaml-alias", "format: peft", "format: &format peft"),
    text("yaml-depth", "title: Named entities, LoRA", f"title: {'[' * 17}{']' * 17}"),
    text("duplicate-key", "license: Apache-2.0", "license: Apache-2.0\nlicense: MIT"),
    module("markup", title="See [this](https://example.com)"),
    module("formula", title="=HYPERLINK(A1)"),
    module("format-version", format_version=2),
    module("missing-field", license=None),
    text("unknown-field", "languages:", "language:"),
    module("wrong-type", title=7),
    module("bad-value", title="x" * 201),
    module("entry-id", lineage=lineage_of("../secrets", None)),
    Case(rule="id-path", files={NER: as_yaml(module_entry("acme/other"))}),
    module("license", license="apache-2.0"),
    module("language", languages=["en", "english"]),
    module("unpinned", source=source("acme/ner", "adapter_config.json", "adapter_model.safetensors") | {"revision": "main"}),
    module("hub-id", base=base("/home/me/bert")),
    module("file-path", source=source("acme/ner", "../adapter_config.json", "adapter_model.safetensors")),
    module("pickle", source=source("acme/ner", "adapter_config.json", "adapter_model.bin")),
    module("address", homepage="https://localhost/"),
    module("duplicate-item", languages=["en", "de", "en"]),
    module("no-weights", source=source("acme/ner", "adapter_config.json")),
    module("widths", base=base() | {"widths": {"hidden": 384, "heads": 384}}),
    Case(rule="duplicate-source", entries=(module_entry(), module_entry("acme/other", source=module_entry()["source"]))),
    lineage("unknown-reference", lineage=lineage_of("acme/ner-larger")),
    Case(rule="alias", entries=(module_entry(),), files={"aliases/acme.yaml": ALIASES + "stable: nr\n"}),
    lineage("lineage-cycle", lineage=lineage_of("acme/ner-small")),
    lineage("lineage-base", base=base("acme/other-student")),
    lineage("lineage-widths", base=base() | {"widths": {"hidden": 384, "heads": 384, "ffn": 1024}}),
    lineage("lineage-layers", lineage=lineage_of(encoder=[*_FEEDS[:5], [[12, 1.0]]])),
    lineage("lineage-method", method={"name": "bottleneck", "inner_sizes": [8]}),
    module("license-unknown", license="NOASSERTION"),
    module("unknown-family", base=base() | {"family": "quux"}),
    module(
        "incomplete",
        source={"archive": "https://example.com/ner.zip", "sha256": sha256("zip")},
        base={"name": "bert-base-uncased", "family": "bert"},
    ),
    module("odd-score", results=[{**_RESULT, "value": 87.5}]),
]
