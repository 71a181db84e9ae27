"""Which library trains a method and loads a module, with `adapters` and without."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modxfer.converters.formats import inspect_files
from modxfer.errors import DependencyError, UsageError
from modxfer.training.libraries.choosing import library_for_method, library_of
from modxfer.training.libraries.context import has_adapters

INSTALL = r"not installed. Install it with `pip install 'modxfer\[adapters\]'`; it keeps transformers at 4.57."


@pytest.fixture
def bottleneck(tmp_path: Path) -> Path:
    """Write a folder that is a bottleneck as far as its config and headers say."""
    config = (
        '{"config": {"mh_adapter": false, "output_adapter": true, "reduction_factor": 2, "non_linearity": "relu"}, "name": "a"}'
    )
    (tmp_path / "adapter_config.json").write_text(config)
    save_file({"x.adapters.a.adapter_down.0.weight": np.zeros((2, 4), dtype=np.float32)}, tmp_path / "adapter.safetensors")
    return tmp_path


def test_library_for_method_takes_peft_for_lora() -> None:
    """LoRA needs nothing optional."""
    assert library_for_method("lora").format == "peft"
    with pytest.raises(UsageError, match="no method `prefix` to train"):
        library_for_method("prefix")


def test_bottlenecks_take_adapters_or_say_what_to_install(bottleneck: Path) -> None:
    """In the world without the package both ways name the command that brings it."""
    if has_adapters():
        assert library_for_method("bottleneck").format == "adapters"
        assert library_of(inspect_files(bottleneck)).format == "adapters"
    else:
        with pytest.raises(DependencyError, match=f"`bottleneck` is trained with the package `adapters`, which is {INSTALL}"):
            library_for_method("bottleneck")
        with pytest.raises(DependencyError, match=f"has the format `adapters` and runs with .* which is {INSTALL}"):
            library_of(inspect_files(bottleneck))


def test_methods_that_are_only_moved_are_refused(bottleneck: Path) -> None:
    """A module of a method that can be converted and not trained is refused by name, before a library fails on it."""
    files = replace(inspect_files(bottleneck), method="ia3", format="peft")
    with pytest.raises(UsageError, match=r"is of the method `ia3`, and modxfer trains and measures lora, bottleneck"):
        library_of(files)


def test_choosing_loads_no_library() -> None:
    """Which library it is can be said without loading any of them."""
    code = (
        "import sys; from modxfer.training.libraries.choosing import library_for_method; library_for_method('lora');"
        "sys.exit(', '.join({'torch', 'transformers', 'peft', 'adapters'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""
