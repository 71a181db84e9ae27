"""One base model's structure, built from its config alone: no weights are read and no model is made."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from modxfer.architectures.families import FAMILIES, RESIDUAL, Family, Submodule
from modxfer.architectures.sites import FINAL, Point, Side, Site
from modxfer.errors import ArchitectureError

FAMILIES_FILE = "modxfer/architectures/families.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The structure of one base model.

    Attributes:
        name: What the user calls the base model (a folder or an id), for messages.
        model_type: The family's key in the table, as the config says it.
        family: The row of that table.
        dimensions: Width in units of each of the family's dimensions.
        depths: Number of layers of each stack.
    """

    name: str
    model_type: str
    family: Family
    dimensions: Mapping[str, int]
    depths: Mapping[str, int]

    def submodule(self, site: Site) -> Submodule:
        """Give the row of the family's table that a site's role names.

        Args:
            site: A site other than the final hidden state.

        Returns:
            The submodule, its path relative to its layer or to the base model.

        Raises:
            ArchitectureError: the family has no such role.
        """
        table = self.family.modules if site.layer is None else self.family.stacks[site.stack].roles
        if site.point.role not in table:
            raise ArchitectureError(
                f"`{self.name}` ({self.model_type}) has no role `{site.point.role}`; it has {', '.join(table)}.",
                do=f"Leave that role out of the module, or add it to the family's row in {FAMILIES_FILE}.",
            )
        return table[site.point.role]

    def width(self, site: Site) -> int:
        """Count the units of a site.

        Args:
            site: Any site of this base model.

        Returns:
            The number of units.
        """
        return self.dimensions[self.dimension(site)]

    def dimension(self, site: Site) -> str:
        """Name the dimension whose units a site has.

        Args:
            site: Any site of this base model.

        Returns:
            A key of the family's dimensions.
        """
        if site.point == FINAL:
            return RESIDUAL
        submodule = self.submodule(site)
        return submodule.reads if site.point.side is Side.INPUT else submodule.writes

    def path(self, site: Site) -> str:
        """Give the path of the submodule at a site, relative to the base model.

        Args:
            site: Any site of this base model.

        Returns:
            A dotted path, as in `named_modules()` of the base model.
        """
        if site.point == FINAL:
            return self.family.final.format(last=max(self.depths.values()) - 1)
        return self.role_path(site.stack, site.layer, site.point.role)

    def role_path(self, stack: str, layer: int | None, role: str) -> str:
        """Give the path of a role's submodule, relative to the base model.

        Args:
            stack: The stack of layers; empty outside the layers.
            layer: The layer's index; None outside the layers.
            role: A role of the family.

        Returns:
            A dotted path, as in `named_modules()` of the base model.
        """
        path = self.submodule(Site(stack, layer, Point(role, Side.OUTPUT))).path
        return path if layer is None else f"{self.family.stacks[stack].layer.format(layer=layer)}.{path}"

    def canonical(self, site: Site) -> Site:
        """Name a site by the point whose activations are measured for it.

        Args:
            site: Any site of this base model.

        Returns:
            The same site, or the one in the same layer that carries the same activations, or its stand-in.
        """
        same = self.family.stand_ins if site.layer is None else self.family.stacks[site.stack].same
        return Site(site.stack, site.layer, same.get(site.point, site.point))

    def roles(self) -> Iterator[tuple[str, int | None, str, Submodule]]:
        """List every submodule that the family's table knows and this base model has.

        Yields:
            Stack, layer, role and submodule; outside the layers the stack is empty and the layer is None.
        """
        for role, submodule in self.family.modules.items():
            if not submodule.between_widths or self.dimensions[submodule.reads] != self.dimensions[submodule.writes]:
                yield "", None, role, submodule
        for stack, table in self.family.stacks.items():
            for layer in range(self.depths[stack]):
                for role, submodule in table.roles.items():
                    yield stack, layer, role, submodule


def architecture_from_config(config: Mapping[str, Any], *, name: str) -> Architecture:
    """Build a base model's structure from its config.

    Args:
        config: What the base model's `config.json` holds.
        name: What to call the base model in messages.

    Returns:
        The structure.

    Raises:
        ArchitectureError: the family is unknown, or a size is missing or not a whole number above 0.
    """
    model_type = config.get("model_type")
    family = FAMILIES.get(str(model_type))
    if family is None:
        found = ", ".join(
            f"{key}={config[key]}" for key in ("architectures", "hidden_size", "num_hidden_layers") if key in config
        )
        raise ArchitectureError(
            f"`{name}` is of the family `{model_type}`, which is not in the table (it has {', '.join(FAMILIES)}); its config "
            f"says {found or 'nothing about its sizes'}.",
            do=f"Add a row for it in {FAMILIES_FILE}.",
        )
    return Architecture(
        name=name,
        model_type=str(model_type),
        family=family,
        dimensions={key: _size(config, keys, name=name) for key, keys in family.dimensions.items()},
        depths={key: _size(config, stack.depth, name=name) for key, stack in family.stacks.items()},
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read the `config.json` of a base model.

    Args:
        folder: The base model's folder.

    Returns:
        The config.

    Raises:
        ArchitectureError: there is none, or it is not a JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArchitectureError(
            f"`{folder}` holds no `config.json`, so it is not a base model.",
            do="Name the folder that `save_pretrained` wrote.",
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArchitectureError(f"Cannot read `{path}`: {error}.", do="Fetch the base model again.") from error
    if not isinstance(config, dict):
        raise ArchitectureError(f"`{path}` does not hold a JSON object.", do="Fetch the base model again.")
    return config


def _size(config: Mapping[str, Any], keys: tuple[str | tuple[str, ...], ...], *, name: str) -> int:
    """Take the first of several config keys that is there; a tuple of keys is a product."""
    for key in keys:
        factors = [config.get(part) for part in ((key,) if isinstance(key, str) else key)]
        if None in factors:
            continue
        if not all(type(factor) is int and factor > 0 for factor in factors):  # a bool is no size
            raise ArchitectureError(
                f"The config of `{name}` says {key}={factors[0]!r}, which is not a whole number above 0.",
                do="Correct its config.json.",
            )
        return prod(int(factor) for factor in factors if factor is not None)
    raise ArchitectureError(
        f"The config of `{name}` lacks {keys[0]!r}.", do="Add it to its config.json: no size has a default here."
    )
