"""`modxfer inspect`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from typer.testing import Result

from tests.builders import make_adapters_module, tiny_adapter_model, tiny_config
from tests.cli.conftest import VOCABULARY, World, save_module


def test_inspect_module_shows_sites_and_sizes(world: World, call: Callable[..., Result]) -> None:
    """A module whose base is at hand is shown by layer and role; equal layers share a row."""
    page = call("inspect", world.module).stdout
    query = next(line for line in page.splitlines() if " query " in line)
    assert query.split()[:5] == ["encoder", "0-3", "query", "query.input", "query.output"]
    assert "down 3x12" in query
    assert "TOKEN_CLS, 5 labels" in page
    assert max(len(line) for line in page.splitlines()) <= 80


def test_inspect_module_json_agrees_with_the_file(world: World, call: Callable[..., Result]) -> None:
    """Tensors, parameters, rank and scaling are those of file and config."""
    values = json.loads(call("inspect", world.module, "--json").stdout)
    with safe_open(world.module / "adapter_model.safetensors", framework="np") as file:
        sizes = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    assert {tensor["key"] for tensor in values["tensors"]} == set(sizes)
    assert values["parameters"] == sum(tensor.size for tensor in sizes.values())
    assert values["size_bytes"] == sum(tensor.nbytes for tensor in sizes.values())
    assert (values["kind"], values["inner_sizes"], values["scalings"]) == ("module", [3], [7 / 3])
    assert values["pieces"][0]["tensors"] == {"down": [3, 12], "up": [12, 3]}


def test_inspect_module_without_its_base_lists_tensors(call: Callable[..., Result], tmp_path: Path) -> None:
    """Where the base is not at hand, the tensors of the headers are listed, and it says why."""
    lost = save_module(tmp_path / "lost", Path("gone/teacher"), tiny_config("bert", vocab=VOCABULARY, layers=4))
    page = call("inspect", lost).stdout
    assert "its base model `gone/teacher` is not at hand" in " ".join(page.split())
    assert "lora_A.weight" in page.replace("\n", "")
    assert "0-3" in page
    values = json.loads(call("inspect", lost, "--json").stdout)
    assert (values["pieces"], values["head"]) == ([], None)
    assert len(values["tensors"]) == 18


@pytest.mark.adapters
def test_inspect_bottleneck(call: Callable[..., Result], tmp_path: Path) -> None:
    """A bottleneck of `adapters` shows its width, and its head's task."""
    config = tiny_config("bert", vocab=VOCABULARY, layers=2)
    config.save_pretrained(tmp_path / "base")
    config._name_or_path = str(tmp_path / "base")
    model = tiny_adapter_model(config)
    make_adapters_module(
        tmp_path / "module", model, "seq_bn[reduction_factor=4]", head="tagging", head_options={"num_labels": 7}
    )
    done = call("inspect", tmp_path / "module", "--json")
    values = json.loads(done.stdout)
    assert (values["format"], values["method"], values["name"]) == ("adapters", "bottleneck", "mine")
    assert (values["unread"], values["inner_sizes"], values["labels"]) == ("", [3], 7)


def test_inspect_base_model(world: World, call: Callable[..., Result]) -> None:
    """A base model shows family, kind, depths, widths, roles with their widths, and its weights' size."""
    values = json.loads(call("inspect", world.student, "--json").stdout)
    assert (values["kind"], values["family"], values["attention"]) == ("base model", "roberta", "encoder")
    assert (values["depths"], values["widths"]["ffn"]) == ({"encoder": 2}, 22)
    assert values["weights"]["size_bytes"] == (world.student / "model.safetensors").stat().st_size
    roles = {role["role"]: (role["reads"], role["writes"]) for role in values["roles"]}
    assert roles["ffn_up"] == (15, 22)
    page = call("inspect", world.student).stdout
    assert "roberta (encoder)" in page
    assert "intermediate.dense" in page


def test_inspect_base_model_reads_no_weights(world: World, call: Callable[..., Result], tmp_path: Path) -> None:
    """A config without weights is enough, and weights that are cut off are an error of their header."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_bytes((world.twin / "config.json").read_bytes())
    assert "not on this machine" in call("inspect", tmp_path / "bare").stdout
    (tmp_path / "bare" / "model.safetensors").write_bytes((world.twin / "model.safetensors").read_bytes()[:500])
    done = call("inspect", tmp_path / "bare")
    assert (done.exit_code, "model.safetensors" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [({}, 1, "neither a module nor a base model"), (None, 2, "no folder here")],
)
def test_inspect_refuses_what_is_neither(
    call: Callable[..., Result], content: dict[str, str] | None, status: int, message: str
) -> None:
    """An empty folder, and a name that is nowhere, are refused."""
    if content is not None:
        Path("odd").mkdir()
    done = call("inspect", "odd")
    assert (done.exit_code, message in done.stderr) == (status, True)
