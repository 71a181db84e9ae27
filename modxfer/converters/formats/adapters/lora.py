"""LoRA in the `adapters` format: plain, with a gate, DoRA, VeRA and both of these together.

Source: adapters 1.3, `methods/lora.py`. A gate takes the place of the scaling. VeRA's matrices, shared and own, are
multiplied out into a plain LoRA.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modxfer.architectures import Architecture
from modxfer.converters.formats.adapters.configs import LORA_DEFAULTS
from modxfer.converters.formats.adapters.kinds import Config, Found, Kind, Owner, Setup, whereabouts
from modxfer.converters.formats.checks import check_shape, listing, number, strings, whole
from modxfer.converters.methods import IA3, LORA, route_of_role
from modxfer.converters.module import Array, Piece, Place, Scaling
from modxfer.errors import ConversionError, FormatError

_IGNORED = {"o"}
"""Entries of `attn_matrices` that `adapters` takes and gives nothing."""

_SHARED = "shared_parameters"
"""The name of the owner of VeRA's shared matrices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A submodule that has a LoRA or an (IA)3.

    Several roles may share the submodule. `adapters` then stores the tensors of these roles one after the other, in the order
    of the matrix, and nothing for the roles that have no piece.

    Attributes:
        stack: The stack of layers.
        layer: The layer's index.
        roles: The roles that have a piece there.
    """

    stack: str
    layer: int
    roles: tuple[str, ...]

    def places(self) -> list[Place]:
        """List the places of its pieces.

        Returns:
            One for each role.
        """
        return [Place(self.stack, self.layer, role) for role in self.roles]


def lora_places(base: Architecture, stack: str) -> frozenset[str]:
    """List the roles at which a stack can have a LoRA in `adapters`.

    Args:
        base: The base model.
        stack: A stack of layers.

    Returns:
        The roles.
    """
    table = base.family.stacks[stack]
    return frozenset(role for roles in table.lora.values() for role in roles if role in table.roles)


def lora_roles(setup: Setup) -> list[str]:
    """List the roles that a LoRA's or an (IA)3's config names, in any stack.

    Args:
        setup: The config and the base model.

    Returns:
        The roles.

    Raises:
        FormatError: `attn_matrices` cannot be read, or holds an unknown entry.
    """
    words = _words(setup)
    return list(dict.fromkeys(role for stack in setup.base.family.stacks for role in _roles_of(setup.base, stack, words)))


def _words(setup: Setup) -> frozenset[str]:
    """List what a config says of where its pieces are: the keys that are on, and the entries of `attn_matrices`."""
    values = {**LORA_DEFAULTS, **setup.inner}
    matrices, letters = strings(values, "attn_matrices", where=setup.where), _letters(setup.base)
    unknown = set(matrices) - set(letters) - _IGNORED
    if unknown:
        raise FormatError(
            f"`attn_matrices` in {setup.where} names {listing(unknown)}; known are {listing(letters)}.",
            do="Correct it in that file.",
        )
    said = {letter for letter in matrices if values["selfattn_lora"]}
    return frozenset(said | {key for key in _keys(setup.base) if values[key]})


def _letters(base: Architecture) -> list[str]:
    return [word for word in _all_words(base) if word not in LORA_DEFAULTS]


def _keys(base: Architecture) -> list[str]:
    return [word for word in _all_words(base) if word in LORA_DEFAULTS]


def _all_words(base: Architecture) -> list[str]:
    return list(dict.fromkeys(word for table in base.family.stacks.values() for word in table.lora))


def _roles_of(base: Architecture, stack: str, words: frozenset[str]) -> list[str]:
    table = base.family.stacks[stack]
    return [role for word, roles in table.lora.items() if word in words for role in roles if role in table.roles]


def lora_switches(setup: Setup, present: frozenset[str]) -> dict[str, Any]:
    """Give the config keys that say which submodules have a LoRA or an (IA)3.

    Args:
        setup: The config and the base model.
        present: The roles that have one.

    Returns:
        Config keys; none if the config names just these roles.

    Raises:
        ConversionError: the format has no LoRA at just these roles.
    """
    if present == set(lora_roles(setup)):
        return {}
    base = setup.base
    words = frozenset(
        word
        for stack, table in base.family.stacks.items()
        for word in table.lora
        if present & set(_roles_of(base, stack, frozenset({word})))
    )
    named = {role for stack in base.family.stacks for role in _roles_of(base, stack, words)}
    if named != present:
        known = sorted({role for stack in base.family.stacks for role in lora_places(base, stack)})
        raise ConversionError(
            f"The `adapters` format has no LoRA on just {listing(sorted(present))}; it has {', '.join(known)}, those of a "
            "cross-attention together with those of the attention beside it.",
            do="Keep the module's format with `--format peft`.",
        )
    matrices = [letter for letter in _letters(base) if letter in words]
    return {"attn_matrices": matrices, "selfattn_lora": bool(matrices), **{key: key in words for key in _keys(base)}}


def spots(setup: Setup) -> list[Spot]:
    """List the submodules that have a LoRA or an (IA)3.

    Args:
        setup: The config and the base model.

    Returns:
        Each submodule once.
    """
    words, base, found = _words(setup), setup.base, []
    for stack, layer in setup.layers():
        shared: dict[str, list[str]] = {}
        for role in _roles_of(base, stack, words):
            shared.setdefault(base.role_path(stack, layer, role), []).append(role)
        found += [
            Spot(stack=stack, layer=layer, roles=tuple(sorted(roles, key=_order(base, stack)))) for roles in shared.values()
        ]
    return found


def _order(base: Architecture, stack: str) -> Callable[[str], int]:
    table = base.family.stacks[stack].roles

    def order(role: str) -> int:
        rows = table[role].rows
        return 0 if rows is None else rows.index

    return order


Sizes = Mapping[str, tuple[int | str, ...]]
"""Part to its shape for one role, with "in" and "out" for the submodule's widths."""


def lora_owner(setup: Setup, spot: Spot, ends: Mapping[str, str], sizes: Sizes) -> Owner:
    """Describe the tensors of one submodule.

    Args:
        setup: The config and the base model.
        spot: The submodule.
        ends: End of a key to part.
        sizes: The shapes of the parts.

    Returns:
        The owner; what several roles have is stacked.
    """
    return Owner(
        path=setup.base.role_path(spot.stack, spot.layer, spot.roles[0]),
        marker="loras",
        ends=ends,
        shapes={part: (sum(_heights(setup, spot, shape)), *_shape(setup, spot, shape)[1:]) for part, shape in sizes.items()},
        label=f"the module (rank {setup.inner.get('r', LORA_DEFAULTS['r'])})",
    )


def split_roles(setup: Setup, spot: Spot, tensors: Mapping[str, Array], sizes: Sizes) -> dict[Place, dict[str, Array]]:
    """Take a submodule's tensors apart by role.

    Args:
        setup: The config and the base model.
        spot: The submodule.
        tensors: Part to tensor.
        sizes: The shapes of the parts.

    Returns:
        Place to part to tensor.
    """
    places = spot.places()
    if len(places) == 1:
        return {places[0]: dict(tensors)}
    ends = {part: np.cumsum(_heights(setup, spot, sizes[part])) for part in tensors}
    shares = {part: np.split(tensor, ends[part][:-1]) for part, tensor in tensors.items()}
    return {place: {part: share[index] for part, share in shares.items()} for index, place in enumerate(places)}


def join_roles(spot: Spot, pieces: Mapping[Place, Mapping[str, Array]]) -> dict[str, Array]:
    """Put the tensors of a submodule's roles together.

    Args:
        spot: The submodule.
        pieces: Place to part to tensor.

    Returns:
        Part to tensor.
    """
    own = [pieces[place] for place in spot.places()]
    if len(own) == 1:
        return dict(own[0])
    return {part: np.concatenate([parts[part] for parts in own]) for part in own[0]}


def _heights(setup: Setup, spot: Spot, shape: tuple[int | str, ...]) -> list[int]:
    return [_shape(setup, replace(spot, roles=(role,)), shape)[0] for role in spot.roles]


def _shape(setup: Setup, spot: Spot, shape: tuple[int | str, ...]) -> tuple[int, ...]:
    widths = _widths(setup.base, spot.stack, spot.roles[0])
    return tuple(size if isinstance(size, int) else widths[size] for size in shape)


def _widths(base: Architecture, stack: str, role: str) -> dict[str, int]:
    submodule = base.family.stacks[stack].roles[role]
    return {"in": base.dimensions[submodule.reads], "out": base.dimensions[submodule.writes]}


def is_vera(inner: Config) -> bool:
    """Say whether a config is of VeRA, as `adapters` does: by the type of two values.

    Args:
        inner: A LoRA's config.

    Returns:
        Whether it is.
    """
    return any(isinstance(inner.get(key), float) for key in ("vera_d", "vera_b"))


def _tensors(setup: Setup) -> tuple[dict[str, str], Sizes]:
    """Name the tensors of a LoRA, and give their shapes."""
    rank = whole({**LORA_DEFAULTS, **setup.inner}, "r", where=setup.where)
    ends = {"lora_A": "down", "lora_B": "up"}
    sizes: dict[str, tuple[int | str, ...]] = {"down": (rank, "in"), "up": ("out", rank)}
    if is_vera(setup.inner):
        ends = {"vera_D": "inner", "vera_B": "outer"}
        sizes = {"inner": (rank, rank), "outer": ("out", "out")}
    if setup.inner.get("use_dora"):
        ends, sizes = {**ends, "m.weight": "magnitude"}, {**sizes, "magnitude": ("out", 1)}
    if setup.inner.get("use_gating"):
        ends = {**ends, "gate.weight": "gate.weight", "gate.bias": "gate.bias"}
        sizes = {**sizes, "gate.weight": (1, "in"), "gate.bias": (1,)}
    return ends, sizes


def _owners(setup: Setup) -> list[Owner]:
    why = setup.base.family.adapters_lacks.get("dora") if setup.inner.get("use_dora") else None
    if why is not None:
        raise ConversionError(
            f"`adapters` cannot run a LoRA with use_dora on `{setup.base.name}` ({setup.base.model_type}): {why}.",
            do="Choose another student, or for a LoRA `--format peft`.",
        )
    ends, sizes = _tensors(setup)
    found = [lora_owner(setup, spot, ends, sizes) for spot in spots(setup)]
    if is_vera(setup.inner) and found:
        rank = whole({**LORA_DEFAULTS, **setup.inner}, "r", where=setup.where)
        shared: dict[str, tuple[int | None, ...]] = {"down": (rank, None), "up": (None, rank)}
        found.append(Owner(path="", marker=_SHARED, ends={"lora_A": "down", "lora_B": "up"}, shapes=shared))
    return found


def _read(setup: Setup, found: Found) -> dict[Place, Piece]:
    scaling = _scaling(setup)
    ends, sizes = _tensors(setup)
    pieces = {}
    for spot in spots(setup):
        tensors = found[lora_owner(setup, spot, ends, sizes).name]
        for place, parts in split_roles(setup, spot, tensors, sizes).items():
            if is_vera(setup.inner):
                parts |= _multiplied_out(setup, place, parts, found[_SHARED])
            if "magnitude" in parts:
                parts["magnitude"] = parts["magnitude"].reshape(-1)
            pieces[place] = Piece(
                method=LORA,
                route=route_of_role(place.name),
                parts={part: parts[part] for part in LORA.parts if part in parts},
                scaling=scaling,
            )
    return pieces


def _scaling(setup: Setup) -> Scaling:
    values = {**LORA_DEFAULTS, **setup.inner}
    rank, alpha = whole(values, "r", where=setup.where), float(number(values, "alpha", where=setup.where))
    return Scaling(rank=rank, alpha=float(rank) if values["use_gating"] else alpha)


def _multiplied_out(setup: Setup, place: Place, own: Mapping[str, Array], shared: Mapping[str, Array]) -> dict[str, Array]:
    """Write VeRA, outer @ up @ inner @ down, as a plain LoRA."""
    widths = _widths(setup.base, place.stack, place.name)
    rank = own["inner"].shape[0]
    for part, shape in (("down", (rank, widths["in"])), ("up", (widths["out"], rank))):
        check_shape(f"{_SHARED}, {part}", shared[part], shape, where="the module", base=setup.base.name)
    down = own["inner"].astype(np.float64) @ shared["down"].astype(np.float64)
    up = own["outer"].astype(np.float64) @ shared["up"].astype(np.float64)
    return {"down": down.astype(shared["down"].dtype), "up": up.astype(shared["up"].dtype)}


def _write(setup: Setup, pieces: Mapping[Place, Piece]) -> Found:
    ends, sizes = _tensors(setup)
    parts = {place: dict(piece.parts) for place, piece in pieces.items()}
    for own in parts.values():
        if "magnitude" in own:
            own["magnitude"] = own["magnitude"].reshape(-1, 1)
    return {lora_owner(setup, spot, ends, sizes).name: join_roles(spot, parts) for spot in spots(setup)}


def _settle(setup: Setup, pieces: Mapping[Place, Piece]) -> dict[str, Any]:
    return whereabouts(setup, pieces, lora_switches, there=lora_places) | _sizes(setup, pieces)


def _sizes(setup: Setup, pieces: Mapping[Place, Piece]) -> dict[str, Any]:
    """Give rank and alpha, which must be the same everywhere."""
    ranks = {piece.scaling.rank for piece in pieces.values() if piece.scaling}
    factors = {piece.scaling.factor for piece in pieces.values() if piece.scaling}
    if len(ranks) > 1 or len(factors) > 1:
        raise ConversionError(
            f"The module's LoRAs have the ranks {sorted(ranks)} and the scalings {sorted(factors)}, and a "
            "config of `adapters` says one for all.",
            do="Keep the module's format with `--format peft`.",
        )
    if not pieces:
        return {}
    rank, factor = ranks.pop(), factors.pop()
    if setup.inner.get("use_gating") and factor != 1:
        raise ConversionError(
            f"The module's LoRAs have the scaling {factor}, and in `adapters` a LoRA with a gate has none.",
            do="Train the module without `use_gating`.",
        )
    values = {**LORA_DEFAULTS, **setup.inner}
    if values["r"] == rank and (values["alpha"] / values["r"] == factor or values["use_gating"]):
        return {}
    alpha = factor * rank
    return {"r": rank, "alpha": int(alpha) if alpha == int(alpha) else alpha}


def _canonical(inner: Config) -> dict[str, Any]:
    return {**inner, "vera_d": None, "vera_b": None, "init_weights": "lora"} if is_vera(inner) else dict(inner)


def _remark(inner: Config) -> str | None:
    if not is_vera(inner):
        return None
    return "VeRA: multiplied out into a plain LoRA, which computes the same with more parameters to train"


def _check(inner: Config, where: str) -> None:
    """Refuse a way of composing that is not of `adapters`."""
    mode = inner.get("composition_mode", "add")
    if mode != "add":
        raise FormatError(
            f"`composition_mode` in {where} is {mode!r}, and must be add or scale.", do="Correct it in that file."
        )


KIND = Kind(
    method="lora",
    marker="loras",
    fits=lambda inner: inner.get("architecture") == "lora" and inner.get("composition_mode") != "scale",
    check=_check,
    holds=frozenset({LORA.name}),
    owners=_owners,
    read=_read,
    write=_write,
    settle=_settle,
    names=lora_roles,
    canonical=_canonical,
    remark=_remark,
)


def _gain_tensors(setup: Setup) -> tuple[dict[str, str], Sizes]:
    ends, sizes = {"lora_B": "output_gain"}, {"output_gain": ("out", 1)}
    if not setup.inner.get("use_gating"):
        return ends, sizes
    gate: dict[str, tuple[int | str, ...]] = {"gate.weight": (1, "in"), "gate.bias": (1,)}
    return {**ends, **{part: part for part in gate}}, {**sizes, **gate}


def _gain_owners(setup: Setup) -> list[Owner]:
    ends, sizes = _gain_tensors(setup)
    return [lora_owner(setup, spot, ends, sizes) for spot in spots(setup)]


def _read_gains(setup: Setup, found: Found) -> dict[Place, Piece]:
    """Read the gains of (IA)3; alpha multiplies them, unless there is a gate."""
    alpha = number({**LORA_DEFAULTS, **setup.inner}, "alpha", where=setup.where)
    ends, sizes = _gain_tensors(setup)
    pieces = {}
    for spot in spots(setup):
        if alpha != 1:
            _check_alone(setup, spot)
        tensors = found[lora_owner(setup, spot, ends, sizes).name]
        for place, parts in split_roles(setup, spot, tensors, sizes).items():
            gain = parts["output_gain"].reshape(-1)
            if alpha != 1 and not setup.inner.get("use_gating"):
                gain = (gain.astype(np.float64) * alpha).astype(gain.dtype)
            pieces[place] = Piece(method=IA3, route=route_of_role(place.name), parts={**parts, "output_gain": gain})
    return pieces


def _check_alone(setup: Setup, spot: Spot) -> None:
    """Refuse an alpha on a part of a fused matrix: `adapters` multiplies the other roles' outputs by it too."""
    table = setup.base.family.stacks[spot.stack].roles
    if table[spot.roles[0]].rows is not None:
        raise ConversionError(
            f"{setup.where} says alpha={setup.inner.get('alpha')} for gains on `{table[spot.roles[0]].path}`, where `adapters` "
            "multiplies roles without a gain by it too.",
            do="Train the module with alpha=1.",
        )


def _write_gains(setup: Setup, pieces: Mapping[Place, Piece]) -> Found:
    parts = {}
    for place, piece in pieces.items():
        if "output_gain" not in piece.parts:
            raise ConversionError(
                f"The module has a gain on the input of `{place}`, and `adapters` has gains on outputs.",
                do="Keep the module's format with `--format peft`.",
            )
        parts[place] = {**piece.parts, "output_gain": piece.parts["output_gain"].reshape(-1, 1)}
    ends, sizes = _gain_tensors(setup)
    return {lora_owner(setup, spot, ends, sizes).name: join_roles(spot, parts) for spot in spots(setup)}


IA3_KIND = Kind(
    method="ia3",
    marker="loras",
    fits=lambda inner: inner.get("architecture") == "lora" and inner.get("composition_mode") == "scale",
    check=lambda inner, where: None,
    holds=frozenset({IA3.name}),
    owners=_gain_owners,
    read=_read_gains,
    write=_write_gains,
    settle=lambda setup, pieces: whereabouts(setup, pieces, lora_switches, there=lora_places),
    names=lora_roles,
    canonical=lambda inner: {**inner, "alpha": 1},
)
