"""Alignment maps on disk: what is written is read back, and what is damaged is not used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modxfer.alignments.alignment_map import AlignmentMap, SiteMap, SitePair
from modxfer.alignments.files import RECORD, TENSORS, read_alignment, write_alignment
from modxfer.errors import FormatError
from tests.modules import SCORE, assignment_map, map_of

QUERY = SitePair.parse("encoder.0.query.input<-encoder.3.query.input")
VALUE = SitePair.parse("encoder.1.value.output<-encoder.2.value.output")
FINAL = SitePair.parse("final.output<-final.output")


def example() -> AlignmentMap:
    """Make a map that has all three forms."""
    rng = np.random.default_rng(0)

    def of(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    matrix = SiteMap(
        correlation=of(4),
        reading=of(6, 4),
        offset=of(6),
        constant=of(4),
        writing=of(4, 6),
        student_covariance=of(4, 4),
        teacher_covariance=of(6, 6),
        student_size=0.1 + 0.2,
        teacher_size=7.25,
    )
    maps = {
        FINAL: SiteMap(correlation=of(4)),
        VALUE: matrix,
        QUERY: assignment_map(np.array([2, -1, 0, 5])),
    }
    return map_of(maps, reason="Für Größen ≥ 1.", warnings=("One.", "Two."), versions={"numpy": "2"}, key="ab" * 32)


def test_written_map_is_read_back(tmp_path: Path) -> None:
    """Every array comes back bit for bit, and every other value as it was."""
    before = example()
    write_alignment(before, tmp_path)
    after = read_alignment(tmp_path)
    for name in ("teacher", "student", "corpus", "aligner", "requested", "reason", "parameters", "warnings", "key"):
        assert getattr(after, name) == getattr(before, name), name
    assert dict(after.versions) == {"numpy": "2"}
    assert dict(after.scores) == dict(before.scores)
    assert after.maps.keys() == before.maps.keys()
    assert len(after.maps) == 3
    for pair, site_map in before.maps.items():
        found = after.maps[pair]
        assert found.form == site_map.form
        for name in SiteMap.__dataclass_fields__:
            one, other = getattr(site_map, name), getattr(found, name)
            if isinstance(one, np.ndarray):
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(one, other)
            else:
                assert one == other, name


def test_same_map_gives_the_same_bytes(tmp_path: Path) -> None:
    """Files hold no time and no order of insertion."""
    first, second = tmp_path / "1", tmp_path / "2"
    one = example()
    two = map_of(
        dict(reversed(list(one.maps.items()))),
        reason=one.reason,
        warnings=one.warnings,
        versions=one.versions,
        key=one.key,
    )
    for folder, alignment in ((first, one), (second, two)):
        folder.mkdir()
        write_alignment(alignment, folder)
    for name in (TENSORS, RECORD):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def damage(path: Path, place: int = -10) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


def test_damaged_tensors_are_refused(tmp_path: Path) -> None:
    """One flipped bit in the tensors is an error that names the file, unless checking was turned off."""
    write_alignment(example(), tmp_path)
    damage(tmp_path / TENSORS)
    with pytest.raises(FormatError, match=r"alignment\.safetensors` is damaged"):
        read_alignment(tmp_path)
    assert len(read_alignment(tmp_path, verify=False).maps) == 3


def test_a_changed_record_is_refused(tmp_path: Path) -> None:
    """A figure that was changed in the record is noticed, for conversions use figures from it."""
    write_alignment(example(), tmp_path)
    record = json.loads((tmp_path / RECORD).read_text(encoding="utf-8"))
    next(site for site in record["sites"] if site["teacher_size"] == 7.25)["teacher_size"] = 7.5
    (tmp_path / RECORD).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(FormatError, match=r"alignment\.json` is damaged"):
        read_alignment(tmp_path)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda record: record.update(format_version=99), "format version 99, and this modxfer reads version 1"),
        (lambda record: record.pop("format_version"), "format version None"),
        (lambda record: record.pop("sites"), "KeyError 'sites'"),
        (lambda record: record["teacher"].update(colour="red"), "colour"),
        (lambda record: record["sites"][0].pop("tokens"), "KeyError 'tokens'"),
        (lambda record: record["sites"][0].update(student="encoder.x.query.input"), "invalid literal"),
    ],
)
def test_records_of_another_shape_are_refused(tmp_path: Path, change: Any, wrong: str) -> None:
    """Another version, or a missing, extra or unreadable field, is refused with its name."""
    write_alignment(example(), tmp_path)
    record = json.loads((tmp_path / RECORD).read_text(encoding="utf-8"))
    change(record)
    (tmp_path / RECORD).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(FormatError, match=wrong):
        read_alignment(tmp_path, verify=False)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xff", b"null"])
def test_a_record_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    """A truncated or foreign record is refused with its path."""
    write_alignment(example(), tmp_path)
    (tmp_path / RECORD).write_bytes(content)
    with pytest.raises(FormatError, match=RECORD):
        read_alignment(tmp_path)


def test_a_folder_without_a_map_is_refused(tmp_path: Path) -> None:
    """A folder that lacks the record or the tensors is refused with what it lacks."""
    with pytest.raises(FormatError, match=r"holds no `alignment\.json`"):
        read_alignment(tmp_path)
    write_alignment(example(), tmp_path)
    (tmp_path / TENSORS).unlink()
    with pytest.raises(FormatError, match=r"holds no `alignment\.safetensors`"):
        read_alignment(tmp_path)


def test_tensors_that_vanish_later_are_an_error_of_ours(tmp_path: Path) -> None:
    """Arrays are read when they are asked for; a file that has gone by then is no bare traceback."""
    write_alignment(example(), tmp_path)
    alignment = read_alignment(tmp_path)
    (tmp_path / TENSORS).unlink()
    with pytest.raises(FormatError, match=r"Cannot read .*alignment\.safetensors"):
        _ = alignment.maps[QUERY]
    with pytest.raises(KeyError):
        _ = alignment.maps[SitePair.parse("final.input<-final.input")]


def test_layers_group_the_scores_in_order() -> None:
    """Layers come in the student's order, sites outside the layers last; the mean is over all pairs."""
    alignment = example()
    assert [(title, [str(pair) for pair, _ in group]) for title, group in alignment.layers()] == [
        ("encoder 0 <- 3", [str(QUERY)]),
        ("encoder 1 <- 2", [str(VALUE)]),
        ("final.output", [str(FINAL)]),
    ]
    assert alignment.mean_correlation == SCORE.mean_correlation
