"""A tiny base model on disk, a task that it can learn, and short ways to train on it."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from modxfer.training.data.encoding import IGNORED, Encoded
from modxfer.training.data.rows import TaggedRow
from modxfer.training.fitting.fit import Fit, fit
from modxfer.training.libraries.choosing import library_for_method
from modxfer.training.libraries.library import Wanted
from modxfer.training.settings import TrainingSettings
from modxfer.training.tasks import TASKS, Task
from tests.demo.tiny import tiny_teacher, tiny_tokenizer

NER = TASKS["ner"]
LABELS = ("O", "B-A", "I-A")
OPTIONS: dict[str, dict[str, Any]] = {"lora": {"rank": 2}, "bottleneck": {"size": 3}}
SETTINGS = TrainingSettings(batch_size=8, learning_rate=2e-2, max_steps=12, eval_steps=3, patience=None)
_FIRST_WORD, _LAST_WORD = 5, 59
_START, _END = 2, 3


def tokenizer() -> Any:
    """Give a tokenizer for the tiny model."""
    return tiny_tokenizer(f"w{number}" for number in range(_LAST_WORD - _FIRST_WORD + 1))


def write_base(folder: Path, *, dropout: float = 0.1, model: Any = None) -> Path:
    """Write a base model with its tokenizer: the tiny BERT, or the one that is given."""
    if model is None:
        model = tiny_teacher()
        model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = dropout
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def tagged(rows: int, *, seed: int = 0) -> Encoded:
    """Make rows of 1 to 9 words, the label of each decided by the word."""
    draw = random.Random(seed)
    words = [[draw.randint(_FIRST_WORD, _LAST_WORD) for _ in range(draw.randint(1, 9))] for _ in range(rows)]
    return encoded(words, [[IGNORED, *(word % len(LABELS) for word in row), IGNORED] for row in words])


def encoded(words: Sequence[Sequence[int]], labels: Sequence[Any]) -> Encoded:
    """Put numbers into the form that trainers take."""
    return Encoded(
        rows=[TaggedRow(words=("a",), tags=("O",)) for _ in words],
        examples=[
            {"input_ids": [_START, *row, _END], "attention_mask": [1] * (len(row) + 2), "labels": label}
            for row, label in zip(words, labels, strict=True)
        ],
        words=[tuple(range(len(row))) for row in words],
        labels=LABELS,
        cut=0,
    )


def accuracy(truth: Encoded) -> Callable[[np.ndarray], dict[str, float]]:
    """Score predictions by the part of the labels that is right; what stands elsewhere must be -100."""

    def score(predictions: np.ndarray) -> dict[str, float]:
        labels = np.full(predictions.shape, IGNORED)
        for row, example in zip(labels, truth.examples, strict=True):
            row[: len(example["labels"])] = example["labels"]  # type: ignore[arg-type]  # a list of numbers, see `encoded`
        np.testing.assert_array_equal(predictions == IGNORED, labels == IGNORED)
        return {"f1": 100 * float((predictions == labels)[labels != IGNORED].mean())}

    return score


def start(base: Path, *, method: str = "lora", task: Task = NER, seed: int = 0, **options: Any) -> Any:
    """Put a new module on a base model."""
    wanted = Wanted(
        base=base,
        task=task,
        labels=() if task.kind == "causal-lm" else LABELS,
        method=method,
        options={**OPTIONS[method], **options},
        attention="eager",
        seed=seed,
    )
    return library_for_method(method).start(wanted)


def train(model: Any, work: Path, *, method: str = "lora", **changes: Any) -> Fit:
    """Train on 50 rows and validate on 13; `changes` are settings, or arguments of `fit`."""
    arguments: dict[str, Any] = {"task": NER, "train": tagged(50), "validation": tagged(13, seed=1)}
    arguments |= {name: changes.pop(name) for name in list(changes) if name in _ARGUMENTS}
    score = arguments.pop("score", None) or accuracy(arguments["validation"])
    return fit(
        model,
        library_for_method(method),
        tokenizer=tokenizer(),
        settings=replace(SETTINGS, **changes),
        work=work,
        score=score,
        **arguments,
    )


def trained(model: Any) -> dict[str, torch.Tensor]:
    """Copy the parameters of module and head."""
    ours, not_used = ("lora_", ".adapters.", "heads.", "classifier."), ".original_module."
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if any(part in name for part in ours) and not_used not in name
    }


def tiny_decoder() -> Any:
    """Make a GPT-2 of 2 layers and 12 units, no dropout."""
    config: Any = transformers.AutoConfig.for_model(
        "gpt2", vocab_size=60, n_embd=12, n_layer=2, n_head=3, n_positions=40, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.GPT2LMHeadModel(config)


_ARGUMENTS = {"task", "train", "validation", "score", "resume", "progress"}
