"""LoRA, trained with `peft`. Runs models."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modxfer.architectures import VOCABULARY, Architecture, Submodule
from modxfer.converters.formats import inspect_files
from modxfer.converters.formats.heads import head_paths
from modxfer.converters.formats.peft.targets import known_submodules, shortest_suffixes
from modxfer.converters.module import ModuleFiles
from modxfer.errors import ArchitectureError, UsageError
from modxfer.registry.structures import read_architecture
from modxfer.training.libraries.context import quiet, seeded
from modxfer.training.libraries.fitting_tensors import check_fit, refuse_missing
from modxfer.training.libraries.heads import check_count, head_labels
from modxfer.training.libraries.library import Wanted
from modxfer.training.libraries.methods import method_options
from modxfer.training.libraries.task_models import base_name, base_of, brief, load_task_model, remember_base

_USUAL_ROLES = ("query", "value")
_KEY_PREFIX = "base_model.model."
_COPIES = (".original_module", ".modules_to_save.")
_CONFIG_FILE = "adapter_config.json"
_CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Peft:
    """Trains LoRA, with `peft`."""

    @property
    def format(self) -> str:
        """The format that it writes."""
        return "peft"

    def start(self, wanted: Wanted) -> Any:
        """Put a new LoRA and a new head, at their usual initialisation, on a base model; only they are trainable.

        Args:
            wanted: What the model is made of.

        Returns:
            The model, in eval mode.

        Raises:
            UsageError: an option is wrong, the targets are nowhere in the base model, or it cannot do the task.
            FormatError: the base model cannot be loaded.
        """
        import peft

        options = method_options("lora", wanted.options)
        with quiet(), seeded(wanted.seed):
            model, lost = load_task_model(wanted)
            config = peft.LoraConfig(
                task_type=wanted.task.peft_type,
                r=options["rank"],
                lora_alpha=options["alpha"],
                lora_dropout=options["dropout"],
                target_modules=_targets(options["targets"], model, wanted),
                modules_to_save=lost or None,
            )
            return _put_on(model, config, wanted, where="`--targets`" if options["targets"] else "its own table of targets")

    def load(self, wanted: Wanted, module: Path, *, is_trainable: bool) -> Any:
        """Put a saved LoRA on a base model, with its head, or with a new one if it has none.

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
        import peft

        files = inspect_files(module)
        with quiet(), seeded(wanted.seed):
            tensors = peft.load_peft_weights(str(files.folder), device="cpu")
            model, lost = load_task_model(wanted)
            has_head = _has_head(tensors, model, wanted)
            config = peft.PeftConfig.from_pretrained(str(files.folder))
            if has_head:
                _check_task(config, wanted, where=files.folder)
                check_count(head_labels(files.folder, files), wanted, where=files.folder)
            if isinstance(config.target_modules, str):  # an expression for the paths of another model class, or "all-linear"
                config.target_modules = _lora_paths(tensors)
            config.task_type = wanted.task.peft_type
            nowhere = _absent(lost, tensors)
            if has_head and not is_trainable:  # what it says would be chance's
                refuse_missing(nowhere, (), wanted=wanted, files=files)
            config.modules_to_save = _to_save(config.modules_to_save, tensors, nowhere, model)
            config.inference_mode = not is_trainable
            model = _put_on(model, config, wanted, where=f"`{files.folder}`")
            _fill(model, tensors, wanted, files, lost=lost, has_head=has_head)
        return model

    def save(self, model: Any, folder: Path) -> None:
        """Save module and head, as safetensors; the model stays as it is.

        Args:
            model: A model that `start` or `load` gave.
            folder: Where; it is made.
        """
        had_card = (folder / _CARD).exists()
        with quiet():
            model.save_pretrained(str(folder), save_embedding_layers=False)
        if not had_card:
            (folder / _CARD).unlink(missing_ok=True)  # a template of peft's that says nothing of this module
        path = folder / _CONFIG_FILE
        base = base_of(model)
        config = json.loads(path.read_text(encoding="utf-8"))
        config |= {"base_model_name_or_path": base.name, "revision": base.revision}
        for key in ("target_modules", "modules_to_save", "exclude_modules"):
            if isinstance(config.get(key), list):  # sets, whose order changes from one process to the next
                config[key] = sorted(set(config[key]))
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def trainer_class(self) -> type[Any]:
        """Give the trainer for these models.

        Returns:
            `transformers.Trainer`.
        """
        import transformers

        trainer: type[Any] = transformers.Trainer
        return trainer


def _put_on(model: Any, config: Any, wanted: Wanted, *, where: str) -> Any:
    """Let peft put a module on a model; what it says of targets is said in our words."""
    import peft

    try:
        model = peft.get_peft_model(model, config)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"`peft` cannot put a LoRA on `{base_name(wanted)}` as {where} says: `{brief(error)}`",
            do="Name the base model that the module is for, or the submodules that get a LoRA with `--targets`.",
        ) from error
    remember_base(model, wanted)
    return model.eval()


def _targets(named: Iterable[str] | None, model: Any, wanted: Wanted) -> list[str] | None:
    """Say in peft's words which submodules get a LoRA; None lets peft's own table decide."""
    try:
        base = read_architecture(wanted.base, name=base_name(wanted))
    except ArchitectureError:
        base = None
    if named is None:
        return _role_targets(base, set(_USUAL_ROLES), wanted) if base else None
    names = list(named)
    known = {role for _, _, role, submodule in base.roles() if _takes_lora(submodule)} if base else set()
    roles = {name for name in names if name in known}
    submodules = [name for name in names if name not in known]
    _check_submodules(submodules, model, known, wanted)
    return submodules + (_role_targets(base, roles, wanted) if base and roles else [])


def _takes_lora(submodule: Submodule) -> bool:
    return not submodule.elementwise and VOCABULARY not in (submodule.reads, submodule.writes)


def _role_targets(base: Architecture, roles: set[str], wanted: Wanted) -> list[str]:
    """Give the shortest names that mean these roles and nothing else."""
    known = known_submodules(base, task=wanted.task.peft_type, inside_task_model=True)
    chosen = {path for path, entry in known.items() if any(place.name in roles for place in entry.places)}
    heads = {path for paths in head_paths(base).values() for path in paths}
    return shortest_suffixes(chosen, {*known, *heads} - chosen)


def _check_submodules(names: list[str], model: Any, roles: set[str], wanted: Wanted) -> None:
    """Refuse names that mean nothing in the model: peft is content if one of them means something."""
    paths = [path for path, _ in model.named_modules()]
    for name in names:
        if not any(path == name or path.endswith(f".{name}") for path in paths):
            ends = sorted({path.rpartition(".")[2] for path, module in model.named_modules() if hasattr(module, "in_features")})
            raise UsageError(
                f"`{name}` is no role and no submodule of `{base_name(wanted)}`.",
                do=f"Give `--targets` one of {', '.join(sorted(roles)) or ', '.join(ends)}, or the name of a submodule.",
            )


def _lora_paths(tensors: Iterable[str]) -> list[str]:
    """List the submodules that a module has a LoRA on."""
    return sorted({key.removeprefix(_KEY_PREFIX).partition(".lora_")[0] for key in tensors if ".lora_" in key})


def _is_head_key(key: str, model: Any) -> bool:
    """Say whether a tensor of a module belongs to the task's head: it is outside the base model, and no LoRA."""
    path = key.removeprefix(_KEY_PREFIX)
    return ".lora_" not in path and _is_outside(path, model)


def _is_outside(path: str, model: Any) -> bool:
    first = path.partition(".")[0]
    return first != model.base_model_prefix and not hasattr(getattr(model, model.base_model_prefix, None), first)


def _has_head(tensors: dict[str, Any], model: Any, wanted: Wanted) -> bool:
    """Say whether a module has a head that is to be used; the tensors of one that is not are taken out."""
    keys = [key for key in tensors if _is_head_key(key, model)]
    if wanted.new_head and wanted.task.kind != "causal-lm":
        for key in keys:
            del tensors[key]
        return False
    return bool(keys)


def _check_task(config: Any, wanted: Wanted, *, where: Path) -> None:
    """Refuse a head that is for another task."""
    if config.task_type not in (None, wanted.task.peft_type, "FEATURE_EXTRACTION"):
        raise UsageError(
            f"The module in `{where}` has a head for {getattr(config.task_type, 'value', config.task_type)}, and the task "
            f"`{wanted.task.name}` needs one for {wanted.task.peft_type}.",
            do="Name the task that the head is for with `--task`, or train a new head with `--head new`.",
        )


def _absent(lost: list[str], tensors: Mapping[str, Any]) -> set[str]:
    """List the submodules that neither the base model nor the module has weights for."""
    whole = [key.removeprefix(_KEY_PREFIX).rpartition(".")[0] for key in tensors if ".lora_" not in key]
    return {path for path in lost if not any(f".{path}".endswith(f".{old}") for old in whole)}


def _to_save(named: list[str] | None, tensors: Mapping[str, Any], absent: set[str], model: Any) -> list[str] | None:
    """Say which submodules the module replaces; peft adds the head itself.

    One that is named and that the module has no tensors for is a head of another model class, or the one that is new.
    """
    whole = [key.removeprefix(_KEY_PREFIX).rpartition(".")[0] for key in tensors if ".lora_" not in key]
    inside = [path for path, _ in model.named_modules() if path and not _is_outside(path, model)]
    used = [name for name in named or [] if any(f"{name}." in f"{path}." for path in (*whole, *inside))]
    return sorted({*used, *absent}) or None


def _fill(model: Any, tensors: dict[str, Any], wanted: Wanted, files: ModuleFiles, *, lost: list[str], has_head: bool) -> None:
    """Give a model a module's tensors; all must be there, and all be used."""
    import peft

    expected = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    inner = model.get_base_model()
    prefix = f"{_KEY_PREFIX}{inner.base_model_prefix}."
    found = {}
    for key, tensor in tensors.items():
        longer = prefix + key.removeprefix(_KEY_PREFIX)  # a module that was trained without a task's head
        if key in expected or longer in expected:
            found[key if key in expected else longer] = tensor
        elif not any(word in key for word in _COPIES):
            found[key] = tensor
    new = set() if has_head else {key for key in expected if _is_head_key(key, inner)}
    new |= {key for key in expected if key not in found and any(f".{path}." in key for path in lost)}
    check_fit(
        {key: tuple(tensor.shape) for key, tensor in expected.items() if key not in new},
        {key: tuple(tensor.shape) for key, tensor in found.items()},
        wanted=wanted,
        files=files,
    )
    peft.set_peft_model_state_dict(model, {**expected, **found})
