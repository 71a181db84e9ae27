"""Checking what entries say of base models against the base models' configs."""

from collections.abc import Iterator, Mapping

from modxfer.architectures import FAMILIES, Architecture, architecture_from_config, read_config
from modxfer.errors import ArchitectureError
from modxfer.registry.checks.online_asking import OpenedBase, Unchecked, open_base, reason
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.models import Base
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import ReadFile
from modxfer.registry.entries.yaml_text import Keys
from modxfer.registry.fingerprints import choose_weights
from modxfer.registry.locate import LocatedBase


def check_base(read: ReadFile, base: Base, at: Keys) -> tuple[OpenedBase | None, tuple[Problem, ...]]:
    """Check what an entry says of a base model. No weights are fetched: without their hashes there is no fingerprint.

    A family that modxfer does not know is a warning of the offline checks, and only its name is compared.

    Args:
        read: The entry's file.
        base: What it says.
        at: The way to that.

    Returns:
        The base model, None if nothing can be held against it; and the problems.
    """
    problems: list[Problem] = []
    opened = _examine(read, base, at, problems)
    return opened, tuple(problems)


def _examine(read: ReadFile, base: Base, at: Keys, problems: list[Problem]) -> OpenedBase | None:
    """Open a base model and compare; the problems are added to the list."""
    try:
        located = open_base(read, base, at)
    except Unchecked as stop:
        problems.append(stop.problem)
        return None
    try:
        config = read_config(located.folder)
        family = config.get("model_type")
        if family != base.family:
            what = f"The family is {shown(base.family)}, and the config of {shown(base.name)} says {shown(family)}."
            problems.append(read.problem("base-config", (*at, "family"), what, do=_write(family)))
            return None
        architecture = architecture_from_config(config, name=base.name) if family in FAMILIES else None
    except ArchitectureError as error:
        what = reason(error.what, folder=located.folder)
        problems.append(read.problem("base-config", (*at, "name"), what, do="Name the base model, at a commit that has it."))
        return None
    if architecture is not None:
        problems += _check_sizes(read, base, architecture, at)
        problems += _check_fingerprint(read, base, located, at)
    return OpenedBase(located=located, architecture=architecture)


def _check_sizes(read: ReadFile, base: Base, architecture: Architecture, at: Keys) -> Iterator[Problem]:
    stated: Mapping[str, tuple[Mapping[str, int], Mapping[str, int], str]] = {
        "widths": (base.widths, architecture.dimensions, "units"),
        "depths": (base.depths, architecture.depths, "layers"),
    }
    for field, (said, true, unit) in stated.items():
        for key, size in said.items():
            if true.get(key, size) != size:
                what = f"`{key}` has {size} {unit}, and by the config of {shown(base.name)} {true[key]}."
                yield read.problem("base-config", (*at, field, key), what, do=f"Write {true[key]}.")


def _check_fingerprint(read: ReadFile, base: Base, located: LocatedBase, at: Keys) -> Iterator[Problem]:
    files = located.repository.files if located.repository else {}
    weights = choose_weights(files)
    if base.fingerprint is None or not weights or any(files[name].sha256 is None for name in weights):
        return
    true = located.record.fingerprint
    if true != base.fingerprint:
        what = f"The fingerprint is not that of {shown(base.name)} at this commit, {shown(true[:12])}…"
        yield read.problem("base-config", (*at, "fingerprint"), what, do=f"Write {true}.")


def _write(value: object) -> str:
    return f"Write {shown(value)}." if isinstance(value, str) else "Name the base model, at a commit that has it."
