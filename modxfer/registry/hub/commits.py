"""Putting files into a repository on the Hub: all in one commit, on top of what was there, or not at all."""

import hashlib
import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modxfer.errors import HubError, ModxferError, UsageError
from modxfer.registry.hub.calls import api, call
from modxfer.registry.hub.failures import BranchMoved, RepositoryMissing, RevisionMissing, is_about, is_offline, page, status_of
from modxfer.registry.hub.repositories import RemoteFile, Repository, git_hash, open_repository
from modxfer.registry.hub.waiting import TRANSIENT

logger = logging.getLogger(__name__)

DEFAULT_BRANCH = "main"

_NO_BRANCH = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]"  # characters that git has no room for, or another use
    r"|\.\.|//|@\{|^[-/.]|/\.|[/.]$|\.lock(/|$)|^@?$"
)

Content = bytes | Path
"""What a file is to hold: bytes, or a file on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a commit does to one file.

    Attributes:
        path: Its path in the repository.
        kind: "new", "changed", "same" or "removed".
        size_bytes: Its size afterwards.
    """

    path: str
    kind: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit that was made, or would be.

    Attributes:
        repository: The Hub id.
        branch: The branch.
        changes: What it does to each file.
        is_new: Whether the repository did not exist.
        commit: Its hash; the branch's, if there was nothing to change; None if it was not made.
        url: The page of the commit or the pull request; None if nothing was made.
    """

    repository: str
    branch: str
    changes: tuple[Change, ...]
    is_new: bool
    commit: str | None = None
    url: str | None = None

    @property
    def is_needed(self) -> bool:
        """Whether it changes anything."""
        return any(change.kind != "same" for change in self.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where files go, and how.

    Attributes:
        name: The Hub id.
        branch: The branch; it is made if there is none.
        message: The commit's message.
        private: Whether a new repository is private; None for what its owner's default is.
        create_pr: Open a pull request instead of changing the branch.
        parent_commit: The commit that the branch is expected to be at; None for wherever it is when this begins.
    """

    name: str
    branch: str = DEFAULT_BRANCH
    message: str
    private: bool | None = None
    create_pr: bool = False
    parent_commit: str | None = None

    def __post_init__(self) -> None:
        """Refuse what the Hub would refuse, or would take for something else.

        Raises:
            UsageError: the name has no owner, or no branch can have that name.
        """
        if not all(self.name.partition("/")):
            raise UsageError(f"`{self.name}` has no owner.", do="Give `user/name`.")
        if _NO_BRANCH.search(self.branch):
            raise UsageError(
                f"`{self.branch}` is no name that a branch can have.",
                do="Use letters, digits, `-`, `_`, `.` and `/` in between.",
            )


def check_login(name: str) -> str:
    """Find out whether the user is logged in.

    Args:
        name: What is to be published, for messages.

    Returns:
        The user's name.

    Raises:
        HubError: there is no token, or it is not valid.
    """
    return str(call(lambda: api().whoami(), name=name, writing=True)["name"])


def plan_commit(files: Mapping[str, Content], destination: Destination, *, owned: Collection[str]) -> Commit:
    """Compare files with what a repository holds.

    Args:
        files: Path to content.
        destination: Where they are to go.
        owned: Paths that are removed if they are there and not among the files, since a reader would take them for current.

    Returns:
        What a commit would do.

    Raises:
        BranchMoved: the branch is not at the expected commit.
        HubError: the Hub refuses or cannot be reached.
    """
    remote, is_new = _look(destination)
    expected = destination.parent_commit
    if expected is not None and (remote is None or remote.commit != expected):
        raise BranchMoved(
            f"`{destination.name}` is at commit {remote.commit[:12] if remote else 'none'}, and not at {expected[:12]}.",
            do="Look at what was changed there, and push again with that commit.",
        )
    there = remote.files if remote else {}
    changes = [
        Change(path=path, kind="new" if path not in there else _kind(content, there[path]), size_bytes=_size(content))
        for path, content in sorted(files.items())
    ]
    removed = [Change(path=path, kind="removed", size_bytes=0) for path in sorted(set(there) & set(owned) - set(files))]
    return Commit(
        repository=remote.name if remote else destination.name,
        branch=destination.branch,
        changes=(*changes, *removed),
        is_new=is_new,
        commit=remote.commit if remote else None,
        url=None,
    )


def commit(files: Mapping[str, Content], destination: Destination, *, owned: Collection[str]) -> Commit:
    """Put files into a repository in one commit; if it holds them already, do nothing.

    The repository is made if there is none. The commit names its parent, so that the Hub refuses it if the branch moves
    meanwhile. If the answer to it is lost, the branch is looked at before anything is sent again.

    Args:
        files: Path to content.
        destination: Where they are to go.
        owned: Paths that are removed if they are there and not among the files.

    Returns:
        What was done.

    Raises:
        BranchMoved: somebody else committed meanwhile; nothing was changed.
        HubError: the Hub refuses or cannot be reached; nothing was changed, or all of it. A new repository stays, empty.
    """
    planned = plan_commit(files, destination, owned=owned)
    if not planned.is_needed:
        return planned
    parent = planned.commit or _make_room(destination, planned)
    done = _Attempts(files=files, destination=destination, planned=planned, parent=parent).run()
    if not destination.create_pr:
        _check_arrived(files, done)
    return done


@dataclass(kw_only=True)
class _Attempts:
    """Attempts to make one commit, of which at most one succeeds."""

    files: Mapping[str, Content]
    destination: Destination
    planned: Commit
    parent: str
    was_sent: bool = False

    def run(self) -> Commit:
        """Make the commit."""
        try:
            return call(self._attempt, name=self.planned.repository, writing=True, may_repeat=self._may_repeat)
        except BranchMoved:
            arrived = self._arrived()
            if arrived is None:
                raise
            return arrived  # somebody else, or an attempt whose answer was lost, put the same content there
        except HubError as error:
            if not self.was_sent or not may_be_done(error):
                raise
            if self.destination.create_pr:
                raise self._perhaps_opened(error) from error
            arrived = self._arrived_after_all()
            if arrived is None:
                raise
            return arrived

    def _may_repeat(self, error: BaseException) -> bool:
        """Say whether to try again: a pull request that was opened unnoticed would be opened twice."""
        return not (self.destination.create_pr and may_be_done(error))

    def _perhaps_opened(self, error: HubError) -> HubError:
        """Say that nobody knows whether there is a pull request."""
        name = self.planned.repository
        return HubError(
            f"It is not known whether the pull request to `{name}` was opened: {error.what[0].lower()}{error.what[1:]}",
            do=f"Look at {page(name)}/discussions, and push again if it is not there.",
        )

    def _arrived_after_all(self) -> Commit | None:
        """Look once more after the last attempt, whose answer may have been lost."""
        try:
            return self._arrived()
        except ModxferError as error:
            logger.info("%s", error)
            return None

    def _attempt(self) -> Commit:
        """Send the commit, unless an attempt before this one has arrived after all."""
        arrived = self._arrived() if self.was_sent else None
        if arrived is not None:
            return arrived
        self.was_sent = True
        made = api().create_commit(
            self.planned.repository,
            operations=_operations(self.files, self.planned),
            commit_message=self.destination.message,
            revision=self.destination.branch,
            create_pr=self.destination.create_pr,
            parent_commit=self.parent or None,
        )
        return replace(self.planned, commit=made.oid, url=made.pr_url or made.commit_url)

    def _arrived(self) -> Commit | None:
        """Say what commit the branch is at, if it holds exactly what was to be put there."""
        if self.destination.create_pr:
            return None
        remote, _ = _look(self.destination)
        if remote is None or _differences(self.files, remote, self.planned):
            return None
        return replace(self.planned, commit=remote.commit, url=f"{page(remote.name)}/commit/{remote.commit}")


def may_be_done(error: BaseException) -> bool:
    """Say whether a request to make a commit may have been carried out, although it failed.

    Args:
        error: What the client raised.

    Returns:
        Whether that is so.
    """
    status = status_of(error)
    return is_about(error, "/commit/") and (status is None or status in TRANSIENT) and not is_offline(error)


def _look(destination: Destination) -> tuple[Repository | None, bool]:
    """Find what is on a branch now; None if there is no repository or branch, and whether there is no repository."""
    try:
        return open_repository(f"{destination.name}@{destination.branch}", from_cache=False), False
    except RepositoryMissing:
        return None, True
    except RevisionMissing:
        return None, False


def _make_room(destination: Destination, planned: Commit) -> str:
    """Make the repository or the branch, whichever is missing; give the commit that the branch is at."""
    name = destination.name
    if planned.is_new:
        call(lambda: api().create_repo(name, private=destination.private, exist_ok=True), name=name, writing=True)
    if destination.branch != DEFAULT_BRANCH:
        call(lambda: api().create_branch(name, branch=destination.branch, exist_ok=True), name=name, writing=True)
    return open_repository(f"{name}@{destination.branch}", from_cache=False).commit


def _operations(files: Mapping[str, Content], planned: Commit) -> list[Any]:
    """Say what to do, anew for every attempt: the client writes into these."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    kinds = {change.path: change.kind for change in planned.changes}
    added = [CommitOperationAdd(path, content) for path, content in files.items() if kinds[path] != "same"]
    return [*added, *(CommitOperationDelete(path) for path, kind in kinds.items() if kind == "removed")]


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _kind(content: Content, remote: RemoteFile) -> str:
    if isinstance(content, Path):
        is_same = remote.matches(content)
    elif remote.sha256 is not None:
        is_same = hashlib.sha256(content).hexdigest() == remote.sha256
    else:
        is_same = git_hash(content) == remote.git_hash
    return "same" if is_same else "changed"


def _differences(files: Mapping[str, Content], remote: Repository, planned: Commit) -> list[str]:
    """List the paths at which a repository does not hold what it should."""
    wrong = [
        path for path, content in files.items() if path not in remote.files or _kind(content, remote.files[path]) != "same"
    ]
    return [*wrong, *(change.path for change in planned.changes if change.kind == "removed" and change.path in remote.files)]


def _check_arrived(files: Mapping[str, Content], done: Commit) -> None:
    """Compare what the commit holds with what was sent."""
    try:
        remote = open_repository(f"{done.repository}@{done.commit}", from_cache=False)
    except ModxferError as error:
        logger.warning("The commit was made (%s), and could not be looked at afterwards: %s", done.url, error.what)
        return
    if wrong := _differences(files, remote, done):
        raise HubError(
            f"`{done.repository}` at {str(done.commit)[:12]} holds another `{wrong[0]}` than was sent.",
            do=f"Look at {done.url}, and push again.",
        )
