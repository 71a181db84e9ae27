"""Which files of a repository are a module: configs, card and weights, and nothing that lies beside them."""

import pytest

from modxfer.converters.formats.needed import needed_files

PEFT = ["README.md", "adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.parametrize(
    ("paths", "needed"),
    [
        (PEFT, PEFT),
        ([*PEFT, "adapter_model.bin", "optimizer.pt", "training_args.bin", "tokenizer.json", "model.safetensors"], PEFT),
        ([*PEFT, "checkpoint-5/adapter_config.json", "checkpoint-5/adapter_model.safetensors"], PEFT),
        (["adapter_config.json", "adapter_model.bin"], ["adapter_config.json", "adapter_model.bin"]),
        (
            ["adapter_config.json", "head_config.json", "pytorch_adapter.bin", "adapter.safetensors", "pytorch_model_head.bin"],
            ["adapter_config.json", "head_config.json", "adapter.safetensors", "pytorch_model_head.bin"],
        ),
        (["ner/adapter_config.json", "ner/adapter.safetensors", "README.md"], None),
        (["a/adapter_config.json", "b/adapter_config.json"], None),
        (["a/b/adapter_config.json", "a/b/adapter.safetensors", "README.md"], []),
        (["README.md", "config.json", "model.safetensors"], []),
        ([], []),
    ],
)
def test_needed_files_are_those_of_the_module(paths: list[str], needed: list[str] | None) -> None:
    """Safetensors come before pickles, the root before folders; None stands for all of them."""
    assert sorted(needed_files(paths)) == sorted(paths if needed is None else needed)
