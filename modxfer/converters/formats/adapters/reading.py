"""The `adapters` format, read: config and keys to pieces, whatever kinds the module is made of.

Source: adapters 1.3, `loading.py` (names of keys).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modxfer.architectures import Architecture
from modxfer.converters.formats.adapters.configs import CONFIG_FILE, INTERFACE_FILE
from modxfer.converters.formats.adapters.heads import parse_head, static_task
from modxfer.converters.formats.adapters.kinds import Kind, Owner, Setup
from modxfer.converters.formats.adapters.table import canonical, configs_of, entries_of, method_of
from modxfer.converters.formats.checks import check_shape, listing
from modxfer.converters.formats.classes import in_adapters
from modxfer.converters.module import Array, Module, ModuleFiles, Piece, Place
from modxfer.errors import ConversionError, FormatError

LEGACY_KEYS = {
    "attention_text_task_adapters": "adapters",
    "attention_text_lang_adapters": "adapters",
    "layer_text_task_adapters": "adapters",
    "layer_text_lang_adapters": "adapters",
    "invertible_lang_adapters": "invertible_adapters",
}
"""Pieces of keys that older versions wrote, and what they mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """What a key's tensor is.

    Attributes:
        entry: Which of the module's kinds it belongs to.
        owner: The submodule that holds it.
        part: Its part.
    """

    entry: int
    owner: Owner
    part: str


def current_key(key: str) -> str:
    """Write a key as the current version does.

    Args:
        key: A key of any age.

    Returns:
        The current key.
    """
    for old, new in LEGACY_KEYS.items():
        key = key.replace(old, new)
    return key


def kinds_on(config: Mapping[str, Any], base: Architecture, *, where: str) -> list[tuple[Kind, Setup]]:
    """List the kinds that a module is made of, each with its config on a base model.

    Args:
        config: The module's config, upgraded.
        base: The base model.
        where: The file, for messages.

    Returns:
        Kind and setup.

    Raises:
        FormatError: the config cannot be read.
        ConversionError: it describes what cannot be moved.
    """
    configs, entries = configs_of(config["config"], where=where), entries_of(config["config"], where=where)
    if not base.family.in_adapters:
        raise ConversionError(
            f"The `adapters` library has no model class for `{base.model_type}`, the family of `{base.name}`, and modxfer "
            "moves no modules that were made through its plugin interface.",
            do="Name the base model that the module was trained on with `--from`, or choose another student.",
        )
    for entry in entries:
        why = base.family.adapters_lacks.get(entry.kind.method)
        if why is not None:
            raise ConversionError(
                f"`adapters` cannot run the {entry.kind.method} of this module on `{base.name}` ({base.model_type}): {why}.",
                do="Choose another student.",
            )
    return [(entry.kind, Setup(inner=configs[entry.index], base=base, where=where)) for entry in entries]


def parse(files: ModuleFiles, tensors: Mapping[str, Array], teacher: Architecture) -> Module:
    """Turn an `adapters` module's config and tensors into pieces.

    Args:
        files: What is known of the module from its configs.
        tensors: Key to tensor, checked to be finite and floating-point.
        teacher: The base model that the module belongs to.

    Returns:
        The module.

    Raises:
        FormatError: a key is unknown, a shape does not fit, or config and tensors disagree.
        ConversionError: the module, or its head, is of a kind that cannot be moved.
    """
    where = f"`{CONFIG_FILE}`"
    said, hidden = files.config.get("hidden_size"), teacher.dimensions["hidden"]
    if said is not None and said != hidden:
        raise FormatError(
            f"{where} says that the base model is {said} units wide, and `{teacher.name}` has {hidden}.",
            do="Name the base model that the module was trained on with `--from`.",
        )
    if (files.folder / INTERFACE_FILE).exists():
        raise ConversionError(
            f"The module was made through the plugin interface of `adapters` (it has `{INTERFACE_FILE}`), where what its "
            "pieces read and write is up to that file and not to the family.",
            do="Train the module with a model class of `adapters`, or with `peft`.",
        )
    named = in_adapters(teacher)
    in_head = {header.key for header in files.tensors if is_head_file(header.file)}
    body = {current_key(key): tensor for key, tensor in tensors.items() if key not in in_head}
    kinds = kinds_on(files.config, named, where=where)
    owners = [(index, owner) for index, (kind, setup) in enumerate(kinds) for owner in kind.owners(setup)]
    found, inside = _sort_keys(body, files, owners, named)
    _check_complete(found, owners, where=where)
    _check_shapes(found, owners, teacher)
    pieces: dict[Place, Piece] = {}
    for index, (kind, setup) in enumerate(kinds):
        pieces |= kind.read(setup, found[index])
    head, head_pieces = parse_head(files, {key: tensors[key] for key in in_head}, teacher)
    inner = canonical(files.config["config"], where=where)
    return Module(
        format="adapters",
        method=method_of(inner, where=where),
        name=files.name,
        config={**files.config, "config": inner},
        pieces={**pieces, **head_pieces},
        head=head,
        base=files.base,
        inside_task_model=inside,
        notes=tuple(note for kind, setup in kinds if (note := kind.remark(setup.inner)) is not None),
    )


def is_head_file(name: str) -> bool:
    """Say whether a file holds the head's tensors.

    Args:
        name: The file's name.

    Returns:
        Whether it is one of the two names for that.
    """
    return name in {"model_head.safetensors", "pytorch_model_head.bin"}


_Sorted = Mapping[int, dict[str, dict[str, Array]]]
"""Which of the kinds to name of an owner to part to tensor."""


def _sort_keys(
    tensors: Mapping[str, Array], files: ModuleFiles, owners: list[tuple[int, Owner]], base: Architecture
) -> tuple[_Sorted, bool]:
    """Find the owner and the part of every key."""
    known = dict(_known_keys(owners, files.name))
    prefix = base.prefix(static_task(files.head_config) if files.head_config else None)
    found: _Sorted = defaultdict(lambda: defaultdict(dict))
    prefixes = set()
    for key, tensor in tensors.items():
        plain = key.removeprefix(prefix)
        if plain not in known:
            _refuse_key(key, files, owners, base)
        prefixes.add(plain != key)
        expected = known[plain]
        parts = found[expected.entry][expected.owner.name]
        if expected.part in parts and not np.array_equal(parts[expected.part], tensor):
            raise FormatError(f"`{key}` is stored twice, with different values.", do="Save the module again.")
        parts[expected.part] = tensor
    if len(prefixes) != 1:
        raise FormatError(
            f"The module holds {'no tensors' if not prefixes else f'keys with and without `{prefix}`'}.",
            do="Fetch the module again.",
        )
    return found, prefixes == {True} or not prefix


def _known_keys(owners: list[tuple[int, Owner]], module: str) -> Iterator[tuple[str, _Expected]]:
    seen = set()
    for entry, owner in owners:
        for key, part in owner.keys(module):
            if key in seen:
                raise FormatError(
                    f"`{CONFIG_FILE}` describes two things that are both stored under `{key}`.", do="Fetch the module again."
                )
            seen.add(key)
            yield key, _Expected(entry=entry, owner=owner, part=part)


def _refuse_key(key: str, files: ModuleFiles, owners: list[tuple[int, Owner]], base: Architecture) -> None:
    """Raise for a key that the config does not explain."""
    depths = ", ".join(f"{depth} layers" for depth in base.depths.values())
    ends = dict.fromkeys(f"{owner.marker}.{files.name}.{end}" for _, owner in owners for end in owner.ends)
    raise FormatError(
        f"The module holds `{key}`, and its config gives `{base.name}` ({base.model_type}, {depths}) no {files.method} "
        f"`{files.name}` there (known: {listing(ends) or 'nothing'}).",
        do="Name the right base model with `--from`, or fetch the module again: config and tensors do not belong together.",
    )


def _check_complete(found: _Sorted, owners: list[tuple[int, Owner]], *, where: str) -> None:
    """Refuse a module that lacks tensors which its config asks for."""
    lost = [
        f"{owner.path or owner.marker}, {part}"
        for entry, owner in owners
        for part in dict.fromkeys(owner.ends.values())
        if part not in found[entry][owner.name]
    ]
    if lost:
        raise FormatError(
            f"{where} asks for {listing(lost)}, and the module does not hold that.",
            do="Fetch the module again: it is incomplete. Or name the base model that it was trained on with `--from`.",
        )


def _check_shapes(found: _Sorted, owners: list[tuple[int, Owner]], base: Architecture) -> None:
    for entry, owner in owners:
        for part, tensor in found[entry][owner.name].items():
            key = f"{owner.path or owner.marker}, {part}"
            check_shape(key, tensor, owner.shapes[part], where=owner.label, base=base.name)
