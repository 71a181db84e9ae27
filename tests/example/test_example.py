"""The example registry passes all its checks, and its modules can be used."""

from pathlib import Path

import pytest

from modxfer import api
from modxfer.registry.checks.rules import Stage
from modxfer.registry.checks.run import check
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import HubSource
from tests.example.served import FILES, OWNER, REGISTRY, STUDENT, TEACHER, serve_example
from tests.hub.server import HubServer

EXAMPLE = Registry(root=REGISTRY, name="examples/registry")


def test_example_passes_offline() -> None:
    """Not even a warning."""
    report = check(EXAMPLE)

    assert report.problems == ()
    assert report.files > 5


def test_example_pins_what_lies_beside_it(hub: HubServer) -> None:
    """Every entry pins the commit that its repository has, and every repository but the base models has an entry."""
    served = serve_example(hub)
    sources = [entry.source for entry in EXAMPLE.entries()]
    pinned = {source.repository: source.revision for source in sources if isinstance(source, HubSource)}

    assert pinned.items() <= served.items()
    assert served.keys() - pinned.keys() == {TEACHER, STUDENT}


def test_example_passes_online(hub: HubServer) -> None:
    """What the repositories hold is what the entries say, and no weights are read for that."""
    serve_example(hub)

    assert check(EXAMPLE, through=Stage.ONLINE).problems == ()


@pytest.mark.adapters
def test_example_passes_with_weights(hub: HubServer) -> None:
    """The modules load with their own libraries, and change what their base models give."""
    serve_example(hub)

    assert check(EXAMPLE, through=Stage.WEIGHTS).problems == ()


def test_example_converts_without_computing_an_alignment(hub: HubServer, tmp_path: Path) -> None:
    """The registered module and the registered map give the registered module of the student, tensor for tensor."""
    serve_example(hub)

    converted = api.convert(
        f"registry:{OWNER}/ner-lora-mini",
        to=STUDENT,
        align=api.AlignmentChoice(registry=str(REGISTRY)),
        output=tmp_path / "moved",
    )

    assert converted.found.source == "registry"
    name = "adapter_model.safetensors"
    assert (tmp_path / "moved" / name).read_bytes() == (FILES / OWNER / "ner-lora-micro" / name).read_bytes()
