"""One base model's structure, built from its config alone: no weights are read and no model is made."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from modxfer.architectures.families import FAMILIES
from modxfer.architectures.sites import FINAL, Point, Side, Site
from modxfer.architectures.structure import BEHIND, EMBEDDED, OPTIONAL, RESIDUAL, Family, Size, Submodule
from modxfer.errors import ArchitectureError

FAMILIES_FILE = "modxfer/architectures/families"

_HEAD_COUNTS = ("num_attention_heads", "n_head", "num_heads", "n_heads")


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
        attention_heads: Number of heads of queries, if the config says.
        renamed: The family's row with the names of other versions of `transformers`, where submodules were renamed.
    """

    name: str
    model_type: str
    family: Family
    dimensions: Mapping[str, int]
    depths: Mapping[str, int]
    groups: Mapping[tuple[str, str], int] = field(default_factory=dict)
    attention_heads: int | None = None
    renamed: Family | None = None

    @property
    def residuals(self) -> frozenset[str]:
        """The dimensions of the residual streams: one for each stack that has its own."""
        return frozenset({RESIDUAL, *(stack.residual for stack in self.family.stacks.values())})

    def with_other_names(self) -> "Architecture":
        """Give the submodules the names that they have in other versions of `transformers`.

        Returns:
            The same structure; itself where nothing was renamed.
        """
        return self if self.renamed is None else replace(self, family=self.renamed, renamed=self.family)

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
            return self.family.final_dimension
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
            The same site, or the one that carries the same activations, or its stand-in. What is outside the
            base model reads the final hidden state.
        """
        if site.layer is None:
            return self._canonical_outside(site)
        stack = self.family.stacks[site.stack]
        point = stack.stream.get(site.point, site.point)
        if point != BEHIND:
            return Site(site.stack, site.layer, stack.same.get(point, point))
        if site.layer + 1 < self.depths[site.stack]:
            return self.canonical(Site(site.stack, site.layer + 1, Point("attention", Side.INPUT)))
        return self._canonical_outside(Site("", None, stack.behind or FINAL))

    def _canonical_outside(self, site: Site) -> Site:
        if site.point == EMBEDDED and self.family.embedded is not None:
            return self.canonical(self.family.embedded)
        if site.point.side is Side.INPUT and site.point.role in self.family.modules:
            site = Site("", None, FINAL) if self.family.modules[site.point.role].outside_base else site
        return Site(site.stack, None, self.family.stand_ins.get(site.point, site.point))

    @property
    def widths(self) -> dict[str, int]:
        """The widths of its spaces in units: all dimensions but the numbers of tokens and positions, which are no units."""
        return {key: size for key, size in self.dimensions.items() if key not in OPTIONAL}

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

    def table_rows(self, role: str) -> str:
        """Say what the rows of a lookup table are.

        Args:
            role: A role of the family's tables.

        Returns:
            Their number and what each stands for; tables of two base models correspond where both are the same.
        """
        kind = self.family.tables[role].reads
        return f"{self.dimensions.get(kind)} {kind}"

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
                    if layer > 0 or not submodule.except_first:
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
    own, other = (family.before_5, family) if family.before_5 and _is_before_5() else (family, family.before_5)
    architecture = Architecture(
        name=name,
        model_type=str(model_type),
        family=own,
        dimensions={
            key: _size(config, keys, name=name)
            for key, keys in family.dimensions.items()
            if key not in OPTIONAL or any(isinstance(size, int) or _look_up(config, str(size)) is not None for size in keys)
        },
        depths={key: _size(config, stack.depth, name=name) for key, stack in family.stacks.items()},
        groups={
            (key, role): _size(config, submodule.rows.groups, name=name)
            for key, stack in family.stacks.items()
            for role, submodule in stack.roles.items()
            if submodule.rows is not None
        },
        attention_heads=next((config[key] for key in _HEAD_COUNTS if type(config.get(key)) is int), None),
        renamed=other,
    )
    _check_heads(config, architecture)
    return architecture


def _check_heads(config: Mapping[str, Any], architecture: Architecture) -> None:
    """Refuse sizes that no attention can have: heads of one size, and as many queries for each key."""
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
        if all(_fits(_look_up(config, key), value) for key, value in said.items()):
            return _variant(variant, config)
    return family


def _fits(found: Any, wanted: Any) -> bool:
    return wanted.fullmatch(str(found)) is not None if isinstance(wanted, re.Pattern) else bool(found == wanted)


@cache
def _is_before_5() -> bool:
    """Whether the installed `transformers` has the submodule names from before its version 5."""
    from importlib.metadata import version  # slow, and few families ask

    return int(version("transformers").partition(".")[0]) < 5


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
