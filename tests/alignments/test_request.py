"""Whole-pair requests: one map serves every module, and what a map is said to cover is what a conversion finds in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modxfer.alignments.alignment_map import AlignmentMap, SiteMap, SitePair
from modxfer.alignments.compute import compute_alignment
from modxfer.alignments.corpus import open_corpus
from modxfer.alignments.files import read_alignment, write_alignment
from modxfer.alignments.request import AlignmentRequest, PairUse, covers, missing
from modxfer.architectures import EMBEDDED, Architecture, Point, Route, Side
from modxfer.converters.convert import Conversion, convert_module, request_for
from modxfer.converters.formats.adapters.bottleneck import bottleneck_route
from modxfer.converters.formats.heads import HEAD_ROUTE, head_method, head_place
from modxfer.converters.methods import (
    BOTTLENECK,
    COUPLING,
    DIFFERENCE,
    FUSION,
    GAIN_DIFFERENCE,
    IA3,
    LINEAR,
    LORA,
    METHODS,
    NORM,
    PREFIX,
    PROMPT,
    REFT,
    TABLE_DIFFERENCE,
    Method,
    route_of_role,
)
from modxfer.converters.module import Module, Piece, Place, Scaling
from modxfer.errors import ConversionError, ModxferError
from tests.builders import FAMILIES, tiny_architecture, tiny_config, transplant
from tests.modules import layers_of, module_of
from tests.planted import PlantedPair, base_model, planted_pair, small_text

TOKENS = 300
INNER = 5
"""Rank, bottleneck width and number of labels."""


def blank(method: Method, route: Route, *parts: str) -> Piece:
    """Make a piece with some parts (all by default), before it is put on a base model."""
    tensors = {part: np.zeros((INNER,) * len(method.parts[part]), np.float32) for part in parts or method.parts}
    return Piece(method=method, route=route, parts=tensors, scaling=Scaling(rank=INNER, alpha=7.0) if method is LORA else None)


def filled(base: Architecture, pieces: Mapping[Place, Piece]) -> Module:
    """Make a module whose tensors have the sizes that a base model asks for."""
    return transplant(module_of(pieces), base, {layer: layer for layer in range(base.depths["encoder"])})


def every_role(base: Architecture, method: Method, *parts: str, elementwise: bool = False, end: str = "") -> Module:
    """Put a piece on every submodule that can have it, in the layers and outside."""
    pieces = {
        Place(stack, -1 if layer is None else layer, f"{role}{end}"): blank(method, route_of_role(role), *parts)
        for stack, layer, role, row in base.roles()
        if row.elementwise is elementwise and role != "embeddings"  # which reads token ids
    }
    return filled(base, pieces)


def bottlenecks(base: Architecture, *parts: str, **options: bool) -> Module:
    """Put a bottleneck into every sub-block."""
    config = {"is_parallel": False, "original_ln_before": False, "original_ln_after": False, **options}
    places = [Place("encoder", layer, name) for layer in range(base.depths["encoder"]) for name in ("attention", "ffn")]
    return filled(base, {place: blank(BOTTLENECK, bottleneck_route(config, place.name), *parts) for place in places})


def bottlenecks_with(options: Mapping[str, bool]) -> Callable[[Architecture], Module]:
    """Say how to put bottlenecks with some options into every sub-block."""
    return lambda base: bottlenecks(base, "down.weight", "down.bias", "up.weight", "up.bias", **options)


def head(base: Architecture) -> Module:
    """Make a head of two layers, beside a LoRA: a head alone is no module."""
    query = {Place("encoder", layer, "query"): blank(LORA, route_of_role("query")) for layer in range(base.depths["encoder"])}
    return filled(base, {**query, **{head_place(part): blank(head_method(part), HEAD_ROUTE) for part in ("dense", "output")}})


def prompt(base: Architecture) -> Module:
    """Put a prompt before the layers."""
    at = Point("embeddings", Side.OUTPUT)
    return filled(base, {Place("", -1, "embeddings.prompt"): blank(PROMPT, Route(reads=at, writes=at))})


def coupling(base: Architecture) -> Module:
    """Put an invertible adapter before the layers."""
    return filled(base, {Place("", -1, "embedded.coupling"): blank(COUPLING, Route(reads=EMBEDDED, writes=EMBEDDED))})


def units(base: Architecture) -> Module:
    """Put a unit of representation fine-tuning behind every layer."""
    at = Route(reads=Point("ffn", Side.OUTPUT), writes=Point("ffn", Side.OUTPUT))
    return filled(base, {Place("encoder", layer, "ffn.reft"): blank(REFT, at) for layer in range(base.depths["encoder"])})


def prefixes(base: Architecture) -> Module:
    """Put a prefix before the keys and the values of every layer."""
    layers = range(base.depths["encoder"])
    places = [Place("encoder", layer, f"{role}.prefix") for layer in layers for role in ("key", "value")]
    return filled(base, {place: blank(PREFIX, route_of_role(place.role)) for place in places})


def fusion(base: Architecture, *parts: str) -> Module:
    """Put a layer that fuses bottlenecks behind every sub-block, its private axes as wide as the residual stream."""
    made = bottlenecks(base, "down.weight", "down.bias", "up.weight", "up.bias", original_ln_before=True)
    shapes = {part: [base.dimensions["hidden"]] * len(FUSION.parts[part]) for part in parts or FUSION.parts}
    tensors = {part: np.random.default_rng(3).normal(size=shape).astype(np.float32) for part, shape in shapes.items()}
    return module_of({place: Piece(method=FUSION, route=piece.route, parts=tensors) for place, piece in made.pieces.items()})


def tables(base: Architecture) -> Module:
    """Add something to every table whose rows are no units."""
    at = Point("embeddings", Side.OUTPUT)
    route = Route(reads=at, writes=at)
    return filled(base, {Place("", -1, f"{role}.difference"): blank(TABLE_DIFFERENCE, route) for role in base.family.tables})


ELSEWHERE = {"lookup", "predictor", "other"}
"""Methods whose pieces are of token ids, and need a map of their own, or are in no space at all."""

OPTIONS = [
    dict(zip(("is_parallel", "original_ln_before", "original_ln_after"), values, strict=True))
    for values in product((False, True), repeat=3)
]
KINDS: Mapping[str, Callable[[Architecture], Module]] = {
    "lora": lambda base: every_role(base, LORA),
    "replaced": lambda base: every_role(base, LINEAR, end=".base"),
    "biases": lambda base: every_role(base, LINEAR, "bias", end=".base"),
    "norms": lambda base: every_role(base, NORM, elementwise=True, end=".base"),
    "head": head,
    "gains": lambda base: every_role(base, IA3),
    "gains on inputs": lambda base: every_role(base, IA3, "input_gain"),
    "differences": lambda base: every_role(base, DIFFERENCE, end=".difference"),
    "differences of norms": lambda base: every_role(base, GAIN_DIFFERENCE, elementwise=True, end=".difference"),
    "differences of tables": tables,
    "fusion": fusion,
    "query and key of a fusion": lambda base: fusion(base, "query.weight", "query.bias", "key.weight", "key.bias"),
    "prompt": prompt,
    "prefixes": prefixes,
    "coupling": coupling,
    "units": units,
    "bottleneck, all parts": bottlenecks,
    **{
        f"bottleneck, {' '.join(name for name, is_on in options.items() if is_on) or 'plain'}": bottlenecks_with(options)
        for options in OPTIONS
    },
}
"""Every kind of piece that the known methods make, wherever it can be."""


def test_every_method_is_among_the_kinds() -> None:
    """The kinds leave no method and no part of one out."""
    base = tiny_architecture(tiny_config("bert"))
    pieces = [piece for make in KINDS.values() for piece in make(base).pieces.values()]
    found = {(piece.method.name, part) for piece in pieces for part in piece.parts}
    assert found == {
        (method.name, part) for method in METHODS.values() if method.name not in ELSEWHERE for part in method.parts
    }


@pytest.mark.parametrize("teacher_family", FAMILIES)
@pytest.mark.parametrize("student_family", FAMILIES)
def test_whole_request_has_every_use_of_every_module(teacher_family: str, student_family: str) -> None:
    """Between any two families, what a module on roles of both does is part of the whole request, and pairs of the roles that
    the student lacks are not.
    """
    teacher = tiny_architecture(tiny_config(teacher_family), name="teacher")
    student = tiny_architecture(tiny_config(student_family, hidden=15, ffn=21, layers=2, embedding=9), name="student")
    layers = layers_of("skip", teacher, student)
    whole = AlignmentRequest.whole(layers, teacher=teacher, student=student).uses(teacher, student)
    roles = {(layer is None, role) for _, layer, role, _ in student.roles()}
    for kind, make in KINDS.items():
        module = make(teacher)
        shared = {
            place: piece
            for place, piece in module.pieces.items()
            if place.role in ("attention", "ffn", "embedded") or place.is_head or (place.is_outside, place.role) in roles
        }
        for pair, item in request_for(module_of(shared), layers).uses(teacher, student).items():
            assert whole[pair].use | item.use == whole[pair].use, (kind, str(pair))
    for pair in whole:
        assert (student.width(pair.student), teacher.width(pair.teacher)) > (0, 0)  # an unknown role is an error


def test_whole_request_asks_for_nothing_in_vain() -> None:
    """Each use of the whole request is one that some module makes: matrices are costly."""
    base = tiny_architecture(tiny_config("bert"))
    layers = layers_of("skip", base, base)
    made: dict[SitePair, PairUse] = {}
    for make in KINDS.values():
        for pair, item in request_for(make(base), layers).uses(base, base).items():
            made[pair] = replace(item, use=item.use | made[pair].use) if pair in made else item
    whole = AlignmentRequest.whole(layers, teacher=base, student=base).uses(base, base)
    assert {pair: item.use for pair, item in whole.items()} == {pair: item.use for pair, item in made.items()}


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A planted pair with one map for all modules by each aligner, and how to compute another map."""

    pair: PlantedPair
    teacher: Architecture
    student: Architecture
    whole: Mapping[str, AlignmentMap]
    compute: Callable[[AlignmentRequest, str], AlignmentMap]

    def convert(self, module: Module, alignment: AlignmentMap) -> Conversion:
        """Convert a module."""
        layers = layers_of("skip", self.teacher, self.student)
        return convert_module(module, teacher=self.teacher, student=self.student, layers=layers, alignment=alignment)

    def request(self, module: Module) -> AlignmentRequest:
        """Give what one module needs."""
        return request_for(module, layers_of("skip", self.teacher, self.student))

    def uses(self, module: Module) -> Mapping[SitePair, PairUse]:
        """Give the pairs of sites that one module needs."""
        return self.request(module).uses(self.teacher, self.student)


@pytest.fixture(scope="module")
def planted_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Planted]:
    """Plant each family once, and align it as a whole."""
    known: dict[str, Planted] = {}

    def plant(family: str) -> Planted:
        folder = tmp_path_factory.mktemp(family)
        pair = planted_pair(folder, family)
        (folder / "text.txt").write_text(small_text(), encoding="utf-8")
        teacher, student = base_model(pair.teacher), base_model(pair.student)

        def compute(request: AlignmentRequest, aligner: str) -> AlignmentMap:
            corpus = open_corpus(str(folder / "text.txt"))
            return compute_alignment(request, teacher=teacher, student=student, corpus=corpus, tokens=TOKENS, aligner=aligner)

        layers = layers_of("skip", teacher.architecture, student.architecture)
        request = AlignmentRequest.whole(layers, teacher=teacher.architecture, student=student.architecture)
        return Planted(
            pair=pair,
            teacher=teacher.architecture,
            student=student.architecture,
            whole={aligner: compute(request, aligner) for aligner in ("lsa", "linear")},
            compute=compute,
        )

    def get(family: str) -> Planted:
        if family not in known:
            known[family] = plant(family)
        return known[family]

    return get


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_map_recovers_the_permutation(family: str, planted_of: Callable[[str], Planted]) -> None:
    """At every site that a module can meet, every student unit gets the teacher unit that it was."""
    planted = planted_of(family)
    for pair, site_map in planted.whole["lsa"].maps.items():
        np.testing.assert_array_equal(site_map.assignment, planted.pair.plan.expected(pair), err_msg=str(pair))


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_map_serves_every_kind_of_module(family: str, planted_of: Callable[[str], Planted]) -> None:
    """Whatever the module, the map of the pair covers it by either aligner, and the module arrives; with an assignment its
    tensors are the teacher's in the planted order.
    """
    planted = planted_of(family)
    for kind, make in KINDS.items():
        module = make(planted.teacher)
        for aligner, alignment in planted.whole.items():
            assert missing(alignment, planted.uses(module)) == (), (kind, aligner)
            if needs_more(module, one_to_one=aligner == "lsa"):
                with pytest.raises(ConversionError, match=r"stay apart|tear in two|a dense map mixes"):
                    planted.convert(module, alignment)
                continue
            found = planted.convert(module, alignment)
            assert found.tensors == sum(len(piece.parts) for piece in module.pieces.values())
            if aligner == "lsa":
                check_permuted(planted, module, found.module)


def needs_more(module: Module, *, one_to_one: bool) -> bool:
    """Whether a piece cannot go through any permutation, or through matrices."""
    axes = [axis for piece in module.pieces.values() for part in piece.parts for axis in piece.method.parts[part] if axis]
    return any(axis.block is not None or (axis.one_to_one and not one_to_one) for axis in axes)


def check_permuted(planted: Planted, before: Module, after: Module) -> None:
    """Compare a converted module with the teacher's, gathered along the planted permutations."""
    for place, piece in before.pieces.items():
        layer = None if place.is_outside else place.layer
        order = {
            "reads": planted.pair.plan.units(piece.route.reads.role, piece.route.reads.side.value, layer),
            "writes": planted.pair.plan.units(piece.route.writes.role, piece.route.writes.side.value, layer),
        }
        for part, tensor in piece.parts.items():
            expected = tensor
            for index, axis in enumerate(piece.method.parts[part]):
                if axis is not None:
                    expected = np.take(expected, order[axis.direction.value], axis=index)
            np.testing.assert_array_equal(after.pieces[place].parts[part], expected, err_msg=f"{place} {part}")


@pytest.mark.parametrize("aligner", ["lsa", "linear"])
@pytest.mark.parametrize(
    "kind",
    [
        *("lora", "biases", "head", "gains on inputs", "query and key of a fusion"),
        *("bottleneck, all parts", "bottleneck, original_ln_before"),
    ],
)
def test_whole_map_gives_what_the_modules_own_map_gives(kind: str, aligner: str, planted_of: Callable[[str], Planted]) -> None:
    """A pair of sites is aligned from its own statistics, whatever else is: the tensors are the same, bit for bit."""
    planted = planted_of("electra")
    module = KINDS[kind](planted.teacher)
    own = planted.compute(planted.request(module), aligner)
    assert len(own.maps) < len(planted.whole[aligner].maps)
    mine, theirs = planted.convert(module, own), planted.convert(module, planted.whole[aligner])
    assert mine.module.pieces.keys() == theirs.module.pieces.keys()
    for place, piece in mine.module.pieces.items():
        for part, tensor in piece.parts.items():
            np.testing.assert_array_equal(tensor, theirs.module.pieces[place].parts[part], err_msg=f"{place} {part}")


def without(alignment: AlignmentMap, pair: SitePair) -> AlignmentMap:
    """Take a pair out of a map."""
    return replace(alignment, maps={other: site_map for other, site_map in alignment.maps.items() if other != pair})


def changed(alignment: AlignmentMap, pair: SitePair, **arrays: Any) -> AlignmentMap:
    """Change arrays of one pair of a map."""
    site_map: SiteMap = replace(alignment.maps[pair], **arrays)
    return replace(alignment, maps={**alignment.maps, pair: site_map})


@pytest.mark.parametrize("aligner", ["lsa", "linear"])
@pytest.mark.parametrize("kind", ["lora", "biases", "norms", "head", "bottleneck, plain", "bottleneck, original_ln_before"])
def test_a_map_without_one_pair_covers_only_what_does_not_need_it(
    kind: str, aligner: str, planted_of: Callable[[str], Planted]
) -> None:
    """For each pair of the whole map: it is missed exactly where the conversion raises without it."""
    planted = planted_of("bert")
    module, alignment = KINDS[kind](planted.teacher), planted.whole[aligner]
    uses = planted.uses(module)
    for pair in alignment.maps:
        less = without(alignment, pair)
        assert missing(less, uses) == ((pair,) if pair in uses else ())
        assert covers(less, uses) is (pair not in uses)
        if pair in uses:
            with pytest.raises(ModxferError, match=f"no sites `{pair}`"):
                planted.convert(module, less)
    assert covers(replace(alignment, maps={pair: alignment.maps[pair] for pair in uses}), uses)


@pytest.mark.parametrize("kind", ["lora", "biases", "norms", "head", "bottleneck, plain", "bottleneck, original_ln_before"])
def test_a_map_without_one_matrix_covers_exactly_what_converts(kind: str, planted_of: Callable[[str], Planted]) -> None:
    """For each pair and each of its matrices: without it the map is said to cover the module if and only if it converts."""
    planted = planted_of("bert")
    module, alignment = KINDS[kind](planted.teacher), planted.whole["linear"]
    uses, refused = planted.uses(module), set()
    for pair in [pair for pair in uses if pair.student.layer in (None, 0)]:
        for name in ("reading", "writing", "student_covariance", "teacher_covariance"):
            other = {"reading": "writing", "writing": "reading"}.get(name)
            site_map = alignment.maps[pair]
            arrays: dict[str, Any] = {name: None}
            if other is not None and getattr(site_map, other) is None:  # a map without either matrix would be of another form
                present = getattr(site_map, name)
                arrays[other] = None if present is None else present.T.copy()
            less = changed(alignment, pair, **arrays)
            if covers(less, uses):
                planted.convert(module, less)
                continue
            refused.add(name)
            assert missing(less, uses) == (pair,)
            with pytest.raises(ModxferError, match=r"for writing only|for reading only|without updates"):
                planted.convert(module, less)
    everything = {"reading", "writing", "student_covariance", "teacher_covariance"}
    assert refused == ({"writing"} if kind in ("biases", "norms") else everything)


def test_an_assignment_serves_whatever_lies_beside_it(planted_of: Callable[[str], Planted]) -> None:
    """A pair that has an assignment is moved by that, so it is covered, even if a matrix is there that would not do."""
    planted = planted_of("bert")
    module, alignment = KINDS["biases"](planted.teacher), planted.whole["lsa"]
    pair = next(pair for pair, item in planted.uses(module).items() if item.use.writes)
    widths = planted.teacher.width(pair.teacher), planted.student.width(pair.student)
    both = changed(alignment, pair, reading=np.zeros(widths, np.float32))
    assert covers(both, planted.uses(module))
    check_permuted(planted, module, planted.convert(module, both).module)


def test_a_map_on_disk_is_judged_like_the_same_map_in_memory(tmp_path: Path, planted_of: Callable[[str], Planted]) -> None:
    """What a file says of its arrays is what they are, for both forms and for maps that lack something."""
    planted = planted_of("bert")
    lsa, linear = planted.whole["lsa"], planted.whole["linear"]
    pair = next(pair for pair, site_map in linear.maps.items() if site_map.student_covariance is not None)
    lacking = changed(linear, pair, student_covariance=None)
    seen = set()
    for number, item in enumerate((lsa, linear, lacking, without(lsa, pair))):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_alignment(replace(item, scores={known: item.scores[known] for known in item.maps}), folder)
        for make in KINDS.values():
            uses = planted.uses(make(planted.teacher))
            found = missing(read_alignment(folder), uses)
            assert found == missing(item, uses)
            seen.add((number, found))
    assert seen == {(0, ()), (1, ()), (2, ()), (2, (pair,)), (3, ()), (3, (pair,))}


def test_a_map_of_paper_covers_modules_that_read_as_it_does(planted_of: Callable[[str], Planted]) -> None:
    """What `paper` writes is what its own module reads: for another module the map does not serve, and a conversion says so."""
    planted = planted_of("bert")
    sequential, parallel = (KINDS[f"bottleneck, {kind}"](planted.teacher) for kind in ("plain", "is_parallel"))
    alignment = planted.compute(planted.request(sequential), "paper")
    assert covers(alignment, planted.uses(sequential))
    planted.convert(sequential, alignment)
    pair = next(pair for pair in alignment.maps if planted.uses(sequential)[pair].use.writes)
    units = alignment.maps[pair].assignment
    assert units is not None
    shifted = changed(alignment, pair, assignment=np.roll(units, 1))
    assert missing(shifted, planted.uses(sequential)) == (pair,)
    with pytest.raises(ModxferError, match="`paper` map writes"):
        planted.convert(sequential, shifted)
    assert not covers(alignment, planted.uses(parallel))
