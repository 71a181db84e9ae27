"""The file of results: it only grows, and survives a kill while it is written."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from modxfer.errors import FormatError
from modxfer.experiments.results import (
    RESULTS,
    ResultRow,
    append_row,
    count_waiting,
    read_results,
    read_rows,
    write_cells,
)

ROW = ResultRow(
    cell="c1",
    plan="tiny",
    kind="transferred",
    pair="big to small",
    relation="matching",
    teacher="big",
    student="small",
    method="lora",
    layers="skip",
    aligner="auto",
    used_aligner="identity",
    head="kept",
    control=None,
    task="ner",
    language="en",
    seed=1,
    learning_rate=0.003,
    steps=20,
    metric="f1",
    value=51.5,
    zero_shot=None,
    validation=50.25,
    interval=(49.0, 53.5),
    metrics={"f1": 51.5, "precision": 50.0},
    curve=((0, 12.5), (20, 50.25)),
    test={"name": "data/test.conllu", "rows": 8},
    seconds=1.5,
    versions={"torch": "2.13"},
    notes=("a note",),
)


def test_row_survives_the_file(tmp_path: Path) -> None:
    """What is read is what was written, tuples included."""
    append_row(tmp_path / RESULTS, ROW)
    assert read_rows(tmp_path / RESULTS) == (ROW,)


def test_read_rows_takes_the_last_of_a_cell_and_sorts(tmp_path: Path) -> None:
    """A cell that was tried again has its last row; the order is that of what rows are of, not of time."""
    path = tmp_path / RESULTS
    for row in (replace(ROW, cell="c2", seed=2), replace(ROW, error="broken", value=None), ROW):
        append_row(path, row)
    assert read_rows(path) == (ROW, replace(ROW, cell="c2", seed=2))


def test_read_rows_leaves_a_torn_line_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A line without an end is told and left out; repaired, the file takes more rows."""
    path = tmp_path / RESULTS
    append_row(path, ROW)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert read_rows(path) == (ROW,)
    assert "cut off" in caplog.text
    assert path.read_bytes() != whole

    read_rows(path, repair=True)
    assert path.read_bytes() == whole
    append_row(path, replace(ROW, cell="c2"))
    assert len(read_rows(path)) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no json", "Line 2 of .* It is no JSON"),
        ("[1]", "no JSON object"),
        (json.dumps({**ROW.as_json(), "format_version": 7}), "format version '7'"),
        (json.dumps({**ROW.as_json(), "colour": "red"}), "colour"),
        (json.dumps({key: value for key, value in ROW.as_json().items() if key != "seed"}), "seed"),
    ],
)
def test_read_rows_refuses_other_lines(tmp_path: Path, line: str, said: str) -> None:
    """A whole line that is no row of this version is refused, with its number."""
    path = tmp_path / RESULTS
    append_row(path, ROW)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(FormatError, match=said):
        read_rows(path)


def test_read_results_leaves_rows_of_an_older_plan_out(tmp_path: Path) -> None:
    """Only cells of the plan that was run last are results."""
    for row in (ROW, replace(ROW, cell="old")):
        append_row(tmp_path / RESULTS, row)
    assert len(read_results(tmp_path)) == 2
    write_cells(tmp_path, ["c1", "not yet"], plan="tiny")
    assert read_results(tmp_path) == (ROW,)
    assert count_waiting(tmp_path, read_results(tmp_path)) == 1


def test_read_results_gives_rows_the_name_that_the_plan_has_now(tmp_path: Path) -> None:
    """The name is no part of a cell's id: rows of a plan that was renamed belong with the new ones, and not beside them."""
    append_row(tmp_path / RESULTS, ROW)
    write_cells(tmp_path, ["c1"], plan="renamed")
    assert read_results(tmp_path) == (replace(ROW, plan="renamed"),)
    assert count_waiting(tmp_path, read_results(tmp_path)) == 0


def test_read_results_refuses_a_folder_without_results(tmp_path: Path) -> None:
    """Its name is told."""
    with pytest.raises(FormatError, match=tmp_path.name):
        read_results(tmp_path)
