"""What is written down of a training, and writing what was trained: module, card and record in one step."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from safetensors import SafetensorError

from modxfer.alignments.files import hash_file
from modxfer.converters.formats import inspect_files, read_module
from modxfer.converters.formats.adapters.configs import CONFIG_FILE
from modxfer.converters.formats.adapters.heads import HEAD_CONFIG_FILE
from modxfer.converters.formats.checks import listing
from modxfer.converters.formats.files import read_json, read_tensors, write_json
from modxfer.converters.formats.needed import MODULE_FILES, TRANSFER
from modxfer.converters.module import Array, ModuleFiles
from modxfer.errors import ArchitectureError, ConversionError, FormatError, ModxferError, TrainingError
from modxfer.paths import staged_folder
from modxfer.registry.card_text import items
from modxfer.registry.locate import LocatedBase, LocatedModule
from modxfer.registry.own_cards import FORMER_CARD
from modxfer.registry.results import add_results, check_results
from modxfer.registry.transfers import FORMAT_VERSION, base_record, read_transfer, seal
from modxfer.training.data.rows import SplitRecord
from modxfer.training.libraries.context import trainable_parts
from modxfer.training.libraries.library import Library
from modxfer.training.settings import TrainingSettings
from modxfer.training.settings import as_json as settings_as_json
from modxfer.training.tally import finite
from modxfer.training.tasks import Task

__all__ = ["FitFacts", "add_results", "trained_record", "write_trained"]

_PACKAGES = ("modxfer", "torch", "transformers", "accelerate")
_SPLITS = ("train", "validation")
_FIT = (
    "steps", "best_step", "best_value", "precision", "device", "micro_batch_size", "accumulation", "processes", "stopped_early"
)  # fmt: skip
_OS_ERROR = re.compile(r"os error (\d+)")


@runtime_checkable
class FitFacts(Protocol):
    """What is written down of how a training went; `Fit` has it all."""

    @property
    def steps(self) -> int:
        """Optimiser steps that were made."""

    @property
    def best_step(self) -> int:
        """The step whose weights were kept."""

    @property
    def best_value(self) -> float:
        """The task's main metric on the validation split at that step."""

    @property
    def curve(self) -> Sequence[tuple[int, float]]:
        """Steps, and that metric at each."""

    @property
    def precision(self) -> str:
        """What it was trained in: "fp32", "bf16" or "fp16"."""

    @property
    def device(self) -> str:
        """Where it was trained."""

    @property
    def micro_batch_size(self) -> int:
        """Examples a forward pass."""

    @property
    def accumulation(self) -> int:
        """Forward passes a step."""

    @property
    def processes(self) -> int:
        """Processes that trained it together."""

    @property
    def stopped_early(self) -> bool:
        """Whether it ended because nothing got better."""


def trained_record(
    *,
    base: LocatedBase,
    task: Task,
    labels: Sequence[str],
    settings: TrainingSettings,
    data: Mapping[str, SplitRecord],
    fit: FitFacts,
    format: str,
    method: str,
    name: str,
    options: Mapping[str, Any] | None = None,
    initial: LocatedModule | None = None,
    results: Sequence[Mapping[str, Any]] = (),
    languages: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Write down a training: no times, so that the same training gives the same bytes.

    A module that was transferred before keeps what its record says of the transfer; what was measured of it before is left to
    its own record.

    Args:
        base: The base model.
        task: The task.
        labels: The labels, in the order of the head's rows; empty for language modelling.
        settings: How it was trained.
        data: Split to where it comes from; "train" and "validation" are written down, what others gave is in `results`.
        fit: How it went.
        format: The format that the module is saved in.
        method: The kind of module.
        name: What to call a new module: its folder's name.
        options: The new module's own settings.
        initial: The module that it began with; None for one at its usual initialisation.
        results: What was measured, one row a measurement.
        languages: The languages that the training data says it is in.
        warnings: What a user of the module should know.

    Returns:
        What `transfer.json` holds, but for what only the saved files say.

    Raises:
        TrainingError: a result is no finite number.
        FormatError: the module that it began with is damaged.
    """
    check_results(results)
    files = inspect_files(initial.folder) if initial is not None else None
    origin = _origin(initial, files) or {"module": {"name": name, "revision": None, "entry": None}, "licence": None}
    return {
        "format_version": FORMAT_VERSION,
        "teacher": {},
        "layers": {},
        "alignment": {},
        "tensors": {},
        "dropped": [],
        "approximated": [],
        "languages": [],
        "datasets": [],
        "versions": {"modxfer": version("modxfer")},
        **origin,
        "student": base_record(base),
        "head": {"task": task.peft_type, "labels": len(labels) or None, **({"names": list(labels)} if labels else {})},
        "warnings": list(dict.fromkeys([*items(origin.get("warnings")), *warnings])),
        "module": {**origin["module"], "format": format, "method": method},
        "training": {
            "task": task.name,
            "init": "default" if initial is None else "module",
            "init_module": _initial_module(initial, files),
            "options": dict(options or {}),
            "settings": settings_as_json(settings),
            "data": {split: data[split].as_json() for split in _SPLITS if split in data},
            "labels": list(labels),
            "languages": list(dict.fromkeys(languages)),
            "fit": {
                **{key: getattr(fit, key) for key in _FIT},
                "best_value": finite(fit.best_value),
                "metric": task.metric,
                "curve": [[step, finite(value)] for step, value in fit.curve],
            },
            "versions": _versions(format),
        },
        "results": [dict(row) for row in results],
    }


def write_trained(
    model: Any,
    library: Library,
    record: Mapping[str, Any],
    base: LocatedBase,
    target: Path,
    *,
    force: bool = False,
) -> dict[str, Any]:
    """Save a module beside its target, read it back as a stranger would, and only then put it in place.

    Args:
        model: The model that was trained.
        library: What trained it.
        record: What `trained_record` gave.
        base: The base model.
        target: The folder to write.
        force: Replace a folder that exists.

    Returns:
        What `transfer.json` holds.

    Raises:
        TrainingError: a value is not finite, or what was saved is not what was trained.
        OutputError: it cannot be written, or the disk is full.
    """
    with staged_folder(target, force=force) as staging:
        _save(model, library, staging)
        _name_base(staging, base)
        files = inspect_files(staging)
        tensors = {key: tensor for name in files.weight_files for key, tensor in read_tensors(staging / name).items()}
        _check_finite(tensors)
        _check_complete(model, tensors)
        _read_back(files, base)
        return seal(staging, _completed(record, files, tensors, model))


def _origin(initial: LocatedModule | None, files: ModuleFiles | None) -> dict[str, Any] | None:
    """Say where the module comes from that a training began with; of a transferred one all that its record says."""
    if initial is None or files is None:
        return None
    record, warnings = _read_record(files.folder)
    if record.get("teacher"):
        return {key: value for key, value in record.items() if key not in ("files", "sha256", FORMER_CARD, "training")}
    return {
        "module": {
            "name": initial.name,
            "revision": initial.revision,
            "entry": initial.registered,
            "module_name": files.name,
            "files": _hashes(files),
        },
        "licence": files.licence,
        "languages": list(files.languages),
        "datasets": list(files.datasets),
        "warnings": warnings,
    }


def _read_record(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Read the record beside a module; one that does not speak of these files is not used, and a warning says so."""
    if not (folder / TRANSFER).is_file():
        return {}, []
    try:
        return read_transfer(folder), []
    except ModxferError:
        return {}, [f"The `{TRANSFER}` of the module that it began with does not fit its files, and was not used."]


def _initial_module(initial: LocatedModule | None, files: ModuleFiles | None) -> dict[str, Any] | None:
    if initial is None or files is None:
        return None
    return {"name": initial.name, "revision": initial.revision, "entry": initial.registered, "files": _hashes(files)}


def _hashes(files: ModuleFiles) -> dict[str, str]:
    return {name: hash_file(files.folder / name) for name in files.weight_files}


def _versions(format: str) -> dict[str, str]:
    """Name the packages that trained it; a format has the name of its library."""
    found = {}
    for package in (*_PACKAGES, format):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _save(model: Any, library: Library, folder: Path) -> None:
    """Let the library save the module, and keep nothing but the module."""
    try:
        library.save(model, folder)
    except SafetensorError as error:  # what the disk says comes wrapped in it
        found = _OS_ERROR.search(str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
    for path in folder.iterdir():
        if path.name not in MODULE_FILES:
            path.unlink()


def _name_base(folder: Path, base: LocatedBase) -> None:
    """Name the base model as others know it: libraries write the folder of this machine that it was loaded from."""
    name = base.reference if base.revision is None else base.name
    for path in (folder / CONFIG_FILE, folder / HEAD_CONFIG_FILE):
        if path.is_file():
            config = read_json(path)
            if "peft_type" in config:
                config |= {"base_model_name_or_path": name, "revision": base.revision}
            else:
                config["model_name"] = name
            write_json(path, config)


def _check_finite(tensors: Mapping[str, Array]) -> None:
    broken = [key for key, tensor in tensors.items() if not np.isfinite(tensor.astype(np.float64)).all()]
    if broken:
        raise TrainingError(
            f"The trained module holds values that are not finite, in {listing(broken)}.",
            do="Train again with a lower `--learning-rate`, or with `--precision fp32`.",
        )


def _check_complete(model: Any, tensors: Mapping[str, Array]) -> None:
    """Find every tensor that was trained among those that were saved, by shape and value: names are the libraries' own."""
    saved = Counter(_mark(tuple(tensor.shape), np.ascontiguousarray(tensor).tobytes()) for tensor in tensors.values())
    trained = {key: _mark_of(parameter) for key, parameter in model.named_parameters() if parameter.requires_grad}
    lost = Counter(trained.values()) - saved
    if lost or not trained:
        names = listing(key for key, mark in trained.items() if mark in lost)
        raise TrainingError(
            f"What was saved lacks {names or 'everything'} of what was trained, so nothing was written.",
            do="Train again; if it stays so, report it with what `modxfer env` prints.",
        )


def _mark_of(parameter: Any) -> str:
    import torch

    plain = parameter.detach().cpu().contiguous()
    return _mark(tuple(plain.shape), plain.reshape(-1).view(torch.uint8).numpy().tobytes())


def _mark(shape: tuple[int, ...], content: bytes) -> str:
    return f"{shape} {hashlib.sha256(content).hexdigest()}"


def _read_back(files: ModuleFiles, base: LocatedBase) -> None:
    """Read the saved module on its base model, as a conversion would."""
    try:
        architecture = base.architecture
        read_module(files, architecture)
    except (ArchitectureError, ConversionError):
        return  # nothing that modxfer converts; that all that was trained is in the files was seen before
    except FormatError as error:
        raise TrainingError(
            f"The trained module does not read back. {error.what}",
            do="Train again; if it stays so, report it with what `modxfer env` prints.",
        ) from error


def _completed(record: Mapping[str, Any], files: ModuleFiles, tensors: Mapping[str, Array], model: Any) -> dict[str, Any]:
    """Add to a record what only the model and its files say."""
    training = record["training"]
    parts = trainable_parts(model)
    counts = {"trainable_parameters": parts.trainable, "total_parameters": parts.total}
    return {
        **record,
        "module": {**record["module"], "format": files.format, "method": files.method, "module_name": files.name},
        "tensors": {**record["tensors"], "saved": len(tensors), "bytes": sum(tensor.nbytes for tensor in tensors.values())},
        "training": {**training, "fit": {**training["fit"], **counts}},
    }
