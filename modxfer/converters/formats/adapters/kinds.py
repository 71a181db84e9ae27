"""What a kind of `adapters` module is: the submodules that hold its tensors, and how these make pieces.

A module is one kind, or several in a union; each kind has a config of its own (the whole of `config`, or one of its `configs`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modxfer.architectures import Architecture
from modxfer.converters.formats.checks import whole_numbers
from modxfer.converters.module import Array, Piece, Place
from modxfer.errors import ConversionError

Config = Mapping[str, Any]
"""The config of one kind."""

Found = Mapping[str, Mapping[str, Array]]
"""Name of an owner to part to tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One kind's config on one base model.

    Attributes:
        inner: The config, upgraded.
        base: The base model.
        where: The config's file, for messages.
    """

    inner: Config
    base: Architecture
    where: str

    def hidden(self, stack: str) -> int:
        """Count the units of a stack's residual stream.

        Args:
            stack: A stack of layers.

        Returns:
            The units.
        """
        return self.base.dimensions[self.base.family.stacks[stack].residual]

    def layers(self) -> Iterator[tuple[str, int]]:
        """List the layers that the config does not leave out.

        Yields:
            Stack and layer.
        """
        left_out = set(whole_numbers(self.inner, "leave_out", where=self.where))
        for number, (stack, layer) in enumerate(all_layers(self.base)):
            if number not in left_out:
                yield stack, layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A submodule that holds tensors of a module, under keys `<path>.<marker>.<name of the module>.<end>`.

    Attributes:
        path: The submodule's path relative to the base model; empty for the base model itself.
        marker: The dictionary in which it keeps them ("adapters", "loras").
        ends: End of a key to part; a part may be stored under several ends.
        shapes: Part to shape.
        place: The place of its one piece; None where it makes several, or only a share of some.
        label: What holds the tensors, for messages on shapes.
        copies: Other paths at which `adapters` stores the same tensors once more.
    """

    path: str
    marker: str
    ends: Mapping[str, str]
    shapes: Mapping[str, tuple[int | None, ...]]
    place: Place | None = None
    label: str = "the module"
    copies: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Path and marker."""
        return f"{self.path}.{self.marker}" if self.path else self.marker

    def keys(self, module: str) -> Iterator[tuple[str, str]]:
        """List the keys of its tensors, relative to the base model.

        Args:
            module: The module's name.

        Yields:
            Key and part.
        """
        for path in (self.path, *self.copies):
            start = f"{path}.{self.marker}" if path else self.marker
            for end, part in self.ends.items():
                yield f"{start}.{module}.{end}", part


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of `adapters` module.

    Attributes:
        method: What the kind is called in modxfer ("lora").
        marker: The dictionary in which its submodules keep most tensors ("loras"); the module's name stands behind it.
        fits: Whether a config is of this kind.
        check: Refuses a config of a variant that cannot be moved; gets the config and the file's name.
        holds: The methods of its pieces.
        owners: The submodules that hold its tensors.
        read: Makes the pieces out of all owners' tensors.
        write: Says the pieces as the owners' tensors.
        settle: Gives the config keys that say which pieces there are on a base model, and their sizes.
        names: The names of the places at which the config puts pieces; tells configs of one kind apart in a union.
        canonical: Writes a config in the terms in which the module is written again; gets it as it was read.
        remark: Says what that changes, as a sentence; None if it changes nothing.
    """

    method: str
    marker: str
    fits: Callable[[Config], bool]
    check: Callable[[Config, str], None]
    holds: frozenset[str]
    owners: Callable[[Setup], list[Owner]]
    read: Callable[[Setup, Found], dict[Place, Piece]]
    write: Callable[[Setup, Mapping[Place, Piece]], Found]
    settle: Callable[[Setup, Mapping[Place, Piece]], dict[str, Any]]
    names: Callable[[Setup], list[str]]
    canonical: Callable[[Config], dict[str, Any]] = field(default=dict)
    remark: Callable[[Config], str | None] = lambda inner: None


def all_layers(base: Architecture) -> list[tuple[str, int]]:
    """List all layers of a base model as `adapters` numbers them: one stack after the other.

    Args:
        base: The base model.

    Returns:
        Stack and layer.
    """
    return [(stack, layer) for stack in base.family.stacks for layer in range(base.depths[stack])]


def whereabouts(
    setup: Setup,
    pieces: Iterable[Place],
    switches: Callable[[Setup, frozenset[str]], dict[str, Any]],
    *,
    there: Callable[[Architecture, str], frozenset[str]],
) -> dict[str, Any]:
    """Say which layers and submodules have a piece: as the config does if that still holds.

    Args:
        setup: The config and the base model; `setup.layers()` and the kind's `names` say where it puts pieces.
        pieces: The places of the pieces that are there.
        switches: Gives the config keys for the names that are there; empty if the config names them already.
        there: Gives the names of the pieces that a stack can have.

    Returns:
        Config keys.

    Raises:
        ConversionError: layers have pieces in different submodules.
    """
    found: dict[tuple[str, int], set[str]] = {}
    for place in pieces:
        found.setdefault((place.stack, place.layer), set()).add(place.name)
    present = frozenset(name for names in found.values() for name in names)
    if any(names != present & there(setup.base, stack) for (stack, _), names in found.items()):
        raise ConversionError(
            "The layers have pieces in different submodules, and a config of `adapters` says them once for all layers.",
            do="For a LoRA, keep its format with `--format peft`.",
        )
    possible = [(stack, layer) for stack, layer in all_layers(setup.base) if not present or present & there(setup.base, stack)]
    keys = {}
    if set(setup.layers()) & set(possible) != set(found):
        numbers = {layer: number for number, layer in enumerate(all_layers(setup.base))}
        keys["leave_out"] = [numbers[layer] for layer in possible if layer not in found]
    return keys | (switches(setup, present) if present else {})


def no_check(inner: Config, where: str) -> None:
    """Accept every config of a kind.

    Args:
        inner: The config.
        where: Its file.
    """


def parts_at_places(owners: Iterable[Owner], pieces: Mapping[Place, Piece]) -> dict[str, Mapping[str, Array]]:
    """Say pieces as tensors where every owner has one piece and stores its parts as they are.

    Args:
        owners: The owners.
        pieces: The pieces.

    Returns:
        Name of an owner to part to tensor.
    """
    return {owner.name: pieces[owner.place].parts for owner in owners if owner.place is not None}
