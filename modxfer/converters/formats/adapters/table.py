"""The kinds of `adapters` modules: the whole table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modxfer.converters.formats.adapters import bottleneck, invertible, lora, prefixes, prompts, refts
from modxfer.converters.formats.adapters.kinds import Config, Kind
from modxfer.errors import ConversionError, FormatError

KINDS: Sequence[Kind] = (
    bottleneck.KIND,
    invertible.KIND,
    lora.KIND,
    lora.IA3_KIND,
    prefixes.KIND,
    prompts.KIND,
    refts.KIND,
)
"""Every kind; a config that several fit describes one of each."""

REFUSED: Mapping[str, str] = {
    "mtl_lora": "MTL-LoRA shares its matrices with other modules, which this one does not bring along",
}
"""`architecture` to why such a module cannot be moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One kind in a module.

    Attributes:
        kind: The kind.
        index: Which of the module's configs describes it.
    """

    kind: Kind
    index: int


def configs_of(inner: Config, *, where: str) -> list[Config]:
    """List the configs that a module is made of.

    Args:
        inner: What `adapter_config.json` holds under `config`.
        where: The file, for messages.

    Returns:
        The configs of a union, or the one there is.

    Raises:
        FormatError: the union cannot be read.
    """
    if inner.get("architecture") != "union":
        return [inner]
    configs = inner.get("configs")
    if not isinstance(configs, list) or not configs or not all(isinstance(config, dict) for config in configs):
        raise FormatError(f"`configs` in {where} is {configs!r}, and must be a list of objects.", do="Correct it in that file.")
    return list(configs)


def with_configs(inner: Config, configs: Sequence[Config]) -> dict[str, Any]:
    """Put changed configs in the place of those that a module is made of.

    Args:
        inner: What `adapter_config.json` holds under `config`.
        configs: The configs, in the order of `configs_of`.

    Returns:
        What goes there instead.
    """
    return {**inner, "configs": [dict(config) for config in configs]} if "configs" in inner else dict(configs[0])


def entries_of(inner: Config, *, where: str) -> list[Entry]:
    """List the kinds that a module is made of, and refuse those that cannot be moved.

    Args:
        inner: What `adapter_config.json` holds under `config`.
        where: The file, for messages.

    Returns:
        The kinds.

    Raises:
        FormatError: the config cannot be read.
        ConversionError: a kind is not in the table, or is a variant that cannot be moved.
    """
    entries = []
    for index, config in enumerate(configs_of(inner, where=where)):
        kinds = [kind for kind in KINDS if kind.fits(config)]
        if not kinds:
            architecture = str(config.get("architecture"))
            raise ConversionError(
                f"{where} describes the method {architecture}: "
                f"{REFUSED.get(architecture, f'modxfer moves {_known()} of those of `adapters`')}.",
                do="Train one of these instead, or name another module.",
            )
        for kind in kinds:
            kind.check(config, where)
            entries.append(Entry(kind=kind, index=index))
    return entries


def method_of(inner: Config, *, where: str) -> str:
    """Say which methods a config describes, and refuse those that cannot be moved.

    Args:
        inner: What `adapter_config.json` holds under `config`.
        where: The file, for messages.

    Returns:
        The kind's name; of a union all names, joined by " + ".

    Raises:
        FormatError: the config cannot be read.
        ConversionError: it is another method, or a variant that cannot be moved.
    """
    return " + ".join(dict.fromkeys(entry.kind.method for entry in entries_of(inner, where=where)))


def canonical(inner: Config, *, where: str) -> dict[str, Any]:
    """Write a module's config in the terms in which the module is written again.

    Args:
        inner: What `adapter_config.json` holds under `config`.
        where: The file, for messages.

    Returns:
        The config.
    """
    configs = [dict(config) for config in configs_of(inner, where=where)]
    for entry in entries_of(inner, where=where):
        configs[entry.index] = entry.kind.canonical(configs[entry.index])
    return with_configs(inner, configs)


def _known() -> str:
    return ", ".join(kind.method for kind in KINDS)
