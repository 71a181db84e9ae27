"""Taking values into an entry: what its fields do not take is found out before the entry is made."""

from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from modxfer.errors import UsageError
from modxfer.registry.card_text import items
from modxfer.registry.entries.fields import shown


@cache
def _adapter(kind: Any) -> Any:
    return TypeAdapter(kind)


def takes(kind: Any, value: object) -> bool:
    """Say whether a field takes a value.

    Args:
        kind: The field's type, from `modxfer.registry.entries.fields`.
        value: Anything.

    Returns:
        Whether it does.
    """
    try:
        _adapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def require(kind: Any, value: str, *, option: str) -> str:
    """Take what a user typed.

    Args:
        kind: The field's type.
        value: What was typed.
        option: The option that says it.

    Returns:
        The value.

    Raises:
        UsageError: the field does not take it.
    """
    try:
        _adapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        context = error.errors()[0].get("ctx", {})
        what = context.get("what", f"{shown(value)} is not what an entry can say there.")
        raise UsageError(f"`{option}`: {what}", do=context.get("do", "Give another.")) from error
    return value


def texts(found: object) -> tuple[str, ...]:
    """Take the texts out of a card's field.

    Args:
        found: What the field says: a text, a list, or anything else.

    Returns:
        The texts, each once; anything else is passed over.
    """
    values = [found] if isinstance(found, str) else items(found)
    return tuple(dict.fromkeys(text for text in values if isinstance(text, str)))
