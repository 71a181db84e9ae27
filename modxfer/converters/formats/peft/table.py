"""The kinds of `peft` module that modxfer knows, by the `peft_type` that their configs name, and why it moves no others."""

from collections.abc import Mapping
from typing import Any

from modxfer.converters.formats.peft import adalora, ia3, layer_norms, lora, prompts
from modxfer.converters.formats.peft.convertible import CONVERTIBLE
from modxfer.converters.formats.peft.kinds import Kind, WholeKind
from modxfer.errors import ConversionError

KINDS: Mapping[str, Kind | WholeKind] = {
    "LORA": lora.KIND,
    "ADALORA": adalora.KIND,
    "IA3": ia3.KIND,
    "LN_TUNING": layer_norms.KIND,
    "PROMPT_TUNING": prompts.PROMPT_KIND,
    "P_TUNING": prompts.PROMPT_KIND,
    "PREFIX_TUNING": prompts.PREFIX_KIND,
    "CARTRIDGE": prompts.PREFIX_KIND,
}
"""`peft_type` to kind: the whole table."""

_MULTIPLIES = "what it trains turns or multiplies its own base model's weights, and says nothing about other weights"
_OWN_WEIGHTS = "its tensors count in directions or entries of its own base model's weights, which another one has elsewhere"
_RANDOM = "its tensors weigh random matrices that fit its own base model's sizes, and no unit has a place in them"
_WHOLE_MATRIX = "its update is made of frequencies or blocks of a whole matrix, in which no unit has a place of its own"
_ROUTED = "it mixes several updates by a router, for which modxfer has no row"
_NETWORK = "it has a network of its own beside the layers, for which modxfer has no row"
_TOKENS = "it belongs to single tokens by number, and a number means another token in another vocabulary"

REFUSED: Mapping[str, str] = {
    "ADAMSS": _OWN_WEIGHTS,
    "ADAPTION_PROMPT": "its prompts pass through the base model's own projections, and say nothing of other projections",
    "BEFT": "it adds vectors to what projections put out, for which modxfer has no row yet",
    "BOFT": _MULTIPLIES,
    "BONE": _WHOLE_MATRIX,
    "CPT": _TOKENS,
    "DEFT": _MULTIPLIES,
    "FROD": _OWN_WEIGHTS,
    "GLORA": _MULTIPLIES,
    "HIRA": _MULTIPLIES,
    "HRA": _MULTIPLIES,
    "LILY": _ROUTED,
    "MULTITASK_PROMPT_TUNING": "it holds the prompts of several tasks as products, entry by entry, which only a permutation "
    "would keep",
    "OFT": _MULTIPLIES,
    "OSF": _OWN_WEIGHTS,
    "PEANUT": _MULTIPLIES,
    "POLY": _ROUTED,
    "PVERA": _RANDOM,
    "ROAD": _MULTIPLIES,
    "SHADOW": _NETWORK,
    "SHIRA": _OWN_WEIGHTS,
    "SUPERTUNING": _OWN_WEIGHTS,
    "TRAINABLE_TOKENS": _TOKENS,
    "XLORA": _ROUTED,
}
"""`peft_type` to the reason, as the end of a sentence, for which a module of that kind is not moved as it is."""


def kind_of(config: Mapping[str, Any], *, where: str) -> Kind | WholeKind:
    """Find the kind of module that a `peft` config describes, and refuse those that cannot be moved.

    Args:
        config: What `adapter_config.json` holds.
        where: The file, for messages.

    Returns:
        The kind.

    Raises:
        ConversionError: it is of another kind, or of a variant that computes something else.
    """
    name = str(config.get("peft_type"))
    kind = KINDS.get(name)
    if name in CONVERTIBLE:
        raise ConversionError(
            f"{where} describes the method {name!r}, of which `peft` makes a LoRA before it can be moved.",
            do="Convert the module to another base model with `modxfer convert`, which does both.",
        )
    if kind is None:
        reason = REFUSED.get(name)
        raise ConversionError(
            f"{where} describes the method {name!r}, which modxfer does not move: {reason}."
            if reason
            else f"{where} describes the method {config.get('peft_type')!r}, and of the `peft` methods modxfer moves "
            f"{', '.join(KINDS)}.",
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
    converted = CONVERTIBLE.get(str(config.get("peft_type")))
    return converted or kind_of(config, where=where).method
