"""What base models look like: families as data, and the structure of one base model from its config alone."""

from modxfer.architectures.architecture import Architecture, architecture_from_config, read_config
from modxfer.architectures.families import FAMILIES
from modxfer.architectures.sites import FINAL, Direction, Point, Route, Side, Site
from modxfer.architectures.structure import EMBEDDED, RESIDUAL, VOCABULARY, Family, Kind, Rows, Stack, Submodule
from modxfer.architectures.structure import OPTIONAL as OPTIONAL_DIMENSIONS

__all__ = [
    "EMBEDDED",
    "FAMILIES",
    "FINAL",
    "OPTIONAL_DIMENSIONS",
    "RESIDUAL",
    "VOCABULARY",
    "Architecture",
    "Direction",
    "Family",
    "Kind",
    "Point",
    "Route",
    "Rows",
    "Side",
    "Site",
    "Stack",
    "Submodule",
    "architecture_from_config",
    "read_config",
]
