"""What an entry points at on the Hub: clean entries of each kind, and every rule of the stage broken, with its report."""

import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from modxfer.alignments.files import _hash_record
from modxfer.registry.checks.online import check_online
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.reading import read_file
from tests import entries
from tests.hub.faults import Fault
from tests.hub.server import HubServer
from tests.registry.checks.online_entries import (
    KINDS,
    STUDENT,
    TEACHER,
    Case,
    a_map,
    base_of,
    change,
    commit,
    large,
    publish,
    read_entry,
    small,
    source_of,
)
from tests.registry.conftest import Made

LARGE, SMALL, MAP = "acme/ner-large", "acme/ner-small", "acme/bert-to-student"
NOWHERE = "0" * 39 + "1"
OTHER_HASH = entries.sha256("another")


def config(name: str, **changes: Any) -> Any:
    """Change the module's config at the Hub."""

    def do(hub: HubServer) -> None:
        content = json.loads(hub.files(name)["adapter_config.json"])
        hub.commit(name, {"adapter_config.json": json.dumps({**content, **changes}).encode()})

    return do


def record(path: str, name: str, **changes: Any) -> Any:
    """Change the record of a map or of a transfer at the Hub, its own hash with it."""

    def do(hub: HubServer) -> None:
        content = {**json.loads(hub.files(name)[path]), **changes}
        hub.commit(name, {path: json.dumps({**content, "sha256": _hash_record(content)}).encode()})

    return do


def tensors(name: str, path: str, change: Any) -> Any:
    """Change the tensors at the Hub."""

    def do(hub: HubServer) -> None:
        content = load(hub.files(name)[path])
        hub.commit(name, {path: save(change(content))})

    return do


def card(text: str, *, name: str = LARGE) -> Any:
    """Put other metadata into the card at the Hub."""
    return commit(name, README__md=f"---\n{text}\n---\nA card.\n".encode())


def true_hash(hub: HubServer) -> dict[str, object]:
    """Give the sha256 that the weights of the module really have."""
    return {"true": source_of(hub, LARGE, "adapter_model.safetensors")["files"][0]["sha256"]}


TOGETHER = "Pin files that belong together, and name the base model that they were trained on."
KEY = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"
SITE = "encoder.0.query.output<-encoder.0.query.output/correlation"


def map_tensors(change: Any) -> Any:
    """Change the tensors of the map at the Hub, and their hash in its record."""

    def do(hub: HubServer) -> None:
        content = save(change(load(hub.files(MAP)["alignment.safetensors"])))
        hub.commit(MAP, {"alignment.safetensors": content})
        record("alignment.json", MAP, files={"alignment.safetensors": hashlib.sha256(content).hexdigest()})(hub)

    return do


CORRECT = "Correct the entry, or have the card corrected."

CASES = {
    "no such repository": Case(
        rule="repository-missing",
        line="  repository: ",
        change=change("source", "repository", to="acme/gone"),
        what="`acme/gone` is not on the Hub, or it is private and cannot be seen from here.",
        do="Correct the name, or let it be seen: with a token (`HF_TOKEN`), or by making it public.",
    ),
    "no such commit": Case(
        rule="repository-missing",
        line="  revision: '00",
        change=change("source", "revision", to=NOWHERE),
        what=f"`{LARGE}` has no commit `{NOWHERE}`.",
        do="Pin a commit that is there.",
    ),
    "no such base model": Case(
        rule="repository-missing",
        line="  name: acme/bert-teacher",
        later=lambda hub: hub.repos.pop(("model", TEACHER)),
        what=f"`{TEACHER}` is not on the Hub, or it is private and cannot be seen from here.",
        do="Correct the name, or let it be seen: with a token (`HF_TOKEN`), or by making it public.",
    ),
    "no such commit of the base model": Case(
        rule="repository-missing",
        line="  revision: '00",
        change=change("base", "revision", to=NOWHERE),
        what=f"`{TEACHER}` has no commit `{NOWHERE}`.",
        do="Pin a commit that is there.",
    ),
    "the base model is none": Case(
        rule="base-config",
        line="  name: acme/bert-teacher",
        repository=commit(TEACHER, config__json=None),
        what=f"`{TEACHER}` holds no `config.json`, so it is no base model.",
        do="Name the base model.",
    ),
    "gated": Case(
        rule="not-checked",
        line="  repository: ",
        repository=lambda hub: setattr(hub.repository(LARGE), "gated", "manual"),
        what=f"`{LARGE}` at `{{commit}}` is gated, and its owner has not let you in (status 401).",
        do="Log in with `hf auth login`, and ask for access at {url}/acme/ner-large.",
        values=lambda hub: {"commit": hub.head(LARGE), "url": hub.url},
    ),
    "no such file": Case(
        rule="file-changed",
        line="  - path: other.json",
        change=lambda entry: entry["source"]["files"].append({"path": "other.json", "sha256": OTHER_HASH, "size_bytes": 5}),
        what=f"`{LARGE}` has no file `other.json` at this commit.",
        do="Pin a commit that has it, or the files that are there.",
    ),
    "another size": Case(
        rule="file-changed",
        line="    size_bytes: 1",
        change=change("source", "files", 0, "size_bytes", to=1),
        what="`adapter_config.json` has {size} bytes at this commit, and is pinned with 1.",
        do="Look at it again, then write {size}.",
        values=lambda hub: {"size": len(hub.files(LARGE)["adapter_config.json"])},
    ),
    "another hash of weights": Case(
        rule="file-changed",
        line=f"    sha256: {OTHER_HASH}",
        change=change("source", "files", 1, "sha256", to=OTHER_HASH),
        what="`adapter_model.safetensors` has the sha256 {true} at this commit, not the pinned one.",
        do="Look at it again, then write that sha256.",
        values=true_hash,
    ),
    "another hash of a text": Case(
        rule="file-changed",
        line=f"    sha256: {OTHER_HASH}",
        change=change("source", "files", 0, "sha256", to=OTHER_HASH),
        what="`adapter_config.json` has the sha256 {true} at this commit, not the pinned one.",
        do="Look at it again, then write that sha256.",
        values=lambda hub: {"true": source_of(hub, LARGE, "adapter_config.json")["files"][0]["sha256"]},
    ),
    "a branch that moved": Case(
        rule="branch-moved",
        line="  branch: main",
        later=commit(LARGE, README__md=b"new"),
        change=change("source", "branch", to="main"),
        what=f"The branch `main` of `{LARGE}` is at `{{head}}` now.",
        do="See what has changed there, and register it if it is better.",
        values=lambda hub: {"head": hub.head(LARGE)},
    ),
    "a branch that is gone": Case(
        rule="branch-moved",
        line="  branch: old",
        change=change("source", "branch", to="old"),
        what=f"`{LARGE}` has no branch `old` any more.",
        do="Correct `branch`; the pinned commit is still there.",
    ),
    "pickles": Case(
        rule="unlisted-file",
        line="  files:",
        at="key",
        repository=lambda hub: hub.commit(LARGE, {"training_args.bin": b"x", "old/optimizer.PT": b"y"}),
        what=f"`{LARGE}` holds pickles too: `old/optimizer.PT`, `training_args.bin`.",
        do="Take them out of the repository, and pin the commit that follows; nothing here loads them.",
    ),
    "a tensor too few": Case(
        rule="tensors",
        line="  - path: adapter_model.safetensors",
        repository=tensors(LARGE, "adapter_model.safetensors", lambda found: {key: found[key] for key in found if key != KEY}),
        what="`bert.encoder.layer.0.attention.self.query` has the tensors `up`, and `adapter_config.json` asks for `down`, "
        "`up`.",
        do=TOGETHER,
    ),
    "a tensor of another shape": Case(
        rule="tensors",
        line="  - path: adapter_model.safetensors",
        repository=tensors(
            LARGE, "adapter_model.safetensors", lambda found: {**found, KEY: np.ones((3, 13), dtype=np.float32)}
        ),
        what="`bert.encoder.layer.0.attention.self.query, down` in the module has the shape (3, 13), and `acme/bert-teacher` "
        "needs (3, 12).",
        do=TOGETHER,
    ),
    "a rank that is not the config's": Case(
        rule="tensors",
        line="  - path: adapter_model.safetensors",
        repository=config(LARGE, rank_pattern={"query": 2}),
        what="`bert.encoder.layer.0.attention.self.query`, down, has the shape (3, 12), and `adapter_config.json` says that "
        "its rank is 2.",
        do=TOGETHER,
    ),
    "targets that are not the config's": Case(
        rule="tensors",
        line="  - path: adapter_model.safetensors",
        repository=config(LARGE, target_modules=["dense"]),
        what="The module holds lora tensors for `bert.encoder.layer.0.attention.self.query`, "
        "`bert.encoder.layer.1.attention.self.query`, `bert.encoder.layer.2.attention.self.query`, which "
        "`adapter_config.json` does not target.",
        do=TOGETHER,
    ),
    "no safetensors": Case(
        rule="tensors",
        line="  - path: adapter_model.safetensors",
        repository=commit(LARGE, adapter_model__safetensors=b"no tensors at all"),
        what=f"`adapter_model.safetensors` of `{LARGE}` does not begin as a safetensors file does.",
        do="Save it as safetensors again, and pin that.",
    ),
    "a config that is none": Case(
        rule="module-config",
        line="  - path: adapter_config.json",
        repository=commit(LARGE, adapter_config__json=b"{"),
        what="Cannot read `adapter_config.json` as JSON: Expecting property name enclosed in double quotes: line 1 column 2 "
        "(char 1).",
        do="Mend that file, and pin the commit that follows.",
    ),
    "a method that modxfer does not know": Case(
        rule="not-checked",
        line="  name: lora",
        repository=config(LARGE, peft_type="OFT"),
        what="`adapter_config.json` describes the method 'OFT', which modxfer does not move: what it trains turns or "
        "multiplies its own base model's weights, and says nothing about other weights.",
        do="Leave this rule out with `--skip not-checked`, or the module; modxfer cannot look into it.",
    ),
    "another method": Case(
        rule="module-config",
        line="  name: bottleneck",
        change=change("method", "name", to="bottleneck"),
        what="The method is `bottleneck`, and by the module's config `lora`.",
        do="Write `lora`.",
    ),
    "another format": Case(
        rule="module-config",
        line="format: adapters",
        repository=commit(LARGE, README__md=None),
        change=change("format", to="adapters"),
        what="The format is `adapters`, and the module's config is one of `peft`.",
        do="Write `peft`.",
    ),
    "another inner size": Case(
        rule="module-config",
        line="  inner_sizes:",
        at="list",
        change=change("method", "inner_sizes", to=[3, 8]),
        what="`inner_sizes` is `3, 8`, and by the module's config and tensors `3`.",
        do="Write `3`.",
    ),
    "another scaling": Case(
        rule="module-config",
        line="  scalings:",
        at="list",
        change=change("method", "scalings", to=[2.3]),
        what="`scalings` is `2.3`, and by the module's config and tensors `2.33333`.",
        do="Write `2.33333`.",
    ),
    "another role": Case(
        rule="module-config",
        line="  roles:",
        at="list",
        change=change("method", "roles", to=["query", "value"]),
        what="`roles` is `query, value`, and by the module's config and tensors `attention_output, ffn_down, ffn_up, query`.",
        do="Write `attention_output, ffn_down, ffn_up, query`.",
    ),
    "another number of parameters": Case(
        rule="module-config",
        line="  parameters: 5",
        change=change("method", "parameters", to=5),
        what="The module has 1060 parameters, and the entry says 5.",
        do="Write 1060.",
    ),
    "another setting": Case(
        rule="module-config",
        line="    use_rslora: true",
        change=change("method", "settings", to={"use_rslora": True, "r": 3, "bias": "none", "of_another_library": "x"}),
        what="The setting `use_rslora` is `True`, and by the module's config `False`.",
        do="Write `False`.",
    ),
    "another task of the head": Case(
        rule="module-config",
        line="  task: SEQ_CLS",
        change=change("head", "task", to="SEQ_CLS"),
        what="The head's task is `SEQ_CLS`, and by the module `TOKEN_CLS`.",
        do="Write `TOKEN_CLS`.",
    ),
    "another number of labels": Case(
        rule="module-config",
        line="  labels: 9",
        change=change("head", to={"task": "token-classification", "labels": 9}),
        what="The head has 9 labels, and by its tensors 4.",
        do="Write 4.",
    ),
    "another base model in the module's config": Case(
        rule="module-config",
        line="  name: acme/bert-teacher",
        repository=config(LARGE, base_model_name_or_path="acme/other"),
        what=f"The base model is `{TEACHER}`, and the module's own files name `acme/other`.",
        do="Name the base model that it was trained on.",
    ),
    "another commit of the base model in the module's config": Case(
        rule="module-config",
        line="  revision: {base}",
        repository=config(LARGE, revision=NOWHERE),
        what=f"The base model is pinned at another commit than the module's config names, `{NOWHERE}`.",
        do="Pin the commit that it was trained on.",
        values=lambda hub: {"base": hub.head(TEACHER)},
    ),
    "another layer map": Case(
        rule="module-config",
        line="      - - - 7",
        at="item",
        kind="small",
        change=change("lineage", "layers", "map", "encoder", 0, to=[[7, 1.0]]),
        what="Student layer 0 of `encoder` is fed by `7 (1)`, and in `transfer.json` by `0 (1)`.",
        do="Copy the layer map from `transfer.json`.",
    ),
    "another mode of the layer map": Case(
        rule="module-config",
        line="    mode: last",
        kind="small",
        change=change("lineage", "layers", "mode", to="last"),
        what="The layer map's mode is `last`, and by `transfer.json` `skip`.",
        do="Write `skip`.",
    ),
    "fewer layers": Case(
        rule="module-config",
        line="      encoder:",
        at="list",
        kind="small",
        change=change("lineage", "layers", "map", "encoder", to=[[[0, 1.0]]]),
        what="The layer map has 1 layers in `encoder`, and by `transfer.json` 3.",
        do="Copy the layer map from `transfer.json`.",
    ),
    "an alignment map that was not used": Case(
        rule="module-config",
        line="  alignment: ",
        kind="small",
        repository=record("transfer.json", SMALL, alignment={"source": "identity"}),
        what="The lineage names an alignment map, and by `transfer.json` none was used.",
        do="Take `alignment` out of the lineage.",
    ),
    "a student of another fingerprint": Case(
        rule="module-config",
        line="  fingerprint: ",
        kind="small",
        repository=record("transfer.json", SMALL, student={"fingerprint": OTHER_HASH}),
        what=f"By `transfer.json` the module was made for a base model of another fingerprint, `{OTHER_HASH[:12]}`…",
        do="Name the base model that it was made for.",
    ),
    "a student of another name": Case(
        rule="module-config",
        line="  name: acme/bert-student",
        kind="small",
        repository=record("transfer.json", SMALL, student={"name": "acme/other", "revision": NOWHERE}),
        what=f"By `transfer.json` the module was made for `acme/other`, not for `{STUDENT}`.",
        do="Name the base model that it was made for.",
    ),
    "a transfer that is no JSON": Case(
        rule="module-config",
        line="  files:",
        at="key",
        kind="small",
        repository=commit(SMALL, transfer__json=b"["),
        what="`transfer.json` is no JSON, so it is not the record of a transfer.",
        do="Push the converted module again.",
    ),
    "another family": Case(
        rule="base-config",
        line="  family: roberta",
        change=change("base", "family", to="roberta"),
        what=f"The family is `roberta`, and the config of `{TEACHER}` says `bert`.",
        do="Write `bert`.",
    ),
    "another width": Case(
        rule="base-config",
        line="    ffn: 24",
        change=change("base", "widths", "ffn", to=24),
        what=f"`ffn` has 24 units, and by the config of `{TEACHER}` 20.",
        do="Write 20.",
    ),
    "another depth": Case(
        rule="base-config",
        line="    encoder: 4",
        change=change("base", "depths", "encoder", to=4),
        what=f"`encoder` has 4 layers, and by the config of `{TEACHER}` 3.",
        do="Write 3.",
    ),
    "another fingerprint": Case(
        rule="base-config",
        line="  fingerprint: ",
        change=change("base", "fingerprint", to=OTHER_HASH),
        what=f"The fingerprint is not that of `{TEACHER}` at this commit, `{{short}}`…",
        do="Write {true}.",
        values=lambda hub: {"true": (true := base_of(hub, TEACHER)["fingerprint"]), "short": true[:12]},
    ),
    "a config of the base model that is none": Case(
        rule="base-config",
        line="  name: acme/bert-teacher",
        repository=commit(TEACHER, config__json=b"[]"),
        what="`config.json` does not hold a JSON object.",
        do="Name the base model, at a commit that has it.",
    ),
    "a width of the student of a map": Case(
        rule="base-config",
        line="    ffn: 24",
        kind="map",
        change=change("student", "widths", "ffn", to=24),
        what=f"`ffn` has 24 units, and by the config of `{STUDENT}` 20.",
        do="Write 20.",
    ),
    "another aligner": Case(
        rule="map-record",
        line="aligner: ",
        kind="map",
        change=change("aligner", to="procrustes"),
        what="`aligner` is `procrustes`, and by `alignment.json` `lsa`.",
        do="Write `lsa`, or pin the map that is meant.",
    ),
    "another key": Case(
        rule="map-record",
        line="key: ",
        kind="map",
        change=change("key", to=OTHER_HASH),
        what=f"`key` is `{OTHER_HASH[:59]}…`, and by `alignment.json` `{{short}}…`.",
        do="Write {true}, or pin the map that is meant.",
        values=lambda hub: {"true": (true := a_map(hub)["key"]), "short": true[:59]},
    ),
    "other tokens": Case(
        rule="map-record",
        line="  tokens: 5",
        kind="map",
        change=change("corpus", "tokens", to=5),
        what="The corpus's tokens is `5`, and by `alignment.json` `{true}`.",
        do="Write `{true}`, or pin the map that is meant.",
        values=lambda hub: {"true": a_map(hub)["corpus"]["tokens"]},
    ),
    "another score": Case(
        rule="map-record",
        line="  mean_correlation: 0.1",
        kind="map",
        change=change("scores", "mean_correlation", to=0.1),
        what="The mean correlation is `0.1`, and by `alignment.json` `{true}`.",
        do="Write {short}.",
        values=lambda hub: {
            "true": (true := json.loads(hub.files(MAP)["alignment.json"])["mean_correlation"]),
            "short": f"{true:.4f}",
        },
    ),
    "a score of a layer that has none": Case(
        rule="map-record",
        line="    encoder 7 <- 7: ",
        kind="map",
        change=change("scores", "layers", "encoder 7 <- 7", to=0.5),
        what="The score of `encoder 7 <- 7` is `0.5`, and by `alignment.json` `None`.",
        do="Take it out.",
    ),
    "a map of another teacher": Case(
        rule="map-record",
        line="  name: acme/bert-teacher",
        kind="map",
        repository=record(
            "alignment.json", MAP, teacher={"name": "acme/other", "revision": NOWHERE, "fingerprint": "?", "model_type": "bert"}
        ),
        change=lambda entry: (entry["teacher"].pop("fingerprint"), entry["teacher"].pop("revision")),
        what=f"The teacher is `{TEACHER}`, and by `alignment.json` `acme/other`.",
        do="Write `acme/other`, or pin the map that is meant.",
    ),
    "tensors of another map": Case(
        rule="map-record",
        line="    sha256: {true}",
        kind="map",
        repository=record("alignment.json", MAP, files={"alignment.safetensors": OTHER_HASH}),
        what=f"The sha256 of `alignment.safetensors` is `{{short}}…`, and by `alignment.json` `{OTHER_HASH[:59]}…`.",
        do=f"Write {OTHER_HASH}, or pin the map that is meant.",
        values=lambda hub: {"true": (true := a_map(hub)["source"]["files"][1]["sha256"]), "short": true[:59]},
    ),
    "a record that was changed": Case(
        rule="map-record",
        line="  - path: alignment.json",
        kind="map",
        repository=lambda hub: hub.commit(
            MAP, {"alignment.json": hub.files(MAP)["alignment.json"].replace(b'"reason": "', b'"reason": "not ')}
        ),
        what="`alignment.json` is damaged: it was changed after it was written.",
        do="Push the map again, and pin that.",
    ),
    "a record of other things": Case(
        rule="map-record",
        line="  - path: alignment.json",
        kind="map",
        repository=record("alignment.json", MAP, warnings=5),
        what="`alignment.json` is not the record of an alignment map: TypeError 'int' object is not iterable.",
        do="Push the map again, and pin that.",
    ),
    "tensors of other widths in a map": Case(
        rule="tensors",
        line="  - path: alignment.safetensors",
        kind="map",
        repository=map_tensors(lambda found: {**found, SITE: np.ones(5, dtype=np.float32)}),
        what=f"`{SITE}` has the shape [5], and these two base models need [12].",
        do="Pin the files of one map, and name the base models that it is of.",
    ),
    "a tensor that is none of a map": Case(
        rule="tensors",
        line="  - path: alignment.safetensors",
        kind="map",
        repository=map_tensors(lambda found: {**found, "a": np.ones(5, dtype=np.float32)}),
        what="`a` is no tensor of an alignment map of these two families.",
        do="Pin the files of one map, and name the base models that it is of.",
    ),
    "a pair of sites without tensors": Case(
        rule="tensors",
        line="  - path: alignment.safetensors",
        kind="map",
        repository=map_tensors(
            lambda found: {key: value for key, value in found.items() if not key.startswith(SITE.rpartition("/")[0])}
        ),
        what=f"`alignment.safetensors` has no tensor of `{SITE.rpartition('/')[0]}`, which `alignment.json` names.",
        do="Pin the files of one map.",
    ),
    "another licence on the card": Case(
        rule="card",
        line="license: MIT",
        repository=card("license: apache-2.0"),
        what="The licence is `MIT`, and the card says `apache-2.0`.",
        do="Write `Apache-2.0`, or have the card corrected.",
    ),
    "no licence, and one on the card": Case(
        rule="card",
        line="license: NOASSERTION",
        repository=card("license: openrail++"),
        change=change("license", to="NOASSERTION"),
        what="The entry names no licence, and the card says `openrail++`.",
        do="Write `LicenseRef-openrail-plus-plus`, or have the card corrected.",
    ),
    "another base model on the card": Case(
        rule="card",
        line="  name: acme/bert-teacher",
        repository=card("base_model: [acme/other, acme/more]"),
        what=f"The base model is `{TEACHER}`, and the card says `acme/other, acme/more`.",
        do=CORRECT,
    ),
    "another language on the card": Case(
        rule="card",
        line="- pt-BR",
        at="item",
        repository=card("language: [en, de]"),
        change=change("languages", to=["en", "pt-BR"]),
        what="The language is `pt-BR`, and the card says `en, de`.",
        do=CORRECT,
    ),
    "another data set on the card": Case(
        rule="card",
        line="- name: acme/news",
        repository=card("datasets: acme/other"),
        what="The data set is `acme/news`, and the card says `acme/other`.",
        do=CORRECT,
    ),
    "another task on the card": Case(
        rule="card",
        line="task: ",
        repository=card("pipeline_tag: fill-mask"),
        what="The task is `token-classification`, and the card says `fill-mask`.",
        do=CORRECT,
    ),
    "another library on the card": Case(
        rule="card",
        line="format: ",
        repository=card("library_name: adapter-transformers"),
        what="The format is `peft`, and the card says `adapters`.",
        do=CORRECT,
    ),
    "another pair on the card of a map": Case(
        rule="card",
        line="  name: acme/bert-teacher",
        kind="map",
        repository=card("base_model: [acme/bert-student, acme/other]", name=MAP),
        what="The card names the base model `acme/other`, which is neither the teacher nor the student.",
        do=CORRECT,
    ),
    "the tag of another pair on the card of a map": Case(
        rule="card",
        line="  fingerprint: {teacher}",
        kind="map",
        repository=card("tags: [modxfer-pair-0123456789abcdef]", name=MAP),
        what="The card has the tag of another pair of base models, `modxfer-pair-0123456789abcdef`.",
        do="Push the map again, and pin that.",
        values=lambda hub: {"teacher": base_of(hub, TEACHER)["fingerprint"]},
    ),
}


@pytest.fixture
def there(hub: HubServer, made: Made) -> HubServer:
    """Give the Hub with everything that the entries point at."""
    publish(hub, made)
    hub.clear_log()
    return hub


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_of_what_is_there_is_clean(there: HubServer, kind: str) -> None:
    """What an entry truly says of a module, a transferred module and an alignment map is no problem."""
    assert list(check_online(read_entry(KINDS[kind](there)))) == []


@pytest.mark.parametrize("name", CASES)
def test_each_break_has_its_report(there: HubServer, name: str) -> None:
    """What is broken is reported once, with rule, place, what is wrong and how to mend it."""
    found, expected = CASES[name].report(there, check_online)
    assert found == [expected]


def test_weights_are_not_read(there: HubServer) -> None:
    """Of tensors no more than the beginning is asked for, by range; of the base models' nothing at all."""
    for kind in KINDS:
        list(check_online(read_entry(KINDS[kind](there))))
    asked = [request for request in there.log if request.path.endswith(".safetensors") or request.host == "storage"]
    assert len(asked) == 6
    assert all(request.range == "bytes=0-100000" and request.sent <= 100_001 for request in asked)
    assert not [request for request in there.log if request.path.endswith("/model.safetensors")]


def test_only_what_the_entry_names_is_asked_for(there: HubServer) -> None:
    """Whatever a module's own files name, nothing but the source and the base model is looked up."""
    config(LARGE, base_model_name_or_path="acme/other", revision="main")(there)
    card("base_model: acme/else\ndatasets: [acme/data]")(there)
    there.clear_log()
    assert len(list(check_online(read_entry(large(there))))) == 3
    assert all(LARGE in request.path or TEACHER in request.path or request.host == "storage" for request in there.log)


def test_the_files_that_are_used_are_those_that_are_checked(there: HubServer) -> None:
    """A sound copy in another folder, pinned before them, does not stand for the files in the root, which are what is used."""
    names = {LARGE: ("adapter_config.json", "adapter_model.safetensors"), MAP: ("alignment.json", "alignment.safetensors")}
    for name, files in names.items():
        there.commit(name, {f"sound/{path}": there.files(name)[path] for path in files})
    tensors(LARGE, "adapter_model.safetensors", lambda found: {key: array[:-1] for key, array in found.items()})(there)
    map_tensors(lambda found: {key: array[:-1] for key, array in found.items()})(there)
    for name, entry in ((LARGE, large(there)), (MAP, a_map(there))):
        entry["source"] = source_of(there, name, *(f"{folder}{path}" for folder in ("sound/", "") for path in names[name]))
        (problem,) = check_online(read_entry(entry))
        assert problem.rule == "tensors"


def test_the_hub_is_asked_again(there: HubServer) -> None:
    """That a repository was there once says nothing of now, even if all of it is remembered."""
    read = read_entry(large(there))
    assert list(check_online(read)) == []
    there.repos.pop(("model", LARGE))
    assert [problem.rule for problem in check_online(read)] == ["repository-missing"]


def test_a_private_repository_is_checked_by_who_may_see_it(there: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a token that reaches it a private repository is like any other; without one nobody can tell it from none."""
    read = read_entry(large(there))
    there.repository(LARGE).private = True
    assert [problem.rule for problem in check_online(read)] == ["repository-missing"]
    monkeypatch.setenv("HF_TOKEN", there.add_user("acme"))
    assert list(check_online(read)) == []


def test_an_outage_is_said_of_each_entry_and_costs_little(there: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hub that does not answer leaves every entry unchecked, and only the first one waits for it."""
    monkeypatch.setenv("MODXFER_HUB_TIMEOUT", "1")
    reads = [read_entry(KINDS[kind](there)) for kind in KINDS]
    there.faults.add(Fault(kind="drop", times=None))
    first = list(check_online(reads[0]))
    start = time.monotonic()
    found = [first, *(list(check_online(read)) for read in reads[1:])]
    assert time.monotonic() - start < 5
    assert [[problem.rule for problem in each] for each in found] == [["not-checked"]] * 3
    assert re.match(r"The Hub could not be reached, or the connection was cut, for `acme/ner-large` at", first[0].what)
    assert first[0].do == "Check your connection and HF_ENDPOINT, then run the check again."


def test_an_outage_in_between_leaves_the_rest_out(there: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found before is reported, and what could not be asked."""
    monkeypatch.setenv("MODXFER_HUB_TIMEOUT", "1")
    entry = large(there)
    entry["source"]["files"][0]["size_bytes"] = 1
    there.faults.add(Fault(kind="drop", path=TEACHER, times=None))
    rules = [(problem.rule, problem.what.partition("for `")[2][:17]) for problem in check_online(read_entry(entry))]
    assert rules == [("file-changed", ""), ("not-checked", "acme/bert-teacher")]


def test_an_archive_is_not_fetched(there: HubServer) -> None:
    """Of an entry whose source is an archive only the base model is looked at, and only where it is pinned."""
    archive = {"archive": "https://example.org/a.zip", "sha256": OTHER_HASH}
    entry = large(there, source=archive)
    assert list(check_online(read_entry(entry))) == []
    entry["base"]["depths"]["encoder"] = 9
    assert [problem.rule for problem in check_online(read_entry(entry))] == ["base-config"]
    there.clear_log()
    entry["base"].pop("revision")
    assert list(check_online(read_entry(entry))) == []
    assert there.log == []


def test_a_base_model_of_an_unknown_family_is_compared_by_its_name(there: HubServer) -> None:
    """The offline checks warn of such a family; what the entry says of its widths cannot be compared."""
    content = json.loads(there.files(TEACHER)["config.json"])
    there.commit(TEACHER, {"config.json": json.dumps({**content, "model_type": "funnel"}).encode()})
    entry = large(there)
    entry["base"] |= {"family": "funnel", "widths": {"hidden": 7}}
    assert list(check_online(read_entry(entry))) == []


def test_what_is_no_entry_has_nothing_to_check(hub: HubServer) -> None:
    """Aliases and settings point at nothing on the Hub, and an entry with errors is not looked at."""
    for path, text in (("aliases/acme.yaml", "format_version: 1"), ("modules/acme/a.yaml", "id: acme/a")):
        assert list(check_online(read_file(path, text.encode()))) == []
    assert hub.log == []


def test_the_lineage_is_held_against_the_teachers_entry(there: HubServer, tmp_path: Path) -> None:
    """With the registry at hand, teacher and alignment map of the record must be those of the entries that are named."""
    registry = entries.make_registry(tmp_path, large(there), a_map(there))
    read = read_entry(small(there))
    assert list(check_online(read, registry=registry)) == []
    name = json.loads(there.files(SMALL)["transfer.json"])["module"]
    record("transfer.json", SMALL, module={**name, "name": "acme/other", "revision": NOWHERE})(there)
    record("transfer.json", SMALL, alignment={"source": "map", "id": OTHER_HASH})(there)
    found = list(check_online(read_entry(small(there)), registry=registry))
    assert [(problem.rule, problem.what) for problem in found] == [
        (
            "module-config",
            f"By `transfer.json` the module was made with another alignment map, of the key `{OTHER_HASH[:12]}`…",
        ),
        ("module-config", "By `transfer.json` the module was made from `acme/other`, which is not that of `acme/ner-large`."),
    ]
    assert list(check_online(read_entry(small(there)), registry=Registry(root=tmp_path / "empty", name="empty"))) == []


@pytest.mark.parametrize(
    ("metadata", "changes"),
    [
        ("license: [apache-2.0, mit]", {"license": "MIT OR Apache-2.0"}),
        ("license: gpl-3.0", {"license": "GPL-3.0-or-later"}),
        ("license: gemma", {"license": "LicenseRef-gemma"}),
        ("license: other", {"license": "LicenseRef-mine"}),
        ("language: [pt, no]", {"languages": ["pt-BR", "no"]}),
        ("language: multilingual", {"languages": ["sw"]}),
        ("language: English", {"languages": ["sw"]}),
        ("base_model: bert-teacher\ndatasets: [NEWS, conll2003]", {}),
        ("pipeline_tag: 5\nlanguage: {en: 1}\nlicense: [5, null]\nbase_model: ''", {}),
        ("- a list", {}),
        ("a: &a [1]\nlicense: *a", {}),
    ],
)
def test_a_card_that_says_the_same_or_nothing_is_no_problem(there: HubServer, metadata: str, changes: dict[str, Any]) -> None:
    """Other spellings, varieties of a language and old names agree; what cannot be read says nothing."""
    card(metadata)(there)
    assert list(check_online(read_entry(large(there, **changes)))) == []


def test_what_a_strangers_file_says_cannot_reach_the_terminal(there: HubServer) -> None:
    """Escapes in a config, a card or a header are taken out of the report, and it stays on one line."""
    evil = "\x1b[31mred\n\u202e" + "x" * 5000
    card(f"base_model: {json.dumps(evil)}\nlicense: mit")(there)
    config(LARGE, peft_type=evil)(there)
    found = list(check_online(read_entry(large(there))))
    assert [problem.rule for problem in found] == ["not-checked", "card"]
    for problem in found:
        assert (problem.what + problem.do).isprintable()
        assert len(problem.what) < 700


def test_a_map_that_was_fetched_is_known_by_where_it_was(there: HubServer, tmp_path: Path) -> None:
    """A store gives a fetched map a key of its own: its repository and commit say that it is the entry's."""
    registry = entries.make_registry(tmp_path, large(there), a_map(there))
    published = {"repository": "acme/bert-to-student", "revision": there.head("acme/bert-to-student")}
    record("transfer.json", SMALL, alignment={"source": "map", "id": OTHER_HASH, "published": published})(there)
    assert list(check_online(read_entry(small(there)), registry=registry)) == []


@pytest.mark.parametrize("name", ["adapter_config.json", "README.md", "transfer.json"])
def test_a_text_that_is_too_large_is_not_fetched(there: HubServer, name: str) -> None:
    """A config of 11 MB is none; nobody waits for it."""
    there.commit(SMALL, {name: b"{" + b" " * 11_000_000})
    found = list(check_online(read_entry(small(there))))
    assert [problem.rule for problem in found] == ([] if name == "README.md" else ["not-checked"])
    assert not [request for request in there.log if request.sent > 200_000]
