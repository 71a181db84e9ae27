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

INTERFACE_FILE = "adapter_interface.json"
"""Lies beside a module that was made through the plugin interface, on a model without a class of its own in `adapters`."""

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

PREFIX_DEFAULTS: Mapping[str, Any] = {
    "architecture": "prefix_tuning",
    "encoder_prefix": True,
    "cross_prefix": True,
    "leave_out": [],
    "flat": False,
    "prefix_length": 30,
    "bottleneck_size": 512,
    "non_linearity": "tanh",
    "dropout": 0.0,
    "use_gating": False,
    "shared_gating": True,
    "init_weights_seed": None,
}
"""What `PrefixTuningConfig` takes for a key that a config lacks."""

PROMPT_DEFAULTS: Mapping[str, Any] = {
    "architecture": "prompt_tuning",
    "prompt_length": 10,
    "prompt_init": "random_uniform",
    "prompt_init_text": None,
    "combine": "prefix",
    "init_weights_seed": None,
}
"""What `PromptTuningConfig` takes for a key that a config lacks."""

REFT_DEFAULTS: Mapping[str, Any] = {
    "architecture": "reft",
    "layers": "all",
    "prefix_positions": 3,
    "suffix_positions": 0,
    "r": 1,
    "orthogonality": False,
    "tied_weights": False,
    "dropout": 0.05,
    "non_linearity": None,
    "dtype": None,
    "output_reft": True,
    "init_weights_seed": None,
}
"""What `NoReftConfig` writes; `ReftConfig` itself has no default for most of these."""

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
_COMPACTER = {"phm_layer": True, "reduction_factor": 32, "non_linearity": "gelu"}
_VERA = {"vera_d": 0.1, "vera_b": 0.0, "init_weights": "vera"}


def _union(*configs: Mapping[str, Any]) -> dict[str, Any]:
    return {"architecture": "union", "configs": [dict(config) for config in configs]}


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
    "compacter": {**_DOUBLE, **_COMPACTER},
    "compacter++": {**_SEQUENTIAL, **_COMPACTER},
    "lora": LORA_DEFAULTS,
    "ia3": {
        **LORA_DEFAULTS,
        "intermediate_lora": True,
        "r": 1,
        "alpha": 1,
        "attn_matrices": ["k", "v"],
        "composition_mode": "scale",
        "init_weights": "ia3",
    },
    "dora": {**LORA_DEFAULTS, "use_dora": True},
    "vera": {**LORA_DEFAULTS, **_VERA},
    "dvora": {**LORA_DEFAULTS, **_VERA, "use_dora": True},
    "prefix_tuning": PREFIX_DEFAULTS,
    "prefix_tuning_flat": {**PREFIX_DEFAULTS, "flat": True},
    "prompt_tuning": PROMPT_DEFAULTS,
    "loreft": {**REFT_DEFAULTS, "orthogonality": True},
    "noreft": REFT_DEFAULTS,
    "direft": {**REFT_DEFAULTS, "subtract_projection": False},
    "mam": _union({**PREFIX_DEFAULTS, "bottleneck_size": 800}, {**BOTTLENECK_DEFAULTS, **_PARALLEL}),
    "unipelt": _union(
        {**PREFIX_DEFAULTS, "prefix_length": 10, "use_gating": True},
        {**BOTTLENECK_DEFAULTS, **_SEQUENTIAL, "use_gating": True},
        {**LORA_DEFAULTS, "alpha": 2, "use_gating": True},
    ),
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
        ConversionError: it names one that modxfer does not know.
    """
    result = dict(config)
    if "config" not in result and ("reduction_factor" in result or "architecture" in result):
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
    members = inner.get("configs") if inner.get("architecture") == "union" else None
    configs = [member for member in members if isinstance(member, dict)] if isinstance(members, list) else [inner]
    upgraded = [_upgrade(member, result, has_invertible=has_invertible, where=where) for member in configs]
    if upgraded != configs:
        result["version"] = ADAPTERS_VERSION
    result["config"] = {**inner, "configs": upgraded} if isinstance(members, list) else upgraded[0]
    return result


def _upgrade(inner: Mapping[str, Any], config: Mapping[str, Any], *, has_invertible: bool, where: str) -> dict[str, Any]:
    if inner.get("architecture") == "lora":
        return _upgrade_lora(inner, config)
    if inner.get("architecture") in (None, "bottleneck"):
        return _upgrade_bottleneck(inner, config, has_invertible=has_invertible, where=where)
    return dict(inner)


def _named_config(text: str, *, where: str) -> dict[str, Any]:
    """Read a config that is only a name, such as `seq_bn[reduction_factor=12]`; never a path."""
    match = re.fullmatch(r"(?P<name>[^\[\]|\n]+)(?:\[(?P<values>.*)\])?", text.strip())
    if match is None or match["name"] not in _NAMED:
        raise ConversionError(
            f"`config` in {where} is {text!r}, and of the configs with a name modxfer knows {', '.join(_NAMED)}.",
            do="Write the whole config into that file, or name another module.",
        )
    values = re.sub(r"(\w+)=", r"'\1':", match["values"] or "")
    named = _NAMED[match["name"]]
    try:
        changes = ast.literal_eval("{" + values + "}")
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise FormatError(f"`config` in {where} is {text!r}, which cannot be read.", do="Correct it in that file.") from error
    if changes and "configs" in named:
        raise FormatError(
            f"`config` in {where} is {text!r}, which changes several configs at once.", do="Write them out in that file."
        )
    defaults = {} if "architecture" in named else BOTTLENECK_DEFAULTS
    return {**defaults, **named, **changes}


def _upgrade_lora(inner: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Give alpha the value with which versions before 1.1.0 ran a LoRA."""
    version = str(config.get("version", ""))
    numbers = re.match(r"adapters\.(\d+)\.(\d+)", version)
    faulty = numbers is not None and (int(numbers[1]), int(numbers[2])) < (1, 1)
    rank, alpha = (inner.get(key, LORA_DEFAULTS[key]) for key in ("r", "alpha"))
    return {**inner, "alpha": rank} if faulty and rank != alpha else dict(inner)


def _upgrade_bottleneck(
    inner: Mapping[str, Any], config: Mapping[str, Any], *, has_invertible: bool, where: str
) -> dict[str, Any]:
    """Rename activations from before versions, and drop an invertible adapter that was never made."""
    missing = [key for key in ("mh_adapter", "output_adapter", "reduction_factor", "non_linearity") if key not in inner]
    if missing:
        raise FormatError(f"`config` in {where} lacks {', '.join(missing)}.", do="Fetch the module again.")
    result = dict(inner)
    if "version" not in config and result["non_linearity"] in _ACTIVATIONS_BEFORE_VERSIONS:
        result["non_linearity"] = _ACTIVATIONS_BEFORE_VERSIONS[result["non_linearity"]]
    legacy = result.pop("invertible_adapter", None)
    if isinstance(legacy, dict):
        result["inv_adapter"] = legacy.get("block_type")
        result["inv_adapter_reduction_factor"] = legacy.get("reduction_factor")
    if result.get("inv_adapter") and config.get("type") == "text_task" and not has_invertible:
        result.update(inv_adapter=None, inv_adapter_reduction_factor=None)
    return result
