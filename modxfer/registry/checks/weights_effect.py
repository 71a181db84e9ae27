"""Trying a module on its base model: whether the base model's output is another with it.

The base model is loaded by `transformers` from its config and safetensors weights alone, in float32, and run once with the
module and once without on a few token ids; no tokenizer is needed for that. What is compared is what the base model itself
gives, without the module's prediction head, which is another than none in any case.
"""

import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from modxfer.architectures import FAMILIES, architecture_from_config, read_config
from modxfer.converters.module import Module, ModuleFiles
from modxfer.registry.card_loading import PIPELINES, TASK_CLASSES, task_to_load
from modxfer.registry.checks.online_asking import reason
from modxfer.registry.checks.weights_links import link
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import ReadFile
from modxfer.registry.entries.yaml_text import Keys
from modxfer.registry.fingerprints import CONFIG, choose_weights
from modxfer.registry.locate import LocatedBase

_INDEX = "model.safetensors.index.json"
_MOST_TOKENS = 8
_TOLERANCE = 1e-6
"""The change, as a part of the largest output, that counts as one; without a module there is none at all."""

_TIMES_IN_MEMORY = 2
"""Float32 takes twice the bytes of the half precision that most large base models are kept in."""

Outputs = tuple[list[Any], list[Any]]
"""What the base model gives with the module, and without."""


def check_effect(
    read: ReadFile, base: LocatedBase, files: ModuleFiles, module: Module | None, *, at: Keys
) -> Iterator[Problem]:
    """Check that a module loads with its own library, and that its base model gives something else with it.

    Args:
        read: The entry's file.
        base: The base model at its pinned commit; its weights are fetched.
        files: The module, in a folder that holds nothing else.
        module: Its pieces; None if they are not known.
        at: The way to the module's weights.

    Yields:
        The problems.

    Raises:
        HubError: the base model cannot be fetched.
    """
    hindrance = _why_not(read, base, files)
    if hindrance is not None:
        yield hindrance
        return
    with TemporaryDirectory(prefix="modxfer-check-") as folder:
        _fetch_base(base, Path(folder))
        try:
            with _quiet():
                is_other = _is_other(*_RUNNERS[files.format](Path(folder), files, module))
        except Exception as error:  # whatever the libraries raise on files that they were not made for
            said = str(error).strip().partition("\n")[0].rstrip(".")
            what = reason(f"It does not load on {shown(base.name)} ({type(error).__name__}): {said}.", folder=files.folder)
            yield read.problem("not-loadable", at, what, do="Name the base model that it was trained on, or push it again.")
            return
    if not is_other:
        what = f"{shown(base.name)} gives the same output with the module and without it."
        yield read.problem("no-effect", at, what, do="Train the module, or save it again, and pin what comes of it.")


def has_adapters() -> bool:
    """Say whether the library `adapters` is installed.

    Returns:
        Whether it is.
    """
    return (
        sys.modules.get("adapters") is not None or importlib.util.find_spec("adapters") is not None
    )  # imported, it has no spec


def _why_not(read: ReadFile, base: LocatedBase, files: ModuleFiles) -> Problem | None:
    """Report what stands in the way of trying the module."""
    if files.format == "adapters":
        family = FAMILIES.get(_model_type(base))
        if family is not None and not family.in_adapters:
            what = f"`adapters` has no model classes for {shown(_model_type(base))}, so the module was not tried."
            return read.problem("not-checked", ("format",), what, do="Publish the module in the format of `peft`.")
        if not has_adapters():
            what = "The module is in the format of `adapters`, which is not installed, so it was not tried."
            do = "Install it with `pip install 'modxfer[adapters]'`, or leave `--weights` out."
            return read.problem("not-checked", ("format",), what, do=do)
    family = FAMILIES.get(_model_type(base))
    if (files.format == "peft" and files.method in _BEFORE_THE_LAYERS) or (family is not None and family.kind.reads_images):
        what = f"Modules of the method {shown(files.method)} on {shown(_model_type(base))} are not run by this check."
        return read.problem("not-checked", ("method", "name"), what, do="Try the module by hand.")
    there = base.repository.files if base.repository else {}
    weights = choose_weights(there)
    if not weights or not weights[0].endswith(".safetensors"):
        what = f"{shown(base.name)} has no safetensors weights at this commit, so the module was not tried."
        return read.problem(
            "not-checked", ("base", "name"), what, do="Pin a commit of it that has them; pickles are not loaded."
        )
    needed, memory = _TIMES_IN_MEMORY * sum(there[name].size_bytes for name in weights), _memory_bytes()
    if memory is not None and needed > memory:
        what = f"{shown(base.name)} takes up to {needed / 1e9:.0f} GB of memory, and this machine has {memory / 1e9:.0f} GB."
        return read.problem("not-checked", ("base", "name"), what, do="Run this check on a larger machine.")
    return None


def _model_type(base: LocatedBase) -> str:
    return str(read_config(base.folder).get("model_type"))


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not every system says
        return None


def _fetch_base(base: LocatedBase, folder: Path) -> None:
    repository = base.repository
    assert repository is not None  # an entry names no folders
    names = [CONFIG, *choose_weights(repository.files), *([_INDEX] if _INDEX in repository.files else [])]
    for name in names:
        link(repository.fetch([name]) / name, folder / name)


def _run_peft(base: Path, files: ModuleFiles, module: Module | None) -> Outputs:
    import peft
    import torch
    import transformers

    architecture = architecture_from_config(read_config(base), name=str(base)) if module else None
    task = task_to_load(module, architecture) if module and architecture else files.config.get("task_type")
    kind = getattr(transformers, TASK_CLASSES.get(str(task), "AutoModel"))
    model = kind.from_pretrained(str(base), **_loading(), **({"num_labels": _labels(module)} if task in PIPELINES else {}))
    tried = peft.PeftModel.from_pretrained(model, str(files.folder), torch_device="cpu").float().eval()
    inner = tried.get_base_model().base_model
    with torch.no_grad():
        changed = _outputs(inner)
        with tried.disable_adapter():
            return changed, _outputs(inner)


def _labels(module: Module | None) -> int:
    heads = [piece.parts["weight"] for place, piece in (module.pieces if module else {}).items() if place.name == "head.output"]
    return len(heads[0]) if heads else 2


def _run_adapters(base: Path, files: ModuleFiles, module: Module | None) -> Outputs:
    import adapters
    import torch

    model = adapters.AutoAdapterModel.from_pretrained(str(base), **_loading()).float().eval()
    info: dict[str, list[str]] = {}
    name = model.load_adapter(str(files.folder), loading_info=info, use_safetensors=True)
    lost = [*info.get("missing_keys", ()), *info.get("unexpected_keys", ())]
    if lost:
        raise ValueError(f"{lost[0]} is missing, or not expected")
    model.float().eval()
    with torch.no_grad():
        plain = _outputs(model.base_model)
        model.set_active_adapters(name)
        return _outputs(model.base_model), plain


_BEFORE_THE_LAYERS = ("prompt", "prefix")
"""Methods of `peft` whose tensors are no part of the base model that it wraps."""

_RUNNERS: Mapping[str, Callable[[Path, ModuleFiles, Module | None], Outputs]] = {"peft": _run_peft, "adapters": _run_adapters}


def _loading() -> dict[str, Any]:
    import torch

    return {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False, "dtype": torch.float32}


def _outputs(base: Any) -> list[Any]:
    """Run a base model on a few token ids, none of them the padding."""
    import torch

    size, padding = int(base.config.vocab_size), getattr(base.config, "pad_token_id", None)
    ids = [index for index in range(0, size, max(1, size // (_MOST_TOKENS + 1))) if index != padding][:_MOST_TOKENS]
    tokens = torch.tensor([ids])
    more = {"decoder_input_ids": tokens} if getattr(base.config, "is_encoder_decoder", False) else {}
    result = base(input_ids=tokens, **more)
    return [value for value in result.to_tuple() if isinstance(value, torch.Tensor)]


def _is_other(changed: list[Any], plain: list[Any]) -> bool:
    return any(
        float((one - other).abs().max()) > _TOLERANCE * float(other.abs().max())
        for one, other in zip(changed, plain, strict=True)
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries from writing to the terminal, and from changing what others draw at random."""
    import torch
    from transformers.utils import logging as libraries

    level, bars, disabled = libraries.get_verbosity(), libraries.is_progress_bar_enabled(), logging.root.manager.disable
    libraries.set_verbosity_error()
    libraries.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            yield
    finally:
        logging.disable(disabled)
        libraries.set_verbosity(level)
        if bars:
            libraries.enable_progress_bar()
