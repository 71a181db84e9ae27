"""Checking what an entry says of its module against the module's config, the headers of its tensors and its transfer record."""

import math
import re
from collections.abc import Collection, Generator, Iterator, Mapping
from pathlib import PurePosixPath

from modxfer.architectures import Architecture
from modxfer.converters.formats import inspect_files
from modxfer.converters.formats.adapters.configs import CONFIG_FILE
from modxfer.converters.formats.checks import is_hub_id
from modxfer.converters.formats.needed import CARD, needed_files
from modxfer.converters.module import ModuleFiles, TensorHeader
from modxfer.errors import ConversionError, FormatError, HubError
from modxfer.registry.cards import PIPELINES
from modxfer.registry.checks.alone import weights_of
from modxfer.registry.checks.online_asking import OpenedBase, Unchecked, check_size, fetched, is_answer, reason
from modxfer.registry.checks.online_transfers import check_transfer
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import Base, Head, HubSource, ModuleEntry
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import ReadFile
from modxfer.registry.entries.yaml_text import Keys
from modxfer.registry.hub.headers import remote_headers
from modxfer.registry.hub.repositories import Repository
from modxfer.registry.inspection import report_module, sketch_module
from modxfer.registry.reports import ModuleReport

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SKIP = "Leave this rule out with `--skip not-checked`, or the module; modxfer cannot look into it."
_TOGETHER = "Pin files that belong together, and name the base model that they were trained on."
_TOLERANCE = 1e-4  # of a scaling, which an entry may round


def check_module(
    read: ReadFile,
    entry: ModuleEntry,
    source: HubSource,
    repository: Repository,
    *,
    base: OpenedBase | None,
    registry: Registry | None,
) -> Iterator[Problem]:
    """Check what an entry says of its module.

    Args:
        read: The entry's file.
        entry: The entry.
        source: Its source.
        repository: The repository, at the pinned commit.
        base: The base model; None if it is not at hand, and then tensors and sizes are not looked at.
        registry: The registry that the entry is of; None to leave the lineage's teacher out.

    Yields:
        The problems.
    """
    pinned = pinned_module(source, repository, kind=entry.format)
    if pinned is None:  # some file is not there, which is reported
        return
    folder, paths = pinned
    files = yield from _inspect(read, source, repository, folder=folder, paths=paths)
    if files is not None:
        yield from _check_facts(read, entry, files)
        yield from _check_named_base(read, entry.base, files, base)
        if base is not None and base.architecture is not None:
            weights = file_keys(source, f"{folder}{files.weight_files[0]}")
            yield from _check_tensors(read, entry, files, base.architecture, at=weights)
    yield from check_transfer(read, entry, repository, folder=folder, base=base, registry=registry)


def _inspect(
    read: ReadFile, source: HubSource, repository: Repository, *, folder: str, paths: Collection[str]
) -> Generator[Problem, None, ModuleFiles | None]:
    """Fetch configs and headers; gives what they say, unless they cannot be read."""
    texts = [path for path in paths if not path.endswith(".safetensors")]
    weights = [path for path in paths if path.endswith(".safetensors")]
    check_size(read, repository, texts, at=("source", "files"))
    with fetched(repository, texts) as copies:
        try:
            elsewhere = {PurePosixPath(path).name: read_headers_of(read, source, repository, path) for path in weights}
            return inspect_files(copies, elsewhere=elsewhere)
        except Unchecked as stop:  # the card can be looked at all the same
            yield stop.problem
        except ConversionError as error:
            yield read.problem("not-checked", ("method", "name"), reason(error.what, folder=copies), do=_SKIP)
        except FormatError as error:
            at = file_keys(source, f"{folder}{CONFIG_FILE}")
            what = reason(error.what, folder=copies)
            yield read.problem("module-config", at, what, do="Mend that file, and pin the commit that follows.")
    return None


def _check_tensors(
    read: ReadFile, entry: ModuleEntry, files: ModuleFiles, base: Architecture, *, at: Keys
) -> Iterator[Problem]:
    try:
        module = sketch_module(files, base)
    except ConversionError as error:
        yield read.problem("not-checked", ("method", "name"), reason(error.what), do=_SKIP)
    except (FormatError, ValueError, OverflowError) as error:  # numpy's, for shapes that no array can have
        yield read.problem("tensors", at, reason(getattr(error, "what", f"{error}.")), do=_TOGETHER)
    else:
        yield from _check_sizes(read, entry, report_module(files, module))


def pinned_module(source: HubSource, repository: Repository, *, kind: str) -> tuple[str, tuple[str, ...]] | None:
    """Find the module among the pinned files: the one that is used, whatever else is pinned.

    Args:
        source: The entry's source.
        repository: The repository, at the pinned commit.
        kind: The module's format, as the entry says.

    Returns:
        The folder that it is in, ending in "/" unless it is the root, and the paths of its configs and weights; None if one of
        the pinned files is not there, or they are no module.
    """
    pinned = [file.path for file in source.files]
    found = weights_of(source, kind)  # None for a module of another format than the entry says, which is to be reported
    first = next((path for path in pinned if PurePosixPath(path).name == CONFIG_FILE), None)
    config = first if found is None else f"{found[1]}{CONFIG_FILE}"
    if config is None or any(path not in repository.files for path in pinned):
        return None
    folder = config.removesuffix(CONFIG_FILE)
    inside = [path.removeprefix(folder) for path in pinned if path.startswith(folder)]
    return folder, tuple(f"{folder}{name}" for name in needed_files(inside) if name != CARD)


def file_keys(source: HubSource, path: str) -> Keys:
    """Give the way to a pinned file.

    Args:
        source: The entry's source.
        path: The file's path in the repository.

    Returns:
        The way to its path in the entry; to all files if it is not pinned.
    """
    index = next((index for index, file in enumerate(source.files) if file.path == path), None)
    return ("source", "files") if index is None else ("source", "files", index, "path")


def read_headers_of(read: ReadFile, source: HubSource, repository: Repository, path: str) -> tuple[TensorHeader, ...]:
    """Read the header of a pinned safetensors file by range requests.

    Args:
        read: The entry's file.
        source: The entry's source.
        repository: The repository.
        path: The file.

    Returns:
        The tensors' headers.

    Raises:
        Unchecked: it is no header of such a file.
        HubError: the Hub did not answer.
    """
    try:
        return remote_headers(repository, path) or ()
    except FormatError as error:
        what = reason(error.what)
    except HubError as error:
        if not is_answer(error):
            raise
        what = reason(error.what)
    raise Unchecked(read.problem("tensors", file_keys(source, path), what, do="Save it as safetensors again, and pin that."))


def roles_of(report: ModuleReport) -> tuple[str, ...]:
    """List where a module sits in a layer.

    Args:
        report: The module.

    Returns:
        The places of the pieces of the module's own method, each once, in order of the alphabet; what it trains besides, such
        as biases, normalisations and a head, is not among them.
    """
    return tuple(sorted({piece.role for piece in report.pieces if piece.layer is not None and piece.method == report.method}))


def _check_facts(read: ReadFile, entry: ModuleEntry, files: ModuleFiles) -> Iterator[Problem]:
    if entry.format != files.format:
        what = f"The format is {shown(entry.format)}, and the module's config is one of {shown(files.format)}."
        yield read.problem("module-config", ("format",), what, do=f"Write {shown(files.format)}.")
    if entry.method.name != files.method:
        what = f"The method is {shown(entry.method.name)}, and by the module's config {shown(files.method)}."
        yield read.problem("module-config", ("method", "name"), what, do=f"Write {shown(files.method)}.")
    inner = files.config.get("config")
    said: Mapping[str, object] = {**files.config, **(inner if isinstance(inner, Mapping) else {})}
    for key, value in entry.method.settings.items():
        true = said.get(key, value)
        if isinstance(true, bool | int | float | str | None) and not _same(value, true):
            what = f"The setting `{key}` is {shown(value)}, and by the module's config {shown(true)}."
            yield read.problem("module-config", ("method", "settings", key), what, do=f"Write {shown(true)}.")


def _same(value: object, true: object) -> bool:
    if isinstance(value, bool) or isinstance(true, bool) or not isinstance(value, int | float):
        return value == true and isinstance(value, bool) == isinstance(true, bool)
    return isinstance(true, int | float) and math.isclose(value, true, rel_tol=_TOLERANCE)


def _check_named_base(read: ReadFile, base: Base, files: ModuleFiles, opened: OpenedBase | None) -> Iterator[Problem]:
    """Compare the base model that the module's own files name, unless that is a folder of the machine that trained it."""
    named = files.base
    known = [base.name, opened.located.name] if opened is not None else [base.name]
    if is_hub_id(named.name) and not any(may_be_same(named.name, name) for name in known):
        what = f"The base model is {shown(base.name)}, and the module's own files name {shown(named.name)}."
        yield read.problem("module-config", ("base", "name"), what, do="Name the base model that it was trained on.")
    elif named.revision is not None and base.revision not in (None, named.revision) and _COMMIT.fullmatch(named.revision):
        what = f"The base model is pinned at another commit than the module's config names, {shown(named.revision)}."
        yield read.problem("module-config", ("base", "revision"), what, do="Pin the commit that it was trained on.")


def may_be_same(name: str, other: str) -> bool:
    """Say whether two names can be of one repository: case does not count, and old names have no namespace.

    Args:
        name: A Hub id.
        other: Another one.

    Returns:
        Whether that is so.
    """
    one, two = name.lower(), other.lower()
    if ("/" in one) != ("/" in two):
        return one.rpartition("/")[2] == two.rpartition("/")[2]
    return one == two


def _check_sizes(read: ReadFile, entry: ModuleEntry, report: ModuleReport) -> Iterator[Problem]:
    method = entry.method
    lists: Mapping[str, tuple[Collection[object], Collection[object]]] = {
        "inner_sizes": (method.inner_sizes, report.inner_sizes),
        "roles": (method.roles, roles_of(report)),
    }
    for key, (said, true) in lists.items():
        if said and set(said) != set(true):
            yield _other(read, key, said, true)
    scalings = sorted(method.scalings)
    if scalings and not _are_close(scalings, sorted(report.scalings)):
        yield _other(read, "scalings", scalings, report.scalings)
    if method.parameters is not None and method.parameters != report.parameters:
        what = f"The module has {report.parameters} parameters, and the entry says {method.parameters}."
        yield read.problem("module-config", ("method", "parameters"), what, do=f"Write {report.parameters}.")
    if entry.head is not None:
        yield from _check_head(read, entry.head, report)


def _are_close(said: list[float], true: list[float]) -> bool:
    return len(said) == len(true) and all(
        math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) for one, other in zip(said, true, strict=True)
    )


def _other(read: ReadFile, key: str, said: Collection[object], true: Collection[object]) -> Problem:
    ours, theirs = (
        ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values) for values in (said, true)
    )
    what = f"`{key}` is {shown(ours)}, and by the module's config and tensors {shown(theirs) if true else 'there are none'}."
    return read.problem("module-config", ("method", key), what, do=f"Write {shown(theirs)}." if true else "Take it out.")


def _check_head(read: ReadFile, head: Head, report: ModuleReport) -> Iterator[Problem]:
    if report.head is None:
        what = "The entry names a head, and no head comes with the module."
        yield read.problem("module-config", ("head",), what, do="Take `head` out.", at_key=True)
        return
    names = {report.head, PIPELINES.get(report.head, report.head)}
    if head.task not in names:
        what = f"The head's task is {shown(head.task)}, and by the module {shown(report.head)}."
        yield read.problem("module-config", ("head", "task"), what, do=f"Write {shown(report.head)}.")
    if head.labels is not None and head.labels != report.labels:
        what = f"The head has {head.labels} labels, and by its tensors {report.labels}."
        yield read.problem("module-config", ("head", "labels"), what, do=f"Write {report.labels}.")
