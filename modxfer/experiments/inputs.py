"""What the cells of a plan read, found and pinned once: base models, data, modules, text to align on."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modxfer.alignments.corpora.hub import parse_id
from modxfer.alignments.corpus import open_corpus
from modxfer.alignments.files import hash_file
from modxfer.alignments.layer_maps import MODES
from modxfer.converters.formats import inspect_files
from modxfer.errors import DataError, ModxferError, UsageError
from modxfer.experiments.plan import Plan
from modxfer.paths import home
from modxfer.registry.fingerprints import weight_files
from modxfer.registry.hub.repositories import resolve_dataset
from modxfer.registry.locate import locate_base, locate_module
from modxfer.registry.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """Something that cells read.

    Attributes:
        reference: What to read: a folder, a file, or a Hub id with its commit.
        fingerprint: Hash of its content, or its commit.
        size_bytes: Size of a base model's weights; 0 for everything else.
    """

    reference: str
    fingerprint: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """All that the cells of a plan read, by what the plan calls it.

    Attributes:
        bases: Base models.
        data: Files, folders and data sets.
        modules: Modules that are there already.
        corpus: Fingerprint of the text to align on; empty where each module's own is taken.
    """

    bases: Mapping[str, Pinned]
    data: Mapping[str, Pinned]
    modules: Mapping[str, Pinned]
    corpus: str

    def pin(self, spec: str | None) -> str | None:
        """Give what to read for what the plan says of some data.

        Args:
            spec: What the plan says.

        Returns:
            The reference; None for None.
        """
        return None if spec is None else self.data[spec].reference


def find_inputs(plan: Plan, *, fetch: bool = True) -> Inputs:
    """Find everything that a plan reads, and fetch the base models' weights, so that no cell has to.

    Args:
        plan: The plan.
        fetch: Whether cells are to be run; else no weights are fetched, and base models have no size.

    Returns:
        All of it.

    Raises:
        UsageError: something is not to be had; everything that is not is told at once.
    """
    problems: list[str] = []
    models = [teacher.model for teacher in plan.teachers] + [student.model for student in plan.students]
    modules = [module for teacher in plan.teachers for module in teacher.modules.values()]
    found = Inputs(
        bases=_each(models, partial(_find_base, fetch=fetch), problems),
        data=_each(_data_specs(plan), _find_data, problems),
        modules=_each(modules, _find_module, problems),
        corpus=_find_corpus(plan, problems),
    )
    problems += _wrong_layers(plan)
    if problems:
        raise UsageError(
            f"The plan `{plan.name}` needs what is not to be had: {' '.join(problems)}",
            do="Correct the plan, and run it again.",
        )
    return found


def _each(specs: list[str], find: Callable[[str], Pinned], problems: list[str]) -> dict[str, Pinned]:
    found = {}
    for spec in dict.fromkeys(specs):
        try:
            found[spec] = find(spec)
        except ModxferError as error:
            problems.append(error.what)
    return found


def _data_specs(plan: Plan) -> list[str]:
    each = [data for task in plan.tasks for data in task.languages.values()]
    return [spec for data in each for spec in (data.train, data.validation, data.test) if spec is not None]


def _find_base(spec: str, *, fetch: bool) -> Pinned:
    base = locate_base(spec, memory=Store(home()).hashes)
    files = weight_files(base.with_weights().folder) if fetch else []
    return Pinned(
        reference=str(base.folder.resolve()) if base.revision is None else f"{base.name}@{base.revision}",
        fingerprint=f"{base.record.fingerprint}:{base.text_reading}",
        size_bytes=sum(path.stat().st_size for path in files),
    )


def _find_module(spec: str) -> Pinned:
    located = locate_module(spec)
    if located.revision is not None and not Path(spec).expanduser().is_dir():
        return Pinned(reference=f"{located.name}@{located.revision}", fingerprint=located.revision)
    files = inspect_files(located.folder)
    names = [*files.weight_files, "adapter_config.json", "head_config.json"]
    paths = [located.folder / name for name in names if (located.folder / name).is_file()]
    return Pinned(reference=str(located.folder.resolve()), fingerprint=_hash_files(paths))


def _find_data(spec: str) -> Pinned:
    path = Path(spec).expanduser()
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError):  # a name that is too long, say
        is_file = is_folder = False
    if is_file or is_folder:
        paths = [path] if is_file else sorted(item for item in path.rglob("*") if item.is_file())
        return Pinned(reference=str(path.resolve()), fingerprint=_hash_files(paths))
    dataset = parse_id(spec)
    if dataset is None or spec.startswith(("/", ".", "~")):
        raise DataError(f"There is no data `{spec[:200]}`: no such file or folder.", do="Check the path.")
    commit = resolve_dataset(dataset.name, dataset.revision)  # a branch moves on
    config = f":{dataset.config}" if dataset.config else ""
    return Pinned(reference=f"{dataset.name}{config}@{commit}", fingerprint=commit)


def _find_corpus(plan: Plan, problems: list[str]) -> str:
    if plan.alignment.corpus is None:
        return ""
    try:
        return open_corpus(plan.alignment.corpus).fingerprint
    except ModxferError as error:
        problems.append(error.what)
        return ""


def _wrong_layers(plan: Plan) -> Iterator[str]:
    """Tell of layer maps that no pair of models could take; what a list or file has to hold is known with the models only."""
    for layers in dict.fromkeys((*plan.transfers.layers, *plan.control_layers)):
        is_list = layers.replace(",", "").replace(" ", "").isdecimal()
        if layers not in MODES and not is_list and not Path(layers).is_file():
            yield f"There is no layer map `{layers[:200]}` (there are {', '.join(MODES)}, lists of layers, and files)."


def _hash_files(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{hash_file(path)}\n".encode())
    return digest.hexdigest()


def largest_base(inputs: Inputs) -> int:
    """Say how large the largest base model is.

    Args:
        inputs: What the cells read.

    Returns:
        Size of its weights, in bytes.
    """
    return max(base.size_bytes for base in inputs.bases.values())
