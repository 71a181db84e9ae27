"""Layer maps: which teacher layers feed each student layer, at any ratio of depths."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modxfer.alignments.layer_maps import MODES, LayerMap, layer_map
from modxfer.errors import UsageError


def build(spec: str, teacher: int, student: int) -> LayerMap:
    """Build a layer map of one stack."""
    return layer_map(spec, teacher={"encoder": teacher}, student={"encoder": student})


def layers(spec: str, teacher: int, student: int) -> list[list[int]]:
    """Give the teacher layers of each student layer."""
    return [[layer for layer, _ in feed] for feed in build(spec, teacher, student).feeds["encoder"]]


@pytest.mark.parametrize(
    ("spec", "teacher", "student", "expected"),
    [
        ("skip", 12, 6, [[0], [2], [4], [6], [8], [10]]),
        ("last", 12, 6, [[1], [3], [5], [7], [9], [11]]),
        ("avg", 12, 6, [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]),
        ("avg-delta", 4, 2, [[0, 1], [2, 3]]),
        ("skip", 5, 3, [[0], [1], [3]]),
        ("last", 5, 3, [[0], [2], [4]]),
        ("avg", 5, 3, [[0], [1, 2], [3, 4]]),
        ("avg", 3, 3, [[0], [1], [2]]),
        ("skip", 2, 5, [[0], [0], [0], [1], [1]]),
        ("last", 2, 5, [[0], [0], [0], [1], [1]]),
        ("avg", 1, 3, [[0], [0], [0]]),
        ("4,0,2", 6, 3, [[4], [0], [2]]),
        (" 1 , 1", 6, 2, [[1], [1]]),
        ("3", 6, 1, [[3]]),
    ],
)
def test_layer_map_by_hand(spec: str, teacher: int, student: int, expected: list[list[int]]) -> None:
    """Maps that one can read by eye."""
    assert layers(spec, teacher, student) == expected


@given(teacher=st.integers(1, 50), student=st.integers(1, 50))
def test_layer_map_properties_at_any_ratio(teacher: int, student: int) -> None:
    """Blocks go up, weights sum to 1, `skip` and `last` are their ends, and no teacher layer is left out by `avg`."""
    avg, skip, last = (build(mode, teacher, student).feeds["encoder"] for mode in ("avg", "skip", "last"))
    assert len(avg) == student
    for block, first, end in zip(avg, skip, last, strict=True):
        assert math.isclose(sum(weight for _, weight in block), 1.0)
        assert first == ((block[0][0], 1.0),)
        assert end == ((block[-1][0], 1.0),)
        assert [layer for layer, _ in block] == list(range(block[0][0], block[-1][0] + 1))
    assert [feed[0][0] for feed in skip] == sorted(feed[0][0] for feed in skip)
    if student <= teacher:
        assert [layer for block in avg for layer, _ in block] == list(range(teacher))
    else:
        assert {layer for block in avg for layer, _ in block} == set(range(teacher))
    if student == teacher:
        assert avg == skip == last


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"0": 3, "1": [0, 2]}, [((3, 1.0),), ((0, 0.5), (2, 0.5))]),
        ({"1": {"2": 0.25, "1": 0.75}, "0": 0}, [((0, 1.0),), ((1, 0.75), (2, 0.25))]),
        ([2, [1, 3]], [((2, 1.0),), ((1, 0.5), (3, 0.5))]),
    ],
)
def test_layer_map_from_a_json_table(tmp_path: Path, table: Any, expected: list[Any]) -> None:
    """A JSON table gives layers, lists that share equally, and weights; it may be a list too."""
    path = tmp_path / "layers.json"
    path.write_text(json.dumps(table))
    found = build(str(path), 4, 2)
    assert (found.mode, list(found.feeds["encoder"])) == ("explicit", expected)
    assert found.as_lists() == {"encoder": [[list(pair) for pair in feed] for feed in expected]}


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        ("0,2", "student layers 0, 1, and the student has the layers 0 to 2"),
        ("0,1,2,3", "student layers 0, 1, 2, 3"),
        ("0,1,4", "student layer 2 from teacher layer 4, and the teacher has the layers 0 to 3"),
        ("0,,2", "`0,,2` is no layer map"),
        ("0 1 2", "`0 1 2` is no layer map"),
        ("0,1,²", "is no layer map"),
        ("-1,0,1", "is no layer map"),
        ("middle", "`middle` is no layer map: not one of skip, last, avg, avg-delta"),
        ("", "is no layer map"),
        ("x" * 5000, "is no layer map"),
    ],
)
def test_layer_map_refuses_a_wrong_list(spec: str, wrong: str) -> None:
    """A list with missing, extra or unknown layers, and a word that is no mode, is refused with what it says."""
    with pytest.raises(UsageError, match=wrong):
        build(spec, 4, 3)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{", "Cannot read the layer map"),
        ("3", "gives no object"),
        ('{"0": {"0": 1.0, "1": 0.0}, "1": 1}', "weight above 0"),
        ('{"0": 1}', "gives student layers 0, "),
        ('{"0": 0, "1": 1, "5": 2}', "student layers 0, 1, 5"),
        ('{"0": 0, "1": 4}', "student layer 1 from teacher layer 4"),
        ('{"0": 0, "1": -1}', "student layer 1 from teacher layer -1"),
        ('{"0": 0, "1": [1, 1]}', r"student layer 1 `\[1, 1\]`"),
        ('{"0": 0, "1": []}', r"student layer 1 `\[\]`"),
        ('{"0": 0, "1": {"1": 0.4, "2": 0.4}}', '0.4, "2": 0.4'),
        ('{"0": 0, "1": {"1": 1.0, "two": 1.0}}', '"two": 1.0'),
        ('{"0": 0, "1": {"1": NaN}}', "NaN"),
        ('{"0": 0, "1": true}', "student layer 1 `true`"),
        ('{"0": 0, "1": [true]}', r"student layer 1 `\[true\]`"),
        ('{"0": 0, "1": {"1": true}}', "true"),
        ('{"0": 0, "1": null}', "student layer 1 `null`"),
        ('{"0": 0, "1": 1.5}', "student layer 1 `1.5`"),
    ],
)
def test_layer_map_refuses_a_wrong_table(tmp_path: Path, text: str, wrong: str) -> None:
    """A JSON table that misses layers, doubles them, or whose weights do not sum to 1 is refused with its entry."""
    path = tmp_path / "layers.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=wrong):
        build(str(path), 4, 2)


def test_layer_map_needs_the_same_stacks() -> None:
    """An encoder's module does not go to a base model with other stacks, and a list does not say which stack."""
    with pytest.raises(UsageError, match=r"\['encoder'\] and the student \['decoder', 'encoder'\]"):
        layer_map("skip", teacher={"encoder": 2}, student={"encoder": 2, "decoder": 2})
    both = {"encoder": 2, "decoder": 2}
    with pytest.raises(UsageError, match="`0,1` does not say which stack"):
        layer_map("0,1", teacher=both, student=both)
    assert set(layer_map("skip", teacher=both, student=both).feeds) == {"encoder", "decoder"}


def test_explicit_layer_map_of_several_stacks(tmp_path: Path) -> None:
    """A JSON object from stack to table says the layers of every stack; one that lacks a stack, or a layer, is refused."""
    teacher, student = {"encoder": 4, "decoder": 3}, {"encoder": 2, "decoder": 2}
    path = tmp_path / "layers.json"
    path.write_text(json.dumps({"encoder": [3, 1], "decoder": {"1": {"0": 0.25, "2": 0.75}, "0": 2}}))
    found = layer_map(str(path), teacher=teacher, student=student)
    assert found == LayerMap(
        mode="explicit",
        feeds={"encoder": (((3, 1.0),), ((1, 1.0),)), "decoder": (((2, 1.0),), ((0, 0.25), (2, 0.75)))},
    )
    path.write_text(json.dumps({"encoder": [3, 1]}))
    with pytest.raises(UsageError, match=r"does not say which stack .* encoder, decoder") as caught:
        layer_map(str(path), teacher=teacher, student=student)
    assert '{"encoder": [0, 2], "decoder": [0, 2]}' in caught.value.do
    path.write_text(json.dumps({"encoder": [3, 1], "decoder": [0]}))
    with pytest.raises(UsageError, match="gives student layers 0, and the student has the layers 0 to 1"):
        layer_map(str(path), teacher=teacher, student=student)
    path.write_text(json.dumps({"encoder": [3, 1], "decoder": [0, 3]}))
    with pytest.raises(UsageError, match="from teacher layer 3, and the teacher has the layers 0 to 2"):
        layer_map(str(path), teacher=teacher, student=student)
    path.write_text(json.dumps({"encoder": [0, 1]}))
    assert layer_map(str(path), teacher={"encoder": 2}, student={"encoder": 2}).feeds == {"encoder": (((0, 1.0),), ((1, 1.0),))}


def test_pairs_list_what_has_to_be_aligned() -> None:
    """Every pair of layers of the map comes once, with its stack."""
    assert list(build("avg", 3, 2).pairs()) == [("encoder", 0, 0), ("encoder", 1, 1), ("encoder", 1, 2)]


@pytest.mark.parametrize("mode", MODES)
def test_only_avg_delta_averages_updates(mode: str) -> None:
    """Whole updates are averaged by `avg-delta` alone."""
    assert build(mode, 4, 2).averages_updates is (mode == "avg-delta")
