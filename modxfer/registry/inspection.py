"""What a module or a base model is, from its configs and the headers of its files: no weights are read."""

import logging
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import ml_dtypes
import numpy as np

from modxfer.alignments.files import RECORD
from modxfer.architectures import Architecture
from modxfer.converters.formats import inspect_files
from modxfer.converters.formats.files import read_headers, read_json
from modxfer.converters.formats.needed import TRANSFER, needed_files
from modxfer.converters.formats.reading import PARSERS
from modxfer.converters.module import Array, BaseReference, Module, ModuleFiles, Place, TensorHeader
from modxfer.errors import ConversionError, FormatError, ModxferError
from modxfer.paths import home, is_folder
from modxfer.registry.card_results import result_rows
from modxfer.registry.card_training import training_of
from modxfer.registry.entries.references import is_registered, open_registered, resolve
from modxfer.registry.fingerprints import choose_weights, weight_files
from modxfer.registry.hub.headers import remote_headers
from modxfer.registry.hub.repositories import Repository, open_repository
from modxfer.registry.locate import LocatedBase, choose_files, list_paths, locate_base, locate_module
from modxfer.registry.reports import BaseReport, ModuleReport, PieceReport, RoleReport, WeightsReport
from modxfer.registry.store import Store

logger = logging.getLogger(__name__)

_MODULE_CONFIG, _BASE_CONFIG = "adapter_config.json", "config.json"
_DTYPES: Mapping[str, type] = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


def inspect(reference: str, *, registry: str | None = None) -> ModuleReport | BaseReport:
    """Say what a module or a base model is, without reading its weights: of one on the Hub, only headers are asked for.

    Args:
        reference: A folder, a Hub id with an optional `@revision`, or `registry:` with the id of a module's entry.
        registry: The registry that has the entry; None for what `MODXFER_REGISTRY` names.

    Returns:
        What it is.

    Raises:
        UsageError: it is neither a folder nor on the Hub, or no registry is named.
        FormatError: it is neither a module nor a base model, or one of its files is damaged.
        EntryError: there is no such entry, or its files are not what it pins.
        HubError: the Hub refuses or cannot be reached.
        ModxferError: it is of a method or family that modxfer does not know.
    """
    if is_registered(reference):
        return _report_registered(reference, registry)
    paths = list_paths(reference)
    _check_known(paths, reference)
    if not needed_files(paths):
        return _report_base(locate_base(reference, memory=Store(home()).hashes))
    if not is_folder(reference):
        return _report_remote_module(open_repository(reference))
    located = locate_module(reference)
    return _report_module(
        inspect_files(located.folder), name=located.name if located.revision else None, revision=located.revision
    )


def _check_known(paths: Collection[str], reference: str) -> None:
    """Refuse what holds neither a module's nor a base model's config."""
    if RECORD in paths:
        raise FormatError(f"`{reference}` is an alignment map.", do=f"See it with `modxfer align show {reference}`.")
    if not needed_files(paths) and _BASE_CONFIG not in paths:
        raise FormatError(
            f"`{reference}` holds no `{_MODULE_CONFIG}` and no `{_BASE_CONFIG}`: it is neither a module nor a base model.",
            do="Name what `save_pretrained` or `save_adapter` wrote.",
        )


def _report_registered(reference: str, registry: str | None) -> ModuleReport:
    """Hold against the entry what is fetched, and of the weights what the Hub says; where it says no hash, they are fetched."""
    from modxfer.registry.entries.models import AlignmentEntry  # takes a while to import

    entry = resolve(reference, registry)
    if isinstance(entry, AlignmentEntry):
        raise FormatError(f"`{reference}` is an alignment map.", do=f"See it with `modxfer align show {reference}`.")
    found = open_registered(entry)
    needed = choose_files(found.repository)
    found.check(needed)
    is_told = {path: found.repository.files[path].sha256 is not None for path in needed}
    found.fetch([path for path in needed if not _is_weights(path) or not is_told[path]])
    return _report_remote_module(found.repository)


def _is_weights(path: str) -> bool:
    return PurePosixPath(path).suffix in (".safetensors", ".bin")


def _report_remote_module(repository: Repository) -> ModuleReport:
    """Fetch configs, card and modxfer's record, and the headers alone of the weights."""
    needed = needed_files(repository.files)
    weights = {path for path in needed if _is_weights(path)}
    records = [TRANSFER] if TRANSFER in repository.files else []
    beside = [*(path for path in needed if path not in weights), *records]
    folder = repository.fetch(beside or needed)  # a module can be a pickle and nothing else
    elsewhere = {PurePosixPath(path).name: remote_headers(repository, path) for path in weights}
    return _report_module(inspect_files(folder, elsewhere=elsewhere), name=repository.name, revision=repository.commit)


def _report_module(files: ModuleFiles, *, name: str | None, revision: str | None) -> ModuleReport:
    module, unread = _sketch(files)
    report = report_module(files, module, unread=unread, name=name, revision=revision)
    return replace(report, **_recorded(files.folder))


def _recorded(folder: Path) -> dict[str, Any]:
    """Read what modxfer's record says of training and results; one that cannot be read says nothing."""
    if not (folder / TRANSFER).is_file():
        return {}
    try:
        record = read_json(folder / TRANSFER)
    except FormatError as error:
        logger.warning("%s", error.what)
        return {}
    return {"training": dict(training_of(record)), "results": tuple(map(dict, result_rows(record)))}


def report_module(
    files: ModuleFiles,
    module: Module | None,
    *,
    unread: str = "",
    name: str | None = None,
    revision: str | None = None,
) -> ModuleReport:
    """Say what a module is.

    Args:
        files: What its configs and headers say.
        module: Its pieces, as `sketch_module` or `read_module` gives them; None where they are not known.
        unread: Why they are not.
        name: The Hub id; None for a folder that did not come from the Hub.
        revision: Commit hash; None for such a folder.

    Returns:
        What it is.
    """
    pieces = tuple(_report_pieces(module)) if module else ()
    scalings = {piece.scaling for piece in pieces if piece.scaling is not None}
    return ModuleReport(
        folder=files.folder,
        repository=name,
        revision=revision,
        format=files.format,
        method=files.method,
        name=files.name,
        base=files.base,
        datasets=files.datasets,
        languages=files.languages,
        licence=files.licence,
        inner_sizes=_inner_sizes(module) if module else (),
        scalings=tuple(sorted(scalings)),
        pieces=pieces,
        head=module.head.task if module and module.head else None,
        labels=_labels(module) if module else None,
        unread=unread,
        tensors=files.tensors,
        parameters=sum(math.prod(header.shape) for header in files.tensors),
        size_bytes=sum(header_bytes(header) for header in files.tensors),
    )


def _sketch(files: ModuleFiles) -> tuple[Module | None, str]:
    """Read a module with empty tensors of the right shapes, or say why that cannot be done."""
    base = _base_at_hand(files.base)
    if not files.tensors:
        return None, f"Places are unknown: `{files.weight_files[0]}` is a pickle, and is not looked at from afar."
    if base is None:
        named = f"its base model `{files.base.name}` is not at hand" if files.base.name else "it names no base model"
        return None, f"Places are unknown: {named}."
    try:
        return sketch_module(files, base), ""
    except (FormatError, ConversionError) as error:
        return None, f"Places are unknown: {error.what}"


def sketch_module(files: ModuleFiles, base: Architecture) -> Module:
    """Read a module with empty tensors of the right shapes.

    Args:
        files: What its configs and headers say.
        base: The base model that it belongs to.

    Returns:
        The module. Its tensors are zero, and take no memory.

    Raises:
        FormatError: names or shapes are not those that its config and the base model ask for, or a dtype is none of a module.
        ConversionError: the module trains something that modxfer does not move.
    """
    odd = next((header for header in files.tensors if header.dtype not in _DTYPES), None)
    if odd is not None:
        raise FormatError(f"`{odd.key}` is of dtype {odd.dtype}.", do=f"Save the module again, in one of {', '.join(_DTYPES)}.")
    tensors: dict[str, Array] = {
        header.key: np.broadcast_to(np.zeros((), dtype=_DTYPES[header.dtype]), header.shape) for header in files.tensors
    }
    return PARSERS[files.format](files, tensors, base)


def _base_at_hand(base: BaseReference) -> Architecture | None:
    """Build the structure of a module's base model, if its config is on this machine or on the Hub."""
    if not base.name:
        return None
    reference = base.name if is_folder(base.name) or base.revision is None else f"{base.name}@{base.revision}"
    try:
        return locate_base(reference, memory=Store(home()).hashes).architecture
    except ModxferError as error:
        logger.info("%s", error)
        return None


def _report_pieces(module: Module) -> list[PieceReport]:
    return [
        PieceReport(
            place=str(place),
            stack=place.stack,
            layer=None if place.is_outside else place.layer,
            role=place.name,
            method=piece.method.name,
            reads=str(piece.route.reads),
            writes=str(piece.route.writes),
            tensors={part: tuple(tensor.shape) for part, tensor in piece.parts.items()},
            scaling=piece.scaling.factor if piece.scaling else None,
            size_bytes=sum(tensor.nbytes for tensor in piece.parts.values()),
        )
        for place, piece in sorted(module.pieces.items(), key=_layers_first)
    ]


def _layers_first(item: tuple[Place, object]) -> tuple[bool, Place]:
    return item[0].is_outside, item[0]


def _inner_sizes(module: Module) -> tuple[int, ...]:
    """List the sizes of the axis between the two parts of an update."""
    return tuple(sorted({len(piece.parts[piece.method.update[0]]) for piece in module.pieces.values() if piece.method.update}))


def _labels(module: Module) -> int | None:
    return next((len(piece.parts["weight"]) for place, piece in module.pieces.items() if place.name == "head.output"), None)


def _report_base(base: LocatedBase) -> BaseReport:
    architecture = base.architecture
    return BaseReport(
        folder=base.folder,
        name=base.name,
        revision=base.revision,
        family=architecture.model_type,
        attention=str(architecture.family.kind),
        depths=architecture.depths,
        widths=architecture.dimensions,
        roles=tuple(
            RoleReport(
                stack=stack,
                role=role,
                path=submodule.path,
                reads=architecture.dimensions[submodule.reads],
                writes=architecture.dimensions[submodule.writes],
            )
            for stack, layer, role, submodule in architecture.roles()
            if not layer
        ),
        weights=_report_remote_weights(base.repository) if base.repository else _report_weights(weight_files(base.folder)),
        inferred=architecture.family.inferred,
    )


def _report_weights(files: list[Path]) -> WeightsReport | None:
    if not files:
        return None
    headers = None
    if all(path.suffix == ".safetensors" for path in files):
        headers = [header for path in files for header in read_headers(path)]
    return _weights_report((path.name for path in files), sum(path.stat().st_size for path in files), headers)


def _report_remote_weights(repository: Repository) -> WeightsReport | None:
    """Ask for the headers of a base model's weights, which are as many requests as there are files."""
    names = choose_weights(repository.files)
    if not names:
        return None
    found = [remote_headers(repository, name) for name in names]
    headers = [header for each in found for header in each or ()] if all(each is not None for each in found) else None
    return _weights_report(names, sum(repository.files[name].size_bytes for name in names), headers)


def _weights_report(names: Iterable[str], size_bytes: int, headers: list[TensorHeader] | None) -> WeightsReport:
    return WeightsReport(
        files=tuple(names),
        size_bytes=size_bytes,
        tensors=None if headers is None else len(headers),
        parameters=None if headers is None else sum(math.prod(header.shape) for header in headers),
        dtypes=tuple(sorted({header.dtype for header in headers or []})),
    )


def header_bytes(header: TensorHeader) -> int:
    """Give the size of a tensor, from its header.

    Args:
        header: The header; its dtype names its bits ("BF16", "int64", "F8_E4M3"), except for booleans.

    Returns:
        The size in bytes.
    """
    bits = re.search(r"\d+", header.dtype)
    return math.prod(header.shape) * (int(bits[0]) // 8 if bits else 1)
