"""Finding modules and base models: a folder on this machine, else a repository on the Hub."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from modxfer.alignments.alignment_map import BaseRecord
from modxfer.alignments.compute import BaseModel
from modxfer.architectures import Architecture, architecture_from_config, read_config
from modxfer.errors import ArchitectureError, UsageError
from modxfer.registry.fingerprints import fingerprint_folder, weight_files
from modxfer.registry.hub import fetch

CONFIG_FILES = ("config.json",)
BASE_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
PICKLES = ("pytorch_model*.bin",)
"""Fetched only from a repository without safetensors; `transformers` reads them with the restricted unpickler."""
MODULE_FILES = ("*.json", "*.safetensors", "*.bin", "README.md")


@dataclass(frozen=True)
class LocatedBase:
    """A base model whose config is at hand; its weights are fetched and hashed only when something needs them.

    Attributes:
        reference: What the user typed.
        name: What to call it in records: the folder's name, or the Hub id.
        revision: Commit hash; None for a folder.
        folder: Where its config lies.
        memory: Where hashes of its files are remembered.
    """

    reference: str
    name: str
    revision: str | None
    folder: Path
    memory: Path

    @cached_property
    def architecture(self) -> Architecture:
        """Its structure."""
        return architecture_from_config(read_config(self.folder), name=self.name)

    @property
    def has_weights(self) -> bool:
        """Whether it can be fingerprinted and run."""
        return self.revision is not None or bool(weight_files(self.folder))

    @cached_property
    def record(self) -> BaseRecord:
        """What to write down of it."""
        fingerprint = self.revision or fingerprint_folder(self.folder, memory=self.memory)
        return BaseRecord(
            name=self.name,
            revision=self.revision,
            fingerprint=fingerprint,
            model_type=self.architecture.model_type,
        )

    def with_weights(self) -> BaseModel:
        """Fetch its weights and tokenizer, if they are not here.

        Returns:
            The base model, ready to be run.
        """
        folder = self.folder
        if self.revision is not None:
            folder, _ = fetch(self.name, revision=self.revision, patterns=BASE_FILES)
            if not weight_files(folder):
                folder, _ = fetch(self.name, revision=self.revision, patterns=(*BASE_FILES, *PICKLES))
        return BaseModel(folder=folder, architecture=self.architecture, record=self.record)


def locate_base(reference: str, *, memory: Path) -> LocatedBase:
    """Find a base model.

    Args:
        reference: A folder, or a Hub id with an optional `@revision`.
        memory: Where hashes of files are remembered.

    Returns:
        The base model, of which no more than the config was fetched.

    Raises:
        ArchitectureError: a folder of that name holds no config.
        UsageError: it is neither a folder nor on the Hub.
    """
    folder = Path(reference).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ArchitectureError(
                f"`{reference}` holds no `config.json`, so it is not a base model.",
                do="Name the folder that `save_pretrained` wrote.",
            )
        return LocatedBase(reference=reference, name=folder.resolve().name, revision=None, folder=folder, memory=memory)
    name, _, revision = reference.partition("@")
    fetched, commit = fetch(name, revision=revision or None, patterns=CONFIG_FILES)
    return LocatedBase(reference=reference, name=name, revision=commit, folder=fetched, memory=memory)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedModule:
    """A module whose files are at hand.

    Attributes:
        name: What to call it in records: the folder's name, or the Hub id.
        revision: Commit hash; None for a folder.
        folder: Where its files lie.
    """

    name: str
    revision: str | None
    folder: Path


def locate_module(reference: str) -> LocatedModule:
    """Find a module.

    Args:
        reference: A folder, or a Hub id with an optional `@revision`.

    Returns:
        The module.

    Raises:
        UsageError: it is neither a folder nor on the Hub.
    """
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return LocatedModule(name=folder.resolve().name, revision=None, folder=folder)
    if folder.is_file():
        raise UsageError(f"`{reference}` is a file, not a module.", do="Name the folder that holds it.")
    name, _, revision = reference.partition("@")
    fetched, commit = fetch(name, revision=revision or None, patterns=MODULE_FILES)
    return LocatedModule(name=name, revision=commit, folder=fetched)
