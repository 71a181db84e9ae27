"""The online checks of an entry: what it points at, asked of the Hub. No weights are read, only headers by range requests.

Only the Hub's own interface is asked, for the repositories that the entry names as its source and as its base models: no
address out of an entry is followed, and no repository that a fetched file names. A repository that only some may see is
checked like any other if the user's token reaches it.

An archive outside the Hub is not fetched: that its entry is not pinned to a repository is a warning of the offline checks, and
what it says of its base model is checked as far as that is pinned.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from modxfer.alignments.files import hash_file
from modxfer.converters.formats.checks import listing
from modxfer.errors import HubError
from modxfer.registry.checks.online_asking import LARGEST_TEXT_BYTES, Unchecked, open_source, unanswered, whole
from modxfer.registry.checks.online_bases import check_base
from modxfer.registry.checks.online_cards import check_card
from modxfer.registry.checks.online_maps import check_map
from modxfer.registry.checks.online_modules import check_module
from modxfer.registry.entries.fields import PICKLED, shown
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import AlignmentEntry, ArchiveSource, HubSource, ModuleEntry
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import ReadFile
from modxfer.registry.hub.calls import api, call
from modxfer.registry.hub.failures import RevisionMissing
from modxfer.registry.hub.repositories import Repository


def check_online(read: ReadFile, *, registry: Registry | None = None) -> Iterator[Problem]:
    """Check an entry against what it points at on the Hub.

    Args:
        read: The entry's file, with which nothing is wrong offline; files that are no entries have nothing to check.
        registry: The registry that it is of, to compare a lineage with the teacher's entry; None to leave that out.

    Yields:
        The problems. What cannot be asked is one, and what would have come after it is left out.
    """
    entry = read.entry
    if entry is None:
        return
    try:
        if isinstance(entry, AlignmentEntry):
            yield from _check_alignment(read, entry)
        elif isinstance(entry.source, ArchiveSource):
            if entry.base.revision is not None:
                yield from check_base(read, entry.base, ("base",))[1]
        else:
            yield from _check_module(read, entry, entry.source, registry)
    except Unchecked as stop:
        yield stop.problem
    except HubError as error:
        yield unanswered(read, error, ("source", "repository"))


def _check_module(read: ReadFile, entry: ModuleEntry, source: HubSource, registry: Registry | None) -> Iterator[Problem]:
    repository = open_source(read, source)
    yield from _check_repository(read, source, repository)
    base, problems = check_base(read, entry.base, ("base",))
    yield from problems
    yield from check_module(read, entry, source, repository, base=base, registry=registry)
    yield from check_card(read, entry, repository)


def _check_alignment(read: ReadFile, entry: AlignmentEntry) -> Iterator[Problem]:
    repository = open_source(read, entry.source)
    yield from _check_repository(read, entry.source, repository)
    teacher, problems = check_base(read, entry.teacher, ("teacher",))
    yield from problems
    student, problems = check_base(read, entry.student, ("student",))
    yield from problems
    yield from check_map(read, entry, repository, teacher=teacher, student=student)
    yield from check_card(read, entry, repository)


def _check_repository(read: ReadFile, source: HubSource, repository: Repository) -> Iterator[Problem]:
    yield from _check_branch(read, source)
    pickles = [path for path in repository.files if PurePosixPath(path).suffix.lower() in PICKLED]
    if pickles:
        what = f"{shown(source.repository)} holds {'a pickle' if len(pickles) == 1 else 'pickles'} too: {_names(pickles)}."
        do = "Take them out of the repository, and pin the commit that follows; nothing here loads them."
        yield read.problem("unlisted-file", ("source", "files"), what, do=do, at_key=True)
    for index, _ in enumerate(source.files):
        yield from _check_file(read, source, repository, index)


def _check_branch(read: ReadFile, source: HubSource) -> Iterator[Problem]:
    def ask() -> str:
        return str(api().repo_info(source.repository, revision=source.branch).sha)

    at = ("source", "branch")
    try:
        head = call(ask, name=source.repository, revision=source.branch)
    except RevisionMissing:
        what = f"{shown(source.repository)} has no branch {shown(source.branch)} any more."
        yield read.problem("branch-moved", at, what, do="Correct `branch`; the pinned commit is still there.")
        return
    if head != source.revision:
        what = f"The branch {shown(source.branch)} of {shown(source.repository)} is at {shown(head)} now."
        yield read.problem("branch-moved", at, what, do="See what has changed there, and register it if it is better.")


def _check_file(read: ReadFile, source: HubSource, repository: Repository, index: int) -> Iterator[Problem]:
    """Compare one file with its pin. What has no sha256 on the Hub is no large file, and is fetched to hash it."""
    pinned, at = source.files[index], ("source", "files", index)
    there = repository.files.get(pinned.path)
    if there is None:
        what = f"{shown(source.repository)} has no file {shown(pinned.path)} at this commit."
        yield read.problem("file-changed", (*at, "path"), what, do="Pin a commit that has it, or the files that are there.")
        return
    if there.size_bytes != pinned.size_bytes:
        what = f"{shown(pinned.path)} has {there.size_bytes} bytes at this commit, and is pinned with {pinned.size_bytes}."
        yield read.problem("file-changed", (*at, "size_bytes"), what, do=f"Look at it again, then write {there.size_bytes}.")
    true = there.sha256
    if true is None and there.size_bytes <= LARGEST_TEXT_BYTES:
        true = hash_file(repository.fetch([pinned.path]) / pinned.path)
    if true is None:
        what = f"The Hub gives no sha256 of {shown(pinned.path)}, which has {there.size_bytes} bytes."
        yield read.problem("not-checked", (*at, "sha256"), what, do="Keep it in LFS, and pin the commit that follows.")
    elif true != pinned.sha256:
        what = f"{shown(pinned.path)} has the sha256 {true} at this commit, not the pinned one."
        yield read.problem("file-changed", (*at, "sha256"), what, do="Look at it again, then write that sha256.")


def _names(paths: list[str]) -> str:
    return listing((whole(path)[1:-1] for path in paths), most=4)
