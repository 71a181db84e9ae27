"""What a pull request changes: the files of a registry that differ from a git revision, and those that refer to them."""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path, PurePosixPath
from typing import Any

from modxfer.errors import UsageError
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import FOLDERS, SETTINGS, Aliases, AlignmentEntry, ModuleEntry
from modxfer.registry.entries.reading import path_of
from modxfer.registry.entries.yaml_text import read_yaml

_SHALLOW = "In a shallow clone, fetch its history first: `fetch-depth: 0` for `actions/checkout`, or `git fetch --unshallow`."


def changed_paths(registry: Registry, revision: str) -> tuple[str, ...]:
    """List what has to be checked after a change: what was changed, and all that refers to it, directly or not.

    Changed is what differs from the commit at which the current branch left the revision: in later commits, or in the
    working tree, whether git knows the file or not.

    Args:
        registry: The registry; its folder lies in a git repository, or is one.
        revision: A branch, a tag or a commit.

    Returns:
        Paths relative to the registry, with "/", sorted: files, and what lies there and should not. What was deleted is
        not among them.

    Raises:
        UsageError: git is not installed, the folder is in no git repository, or there is no such revision.
        OSError: a file cannot be read.
    """
    if revision.startswith("-") or not revision.strip() or not revision.isprintable():
        raise UsageError(f"{shown(revision)} is no git revision.", do="Name a branch, a tag or a commit.")
    changed = set(_changed_since(registry.root, _fork_point(registry.root, revision)))
    listing = registry.list_files()
    files = {file.path for file in listing.files}
    references = dict(_references(registry.root, files))
    changed |= set(_below(changed, files.union(*references.values())))
    touched = _with_descendants(changed, references)
    named = {_as_reported(path) for change in changed for path in (change, *map(str, PurePosixPath(change).parents[:-1]))}
    odd = {problem.path for problem in listing.problems}
    return tuple(sorted((touched & files) | (odd & named) | set(_below(set(map(_as_reported, changed)), odd))))


def _fork_point(root: Path, revision: str) -> str:
    """Find the commit at which the current branch left a revision."""
    if _git(root, "rev-parse", "--is-inside-work-tree").stdout.strip() != b"true":
        raise UsageError(f"`{root}` is in no working tree of git.", do="Check all of it, without `--changed-since`.")
    if _git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", may_fail=True).returncode:
        raise UsageError(f"There is no git revision {shown(revision)}.", do=_SHALLOW)
    found = _git(root, "merge-base", revision, "HEAD", may_fail=True)
    if found.returncode:
        raise UsageError(f"The current branch and {shown(revision)} have no commit in common.", do=_SHALLOW)
    return found.stdout.decode().strip()


def _changed_since(root: Path, commit: str) -> Iterator[str]:
    places = ("--", *FOLDERS, SETTINGS)
    known = ("diff", "--name-only", "--no-renames", "--no-ext-diff", "--relative", "--ignore-submodules=none", "-z", commit)
    for command in (known, ("ls-files", "--others", "-z")):
        for found in filter(None, _git(root, *command, *places).stdout.split(b"\0")):
            yield os.fsdecode(found).rstrip("/")


def _below(folders: Set[str], paths: Iterable[str]) -> Iterator[str]:
    """List what lies in folders: of a git repository within this one, git names no more than its folder."""
    for path in paths:
        parts = path.split("/")
        if any("/".join(parts[:count]) in folders for count in range(1, len(parts))):
            yield path


def _git(root: Path, *command: str, may_fail: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Ask git about the folder; what the environment says of another repository does not count."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith("GIT_CONFIG_")
    }
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    start = ("git", "--literal-pathspecs", "-c", "core.fsmonitor=false")
    try:
        done = subprocess.run([*start, *command], cwd=root, env=environment, capture_output=True, check=False)
    except (FileNotFoundError, PermissionError) as error:
        raise UsageError(
            "The program `git` cannot be started.", do="Install it, or check without `--changed-since`."
        ) from error
    if done.returncode and not may_fail:
        said = done.stderr.decode("utf-8", errors="replace").partition("\n")[0]
        raise UsageError(
            f"git cannot say what was changed in `{root}`: {shown(said)}.", do="Check all of it, without `--changed-since`."
        )
    return done


def _references(root: Path, files: Set[str]) -> Iterator[tuple[str, set[str]]]:
    """Find out which files a file relies on: those of the entries that it names, and of the aliases that it may mean."""
    for path in files:
        content = (root / path).read_bytes()
        if path.startswith(f"{Aliases.folder}/"):
            yield path, set(_named_by_aliases(PurePosixPath(path).stem, _mapping(read_yaml(content).value)))
        elif re.search(rb"\blineage\b", content):
            lineage = _mapping(_mapping(read_yaml(content).value).get("lineage"))
            ids = ((ModuleEntry, lineage.get("teacher")), (AlignmentEntry, lineage.get("alignment")))
            targets = {path_of(model, id): id.partition("/")[0] for model, id in ids if isinstance(id, str)}
            aliases = {path_of(Aliases, namespace) for target, namespace in targets.items() if target not in files}
            yield path, targets.keys() | aliases


def _named_by_aliases(namespace: str, aliases: Mapping[str, Any]) -> Iterator[str]:
    for model, field in ((ModuleEntry, "modules"), (AlignmentEntry, "alignments")):
        for names in _mapping(aliases.get(field)).items():
            yield from (path_of(model, f"{namespace}/{name}") for name in names)


def _with_descendants(changed: Set[str], references: Mapping[str, set[str]]) -> set[str]:
    """Add what refers to a changed file, and what refers to that."""
    referring: dict[str, list[str]] = {}
    for path, targets in references.items():
        for target in targets:
            referring.setdefault(target, []).append(path)
    touched, waiting = set(changed), list(changed)
    while waiting:
        new = [path for path in referring.get(waiting.pop(), ()) if path not in touched]
        touched.update(new)
        waiting += new
    return touched


def _as_reported(path: str) -> str:
    """Write a path as a listing does where it cannot be one of an entry."""
    return shown(path)[1:-1]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
