"""The kinds of `peft` module that peft itself turns into LoRA; their own tensors say nothing of units."""

from collections.abc import Mapping
from types import MappingProxyType

CONVERTIBLE: Mapping[str, str] = MappingProxyType(
    {
        name.upper(): name
        for name in (
            "c3a",
            "delora",
            "fourierft",
            "gralora",
            "loha",
            "lokr",
            "miss",
            "psoft",
            "randlora",
            "tinylora",
            "unilora",
            "vblora",
            "vera",
            "waveft",
        )
    }
)
"""`peft_type` to the method's name in modxfer: those whose layers say `supports_lora_conversion`, LoRA left out."""
