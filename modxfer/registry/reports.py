"""What `inspect` says of a module or a base model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modxfer.converters.module import BaseReference, TensorHeader


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
        folder: Where it lies; of one on the Hub, where its configs lie.
        repository: The Hub id; None for a folder that did not come from the Hub.
        revision: Commit hash; None for such a folder.
        format: "peft" or "adapters".
        method: The kind of module.
        name: Its name.
        base: What it says about its base model.
        datasets: The data sets that its card names.
        languages: The languages that its card names.
        licence: The licence that its card names; None if it names none.
        inner_sizes: LoRA ranks or bottleneck widths, each once; empty where the base model is not at hand.
        scalings: The factors of its updates, each once.
        pieces: Its pieces; empty where the base model is not at hand.
        head: Task of its prediction head; None if it has none, or the base model is not at hand.
        labels: Rows of the head's last layer; None without one.
        unread: Why there are no pieces; empty where there are.
        tensors: The tensors' headers.
        parameters: Number of parameters.
        size_bytes: Size of all tensors.
        training: How it was trained, as modxfer's record beside it says; empty if it was not, or there is none.
        results: What this record says was measured, one row a measurement.
    """

    folder: Path
    repository: str | None
    revision: str | None
    format: str
    method: str
    name: str
    base: BaseReference
    datasets: tuple[str, ...]
    languages: tuple[str, ...]
    licence: str | None
    inner_sizes: tuple[int, ...]
    scalings: tuple[float, ...]
    pieces: tuple[PieceReport, ...]
    head: str | None
    labels: int | None
    unread: str
    tensors: tuple[TensorHeader, ...]
    parameters: int
    size_bytes: int
    training: Mapping[str, Any] = field(default_factory=dict)
    results: tuple[Mapping[str, Any], ...] = ()

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
        inferred: Whether the table lacks its family, so that its roles were read off its submodules.
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
    inferred: bool = False

    def as_json(self) -> dict[str, Any]:
        """Give it as plain values.

        Returns:
            JSON values.
        """
        return {"kind": "base model", **asdict(self), "folder": str(self.folder)}
