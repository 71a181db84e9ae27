"""What a module or a base model is, from its configs and the headers of its files: no weights are read."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from modxfer.architectures import Architecture, architecture_from_config, read_config
from modxfer.converters.formats import inspect_files
from modxfer.converters.formats.files import read_headers
from modxfer.converters.formats.reading import PARSERS
from modxfer.converters.module import Array, BaseReference, Module, ModuleFiles, Place, TensorHeader
from modxfer.errors import ConversionError, FormatError, UsageError
from modxfer.paths import home
from modxfer.registry.fingerprints import weight_files
from modxfer.registry.hub import fetch
from modxfer.registry.locate import LocatedBase, locate_base, locate_module
from modxfer.registry.store import Store

_MODULE_CONFIG, _BASE_CONFIG = "adapter_config.json", "config.json"
_DTYPES: Mapping[str, type] = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceReport:
    """One piece of a module.

    Attributes:
        place: Where it sits: stack, layer and role, or the head's part.
        stack: The stack of layers; empty outside the layers.
        layer: Index of the layer; None outside the layers.
        role: The role, or what stands for it.
        method: Its kind.
        reads: The point whose activations it multiplies.
        writes: The point to whose activations it adds.
        tensors: Part to shape.
        scaling: The factor of its update; None for methods that keep none apart.
        size_bytes: Size of its tensors.
    """

    place: str
    stack: str
    layer: int | None
    role: str
    method: str
    reads: str
    writes: str
    tensors: Mapping[str, tuple[int, ...]]
    scaling: float | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleReport:
    """A module.

    Attributes:
        folder: Where it lies.
        format: "peft" or "adapters".
        method: The kind of module.
        name: Its name.
        base: What it says about its base model.
        datasets: The data sets that its card names.
        inner_sizes: LoRA ranks or bottleneck widths, each once; empty where the base model is not at hand.
        scalings: The factors of its updates, each once.
        pieces: Its pieces; empty where the base model is not at hand.
        head: Task of its prediction head; None if it has none, or the base model is not at hand.
        labels: Rows of the head's last layer; None without one.
        unread: Why there are no pieces; empty where there are.
        tensors: The tensors' headers.
        parameters: Number of parameters.
        size_bytes: Size of all tensors.
    """

    folder: Path
    format: str
    method: str
    name: str
    base: BaseReference
    datasets: tuple[str, ...]
    inner_sizes: tuple[int, ...]
    scalings: tuple[float, ...]
    pieces: tuple[PieceReport, ...]
    head: str | None
    labels: int | None
    unread: str
    tensors: tuple[TensorHeader, ...]
    parameters: int
    size_bytes: int

    def as_json(self) -> dict[str, Any]:
        """Give it as plain values.

        Returns:
            JSON values.
        """
        return {"kind": "module", **asdict(self), "folder": str(self.folder)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleReport:
    """One role of a base model's family.

    Attributes:
        stack: The stack of layers; empty outside the layers.
        role: The role.
        path: Its submodule, relative to the layer or to the base model.
        reads: Width of its input in units.
        writes: Width of its output in units.
    """

    stack: str
    role: str
    path: str
    reads: int
    writes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsReport:
    """The files of a base model's weights.

    Attributes:
        files: Their names.
        size_bytes: Size of the files.
        tensors: Number of tensors; None for pickles, which are not opened.
        parameters: Number of parameters; None for pickles.
        dtypes: Dtypes of the tensors, as safetensors writes them.
    """

    files: tuple[str, ...]
    size_bytes: int
    tensors: int | None
    parameters: int | None
    dtypes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseReport:
    """A base model.

    Attributes:
        folder: Where its config lies.
        name: Folder name or Hub id.
        revision: Commit hash; None for a folder.
        family: Its `model_type`.
        attention: Encoder or decoder.
        depths: Stack to number of layers.
        widths: Dimension to width in units.
        roles: The submodules that modules can be put on, and whose inputs and outputs are sites.
        weights: Its weights; None if they are not on this machine.
    """

    folder: Path
    name: str
    revision: str | None
    family: str
    attention: str
    depths: Mapping[str, int]
    widths: Mapping[str, int]
    roles: tuple[RoleReport, ...]
    weights: WeightsReport | None

    def as_json(self) -> dict[str, Any]:
        """Give it as plain values.

        Returns:
            JSON values.
        """
        return {"kind": "base model", **asdict(self), "folder": str(self.folder)}


def inspect(reference: str) -> ModuleReport | BaseReport:
    """Say what a module or a base model is, without reading its weights.

    Args:
        reference: A folder, or a Hub id with an optional `@revision`.

    Returns:
        What it is.

    Raises:
        UsageError: it is neither a folder nor on the Hub.
        FormatError: it is neither a module nor a base model, or one of its files is damaged.
        ModxferError: it is of a method or family that modxfer does not know.
    """
    folder = _configs(reference)
    if (folder / _BASE_CONFIG).is_file() and not (folder / _MODULE_CONFIG).is_file():
        return _report_base(locate_base(reference, memory=Store(home()).hashes))
    if not list(folder.glob(_MODULE_CONFIG)) + list(folder.glob(f"*/{_MODULE_CONFIG}")):
        raise FormatError(
            f"`{reference}` holds no `{_MODULE_CONFIG}` and no `{_BASE_CONFIG}`: it is neither a module nor a base model.",
            do="Name the folder that `save_pretrained` or `save_adapter` wrote.",
        )
    return _report_module(inspect_files(locate_module(reference).folder))


def _configs(reference: str) -> Path:
    """Find a folder, or fetch the configs of a repository and nothing else."""
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise UsageError(f"`{reference}` is a file.", do="Name the folder that holds it.")
    name, _, revision = reference.partition("@")
    patterns = (_BASE_CONFIG, _MODULE_CONFIG, f"*/{_MODULE_CONFIG}")
    return fetch(name, revision=revision or None, patterns=patterns)[0]


def _report_module(files: ModuleFiles) -> ModuleReport:
    module, unread = _sketch(files)
    pieces = tuple(_report_pieces(module)) if module else ()
    scalings = {piece.scaling for piece in pieces if piece.scaling is not None}
    return ModuleReport(
        folder=files.folder,
        format=files.format,
        method=files.method,
        name=files.name,
        base=files.base,
        datasets=files.datasets,
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
    if base is None:
        named = f"its base model `{files.base.name}` is not at hand" if files.base.name else "it names no base model"
        return None, f"Places are unknown: {named}."
    odd = next((header for header in files.tensors if header.dtype not in _DTYPES), None)
    if odd is not None:
        return None, f"Places are unknown: `{odd.key}` is of dtype {odd.dtype}."
    tensors: dict[str, Array] = {
        header.key: np.broadcast_to(np.zeros((), dtype=_DTYPES[header.dtype]), header.shape) for header in files.tensors
    }
    try:
        return PARSERS[files.format](files, tensors, base), ""
    except (FormatError, ConversionError) as error:
        return None, f"Places are unknown: {error.what}"


def _base_at_hand(base: BaseReference) -> Architecture | None:
    """Build the structure of a module's base model, if its config is on this machine."""
    folder = Path(base.name).expanduser() if base.name else None
    if folder is None:
        return None
    if not (folder / _BASE_CONFIG).is_file():
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            cached = try_to_load_from_cache(base.name, _BASE_CONFIG, revision=base.revision)
        except HFValidationError:
            return None
        if not isinstance(cached, str):
            return None
        folder = Path(cached).parent
    return architecture_from_config(read_config(folder), name=base.name)


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
        weights=_report_weights(weight_files(base.folder)),
    )


def _report_weights(files: list[Path]) -> WeightsReport | None:
    if not files:
        return None
    headers = None
    if all(path.suffix == ".safetensors" for path in files):
        headers = [header for path in files for header in read_headers(path)]
    return WeightsReport(
        files=tuple(path.name for path in files),
        size_bytes=sum(path.stat().st_size for path in files),
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
