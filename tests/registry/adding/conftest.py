"""A pair of base models and a module on the Hub, and what becomes of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from modxfer import api
from modxfer.registry.adding.add import Added, add
from modxfer.registry.adding.choice import EntryChoice
from modxfer.registry.entries.folder import Registry
from tests.entries import make_registry
from tests.hub.server import HubServer
from tests.registry.conftest import Made, contents

CARD = """\
---
license: apache-2.0
language: [en, PT-br, multilingual, Klingonish]
datasets: [acme/news, "<b>odd</b>"]
tags: [peft, lora, news, "base_model:adapter:acme/teacher", "adapterhub:ner/acme", "an odd tag!"]
---

# A heading

Finds **names** in [news](https://example.org), with `LoRA`.
"""


@dataclass(frozen=True, kw_only=True)
class OnHub:
    """A Hub with base models and modules, and a registry to put them into.

    Attributes:
        hub: The Hub.
        registry: The registry.
        commits: Hub id to commit.
    """

    hub: HubServer
    registry: Registry
    commits: Mapping[str, str]

    @property
    def fetched(self) -> set[str]:
        """The names of the files that were asked for whole."""
        requests = self.hub.requests("GET", "/resolve/")
        return {request.path.rpartition("/")[2] for request in requests if "range" not in request.headers}

    @property
    def written(self) -> set[str]:
        """The files of the registry."""
        return set(contents(self.registry.root))

    def add(self, reference: str, *, force: bool = False, dry_run: bool = False, **said: Any) -> Added:
        """Add something to the registry, with what the user says of it."""
        return add(reference, self.registry, EntryChoice(**said), force=force, dry_run=dry_run)


def named(folder: Path, base: str | None, *, revision: str | None = None, card: str = CARD) -> dict[str, bytes]:
    """Give a module's files, with a base model on the Hub and a card."""
    files = contents(folder)
    config = json.loads(files["adapter_config.json"])
    config |= {"base_model_name_or_path": base, "revision": revision}
    return files | {"adapter_config.json": json.dumps(config).encode(), "README.md": card.encode()}


@pytest.fixture
def on_hub(acme: HubServer, made: Made, tmp_path: Path) -> OnHub:
    """Publish a pair of base models, and a module of the teacher."""
    commits = {
        "acme/teacher": acme.add_repo("acme/teacher", contents(made.teacher)),
        "acme/student": acme.add_repo("acme/student", contents(made.student)),
        "acme/ner": acme.add_repo("acme/ner", named(made.module, "acme/teacher")),
    }
    acme.clear_log()
    return OnHub(hub=acme, registry=make_registry(tmp_path / "registry"), commits=commits)


@pytest.fixture
def moved(on_hub: OnHub, made: Made, tmp_path: Path) -> OnHub:
    """Convert the module, and publish the result and the alignment map that it was made with."""
    choice = api.AlignmentChoice(corpus=str(made.text))
    found = api.convert("acme/ner", to="acme/student", align=choice, output=tmp_path / "moved").found.alignment
    assert found is not None
    api.push_alignment(found.key, api.PushChoice(name="acme/map", licence="cc0-1.0"))
    api.push(tmp_path / "moved", api.PushChoice(name="acme/moved"))
    commits = {name: on_hub.hub.head(name) for name in ("acme/map", "acme/moved")}
    on_hub.hub.clear_log()
    return replace(on_hub, commits={**on_hub.commits, **commits})
