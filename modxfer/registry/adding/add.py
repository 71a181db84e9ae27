"""Adding a module or an alignment map to a registry: found out, written, checked, and only then put in place."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modxfer.alignments.files import RECORD
from modxfer.converters.formats.needed import needed_files
from modxfer.errors import EntryError, FormatError, OutputError, UsageError
from modxfer.paths import is_folder
from modxfer.registry.adding.choice import Drawn, EntryChoice
from modxfer.registry.adding.maps import draw_map
from modxfer.registry.adding.modules import draw_module
from modxfer.registry.adding.values import takes
from modxfer.registry.checks.rules import RULES, Severity
from modxfer.registry.checks.run import check
from modxfer.registry.checks.trying import trial_copy
from modxfer.registry.entries.fields import Commit, Line
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import Entry
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import path_of
from modxfer.registry.entries.writing import entry_text, plain_values, refuse_links, write_entry
from modxfer.registry.fingerprints import CONFIG
from modxfer.registry.hub.commits import DEFAULT_BRANCH
from modxfer.registry.hub.repositories import Repository, open_repository, parse_reference
from modxfer.registry.origin import read_origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What was added.

    Attributes:
        entry: The entry.
        path: Where it lies, relative to the registry, with "/".
        file: The file.
        text: What the file holds.
        notes: What could not be found or used, a sentence each.
        is_new: Whether there was no entry of this id.
        is_changed: Whether the file is, or would be, another than before.
        is_done: Whether it was written, and not only tried.
    """

    entry: Entry
    path: str
    file: Path
    text: str
    notes: tuple[str, ...]
    is_new: bool
    is_changed: bool
    is_done: bool

    def as_json(self) -> dict[str, Any]:
        """Give what `registry add --json` prints.

        Returns:
            Plain values.
        """
        return {
            "id": self.entry.id,
            "path": self.path,
            "file": str(self.file),
            "new": self.is_new,
            "changed": self.is_changed,
            "dry_run": not self.is_done,
            "notes": list(self.notes),
            "entry": plain_values(self.entry),
        }


def add(reference: str, registry: Registry, choice: EntryChoice, *, force: bool = False, dry_run: bool = False) -> Added:
    """Write the entry of a module or an alignment map, from what can be found out about it. No weights are fetched.

    Args:
        reference: Its Hub id with an optional `@revision`, or a folder that was pulled from the Hub.
        registry: The registry, in a folder.
        choice: What the user says of it.
        force: Replace another entry of this id.
        dry_run: Do everything but write.

    Returns:
        What was added.

    Raises:
        UsageError: it is on no Hub, or something has to be said; or the registry is on the Hub.
        FormatError: it cannot be registered.
        EntryError: the entry would be wrong in this registry; nothing was written.
        OutputError: there is another entry of this id, or it cannot be written.
        HubError: the Hub refuses or cannot be reached.
    """
    if registry.revision is not None:
        raise UsageError(
            f"The registry `{registry.name}` is on the Hub, and entries are added to a folder.",
            do="Clone it with `git clone`, add the entry there, and push it.",
        )
    drawn = _draw(reference, registry, choice)
    entry, text = drawn.entry, entry_text(drawn.entry)
    path = path_of(type(entry), entry.id)
    refuse_links(registry.root, path)
    is_new, is_changed = _compare(registry, entry, path, text)
    if is_changed and not is_new and not force:
        raise OutputError(
            f"`{registry.root / path}` exists, and says something else.",
            do="Replace it with `--force`, or choose another id with `--id`.",
        )
    warnings = _check(registry, path, text)
    if is_changed and not dry_run:
        write_entry(registry.root, entry, force=force)
    return Added(
        entry=entry,
        path=path,
        file=registry.root / path,
        text=text,
        notes=(*drawn.notes, *(f"{problem.what} {problem.do}" for problem in warnings)),
        is_new=is_new,
        is_changed=is_changed,
        is_done=not dry_run,
    )


def _draw(reference: str, registry: Registry, choice: EntryChoice) -> Drawn:
    reference, branch = _on_hub(reference)
    repository = open_repository(reference, from_cache=False)
    try:
        if RECORD in repository.files:
            drawn = draw_map(repository, branch=branch, choice=choice)
        elif needed_files(repository.files):
            drawn = draw_module(repository, branch=branch, choice=choice, registry=registry)
        else:
            raise _neither(repository)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise FormatError(
            f"`{repository.name}` says something that no entry can say, `{where}`: {first['msg']}.",
            do="Correct that, and push it again.",
        ) from error
    notes = [f"`{repository.name}` is private: only some can fetch it."] if repository.private else []
    return Drawn(entry=drawn.entry, notes=(*notes, *drawn.notes))


def _on_hub(reference: str) -> tuple[str, str]:
    """Say which repository is meant at which revision, and which branch that is."""
    if is_folder(reference):
        origin = read_origin(Path(reference).expanduser())
        if origin is None:
            raise UsageError(
                f"`{reference}` is a folder that is on no Hub as it is, and an entry names a repository there.",
                do="Push it with `modxfer push`, or `modxfer align push` for an alignment map, and give its Hub id.",
            )
        return f"{origin.repository}@{origin.revision}", DEFAULT_BRANCH
    revision = parse_reference(reference)[1]
    is_branch = revision is not None and not takes(Commit, revision) and takes(Line, revision)
    return reference, str(revision) if is_branch else DEFAULT_BRANCH


def _neither(repository: Repository) -> FormatError:
    what = "it is a base model" if CONFIG in repository.files else f"it holds no `adapter_config.json` and no `{RECORD}`"
    return FormatError(
        f"`{repository.name}` is neither a module nor an alignment map: {what}.", do="Give the id of one of those."
    )


def _compare(registry: Registry, entry: Entry, path: str, text: str) -> tuple[bool, bool]:
    """Say whether an entry is new, and whether its file would change."""
    file = registry.root / path
    if not file.exists():
        return True, True
    is_same = file.is_file() and (file.read_bytes() == text.encode() or registry.read(path).model == entry)
    return False, not is_same


def _check(registry: Registry, path: str, text: str) -> list[Problem]:
    """Check an entry among all others before anybody sees it; gives the warnings."""
    with trial_copy(registry) as copy:
        target = copy.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a hard link: what it leads to stays as it is
        target.write_text(text, encoding="utf-8", newline="\n")
        problems = check(copy, paths=[path]).problems
    errors = [problem for problem in problems if RULES[problem.rule].severity is Severity.ERROR]
    if errors:
        first = errors[0]
        more = f" ({len(errors)} problems)" if len(errors) > 1 else ""
        where = "" if first.path == path else f" in `{first.path}`"
        raise EntryError(
            f"The entry `{path}` would be wrong{where}, by the rule `{first.rule}`{more}: {first.what}",
            do=f"{first.do} Nothing was written.",
        )
    return list(problems)
