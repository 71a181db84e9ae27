"""The one conversion, on modules in memory: gathers, products, offsets, sizes, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modxfer.alignments.aligners import ALIGNERS, Use
from modxfer.alignments.aligners.evidence import measure
from modxfer.alignments.alignment_map import AlignmentMap, SiteMap, SitePair
from modxfer.alignments.layer_maps import LayerMap
from modxfer.architectures import FINAL, Architecture, Point, Route, Side
from modxfer.converters.convert import Conversion, convert_module, request_for
from modxfer.converters.methods import BOTTLENECK, LINEAR, NORM, OUTPUT, route_of_role
from modxfer.converters.module import HeadInfo, Module, Piece, Place
from modxfer.errors import AlignmentError, ConversionError
from tests.modules import assignment_map, bert, layers_of, lora_module, lora_piece, map_of, module_of
from tests.statistics_of import mixed, rotation, statistics_of

TEACHER = bert("big", hidden=6, ffn=10, layers=4)
STUDENT = bert("small", hidden=5, ffn=7, layers=2)


def convert(
    module: Module,
    layers: LayerMap,
    alignment: AlignmentMap | None,
    *,
    teacher: Architecture = TEACHER,
    student: Architecture = STUDENT,
) -> Conversion:
    """Convert between the two structures."""
    return convert_module(module, teacher=teacher, student=student, layers=layers, alignment=alignment)


def pairs_of(module: Module, layers: LayerMap, teacher: Architecture, student: Architecture) -> list[SitePair]:
    """List the pairs of sites that a module needs."""
    return list(request_for(module, layers).uses(teacher, student))


def random_assignments(
    module: Module, layers: LayerMap, *, seed: int = 0, teacher: Architecture = TEACHER, student: Architecture = STUDENT
) -> AlignmentMap:
    """Make an alignment map of random assignments."""
    rng = np.random.default_rng(seed)
    maps = {}
    for pair in pairs_of(module, layers, teacher, student):
        units = rng.permutation(max(teacher.width(pair.teacher), student.width(pair.student)))[: student.width(pair.student)]
        maps[pair] = assignment_map(np.where(units < teacher.width(pair.teacher), units, -1))
    return map_of(maps)


def units_at(alignment: AlignmentMap, text: str) -> np.ndarray:
    """Give the assignment of a pair of sites."""
    units = alignment.maps[SitePair.parse(text)].assignment
    assert units is not None
    return units


# --- assignments ---------------------------------------------------------------------------------------------------------


def test_lora_is_gathered_along_both_ends() -> None:
    """Every student layer gets the skipped teacher layer's factors, gathered by the map of their own site, bit for bit."""
    module = lora_module(TEACHER, "query", "ffn_down")
    layers = layers_of("skip", TEACHER, STUDENT)
    alignment = random_assignments(module, layers)
    found = convert(module, layers, alignment).module.pieces
    for student, teacher in ((0, 0), (1, 2)):
        for role in ("query", "ffn_down"):
            before = module.pieces[Place("encoder", teacher, role)]
            after = found[Place("encoder", student, role)]
            reads = units_at(alignment, f"encoder.{student}.{role}.input<-encoder.{teacher}.{role}.input")
            writes = units_at(alignment, f"encoder.{student}.{role}.output<-encoder.{teacher}.{role}.output")
            np.testing.assert_array_equal(after.parts["down"], before.parts["down"][:, reads])
            np.testing.assert_array_equal(after.parts["up"], before.parts["up"][writes])
            assert after.parts["up"].dtype == np.float32
            assert after.scaling == before.scaling
    assert len(found) == 4


def test_key_and_value_use_the_map_of_the_query_input() -> None:
    """Points that carry the same activations share one map."""
    module = lora_module(TEACHER, "query", "key", "value")
    pairs = pairs_of(module, layers_of("0,1", TEACHER, STUDENT), TEACHER, STUDENT)
    read = [pair for pair in pairs if pair.student.point.side is Side.INPUT]
    assert {pair.student.point.role for pair in read} == {"query"}
    assert len(pairs) == 2 * (1 + 3)


def test_wider_student_gets_zeros_where_no_teacher_unit_serves() -> None:
    """Unserved student units neither read nor write, and the result says so."""
    wide = bert("wide", hidden=9, ffn=12, layers=4)
    module = lora_module(TEACHER, "ffn_up")
    layers = layers_of("skip", TEACHER, wide)
    alignment = random_assignments(module, layers, student=wide)
    conversion = convert(module, layers, alignment, student=wide)
    piece = conversion.module.pieces[Place("encoder", 1, "ffn_up")]
    reads = units_at(alignment, "encoder.1.attention_norm.output<-encoder.1.attention_norm.output")
    assert not piece.parts["down"][:, reads < 0].any()
    assert np.count_nonzero(reads < 0) == 3
    assert any("no teacher unit serves" in sentence for sentence in conversion.approximated)


def norm_module() -> Module:
    """Make a module that replaces a normalisation and has a bottleneck with one per-unit gain."""
    rng = np.random.default_rng(5)

    def of(*shape: int) -> np.ndarray:
        return rng.uniform(0.5, 2.0, shape).astype(np.float32)

    ends = Route(reads=Point("ffn_down", Side.OUTPUT), writes=Point("ffn_norm", Side.INPUT))
    parts = {
        "down.weight": of(3, 6),
        "down.bias": of(3),
        "up.weight": of(6, 3),
        "up.bias": of(6),
        "scaling_per_unit": of(6),
    }
    norm = Piece(method=NORM, route=route_of_role("ffn_norm"), parts={"weight": of(6), "bias": of(6)})
    return module_of(
        {
            Place("encoder", 0, "ffn"): Piece(method=BOTTLENECK, route=ends, parts=parts),
            Place("encoder", 0, "ffn_norm"): norm,
        }
    )


def test_gains_of_unserved_units_are_one() -> None:
    """Where no teacher unit serves, an added bias is 0 and a gain is 1."""
    wide = bert("wide", hidden=8, ffn=10, layers=1)
    module, layers = norm_module(), layers_of("0", TEACHER, wide)
    alignment = random_assignments(module, layers, student=wide)
    pieces = convert(module, layers, alignment, student=wide).module.pieces
    norm = units_at(alignment, "encoder.0.ffn_norm.output<-encoder.0.ffn_norm.output")
    inside = units_at(alignment, "encoder.0.ffn_norm.input<-encoder.0.ffn_norm.input")
    parts = pieces[Place("encoder", 0, "ffn_norm")].parts
    assert set(parts["weight"][norm < 0]) == {1.0}
    assert set(parts["bias"][norm < 0]) == {0.0}
    bottleneck = pieces[Place("encoder", 0, "ffn")].parts
    assert set(bottleneck["scaling_per_unit"][inside < 0]) == {1.0}
    assert set(bottleneck["up.bias"][inside < 0]) == {0.0}


@given(seed=st.integers(0, 2**32 - 1))
def test_a_permutation_and_its_inverse_cancel(seed: int) -> None:
    """Converting there and back through inverse assignments gives the module bit for bit."""
    module = lora_module(TEACHER, "query", "attention_output", "ffn_up")
    layers = layers_of("skip", TEACHER, TEACHER)
    there = random_assignments(module, layers, seed=seed, student=TEACHER)
    back = map_of({pair: assignment_map(np.argsort(units_at(there, str(pair)))) for pair in there.maps})
    once = convert(module, layers, there, student=TEACHER).module
    twice = convert(once, layers, back, student=TEACHER).module
    for place, piece in module.pieces.items():
        for part, tensor in piece.parts.items():
            np.testing.assert_array_equal(twice.pieces[place].parts[part], tensor)


# --- identity ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stated", [True, False])
def test_identity_copies_bit_for_bit(stated: bool) -> None:
    """Between shared coordinates, stated or measured, a layer's tensors are the teacher's own bits."""
    short = bert("short", hidden=6, ffn=10, layers=2)
    module, layers = lora_module(TEACHER, "value", "ffn_down"), layers_of("last", TEACHER, short)
    measured = {
        pair: SiteMap(correlation=np.full(short.width(pair.student), 0.9, dtype=np.float32))
        for pair in pairs_of(module, layers, TEACHER, short)
    }
    conversion = convert(module, layers, None if stated else map_of(measured), student=short)
    for student, teacher in ((0, 1), (1, 3)):
        for role in ("value", "ffn_down"):
            before = module.pieces[Place("encoder", teacher, role)].parts
            after = conversion.module.pieces[Place("encoder", student, role)].parts
            for part in before:
                assert after[part].tobytes() == before[part].tobytes()
    assert conversion.approximated == ()
    assert conversion.dropped == ("teacher layers encoder 0, encoder 2: the layer map `last` does not use them",)
    assert conversion.tensors == 8


def test_deeper_student_repeats_layers_and_says_so() -> None:
    """In a deeper student neighbours share a teacher layer, bit for bit, and the result says that updates repeat."""
    deep = bert("deep", hidden=6, ffn=10, layers=6)
    module = lora_module(TEACHER, "query")
    conversion = convert(module, layers_of("skip", TEACHER, deep), None, student=deep)
    fed = [0, 0, 1, 2, 2, 3]
    for student, teacher in enumerate(fed):
        np.testing.assert_array_equal(
            conversion.module.pieces[Place("encoder", student, "query")].parts["up"],
            module.pieces[Place("encoder", teacher, "query")].parts["up"],
        )
    assert any("several student layers" in sentence for sentence in conversion.approximated)
    assert conversion.dropped == ()


def test_converted_module_shares_no_memory_it_could_spoil() -> None:
    """Converting leaves the teacher's tensors as they were."""
    module = lora_module(TEACHER, "query")
    before = {place: piece.parts["up"].copy() for place, piece in module.pieces.items()}
    layers = layers_of("avg", TEACHER, STUDENT)
    convert(module, layers, random_assignments(module, layers))
    assert all(np.array_equal(module.pieces[place].parts["up"], tensor) for place, tensor in before.items())


def test_layers_without_a_piece_are_left_out_of_an_average() -> None:
    """Where one of several teacher layers has no piece, the others are averaged and the result says so."""
    rng = np.random.default_rng(0)
    pieces = {Place("encoder", layer, "query"): lora_piece(TEACHER, "query", rng) for layer in (0, 2, 3)}
    short = bert("short", hidden=6, ffn=10, layers=2)
    conversion = convert(module_of(pieces), layers_of("avg", TEACHER, short), None, student=short)
    alone = conversion.module.pieces[Place("encoder", 0, "query")]
    np.testing.assert_array_equal(alone.parts["up"], pieces[Place("encoder", 0, "query")].parts["up"])
    assert any(sentence.startswith("encoder.0.query: some") for sentence in conversion.approximated)


# --- dense maps ----------------------------------------------------------------------------------------------------------


def linear_maps(pairs: dict[SitePair, tuple[np.ndarray, np.ndarray]], *, penalty: float) -> AlignmentMap:
    """Fit `linear` to activations of student and teacher at each pair of sites."""
    every = Use(reads=True, writes=True, updates=True)
    maps = {
        pair: ALIGNERS["linear"].fit(measure(statistics_of(student, teacher), ridge=penalty), every)
        for pair, (student, teacher) in pairs.items()
    }
    return map_of(maps, aligner="linear")


def test_rotated_spaces_give_the_rotated_update() -> None:
    """Where both spaces are planted rotations and scalings, the converted update is the teacher's update, carried over."""
    rng = np.random.default_rng(0)
    teacher, student = bert(hidden=6, layers=1), bert(hidden=6, layers=1)
    module, layers = lora_module(teacher, "query"), layers_of("skip", teacher, student)
    read, write = pairs_of(module, layers, teacher, student)
    inputs, results = mixed(rng, 400, 6), mixed(rng, 400, 6)
    turn_in, turn_out = 2.0 * rotation(6, rng), 0.5 * rotation(6, rng)
    alignment = linear_maps({read: (inputs @ turn_in.T, inputs), write: (results @ turn_out.T, results)}, penalty=1e-9)
    conversion = convert(module, layers, alignment, teacher=teacher, student=student)
    before, after = module.pieces[Place("encoder", 0, "query")], conversion.module.pieces[Place("encoder", 0, "query")]
    expected = inputs @ (before.parts["up"] @ before.parts["down"]).T @ turn_out.T
    found = inputs @ turn_in.T @ (after.parts["up"] @ after.parts["down"]).T
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())  # maps are float32
    assert any("dense maps" in sentence for sentence in conversion.approximated)


def test_a_dense_map_without_covariances_is_refused() -> None:
    """A map that was made for a module without updates does not say how large an update is, so none is converted with it."""
    rng = np.random.default_rng(8)
    module, layers = lora_module(TEACHER, "query"), layers_of("0,1", TEACHER, STUDENT)
    data = {pair: (mixed(rng, 300, 5), mixed(rng, 300, 6)) for pair in pairs_of(module, layers, TEACHER, STUDENT)}
    fitted = linear_maps(data, penalty=0.1)
    maps = {pair: replace(found, student_covariance=None, teacher_covariance=None) for pair, found in fitted.maps.items()}
    with pytest.raises(ConversionError, match="made for a module without updates"):
        convert(module, layers, map_of(maps, aligner="linear"))


def test_a_paper_map_of_another_module_is_refused() -> None:
    """With `paper` a site is written as the same piece reads; a map that says otherwise there is of another module."""
    module, layers = lora_module(TEACHER, "query"), layers_of("skip", TEACHER, TEACHER)
    same = random_assignments(module, layers, seed=1, student=TEACHER)
    first, second, *_ = (found.assignment for found in same.maps.values())
    assert first is not None
    assert second is not None
    assert not np.array_equal(first, second)
    with pytest.raises(ConversionError, match=r"`paper` map writes at `encoder\.0\.query` as another module reads"):
        convert(module, layers, replace(same, aligner="paper"), student=TEACHER)


def test_update_keeps_its_size_beside_what_it_is_added_to() -> None:
    """After a lossy dense map the update's size over the projection's own output is the teacher's."""
    rng = np.random.default_rng(1)
    module, layers = lora_module(TEACHER, "query"), layers_of("0,1", TEACHER, STUDENT)
    data = {pair: (3 * mixed(rng, 300, 5), mixed(rng, 300, 6)) for pair in pairs_of(module, layers, TEACHER, STUDENT)}
    alignment = linear_maps(data, penalty=0.1)
    conversion = convert(module, layers, alignment)
    for layer in (0, 1):
        place = Place("encoder", layer, "query")
        read = SitePair.parse(f"encoder.{layer}.query.input<-encoder.{layer}.query.input")
        write = SitePair.parse(f"encoder.{layer}.query.output<-encoder.{layer}.query.output")
        ratios = []
        for side, piece in ((1, module.pieces[place]), (0, conversion.module.pieces[place])):
            update = data[read][side] @ (piece.parts["up"] @ piece.parts["down"]).astype(np.float64).T
            ratios.append(np.sqrt(update.var(axis=0).sum() / data[write][side].var(axis=0).sum()))
        assert ratios[1] == pytest.approx(ratios[0], rel=1e-4)


def test_offsets_go_into_biases_exactly() -> None:
    """W (R x + c) + b: the converted layer takes up the constant of the reading map in its bias."""
    rng = np.random.default_rng(2)
    module, layers = norm_module(), layers_of("0", TEACHER, bert(hidden=5, ffn=7, layers=1))
    student = bert(hidden=5, ffn=7, layers=1)
    module = module_of({place: piece for place, piece in module.pieces.items() if place.name == "ffn"})
    pairs = pairs_of(module, layers, TEACHER, student)
    alignment = linear_maps({pair: (mixed(rng, 300, 5), mixed(rng, 300, 6)) for pair in pairs}, penalty=0.1)
    before = module.pieces[Place("encoder", 0, "ffn")].parts
    after = convert(module, layers, alignment, student=student).module.pieces[Place("encoder", 0, "ffn")].parts
    read = alignment.maps[SitePair.parse("encoder.0.ffn_down.output<-encoder.0.ffn_down.output")]
    x = mixed(rng, 20, 5)
    assert read.reading is not None
    assert read.offset is not None
    predicted = x @ read.reading.astype(np.float64).T + read.offset
    np.testing.assert_allclose(
        x @ after["down.weight"].T + after["down.bias"],
        predicted @ before["down.weight"].T + before["down.bias"],
        atol=1e-4,  # stored in float32
    )
    assert after["scaling_per_unit"].min() >= before["scaling_per_unit"].min()
    assert after["scaling_per_unit"].max() <= before["scaling_per_unit"].max()


def test_dense_maps_carry_a_head_with_its_offsets() -> None:
    """A head's layers read the predicted final state: dense in both axes, output with its offset in the bias."""
    rng = np.random.default_rng(3)
    module = head_module(rng)
    student = bert(hidden=5, ffn=7, layers=4)
    layers = layers_of("skip", TEACHER, student)
    pairs = pairs_of(module, layers, TEACHER, student)
    alignment = linear_maps(
        {p: (mixed(rng, 300, student.width(p.student)), mixed(rng, 300, TEACHER.width(p.teacher))) for p in pairs},
        penalty=0.1,
    )
    pieces = convert(module, layers, alignment, student=student).module.pieces
    final = alignment.maps[SitePair.parse("final.output<-final.output")]
    assert final.reading is not None
    assert final.offset is not None
    output, before = pieces[Place("", -1, "head.output")].parts, module.pieces[Place("", -1, "head.output")].parts
    np.testing.assert_allclose(output["weight"], before["weight"] @ final.reading, atol=1e-5)
    np.testing.assert_allclose(output["bias"], before["bias"] + before["weight"] @ final.offset, atol=1e-4)
    dense, before = pieces[Place("", -1, "head.dense")].parts, module.pieces[Place("", -1, "head.dense")].parts
    assert final.writing is not None
    np.testing.assert_allclose(dense["weight"], final.writing @ before["weight"] @ final.reading, atol=1e-4)
    constant = before["bias"] + before["weight"] @ final.offset
    np.testing.assert_allclose(dense["bias"], final.writing @ constant, atol=1e-4)


def head_module(rng: np.random.Generator) -> Module:
    """Make a LoRA with a head of two layers."""
    route = Route(reads=FINAL, writes=FINAL)

    def of(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    head = {
        Place("", -1, "head.dense"): Piece(method=LINEAR, route=route, parts={"weight": of(6, 6), "bias": of(6)}),
        Place("", -1, "head.output"): Piece(method=OUTPUT, route=route, parts={"weight": of(3, 6), "bias": of(3)}),
    }
    return module_of({**lora_module(TEACHER, "query").pieces, **head}, head=HeadInfo(task="SEQ_CLS", name="default"))


# --- what is asked for ---------------------------------------------------------------------------------------------------


def test_request_asks_for_exactly_the_sites_of_the_module() -> None:
    """A LoRA on `value` with a head needs its input, its output and the final state, at the mapped layers only."""
    module = head_module(np.random.default_rng(0))
    module = replace(
        module,
        pieces={
            Place(place.stack, place.layer, place.name.replace("query", "value")): replace(
                piece, route=route_of_role("value") if place.layer >= 0 else piece.route
            )
            for place, piece in module.pieces.items()
        },
    )
    uses = request_for(module, layers_of("1,3", TEACHER, STUDENT)).uses(TEACHER, STUDENT)
    assert {str(pair) for pair in uses} == {
        "encoder.0.query.input<-encoder.1.query.input",
        "encoder.0.value.output<-encoder.1.value.output",
        "encoder.1.query.input<-encoder.3.query.input",
        "encoder.1.value.output<-encoder.3.value.output",
        "final.output<-final.output",
    }
    read = uses[SitePair.parse("encoder.0.query.input<-encoder.1.query.input")]
    write = uses[SitePair.parse("encoder.0.value.output<-encoder.1.value.output")]
    assert (read.use, read.written_from) == (Use(reads=True, updates=True), None)
    assert write.use == Use(writes=True)
    assert str(write.written_from) == "encoder.0.query.input<-encoder.1.query.input"
    assert uses[SitePair.parse("final.output<-final.output")].use == Use(reads=True, writes=True)


def test_request_does_not_depend_on_the_order_of_pieces() -> None:
    """The same module in another order asks for the same, so that it finds the same stored map."""
    module = lora_module(TEACHER, "query", "ffn_up", "value")
    other = module_of(dict(reversed(list(module.pieces.items()))))
    layers = layers_of("avg", TEACHER, STUDENT)
    assert request_for(module, layers) == request_for(other, layers)


# --- refusals ------------------------------------------------------------------------------------------------------------


def test_converting_nothing_fails() -> None:
    """A layer map that leads past all of the module's pieces is refused with where they are."""
    module = module_of({Place("encoder", 1, "query"): lora_piece(TEACHER, "query", np.random.default_rng(0))})
    with pytest.raises(ConversionError, match=r"`skip`.*pieces in encoder 1\."):
        convert(module, layers_of("skip", TEACHER, STUDENT), None)


def test_identity_needs_equal_widths() -> None:
    """Stated identity between widths that differ is refused with both and the site."""
    with pytest.raises(ConversionError, match=r"`encoder\.0\.query\.input` has 5 units in the student and 6 in the teacher"):
        convert(lora_module(TEACHER, "query"), layers_of("skip", TEACHER, STUDENT), None)


def test_map_without_the_sites_is_refused() -> None:
    """A map that was made for other layers or roles is refused with the site that it lacks."""
    module, layers = lora_module(TEACHER, "query"), layers_of("skip", TEACHER, STUDENT)
    with pytest.raises(ConversionError, match=r"no sites `encoder\.1\.query\.input<-encoder\.3\.query\.input`"):
        convert(module, layers_of("0,3", TEACHER, STUDENT), random_assignments(module, layers))


BROKEN: dict[str, SiteMap] = {
    "too few units": assignment_map(np.arange(4)),
    "teacher unit that is not there": assignment_map(np.array([0, 1, 2, 3, 6])),
    "negative unit": assignment_map(np.array([0, 1, 2, 3, -2])),
    "identity of other widths": SiteMap(correlation=np.ones(5, dtype=np.float32)),
    "matrix of another teacher": SiteMap(correlation=np.ones(5, dtype=np.float32), reading=np.ones((7, 5), dtype=np.float32)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_map_of_other_widths_is_refused(case: str) -> None:
    """A site map that does not fit the two widths is refused with both."""
    module, layers = lora_module(TEACHER, "query"), layers_of("skip", TEACHER, STUDENT)
    maps = dict(random_assignments(module, layers).maps)
    maps[SitePair.parse("encoder.0.query.input<-encoder.0.query.input")] = BROKEN[case]
    with pytest.raises(ConversionError, match=r"does not fit.*the student has 5 units there and the teacher 6"):
        convert(module, layers, map_of(maps))


def test_map_without_the_direction_is_refused() -> None:
    """A site that was aligned for writing only cannot be read, nor the other way round."""
    module, layers = lora_module(TEACHER, "query"), layers_of("skip", TEACHER, STUDENT)
    good = dict(random_assignments(module, layers).maps)
    ones = np.ones(5, dtype=np.float32)
    read, write = (f"encoder.0.query.{side}<-encoder.0.query.{side}" for side in ("input", "output"))
    only_written = SiteMap(correlation=ones, writing=np.ones((5, 6), dtype=np.float32))
    only_read = SiteMap(correlation=ones, reading=np.ones((6, 5), dtype=np.float32))
    with pytest.raises(AlignmentError, match="for writing only"):
        convert(module, layers, map_of({**good, SitePair.parse(read): only_written}))
    with pytest.raises(ConversionError, match="for reading only"):
        convert(module, layers, map_of({**good, SitePair.parse(write): only_read}))


def test_values_that_are_not_finite_are_refused() -> None:
    """A NaN in a map, or a value that half precision cannot hold, never reaches a tensor."""
    module, layers = lora_module(TEACHER, "query"), layers_of("skip", TEACHER, STUDENT)
    maps = dict(random_assignments(module, layers).maps)
    write = SitePair.parse("encoder.1.query.output<-encoder.2.query.output")
    ones = np.ones(5, dtype=np.float32)
    nan = SiteMap(correlation=ones, writing=np.full((5, 6), np.nan, dtype=np.float32))
    with pytest.raises(ConversionError, match=r"`encoder\.1\.query` `up` would hold values that are not finite"):
        convert(module, layers, map_of({**maps, write: nan}))
    huge = SiteMap(correlation=ones, writing=np.full((5, 6), 1e8, dtype=np.float32))
    half = module_of(
        {
            place: replace(piece, parts={part: tensor.astype(np.float16) for part, tensor in piece.parts.items()})
            for place, piece in module.pieces.items()
        }
    )
    with pytest.raises(ConversionError, match=r"`encoder\.1\.query` `up` would hold values that are not finite"):
        convert(half, layers, map_of({**maps, write: huge}))


def test_different_ranks_have_no_average_of_factors() -> None:
    """`avg` of factors of different ranks is refused with the shapes; `avg-delta` takes them."""
    rng = np.random.default_rng(0)
    module = module_of(
        {Place("encoder", layer, "query"): lora_piece(TEACHER, "query", rng, rank=2 + layer) for layer in range(4)}
    )
    short = bert(hidden=6, ffn=10, layers=2)
    with pytest.raises(ConversionError, match=r"\(2, 6\).*\(3, 6\)") as caught:
        convert(module, layers_of("avg", TEACHER, short), None, student=short)
    assert "avg-delta" in caught.value.do
    pieces = convert(module, layers_of("avg-delta", TEACHER, short), None, student=short).module.pieces
    assert [pieces[Place("encoder", layer, "query")].parts["down"].shape[0] for layer in (0, 1)] == [3, 5]


def test_submodules_that_the_student_lacks_are_dropped_and_listed() -> None:
    """A piece on BERT's pooler stays behind where the student has none."""
    from modxfer.architectures import architecture_from_config

    config = {"model_type": "distilbert", "dim": 6, "n_layers": 4, "hidden_dim": 10}
    distilbert = architecture_from_config(config, name="d")
    pooler = Piece(method=LINEAR, route=route_of_role("pooler"), parts={"weight": np.ones((6, 6)), "bias": np.ones(6)})
    module = module_of({**lora_module(TEACHER, "query").pieces, Place("", -1, "pooler"): pooler})
    conversion = convert(module, layers_of("skip", TEACHER, distilbert), None, student=distilbert)
    assert conversion.dropped == ("pooler: distilbert has no such submodule",)
    assert Place("", -1, "pooler") not in conversion.module.pieces
