"""Configs of AdapterFusion layers: which parts a layer has, and which points it reads.

Source: adapters 1.3, `configuration/adapter_fusion_config.py`, `BertFusion` in `methods/modeling.py`.
"""

from collections.abc import Mapping
from typing import Any

from modxfer.converters.formats.checks import listing
from modxfer.errors import ConversionError, FormatError

FUSION_CONFIG_FILE = "adapter_fusion_config.json"

_STATIC: Mapping[str, Any] = {
    "key": True,
    "query": True,
    "value": False,
    "query_before_ln": False,
    "regularization": False,
    "residual_before": False,
    "temperature": False,
    "value_before_softmax": True,
    "value_initialized": False,
    "dropout_prob": None,
}
_NAMED: Mapping[str, Mapping[str, Any]] = {
    "static": _STATIC,
    "dynamic": {**_STATIC, "value": True, "regularization": True, "value_initialized": True},
}
_PARTS = ("query", "key", "value")


def fusion_config(config: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Write a config as the current version of `adapters` would, and refuse one that cannot be moved.

    Args:
        config: What `adapter_fusion_config.json` holds.
        where: The file, for messages.

    Returns:
        The config, its `config` an object.

    Raises:
        FormatError: it lacks a name, or what it says of the layers cannot be read.
        ConversionError: its layers have no query or no key.
    """
    inner = config.get("config")
    inner = _NAMED.get(inner) if isinstance(inner, str) else inner
    if not isinstance(inner, Mapping) or not all(isinstance(inner.get(part), bool) for part in _PARTS):
        raise FormatError(
            f"`config` in {where} is {config.get('config')!r}, and must say of {listing(_PARTS)} whether they are there.",
            do="Save the fusion layers again with `save_adapter_fusion`.",
        )
    name = config.get("name")
    if not isinstance(name, str) or not name or "." in name:
        raise FormatError(f"`name` in {where} is {name!r}, and must be text without dots.", do="Correct it in that file.")
    if not (inner["query"] and inner["key"]):
        raise ConversionError(
            f"{where} says query={inner['query']} and key={inner['key']}: without both, activations and updates are multiplied "
            "as they are, and that cannot be carried to other units.",
            do="Train the fusion layers with both (`static` or `dynamic`).",
        )
    return {**config, "config": dict(inner), "name": name}


def fused_adapters(config: Mapping[str, Any]) -> list[str]:
    """List the adapters that are fused.

    Args:
        config: What `adapter_fusion_config.json` holds.

    Returns:
        Their names, in order; by default the parts of the fusion's own name.
    """
    names = config.get("adapter_names")
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    return str(names if isinstance(names, str) else config.get("name", "")).split(",")


def layer_parts(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the tensors of one fusion layer.

    Args:
        config: What `adapter_fusion_config.json` holds, checked.

    Returns:
        Ends of keys, which are the parts of the piece too.
    """
    value = ("value.weight",) if config["config"]["value"] else ()
    return ("query.weight", "query.bias", "key.weight", "key.bias", *value)
