"""Fetching modules: only what they need, at one commit, and recorded."""

import json
from pathlib import Path
from typing import Any

import pytest

from modxfer import api
from modxfer.errors import FormatError, OutputError, UsageError
from modxfer.registry.locate import locate_module
from tests.hub.server import HubServer
from tests.registry.conftest import Made, contents


def publish(hub: HubServer, made: Made, *, under: str = "", config: dict[str, object] | None = None) -> str:
    """Publish the module, and what a training run leaves beside it; gives the commit."""
    files = {f"{under}{name}": content for name, content in contents(made.module).items()}
    if config is not None:
        files["adapter_config.json"] = json.dumps(config).encode()
    left = {
        "adapter_model.bin": b"a pickle of the same weights",
        "training_args.bin": b"a pickle",
        "optimizer.pt": b"a pickle",
        "checkpoint-5/adapter_config.json": b"{}",
        "checkpoint-5/adapter_model.safetensors": b"old",
        "model.safetensors": b"the whole model, merged",
        "tokenizer.json": b"{}",
    }
    hub.add_repo("acme/ner")
    return hub.commit("acme/ner", {**left, **files} if not under else files)


def fetched(hub: HubServer) -> set[str]:
    """Name the files that were asked for."""
    return {request.path.rpartition("/")[2] for request in hub.requests(path="/resolve/")}


def test_pull_fetches_only_what_the_module_needs(hub: HubServer, made: Made) -> None:
    """Config, card and safetensors come; pickles, checkpoints, a merged model and a tokenizer do not."""
    commit = publish(hub, made)
    pulled = api.pull("acme/ner")
    names = {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert (pulled.kind, pulled.repository, pulled.revision) == ("module", "acme/ner", commit)
    assert set(pulled.files) == names
    assert fetched(hub) == names
    assert contents(pulled.folder) == contents(made.module)
    assert pulled.size_bytes == sum(map(len, contents(made.module).values()))


def test_a_pickle_is_fetched_only_where_there_is_nothing_else(hub: HubServer, made: Made) -> None:
    """Without a safetensors file the pickle is what the module has."""
    publish(hub, made)
    hub.commit("acme/ner", {"adapter_model.safetensors": None})
    with pytest.raises(FormatError, match=r"adapter_model\.bin"):
        api.pull("acme/ner")
    assert "adapter_model.bin" in fetched(hub)
    assert "training_args.bin" not in fetched(hub)


def test_revisions_are_resolved_to_commits(hub: HubServer, made: Made) -> None:
    """A branch, a tag and a commit are the same commit; a branch that moves is another one later."""
    commit = publish(hub, made)
    pulled = api.pull("acme/ner@main")
    assert api.pull(f"acme/ner@{commit}").revision == pulled.revision == commit
    newer = hub.commit("acme/ner", {"README.md": b"new"})
    assert api.pull("acme/ner").revision == newer
    assert (api.pull(f"acme/ner@{commit}").folder / "README.md").read_bytes() == contents(made.module)["README.md"]
    with pytest.raises(UsageError, match="`acme/ner` has no revision `v9`"):
        api.pull("acme/ner@v9")


def test_a_known_commit_needs_no_hub(hub: HubServer, made: Made) -> None:
    """What is pinned and in the cache is used without a request."""
    commit = publish(hub, made)
    api.pull("acme/ner")
    hub.clear_log()
    assert api.pull(f"acme/ner@{commit}").revision == commit
    assert hub.log == []


def test_a_module_in_a_folder_of_the_repository(hub: HubServer, made: Made) -> None:
    """A single module may lie one folder down."""
    publish(hub, made, under="ner/")
    pulled = api.pull("acme/ner")
    assert set(pulled.files) == {"ner/README.md", "ner/adapter_config.json", "ner/adapter_model.safetensors"}
    assert pulled.base is not None


def test_a_copy_remembers_where_it_came_from(hub: HubServer, made: Made, tmp_path: Path) -> None:
    """A copied module is known by its id and commit, until a file of it is changed."""
    commit = publish(hub, made)
    api.pull("acme/ner", output=tmp_path / "copy")
    origin = json.loads((tmp_path / "copy" / "origin.json").read_text())
    assert (origin["repository"], origin["revision"]) == ("acme/ner", commit)
    found = locate_module(str(tmp_path / "copy"))
    assert (found.name, found.revision) == ("acme/ner", commit)
    with pytest.raises(OutputError, match="copy` exists"):
        api.pull("acme/ner", output=tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("changed")
    assert locate_module(str(tmp_path / "copy")).name == "copy"


@pytest.mark.parametrize(
    "change",
    [
        {"files": {}},
        {"files": {"README.md": "0" * 64}},
        {"repository": 5},
        {"repository": "no/such/name"},
        {"repository": "[x](https://evil.example)"},
        {"revision": "main"},
        {"more": 1},
    ],
)
def test_an_origin_without_evidence_is_not_believed(
    hub: HubServer, made: Made, tmp_path: Path, change: dict[str, object]
) -> None:
    """An origin that does not speak of all the module's files, or is no place on a Hub, is none."""
    publish(hub, made)
    api.pull("acme/ner", output=tmp_path / "copy")
    path = tmp_path / "copy" / "origin.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert locate_module(str(tmp_path / "copy")).revision is None


def test_a_name_that_no_path_can_be_is_an_error(hub: HubServer, made: Made) -> None:
    """A base model's name of thousands of letters is not looked up in the file system."""
    config = json.loads(contents(made.module)["adapter_config.json"]) | {"base_model_name_or_path": "x" * 5000}
    publish(hub, made, config=config)
    assert "is not at hand" in api_inspect("acme/ner")["unread"]
    with pytest.raises(UsageError, match="xxx` is no folder here, and no id that the Hub could have"):
        api.pull("x" * 5000)


def test_the_base_model_is_found_from_config_or_card(hub: HubServer, made: Made) -> None:
    """A path of somebody's machine means nothing here, so the card's base model counts."""
    config = json.loads(contents(made.module)["adapter_config.json"]) | {"base_model_name_or_path": "/home/somebody/teacher"}
    publish(hub, made)
    hub.commit(
        "acme/ner",
        {"adapter_config.json": json.dumps(config).encode(), "README.md": b"---\nbase_model: acme/teacher\n---\n"},
    )
    base = api.pull("acme/ner").base
    assert base is not None
    assert base.name == "acme/teacher"


def test_what_is_no_module_is_refused_before_anything_is_fetched(hub: HubServer, made: Made) -> None:
    """A base model, an empty repository, a folder here, two modules in one repository."""
    hub.add_repo("acme/base", {"config.json": b"{}", "model.safetensors": b"weights"})
    with pytest.raises(FormatError, match=r"`acme/base` holds no `adapter_config\.json`.*this is a base model"):
        api.pull("acme/base")
    hub.add_repo("acme/empty")
    with pytest.raises(FormatError, match=r"`acme/empty` holds no `adapter_config\.json`"):
        api.pull("acme/empty")
    assert fetched(hub) == set()
    with pytest.raises(UsageError, match="is on this machine already"):
        api.pull(str(made.module))
    files = contents(made.module)
    hub.add_repo("acme/two", {f"{name}/{path}": files[path] for name in ("a", "b") for path in files})
    with pytest.raises(FormatError, match=r"`acme/two` holds 2 modules \(`a`, `b`\)"):
        api.pull("acme/two")


def test_inspect_reads_headers_by_range(hub: HubServer, made: Made) -> None:
    """Sites, shapes and sizes are those of the folder, and of the weights only the first bytes are asked for."""
    config = json.loads(contents(made.module)["adapter_config.json"]) | {"base_model_name_or_path": "acme/teacher"}
    hub.add_repo("acme/teacher", contents(made.teacher))
    publish(hub, made, config=config)
    report, here = api_inspect("acme/ner"), api_inspect(str(made.module))
    for key in ("pieces", "tensors", "parameters", "size_bytes", "head", "labels", "inner_sizes"):
        assert report[key] == here[key]
    assert (report["repository"], report["revision"]) == ("acme/ner", hub.head("acme/ner"))
    assert report["pieces"]
    ranges = [request.range for request in hub.requests("GET", host="storage")]
    assert ranges == ["bytes=0-100000"]


def test_inspect_of_a_base_model_reads_headers_by_range(hub: HubServer, made: Made) -> None:
    """A base model's sizes come from the header of its weights."""
    hub.add_repo("acme/teacher", contents(made.teacher))
    report, here = api_inspect("acme/teacher"), api_inspect(str(made.teacher))
    for key in ("family", "depths", "widths", "roles", "weights"):
        assert report[key] == here[key]
    assert [request.range for request in hub.requests("GET", host="storage")] == ["bytes=0-100000"]


def test_inspect_of_a_pickle_fetches_nothing(hub: HubServer, made: Made) -> None:
    """Of a pickle far away nothing is known but its module's config."""
    publish(hub, made)
    hub.commit("acme/ner", {"adapter_model.safetensors": None})
    report = api_inspect("acme/ner")
    assert report["method"] == "lora"
    assert "`adapter_model.bin` is a pickle" in report["unread"]
    assert hub.requests("GET", host="storage") == []


def test_inspect_after_a_pull_reads_the_cache(hub: HubServer, made: Made) -> None:
    """What was fetched is not asked for again."""
    commit = publish(hub, made)
    api.pull("acme/ner")
    hub.clear_log()
    assert api_inspect(f"acme/ner@{commit}")["tensors"] == api_inspect(str(made.module))["tensors"]
    assert hub.requests("GET", host="storage") == []


def test_inspect_of_an_alignment_map_says_how_to_see_it(hub: HubServer, made: Made) -> None:
    """It is neither a module nor a base model."""
    hub.add_repo("acme/map", contents(made.map))
    with pytest.raises(FormatError, match=r"`acme/map` is an alignment map.*`modxfer align show acme/map`"):
        api_inspect("acme/map")


def api_inspect(reference: str) -> dict[str, Any]:
    """Inspect, as JSON values."""
    import modxfer

    return modxfer.inspect(reference).as_json()
