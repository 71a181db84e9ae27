"""Tiny modules as a training leaves them: made by the libraries, their tensors filled with noise, with a record and a card."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from modxfer.paths import home
from modxfer.registry.locate import locate_base, locate_module
from modxfer.registry.store import Store
from modxfer.training.data.rows import SplitRecord
from modxfer.training.libraries.choosing import library_for_method
from modxfer.training.libraries.library import Wanted
from modxfer.training.records import trained_record, write_trained
from modxfer.training.settings import TrainingSettings
from modxfer.training.tasks import TASKS
from tests.builders import randomise

LABELS = ("O", "B-PER", "I-PER", "B-LOC")
OPTIONS: dict[str, dict[str, Any]] = {"lora": {"rank": 2}, "bottleneck": {"size": 3}}
COMMIT, HASH = "d" * 40, "5" * 64
ON_HUB = SplitRecord(
    name="acme/names", dataset="acme/names", config="en", split="train", revision=COMMIT, sha256=None, part="", rows=1234
)
IN_FILES = SplitRecord(
    name="data/held.conll", dataset=None, config=None, split=None, revision=None, sha256=HASH, part="the first 9 rows", rows=9
)
DATA = {"train": ON_HUB, "validation": IN_FILES}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a training went that never was."""

    steps: int = 40
    best_step: int = 30
    best_value: float = 81.25
    curve: tuple[tuple[int, float], ...] = ((0, float("inf")), (30, 81.25), (40, 80.0))
    precision: str = "fp32"
    device: str = "cpu"
    micro_batch_size: int = 8
    accumulation: int = 2
    processes: int = 1
    stopped_early: bool = True


def result(**changes: Any) -> dict[str, Any]:
    """Make a row of what was measured."""
    return {
        "task": "ner",
        "metric": "f1",
        "value": 79.5,
        "dataset": {**ON_HUB.as_json(), "split": "test", "rows": 300},
        "seed": 3,
        "ran": "modxfer 0.1.0",
        "interval": [75.0, 84.0],
        "examples": 300,
        "stage": "after training",
        **changes,
    }


def stir(model: Any) -> None:
    """Change all that is trainable."""
    randomise((parameter for parameter in model.parameters() if parameter.requires_grad), seed=4)


def train(
    target: Path,
    base: str,
    *,
    method: str = "lora",
    task: str = "ner",
    labels: Sequence[str] = LABELS,
    init: str | None = None,
    results: Sequence[Mapping[str, Any]] = (),
    languages: Sequence[str] = (),
    change: Callable[[Any], object] = stir,
    force: bool = False,
) -> dict[str, Any]:
    """Make a module, change what is trainable in it instead of training it, and write it."""
    located = locate_base(base, memory=Store(home()).hashes)
    library = library_for_method(method)
    initial = locate_module(init) if init else None
    wanted = Wanted(
        base=located.fetch_weights(), task=TASKS[task], labels=tuple(labels), method=method, options=OPTIONS[method], seed=0
    )
    model = library.load(wanted, initial.folder, is_trainable=True) if initial else library.start(wanted)
    change(model)
    record = trained_record(
        base=located,
        task=TASKS[task],
        labels=labels,
        settings=TrainingSettings(seed=3, max_tokens=36),
        data=DATA,
        fit=Fit(),
        format=library.format,
        method=method,
        name=target.name,
        options={} if initial else OPTIONS[method],
        initial=initial,
        results=results,
        languages=languages,
    )
    return write_trained(model, library, record, located, target, force=force)


def make_decoder(folder: Path) -> Path:
    """Save a base model of a family that modxfer does not convert, without a tokenizer."""
    config = transformers.AutoConfig.for_model("gpt2", vocab_size=50, n_positions=40, n_embd=12, n_layer=2, n_head=3)
    model: Any = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    return folder
