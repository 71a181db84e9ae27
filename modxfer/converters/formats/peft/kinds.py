"""What a kind of `peft` module is: the tensors that it keeps beside a submodule, or for the whole base model, and how they make
pieces.

A kind beside submodules sees one of them at a time, and always the whole of its matrix: which roles share that matrix is not
its business.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modxfer.architectures import VOCABULARY, Architecture, Submodule
from modxfer.converters.module import Array, Piece, Place
from modxfer.errors import FormatError


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

    @property
    def is_lookup(self) -> bool:
        """Whether it looks tokens up, and multiplies nothing."""
        return self.submodule.reads == VOCABULARY

    def check_vocabulary(self, name: str, rows: int) -> None:
        """Refuse a tensor that was made for more or fewer tokens than the base model has.

        Args:
            name: The tensor, for the message.
            rows: The tokens that it has something for.

        Raises:
            FormatError: the base model has another number of tokens.
        """
        tokens = self.reads if self.is_lookup else self.writes
        if VOCABULARY in (self.submodule.reads, self.submodule.writes) and rows != tokens:
            raise FormatError(
                f"`{name}` has {rows} tokens, and `{self.base}` has {tokens}: the module was trained with another vocabulary, "
                "most likely one with tokens added.",
                do="Save the base model with that vocabulary (`resize_token_embeddings`, then `save_pretrained`) and name its "
                "folder with `--from`.",
            )


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
        apart: What must differ between two pieces for their submodules to be named apart in `target_modules`.
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
    apart: Callable[[Piece], str] = lambda piece: ""
    takes: Callable[[Submodule], bool] = lambda submodule: not submodule.elementwise
    canonical: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda config: config


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeKind:
    """A kind of `peft` module that is one tensor for the whole base model.

    Attributes:
        method: What the kind is called in modxfer ("prompt").
        check: Refuses a config of a variant that cannot be moved; gets the config and the file's name.
        key: The key of its tensor.
        read: Makes pieces out of the config, the tensor, the base model and the config's file name.
        write: Makes the tensor, and the config keys that say what it is, out of the config, the pieces and the base model.
    """

    method: str
    check: Callable[[Mapping[str, Any], str], None]
    key: str
    read: Callable[[Mapping[str, Any], Array, Architecture, str], dict[Place, Piece]]
    write: Callable[[Mapping[str, Any], Mapping[Place, Piece], Architecture], tuple[Array, dict[str, Any]]]
