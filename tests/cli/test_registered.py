"""`registry:NAMESPACE/NAME` on the command line: every command that takes a module or a map takes the id of an entry too."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from modxfer import api
from tests.cli.conftest import World
from tests.entries import alignment_entry, make_registry, module_entry, pinned
from tests.hub.server import HubServer
from tests.registry.conftest import contents


@pytest.fixture(scope="module")
def pair_map(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compute a map of the module's pair once, in a store that no test sees."""
    folder = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODXFER_HOME", str(folder / "store"))
        api.compute_alignment(str(world.module), to=str(world.twin), output=folder / "map")
    return folder / "map"


@pytest.fixture
def registry(hub: HubServer, world: World, pair_map: Path, tmp_path: Path) -> Path:
    """Publish the module and the map, and make a registry of both, whose base models are folders here."""
    sources = [
        pinned(name, hub.add_repo(name, contents(folder)), contents(folder))
        for name, folder in (("acme/lora", world.module), ("acme/map", pair_map))
    ]
    record = json.loads((pair_map / "alignment.json").read_text())
    sides = {side: {**alignment_entry()[side], "fingerprint": record[side]["fingerprint"]} for side in ("teacher", "student")}
    root = tmp_path / "registry"
    make_registry(root, module_entry(source=sources[0]), alignment_entry("acme/pair", source=sources[1], **sides))
    return root


@pytest.mark.parametrize("by", ["option", "variable"])
def test_commands_take_ids_of_entries(
    call: Callable[..., Result], world: World, registry: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """The registry is named by `--registry` or by the variable; what is found says its entry."""
    named = ["--registry", registry] if by == "option" else []
    if by == "variable":
        monkeypatch.setenv("MODXFER_REGISTRY", str(registry))

    def read(*words: object) -> dict[str, object]:
        done = call(*words, *named, "--json", "--quiet")
        assert done.exit_code == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    words = ["registry:acme/ner", "--to", world.twin, "--from", world.teacher]
    found = read("convert", *words, "--output", "out")["alignment"]
    assert isinstance(found, dict)
    assert (found["source"], found["published"]["entry"]) == ("registry", "acme/pair")
    assert read("align", "compute", *words)["source"] == "store"
    assert read("align", "show", "registry:acme/pair")["id"]
    assert read("inspect", "registry:acme/ner")["repository"] == "acme/lora"
    assert read("pull", "registry:acme/ner", "--output", "copy")["entry"] == "acme/ner"
    assert read("align", "pull", "registry:acme/pair")["entry"] == "acme/pair"
    assert Path("copy/origin.json").is_file()
    named_map = read("convert", *words, "--alignment", "registry:acme/pair", "--output", "again")["alignment"]
    assert isinstance(named_map, dict)
    assert named_map["source"] == "registry"


def test_without_a_registry_an_id_is_wrong_usage(call: Callable[..., Result], world: World) -> None:
    """The message says how to name one."""
    done = call("convert", "registry:acme/ner", "--to", world.student)
    assert done.exit_code == 2
    assert "--registry`, or in MODXFER_REGISTRY" in " ".join(done.stderr.split())


def test_the_report_says_that_a_map_came_from_the_registry(call: Callable[..., Result], world: World, registry: Path) -> None:
    """People read which registry entry's map was used."""
    words = ["registry:acme/ner", "--to", world.twin, "--from", world.teacher, "--registry", registry]
    done = call("convert", *words, "--alignment", "registry:acme/pair", "--output", "out")
    assert done.exit_code == 0, done.stderr
    page = " ".join(done.stderr.split())
    assert "from the registry, acme/map at" in page
