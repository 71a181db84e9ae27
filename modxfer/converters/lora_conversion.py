"""Modules that `peft` turns into LoRA before they are moved: LoHa, LoKr, VeRA and the others of `CONVERTIBLE`.

Their tensors say nothing of a base model's units, but what they add to a weight does. peft loads them on the teacher, whose
weights that takes, and makes a LoRA of every update; what this loses is measured on what the layers compute.

Source: peft 0.21, `convert_to_lora` in `tuners/lora/conversion.py`.
"""

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float64

from modxfer.architectures import Architecture
from modxfer.converters.formats.checks import check_tensor, listing
from modxfer.converters.formats.files import read_headers
from modxfer.converters.formats.peft.convertible import CONVERTIBLE
from modxfer.converters.formats.peft.reading import KEY_PREFIX, parse
from modxfer.converters.formats.peft.targets import shortest_suffixes
from modxfer.converters.formats.pickles import load_tensors, torch_to_numpy
from modxfer.converters.formats.reformatting import PEFT_DEFAULTS
from modxfer.converters.module import Array, Module, ModuleFiles
from modxfer.converters.ranks import EXACT, check_rank
from modxfer.errors import ConversionError, DependencyError, FormatError

if TYPE_CHECKING:
    import torch

__all__ = ["CONVERTIBLE", "ENERGY", "LoraConversion", "convert_to_lora", "is_convertible"]

ENERGY = 0.999
"""Part of an update's squared size that is kept where a LoRA of all of it would be larger than the weight itself."""

_MODEL_CLASSES = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
}
"""`peft`'s task type to the class of `transformers` that the module sits on."""

_KEPT = ("base_model_name_or_path", "revision", "auto_mapping", "task_type", "modules_to_save")
"""Config keys that mean the same for a LoRA."""

_BLOCK = 1024
"""Inputs that a layer is asked for at once, when its update is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConversion:
    """A module as a LoRA.

    Attributes:
        module: The LoRA, on the teacher.
        notes: What was done.
        approximated: What was lost, and how much; empty if nothing was.
    """

    module: Module
    notes: tuple[str, ...] = ()
    approximated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lora:
    """The LoRA of one submodule, with the factor 1."""

    down: Float[np.ndarray, "inner in_"]
    up: Float[np.ndarray, "out inner"]
    error: float

    @property
    def rank(self) -> int:
        return len(self.down)


def is_convertible(files: ModuleFiles) -> bool:
    """Say whether a module has to become a LoRA before it can be moved.

    Args:
        files: What is known of the module from its configs.

    Returns:
        Whether it is of a method in `CONVERTIBLE`.
    """
    return files.format == "peft" and str(files.config.get("peft_type")) in CONVERTIBLE


def convert_to_lora(files: ModuleFiles, teacher: Architecture, *, weights: Path, rank: int | None = None) -> LoraConversion:
    """Let `peft` make a LoRA of a module. Runs no model, but loads one.

    Args:
        files: A module for which `is_convertible` holds.
        teacher: The base model that it belongs to.
        weights: The folder with the teacher's weights.
        rank: The largest rank of a LoRA; None for that of the update itself, or, where a LoRA of that rank would be larger
            than the weight, for the smallest that keeps `ENERGY` of it.

    Returns:
        The LoRA, with its error: the norm (Frobenius) of what is missing from an update, relative to the update's.

    Raises:
        FormatError: the module does not fit the teacher, or a file of either is damaged.
        ConversionError: peft cannot make a LoRA of one of its layers, or it trains biases.
        DependencyError: the installed peft makes no LoRA of other methods.
    """
    if rank is not None:
        check_rank(rank)
    if files.config.get("bias", "none") != "none":
        raise ConversionError(
            f"The module says bias={files.config['bias']!r}, and `peft` makes a LoRA only of modules that train no biases.",
            do="Train the module with bias='none', or name another one.",
        )
    tensors = _read(files)
    with _quiet():
        model = _load(files, tensors, teacher, weights)
        layers = dict(_layers(model))
        loras = {path: _convert(path, layer, files.method, rank=rank) for path, layer in layers.items()}
        others = [path for path, _ in model.named_modules() if path.startswith(KEY_PREFIX)]
    if not loras:
        raise FormatError(f"The {files.method} sits on no layer of `{teacher.name}`.", do="Name another with `--from`.")
    config = _config(
        files, {path: lora.rank for path, lora in loras.items()}, [path.removeprefix(KEY_PREFIX) for path in others]
    )
    made: dict[str, Array] = {}
    for path, lora in loras.items():  # in float32: rounding them to fewer bits would be a loss
        made[f"{KEY_PREFIX}{path}.lora_A.weight"] = lora.down.astype(np.float32)
        made[f"{KEY_PREFIX}{path}.lora_B.weight"] = lora.up.astype(np.float32)
    made |= {key: torch_to_numpy(key, tensor, files.folder) for key, tensor in tensors.items() if _is_replaced(key, loras)}
    module = parse(replace(files, config=config, method="lora"), made, teacher)
    return LoraConversion(module=module, **_account(files.method, loras))


def _read(files: ModuleFiles) -> "dict[str, torch.Tensor]":
    """Load a module's tensors; some methods store whole numbers beside floating ones."""
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = {}
    for name in files.weight_files:
        path = files.folder / name
        is_safe = path.suffix == ".safetensors" and bool(read_headers(path))  # which looks at them first
        for key, tensor in (load_file(path) if is_safe else load_tensors(path)).items():
            if tensor.is_floating_point():
                check_tensor(key, torch_to_numpy(key, tensor, path), where=f"`{name}`")
            tensors[key] = tensor
    return tensors


def _load(files: ModuleFiles, tensors: "Mapping[str, torch.Tensor]", teacher: Architecture, weights: Path) -> Any:
    """Load the teacher and put the module on it; every tensor must find its place, and every place its tensor."""
    import peft

    model = _load_teacher(files, teacher, weights)
    try:
        model = peft.get_peft_model(model, peft.PeftConfig.from_pretrained(str(files.folder))).eval()
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        raise FormatError(
            f"`peft` cannot put the {files.method} on `{teacher.name}`: {_brief(error)}.",
            do="Name the base model that it was trained on with `--from`.",
        ) from error
    expected = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    needed = {key: tuple(tensor.shape) for key, tensor in expected.items()}
    found = {key: tuple(tensor.shape) for key, tensor in tensors.items() if key in needed or ".original_module" not in key}
    if needed != found:
        odd = {key for key in {*needed, *found} if needed.get(key) != found.get(key)}
        raise FormatError(
            f"The {files.method} and `{teacher.name}` do not agree on {listing(odd)}.",
            do="Name the base model that it was trained on with `--from`, or fetch the module again.",
        )
    peft.set_peft_model_state_dict(model, {key: tensors[key] for key in needed})
    return model


def _load_teacher(files: ModuleFiles, teacher: Architecture, weights: Path) -> Any:
    import torch
    import transformers

    task = str(files.config.get("task_type"))
    output = f"{KEY_PREFIX}{teacher.family.heads.get(task, {}).get('output')}.weight"
    labels = next((header.shape[0] for header in files.tensors if header.key == output and header.shape), None)
    auto_class = getattr(transformers, _class_name(files.config, task))
    try:
        model, report = auto_class.from_pretrained(
            str(weights),
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # the head's rows are the module's
            output_loading_info=True,
            **({} if labels is None else {"num_labels": labels}),
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise FormatError(
            f"The weights of `{teacher.name}` cannot be loaded: {_brief(error)}.",
            do="Name the base model with its weights, in a floating type, with `--from`.",
        ) from error
    prefix = f"{model.base_model_prefix}."
    lost = [
        key for key in [*report["missing_keys"], *(str(key[0]) for key in report["mismatched_keys"])] if "pooler" not in key
    ]
    lost = [key for key in lost if key.startswith(prefix) or model.base_model is model]  # a head is the module's
    if lost:
        raise FormatError(
            f"The weights of `{teacher.name}` lack {listing(lost)}.", do="Fetch the base model again, or name it with `--from`."
        )
    return model


def _class_name(config: Mapping[str, Any], task: str) -> str:
    """Name the class of `transformers` that the module was saved on."""
    import transformers

    classes = config.get("auto_mapping")
    named = str(classes.get("base_model_class")) if isinstance(classes, Mapping) else None
    if named is None:
        return _MODEL_CLASSES.get(task, "AutoModel")
    found = getattr(transformers, named, None)
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise ConversionError(
            f"The module was saved on a `{named}`, which is no model class of `transformers`.",
            do="Save the module again on one that is.",
        )
    return named


def _layers(model: Any) -> Iterator[tuple[str, Any]]:
    """List what a module has put beside submodules, by path in the task model."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer):
            yield name.removeprefix(KEY_PREFIX), layer


def _convert(path: str, layer: Any, method: str, *, rank: int | None) -> _Lora:
    """Make a LoRA of one layer, and measure what it lacks."""
    import torch
    from transformers.pytorch_utils import Conv1D

    if not (layer.supports_lora_conversion() and isinstance(layer.get_base_layer(), torch.nn.Linear | Conv1D)):
        raise ConversionError(
            f"`peft` makes no LoRA of a {method} on `{path}`, a {type(layer.get_base_layer()).__name__}.",
            do="Train the module without it, or name another one.",
        )
    layer.double()
    with torch.no_grad():
        update = _measure(layer)
        down, up = _factors(layer, rank=min(update.shape))
    layer.float()
    kept = _choose(up, update.shape, rank=rank)
    down, up = down[:kept], up[:, :kept]
    size = float(np.linalg.norm(update))
    missing = float(np.linalg.norm(update - up @ down))
    return _Lora(down=down, up=up, error=missing / size if size > 0 else 0.0)


def _measure(layer: Any) -> Float64[np.ndarray, "out in_"]:
    """Find what a layer adds to its weight, from what it puts out for each unit of its input alone."""
    import torch

    base = layer.get_base_layer()
    width = base.in_features if hasattr(base, "in_features") else base.weight.shape[0]  # Conv1D is (in, out)
    units = torch.eye(width, dtype=base.weight.dtype, device=base.weight.device)
    added = [(layer(block) - base(block)).numpy() for block in units.split(_BLOCK)]
    return np.concatenate(added).astype(np.float64).T


def _factors(layer: Any, *, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Let peft make a LoRA of one layer; gives down and up."""
    import peft

    if not hasattr(peft, "convert_to_lora"):
        raise DependencyError(
            f"peft {peft.__version__} makes no LoRA of other methods.", do="Install a newer one: `pip install -U peft`."
        )
    try:
        _, tensors = peft.convert_to_lora(layer, rank=rank)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConversionError(f"`peft` makes no LoRA of this module: {_brief(error)}.", do="Name another module.") from error
    down, up = (next(tensor for key, tensor in tensors.items() if f"lora_{name}." in key) for name in "AB")
    return down.numpy().astype(np.float64), up.numpy().astype(np.float64)


def _choose(up: Float64[np.ndarray, "out inner"], shape: Sequence[int], *, rank: int | None) -> int:
    """Choose how many of peft's inner units to keep.

    They come by size, largest first, unless a method has factors of its own, of which peft gives fewer than were asked for.
    """
    height, width = shape
    if up.shape[1] < min(shape):
        return int(up.shape[1])
    values = np.linalg.norm(up, axis=0)
    noise = values.max(initial=0.0) * max(shape) * np.finfo(np.float32).eps  # as in NumPy's matrix_rank
    own = max(int(np.sum(values > noise)), 1)
    if rank is not None:
        return min(rank, own)
    if own * (height + width) < height * width:
        return own
    energy = np.cumsum(np.square(values))
    return int(np.searchsorted(energy, ENERGY * energy[-1])) + 1


def _config(files: ModuleFiles, ranks: Mapping[str, int], paths: Sequence[str]) -> dict[str, Any]:
    """Write the config of the LoRA."""
    rank = max(Counter(ranks.values()).items(), key=lambda item: (item[1], item[0]))[0]
    odd = {path: own for path, own in sorted(ranks.items()) if own != rank}
    inside = tuple(f"{path}." for path in ranks)
    others = {path for path in paths if path not in ranks and not path.startswith(inside)}
    return {
        **PEFT_DEFAULTS,
        **{key: files.config.get(key) for key in _KEPT},
        "target_modules": shortest_suffixes(ranks, others),
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": odd,
        "alpha_pattern": odd,
    }


def _is_replaced(key: str, loras: Mapping[str, _Lora]) -> bool:
    """Say whether a tensor is one that the module replaces, and none of the method's own."""
    path, _, part = key.removeprefix(KEY_PREFIX).rpartition(".")
    is_own = not key.startswith(KEY_PREFIX) or any(f"{path}.".startswith(f"{owner}.") for owner in loras)
    return not is_own and part in ("weight", "bias")


def _account(method: str, loras: Mapping[str, _Lora]) -> dict[str, tuple[str, ...]]:
    """Say what was made, and what it lacks."""
    ranks = sorted({lora.rank for lora in loras.values()})
    span = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    worst, error = max(((path, lora.error) for path, lora in loras.items()), key=lambda item: item[1])
    mean = float(np.mean([lora.error for lora in loras.values()]))
    notes = (f"{method}: `peft` made a LoRA of {span} of it",)
    if error < 10 * EXACT:  # peft's own arithmetic is that of float32
        return {"notes": notes, "approximated": ()}
    lost = (
        f"{method}: as LoRAs of {span} its updates lack {mean:.2%} of their size on average, {error:.2%} at worst (`{worst}`)"
    )
    return {"notes": notes, "approximated": (lost,)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries from writing to the terminal, and what they draw from changing what is drawn elsewhere."""
    import torch
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _brief(error: Exception) -> str:
    text = " ".join(str(error).replace("`", "'").split()).rstrip(".")
    return text if len(text) <= 300 else text[:297] + "..."
