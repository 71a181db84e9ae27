"""Places in a base model where activations live, and the two ways in which a tensor of a module meets one."""

from dataclasses import dataclass
from enum import StrEnum


class Side(StrEnum):
    """Which end of a submodule a site is: what goes into it, or what comes out."""

    INPUT = "input"
    OUTPUT = "output"


class Direction(StrEnum):
    """How an axis of a tensor uses a site: it multiplies the activations there, or it adds to them."""

    READS = "reads"
    WRITES = "writes"


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """A site in any layer: a role's input or output.

    Attributes:
        role: What the submodule does, a key of the family's table ("query", "ffn_norm", "final").
        side: Which end of it.
    """

    role: str
    side: Side

    def __str__(self) -> str:
        return f"{self.role}.{self.side}"

    @classmethod
    def parse(cls, text: str) -> "Point":
        """Read what `str` wrote.

        Args:
            text: Role and side, joined by a dot.

        Returns:
            The point.
        """
        role, _, side = text.rpartition(".")
        return cls(role, Side(side))


FINAL = Point("final", Side.OUTPUT)
"""The final hidden state: what prediction heads read."""


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """One site of one base model.

    Attributes:
        stack: The stack of layers; empty for a site outside the layers.
        layer: Index of the layer in its stack, from 0; None for a site outside the layers.
        point: Which role's input or output.
    """

    stack: str
    layer: int | None
    point: Point

    def __str__(self) -> str:
        return str(self.point) if self.layer is None else f"{self.stack}.{self.layer}.{self.point}"

    @classmethod
    def parse(cls, text: str) -> "Site":
        """Read what `str` wrote.

        Args:
            text: `stack.layer.role.side`, or `role.side` outside the layers.

        Returns:
            The site.
        """
        parts = text.split(".")
        if len(parts) == 2:
            return cls("", None, Point.parse(text))
        return cls(parts[0], int(parts[1]), Point.parse(".".join(parts[2:])))


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Route:
    """Where a piece of a module meets its layer.

    Attributes:
        reads: The point whose activations it multiplies.
        writes: The point to whose activations it adds.
    """

    reads: Point
    writes: Point

    @property
    def points(self) -> tuple[Point, Point]:
        """Both of its ends."""
        return self.reads, self.writes
