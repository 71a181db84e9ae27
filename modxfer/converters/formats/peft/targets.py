"""Which submodules a `peft` config means, by peft's own rules, and the shortest way to say which ones are
meant.

Source: peft 0.21, `check_target_module_exists` in `tuners/tuners_utils.py`, `get_pattern_key` and
`_set_trainable` in `utils/other.py`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modxfer.architectures import VOCABULARY, Architecture, Point, Side, Site, Submodule
from modxfer.converters.formats.checks import strings, whole_numbers
from modxfer.converters.formats.heads import head_paths, head_shape
from modxfer.converters.module import Place
from modxfer.errors import FormatError

ALL_LINEAR = "all-linear"
_DEFAULT_ROLES = ("query", "value")
"""What peft targets in every family of the table where a config names no targets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One submodule that the family's table knows, in one task model.

    Attributes:
        places: Where it is: one place, or those of all roles that share its matrix, in the matrix's order.
        submodule: The row of the first of these roles.
        certain: Whether the task model surely has it.
    """

    places: tuple[Place, ...]
    submodule: Submodule
    certain: bool

    @property
    def place(self) -> Place:
        """The first of its places."""
        return self.places[0]


def known_submodules(base: Architecture, *, task: str | None, inside_task_model: bool) -> dict[str, Known]:
    """List the submodules of a task model on a base model, the head's left out.

    Args:
        base: The base model.
        task: `peft`'s task type, if it is known.
        inside_task_model: Whether paths name the base model inside a task model.

    Returns:
        Path in the task model to submodule.
    """
    prefix = base.prefix(task) if inside_task_model else ""
    known: dict[str, Known] = {}
    for stack, layer, role, submodule in base.roles():
        presence = _presence(base, layer, role, task=task if inside_task_model else None)
        if presence != "absent":
            place = Place(stack, -1 if layer is None else layer, role)
            path = base.role_path(stack, layer, role)
            path = path if submodule.outside_base else prefix + path
            places = known[path].places if path in known else ()
            known[path] = Known(places=(*places, place), submodule=submodule, certain=presence == "certain")
    return known


def _presence(base: Architecture, layer: int | None, role: str, *, task: str | None) -> str:
    """Say whether a task model has a submodule: "certain", "possible" or "absent"."""
    if base.submodule(Site("", None, Point(role, Side.OUTPUT))).outside_base if layer is None else False:
        return "possible"
    if layer is not None or role != "pooler":
        return "certain"
    shape = None if task is None else head_shape(base, task)
    if shape is None:
        return "possible"
    return "certain" if shape.pooled else "absent"


def selected(
    config: Mapping[str, Any],
    base: Architecture,
    known: Mapping[str, Known],
    *,
    where: str,
    takes: Callable[[Submodule], bool] = lambda submodule: not submodule.elementwise,
) -> set[str]:
    """Resolve a config's targets against a task model, head included.

    Args:
        config: A `peft` config.
        base: The base model.
        known: Its submodules, from `known_submodules`.
        where: The file, for messages.
        takes: Whether a kind of module can sit beside a submodule.

    Returns:
        The paths of the targeted submodules.

    Raises:
        FormatError: a value that says what is targeted cannot be read.
    """
    heads = {path for paths in head_paths(base).values() for path in paths}
    linear = {path for path, entry in known.items() if takes(entry.submodule)} | heads
    config = dict(config)
    targets = config.get("target_modules")
    if targets is None:
        roles = base.family.stacks[next(iter(base.family.stacks))].roles
        config["target_modules"] = [roles[role].path.rpartition(".")[2] for role in _DEFAULT_ROLES]
    elif isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        lookups = {path for path, entry in known.items() if VOCABULARY in (entry.submodule.reads, entry.submodule.writes)}
        config["target_modules"] = sorted(linear - lookups)
    try:
        return {path for path in linear if _is_targeted(config, path, where=where)}
    except re.error as error:
        raise FormatError(
            f"A regular expression in {where} cannot be read: {error} in {error.pattern!r}.",
            do="Correct it in that file.",
        ) from error


def _is_targeted(config: Mapping[str, Any], path: str, *, where: str) -> bool:
    """Say whether a path is one of the targets."""
    if _is_excluded(config, path, where=where):
        return False
    targets = config["target_modules"]
    if isinstance(targets, str):
        return re.fullmatch(targets, path) is not None
    names = strings(config, "target_modules", where=where)
    if path in names:
        return True
    if not any(path.endswith(f".{name}") for name in names):
        return False
    layers = whole_numbers(config, "layers_to_transform", where=where)
    return not layers or _layer_index(config, path, where=where) in layers


def _is_excluded(config: Mapping[str, Any], path: str, *, where: str) -> bool:
    """Say whether `exclude_modules` or `modules_to_save` keep a path from being a target."""
    excluded = config.get("exclude_modules")
    if isinstance(excluded, str):
        if excluded and re.fullmatch(excluded, path):
            return True
    elif any(path == name or path.endswith(f".{name}") for name in strings(config, "exclude_modules", where=where)):
        return True
    saved = strings(config, "modules_to_save", where=where)
    return any(re.match(rf"(^|.*\.){name}($|\..*)", path) for name in saved)


def _layer_index(config: Mapping[str, Any], path: str, *, where: str) -> int | None:
    """Find the layer's index in a path as `layers_pattern` says."""
    patterns = config.get("layers_pattern")
    names = [patterns] if isinstance(patterns, str) and patterns else []
    names = names or ([] if isinstance(patterns, str) else strings(config, "layers_pattern", where=where))
    expressions = [rf"(?:^|.*?\.){name}\.(?P<idx>\d+)\." for name in names] or [r".*?\.[^.]*\.(?P<idx>\d+)\."]
    matches = (re.match(expression, path) for expression in expressions)
    return next((int(match["idx"]) for match in matches if match), None)


def is_saved(names: Iterable[str], path: str) -> bool:
    """Say whether `modules_to_save` covers a submodule: it, or one that it is part of, ends with one of the
    names.

    Args:
        names: What `modules_to_save` holds.
        path: The submodule's path in the task model.

    Returns:
        Whether peft stores and loads it whole.
    """
    pieces = path.split(".")
    ancestors = [".".join(pieces[:count]) for count in range(1, len(pieces) + 1)]
    return any(ancestor.endswith(name) for name in names for ancestor in ancestors)


def by_pattern(patterns: Mapping[str, Any], path: str, default: Any, *, where: str) -> Any:
    """Look a path up in `rank_pattern` or `alpha_pattern`.

    Args:
        patterns: Regular expression to value; the first that matches the path's end counts.
        path: The submodule's path in the task model.
        default: The value of the paths that no expression matches.
        where: The file, for messages.

    Returns:
        The path's value.

    Raises:
        FormatError: an expression cannot be read.
    """
    try:
        for expression, value in patterns.items():
            if re.match(rf"(.*\.)?({expression})$", path):
                return value
    except re.error as error:
        raise FormatError(
            f"A regular expression in {where} cannot be read: {error} in {error.pattern!r}.",
            do="Correct it in that file.",
        ) from error
    return default


def shortest_suffixes(wanted: Iterable[str], others: Iterable[str]) -> list[str]:
    """Say which paths are meant with as few and as short dotted suffixes as that takes.

    Args:
        wanted: The paths that must be selected.
        others: The paths that must not.

    Returns:
        The suffixes, sorted; each selects at least one wanted path and no other.
    """
    taken = {suffix for path in others for suffix in _suffixes(path)}
    chosen: set[str] = set()
    for path in sorted(wanted):
        suffixes = _suffixes(path)
        if chosen.isdisjoint(suffixes):
            chosen.add(next((suffix for suffix in suffixes if suffix not in taken), path))
    return sorted(chosen)


def _suffixes(path: str) -> list[str]:
    """List a path's dotted suffixes, shortest first."""
    pieces = path.split(".")
    return [".".join(pieces[start:]) for start in reversed(range(len(pieces)))]
