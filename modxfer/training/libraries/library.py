"""What training asks of a library that trains modules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from modxfer.training.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a model is to be made of.

    Attributes:
        base: The base model's folder, with weights and tokenizer.
        task: The task that its head is for.
        labels: The labels, in the order of the head's rows; empty for language modelling.
        method: "lora" or "bottleneck": what a new module is. A module that is loaded has its own.
        options: The new module's own settings, such as `rank`; what is not in it is as usual.
        attention: Implementation of attention; None for what `transformers` takes.
        seed: Seed of what is initialised.
        new_head: Whether a module that is loaded gets a new head even if it has one.
        name: What a saved module is to call its base model, such as its Hub id; empty for the folder.
        revision: Commit hash of the base model, for the saved module; None for none.
    """

    base: Path
    task: Task
    labels: tuple[str, ...]
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    attention: str | None = None
    seed: int = 0
    new_head: bool = False
    name: str = ""
    revision: str | None = None


@runtime_checkable
class Library(Protocol):
    """A library that trains modules. The models that it gives take `input_ids` and `labels`, and give their own loss."""

    @property
    def format(self) -> str:
        """The format that it writes: "peft" or "adapters"."""

    def start(self, wanted: Wanted) -> Any:
        """Put a new module and a new head, at their usual initialisation, on a base model; only they are trainable."""

    def load(self, wanted: Wanted, module: Path, *, is_trainable: bool) -> Any:
        """Put a saved module on a base model, with its head, or with a new one if it has none."""

    def save(self, model: Any, folder: Path) -> None:
        """Save module and head, as safetensors; the model stays as it is."""

    def trainer_class(self) -> type[Any]:
        """The library's own trainer: a subclass of `transformers.Trainer`."""
