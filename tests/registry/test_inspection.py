"""What is said of modules and base models from headers alone."""

from pathlib import Path

import pytest
import torch

from modxfer.converters.module import TensorHeader
from modxfer.errors import ConversionError, UsageError
from modxfer.registry.inspection import header_bytes, inspect
from modxfer.registry.reports import BaseReport, ModuleReport
from tests import differences
from tests.builders import make_peft_module, tiny_config, tiny_model
from tests.hub.server import HubServer


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("F64", 48), ("F32", 24), ("BF16", 12), ("I8", 6), ("F8_E4M3", 6), ("BOOL", 6), ("int64", 48)],
)
def test_header_bytes_is_shape_times_item(dtype: str, size: int) -> None:
    """The size of a tensor of 2 x 3 follows from the bits that its dtype names."""
    assert header_bytes(TensorHeader(file="f", key="k", dtype=dtype, shape=(2, 3))) == size


def test_inspect_tells_modules_from_base_models(tmp_path: Path) -> None:
    """A folder with an adapter_config.json is a module, even beside a config.json; one with only the latter is a base model."""
    config = tiny_config("distilbert", layers=2)
    config.save_pretrained(tmp_path / "base")
    make_peft_module(tmp_path / "module", tiny_model(config), target_modules=["q_lin"])
    (tmp_path / "module" / "config.json").write_bytes((tmp_path / "base" / "config.json").read_bytes())
    base, module = inspect(str(tmp_path / "base")), inspect(str(tmp_path / "module"))
    assert isinstance(base, BaseReport)
    assert isinstance(module, ModuleReport)
    assert (base.depths, base.weights) == ({"encoder": 2}, None)
    assert len(module.tensors) == 4


def test_inspect_says_why_places_are_unknown(tmp_path: Path) -> None:
    """A module that does not fit the base model that it names is shown with its tensors, and the reason."""
    base, config = tmp_path / "base", tiny_config("bert", layers=2)
    tiny_config("bert", hidden=18, layers=2).save_pretrained(base)
    model = tiny_model(config)
    model.name_or_path = str(base)
    make_peft_module(tmp_path / "module", model)
    report = inspect(str(tmp_path / "module"))
    assert isinstance(report, ModuleReport)
    assert report.pieces == ()
    assert "18" in report.unread
    assert len(report.tensors) == 8


def test_inspect_refuses_a_file(tmp_path: Path) -> None:
    """A file is neither a module nor a base model."""
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"weights\.bin` is a file"):
        inspect(str(tmp_path / "weights.bin"))


def test_inspect_refuses_an_unknown_method(tmp_path: Path) -> None:
    """A module of a method that modxfer does not know is named."""
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "OFT"}')
    with pytest.raises(ConversionError, match="method 'OFT', which modxfer does not move: what it trains turns"):
        inspect(str(tmp_path))


def test_inspect_takes_a_repository_of_one_pickle(hub: HubServer, tmp_path: Path) -> None:
    """Differences can be a repository's only file: then that is looked at, for there is nothing else to tell what it is."""
    differences.save(tmp_path, {"bert.encoder.layer.0.output.dense.bias": torch.ones(4)})
    hub.add_repo("acme/sparse", {differences.FILE: (tmp_path / differences.FILE).read_bytes()})
    module = inspect("acme/sparse")
    assert isinstance(module, ModuleReport)
    assert (module.format, module.method, module.parameters) == ("diff", "difference", 4)
