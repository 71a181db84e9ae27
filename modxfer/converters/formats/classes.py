"""Names of the model classes that configs mention: what a family's begin with, and what follows it."""

import re
from dataclasses import replace

from modxfer.architectures import FAMILIES, Architecture

_ENDS = (
    "AdapterModel",
    "ModelWithHeads",
    "ForTokenClassification",
    "ForSequenceClassification",
    "ForQuestionAnswering",
    "ForMaskedLM",
    "ForCausalLM",
    "ForConditionalGeneration",
    "ForImageClassification",
    "ModelWithProjection",
    "Model",
)

_PART = re.compile("_(text|vision)(_model)?$")
"""How a `model_type` ends that is one part of several: its classes are in the module of the whole."""


def class_for(name: str, base: Architecture) -> str | None:
    """Name the class of a base model's family that does what another family's class does.

    Args:
        name: The other class ("BertAdapterModel").
        base: The base model.

    Returns:
        The class, the same one if it is of that family already; None if the name is of no known kind.
    """
    for stem in {family.classes for family in FAMILIES.values()}:
        end = name.removeprefix(stem)
        if name.startswith(stem) and end in _ENDS:
            own = base.family.classes
            if stem == own:
                return name
            return adapter_class(base) if end in ("AdapterModel", "ModelWithHeads") else own + end
    return None


def adapter_class(base: Architecture) -> str:
    """Name the class of `adapters` with flexible heads for a base model.

    Args:
        base: The base model.

    Returns:
        The class.
    """
    return base.family.adapters_class or f"{base.family.classes}AdapterModel"


def in_adapters(base: Architecture) -> Architecture:
    """Give a base model the names that its submodules have in `adapters`.

    Args:
        base: The base model.

    Returns:
        The same structure.
    """
    if base.family.before_5 is not None:  # `adapters` 1.3 runs on `transformers` 4
        base = base.with_other_names()
    if base.family.adapters_prefix is None:
        return base
    return replace(base, family=replace(base.family, prefix=base.family.adapters_prefix))


def library_of(base: Architecture) -> str:
    """Name the Python module of `transformers` that holds a family's classes.

    Args:
        base: The base model.

    Returns:
        The dotted name.
    """
    word = _PART.sub("", base.model_type.replace("-", "_"))
    return f"transformers.models.{word}.modeling_{word}"
