"""Finding modules and base models: a folder on this machine, else a repository on the Hub."""

import contextlib
import fnmatch
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from modxfer.alignments.alignment_map import BaseRecord
from modxfer.alignments.compute import BaseModel
from modxfer.architectures import Architecture, read_config
from modxfer.converters.formats.files import read_card
from modxfer.converters.formats.needed import TRANSFER, needed_files
from modxfer.errors import AlignmentError, ArchitectureError, FormatError, UsageError
from modxfer.paths import is_folder
from modxfer.registry.entries.references import is_registered, open_registered, refuse_registered, resolve_module
from modxfer.registry.fingerprints import (
    CONFIG,
    choose_weights,
    fingerprint,
    fingerprint_folder,
    remembered_hash,
    weight_files,
)
from modxfer.registry.hub.repositories import Repository, git_hash, open_repository
from modxfer.registry.licences import one_licence
from modxfer.registry.origin import read_origin
from modxfer.registry.structures import read_architecture

if TYPE_CHECKING:
    from modxfer.registry.entries.models import ModuleEntry

_BESIDE_WEIGHTS = ("*.json", "*.txt", "*.model")
"""What `transformers` may read beside the weights: configs, tokenizer, the index of shards."""

_LARGEST_REGULAR_BYTES = 10_000_000


@dataclass(frozen=True)
class LocatedBase:
    """A base model whose config is at hand; its weights are fetched only when something has to run it.

    Attributes:
        reference: What the user typed.
        name: What to call it in records: the folder's name, or the Hub id.
        folder: Where its config lies.
        memory: Where hashes of its files are remembered.
        repository: Where it comes from; None for a folder.
    """

    reference: str
    name: str
    folder: Path
    memory: Path
    repository: Repository | None = None

    @property
    def revision(self) -> str | None:
        """Commit hash; None for a folder."""
        return self.repository.commit if self.repository else None

    @property
    def licence(self) -> str | None:
        """What its card says; None if it says nothing."""
        return self.repository.licence if self.repository else one_licence(read_card(self.folder).get("license"))

    @cached_property
    def architecture(self) -> Architecture:
        """Its structure; read off its submodules where the table lacks its family."""
        return read_architecture(self.folder, name=self.name, repository=self.repository)

    @property
    def model_type(self) -> str:
        """What its config calls its family, whether modxfer knows it or not; empty if it says nothing."""
        found = read_config(self.folder).get("model_type")
        return found if isinstance(found, str) else ""

    @property
    def quantisation(self) -> str:
        """How its weights are packed ("gptq"), as its config says; empty where they are plain numbers."""
        said = read_config(self.folder).get("quantization_config")
        return str(said.get("quant_method") or "quantised") if isinstance(said, dict) else ""

    @property
    def has_weights(self) -> bool:
        """Whether it can be fingerprinted and run."""
        return bool(choose_weights(self.repository.files) if self.repository else weight_files(self.folder))

    @cached_property
    def record(self) -> BaseRecord:
        """What to write down of it; of one on the Hub no weights are fetched for this."""
        found = (
            self._fingerprint_remote(self.repository)
            if self.repository
            else fingerprint_folder(self.folder, memory=self.memory)
        )
        return BaseRecord(name=self.name, revision=self.revision, fingerprint=found, model_type=self.model_type)

    @cached_property
    def text_reading(self) -> str:
        """Hash of what lies beside the weights: the tokenizer is there, and decides which tokens match. Nothing is fetched."""
        if self.repository is None:
            names = _beside_weights(path.name for path in self.folder.iterdir() if path.is_file())
            hashes = {name: self._hash_as_hub(self.folder / name) for name in names}
        else:
            files = self.repository.files
            hashes = {name: files[name].sha256 or files[name].git_hash for name in _beside_weights(files)}
        return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()

    def fetch_weights(self) -> Path:
        """Fetch its weights and tokenizer, if they are not here; its family may be one that modxfer does not know.

        Returns:
            The folder that holds them.
        """
        if self.repository is None:
            return self.folder
        files = self.repository.files
        return self.repository.fetch(dict.fromkeys([CONFIG, *_beside_weights(files), *choose_weights(files)]))

    def fetch_tokenizer(self) -> Path:
        """Fetch what lies beside its weights, if it is not here.

        Returns:
            The folder that holds it.
        """
        if self.repository is None:
            return self.folder
        return self.repository.fetch([CONFIG, *_beside_weights(self.repository.files)])

    def with_weights(self) -> BaseModel:
        """Fetch its weights and tokenizer, if they are not here.

        Returns:
            The base model, ready to be run.

        Raises:
            AlignmentError: its weights are quantised.
        """
        if self.quantisation:
            original = read_config(self.folder).get("_name_or_path")
            is_told = isinstance(original, str) and original not in ("", self.name, self.reference)
            raise AlignmentError(
                f"The weights of `{self.name}` are quantised ({self.quantisation}), and an alignment is measured on weights of "
                "a floating type.",
                do=f"Name the model that it was made from{f', `{original}`,' if is_told else ''} in its place, or a map of the "
                "two with `--alignment`, or state `--align identity`.",
            )
        return BaseModel(folder=self.fetch_weights(), architecture=self.architecture, record=self.record)

    def _hash_as_hub(self, path: Path) -> str:
        """Hash a file as the Hub would say it: sha256 for what it keeps in LFS by its usual rules, else as git does."""
        if path.suffix == ".model" or path.stat().st_size > _LARGEST_REGULAR_BYTES:
            return remembered_hash(path, memory=self.memory)
        return git_hash(path.read_bytes())

    def _fingerprint_remote(self, repository: Repository) -> str:
        """Take the hashes of large files from the Hub, and fetch only what is so small that it has none there."""
        weights = choose_weights(repository.files)
        if not weights:
            raise ArchitectureError(f"`{self.name}` holds no weights.", do="Give a base model that has some.")
        hashes = {}
        for name in weights:
            known = repository.files[name].sha256
            hashes[name] = known or remembered_hash(repository.fetch([name]) / name, memory=self.memory)
        return fingerprint(hashes, config=self.folder / CONFIG)


def _beside_weights(paths: Iterable[str]) -> list[str]:
    here = [path for path in paths if "/" not in path]
    return [path for pattern in _BESIDE_WEIGHTS for path in fnmatch.filter(here, pattern)]


def locate_base(reference: str, *, memory: Path) -> LocatedBase:
    """Find a base model.

    Args:
        reference: A folder, or a Hub id with an optional `@revision`.
        memory: Where hashes of files are remembered.

    Returns:
        The base model, of which no more than the config was fetched.

    Raises:
        ArchitectureError: there is no config.
        UsageError: it is neither a folder nor on the Hub.
        HubError: the Hub refuses or cannot be reached.
    """
    refuse_registered(reference)
    folder, is_here = Path(reference).expanduser(), is_folder(reference)
    repository = None if is_here else open_repository(reference)
    if not ((folder / CONFIG).is_file() if repository is None else CONFIG in repository.files):
        raise ArchitectureError(
            f"`{reference}` holds no `{CONFIG}`, so it is not a base model.",
            do="Name the folder that `save_pretrained` wrote." if is_here else "Give the Hub id of a base model.",
        )
    if repository is None:
        return LocatedBase(reference=reference, name=folder.resolve().name, folder=folder, memory=memory)
    folder = repository.fetch([CONFIG])
    return LocatedBase(reference=reference, name=repository.name, folder=folder, memory=memory, repository=repository)


def is_base_model(reference: str) -> bool:
    """Say whether a folder or a repository holds a base model, and no module.

    Args:
        reference: A folder, a Hub id with an optional `@revision`, or the id of an entry, which is never a base model's.

    Returns:
        Whether its config is one of a base model.

    Raises:
        UsageError: it is neither a folder nor on the Hub.
        HubError: the Hub refuses or cannot be reached.
    """
    if is_registered(reference):
        return False
    paths = list_paths(reference)
    return CONFIG in paths and not needed_files(paths)


def list_paths(reference: str) -> set[str]:
    """List the files of a folder, as far as modules and base models use them, or of a repository.

    Args:
        reference: A folder, or a Hub id with an optional `@revision`.

    Returns:
        Their paths in it.

    Raises:
        UsageError: it is a file, or neither a folder nor on the Hub.
        HubError: the Hub refuses or cannot be reached.
    """
    folder = Path(reference).expanduser()
    _refuse_file(reference)
    if not is_folder(reference):
        return set(open_repository(reference).files)
    return {path.relative_to(folder).as_posix() for path in [*folder.glob("*"), *folder.glob("*/*")]}


def _refuse_file(reference: str) -> None:
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        if Path(reference).expanduser().is_file():
            raise UsageError(f"`{reference}` is a file, not a folder.", do="Name the folder that holds it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedModule:
    """A module whose files are at hand.

    Attributes:
        name: What to call it in records: the folder's name, or the Hub id.
        revision: Commit hash; None for a folder that did not come from the Hub.
        folder: Where its files lie.
        files: Its files, as paths in that folder; empty for a folder that did not come from the Hub.
        registered: Id of the entry that it was named by; None if it was not.
        base: The base model that this entry names, as id and commit, if it says at which.
    """

    name: str
    revision: str | None
    folder: Path
    files: tuple[str, ...] = ()
    registered: str | None = None
    base: tuple[str, str | None] | None = None


def locate_module(reference: str, *, registry: str | None = None) -> LocatedModule:
    """Find a module, and fetch it if it is on the Hub: its configs, card, weights and modxfer's record, nothing else.

    Args:
        reference: A folder, a Hub id with an optional `@revision`, or `registry:` with the id of an entry.
        registry: The registry that has the entry; None for what `MODXFER_REGISTRY` names.

    Returns:
        The module.

    Raises:
        UsageError: it is neither a folder nor on the Hub, or no registry is named.
        FormatError: the repository holds no module.
        EntryError: there is no such entry, or its files are not what it pins.
        HubError: the Hub refuses or cannot be reached.
    """
    if is_registered(reference):
        return locate_registered(resolve_module(reference, registry))
    folder = Path(reference).expanduser()
    if is_folder(reference):
        origin = read_origin(folder)
        if origin is not None:
            return LocatedModule(name=origin.repository, revision=origin.revision, folder=folder, files=tuple(origin.files))
        return LocatedModule(name=folder.resolve().name, revision=None, folder=folder)
    _refuse_file(reference)
    repository = open_repository(reference)
    needed = (*choose_files(repository), *([TRANSFER] if TRANSFER in repository.files else []))
    return LocatedModule(name=repository.name, revision=repository.commit, folder=repository.fetch(needed), files=needed)


def choose_files(repository: Repository) -> tuple[str, ...]:
    """Choose the files of the one module that a repository holds.

    Args:
        repository: The repository.

    Returns:
        Their paths.

    Raises:
        FormatError: it holds no module, or several.
    """
    needed = needed_files(repository.files)
    folders = sorted(path.rpartition("/")[0] for path in needed if path.endswith("adapter_config.json"))
    if len(folders) > 1:
        raise FormatError(
            f"`{repository.name}` holds {len(folders)} modules ({', '.join(f'`{name}`' for name in folders)}), and modxfer "
            "takes repositories of one.",
            do="Fetch the one that you want with `hf download`, and give its folder.",
        )
    if not needed:
        raise FormatError(
            f"`{repository.name}` holds no `adapter_config.json`, so it is no module.",
            do=f"Give the id of a module{'; this is a base model' if CONFIG in repository.files else ''}.",
        )
    return needed


def locate_registered(entry: "ModuleEntry") -> LocatedModule:
    """Fetch the module of an entry. Every file of it that the repository has must be pinned, since it would be read.

    Args:
        entry: The entry.

    Returns:
        The module.

    Raises:
        FormatError: the repository holds no module.
        EntryError: it is no longer there, or its files are not what the entry pins.
        HubError: the Hub refuses or cannot be reached.
    """
    found = open_registered(entry)
    needed = choose_files(found.repository)
    needed = (*needed, *(path for path in [TRANSFER] if path in found.pinned))  # not what nobody has vouched for
    return LocatedModule(
        name=found.repository.name,
        revision=found.repository.commit,
        folder=found.fetch(needed),
        files=needed,
        registered=entry.id,
        base=(entry.base.name, entry.base.revision),
    )
