"""Prompt tuning in the `adapters` format: virtual tokens in front of the embedded ones.

Source: adapters 1.3, `methods/prompt_tuning.py`.
"""

from collections.abc import Mapping
from typing import Any

from modxfer.architectures import EMBEDDED, Architecture, Route, Site
from modxfer.converters.formats.adapters.configs import PROMPT_DEFAULTS
from modxfer.converters.formats.adapters.kinds import Found, Kind, Owner, Setup, no_check, parts_at_places
from modxfer.converters.formats.checks import whole
from modxfer.converters.methods import PROMPT
from modxfer.converters.module import Piece, Place
from modxfer.errors import ConversionError

_PLACE = Place("", -1, f"{EMBEDDED.role}.prompt")


def embedded_width(base: Architecture) -> int:
    """Count the units of what a base model's first layer gets.

    Args:
        base: The base model.

    Returns:
        The units.

    Raises:
        ConversionError: the family's row does not say where that is.
    """
    if base.family.embedded is None:
        raise ConversionError(
            f"modxfer does not know where `adapters` changes what the first layer of `{base.name}` ({base.model_type}) gets.",
            do="Choose another student.",
        )
    return base.width(base.canonical(Site("", None, EMBEDDED)))


def _owners(setup: Setup) -> list[Owner]:
    tokens = whole({**PROMPT_DEFAULTS, **setup.inner}, "prompt_length", where=setup.where)
    return [
        Owner(
            path="prompt_tuning",
            marker="prompt_tunings",
            ends={"prompt_embedding.weight": "prompt"},
            shapes={"prompt": (tokens, embedded_width(setup.base))},
            place=_PLACE,
            label=f"the module (prompt_length {tokens})",
        )
    ]


def _read(setup: Setup, found: Found) -> dict[Place, Piece]:
    (owner,) = _owners(setup)
    return {_PLACE: Piece(method=PROMPT, route=Route(reads=EMBEDDED, writes=EMBEDDED), parts=found[owner.name])}


def _write(setup: Setup, pieces: Mapping[Place, Piece]) -> Found:
    return parts_at_places(_owners(setup), pieces)


def _settle(setup: Setup, pieces: Mapping[Place, Piece]) -> dict[str, Any]:
    if set(pieces) != {_PLACE}:
        raise ConversionError(
            "The prompt has got lost on the way, and a config of `adapters` with a prompt needs it.",
            do="Choose another student.",
        )
    return {"prompt_length": pieces[_PLACE].parts["prompt"].shape[0]}


KIND = Kind(
    method="prompt",
    marker="prompt_tunings",
    fits=lambda inner: inner.get("architecture") == "prompt_tuning",
    check=no_check,
    holds=frozenset({PROMPT.name}),
    owners=_owners,
    read=_read,
    write=_write,
    settle=_settle,
    names=lambda setup: [_PLACE.name],
)
