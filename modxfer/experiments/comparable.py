"""What would make a comparison unfair, found before any cell is run."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from modxfer.architectures import Architecture
from modxfer.converters.formats import inspect_files, read_module
from modxfer.converters.module import Module
from modxfer.errors import ModxferError
from modxfer.experiments.inputs import Inputs
from modxfer.experiments.plan import Plan, module_key
from modxfer.experiments.plan_parts import DataPlan
from modxfer.paths import home
from modxfer.registry.locate import locate_base, locate_module
from modxfer.registry.store import Store
from modxfer.training.libraries.methods import method_options

_USUAL_ROLES = {"query", "value"}


def find_unfair(plan: Plan, inputs: Inputs) -> Iterator[str]:
    """Say what of a plan would compare what does not compare.

    Args:
        plan: The plan.
        inputs: What its cells read.

    Yields:
        A sentence for each splits that are the same rows, and for each teacher's module that is there already and that no new
        module is like: transferred students would have another shape than the default one.
    """
    for task in plan.tasks:
        for language, data in task.languages.items():
            for one, other in _same_rows(data, inputs):
                yield f"`{task.name}` `{language}` has the same rows for `{one}` and `{other}`."
    for teacher in plan.teachers:
        for method in plan.methods:
            wanted = method_options(method.name, method.options)
            keys = {module_key(method.name, task.name, language) for task in plan.tasks for language in task.languages}
            for key in sorted(keys & set(teacher.modules)):
                reason = _difference(teacher.modules[key], teacher.model, method.name, wanted)
                if reason is not None:
                    yield f"The module of `{teacher.name}` for `{key}` {reason}."


def _same_rows(data: DataPlan, inputs: Inputs) -> Iterator[tuple[str, str]]:
    """List splits that are one file, or one split of the same data set."""
    splits = {}
    for role in ("train", "validation", "test"):
        spec, name = getattr(data, role), getattr(data.splits, role)
        if spec is None and name is None:
            continue
        reference = str(inputs.pin(spec or data.train))
        splits[role] = reference, name, name is not None or Path(reference).is_file()
    for one, other in combinations(splits, 2):
        if splits[one] == splits[other] and splits[one][2]:
            yield one, other


def _difference(module: str, model: str, method: str, options: dict[str, Any]) -> str | None:
    """Say how a module differs from a new one; None if it does not, or cannot be read."""
    try:
        base = locate_base(model, memory=Store(home()).hashes).architecture
        found = read_module(inspect_files(locate_module(module).folder), base)
    except ModxferError as error:
        return f"cannot be moved: {error.what.rstrip('.')}"
    if found.method != method:
        return f"is of the method `{found.method}`"
    expected, measured = _expected(method, options, base), _measured(found)
    reasons = [
        f"has the {name} {_shown(measured[name])} where a new one has {_shown(value)}"
        for name, value in expected.items()
        if measured[name] != value
    ]
    return " and ".join(reasons) or None


def _expected(method: str, options: dict[str, Any], base: Architecture) -> dict[str, set[Any]]:
    """Say what a new module has: values by name."""
    if method != "lora":
        return {"inner size": {options["size"]}}
    expected: dict[str, set[Any]] = {"inner size": {options["rank"]}, "scaling": {options["alpha"] / options["rank"]}}
    usual = _USUAL_ROLES & {role for _, _, role, _ in base.roles()}
    return {**expected, "targets": usual} if options["targets"] is None and usual else expected


def _measured(module: Module) -> dict[str, set[Any]]:
    body = {place: piece for place, piece in module.pieces.items() if piece.method.update}
    return {
        "inner size": {piece.parts[name].shape[0] for piece in body.values() for name in piece.method.update[:1]},
        "scaling": {piece.scaling.factor for piece in body.values() if piece.scaling is not None},
        "targets": {place.name for place in body},
    }


def _shown(values: set[Any]) -> str:
    return ", ".join(f"`{value:g}`" if isinstance(value, float) else f"`{value}`" for value in sorted(values)) or "none"
