"""Families that are not in the table, read off a base model's submodules: their names, and the shapes of their weights.

Only what is unambiguous is read: one stack of equal layers, one matrix for each role, and sizes that agree with each other and
with the config. Everything else is refused with what was found, since a module on a misread role would load and be wrong.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modxfer.architectures.architecture import Architecture, architecture_from_config
from modxfer.architectures.sites import Point
from modxfer.architectures.structure import RESIDUAL, VOCABULARY, Family, Kind, Stack, Submodule, same_points
from modxfer.errors import ArchitectureError

_MATRICES: Mapping[str, tuple[str, ...]] = {
    "query": ("q_proj", "query", "q_lin", "query_proj"),
    "key": ("k_proj", "key", "k_lin", "key_proj"),
    "value": ("v_proj", "value", "v_lin", "value_proj"),
    "attention_output": (
        "o_proj",
        "out_lin",
        "attention.output.dense",
        "attention.dense",
        "attention.out_proj",
        "attn.out_proj",
        "attn.c_proj",
        "self_attn.dense",
        "self_attn.out_proj",
    ),
    "ffn_up": ("up_proj", "fc1", "lin1", "c_fc", "fc_in", "dense_h_to_4h", "intermediate.dense"),
    "ffn_gate": ("gate_proj",),
    "ffn_down": ("down_proj", "fc2", "lin2", "mlp.c_proj", "fc_out", "dense_4h_to_h", "output.dense"),
}
"""Role in a layer to the ends of the names that it is known by; of several that fit, the longest counts."""

_OPTIONAL = frozenset({"ffn_gate"})

_NORMS: tuple[Mapping[str, str], ...] = (
    {"attention.output.LayerNorm": "attention_norm", "output.LayerNorm": "ffn_norm"},
    {"attention.self_attn_layer_norm": "attention_norm", "LayerNorm": "ffn_norm"},
    {"input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"},
    {"post_attention_layernorm": "attention_norm", "post_feedforward_layernorm": "ffn_norm"},
    {
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "attention_post_norm",
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "ffn_post_norm",
    },
    {"input_layernorm": "attention_norm"},
    {"ln_1": "attention_norm", "ln_2": "ffn_norm"},
)
"""Normalisations of a whole layer, and their roles; those of a layer with any other set of names get none."""

_EMBEDDINGS = ("embed_tokens", "word_embeddings", "wte", "tok_embeddings", "embed_in")
_EMBEDDINGS_PROJECT = ("embeddings_project", "embedding_hidden_mapping_in", "embedding_projection")

_SAID: Mapping[str, tuple[str, ...]] = {
    RESIDUAL: ("hidden_size", "n_embd", "d_model"),
    "ffn": ("intermediate_size", "ffn_dim", "n_inner", "d_ff"),
    VOCABULARY: ("vocab_size",),
    "depth": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "head count": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "key-value head count": ("num_key_value_heads", "num_kv_heads"),
    "head size": ("head_dim",),
}
"""Size to the config keys that say it."""

_TASK_PREFIXES = frozenset({"model", "transformer"})

_STAND_INS = same_points({"pooler.input": "final.output", "pooler.output": "final.output"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """A base model without its weights.

    Attributes:
        shapes: Name of each parameter to its shape; relative to the base model, or to a task model that holds it.
        prefix: The attribute under which task models hold the base model; None where that is not known.
        kind: What a position has read; None where that is not known.
    """

    shapes: Mapping[str, tuple[int, ...]]
    prefix: str | None = None
    kind: Kind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layers:
    """The one stack: the path of its layers' list, how many there are, and what each of them has."""

    container: str
    depth: int
    shapes: Mapping[str, tuple[int, ...]]


class _Unclear(Exception):
    """Why a structure cannot be read, as the end of a sentence."""


def infer_architecture(config: Mapping[str, Any], skeleton: Skeleton, *, name: str) -> Architecture:
    """Read the structure of a base model whose family is not in the table.

    Args:
        config: What its `config.json` holds.
        skeleton: Its parameters' names and shapes.
        name: What to call it in messages.

    Returns:
        The structure; its family says that it was inferred, and has numbers for sizes.

    Raises:
        ArchitectureError: the structure is ambiguous, or contradicts itself or the config.
    """
    try:
        family = _family(config, skeleton)
    except _Unclear as why:
        raise ArchitectureError(
            f"`{name}` is of the family `{config.get('model_type')}`, which is not in the table, and cannot be read off its "
            f"structure: {why}.",
            do="Add a row for the family; CONTRIBUTING.md says how.",
        ) from None
    return architecture_from_config(config, name=name, family=family)


def skeleton_from_names(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Skeleton | None:
    """Make a skeleton of the names in a base model's files, where they and the config tell all that it takes.

    Args:
        config: What its `config.json` holds.
        shapes: Name to shape of the tensors in its files.

    Returns:
        The skeleton; None where they do not tell which part of the names is a task model's, or what a position has read.
    """
    if "quantization_config" in config:  # shapes are those of packed weights
        return None
    word = str(config.get("model_type"))
    known = _TASK_PREFIXES | {word, word.replace("-", "_"), word.replace("-", "").replace("_", "")}
    firsts = {key.partition(".")[0] for key in shapes if re.search(r"\.\d+\.", key) or _ends(_owner(key), _EMBEDDINGS)}
    made_as = config.get("architectures")
    made_as = str(made_as[0]) if isinstance(made_as, list) and made_as else ""
    if len(firsts) != 1 or not firsts <= known or made_as.endswith("Model"):
        return None
    prefix = firsts.pop()
    kind = None
    if made_as.endswith("ForCausalLM") and prefix in _TASK_PREFIXES:
        kind = Kind.DECODER
    elif made_as.endswith("ForMaskedLM") and not config.get("is_decoder"):
        kind = Kind.ENCODER
    return None if kind is None else Skeleton(shapes=shapes, prefix=prefix, kind=kind)


def skeleton_from_library(folder: Path) -> Skeleton | None:
    """Let `transformers` make a base model without weights. Imports torch.

    Args:
        folder: The base model's folder; only its config is read.

    Returns:
        The skeleton; None where `transformers` does not know the family.
    """
    import torch
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    is_masked = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
    is_causal = not is_masked and type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    auto: Any = transformers.AutoModelForCausalLM if is_causal else transformers.AutoModel
    try:
        with torch.device("meta"):
            model = auto.from_config(config, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, RuntimeError, ZeroDivisionError):
        return None
    return Skeleton(
        shapes={key: tuple(tensor.shape) for key, tensor in model.state_dict().items()},
        prefix=str(model.base_model_prefix),
        kind=Kind.ENCODER if is_masked else Kind.DECODER if is_causal else None,
    )


def _family(config: Mapping[str, Any], skeleton: Skeleton) -> Family:
    """Read a family's row off a skeleton."""
    _refuse_special(config, skeleton)
    assert skeleton.prefix is not None
    assert skeleton.kind is not None
    start = f"{skeleton.prefix}."
    inside = {key.removeprefix(start): shape for key, shape in skeleton.shapes.items() if key.startswith(start)}
    outside = {key: shape for key, shape in skeleton.shapes.items() if not key.startswith(start)} if inside else {}
    base = inside or skeleton.shapes
    layers = _stack(base)
    matrices = _matrices(layers)
    sizes = _sizes(layers, matrices)
    around = {key: shape for key, shape in base.items() if not key.startswith(f"{layers.container}.")}
    modules, widths = _around(around, outside, hidden=sizes[RESIDUAL])
    sizes |= widths
    _check_config(config, sizes, depth=layers.depth)
    roles = _roles(layers, matrices, kv="kv_heads" if "kv_heads" in sizes else "heads")
    final = _final(around, layers, hidden=sizes[RESIDUAL])
    if f"{final}.weight" in around:
        has_bias = f"{final}.bias" in around
        modules["final_norm"] = Submodule(path=final, reads=RESIDUAL, writes=RESIDUAL, elementwise=True, biased=has_bias)
    return Family(
        kind=skeleton.kind,
        prefix=skeleton.prefix,
        classes=_classes(config),
        dimensions={key: (size,) for key, size in sizes.items()},
        stacks={
            "decoder" if skeleton.kind is Kind.DECODER else "encoder": Stack(
                layer=layers.container + ".{layer}", depth=(layers.depth,), roles=roles, same=_same(roles)
            )
        },
        modules=modules,
        final=final,
        stand_ins=_STAND_INS if "pooler" in modules else {},
        inferred=True,
    )


def _refuse_special(config: Mapping[str, Any], skeleton: Skeleton) -> None:
    """Refuse what changes the meaning of names."""
    if config.get("is_encoder_decoder"):
        raise _Unclear("it has a stack of encoder layers and one of decoder layers")
    if config.get("is_causal") is False or config.get("use_bidirectional_attention"):
        raise _Unclear("its config changes what a position has read")
    if skeleton.kind is None or skeleton.prefix is None:
        raise _Unclear("it is neither an encoder nor a decoder of text alone")


def _stack(shapes: Mapping[str, tuple[int, ...]]) -> _Layers:
    """Find the one list of equal layers that have attention."""
    lists: dict[str, dict[int, dict[str, tuple[int, ...]]]] = {}
    for key, shape in shapes.items():
        found = re.match(r"((?:[^.\d][^.]*\.)+)(\d+)\.(.+)", key)
        if found:
            lists.setdefault(found[1].rstrip("."), {}).setdefault(int(found[2]), {})[found[3]] = shape
    lists = {
        path: layers
        for path, layers in lists.items()
        if any(_is_attention(key, shape) for layer in layers.values() for key, shape in layer.items())
    }
    if len(lists) != 1:
        raise _Unclear(f"it has {len(lists)} stacks of layers with attention{_listed(sorted(lists))}")
    container, layers = lists.popitem()
    first = layers.get(0, {})
    for index in range(len(layers)):
        other = layers.get(index, {})
        if other != first:
            odd = sorted(key for key in {*first, *other} if first.get(key) != other.get(key))
            raise _Unclear(f"its layers {container}.0 and {container}.{index} differ{_listed(odd)}")
    return _Layers(container=container, depth=len(layers), shapes=first)


def _is_attention(key: str, shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and re.search("attn|attention", key, re.IGNORECASE) is not None


def _matrices(layers: _Layers) -> dict[str, str]:
    """Find each role's matrix in a layer; every matrix there must be one's."""
    found: dict[str, list[str]] = {}
    unknown = []
    for key, shape in layers.shapes.items():
        if len(shape) > 1:
            path = _owner(key)
            role = _role(path) if key.endswith(".weight") and len(shape) == 2 else None
            if role is None:
                unknown.append(f"{key} {list(shape)}")
            else:
                found.setdefault(role, []).append(path)
    if unknown:
        raise _Unclear(f"its layers have matrices that are no single role's by their name{_listed(unknown)}")
    for role, paths in found.items():
        if len(paths) > 1:
            raise _Unclear(f"{len(paths)} matrices of a layer could be {role}{_listed(paths)}")
    lost = sorted(set(_MATRICES) - _OPTIONAL - set(found))
    if lost:
        raise _Unclear(f"no matrix of a layer has a name of {', '.join(lost)}")
    return {role: found[role][0] for role in _MATRICES if role in found}


def _role(path: str) -> str | None:
    """Name the role of a matrix by the longest end of its name that is known."""
    fits = [(len(end), role) for role, ends in _MATRICES.items() for end in ends if _ends(path, (end,))]
    return max(fits)[1] if fits else None


def _sizes(layers: _Layers, matrices: Mapping[str, str]) -> dict[str, int]:
    """Take the widths off the matrices' shapes, which must agree."""
    rows, columns = ({role: layers.shapes[f"{path}.weight"][side] for role, path in matrices.items()} for side in (0, 1))
    hidden, heads, ffn = columns["query"], rows["query"], rows["ffn_up"]
    wanted = {
        "query": (heads, hidden),
        "key": (rows["key"], hidden),
        "value": (rows["key"], hidden),
        "attention_output": (hidden, heads),
        "ffn_up": (ffn, hidden),
        "ffn_gate": (ffn, hidden),
        "ffn_down": (hidden, ffn),
    }
    for role in matrices:
        if (rows[role], columns[role]) != wanted[role]:
            raise _Unclear(
                f"{matrices[role]} has shape {[rows[role], columns[role]]}, and by the other matrices of a layer {role} has "
                f"{list(wanted[role])}"
            )
    if ffn == hidden:
        raise _Unclear("its feed-forward matrices are square, so their shapes do not say which axis is the input")
    return {RESIDUAL: hidden, "heads": heads, "ffn": ffn, **({"kv_heads": rows["key"]} if rows["key"] != heads else {})}


def _around(
    shapes: Mapping[str, tuple[int, ...]], outside: Mapping[str, tuple[int, ...]], *, hidden: int
) -> tuple[dict[str, Submodule], dict[str, int]]:
    """Read what is outside the layers: embeddings, what follows them, a pooler, and what predicts tokens."""
    tables = [_owner(key) for key, shape in shapes.items() if len(shape) == 2 and _ends(_owner(key), _EMBEDDINGS)]
    if len(tables) != 1:
        raise _Unclear(f"it has {len(tables)} tables of token embeddings{_listed(tables)}")
    vocabulary, width = shapes[f"{tables[0]}.weight"]
    embedding = RESIDUAL if width == hidden else "embedding"
    modules = {"embeddings": Submodule(path=tables[0], reads=VOCABULARY, writes=embedding, transposed=True, biased=False)}
    parent = tables[0].rpartition(".")[0]
    norm = f"{parent}.LayerNorm"
    if shapes.get(f"{norm}.weight") == (width,) and parent:
        modules["embeddings_norm"] = Submodule(path=norm, reads=embedding, writes=embedding, elementwise=True)
    if width != hidden:
        between = [_owner(key) for key, shape in shapes.items() if shape == (hidden, width)]
        paths = [path for path in between if _ends(path, _EMBEDDINGS_PROJECT)]
        if len(paths) != 1:
            raise _Unclear(f"its embeddings have {width} units and its layers {hidden}, and no known matrix is between them")
        modules["embeddings_project"] = _matrix(shapes, paths[0], reads=embedding, writes=RESIDUAL, between_widths=True)
    if shapes.get("pooler.dense.weight") == (hidden, hidden):
        modules["pooler"] = _matrix(shapes, "pooler.dense", reads=RESIDUAL, writes=RESIDUAL)
    if outside.get("lm_head.weight") == (vocabulary, hidden):
        modules["lm_head"] = _matrix(outside, "lm_head", reads=RESIDUAL, writes=VOCABULARY, outside_base=True)
    return modules, {VOCABULARY: vocabulary, **({"embedding": width} if width != hidden else {})}


def _matrix(shapes: Mapping[str, tuple[int, ...]], path: str, **options: Any) -> Submodule:
    return Submodule(path=path, biased=f"{path}.bias" in shapes, **options)


def _check_config(config: Mapping[str, Any], sizes: Mapping[str, int], *, depth: int) -> None:
    """Hold the sizes against what the config says of them."""
    said = {size: (key, config[key]) for size, keys in _SAID.items() for key in keys if type(config.get(key)) is int}
    if "depth" not in said:
        raise _Unclear("its config does not say how many layers it has")
    for size, value in {**sizes, "depth": depth}.items():
        if size in said and said[size][1] != value:
            shared = ", as where layers share theirs" if size == "depth" else ""
            raise _Unclear(f"its config says {said[size][0]}={said[size][1]}, and its weights have {value}{shared}")
    heads = said.get("head count", ("", 0))[1]
    if heads and sizes["heads"] % heads:
        raise _Unclear(f"its queries have {sizes['heads']} units, which {heads} heads do not share evenly")
    if heads and said.get("head size", ("", sizes["heads"] // heads))[1] * heads != sizes["heads"]:
        raise _Unclear(f"its queries have {sizes['heads']} units, and its config says {heads} heads of {said['head size'][1]}")
    groups = said.get("key-value head count", ("", heads))[1]
    if heads and sizes.get("kv_heads", sizes["heads"]) * heads != groups * sizes["heads"]:
        raise _Unclear(
            f"its keys have {sizes.get('kv_heads', sizes['heads'])} units, and its config says {groups} heads for them, and "
            f"{heads} for {sizes['heads']} units of queries"
        )


def _roles(layers: _Layers, matrices: Mapping[str, str], *, kv: str) -> dict[str, Submodule]:
    """Make the rows of a layer's roles, in the usual order."""
    between = {
        "query": (RESIDUAL, "heads"),
        "key": (RESIDUAL, kv),
        "value": (RESIDUAL, kv),
        "attention_output": ("heads", RESIDUAL),
        "ffn_up": (RESIDUAL, "ffn"),
        "ffn_gate": (RESIDUAL, "ffn"),
        "ffn_down": ("ffn", RESIDUAL),
    }
    roles = {
        role: _matrix(layers.shapes, path, reads=between[role][0], writes=between[role][1]) for role, path in matrices.items()
    }
    hidden = layers.shapes[f"{matrices['query']}.weight"][1]
    norms = {_owner(key) for key, shape in layers.shapes.items() if key.endswith(".weight") and shape == (hidden,)}
    norms = {path for path in norms if not re.search(r"(^|[._])(q|k|query|key)_", path)}  # inside the attention
    for table in _NORMS:
        if norms == set(table):
            for path, role in table.items():
                has_bias = f"{path}.bias" in layers.shapes
                roles[role] = Submodule(path=path, reads=RESIDUAL, writes=RESIDUAL, elementwise=True, biased=has_bias)
    return roles


def _same(roles: Iterable[str]) -> dict[Point, Point]:
    """Say which points are one: query, key and value read the same, and so do the gate and what it gates."""
    same = {"key.input": "query.input", "value.input": "query.input"}
    return same_points({**same, **({"ffn_gate.input": "ffn_up.input"} if "ffn_gate" in roles else {})})


def _final(shapes: Mapping[str, tuple[int, ...]], layers: _Layers, *, hidden: int) -> str:
    """Find what the final hidden state comes out of: a normalisation beside the list of layers, or the last one's own."""
    parent = layers.container.rpartition(".")[0]
    beside = [
        path
        for key, shape in shapes.items()
        for path in (_owner(key),)
        if key.endswith(".weight") and shape == (hidden,) and path.rpartition(".")[0] == parent and "emb" not in path.lower()
    ]
    if len(beside) == 1:
        return beside[0]
    if not beside and layers.shapes.get("output.LayerNorm.weight") == (hidden,):
        return layers.container + ".{last}.output.LayerNorm"
    raise _Unclear(f"{len(beside)} normalisations could be behind its last layer{_listed(beside)}")


def _classes(config: Mapping[str, Any]) -> str:
    """Name what its classes begin with; empty where the config does not say."""
    names = config.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else ""
    return re.sub(r"(For[A-Z]\w*|LMHeadModel|Model)$", "", name)


def _owner(key: str) -> str:
    return key.rpartition(".")[0]


def _ends(path: str, ends: Iterable[str]) -> bool:
    return any(path == end or path.endswith(f".{end}") for end in ends)


def _listed(items: Iterable[str]) -> str:
    """List things behind a sentence: the first few in brackets."""
    items = list(items)
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return f" ({', '.join(f'`{item}`' for item in items[:3])}{more})" if items else ""
