"""Asking the Hub for what an entry points at: repositories and base models at their commits, and small files of them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shutil import copyfile
from tempfile import TemporaryDirectory

from modxfer.architectures import Architecture
from modxfer.errors import HubError, ModxferError
from modxfer.paths import home
from modxfer.registry.card_text import code, one_line
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.models import Base, HubSource
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import ReadFile
from modxfer.registry.entries.yaml_text import Keys
from modxfer.registry.fingerprints import CONFIG
from modxfer.registry.hub.failures import RepositoryMissing, RevisionMissing
from modxfer.registry.hub.repositories import Repository, is_unreachable, open_repository
from modxfer.registry.locate import LocatedBase
from modxfer.registry.store import Store

LARGEST_TEXT_BYTES = 10_000_000
"""What a config, a record or a card may weigh to be looked at; the Hub keeps larger files in LFS, with their sha256."""

_LONGEST_REASON, _LONGEST_NAME = 600, 200


class Unchecked(Exception):
    """Something cannot be checked, and neither can what would come after it.

    Args:
        problem: What to report.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem


def open_source(read: ReadFile, source: HubSource) -> Repository:
    """Open the repository of an entry at its commit. The Hub is asked, even if it was asked before.

    Args:
        read: The entry's file.
        source: Its source.

    Returns:
        The repository.

    Raises:
        Unchecked: it is not there, or may not be seen, or the Hub did not answer.
    """
    try:
        return open_repository(f"{source.repository}@{source.revision}", from_cache=False)
    except ModxferError as error:
        raise Unchecked(_missing(read, error, source.repository, source.revision, at=("source", "repository"))) from error


def open_base(read: ReadFile, base: Base, at: Keys) -> LocatedBase:
    """Open a base model at its commit; without one, at the head of its branch. No more than its config is fetched.

    Args:
        read: The entry's file.
        base: The base model.
        at: The way to it.

    Returns:
        The base model.

    Raises:
        Unchecked: it is not there, or is none, or may not be seen, or the Hub did not answer.
    """
    reference = f"{base.name}@{base.revision}" if base.revision else base.name
    try:
        repository = open_repository(reference, from_cache=False)
        if CONFIG not in repository.files:
            what = f"{shown(base.name)} holds no `{CONFIG}`, so it is no base model."
            raise Unchecked(read.problem("base-config", (*at, "name"), what, do="Name the base model."))
        check_size(read, repository, [CONFIG], at=(*at, "name"))
        folder = repository.fetch([CONFIG])
    except ModxferError as error:
        raise Unchecked(_missing(read, error, base.name, base.revision, at=(*at, "name"))) from error
    memory = Store(home()).hashes
    return LocatedBase(reference=reference, name=repository.name, folder=folder, memory=memory, repository=repository)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedBase:
    """A base model of an entry, as far as it is at hand.

    Attributes:
        located: Where it is.
        architecture: Its structure; None for a family that modxfer does not know.
    """

    located: LocatedBase
    architecture: Architecture | None


def check_size(read: ReadFile, repository: Repository, paths: Iterable[str], *, at: Keys) -> None:
    """Refuse to fetch configs, records and cards that are too large to be any.

    Args:
        read: The entry's file.
        repository: The repository.
        paths: The files in it.
        at: Where to report one that is too large.

    Raises:
        Unchecked: one is.
    """
    for path in paths:
        size = repository.files[path].size_bytes
        if size > LARGEST_TEXT_BYTES:
            what = f"{shown(path)} of {shown(repository.name)} has {size} bytes, too many for what it is called."
            raise Unchecked(read.problem("not-checked", at, what, do="Name another commit, or tell the repository's owner."))


@contextmanager
def fetched(repository: Repository, paths: Iterable[str]) -> Iterator[Path]:
    """Fetch files into a folder that holds nothing else, whatever the cache holds from earlier.

    Args:
        repository: The repository.
        paths: The files, all of one folder there.

    Yields:
        A folder that holds them by their names.
    """
    with TemporaryDirectory(prefix="modxfer-check-") as folder:
        for path in paths:
            copyfile(repository.fetch([path]) / path, Path(folder, PurePosixPath(path).name))
        yield Path(folder)


def unanswered(read: ReadFile, error: ModxferError, at: Keys) -> Problem:
    """Report that the Hub did not say what it was asked.

    Args:
        read: The entry's file.
        error: Why not.
        at: The way to what it was asked about.

    Returns:
        The problem.
    """
    do = "Check your connection and HF_ENDPOINT, then run the check again." if is_unreachable(error) else reason(error.do)
    return read.problem("not-checked", at, reason(error.what), do=do)


def reason(text: str, *, folder: Path | None = None) -> str:
    """Make a sentence of an error fit into a report: it may repeat what a stranger's file says.

    Args:
        text: The sentence.
        folder: A folder whose path means nothing to the reader, and is left out.

    Returns:
        It on one line, without characters that cannot be seen.
    """
    return one_line(
        text if folder is None else text.replace(f"{folder}/", "").replace(str(folder), "it"), limit=_LONGEST_REASON
    )


def whole(name: object) -> str:
    """Write the name of a tensor or file into a message, longer than other values may be.

    Args:
        name: The name.

    Returns:
        It between backticks.
    """
    return f"`{code(name, limit=_LONGEST_NAME)}`"


def _missing(read: ReadFile, error: ModxferError, name: str, revision: str | None, *, at: Keys) -> Problem:
    """Report what is not there. The Hub says the same of what is private as of what does not exist."""
    if isinstance(error, RepositoryMissing):
        what = f"{shown(name)} is not on the Hub, or it is private and cannot be seen from here."
        do = "Correct the name, or let it be seen: with a token (`HF_TOKEN`), or by making it public."
        return read.problem("repository-missing", at, what, do=do)
    if isinstance(error, RevisionMissing):
        what = f"{shown(name)} has no commit {shown(revision or 'main')}."
        return read.problem("repository-missing", (*at[:-1], "revision"), what, do="Pin a commit that is there.")
    return unanswered(read, error, at)


def is_answer(error: HubError) -> bool:
    """Say whether an error is about what the Hub holds, and not about reaching it.

    Args:
        error: What was raised while a header was read.

    Returns:
        Whether the Hub answered, and its answer is no header.
    """
    return error.__cause__ is None  # whatever the client fails with is kept as the cause
