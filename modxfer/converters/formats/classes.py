"""Names of the model classes that configs mention: what a family's begin with, and what follows it."""

from modxfer.architectures import FAMILIES, Architecture

_ENDS = (
    "AdapterModel",
    "ModelWithHeads",
    "ForTokenClassification",
    "ForSequenceClassification",
    "ForQuestionAnswering",
    "ForMaskedLM",
    "Model",
)


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
            return own + ("AdapterModel" if end == "ModelWithHeads" else end)
    return None


def adapter_class(base: Architecture) -> str:
    """Name the class of `adapters` with flexible heads for a base model.

    Args:
        base: The base model.

    Returns:
        The class.
    """
    return f"{base.family.classes}AdapterModel"


def library_of(base: Architecture) -> str:
    """Name the Python module of `transformers` that holds a family's classes.

    Args:
        base: The base model.

    Returns:
        The dotted name.
    """
    word = base.model_type.replace("-", "_")
    return f"transformers.models.{word}.modeling_{word}"
