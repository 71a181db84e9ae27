"""Tiny random base models of all families, and modules made on them by the real `peft` and `adapters`.

All widths differ wherever a family allows it, and no parameter is zero, so that a wrong axis or a lost tensor
shows.
"""

import contextlib
import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from modxfer.architectures import FINAL, Architecture, Direction, Site, architecture_from_config
from modxfer.converters.module import BaseReference, Module, Piece

FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert")
"""The `model_type` of every family in the table."""

ADAPTERS_FAMILIES = tuple(family for family in FAMILIES if family != "camembert")
"""Those that the `adapters` library has model classes for."""

TASKS = ("TOKEN_CLS", "SEQ_CLS", "QUESTION_ANS")
"""The tasks whose prediction heads modxfer knows."""

_ROLE_NAMES = {
    "query": "q_lin",
    "key": "k_lin",
    "value": "v_lin",
    "attention.output.dense": "out_lin",
    "intermediate.dense": "lin1",
    "output.dense": "lin2",
}

_AUTO_CLASSES = {
    None: transformers.AutoModel,
    "TOKEN_CLS": transformers.AutoModelForTokenClassification,
    "SEQ_CLS": transformers.AutoModelForSequenceClassification,
    "QUESTION_ANS": transformers.AutoModelForQuestionAnswering,
}


def tiny_config(
    family: str,
    *,
    hidden: int = 12,
    layers: int = 3,
    ffn: int = 20,
    heads: int = 3,
    vocab: int = 50,
    embedding: int = 8,
    labels: int = 5,
) -> Any:
    """Make the config of a tiny base model; `embedding` is used by ELECTRA only."""
    common: dict[str, Any] = {
        "vocab_size": vocab,
        "max_position_embeddings": 40,
        "num_labels": labels,
        "pad_token_id": 1,
    }
    if family == "distilbert":
        sizes = {"dim": hidden, "n_layers": layers, "hidden_dim": ffn, "n_heads": heads}
    else:
        sizes = {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "intermediate_size": ffn,
            "num_attention_heads": heads,
        }
    if family == "electra":
        sizes["embedding_size"] = embedding
    return transformers.AutoConfig.for_model(family, **common, **sizes)


def targets(family: str, *names: str) -> list[str]:
    """Name `peft` targets in a family: BERT's names, or what DistilBERT calls the same."""
    return [_ROLE_NAMES[name] for name in names] if family == "distilbert" else list(names)


def tiny_architecture(config: Any, name: str = "tiny") -> Architecture:
    """Build our own description of the base model that a config describes."""
    return architecture_from_config(config.to_dict(), name=name)


def randomise(parameters: Iterable[torch.nn.Parameter], *, seed: int = 0, size: float = 0.3) -> None:
    """Fill parameters with normal noise around what they are."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_((noise * size).to(parameter.dtype))


def tiny_model(config: Any, *, task: str | None = None, seed: int = 0) -> Any:
    """Make a base model (no task) or a task model, all parameters random, in eval mode."""
    torch.manual_seed(seed)
    if task == "QUESTION_ANS":
        config = copy.deepcopy(config)
        config.num_labels = 2  # start and end
    model = _AUTO_CLASSES[task].from_config(config)
    randomise(model.parameters(), seed=seed)
    return model.eval()


def tiny_inputs(config: Any, *, texts: int = 2, tokens: int = 7, seed: int = 0) -> torch.Tensor:
    """Make token ids, none of them the padding."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, config.vocab_size, (texts, tokens), generator=generator)


def outputs(model: Any, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Run a model and give the tensors that it puts out (logits, or the final hidden state)."""
    with torch.no_grad():
        result = model(ids)
    return tuple(value for value in result.to_tuple() if isinstance(value, torch.Tensor))


def make_peft_module(folder: Path, model: Any, *, seed: int = 1, **options: Any) -> Any:
    """Let `peft` put a LoRA on a model, fill what it trains with noise and save it; gives the `PeftModel`."""
    import peft

    options.setdefault("r", 3)
    options.setdefault("lora_alpha", 7)
    options.setdefault("target_modules", ["query", "value"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = peft.get_peft_model(model, peft.LoraConfig(**options))
        randomise((parameter for parameter in module.parameters() if parameter.requires_grad), seed=seed)
        module.save_pretrained(str(folder))
    return module.eval()


@contextlib.contextmanager
def warnings_fail(*but: str) -> Iterator[None]:
    """Make errors of warnings, such as that of a missing key; `but` are beginnings of those that are expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in (FutureWarning, DeprecationWarning):  # what the libraries say of each other's changes
            warnings.filterwarnings("ignore", category=kind)
        for said in but:
            warnings.filterwarnings("ignore", message=said)
        yield


def load_peft_module(folder: Path, model: Any) -> Any:
    """Let `peft` load a module on a model; a missing or unexpected tensor fails."""
    import peft

    with warnings_fail():
        module = peft.PeftModel.from_pretrained(model, str(folder))
    result: Any = peft.set_peft_model_state_dict(module, peft.load_peft_weights(str(folder), device="cpu"))
    assert result.unexpected_keys == []
    assert [key for key in result.missing_keys if "lora_" in key or "modules_to_save" in key] == []
    return module.eval()


def tiny_adapter_model(config: Any, *, seed: int = 0) -> Any:
    """Make the model class of `adapters` for a config, with random weights, in eval mode."""
    import adapters

    torch.manual_seed(seed)
    model = adapters.AutoAdapterModel.from_config(copy.deepcopy(config))  # it writes into the config
    randomise(model.parameters(), seed=seed)
    return model.eval()


def make_adapters_module(
    folder: Path,
    model: Any,
    config: Any,
    *,
    name: str = "mine",
    head: str | None = None,
    head_options: Mapping[str, Any] | None = None,
    safetensors: bool = True,
    seed: int = 1,
) -> Any:
    """Let `adapters` put a module (and a head) on one of its models, fill both with noise and save them;
    gives the model.

    `head` is the end of the method that adds it ("tagging", "classification", "qa"). Gives the model.
    """
    model.add_adapter(name, config=config)
    if head is not None:
        getattr(model, f"add_{head}_head")(name, **(head_options or {}))
    model.train_adapter(name)
    trained = [parameter for key, parameter in model.named_parameters() if f".{name}." in key]
    randomise(trained, seed=seed)
    model.save_adapter(str(folder), name, use_safetensors=safetensors)
    model.set_active_adapters(name)
    return model.eval()


def load_adapters_module(folder: Path, model: Any) -> Any:
    """Let `adapters` load a module and its head; a missing or unexpected tensor fails."""
    info: dict[str, list[str]] = {}
    name = model.load_adapter(str(folder), loading_info=info, use_safetensors=True)
    assert info["missing_keys"] == []
    assert info["unexpected_keys"] == []
    model.set_active_adapters(name)
    return model.eval()


def transplant(
    module: Module, student: Architecture, layers: Mapping[int, int], *, name: str = "student", seed: int = 2
) -> Module:
    """Put random tensors of the student's widths where a module has some.

    `layers` gives the teacher's layer for every student layer that gets some.
    """
    generator = np.random.default_rng(seed)
    pieces = {}
    for place, piece in module.pieces.items():
        for layer in [place.layer] if place.is_outside else [new for new, old in layers.items() if old == place.layer]:
            parts = {
                part: generator.normal(size=_sizes(piece, part, place.stack, layer, student)).astype(tensor.dtype)
                for part, tensor in piece.parts.items()
            }
            pieces[replace(place, layer=layer)] = replace(piece, parts=parts)
    return replace(module, pieces=pieces, base=BaseReference(name=name, model_type=student.model_type))


def _sizes(piece: Piece, part: str, stack: str, layer: int, student: Architecture) -> tuple[int, ...]:
    """Give the shape that a part has on the student: private axes keep their size."""
    sizes = []
    for axis, size in zip(piece.method.parts[part], piece.parts[part].shape, strict=True):
        if axis is not None:
            point = piece.route.reads if axis.site is Direction.READS else piece.route.writes
            site = Site("", None, FINAL) if point == FINAL else Site(stack, None if layer < 0 else layer, point)
            units = axis.units(student.width(student.canonical(site)))
            size = units.stop - units.start
        sizes.append(size)
    return tuple(sizes)
