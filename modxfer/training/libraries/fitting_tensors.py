"""Whether a module's tensors are those that a model has a place for."""

from collections.abc import Iterable, Mapping

from modxfer.converters.module import ModuleFiles
from modxfer.errors import FormatError
from modxfer.training.libraries.library import Wanted
from modxfer.training.libraries.task_models import base_name

Shapes = Mapping[str, tuple[int, ...]]


def check_fit(places: Shapes, tensors: Shapes, *, wanted: Wanted, files: ModuleFiles) -> None:
    """Refuse a module whose tensors are not exactly those that the model has places for.

    Args:
        places: Key to shape of all tensors that the model takes.
        tensors: Key to shape of all tensors that the module holds.
        wanted: What the model is made of.
        files: What is known of the module.

    Raises:
        FormatError: a tensor is missing, has no place, or has another shape.
    """
    refuse_missing(set(places) - set(tensors), set(tensors) - set(places), wanted=wanted, files=files)
    for key, shape in tensors.items():
        if shape != places[key]:
            raise FormatError(
                f"{_which(wanted, files)}: `{key}` has the shape {shape}, and there it must be {places[key]}.", do=_do(files)
            )


def refuse_missing(missing: Iterable[str], extra: Iterable[str], *, wanted: Wanted, files: ModuleFiles) -> None:
    """Refuse a module that lacks tensors, or holds some that the model has no place for.

    Args:
        missing: Keys that the model takes and the module lacks.
        extra: Keys that the module holds and the model does not take.
        wanted: What the model is made of.
        files: What is known of the module.

    Raises:
        FormatError: there are some.
    """
    missing, extra = sorted(missing), sorted(extra)
    problems = [f"{what} {_listed(keys)}" for what, keys in (("it lacks", missing), ("there is no place for", extra)) if keys]
    if problems:
        raise FormatError(f"{_which(wanted, files)}: {', and '.join(problems)}.", do=_do(files))


def _which(wanted: Wanted, files: ModuleFiles) -> str:
    made_for = f"made for `{files.base.name}`" if files.base.name else "which does not say its base model"
    return f"The module in `{files.folder}`, {made_for}, does not fit `{base_name(wanted)}`"


def _do(files: ModuleFiles) -> str:
    return "Name its own base model with `--model`, or convert the module to this one with `modxfer convert` first."


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(f"`{key}`" for key in keys[:3]) + more
