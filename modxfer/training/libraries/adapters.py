"""Bottleneck adapters, trained with `adapters`; it loads its LoRAs as well. Runs models."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modxfer.converters.formats import inspect_files
from modxfer.converters.formats.adapters.bottleneck import reduction_factor
from modxfer.converters.module import ModuleFiles
from modxfer.errors import FormatError, UsageError
from modxfer.training.libraries.context import quiet, seeded
from modxfer.training.libraries.fitting_tensors import refuse_missing
from modxfer.training.libraries.heads import check_count, head_labels
from modxfer.training.libraries.library import Wanted
from modxfer.training.libraries.methods import method_options
from modxfer.training.libraries.task_models import (
    base_name,
    base_of,
    brief,
    check_weights,
    load_base,
    load_task_model,
    remember_base,
)

NAME = "modxfer"
"""What module and head are called in the model and in saved files."""

_USUAL_REDUCTION = 16
_CONFIGS = ("adapter_config.json", "head_config.json")


@dataclass(frozen=True, slots=True)
class Adapters:
    """Trains bottleneck adapters, with `adapters`."""

    @property
    def format(self) -> str:
        """The format that it writes."""
        return "adapters"

    def start(self, wanted: Wanted) -> Any:
        """Put a new bottleneck and a new head, at their usual initialisation, on a base model; only they are trainable.

        Args:
            wanted: What the model is made of.

        Returns:
            The model, in eval mode.

        Raises:
            UsageError: an option is wrong, or the base model cannot do the task.
            FormatError: the base model cannot be loaded.
        """
        import adapters

        options = method_options("bottleneck", wanted.options)
        with quiet(), seeded(wanted.seed):
            model, _ = _base_model(wanted)
            hidden = model.config.hidden_size
            size = options["size"] or max(1, hidden // _USUAL_REDUCTION)
            if size >= hidden:
                raise UsageError(
                    f"`--size {size}` is no bottleneck on `{base_name(wanted)}`, whose hidden size is {hidden}.",
                    do=f"Give a whole number from 1 to {hidden - 1}.",
                )
            model.add_adapter(NAME, config=adapters.SeqBnConfig(reduction_factor=reduction_factor(hidden, size)))
            _add_head(model, wanted)
            _make_ready(model, is_trainable=True)
        return model

    def load(self, wanted: Wanted, module: Path, *, is_trainable: bool) -> Any:
        """Put a saved module on a base model, with its head, or with a new one if it has none.

        Args:
            wanted: What the model is made of; method and options are the module's own.
            module: The module's folder.
            is_trainable: Whether module and head are to be trained; nothing is, otherwise.

        Returns:
            The model, in eval mode.

        Raises:
            UsageError: the module's head is for another task, or the base model cannot do the task.
            FormatError: the module does not fit the base model, or tensors are missing or of no use.
        """
        files = inspect_files(module)
        has_head = len(files.weight_files) > 1 and not wanted.new_head
        if has_head:
            _check_head(files, wanted)
        with quiet(), seeded(wanted.seed):
            model, lost = _base_model(wanted)
            _check_width(model, files, wanted)
            _load_adapter(model, files, wanted, has_head=has_head)
            if not has_head:
                _add_head(model, wanted)
            elif lost and model.heads[NAME].config.get("use_pooler"):
                refuse_missing(lost, (), wanted=wanted, files=files)
            _make_ready(model, is_trainable=is_trainable)
        return model

    def save(self, model: Any, folder: Path) -> None:
        """Save module and head, as safetensors; the model stays as it is.

        Args:
            model: A model that `start` or `load` gave.
            folder: Where; it is made.
        """
        has_head = NAME in getattr(model, "heads", {})
        folder.mkdir(parents=True, exist_ok=True)
        with quiet(), _unchanged(model):
            model.save_adapter(str(folder), NAME, with_head=has_head, use_safetensors=True)
        for path in (folder / name for name in _CONFIGS):
            if path.is_file():  # the same text in every process, whatever the order of keys was
                config = {**json.loads(path.read_text(encoding="utf-8")), "model_name": base_of(model).name}
                path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def trainer_class(self) -> type[Any]:
        """Give the trainer for these models.

        Returns:
            `adapters.AdapterTrainer`.
        """
        import adapters

        trainer: type[Any] = adapters.AdapterTrainer
        return trainer


def _base_model(wanted: Wanted) -> tuple[Any, list[str]]:
    """Load a base model in the class of `adapters` that has a place for heads; for language modelling with its own head.

    Gives the model, and the submodules whose weights its files lack.
    """
    import adapters

    if wanted.task.kind == "causal-lm":
        model, lost = load_task_model(wanted)
        adapters.init(model)
    else:
        model, info = load_base(adapters.AutoAdapterModel, wanted, output_loading_info=True)
        lost = check_weights(model, info, wanted)
        for head in list(model.heads):  # that of a base model saved with one
            model.delete_head(head)
    remember_base(model, wanted)
    return model, lost


def _add_head(model: Any, wanted: Wanted) -> None:
    """Add a new head, named as the module; language modelling has the base model's own."""
    if wanted.task.kind == "causal-lm":
        return
    add = model.add_tagging_head if wanted.task.kind == "tagging" else model.add_classification_head
    add(NAME, num_labels=len(wanted.labels), id2label=dict(enumerate(wanted.labels)), overwrite_ok=True)


def _make_ready(model: Any, *, is_trainable: bool) -> None:
    """Activate module and head, and say what is trained."""
    model.train_adapter(NAME)
    if NAME in getattr(model, "heads", {}):
        model.active_head = NAME  # a head that was loaded is not used by itself
    if not is_trainable:
        model.requires_grad_(False)
    model.eval()


def _check_head(files: ModuleFiles, wanted: Wanted) -> None:
    """Refuse a head that is for another task or has another number of labels."""
    head = head_labels(files.folder, files)
    if head is None or head.task != wanted.task.peft_type:
        raise UsageError(
            f"The module in `{files.folder}` has a head for {head.task if head else 'something else'}, and the task "
            f"`{wanted.task.name}` needs one for {wanted.task.peft_type}.",
            do="Name the task that the head is for with `--task`, or train a new head with `--head new`.",
        )
    check_count(head, wanted, where=files.folder)


def _check_width(model: Any, files: ModuleFiles, wanted: Wanted) -> None:
    """Refuse a module that says it is for another hidden size."""
    hidden, said = model.config.hidden_size, files.base.hidden_size
    if said is not None and said != hidden:
        raise FormatError(
            f"The module in `{files.folder}` was made for `{files.base.name or 'another base model'}` with the hidden size "
            f"{said}, and `{base_name(wanted)}` has {hidden}.",
            do="Name its own base model with `--model`, or convert the module to this one with `modxfer convert` first.",
        )


def _load_adapter(model: Any, files: ModuleFiles, wanted: Wanted, *, has_head: bool) -> None:
    """Load a module's tensors, all of them and no others."""
    info: dict[str, Any] = {}
    options: dict[str, Any] = {}
    if has_head:
        options["id2label"] = dict(enumerate(wanted.labels))
    try:
        model.load_adapter(
            str(files.folder), load_as=NAME, with_head=has_head, use_safetensors=True, loading_info=info, **options
        )
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise FormatError(
            f"The module in `{files.folder}`, made for `{files.base.name or 'a base model it does not name'}`, cannot be "
            f"loaded on `{base_name(wanted)}`: `{brief(error)}`",
            do="Name its own base model with `--model`, or convert the module to this one with `modxfer convert` first.",
        ) from error
    refuse_missing(info.get("missing_keys", ()), info.get("unexpected_keys", ()), wanted=wanted, files=files)


@contextlib.contextmanager
def _unchanged(model: Any) -> Iterator[None]:
    """Give a model back its active module, head, training mode and frozen parameters after the block."""
    active, head = model.active_adapters, getattr(model, "active_head", None)
    modes = {name: module.training for name, module in model.named_modules()}
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        yield
    finally:
        model.set_active_adapters(active)
        if hasattr(model, "heads"):
            model.active_head = head
        for name, module in model.named_modules():
            module.training = modes[name]
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(trained[name])
