"""The kinds of `peft` module that modxfer knows, by the `peft_type` that their configs name."""

from collections.abc import Mapping
from typing import Any

from modxfer.converters.formats.peft import lora
from modxfer.converters.formats.peft.kinds import Kind
from modxfer.errors import ConversionError

KINDS: Mapping[str, Kind] = {"LORA": lora.KIND}
"""`peft_type` to kind: the whole table."""


def kind_of(config: Mapping[str, Any], *, where: str) -> Kind:
    """Find the kind of module that a `peft` config describes, and refuse those that cannot be moved.

    Args:
        config: What `adapter_config.json` holds.
        where: The file, for messages.

    Returns:
        The kind.

    Raises:
        ConversionError: it is of another kind, or of a variant that computes something else.
    """
    name = config.get("peft_type")
    kind = KINDS.get(str(name))
    if kind is None:
        raise ConversionError(
            f"{where} describes the method {name!r}, and of the `peft` methods modxfer moves {', '.join(KINDS)}.",
            do="Train a LoRA instead, or name another module.",
        )
    kind.check(config, where)
    return kind


def method_of(config: Mapping[str, Any], *, where: str) -> str:
    """Say which method a `peft` config describes, and refuse those that cannot be moved.

    Args:
        config: What `adapter_config.json` holds.
        where: The file, for messages.

    Returns:
        The method, as modxfer calls it ("lora").

    Raises:
        ConversionError: it is another method, or a variant that computes something else.
    """
    return kind_of(config, where=where).method
