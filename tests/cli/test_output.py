"""The sink, and the tables."""

import io
import json
from typing import Any

import pytest
from rich.table import Table

from modxfer.alignments.alignment_map import AlignmentMap, BaseRecord, CorpusRecord, SitePair, SiteScore
from modxfer.architectures import Point, Side, Site
from modxfer.cli.demo import rows_table
from modxfer.cli.output import Output, human_size
from modxfer.cli.reports import ranges
from modxfer.cli.tables import layer_means, score_tables

ROLES = ("query", "key", "value", "attention_output", "attention_norm", "ffn_up", "ffn_down", "ffn_norm")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def make_output(stderr: io.StringIO, *, quiet: bool = False) -> Output:
    """Make a sink for people that prints into memory."""
    return Output(json=False, quiet=quiet, debug=False, stdout=io.StringIO(), stderr=stderr)


def printed(output: Output) -> str:
    """Give what went to stdout."""
    assert isinstance(output.stdout, io.StringIO)
    return output.stdout.getvalue()


def make_alignment(layers: int) -> AlignmentMap:
    """Make the scores of a map with many sites: layer i has the correlation i / 10 everywhere."""
    base = BaseRecord(name="base", revision=None, fingerprint="0" * 64, model_type="bert")
    scores = {}
    for layer in range(layers):
        for role in ROLES:
            for side in Side:
                site = Site("encoder", layer, Point(role, side))
                scores[SitePair(site, site)] = SiteScore(
                    aligner="lsa",
                    tokens=7, mean_correlation=layer / 10, chance=0.05, explained_by_units=0.1, explained_by_linear=0.2,
                    same_index=0.0, constant_units=0,
                )  # fmt: skip
    corpus = CorpusRecord(name="text", revision=None, fingerprint="1" * 64, texts=3, tokens=7, matching="spans")
    return AlignmentMap(
        teacher=base, student=base, corpus=corpus, aligner="lsa", requested="lsa", reason="", parameters={}, maps={},
        scores=scores,
    )  # fmt: skip


def test_score_tables_fit_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sites a map has, every line fits 80 columns, and every site is there in every layer."""
    monkeypatch.setenv("COLUMNS", "200")
    output = make_output(io.StringIO())
    output.result({}, *score_tables(make_alignment(12)))
    lines = printed(output).splitlines()
    assert max(len(line) for line in lines) <= 80 or max(len(line) for line in lines[:-1]) <= 80
    assert sum(line.count("0.70 (0.05)") for line in lines) == len(ROLES) * len(Side)


def test_layer_means_are_of_one_layer_each() -> None:
    """The mean of a layer is over its own sites."""
    assert layer_means(make_alignment(3)) == pytest.approx(
        {"encoder 0 <- 0": 0.0, "encoder 1 <- 1": 0.1, "encoder 2 <- 2": 0.2}
    )


def test_progress_is_for_terminals_only() -> None:
    """A bar is drawn on a terminal once something is reported; elsewhere, or with --quiet, nothing is printed."""
    shown, hidden, quiet = Terminal(), io.StringIO(), Terminal()
    for output in (make_output(shown), make_output(hidden), make_output(quiet, quiet=True)):
        with output.progress("Aligning", unit="tokens") as report:
            report(1_500, 3_000)
    assert "1,500 of 3,000 tokens" in shown.getvalue()
    assert (hidden.getvalue(), quiet.getvalue()) == ("", "")


def test_follow_names_each_step_once_without_a_terminal() -> None:
    """Steps of long work are lines where no bar is drawn."""
    stream = io.StringIO()
    output = make_output(stream)
    with output.progress("Demo") as report:
        follow = output.follow(report)
        for step, done in (("train", 0.1), ("train", 0.2), ("convert", 0.5)):
            follow(step, done)
    assert stream.getvalue() == "train\nconvert\n"


def test_markup_in_names_is_text() -> None:
    """Square brackets in a name are printed as they are."""
    output = make_output(io.StringIO())
    output.result({}, "adapters/[bold]mine[/bold]")
    assert printed(output) == "adapters/[bold]mine[/bold]\n"


def test_long_paths_are_one_line() -> None:
    """A path on stdout is never broken, so that a script can use it."""
    path = "a-long-name/" * 30
    output = make_output(io.StringIO())
    output.result({}, path)
    assert printed(output) == f"{path}\n"


def test_demo_rows_become_one_table() -> None:
    """Each row of the demo is one line; what a row lacks is empty."""
    rows: list[dict[str, Any]] = [
        {"student": None, "method": "lora", "model": "teacher", "head": "own", "steps": 90, "zero_shot_f1": None, "f1": 91.26},
        {"student": "matching", "method": "lora", "model": "default", "head": "new", "steps": 9,
         "zero_shot_f1": 1.0, "f1": 55.0},
    ]  # fmt: skip
    output = make_output(io.StringIO())
    output.result({}, rows_table(rows))
    teacher = next(line for line in printed(output).splitlines() if "teacher" in line)
    assert teacher.split() == ["lora", "teacher", "own", "90", "91.3"]


TOKEN = "hf_" + "sEcReT1" * 5


def test_nothing_that_is_printed_shows_a_token() -> None:
    """Results, tables, notes, warnings, errors, steps and bars alike."""
    stderr = Terminal()
    output = make_output(stderr)
    table = Table()
    table.add_column("file")
    table.add_row(TOKEN)
    output.result({}, f"a/{TOKEN}", table)
    output.note(f"note {TOKEN}", table)
    output.warn([f"warning {TOKEN}"])
    output.error("HubError", f"What {TOKEN}.", f"Do {TOKEN}.")
    with output.progress(f"bar {TOKEN}") as report:
        report(1, 2)
        report(2, 2, f"step {TOKEN}")
    everything = printed(output) + stderr.getvalue()
    assert "sEcReT" not in everything
    assert everything.count("***") >= 9


def test_json_without_a_token_stays_json() -> None:
    """A text that is hidden is one text of the object, however deep, and the rest is as it was."""
    output = Output(json=True, quiet=False, debug=False, stdout=io.StringIO(), stderr=io.StringIO())
    output.result({"a": [{"url": f'https://me:pass"word@{TOKEN}/x'}, 1, None, 0.5, True], TOKEN: "é"})
    assert json.loads(printed(output)) == {"a": [{"url": "https://***@***/x"}, 1, None, 0.5, True], "***": "é"}


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (45_300_000, "45.3 MB"), (7e12, "7 TB")]
)
def test_human_size(size: float, text: str) -> None:
    """Sizes have some three digits and a unit."""
    assert human_size(size) == text


@pytest.mark.parametrize(("numbers", "text"), [([], ""), ([4], "4"), ([2, 0, 1, 5, 7, 6], "0-2, 5-7")])
def test_ranges(numbers: list[int], text: str) -> None:
    """Runs are written with their ends, in order."""
    assert ranges(numbers) == text
