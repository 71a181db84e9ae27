"""One base model's structure, built from its config alone: no weights are read and no model is made."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from modxfer.architectures.families import FAMILIES
from modxfer.architectures.sites import FINAL, Point, Side, Site
from modxfer.architectures.structure import RESIDUAL, VOCABULARY, Family, Size, Submodule
from modxfer.errors import ArchitectureError

FAMILIES_FILE = "modxfer/architectures/families"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The structure of one base model.

    Attributes:
        name: What the user calls the base model (a folder or an id), for messages.
        model_type: The family's key in the table, as the config says it.
        family: The row of that table.
        dimensions: Width in units of each of the family's dimensions.
        depths: Number of layers of each stack.
        groups: Stack and role to the number of groups of its fused matrix; without an entry for a role whose matrix is its own.
    """

    name: str
    model_type: str
    family: Family
    dimensions: Mapping[str, int]
    depths: Mapping[str, int]
    groups: Mapping[tuple[str, str], int] = field(default_factory=dict)

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

    def prefix(self, task: str | None) -> str:
        """Give what stands before the base model's paths in a task model.

        Args:
            task: `peft`'s task type, if it is known.

        Returns:
            An attribute and a dot; empty where the task model has the base model's own names.
        """
        attribute = self.family.task_prefixes.get(task or "", self.family.prefix)
        return f"{attribute}." if attribute else ""

    def rows(self, stack: str, role: str) -> Int64[np.ndarray, " units"] | None:
        """Say which rows of a fused matrix are a role's.

        Args:
            stack: The stack of layers.
            role: A role of its.

        Returns:
            For each unit that the role writes, the row of the whole matrix; None where the matrix is the role's own.
        """
        submodule = (self.family.stacks[stack].roles if stack else self.family.modules)[role]
        if submodule.rows is None:
            return None
        groups = self.groups[stack, role]
        shares = [self.dimensions[part] // groups for part in submodule.rows.parts]
        start = sum(shares[: submodule.rows.index])
        whole = np.arange(groups * sum(shares)).reshape(groups, -1)
        return whole[:, start : start + shares[submodule.rows.index]].reshape(-1)

    def matrix_rows(self, stack: str, role: str) -> int:
        """Count the rows of the whole matrix in which a role is.

        Args:
            stack: The stack of layers; empty outside the layers.
            role: A role of its.

        Returns:
            The role's own units, or those of all roles that share its matrix.
        """
        submodule = (self.family.stacks[stack].roles if stack else self.family.modules)[role]
        parts = (submodule.writes,) if submodule.rows is None else submodule.rows.parts
        return sum(self.dimensions[part] for part in parts)

    def roles(self) -> Iterator[tuple[str, int | None, str, Submodule]]:
        """List every submodule that the family's table knows and this base model has.

        Yields:
            Stack, layer, role and submodule; outside the layers the stack is empty and the layer is None.
        """
        for role, submodule in self.family.modules.items():
            reads, writes = self.dimensions.get(submodule.reads), self.dimensions.get(submodule.writes)
            if reads is not None and writes is not None and not (submodule.between_widths and reads == writes):
                yield "", None, role, submodule
        for stack, table in self.family.stacks.items():
            for layer in range(self.depths[stack]):
                for role, submodule in table.roles.items():
                    yield stack, layer, role, submodule


def architecture_from_config(config: Mapping[str, Any], *, name: str, family: Family | None = None) -> Architecture:
    """Build a base model's structure from its config.

    Args:
        config: What the base model's `config.json` holds.
        name: What to call the base model in messages.
        family: The row that describes it; None for that of its `model_type`.

    Returns:
        The structure.

    Raises:
        ArchitectureError: the family is unknown, a size is missing or not a whole number above 0, or two sizes contradict each
            other.
    """
    model_type = config.get("model_type")
    family = family or FAMILIES.get(str(model_type))
    if family is None:
        found = ", ".join(
            f"{key}={config[key]}" for key in ("architectures", "hidden_size", "num_hidden_layers") if key in config
        )
        raise ArchitectureError(
            f"`{name}` is of the family `{model_type}`, which is not in the table (it has {', '.join(FAMILIES)}); its config "
            f"says {found or 'nothing about its sizes'}.",
            do=f"Add a row for it in {FAMILIES_FILE}.",
        )
    family = _variant(family, config)
    architecture = Architecture(
        name=name,
        model_type=str(model_type),
        family=family,
        dimensions={
            key: _size(config, keys, name=name)
            for key, keys in family.dimensions.items()
            if key != VOCABULARY or _look_up(config, str(keys[0])) is not None  # few modules touch it, and some configs lack it
        },
        depths={key: _size(config, stack.depth, name=name) for key, stack in family.stacks.items()},
        groups={
            (key, role): _size(config, submodule.rows.groups, name=name)
            for key, stack in family.stacks.items()
            for role, submodule in stack.roles.items()
            if submodule.rows is not None
        },
    )
    _check_heads(config, architecture)
    return architecture


_HEAD_COUNTS = ("num_attention_heads", "n_head", "num_heads", "n_heads")


def _check_heads(config: Mapping[str, Any], architecture: Architecture) -> None:
    """Refuse sizes that no attention can have: each head has equally many units, and each of a key's serves equally many heads."""
    heads, shared = architecture.dimensions.get("heads"), architecture.dimensions.get("kv_heads")
    if heads is None:
        return
    key = next((key for key in _HEAD_COUNTS if type(config.get(key)) is int and config[key] > 0), None)
    contradiction = None
    if key is not None and heads % config[key]:
        contradiction = f"{key}={config[key]} does not divide the {heads} units of its queries"
    elif shared is not None and heads % shared:
        contradiction = f"the {shared} units of its keys do not divide the {heads} of its queries"
    if contradiction:
        raise ArchitectureError(
            f"The config of `{architecture.name}` contradicts itself: {contradiction}.", do="Correct its config.json."
        )


def _variant(family: Family, config: Mapping[str, Any]) -> Family:
    """Take the row for base models whose config says what this one says."""
    for said, variant in family.variants:
        if all(_look_up(config, key) == value for key, value in said.items()):
            return _variant(variant, config)
    return family


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


def _size(config: Mapping[str, Any], sizes: tuple[Size, ...], *, name: str) -> int:
    """Take the first of several sizes whose config keys are all there."""
    for size in sizes:
        factors = (size,) if isinstance(size, str | int) else size
        values = {factor: _factor(config, factor, name=name) for factor in factors}
        known = [value for value in values.values() if value is not None]
        if len(known) == len(values):
            product = Fraction(1)
            for value in known:
                product *= value
            if product.denominator != 1:
                raise ArchitectureError(
                    f"The sizes {' and '.join(str(factor).strip('/') for factor in factors)} in the config of `{name}` do not "
                    "divide.",
                    do="Correct its config.json.",
                )
            return int(product)
    raise ArchitectureError(
        f"The config of `{name}` lacks {_names(sizes[0])!r}.", do="Add it to its config.json: no size has a default here."
    )


def _factor(config: Mapping[str, Any], factor: str | int, *, name: str) -> Fraction | None:
    """Give one factor of a size; None if the config lacks it."""
    if isinstance(factor, int):
        return Fraction(factor)
    key = factor.removeprefix("/")
    value = _look_up(config, key)
    if value is None:
        return None
    if type(value) is not int or value <= 0:  # a bool is no size
        raise ArchitectureError(
            f"The config of `{name}` says {key}={value!r}, which is not a whole number above 0.",
            do="Correct its config.json.",
        )
    return Fraction(1, value) if factor.startswith("/") else Fraction(value)


def _look_up(config: Mapping[str, Any], key: str) -> Any:
    """Find a value in a config; dots go into objects inside."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _names(size: Size) -> str:
    return size if isinstance(size, str) else " * ".join(map(str, size)) if isinstance(size, tuple) else str(size)
