"""A module between its teacher and a student: what a conversion or an alignment begins with."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from modxfer.alignments.layer_maps import LayerMap, layer_map
from modxfer.alignments.request import AlignmentRequest, check_kinds
from modxfer.alignments.vocabulary import count_tokens
from modxfer.architectures import VOCABULARY
from modxfer.converters.convert import request_for
from modxfer.converters.formats import inspect_files, read_module
from modxfer.converters.formats.checks import is_hub_id
from modxfer.converters.lora_conversion import LoraConversion, convert_to_lora, is_convertible
from modxfer.converters.module import BaseReference, Module, ModuleFiles
from modxfer.converters.ranks import check_rank
from modxfer.errors import ConversionError, EntryError, UsageError
from modxfer.paths import home, is_folder
from modxfer.registry.finding import Search
from modxfer.registry.hub.failures import RepositoryMissing
from modxfer.registry.hub.repositories import open_repository
from modxfer.registry.locate import LocatedBase, LocatedModule, locate_base, locate_module
from modxfer.registry.store import Store
from modxfer.registry.structures import inferred_warnings


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A module between its teacher and a student.

    Attributes:
        located: The teacher module.
        files: Its files.
        module: What they hold.
        teacher: The teacher.
        student: The student.
        layers: The layer map.
        warnings: What is met on the way; grows.
        notes: What was put in another form before the conversion.
        approximated: What was lost by that.
    """

    located: LocatedModule
    files: ModuleFiles
    module: Module
    teacher: LocatedBase
    student: LocatedBase
    layers: LayerMap
    warnings: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    approximated: tuple[str, ...] = ()

    def search(self, module: Module) -> Search:
        """Say what alignment a conversion needs.

        Args:
            module: The module, or what of it is to be converted.

        Returns:
            What to look for; it shares the warnings.
        """
        return Search(
            teacher=self.teacher,
            student=self.student,
            layers=self.layers,
            request=request_for(module, self.layers),
            module=self.located.name,
            datasets=self.files.datasets,
            warnings=self.warnings,
        )


def read_pair(
    module: str, *, to: str, teacher: str | None, layers: str, registry: str | None = None, rank: int | None = None
) -> Pair:
    """Find a module and its two base models, and read the module, as a LoRA if it has to become one.

    Args:
        module: The module: a folder, a Hub id or `registry:` with the id of an entry.
        to: The student: a folder or a Hub id.
        teacher: The teacher, where the module does not say or says wrong.
        layers: Layer map, as in `convert`.
        registry: The registry that has the entry; None for what `MODXFER_REGISTRY` names.
        rank: The largest rank of a LoRA that is made of another method; None for what that takes.

    Returns:
        The three of them.

    Raises:
        ModxferError: one of them is not to be had, or they do not fit.
    """
    if rank is not None:
        check_rank(rank)
    store = Store(home())
    located = locate_module(module, registry=registry)
    files = inspect_files(located.folder)
    from_base = locate_own_base(module, located, files, given=teacher, flag="--from", memory=store.hashes)
    to_base, table = _read_student(from_base, to, layers)
    read = _read_movable(files, from_base, rank=rank)
    return Pair(
        located=located,
        files=files,
        module=read.module,
        teacher=from_base,
        student=to_base,
        layers=table,
        warnings=[*inferred_warnings(from_base.architecture, to_base.architecture), *_new_tokens(files, from_base)],
        notes=(*read.notes, *read.module.notes),
        approximated=read.approximated,
    )


def _new_tokens(files: ModuleFiles, teacher: LocatedBase) -> Iterator[str]:
    """Say when the tokenizer beside a module has tokens that its base model lacks."""
    known, count = teacher.architecture.dimensions.get(VOCABULARY), count_tokens(files.folder)
    if known is not None and count is not None and count > known:
        yield (
            f"The tokenizer beside the module has {count} tokens, and its base model `{teacher.name}` {known}: what the module "
            "learnt with the new ones needs them in the student too."
        )


def _read_movable(files: ModuleFiles, teacher: LocatedBase, *, rank: int | None) -> LoraConversion:
    """Read a module; one whose tensors say nothing of units is made a LoRA, which takes the teacher's weights."""
    if not is_convertible(files):
        return LoraConversion(module=read_module(files, teacher.architecture))
    if not teacher.has_weights:
        raise ConversionError(
            f"The {files.method} becomes a LoRA before it is moved, and the teacher `{teacher.name}` has no weights here.",
            do="Name it with its weights with `--from`.",
        )
    return convert_to_lora(files, teacher.architecture, weights=teacher.fetch_weights(), rank=rank)


def locate_own_base(
    module: str, located: LocatedModule, files: ModuleFiles, *, given: str | None, flag: str, memory: Path
) -> LocatedBase:
    """Find the base model that a module belongs to.

    Args:
        module: What the user typed for the module.
        located: Where it is.
        files: Its files.
        given: The base model, where the module does not say or says wrong.
        flag: The flag that gives it, for messages.
        memory: Where hashes of files are remembered.

    Returns:
        The base model.

    Raises:
        ModxferError: nobody says which it is, or it is not to be had.
    """
    stated = files.base if given is not None else _stated_base(files.base, located, flag=flag)
    if given is None and located.revision is not None and is_folder(stated.name):
        raise UsageError(
            f"The module `{module}` comes from the Hub and says that it belongs to `{stated.name}`, a folder here.",
            do=f"Say with `{flag}` which base model it belongs to.",
        )
    named = given or _pinned(stated)
    if not named:
        raise UsageError(f"The module `{module}` does not say which base model it belongs to.", do=f"Say so with `{flag}`.")
    try:
        return locate_base(named, memory=memory)
    except UsageError as error:
        if given:
            raise
        raise UsageError(
            f"The module `{module}` belongs to `{named}`, which is no folder here and could not be had from the Hub.",
            do=f"Say where that base model is with `{flag}`.",
        ) from error


def search_whole(teacher: str, *, to: str, layers: str) -> Search:
    """Say what alignment any module of a pair could need.

    Args:
        teacher: The teacher: a folder or a Hub id.
        to: The student.
        layers: Layer map, as in `convert`.

    Returns:
        What to look for.

    Raises:
        ModxferError: one of them is not to be had, or they do not fit.
    """
    from_base = locate_base(teacher, memory=Store(home()).hashes)
    to_base, table = _read_student(from_base, to, layers)
    request = AlignmentRequest.whole(table, teacher=from_base.architecture, student=to_base.architecture)
    warnings = inferred_warnings(from_base.architecture, to_base.architecture)
    return Search(teacher=from_base, student=to_base, layers=table, request=request, warnings=warnings)


def _read_student(teacher: LocatedBase, to: str, layers: str) -> tuple[LocatedBase, LayerMap]:
    student = locate_base(to, memory=teacher.memory)
    check_kinds(teacher.architecture, student.architecture)
    return student, layer_map(layers, teacher=teacher.architecture.depths, student=student.architecture.depths)


def _stated_base(base: BaseReference, located: LocatedModule, *, flag: str) -> BaseReference:
    """Say which base model a module belongs to: what its entry says, where it has one that its config does not contradict."""
    if located.base is None:
        return base
    name, revision = located.base
    own = name if base.name == name else _name_on_hub(base.name)
    is_same = own in (None, name) or own == _name_on_hub(name)
    if not is_same or (own is not None and _is_commit(base.revision) and revision not in (None, base.revision)):
        at = f"@{revision}" if revision else ""
        raise EntryError(
            f"The entry `{located.registered}` says that the module belongs to `{name}{at}`, and the module's own config says "
            f"`{f'{base.name}@{base.revision}' if is_same else base.name}`.",
            do=f"Say with `{flag}` which it is, and tell the registry's maintainers.",
        )
    return replace(base, name=name, revision=revision or base.revision)


def _name_on_hub(name: str) -> str | None:
    """Give the present name of a repository; None for a folder of whoever trained the module."""
    try:
        return open_repository(name).name if name and is_hub_id(name) else None
    except RepositoryMissing:
        return None


def _is_commit(revision: str | None) -> bool:
    return revision is not None and re.fullmatch("[0-9a-f]{40}", revision) is not None


def _pinned(base: BaseReference) -> str:
    """Name the base model that a module says, at the revision that it says; a folder has none."""
    is_pinned = base.revision is not None and not is_folder(base.name)
    return f"{base.name}@{base.revision}" if base.name and is_pinned else base.name
