"""Base models whose files leave out what is there under another name."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from modxfer.alignments.probe import Probe
from modxfer.architectures import FINAL, Site, architecture_from_config
from modxfer.errors import ArchitectureError
from tests.planted import save_base, tiny_tokenizer
from tests.planting import tiny

TIED = ("t5", "bart", "gpt2")
"""Families whose files hold their embeddings under one of two or more names."""


def saved(folder: Path, family: str) -> tuple[Path, Any]:
    """Save the task model of a family that predicts tokens, as its authors would, with a tokenizer."""
    config = tiny(family, vocab_size=len(tiny_tokenizer()))
    torch.manual_seed(0)
    is_causal = family == "gpt2"
    auto = transformers.AutoModelForCausalLM if is_causal else transformers.AutoModelForSeq2SeqLM
    return save_base(folder, auto.from_config(config)), config


@pytest.mark.parametrize("family", TIED)
def test_tied_tensors_are_not_missed(family: str, tmp_path: Path) -> None:
    """A tensor that is in the files under another name is no tensor that is missing."""
    folder, config = saved(tmp_path / "base", family)
    names = load_file(folder / "model.safetensors")
    assert sum(tensor.shape[0] == len(tiny_tokenizer()) for tensor in names.values() if tensor.ndim == 2) == 1
    base = architecture_from_config(config.to_dict(), name="tied")
    with Probe(folder, base, {Site("", None, FINAL)}, device="cpu") as probe:
        assert probe is not None


@pytest.mark.parametrize("family", TIED)
def test_a_tied_tensor_that_is_under_no_name_is_missed(family: str, tmp_path: Path) -> None:
    """Where the one tensor is gone, so is the base model."""
    folder, config = saved(tmp_path / "base", family)
    tensors = load_file(folder / "model.safetensors")
    kept = {key: tensor for key, tensor in tensors.items() if tensor.shape[0] != len(tiny_tokenizer())}
    assert len(kept) == len(tensors) - 1
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    base = architecture_from_config(config.to_dict(), name="tied")
    with pytest.raises(ArchitectureError, match="The weights of `tied` lack"):
        Probe(folder, base, {Site("", None, FINAL)}, device="cpu")
