"""What a kind of `peft` module is: the tensors that it keeps beside a submodule, and how they make a piece.

A kind sees one submodule at a time, and always the whole of its matrix: which roles share that matrix is not its business.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modxfer.architectures import Submodule
from modxfer.converters.module import Array, Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One submodule of a task model, as a kind sees it.

    Attributes:
        path: Its path in the task model.
        submodule: The row of one of its roles.
        role: That role.
        reads: Units of its input.
        writes: Units of its output, of all roles that share it.
        base: What the base model is called, for messages.
        where: The config's file, for messages.
    """

    path: str
    submodule: Submodule
    role: str
    reads: int
    writes: int
    base: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of `peft` module whose tensors sit beside submodules.

    Attributes:
        method: What the kind is called in modxfer ("lora").
        check: Refuses a config of a variant that cannot be moved; gets the config and the file's name.
        suffixes: End of a key to the name under which `read` finds the tensor.
        needed: Of those names the ones that every submodule must have, given the config and the submodule.
        read: Makes the piece of one submodule out of the config and its tensors.
        write: Names the tensors of a piece: end of a key to tensor; gets the config that is written.
        settle: Gives the config keys that say what the pieces are; gets the config and path to piece.
        takes: Whether the kind can sit beside a submodule.
        canonical: Writes a config in the terms in which the module is written again; gets it as it was read.
    """

    method: str
    check: Callable[[Mapping[str, Any], str], None]
    suffixes: Mapping[str, str]
    needed: Callable[[Mapping[str, Any], Spot], frozenset[str]]
    read: Callable[[Mapping[str, Any], Spot, Mapping[str, Array]], Piece]
    write: Callable[[Mapping[str, Any], Spot, Piece], Mapping[str, Array]]
    settle: Callable[[Mapping[str, Any], Mapping[str, Piece], str], dict[str, Any]]
    takes: Callable[[Submodule], bool] = lambda submodule: not submodule.elementwise
    canonical: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda config: config
