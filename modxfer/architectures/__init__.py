"""What base models look like: families as data, and the structure of one base model from its config alone."""

from modxfer.architectures.architecture import Architecture, architecture_from_config, read_config
from modxfer.architectures.families import FAMILIES, RESIDUAL, Family, Kind, Stack, Submodule
from modxfer.architectures.sites import FINAL, Direction, Point, Route, Side, Site

__all__ = [
    "FAMILIES",
    "FINAL",
    "RESIDUAL",
    "Architecture",
    "Direction",
    "Family",
    "Kind",
    "Point",
    "Route",
    "Side",
    "Site",
    "Stack",
    "Submodule",
    "architecture_from_config",
    "read_config",
]
