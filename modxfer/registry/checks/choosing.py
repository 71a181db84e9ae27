"""What to check: which registry, which of its files, and by which rules, from what somebody typed."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modxfer.errors import UsageError
from modxfer.registry.checks.changed import changed_paths
from modxfer.registry.checks.rules import Stage, find_rule
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.folder import Listing, Registry, shown_path
from modxfer.registry.entries.models import FOLDERS, SETTINGS
from modxfer.registry.entries.opening import open_registry

_NEEDS = {Stage.OFFLINE: "", Stage.ONLINE: "--online", Stage.WEIGHTS: "--weights"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is to be checked.

    Attributes:
        registry: The registry.
        paths: Its files that are meant, relative to it; None for all.
    """

    registry: Registry
    paths: frozenset[str] | None


def choose_files(paths: Sequence[str], *, registry: str | None = None, changed_since: str | None = None) -> Choice:
    """Find the registry and the files that are meant.

    Args:
        paths: Files and folders as typed; none for the whole registry. The only one may be a registry itself.
        registry: The registry as typed; None for the one that the files lie in.
        changed_since: Git revision; of the files, only those are meant that a change since then can have made wrong.
            None for all of them.

    Returns:
        The registry and its files.

    Raises:
        UsageError: a file is not there, or lies in no registry or in another one than the others.
        EntryError: what was named is no registry.
    """
    if registry is None and len(paths) == 1 and _is_registry(Path(paths[0])):
        registry, paths = paths[0], ()
    opened = open_registry(registry or _around(paths))
    named = [_inside(opened, typed) for typed in paths]
    if not named or "." in named:
        chosen = None
    else:
        listing = opened.list_files()
        chosen = frozenset(path for inside in named for path in _files(opened, listing, inside))
    if changed_since is not None:
        changed = frozenset(changed_paths(opened, changed_since))
        chosen = changed if chosen is None else changed & chosen
    return Choice(registry=opened, paths=chosen)


def check_rules(*, only: Collection[str], skip: Collection[str], through: Stage, mends: bool = False) -> None:
    """Refuse rules that cannot be meant, so that none is believed to be checked that is not.

    Args:
        only: Ids of the rules that count; empty for all.
        skip: Ids of rules that do not.
        through: The last stage that is run.
        mends: Whether files are mended first, whatever rule that concerns.

    Raises:
        UsageError: there is no such rule, it needs a later stage, no rule is left, or some were chosen for mending.
    """
    if mends and only:
        raise UsageError("`--fix` mends everything that is mechanical, and `--rule` was given.", do="Leave one of them out.")
    stages = list(Stage)
    for id in skip:
        find_rule(id)
    for rule in map(find_rule, only):
        if stages.index(rule.stage) > stages.index(through):
            raise UsageError(f"The rule `{rule.id}` is not checked offline.", do=f"Add `{_NEEDS[rule.stage]}`.")
    if only and set(only) <= set(skip):
        raise UsageError("Every rule that is to count is skipped as well.", do="Name others with `--rule` or with `--skip`.")


def check_mendable(registry: Registry) -> None:
    """Refuse to mend what is only a copy.

    Args:
        registry: The registry.

    Raises:
        UsageError: it was fetched from the Hub.
    """
    if registry.revision is not None:
        raise UsageError(
            f"`{registry.name}` is on the Hub, and what is here is a copy of it.",
            do="Clone its repository, run `--fix` there, and push that.",
        )


def _is_registry(folder: Path) -> bool:
    return (folder / SETTINGS).is_file()


def _around(paths: Sequence[str]) -> str | None:
    """Find the one registry that files lie in; None where they lie in none."""
    roots: dict[Path, str] = {}
    for typed in paths:
        path = _absolute(typed)
        root = next((folder for folder in (path, *path.parents) if _is_registry(folder)), None)
        if root is not None:
            roots.setdefault(root, typed)
    if len(roots) > 1:
        (first, _), (second, typed) = list(roots.items())[:2]
        raise UsageError(
            f"{shown(typed)} lies in the registry `{second}`, and others in `{first}`.", do="Check one registry at a time."
        )
    return next((os.path.relpath(root) for root in roots), None)


def _inside(registry: Registry, typed: str) -> str:
    """Say where a path lies in a registry: as seen from here, else as seen from the registry."""
    if registry.revision is None:
        path = _absolute(typed)
        followed = path.parent.resolve() / path.name  # its folder may have been reached through a link
        for root, way in ((_absolute(str(registry.root)), path), (registry.root.resolve(), followed)):
            if os.path.lexists(way) and way.is_relative_to(root):
                return way.relative_to(root).as_posix()
    within = PurePosixPath(typed)
    if not within.is_absolute() and ".." not in within.parts and os.path.lexists(registry.root / within):
        return within.as_posix()
    if registry.revision is None and os.path.lexists(typed):
        raise UsageError(
            f"{shown(typed)} lies outside of the registry `{registry.name}`.", do="Name another with `--registry`."
        )
    raise UsageError(f"There is no file {shown(typed)}.", do="Name a file or a folder of a registry.")


def _absolute(typed: str) -> Path:
    """Make a path absolute, without following links."""
    return Path(os.path.abspath(typed))  # noqa: PTH100 (`Path.absolute` keeps "..", `resolve` follows links)


def _files(registry: Registry, listing: Listing, inside: str) -> list[str]:
    """List what lies at a path or below it, and what is wrong with a folder that it lies in."""
    below = f"{inside}/"
    found = [file.path for file in listing.files if file.path == inside or file.path.startswith(below)]
    for problem in listing.problems:
        at = problem.path
        if at in (inside, shown_path(inside)) or at.startswith(below) or inside.startswith(f"{at}/"):
            found.append(at)
    if not found and not (inside.partition("/")[0] in FOLDERS and (registry.root / inside).is_dir()):
        raise UsageError(
            f"{shown(inside)} is no file of the registry `{registry.name}`.",
            do=f"Name an entry, a file of aliases, `{SETTINGS}`, or a folder with some.",
        )
    return found
