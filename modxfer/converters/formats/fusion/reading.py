"""AdapterFusion layers of the `adapters` format, read: config and keys to pieces.

Source: adapters 1.3, `AdapterFusionLoader` in `loading.py`, `BottleneckLayer.compose_fuse` in `methods/bottleneck.py`.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from modxfer.architectures import RESIDUAL, Architecture, Point, Route, Side
from modxfer.converters.formats.adapters.bottleneck import LAST_ROLES
from modxfer.converters.formats.adapters.heads import parse_head
from modxfer.converters.formats.checks import check_shape, listing
from modxfer.converters.formats.classes import in_adapters
from modxfer.converters.formats.fusion.configs import FUSION_CONFIG_FILE, layer_parts
from modxfer.converters.methods import FUSION
from modxfer.converters.module import Array, Module, ModuleFiles, Piece, Place
from modxfer.errors import FormatError

MARKER = "adapter_fusion_layer"

_WHERE = f"`{FUSION_CONFIG_FILE}`"
_HEAD_FILES = frozenset({"model_head.safetensors", "pytorch_model_head.bin"})


def parse(files: ModuleFiles, tensors: Mapping[str, Array], teacher: Architecture) -> Module:
    """Turn the config and tensors of fusion layers into pieces.

    Args:
        files: What is known of the module from its configs.
        tensors: Key to tensor, checked to be finite and floating-point.
        teacher: The base model that the module belongs to.

    Returns:
        The module.

    Raises:
        FormatError: a key is unknown, a tensor is missing, or a shape does not fit.
        ConversionError: the head is of a kind that cannot be moved.
    """
    said, hidden = files.config.get("hidden_size"), teacher.dimensions[RESIDUAL]
    if said not in (None, hidden):
        raise FormatError(
            f"{_WHERE} says that the base model is {said} units wide, and `{teacher.name}` has {hidden}.",
            do="Name the base model that the module was trained on with `--from`.",
        )
    in_head = {header.key for header in files.tensors if header.file in _HEAD_FILES}
    found, inside = _sort(files, {key: tensor for key, tensor in tensors.items() if key not in in_head}, teacher)
    _check_complete(files, found, teacher)
    pieces = {}
    for place, parts in found.items():
        width = teacher.dimensions[teacher.family.stacks[place.stack].residual]
        for part, tensor in parts.items():
            shape = (width,) * len(FUSION.parts[part])
            check_shape(f"{place}, {part}", tensor, shape, where="the module", base=teacher.name)
        route = _route(place.name, files.config["config"])
        pieces[place] = Piece(method=FUSION, route=route, parts={part: parts[part] for part in FUSION.parts if part in parts})
    head, head_pieces = parse_head(files, {key: tensors[key] for key in in_head}, teacher)
    return Module(
        format="adapters",
        method="fusion",
        name=files.name,
        config=files.config,
        pieces={**pieces, **head_pieces},
        head=head,
        base=files.base,
        inside_task_model=inside,
    )


def fusion_places(base: Architecture) -> dict[str, Place]:
    """List where a base model can have fusion layers: wherever it can have bottlenecks.

    Args:
        base: The base model.

    Returns:
        Path relative to the base model to place.
    """
    base = in_adapters(base)
    return {
        f"{table.layer.format(layer=layer)}.{path}": Place(stack, layer, name)
        for stack, table in base.family.stacks.items()
        for layer in range(base.depths[stack])
        for name, path in table.bottlenecks.items()
    }


def _sort(files: ModuleFiles, tensors: Mapping[str, Array], base: Architecture) -> tuple[dict[Place, dict[str, Array]], bool]:
    """Split every key into place and part."""
    base = in_adapters(base)
    places, parts = fusion_places(base), layer_parts(files.config)
    found: dict[Place, dict[str, Array]] = defaultdict(dict)
    prefixes = set()
    for key, tensor in tensors.items():
        owner, _, end = key.partition(f".{MARKER}.{files.name}.")
        path = owner.removeprefix(f"{base.family.prefix}.")
        if path not in places or end not in parts:
            raise FormatError(
                f"The module holds `{key}`, and fusion layers `{files.name}` on `{base.name}` ({base.model_type}) have "
                f"{listing(parts)} at {listing({place.name for place in places.values()}) or 'no place'} of each layer.",
                do="Name the right base model with `--from`, or fetch the module again.",
            )
        prefixes.add(path != owner)
        found[places[path]][end] = tensor
    if len(prefixes) != 1:
        raise FormatError(
            f"The module holds {'no tensors' if not prefixes else f'keys with and without `{base.family.prefix}.`'}.",
            do="Fetch the module again.",
        )
    return found, prefixes == {True}


def _check_complete(files: ModuleFiles, found: Mapping[Place, Mapping[str, Array]], base: Architecture) -> None:
    """Refuse layers of which a part is missing, for `adapters` would fill it with noise."""
    names = {place.name for place in found}
    needed = [place for place in fusion_places(base).values() if place.name in names]
    lost = [f"{place}, {part}" for place in needed for part in layer_parts(files.config) if part not in found.get(place, {})]
    if lost:
        raise FormatError(
            f"{_WHERE} asks for {listing(lost)}, and the module does not hold that.",
            do="Fetch the module again: it is incomplete. Or name the base model that it was trained on with `--from`.",
        )


def _route(name: str, inner: Mapping[str, Any]) -> Route:
    """Say which points a fusion layer asks and writes.

    They depend on the adapters that are fused, whose configs lie elsewhere: taken are those of sequential bottlenecks after
    Pfeiffer et al., which fusion was made for. Other bottlenecks use other points of the same residual stream.
    """
    asks = Point(LAST_ROLES[name] if inner.get("query_before_ln") else name, Side.OUTPUT)
    return Route(reads=asks, writes=Point(f"{name}_sum", Side.OUTPUT))
