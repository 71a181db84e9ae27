"""Folders of tiny base models, and what a test wants to be made of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers

from modxfer.training.libraries.context import quiet
from modxfer.training.libraries.library import Wanted
from modxfer.training.tasks import find_task
from tests import builders

LABELS = ("O", "B-PER", "I-PER", "B-LOC")
IDS = torch.tensor([[4, 9, 7, 5, 8], [6, 4, 4, 11, 9]])


def save_base(folder: Path, family: str, *, auto_class: str | None = None, **sizes: Any) -> Path:
    """Save a tiny base model of a family, or a task model on it, and give its folder."""
    config = builders.tiny_config(family, **{"hidden": 24, **sizes})
    with quiet():
        model = builders.tiny_model(config)
        if auto_class is not None:
            model = getattr(transformers, auto_class).from_config(config)
        model.save_pretrained(folder)
    return folder


def save_decoder(folder: Path, family: str) -> Path:
    """Save a tiny GPT-2 or Llama with its language modelling head, and give its folder."""
    sizes = {
        "gpt2": {"n_positions": 40, "n_embd": 12, "n_layer": 2, "n_head": 3, "bos_token_id": 0, "eos_token_id": 0},
        "llama": {"hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 3},
    }
    config = transformers.AutoConfig.for_model(family, vocab_size=50, **sizes[family])
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def wanted(base: Path, task: str = "ner", **values: Any) -> Wanted:
    """Say what a model is to be made of; language modelling has no labels."""
    labels = () if task == "causal-lm" else LABELS
    return Wanted(**{"base": base, "task": find_task(task), "labels": labels, "method": "lora", **values})


def changed(model: Any, *, seed: int = 3) -> Any:
    """Fill what a model trains with noise, as a training would."""
    builders.randomise((parameter for parameter in model.parameters() if parameter.requires_grad), seed=seed)
    return model


def logits(model: Any) -> torch.Tensor:
    """Give what a model says of some texts."""
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits  # type: ignore[no-any-return]  # any model


def trained(model: Any) -> dict[str, torch.Tensor]:
    """Name a model's trainable parameters."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def train_one_step(model: Any, task: str) -> None:
    """Take one step of plain gradient descent on the model's own loss."""
    labels = {"ner": torch.full_like(IDS, 1), "causal-lm": IDS}.get(task, torch.tensor([0, 1]))
    model.train()
    model(input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=labels).loss.backward()
    with torch.no_grad():
        for parameter in trained(model).values():
            assert parameter.grad is not None
            parameter -= 0.5 * parameter.grad
    model.eval()


def state_of(model: Any) -> Iterator[tuple[Any, ...]]:
    """List everything of a model that saving must leave as it was."""
    yield tuple((name, parameter.requires_grad) for name, parameter in model.named_parameters())
    yield tuple((name, module.training) for name, module in model.named_modules())
    yield str(getattr(model, "active_adapters", None)), getattr(model, "active_head", None)
