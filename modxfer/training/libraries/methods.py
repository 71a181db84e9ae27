"""The methods that can be trained, with their options: one row each."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modxfer.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One setting of a new module.

    Attributes:
        name: What users call it; its flag is `--` and that.
        default: What it is if it is not said.
        meaning: What it is, in words.
        needed: What its value must be, in words.
        is_right: Whether a value is that.
    """

    name: str
    default: Any
    meaning: str
    needed: str
    is_right: Callable[[Any], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedMethod:
    """A method, and what trains it.

    Attributes:
        name: What users call it.
        title: What it is, in words.
        library: The library that trains it, which is also the format of the module: "peft" or "adapters".
        options: Its settings.
    """

    name: str
    title: str
    library: str
    options: tuple[Option, ...]


def _is_whole(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(name, str) and name for name in value)


METHODS: Mapping[str, TrainedMethod] = {
    method.name: method
    for method in (
        TrainedMethod(
            name="lora",
            title="LoRA (Hu et al. 2021)",
            library="peft",
            options=(
                Option(name="rank", default=8, meaning="inner size", needed="a whole number above 0", is_right=_is_whole),
                Option(
                    name="alpha",
                    default=None,
                    meaning="numerator of the scaling alpha / rank; twice the rank if it is not said",
                    needed="a number above 0",
                    is_right=lambda value: _is_number(value) and value > 0,
                ),
                Option(
                    name="dropout",
                    default=0.0,
                    meaning="dropout on what the module reads",
                    needed="a number from 0 to below 1",
                    is_right=lambda value: _is_number(value) and 0 <= value < 1,
                ),
                Option(
                    name="targets",
                    default=None,
                    meaning="roles (such as query, ffn_up) or submodules that get one; query and value if it is not said",
                    needed="a list of names",
                    is_right=_are_names,
                ),
            ),
        ),
        TrainedMethod(
            name="bottleneck",
            title="bottleneck adapter (Pfeiffer et al. 2020)",
            library="adapters",
            options=(
                Option(
                    name="size",
                    default=None,
                    meaning="inner size; a sixteenth of the hidden size if it is not said",
                    needed="a whole number above 0",
                    is_right=_is_whole,
                ),
            ),
        ),
    )
}
"""Name to method: the whole table."""


def find_method(name: str) -> TrainedMethod:
    """Find a method by its name.

    Args:
        name: The name.

    Returns:
        The method.

    Raises:
        UsageError: none of that name can be trained.
    """
    if name not in METHODS:
        raise UsageError(f"There is no method `{name}` to train.", do=f"Use one of {', '.join(METHODS)} with `--method`.")
    return METHODS[name]


def method_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check a new module's settings, and fill up what was not said.

    Args:
        name: The method's name.
        given: The settings that were said; None stands for not said.

    Returns:
        All settings of the method. `alpha` is a number; `targets` and `size` are None where the base model decides.

    Raises:
        UsageError: the method is unknown or has no such setting, or a value is not what it must be.
    """
    method = find_method(name)
    options = {option.name: option for option in method.options}
    said = {key: value for key, value in given.items() if value is not None}
    for key, value in said.items():
        if key not in options:
            raise UsageError(
                f"The method `{name}` has no option `{key}`.", do=f"It has {', '.join(options)}: use one of these."
            )
        if not options[key].is_right(value):
            raise UsageError(
                f"`--{key} {_shown(value)}` is not {options[key].needed}.", do=f"Give the {options[key].meaning.split(';')[0]}."
            )
    values = {key: said.get(key, option.default) for key, option in options.items()}
    if name == "lora" and values["alpha"] is None:
        values["alpha"] = 2 * values["rank"]
    return values


def _shown(value: Any) -> str:
    """Write a value into a message, on one line and not too long."""
    text = value if isinstance(value, str) else repr(value)
    return " ".join(text.split())[:80]
