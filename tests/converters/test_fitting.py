"""What becomes of a module's pieces at roles that a student lacks: listed, refused, or left behind as asked."""

from dataclasses import replace

import numpy as np
import pytest

from modxfer.architectures import FINAL, Architecture, Route
from modxfer.converters.fitting import fit_roles
from modxfer.converters.methods import BOTTLENECK, OUTPUT, route_of_role
from modxfer.converters.module import HeadInfo, Module, Piece, Place
from modxfer.errors import ConversionError
from tests.modules import bert, lora_module, module_of

TEACHER = bert(hidden=6)


def without(*roles: str) -> Architecture:
    """Describe a base model whose family lacks some roles."""
    family = TEACHER.family
    stack = family.stacks["encoder"]
    stack = replace(stack, roles={role: row for role, row in stack.roles.items() if role not in roles})
    modules = {role: row for role, row in family.modules.items() if role not in roles}
    return replace(
        TEACHER, name="lean", model_type="leanbert", family=replace(family, stacks={"encoder": stack}, modules=modules)
    )


def with_pooler_and_head(*roles: str) -> Module:
    """Make a LoRA on some roles and on the pooler, with a head."""
    lora = lora_module(TEACHER, *roles)
    like = next(iter(lora.pieces.values()))
    pooler = replace(like, route=route_of_role("pooler"))
    head = Piece(method=OUTPUT, route=Route(reads=FINAL, writes=FINAL), parts={"weight": np.ones((3, 6))})
    pieces = {**lora.pieces, Place("", -1, "pooler"): pooler, Place("", -1, "head.output"): head}
    return module_of(pieces, head=HeadInfo(task="SEQ_CLS", name="default"))


def test_a_module_that_fits_stays_as_it_is() -> None:
    """Where the student has every role there is nothing to say."""
    module = with_pooler_and_head("query", "key")
    assert fit_roles(module, TEACHER, drop_missing=False) == (module, [])
    assert fit_roles(module, TEACHER, drop_missing=True) == (module, [])


def test_all_missing_roles_are_listed_at_once() -> None:
    """The error names every role that is missing, how much of the module it is, and the flag."""
    module = with_pooler_and_head("query", "key")
    layers = TEACHER.depths["encoder"]
    with pytest.raises(ConversionError) as caught:
        fit_roles(module, without("key", "pooler", "ffn_up"), drop_missing=False)
    pieces = 2 * layers + 2
    assert f"encoder key ({layers} of {pieces} pieces), pooler (1 of {pieces} pieces)" in caught.value.what
    assert "`lean` (leanbert)" in caught.value.what
    assert "ffn_up" not in caught.value.what
    assert "`--drop-missing`" in caught.value.do


def test_missing_roles_are_left_behind_as_asked() -> None:
    """With the flag they go, each with a note, and head and other roles stay."""
    module = with_pooler_and_head("query", "key")
    fitted, notes = fit_roles(module, without("key", "pooler"), drop_missing=True)
    assert {place.name for place in fitted.pieces} == {"query", "head.output"}
    assert fitted.head == module.head
    layers = TEACHER.depths["encoder"]
    assert notes == [
        f"encoder key: leanbert has no such submodule; pieces left behind: {layers}",
        "pooler: leanbert has no such submodule; pieces left behind: 1",
    ]


@pytest.mark.parametrize("drop_missing", [False, True])
def test_a_head_alone_is_not_a_module(drop_missing: bool) -> None:
    """Where nothing but the head would be left, the flag does not help."""
    with pytest.raises(ConversionError, match=r"none of the roles.*encoder query, pooler.*another student"):
        fit_roles(with_pooler_and_head("query"), without("query", "pooler"), drop_missing=drop_missing)


@pytest.mark.parametrize(("role", "is_missing"), [("attention_norm", True), ("attention_output", False)])
def test_the_points_of_a_route_must_be_there(role: str, is_missing: bool) -> None:
    """A bottleneck has no role of its own; it needs those where it reads and writes."""
    lora = lora_module(TEACHER, "query")
    norm = route_of_role("attention_norm")
    piece = Piece(
        method=BOTTLENECK,
        route=Route(reads=norm.writes, writes=norm.writes),
        parts={"down.weight": np.ones((2, 6)), "down.bias": np.ones(2), "up.weight": np.ones((6, 2)), "up.bias": np.ones(6)},
    )
    module = module_of({**lora.pieces, Place("encoder", 0, "attention"): piece}, head=None)
    fitted, notes = fit_roles(module, without(role), drop_missing=True)
    assert (Place("encoder", 0, "attention") not in fitted.pieces) == is_missing == bool(notes)


def test_a_stack_that_is_not_there_is_missing_as_a_whole() -> None:
    """Pieces in a stack of layers that the student does not have are named with that stack."""
    like = next(iter(lora_module(TEACHER, "query").pieces.values()))
    module = module_of({Place("encoder", 0, "query"): like, Place("decoder", 0, "query"): like}, head=None)
    with pytest.raises(ConversionError, match=r"lacks: decoder query \(1 of 2 pieces\)"):
        fit_roles(module, TEACHER, drop_missing=False)
