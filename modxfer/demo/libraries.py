"""The two libraries that train modules, behind one shape: a new module on a base model, a converted one, and saving."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

ADAPTER_NAME = "ner"


@runtime_checkable
class Library(Protocol):
    """What the demo asks of `peft` and of `adapters`. Both models come with a head for tags, and give their own loss."""

    @property
    def method(self) -> str:
        """The method that it is used for."""

    def start(self, base: Path, tags: Sequence[str], *, seed: int) -> torch.nn.Module:
        """Put a new module and a new head, at their usual initialisation, on a base model."""

    def load(self, base: Path, module: Path, tags: Sequence[str]) -> torch.nn.Module:
        """Put a saved module with its head on a base model, ready to be trained."""

    def save(self, model: Any, folder: Path) -> None:
        """Save module and head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peft:
    """LoRA on query and value, with `peft`.

    Attributes:
        rank: LoRA rank; alpha is twice that.
    """

    rank: int

    @property
    def method(self) -> str:
        """The method that it is used for."""
        return "LoRA"

    def start(self, base: Path, tags: Sequence[str], *, seed: int) -> torch.nn.Module:
        """Put a new module and a new head on a base model.

        Args:
            base: The base model's folder.
            tags: The tags.
            seed: Seed of the initialisation.

        Returns:
            The model.
        """
        import peft

        config = peft.LoraConfig(
            task_type=peft.TaskType.TOKEN_CLS,
            r=self.rank,
            lora_alpha=2 * self.rank,
            target_modules=["query", "value"],
        )
        with seeded(seed):
            model: torch.nn.Module = peft.get_peft_model(_task_model(base, tags), config)
        return model

    def load(self, base: Path, module: Path, tags: Sequence[str]) -> torch.nn.Module:
        """Put a saved module with its head on a base model.

        Args:
            base: The base model's folder.
            module: The module's folder.
            tags: The tags.

        Returns:
            The model.
        """
        import peft

        with seeded(0):
            model: torch.nn.Module = peft.PeftModel.from_pretrained(_task_model(base, tags), str(module), is_trainable=True)
        return model

    def save(self, model: Any, folder: Path) -> None:
        """Save module and head.

        Args:
            model: The model.
            folder: Where.
        """
        model.save_pretrained(str(folder))


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """A Pfeiffer bottleneck adapter, with `adapters`.

    Attributes:
        bottleneck: Its width.
    """

    bottleneck: int

    @property
    def method(self) -> str:
        """The method that it is used for."""
        return "adapter"

    def start(self, base: Path, tags: Sequence[str], *, seed: int) -> torch.nn.Module:
        """Put a new module and a new head on a base model.

        Args:
            base: The base model's folder.
            tags: The tags.
            seed: Seed of the initialisation.

        Returns:
            The model.
        """
        import adapters

        with seeded(seed):
            model = _adapter_model(base)
            factor = model.config.hidden_size / self.bottleneck
            model.add_adapter(ADAPTER_NAME, config=adapters.SeqBnConfig(reduction_factor=factor))
            labels = dict(enumerate(tags))
            model.add_tagging_head(ADAPTER_NAME, num_labels=len(tags), id2label=labels)
            model.train_adapter(ADAPTER_NAME)
        return model  # type: ignore[no-any-return]

    def load(self, base: Path, module: Path, tags: Sequence[str]) -> torch.nn.Module:
        """Put a saved module with its head on a base model.

        Args:
            base: The base model's folder.
            module: The module's folder.
            tags: The tags; the saved head has its own.

        Returns:
            The model.
        """
        with seeded(0):
            model = _adapter_model(base)
            model.load_adapter(str(module), load_as=ADAPTER_NAME, use_safetensors=True)
            model.train_adapter(ADAPTER_NAME)
            model.active_head = ADAPTER_NAME  # a head that was loaded is not used by itself
        return model  # type: ignore[no-any-return]

    def save(self, model: Any, folder: Path) -> None:
        """Save module and head.

        Args:
            model: The model.
            folder: Where.
        """
        model.save_adapter(str(folder), ADAPTER_NAME, use_safetensors=True)


def has_adapters() -> bool:
    """Say whether `adapters` is installed."""
    return "adapters" in sys.modules or find_spec("adapters") is not None  # once imported, it has no spec


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make what is drawn inside the block depend on a seed alone, and nothing outside on it.

    Args:
        seed: The seed.

    Yields:
        Nothing.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries from writing to the terminal: their warnings, and their progress bars.

    Yields:
        Nothing.
    """
    import transformers

    level, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    disabled = logging.root.manager.disable
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()


def _task_model(base: Path, tags: Sequence[str]) -> Any:
    import transformers

    return transformers.AutoModelForTokenClassification.from_pretrained(
        str(base),
        id2label=dict(enumerate(tags)),
        label2id={tag: label for label, tag in enumerate(tags)},
        attn_implementation="eager",  # its backward pass is several times faster on CPUs than the fused one's
    )


def _adapter_model(base: Path) -> Any:
    import adapters

    return adapters.AutoAdapterModel.from_pretrained(str(base), attn_implementation="eager")
