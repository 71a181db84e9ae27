"""The checks of an entry that read weights: they are fetched, held against their hashes, read, and tried on the base model.

Nothing that is fetched can run code here: of modules and maps only the pinned files are opened, which are no pickles, of base
models only safetensors, and `trust_remote_code` is never set. What is not what was pinned is not opened at all. An archive
outside the Hub is not fetched.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from modxfer.alignments.alignment_map import ARRAYS, AlignmentMap, SitePair
from modxfer.alignments.files import RECORD, TENSORS, read_alignment
from modxfer.architectures import FAMILIES, Architecture
from modxfer.converters.formats import inspect_files
from modxfer.converters.formats.adapters.configs import CONFIG_FILE
from modxfer.converters.formats.checks import listing
from modxfer.converters.formats.files import read_tensors
from modxfer.converters.formats.reading import PARSERS
from modxfer.converters.module import Array, Module, ModuleFiles
from modxfer.errors import ArchitectureError, ConversionError, FormatError, HubError
from modxfer.paths import home
from modxfer.registry.checks.alone import weights_of
from modxfer.registry.checks.online_asking import Unchecked, open_base, open_source, reason, unanswered, whole
from modxfer.registry.checks.online_maps import pinned_map
from modxfer.registry.checks.online_modules import file_keys
from modxfer.registry.checks.weights_effect import check_effect
from modxfer.registry.checks.weights_links import link
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.models import AlignmentEntry, Base, HubSource, ModuleEntry
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import ReadFile
from modxfer.registry.entries.yaml_text import Keys
from modxfer.registry.fingerprints import remembered_hash
from modxfer.registry.hub.repositories import Repository
from modxfer.registry.locate import LocatedBase

_TRAIN = "Train the module again, and pin what comes of it."
_PUSH = "Push it again, and pin the commit that follows."
_LARGEST_CORRELATION = 1.001  # rounding in float32 can carry one a little over 1


def check_weights(read: ReadFile) -> Iterator[Problem]:
    """Check the weights of an entry.

    Args:
        read: The entry's file, with which nothing is wrong offline and online; files that are no entries have nothing to check.

    Yields:
        The problems. A module is run on its base model only if nothing else is wrong.
    """
    entry = read.entry
    if entry is None or not isinstance(entry.source, HubSource):
        return
    try:
        repository = open_source(read, entry.source)
        with TemporaryDirectory(prefix="modxfer-check-") as folder:
            is_right = yield from _fetch(read, entry.source, repository, Path(folder))
            if not is_right:
                return
            if isinstance(entry, AlignmentEntry):
                yield from _check_map(read, entry, repository, Path(folder))
            else:
                yield from _check_module(read, entry, entry.source, Path(folder))
    except Unchecked as stop:
        yield stop.problem
    except HubError as error:
        yield unanswered(read, error, ("source", "repository"))


def _fetch(read: ReadFile, source: HubSource, repository: Repository, folder: Path) -> Generator[Problem, None, bool]:
    """Fetch the pinned files into a folder that holds nothing else; gives whether they are what was pinned."""
    is_right = True
    for index, pinned in enumerate(source.files):
        if pinned.path not in repository.files:
            what = f"{shown(source.repository)} has no file {shown(pinned.path)} at this commit."
            yield read.problem("file-changed", file_keys(source, pinned.path), what, do="Pin a commit that has it.")
            is_right = False
            continue
        fetched = repository.fetch([pinned.path]) / pinned.path
        true = remembered_hash(fetched, memory=home() / "hashes")
        if true != pinned.sha256:
            what = f"{shown(pinned.path)} has the sha256 {true} at this commit, not the pinned one."
            at = ("source", "files", index, "sha256")
            yield read.problem("file-changed", at, what, do="Look at it again, then write that sha256.")
            is_right = False
        link(fetched, folder / pinned.path)
    return is_right


def _check_module(read: ReadFile, entry: ModuleEntry, source: HubSource, root: Path) -> Iterator[Problem]:
    found = weights_of(source, entry.format)
    config = f"{found[1] if found else ''}{CONFIG_FILE}"
    folder = (root / config).parent
    try:
        files = inspect_files(folder)
    except (FormatError, ConversionError) as error:
        yield read.problem("not-loadable", file_keys(source, config), reason(error.what, folder=folder), do=_PUSH)
        return
    is_sound, tensors = True, {}
    for name in files.weight_files:
        at = file_keys(source, (folder / name).relative_to(root).as_posix())
        try:
            tensors[name] = read_tensors(folder / name)
        except FormatError as error:
            yield read.problem("not-loadable", at, reason(error.what, folder=folder), do=_PUSH)
            return
        for problem in _check_numbers(read, at, tensors[name]):
            is_sound = False
            yield problem
    if not is_sound:
        return
    at = file_keys(source, (folder / files.weight_files[0]).relative_to(root).as_posix())
    base = open_base(read, entry.base, ("base",))
    try:
        module = _parse(files, {key: tensor for each in tensors.values() for key, tensor in each.items()}, base)
    except (FormatError, ConversionError, ArchitectureError) as error:
        yield read.problem(
            "not-loadable", at, reason(error.what), do="Name the base model that it was trained on, or push it again."
        )
        return
    yield from check_effect(read, base, files, module, at=at)


def _parse(files: ModuleFiles, tensors: Mapping[str, Array], base: LocatedBase) -> Module | None:
    """Read a module as a conversion would; None if its base model is of a family that modxfer does not know."""
    try:
        architecture = base.architecture
    except ArchitectureError:
        return None
    return PARSERS[files.format](files, tensors, architecture)


def _check_numbers(read: ReadFile, at: Keys, tensors: Mapping[str, Array]) -> Iterator[Problem]:
    """Look for values that are not finite, and for matrices of nothing but zeros: biases may be zero, what training begins with
    may not (a new LoRA's `up` is)."""
    bad = [key for key, tensor in tensors.items() if not np.isfinite(tensor).all()]
    if bad:
        yield read.problem("not-finite", at, f"{_listed(bad)} {_holds(bad)} values that are not finite.", do=_TRAIN)
    zero = [key for key, tensor in tensors.items() if tensor.ndim > 1 and not tensor.any()]
    if zero:
        yield read.problem("all-zero", at, f"{_listed(zero)} {_holds(zero)} nothing but zeros.", do=_TRAIN)


def _check_map(read: ReadFile, entry: AlignmentEntry, repository: Repository, root: Path) -> Iterator[Problem]:
    paths = pinned_map(entry, repository) or {RECORD: RECORD, TENSORS: TENSORS}
    folder, at = (root / paths[RECORD]).parent, file_keys(entry.source, paths[TENSORS])
    try:
        alignment = read_alignment(folder)
        faults = _map_faults(alignment, _structure(entry.teacher))
    except FormatError as error:
        yield read.problem("not-loadable", at, reason(error.what, folder=folder), do=_PUSH)
        return
    says = {
        "not-finite": "{} {} values that are not finite.",
        "all-zero": "{} {} no unit of the teacher at all.",
        "not-loadable": "{} {} values that cannot be: an index of no unit, or a correlation beyond 1.",
    }
    for rule, text in says.items():
        if keys := faults[rule]:
            do = "Compute the map again, and push that."
            yield read.problem(rule, at, text.format(_listed(keys), _holds(keys)), do=do)


def _map_faults(alignment: AlignmentMap, teacher: Architecture | None) -> dict[str, list[str]]:
    """Find the arrays of a map that break a rule; each is read once."""
    faults: dict[str, list[str]] = {"not-finite": [], "all-zero": [], "not-loadable": []}
    for pair in alignment.maps:
        site_map = alignment.maps[pair]
        for name in ARRAYS:
            array = getattr(site_map, name)
            rule = _fault_of(name, array, _units(teacher, pair)) if array is not None else None
            if rule is not None:
                faults[rule].append(f"{pair}/{name}")
    return faults


def _fault_of(name: str, array: Array, units: float) -> str | None:
    if not np.isfinite(array).all():
        return "not-finite"
    if name == "assignment":
        if array.size and (array.min() < -1 or array.max() >= units):
            return "not-loadable"
        return "all-zero" if (array == -1).all() else None
    if name == "correlation":
        return "not-loadable" if np.abs(array).max(initial=0) > _LARGEST_CORRELATION else None
    return "all-zero" if name in ("reading", "writing") and not array.any() else None


def _units(teacher: Architecture | None, pair: SitePair) -> float:
    try:
        return float("inf") if teacher is None else float(teacher.width(pair.teacher))
    except (ArchitectureError, KeyError):
        return float("inf")


def _structure(base: Base) -> Architecture | None:
    """Build a base model's structure from what the entry says, which the online checks have compared with its config."""
    family = FAMILIES.get(base.family)
    if family is None:
        return None
    return Architecture(name=base.name, model_type=base.family, family=family, dimensions=base.widths, depths=base.depths)


def _listed(keys: Iterable[str]) -> str:
    return listing((whole(key)[1:-1] for key in keys), most=3)


def _holds(keys: list[str]) -> str:
    return "holds" if len(keys) == 1 else "hold"
