"""Base models under a task's head, as `transformers` makes them; the head is always new. Runs models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modxfer.errors import DataError, FormatError, UsageError
from modxfer.training.libraries.library import Wanted


def label_maps(labels: tuple[str, ...]) -> dict[str, Any]:
    """Give a config's two tables of labels.

    Args:
        labels: The labels, in the order of the head's rows.

    Returns:
        `id2label` and `label2id`.
    """
    return {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}


def loading_options(wanted: Wanted) -> dict[str, Any]:
    """Give what every `from_pretrained` of a base model is called with.

    Args:
        wanted: What the model is made of.

    Returns:
        Keyword arguments. The numbers are float32 whatever the file holds: version 5 of `transformers` would take the file's.
    """
    import torch

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False, "dtype": torch.float32}
    return options if wanted.attention is None else {**options, "attn_implementation": wanted.attention}


def load_base(auto_class: Any, wanted: Wanted, **options: Any) -> Any:
    """Call `from_pretrained` for a base model; what is drawn afterwards does not depend on what that drew.

    Sets the global generator to the seed: call it inside `seeded`.

    Args:
        auto_class: The class to call it on.
        wanted: What the model is made of.
        **options: More keyword arguments.

    Returns:
        What it gives.

    Raises:
        DataError: there are fewer than two labels.
        FormatError: it cannot be loaded so.
    """
    import torch

    if wanted.task.kind != "causal-lm" and len(wanted.labels) < 2:
        raise DataError(
            f"The task `{wanted.task.name}` has {len(wanted.labels)} labels, and there is nothing to tell apart.",
            do="Name data with at least two labels with `--data`.",
        )
    try:
        loaded = auto_class.from_pretrained(str(wanted.base), **loading_options(wanted), **options)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise FormatError(
            f"The base model `{base_name(wanted)}` cannot be loaded for the task `{wanted.task.name}`: `{brief(error)}`",
            do="Name a base model that `transformers` has this task's class for, with its weights.",
        ) from error
    torch.manual_seed(wanted.seed)
    return loaded


def load_task_model(wanted: Wanted) -> tuple[Any, list[str]]:
    """Load a base model with the task's head on it, new at its usual initialisation, in eval mode.

    Draws from the global generator: call it inside `seeded`.

    Args:
        wanted: What the model is made of.

    Returns:
        The model, and the submodules beside the head whose weights the base model's files lack: they are new as well.

    Raises:
        DataError: there are fewer than two labels.
        FormatError: the base model cannot be loaded, or lacks weights that the task needs.
        UsageError: it is no language model from left to right, and the task needs one.
    """
    import transformers

    is_labelled = wanted.task.kind != "causal-lm"
    options: dict[str, Any] = {"output_loading_info": True}
    if is_labelled:
        options |= {**label_maps(wanted.labels), "ignore_mismatched_sizes": True}
    if wanted.task.kind == "classification":
        options["problem_type"] = "single_label_classification"  # else one label would make it a regression
    model, info = load_base(getattr(transformers, wanted.task.model_class), wanted, **options)
    lost = check_weights(model, info, wanted)
    if is_labelled:
        _renew(model, (child for name, child in model.named_children() if name != model.base_model_prefix))
        _set_padding(model.config)
    else:
        check_left_to_right(model, wanted)
    return model.eval(), lost


def check_left_to_right(model: Any, wanted: Wanted) -> None:
    """Refuse a language model whose predictions look at later tokens.

    Args:
        model: A model that gives `logits`.
        wanted: What it is made of.

    Raises:
        UsageError: a later token changes what it says of earlier ones.
    """
    import torch

    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]]) % model.config.vocab_size
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, :2]
    if not torch.allclose(logits[0], logits[1], rtol=1e-3, atol=1e-4 * float(logits.abs().max())):  # float32 noise is far below
        raise UsageError(
            f"`{base_name(wanted)}` ({model.config.model_type}) is no language model from left to right: what it says of a "
            "token depends on later ones.",
            do="Choose a decoder (GPT-2, Llama) with `--model`, or another task.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What saved modules say of their base model.

    Attributes:
        name: Its Hub id or folder.
        revision: Its commit hash, if it has one.
    """

    name: str
    revision: str | None


def remember_base(model: Any, wanted: Wanted) -> None:
    """Note on a model what its saved module is to call the base model.

    The libraries' own fields hold the folder as long as the model is used: for a Hub id they would ask the Hub at every
    checkpoint.

    Args:
        model: The model, which is changed.
        wanted: What it is made of.
    """
    model.modxfer_base = Base(name=base_name(wanted), revision=wanted.revision)


def base_of(model: Any) -> Base:
    """Give what was noted on a model.

    Args:
        model: A model that a library here gave.

    Returns:
        What its saved module is to call the base model.
    """
    base: Base = model.modxfer_base
    return base


def base_name(wanted: Wanted) -> str:
    """Say what to call the base model in messages and in saved modules.

    Args:
        wanted: What a model is made of.

    Returns:
        Its name, or its folder.
    """
    return wanted.name or str(wanted.base)


def brief(error: Exception) -> str:
    """Write another library's error on one line, cut to a sane length.

    Args:
        error: The error.

    Returns:
        Its text, without backticks.
    """
    text = " ".join(str(error).replace("`", "'").split())
    return text if len(text) <= 300 else text[:297] + "..."


def check_weights(model: Any, info: Mapping[str, Any], wanted: Wanted) -> list[str]:
    """Refuse a base model whose files lack weights, or hold them in other shapes than its config says.

    Args:
        model: The model.
        info: What `from_pretrained` says of its loading.
        wanted: What the model is made of.

    Returns:
        The submodules whose weights were missing and that are new instead: a pooler's, which not every base model was saved
        with.

    Raises:
        FormatError: other weights are missing.
    """
    prefix = f"{model.base_model_prefix}."
    is_needed = (lambda key: key.startswith(prefix)) if wanted.task.kind != "causal-lm" else bool
    odd = [str(key[0]) for key in info["mismatched_keys"]]
    lost = [key for key in [*info["missing_keys"], *odd] if is_needed(key)]
    poolers = {key for key in lost if key not in odd and "pooler" in key.split(".")}
    if set(lost) != poolers:
        names = sorted(set(lost) - poolers)
        raise FormatError(
            f"The files of `{base_name(wanted)}` hold no weights, or some of another shape, for {len(names)} parameters that "
            f"the task `{wanted.task.name}` needs, such as `{names[0]}`.",
            do="Name a base model that was saved whole, and for language modelling with its head, with `--model`.",
        )
    return sorted({key.rpartition(".")[0] for key in poolers})


def _renew(model: Any, parts: Any) -> None:
    """Initialise submodules anew as their model does, whether or not the files had weights for them."""
    import torch

    for part in parts:
        for module in part.modules():
            module._is_hf_initialized = False
            for parameter in module.parameters(recurse=False):
                parameter._is_hf_initialized = False  # version 5 of `transformers` passes over those that a file held
            with torch.no_grad():
                model._init_weights(module)


def _set_padding(config: Any) -> None:
    """Say which token fills up: a decoder's classification looks for the last one that does not."""
    if getattr(config, "pad_token_id", None) is None:
        end = getattr(config, "eos_token_id", None)
        config.pad_token_id = end[0] if isinstance(end, list) else end
