"""The `adapters` format, read: config and keys of a bottleneck or a LoRA to pieces.

Source: adapters 1.3, `methods/modeling.py` and `methods/bottleneck.py` (what a bottleneck reads and writes),
`methods/lora.py`,
`loading.py` (names of keys).
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from modxfer.architectures import Architecture, Point, Route, Side
from modxfer.converters.formats.adapters.configs import BOTTLENECK_DEFAULTS, CONFIG_FILE, LORA_DEFAULTS
from modxfer.converters.formats.adapters.heads import parse_head
from modxfer.converters.formats.checks import check_shape, listing, number, strings, whole, whole_numbers
from modxfer.converters.methods import BOTTLENECK, LORA, route_of_role
from modxfer.converters.module import Array, Module, ModuleFiles, Piece, Place, Scaling
from modxfer.errors import FormatError

LEGACY_KEYS = {
    "attention_text_task_adapters": "adapters",
    "attention_text_lang_adapters": "adapters",
    "layer_text_task_adapters": "adapters",
    "layer_text_lang_adapters": "adapters",
    "invertible_lang_adapters": "invertible_adapters",
}
"""Pieces of keys that older versions wrote, and what they mean."""

LORA_ROLES = {"q": "query", "k": "key", "v": "value"}
"""Entry of `attn_matrices` to role."""

_SUB_BLOCKS = {
    "attention": ("attention_norm", "attention_output", "query"),
    "ffn": ("ffn_norm", "ffn_down", "ffn_up"),
}
"""Sub-block of a layer to the roles of its normalisation, of its last projection and of its first."""


def current_key(key: str) -> str:
    """Write a key as the current version does.

    Args:
        key: A key of any age.

    Returns:
        The current key.
    """
    for old, new in LEGACY_KEYS.items():
        key = key.replace(old, new)
    return key


def part_keys(inner: Mapping[str, Any]) -> dict[str, str]:
    """Name the tensors of one bottleneck.

    Args:
        inner: What the config holds under `config`.

    Returns:
        End of a key to part; a normalisation before the projection has two keys for each of its tensors.
    """
    has_norm = bool(inner.get("ln_before", BOTTLENECK_DEFAULTS["ln_before"]))
    down = "adapter_down.1" if has_norm else "adapter_down.0"
    modules = {down: "down", "adapter_up": "up"}
    if has_norm:
        modules |= {"adapter_norm_before": "norm_before", "adapter_down.0": "norm_before"}
    if inner.get("ln_after", BOTTLENECK_DEFAULTS["ln_after"]):
        modules["adapter_norm_after"] = "norm_after"
    if inner.get("use_gating", BOTTLENECK_DEFAULTS["use_gating"]):
        modules["gate"] = "gate"
    keys = {f"{module}.{end}": f"{part}.{end}" for module, part in modules.items() for end in ("weight", "bias")}
    scaling = inner.get("scaling", BOTTLENECK_DEFAULTS["scaling"])
    if scaling in ("learned", "channel"):
        keys["scaling"] = "scaling" if scaling == "learned" else "scaling_per_unit"
    return keys


def bottleneck_route(inner: Mapping[str, Any], name: str) -> Route:
    """Say which points of its layer a bottleneck reads and writes.

    Args:
        inner: What the config holds under `config`.
        name: "attention" or "ffn".

    Returns:
        The route.
    """
    norm, last, first = _SUB_BLOCKS[name]
    values = {**BOTTLENECK_DEFAULTS, **inner}
    if values["is_parallel"]:
        reads = Point(first, Side.INPUT)
    elif values["original_ln_before"]:
        reads = Point(norm, Side.OUTPUT)
    else:
        reads = Point(last, Side.OUTPUT)
    return Route(reads=reads, writes=Point(norm, Side.INPUT if values["original_ln_after"] else Side.OUTPUT))


def owners(base: Architecture, config: Mapping[str, Any], method: str, *, where: str) -> dict[str, Place]:
    """List the submodules of a base model that a config gives tensors.

    Args:
        base: The base model.
        config: The module's config, upgraded.
        method: "lora" or "bottleneck".
        where: The file, for messages.

    Returns:
        Path relative to the base model to place.

    Raises:
        FormatError: a value that says where the module goes cannot be read.
    """
    inner = config["config"]
    names = lora_roles(inner, where=where) if method == "lora" else bottleneck_names(inner)
    left_out = set(whole_numbers(inner, "leave_out", where=where))
    found = {}
    for stack, table in base.family.stacks.items():
        for layer in range(base.depths[stack]):
            if layer not in left_out:
                for name in names:
                    path = base.role_path(stack, layer, name) if method == "lora" else None
                    path = path or f"{table.layer.format(layer=layer)}.{table.bottlenecks[name]}"
                    found[path] = Place(stack, layer, name)
    return found


def lora_roles(inner: Mapping[str, Any], *, where: str) -> list[str]:
    """List the roles that a LoRA's config names.

    Args:
        inner: What the config holds under `config`.
        where: The file, for messages.

    Returns:
        The roles.

    Raises:
        FormatError: `attn_matrices` cannot be read, or holds an unknown entry.
    """
    values = {**LORA_DEFAULTS, **inner}
    matrices = strings(values, "attn_matrices", where=where)
    unknown = set(matrices) - set(LORA_ROLES)
    if unknown:
        raise FormatError(
            f"`attn_matrices` in {where} names {listing(unknown)}; known are {listing(LORA_ROLES)}.",
            do="Correct it in that file.",
        )
    roles = [role for letter, role in LORA_ROLES.items() if letter in matrices and values["selfattn_lora"]]
    return roles + [role for key, role in (("intermediate_lora", "ffn_up"), ("output_lora", "ffn_down")) if values[key]]


def bottleneck_names(inner: Mapping[str, Any]) -> list[str]:
    """List the sub-blocks in which a config puts a bottleneck.

    Args:
        inner: What the config holds under `config`.

    Returns:
        Some of "attention" and "ffn".
    """
    return [name for key, name in (("mh_adapter", "attention"), ("output_adapter", "ffn")) if inner.get(key)]


def inner_size(inner: Mapping[str, Any], layer: int, hidden: int, *, where: str) -> int:
    """Compute a bottleneck's inner size as `adapters` does.

    Args:
        inner: What the config holds under `config`.
        layer: The layer's index.
        hidden: Width of the residual stream in units.
        where: The file, for messages.

    Returns:
        The inner size in units.

    Raises:
        FormatError: the reduction factor is no number above 0, or a table that leaves the layer out.
    """
    factor = inner.get("reduction_factor")
    if isinstance(factor, dict):
        factor = factor.get(str(layer), factor.get("default"))
    value = number({"reduction_factor": factor}, "reduction_factor", where=where)
    if value <= 0:
        raise FormatError(f"`reduction_factor` in {where} is {value!r}, and must be above 0.", do="Correct it in that file.")
    return max(int(hidden // value), 1)


def parse(files: ModuleFiles, tensors: Mapping[str, Array], teacher: Architecture) -> Module:
    """Turn an `adapters` module's config and tensors into pieces.

    Args:
        files: What is known of the module from its configs.
        tensors: Key to tensor, checked to be finite and floating-point.
        teacher: The base model that the module belongs to.

    Returns:
        The module.

    Raises:
        FormatError: a key is unknown, a shape does not fit, or config and tensors disagree.
        ConversionError: the head is of a kind that cannot be moved.
    """
    where = f"`{CONFIG_FILE}`"
    said, hidden = files.config.get("hidden_size"), teacher.dimensions["hidden"]
    if said is not None and said != hidden:
        raise FormatError(
            f"{where} says that the base model is {said} units wide, and `{teacher.name}` has {hidden}.",
            do="Name the base model that the module was trained on with `--from`.",
        )
    in_head = {header.key for header in files.tensors if is_head_file(header.file)}
    body = {current_key(key): tensor for key, tensor in tensors.items() if key not in in_head}
    expected = owners(teacher, files.config, files.method, where=where)
    found, inside = _sort_keys(body, files, expected, teacher)
    _check_complete(found, expected, files, where=where)
    build = _lora_piece if files.method == "lora" else _bottleneck_piece
    pieces = {expected[path]: build(files, path, expected[path], found[path], teacher, where=where) for path in found}
    head, head_pieces = parse_head(files, {key: tensors[key] for key in in_head}, teacher)
    return Module(
        format="adapters",
        method=files.method,
        name=files.name,
        config=files.config,
        pieces={**pieces, **head_pieces},
        head=head,
        base=files.base,
        inside_task_model=inside,
    )


def is_head_file(name: str) -> bool:
    """Say whether a file holds the head's tensors.

    Args:
        name: The file's name.

    Returns:
        Whether it is one of the two names for that.
    """
    return name in {"model_head.safetensors", "pytorch_model_head.bin"}


def _sort_keys(
    tensors: Mapping[str, Array], files: ModuleFiles, expected: Mapping[str, Place], base: Architecture
) -> tuple[dict[str, dict[str, Array]], bool]:
    """Split every key into the submodule's path and the tensor's part."""
    marker = f".{'loras' if files.method == 'lora' else 'adapters'}.{files.name}."
    parts = {"lora_A": "down", "lora_B": "up"} if files.method == "lora" else part_keys(files.config["config"])
    found: dict[str, dict[str, Array]] = defaultdict(dict)
    prefixes = set()
    for key, tensor in tensors.items():
        owner, _, end = key.partition(marker)
        path = owner.removeprefix(f"{base.family.prefix}.")
        if end not in parts or path not in expected:
            _refuse_key(key, end, parts, files, expected, base)
        prefixes.add(path != owner)
        part = parts[end]
        if part in found[path] and not np.array_equal(found[path][part], tensor):
            raise FormatError(f"`{key}` is stored twice, with different values.", do="Save the module again.")
        found[path][part] = tensor
    if len(prefixes) != 1:
        raise FormatError(
            f"The module holds {'no tensors' if not prefixes else f'keys with and without `{base.family.prefix}.`'}.",
            do="Fetch the module again.",
        )
    return found, prefixes == {True}


def _refuse_key(
    key: str,
    end: str,
    parts: Mapping[str, str],
    files: ModuleFiles,
    expected: Mapping[str, Place],
    base: Architecture,
) -> None:
    """Raise for a key that the config does not explain."""
    kinds = sorted({place.name for place in expected.values()})
    problem = f"{files.method} `{files.name}` has no tensor of that name (it has {', '.join(parts)})"
    if end in parts:
        depths = ", ".join(f"{depth} layers" for depth in base.depths.values())
        problem = (
            f"its config gives `{base.name}` ({base.model_type}, {depths}) no {files.method} there (known: {', '.join(kinds)})"
        )
    raise FormatError(
        f"The module holds `{key}`, and {problem}.",
        do="Name the right base model with `--from`, or fetch the module again: config and tensors do not belong together.",
    )


def _check_complete(
    found: Mapping[str, Mapping[str, Array]], expected: Mapping[str, Place], files: ModuleFiles, *, where: str
) -> None:
    """Refuse a module that lacks tensors which its config asks for."""
    parts = {"down", "up"} if files.method == "lora" else set(part_keys(files.config["config"]).values())
    lost = [f"{path}, {part}" for path in expected for part in parts if part not in found.get(path, {})]
    if lost:
        raise FormatError(
            f"{where} asks for {listing(lost)}, and the module does not hold that.",
            do="Fetch the module again: it is incomplete. Or name the base model that it was trained on with `--from`.",
        )


def _lora_piece(
    files: ModuleFiles, path: str, place: Place, parts: Mapping[str, Array], base: Architecture, *, where: str
) -> Piece:
    """Build the piece of one LoRA."""
    inner = {**LORA_DEFAULTS, **files.config["config"]}
    rank = whole(inner, "r", where=where)
    submodule = base.family.stacks[place.stack].roles[place.name]
    shapes = {
        "down": (rank, base.dimensions[submodule.reads]),
        "up": (base.dimensions[submodule.writes], rank),
    }
    for part, shape in shapes.items():
        check_shape(f"{path}, {part}", parts[part], shape, where=f"the module (rank {rank})", base=base.name)
    return Piece(
        method=LORA,
        route=route_of_role(place.name),
        parts={part: parts[part] for part in shapes},
        scaling=Scaling(rank=rank, alpha=float(number(inner, "alpha", where=where))),
    )


def _bottleneck_piece(
    files: ModuleFiles, path: str, place: Place, parts: Mapping[str, Array], base: Architecture, *, where: str
) -> Piece:
    """Build the piece of one bottleneck."""
    inner, hidden = files.config["config"], base.dimensions["hidden"]
    size = inner_size(inner, place.layer, hidden, where=where)
    private = {
        "down.weight": size,
        "down.bias": size,
        "up.weight": size,
        "scaling": 1,
        "gate.weight": 1,
        "gate.bias": 1,
    }
    for part, tensor in parts.items():
        shape = tuple(private[part] if axis is None else hidden for axis in BOTTLENECK.parts[part])
        label = f"the module (reduction_factor gives {size} units inside)"
        check_shape(f"{path}, {part}", tensor, shape, where=label, base=base.name)
    return Piece(
        method=BOTTLENECK,
        route=bottleneck_route(inner, place.name),
        parts={part: parts[part] for part in BOTTLENECK.parts if part in parts},
    )
