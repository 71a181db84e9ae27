"""Configs of the `adapters` format: current, from older versions, or only a name.

Source: adapters 1.3, `configuration/adapter_config.py`, `loading.py` (`load_weights_config`,
`_fix_backward_compat`,
`_fix_legacy_config`) and `utils.py` (`parse_adapter_config_string`).
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

from modxfer.errors import ConversionError, FormatError

CONFIG_FILE = "adapter_config.json"

ADAPTERS_VERSION = "adapters.1.3.0"
"""The version whose meaning a config has once it is upgraded."""

BOTTLENECK_DEFAULTS: Mapping[str, Any] = {
    "original_ln_before": False,
    "original_ln_after": True,
    "ln_before": False,
    "ln_after": False,
    "init_weights": "bert",
    "init_weights_seed": None,
    "is_parallel": False,
    "scaling": 1.0,
    "use_gating": False,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "inv_adapter": None,
    "inv_adapter_reduction_factor": None,
    "cross_adapter": False,
    "leave_out": [],
    "dropout": 0.0,
    "phm_layer": False,
    "phm_dim": 4,
    "factorized_phm_W": True,
    "shared_W_phm": False,
    "shared_phm_rule": True,
    "factorized_phm_rule": False,
    "phm_c_init": "normal",
    "phm_init_range": 0.0001,
    "learn_phm": True,
    "hypercomplex_nonlinearity": "glorot-uniform",
    "phm_rank": 1,
    "phm_bias": True,
    "stochastic_depth": 0.0,
}
"""What `BnConfig` takes for a key that a config lacks."""

LORA_DEFAULTS: Mapping[str, Any] = {
    "architecture": "lora",
    "selfattn_lora": True,
    "intermediate_lora": False,
    "output_lora": False,
    "leave_out": [],
    "r": 8,
    "alpha": 8,
    "dropout": 0.0,
    "attn_matrices": ["q", "v"],
    "composition_mode": "add",
    "init_weights": "lora",
    "init_weights_seed": None,
    "use_gating": False,
    "use_dora": False,
    "vera_d": None,
    "vera_b": None,
    "dtype": None,
}
"""What `LoRAConfig` takes for a key that a config lacks."""

_SEQUENTIAL = {
    "original_ln_before": True,
    "mh_adapter": False,
    "output_adapter": True,
    "non_linearity": "relu",
    "reduction_factor": 16,
}
_DOUBLE = {"mh_adapter": True, "output_adapter": True, "non_linearity": "swish", "reduction_factor": 16}
_PARALLEL = {
    "mh_adapter": False,
    "output_adapter": True,
    "non_linearity": "relu",
    "reduction_factor": 2,
    "init_weights": "mam_adapter",
    "is_parallel": True,
    "scaling": 4.0,
}
_INVERTIBLE = {"inv_adapter": "nice", "inv_adapter_reduction_factor": 2}
_NAMED: Mapping[str, Mapping[str, Any]] = {
    "seq_bn": _SEQUENTIAL,
    "pfeiffer": _SEQUENTIAL,
    "double_seq_bn": _DOUBLE,
    "houlsby": _DOUBLE,
    "par_bn": _PARALLEL,
    "parallel": _PARALLEL,
    "scaled_par_bn": {**_PARALLEL, "scaling": "learned"},
    "scaled_parallel": {**_PARALLEL, "scaling": "learned"},
    "seq_bn_inv": {**_SEQUENTIAL, **_INVERTIBLE},
    "pfeiffer+inv": {**_SEQUENTIAL, **_INVERTIBLE},
    "double_seq_bn_inv": {**_DOUBLE, **_INVERTIBLE},
    "houlsby+inv": {**_DOUBLE, **_INVERTIBLE},
    "lora": LORA_DEFAULTS,
}
"""The configs that `adapters` knows by a name, as far as modxfer moves them."""

_ACTIVATIONS_BEFORE_VERSIONS = {"gelu": "gelu_new", "gelu_orig": "gelu"}


def upgrade_config(config: Mapping[str, Any], *, has_invertible: bool, where: str) -> dict[str, Any]:
    """Write a config of any age as the current version of `adapters` would.

    Args:
        config: What `adapter_config.json` holds.
        has_invertible: Whether the module holds tensors of an invertible adapter.
        where: The file, for messages.

    Returns:
        The config, equal to the given one if that is current.

    Raises:
        FormatError: it names no config, or lacks what a config must have.
        ConversionError: it describes a method that modxfer does not move.
    """
    result = dict(config)
    if "config" not in result and ("reduction_factor" in result or result.get("architecture") == "lora"):
        result = {
            "config": result,
            **{key: result[key] for key in ("name", "version", "hidden_size") if key in result},
        }
    inner = result.get("config")
    if isinstance(inner, str):
        inner = _named_config(inner, where=where)
    if not isinstance(inner, dict):
        raise FormatError(
            f"`config` in {where} is {inner!r}, and must be an object or a name ({', '.join(_NAMED)}).",
            do="Fetch the module again.",
        )
    method = method_of(inner, where=where)
    inner, changed = (_upgrade_lora if method == "lora" else _upgrade_bottleneck)(inner, result, has_invertible, where)
    result["config"] = inner
    if changed:
        result["version"] = ADAPTERS_VERSION
    return result


def method_of(inner: Mapping[str, Any], *, where: str) -> str:
    """Say which method a config describes, and refuse those that cannot be moved.

    Args:
        inner: What `adapter_config.json` holds under `config`.
        where: The file, for messages.

    Returns:
        "lora" or "bottleneck".

    Raises:
        ConversionError: it is another method, or a variant that computes something else.
    """
    architecture = inner.get("architecture")
    variants = {
        "composition_mode": ("(IA)³", inner.get("composition_mode", "add") != "add"),
        "use_dora": ("DoRA", bool(inner.get("use_dora"))),
        "vera_d": ("VeRA", inner.get("vera_d") is not None),
        "vera_b": ("VeRA", inner.get("vera_b") is not None),
        "use_gating": ("LoRA with gating", bool(inner.get("use_gating"))),
    }
    if architecture == "lora":
        found = next((name for name, is_it in variants.values() if is_it), None)
    elif architecture in (None, "bottleneck"):
        found = "Compacter (phm_layer)" if inner.get("phm_layer") else None
    else:
        found = str(architecture)
    if found is not None:
        raise ConversionError(
            f"{where} describes the method {found}, and of those of `adapters` modxfer moves bottlenecks and plain LoRA.",
            do="Train one of these instead, or name another module.",
        )
    return "lora" if architecture == "lora" else "bottleneck"


def _named_config(text: str, *, where: str) -> dict[str, Any]:
    """Read a config that is only a name, such as `seq_bn[reduction_factor=12]`; never a path."""
    match = re.fullmatch(r"(?P<name>[^\[\]|\n]+)(?:\[(?P<values>.*)\])?", text.strip())
    if match is None or match["name"] not in _NAMED:
        raise ConversionError(
            f"`config` in {where} is {text!r}, and of the configs with a name modxfer knows {', '.join(_NAMED)}.",
            do="Write the whole config into that file, or name another module.",
        )
    values = re.sub(r"(\w+)=", r"'\1':", match["values"] or "")
    try:
        changes = ast.literal_eval("{" + values + "}")
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise FormatError(f"`config` in {where} is {text!r}, which cannot be read.", do="Correct it in that file.") from error
    defaults = LORA_DEFAULTS if match["name"] == "lora" else BOTTLENECK_DEFAULTS
    return {**defaults, **_NAMED[match["name"]], **changes}


def _upgrade_lora(
    inner: Mapping[str, Any], config: Mapping[str, Any], has_invertible: bool, where: str
) -> tuple[dict[str, Any], bool]:
    """Give alpha the value with which versions before 1.1.0 ran a LoRA."""
    version = str(config.get("version", ""))
    numbers = re.match(r"adapters\.(\d+)\.(\d+)", version)
    faulty = numbers is not None and (int(numbers[1]), int(numbers[2])) < (1, 1)
    rank, alpha = (inner.get(key, LORA_DEFAULTS[key]) for key in ("r", "alpha"))
    if faulty and rank != alpha:
        return {**inner, "alpha": rank}, True
    return dict(inner), False


def _upgrade_bottleneck(
    inner: Mapping[str, Any], config: Mapping[str, Any], has_invertible: bool, where: str
) -> tuple[dict[str, Any], bool]:
    """Rename activations from before versions, and drop an invertible adapter that was never made."""
    missing = [key for key in ("mh_adapter", "output_adapter", "reduction_factor", "non_linearity") if key not in inner]
    if missing:
        raise FormatError(f"`config` in {where} lacks {', '.join(missing)}.", do="Fetch the module again.")
    result, changed = dict(inner), False
    if "version" not in config and result["non_linearity"] in _ACTIVATIONS_BEFORE_VERSIONS:
        result["non_linearity"] = _ACTIVATIONS_BEFORE_VERSIONS[result["non_linearity"]]
        changed = True
    named = result.get("inv_adapter") or result.get("invertible_adapter")
    if has_invertible or (named and config.get("type") != "text_task"):
        raise ConversionError(
            f"{where} describes a bottleneck with invertible adapters "
            f"({named or 'their tensors are there'}), and modxfer moves bottlenecks without them.",
            do="Train the module without them (`seq_bn`, not `seq_bn_inv`), or name another one.",
        )
    if named:
        result.pop("invertible_adapter", None)
        result.update(inv_adapter=None, inv_adapter_reduction_factor=None)
    return result, changed
