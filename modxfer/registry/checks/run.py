"""Checking a registry: every problem of every file in one run, cheapest stages first."""

import gc
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from modxfer.errors import UsageError
from modxfer.registry.checks.across import Finding, check_across
from modxfer.registry.checks.alone import Parts, check_alone, parts_of
from modxfer.registry.checks.layout import check_layout
from modxfer.registry.checks.rules import RULES, Severity, Stage, find_rule
from modxfer.registry.checks.texts import check_texts
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.folder import Listing, Registry
from modxfer.registry.entries.models import SETTINGS
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import ReadFile, problem_at_start, read_file

Progress = Callable[[Stage, int, int], None]
"""Told which stage is run, how many of its files are done, and how many there are."""


_BARS_OTHERS = frozenset({"not-checked", "repository-missing", "file-changed", "not-loadable"})
"""Where one of these is broken, others could not be looked at; so each counts wherever it is met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a check found.

    Attributes:
        problems: The problems, in order of file, line, column and rule.
        files: Number of files that were checked.
        stages: The stages that were run.
    """

    problems: tuple[Problem, ...]
    files: int
    stages: tuple[Stage, ...]

    @property
    def errors(self) -> int:
        """Number of problems that make the check fail."""
        return sum(map(_is_error, self.problems))

    @property
    def warnings(self) -> int:
        """Number of the others."""
        return len(self.problems) - self.errors


def check(
    registry: Registry,
    *,
    paths: Collection[str] | None = None,
    gone: Collection[str] = (),
    only: Collection[str] = (),
    skip: Collection[str] = (),
    through: Stage = Stage.OFFLINE,
    progress: Progress | None = None,
) -> Report:
    """Check a registry, or some of its files against all of it.

    What can be read as an entry is asked about at the Hub, whatever else is wrong with it; weights are fetched only of entries
    without errors. No choice of rules hides that something could not be checked.

    Args:
        registry: The registry.
        paths: The files and folders whose problems are wanted, relative to the registry; None for all. A problem between files
            counts as one of each of them.
        gone: Files that are no longer there, whose absence may be a problem for others; counted among `paths`.
        only: Ids of the rules that count; empty for all.
        skip: Ids of rules that do not.
        through: The last stage to run.
        progress: Told of each file.

    Returns:
        What was found.

    Raises:
        UsageError: there is no such rule or file.
    """
    counts = _counting(only, skip)
    listing = registry.list_files()
    wanted = _Wanted.of(registry, listing, paths, gone)
    tell = progress or (lambda stage, done, total: None)
    with _without_collector():
        offline = list(_check_offline(registry, listing, wanted, tell))
    problems = offline
    stages = [Stage.OFFLINE]
    left = [file.path for file in listing.files if file.path in wanted and not file.path.startswith(("aliases/", SETTINGS))]
    for stage in (Stage.ONLINE, Stage.WEIGHTS):
        if list(Stage).index(through) < list(Stage).index(stage):
            break
        stages.append(stage)
        wrong = {problem.path for problem in problems if _is_error(problem) and counts(problem.rule)}
        if stage is Stage.WEIGHTS:
            left = [path for path in left if path not in wrong]
        problems += _check_entries(registry, left, stage, tell, wrong=wrong)
    return Report(
        problems=tuple(sorted(_distinct(problem for problem in problems if counts(problem.rule)), key=_order)),
        files=sum(file.path in wanted for file in listing.files),
        stages=tuple(stages),
    )


def _is_error(problem: Problem) -> bool:
    return RULES[problem.rule].severity is Severity.ERROR


def _order(problem: Problem) -> tuple[str, int, int, str, str]:
    return problem.path, problem.place.line, problem.place.column, problem.rule, problem.what


def _distinct(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Leave out what two readers of the same file found at the same place."""
    return iter({(problem.path, problem.place, problem.rule, problem.what): problem for problem in problems}.values())


# --- what is asked for ---------------------------------------------------------------------------------------------------


def _counting(only: Collection[str], skip: Collection[str]) -> Callable[[str], bool]:
    for id in [*only, *skip]:
        find_rule(id)
    return lambda id: (not only or id in only or id in _BARS_OTHERS) and id not in skip


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The files whose problems are wanted.

    Attributes:
        files: Those that were named, and what is in the folders that were; None for all.
    """

    files: frozenset[str] | None

    def __contains__(self, path: str) -> bool:
        return self.files is None or path in self.files

    @classmethod
    def of(cls, registry: Registry, listing: Listing, paths: Collection[str] | None, gone: Collection[str]) -> "_Wanted":
        """Find what was named."""
        if paths is None:
            return cls(None)
        there = {file.path for file in listing.files} | {problem.path for problem in listing.problems} | {SETTINGS}
        files = set(gone)
        for named in paths:
            path = PurePosixPath(named).as_posix()
            inside = {file for file in there if path == "." or file == path or file.startswith(f"{path}/")}
            if not inside and not _is_folder_within(registry, path):
                raise UsageError(
                    f"The registry `{registry.name}` has no file or folder {shown(named)}.",
                    do="Name it relative to the registry, as in `modules/acme/ner.yaml`.",
                )
            files |= inside
        return cls(frozenset(files))


def _is_folder_within(registry: Registry, path: str) -> bool:
    parts = PurePosixPath(path).parts
    within = "\0" not in path and not PurePosixPath(path).is_absolute() and ".." not in parts
    return within and (registry.root / path).is_dir() and not (registry.root / path).is_symlink()


# --- offline -------------------------------------------------------------------------------------------------------------


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the cycle collector from going through all values again and again: nothing that is read has cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _check_offline(registry: Registry, listing: Listing, wanted: _Wanted, tell: Progress) -> Iterator[Problem]:
    yield from (problem for problem in listing.problems if problem.path in wanted)
    there = {file.path for file in listing.files} | {problem.path for problem in listing.problems}
    if SETTINGS in wanted and SETTINGS not in there:
        what, do = f"The registry has no `{SETTINGS}`.", "Write one with `format_version: 1` and a `title`."
        yield problem_at_start("no-settings", SETTINGS, what, do=do)
    parts: list[Parts] = []
    for number, file in enumerate(listing.files, start=1):
        try:
            content = _content(registry, file.path)
        except OSError as error:
            parts.append(Parts(path=file.path))
            if file.path in wanted:
                yield _unreadable(file.path, error)
            continue
        read = read_file(file.path, content)
        parts.append(parts_of(read))
        if file.path in wanted:
            yield from _check_file(read, parts[-1], content)
        tell(Stage.OFFLINE, number, len(listing.files))
    findings = [
        finding for finding in check_across(parts) if finding.path in wanted or any(map(wanted.__contains__, finding.others))
    ]
    yield from _placed(registry, findings)


def _content(registry: Registry, path: str) -> bytes:
    with open(f"{registry.root}/{path}", "rb", buffering=0) as file:  # noqa: PTH123 (a path object for each is too slow)
        return file.read()


def _check_file(read: ReadFile, parts: Parts, content: bytes) -> Iterator[Problem]:
    yield from read.problems
    yield from check_texts(read)
    yield from check_layout(read.path, content, read)
    if parts.path.startswith(("modules/", "alignments/")):
        yield from check_alone(read, parts)


def _unreadable(path: str, error: OSError) -> Problem:
    what = f"The file cannot be read: {error.strerror or type(error).__name__}."
    return problem_at_start("unreadable", path, what, do="Correct its permissions.")


def _placed(registry: Registry, findings: Iterable[Finding]) -> Iterator[Problem]:
    """Look up where problems are: the few files that have any are read again."""
    by_path: dict[str, list[Finding]] = {}
    for finding in findings:
        by_path.setdefault(finding.path, []).append(finding)
    for path, found in by_path.items():
        try:
            read = registry.read(path)
        except OSError as error:
            yield _unreadable(path, error)
            continue
        for finding in found:
            yield read.problem(finding.rule, finding.keys, finding.what, do=finding.do, at_key=finding.at_key)


# --- what lies elsewhere -------------------------------------------------------------------------------------------------


def _check_entries(
    registry: Registry, paths: Collection[str], stage: Stage, tell: Progress, *, wrong: Collection[str]
) -> Iterator[Problem]:
    """Run a later stage on entries. What cannot be read as one is in `wrong`, or its errors do not count."""
    for number, path in enumerate(paths, start=1):
        try:
            read = registry.read(path)
        except OSError as error:
            yield _unreadable(path, error)
            continue
        if read.entry is None and path in wrong:
            continue
        if read.entry is None:
            rules = ", ".join(sorted({f"`{problem.rule}`" for problem in read.problems}))
            what = f"The entry breaks rules that do not count here ({rules}), and so was not checked further."
            yield problem_at_start("not-checked", path, what, do="Mend what they say.")
            continue
        yield from _later_checks(registry, stage)(read)
        tell(stage, number, len(paths))


def _later_checks(registry: Registry, stage: Stage) -> Callable[[ReadFile], Iterable[Problem]]:
    if stage is Stage.ONLINE:
        from modxfer.registry.checks.online import check_online

        return partial(check_online, registry=registry)
    from modxfer.registry.checks.weights import check_weights

    return check_weights
