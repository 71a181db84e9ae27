"""The files of a report: what is in them, and that nothing from outside gets loose in them."""

import csv
import io
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from modxfer.errors import OutputError, TrainingError
from modxfer.experiments.report import write_report
from modxfer.experiments.results import ResultRow
from tests.experiments.report.rows import TEST, over_seeds, row

NASTY = "<script>alert(1)</script>|`x`](http://evil.example) $x$ _a_\n# head"
CURVE = ((0, 10.0), (100, 30.0))


def small() -> list[ResultRow]:
    """Make the rows of a small experiment."""
    return [
        row("sweep", None, learning_rate=1e-4, validation=20.0),
        row("sweep", None, learning_rate=1e-3, validation=41.25),
        row("sweep", None, learning_rate=1e-2, validation=31.0),
        row("teacher", 80.0),
        *over_seeds("default", [40.0, 42.0], curve=CURVE),
        *over_seeds("transferred", [46.0, 47.0], curve=CURVE),
        row("control", None, error="Loss is NaN at step 12."),
    ]


class Page(HTMLParser):
    """The tags of a page with their attributes, and the text of its table cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self._in_cell = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        """Leave a cell."""
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        """Keep a cell's text."""
        if self._in_cell:
            self.cells[-1] += data


def lines_of(file: Path) -> list[dict[str, str]]:
    """Read a CSV."""
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))


def test_write_report_writes_every_kind_of_file(tmp_path: Path) -> None:
    """Markdown, HTML, CSV and a picture for each block are there, and the report says so."""
    report = write_report(small(), tmp_path / "report")
    assert report.files == (
        "comparisons.csv", "curves-big-to-small-lora-ner.png", "curves.csv", "report.html", "report.md", "results.csv",
        "tables.csv",
    )  # fmt: skip
    assert sorted(path.name for path in report.output.iterdir()) == list(report.files)
    assert (report.cells, report.failed) == (9, 1)
    assert any("in 2 of 2 seeds (+5.50 ± 0.71 F1" in text for text in report.findings)
    assert report.as_json()["warnings"] == list(report.warnings)
    assert (report.output / report.files[1]).read_bytes().startswith(b"\x89PNG")


def test_write_report_gives_the_same_bytes_for_the_same_rows(tmp_path: Path) -> None:
    """Neither the order in which cells finished nor the time of day changes what a reader sees."""
    first, turned = write_report(small(), tmp_path / "a"), write_report(small()[::-1], tmp_path / "b")
    for name in set(first.files) - {"results.csv"}:
        assert (first.output / name).read_bytes() == (turned.output / name).read_bytes(), name


def test_markdown_and_page_say_the_same_numbers(tmp_path: Path) -> None:
    """A row of the results is in both, with the best in bold."""
    output = write_report(small(), tmp_path).output
    markdown = (output / "report.md").read_text(encoding="utf-8")
    html = (output / "report.html").read_text(encoding="utf-8")
    expected = "| TM-Student SKIP, identity, new head | **46.50 ± 0.71** | −33.50 | 10.00 | +5.50 ± 0.71 | 2 |"
    assert expected in markdown
    cells = Page(html).cells
    at = cells.index("46.50 ± 0.71")
    assert cells[at - 1 : at + 5] == [
        "TM-Student SKIP, identity, new head", "46.50 ± 0.71", "−33.50", "10.00", "+5.50 ± 0.71", "2",
    ]  # fmt: skip
    assert "<strong>46.50 ± 0.71</strong>" in html


def test_report_says_what_was_run(tmp_path: Path) -> None:
    """Cells, failures with their reason, the sweep and the rate it chose, the test split's hash, versions, the command."""
    command = "modxfer experiment run plan.yaml --output `out`"
    text = (write_report(small(), tmp_path, command=command).output / "report.md").read_text(encoding="utf-8")
    assert "* Cells: 9 (3 for the learning rate, 1 teacher, 2 default student, 2 transferred, 1 control); 1 failed" in text
    assert "| Loss is NaN at step 12. | 0 |" in text
    assert "| big-to-small | lora | ner | en | F1 | 20.00 | **41.25** | 31.00 |" in text
    assert f"| the first 300 rows | `{TEST['sha256']}` | 300 |" in text
    assert "| torch | 2.13.0 |" in text
    assert "* Device: cpu" in text
    assert f"```sh\n{command}\n```" in text


def test_report_warns_of_a_rate_at_the_edge_and_of_different_test_splits(tmp_path: Path) -> None:
    """A sweep that chose its last rate may have stopped too early, and numbers on different rows are not comparable."""
    rows = [row("sweep", None, learning_rate=1e-4, validation=20.0), row("sweep", None, learning_rate=1e-3, validation=41.0),
            row("default"), row("transferred", test={**TEST, "rows": 200})]  # fmt: skip
    text = (write_report(rows, tmp_path).output / "report.md").read_text(encoding="utf-8")
    assert "At the edge of the sweep, so that a rate beyond it may be better: big-to-small, lora, ner, en (0.001)." in text
    assert "Cells were measured on different test splits, and cannot be compared: ner en." in text
    fair = (write_report(small(), tmp_path).output / "report.md").read_text(encoding="utf-8")
    assert "At the edge" not in fair
    assert "different test splits" not in fair


def test_report_says_that_it_is_not_the_whole_experiment(tmp_path: Path) -> None:
    """Numbers of a run that was killed are not taken for those of the plan."""
    report = write_report(small(), tmp_path, waiting=12)
    sentence = "This is not the whole experiment: 12 cells of the plan have not run yet."
    assert sentence in report.warnings
    assert sentence in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert not any("whole experiment" in text for text in write_report(small(), tmp_path).warnings)


def test_report_warns_of_students_that_ran_elsewhere(tmp_path: Path) -> None:
    """A run that was gone on with on a GPU compares precisions too."""
    versions = {"torch": "2.13.0", "device": "cuda", "precision": "bf16"}
    rows = [row("default"), row("transferred", versions=versions)]
    text = (write_report(rows, tmp_path).output / "report.md").read_text(encoding="utf-8")
    assert "Not all students were trained with the same device" in text
    assert "Not all students were trained with the same precision" in text
    rows = [row("default"), row("transferred"), row("teacher", versions=versions)]
    text = (write_report(rows, tmp_path).output / "report.md").read_text(encoding="utf-8")
    assert "Not all students" not in text


def test_report_names_no_folder_of_the_machine(tmp_path: Path) -> None:
    """The message of a cell that failed keeps the last part of each path, in every file."""
    error = "DataError: Line 3 of `/home/ada smith/d/a.conll` is odd; see ~/x/y.log, C:\\Users\\ada\\b.txt, and/or https://a.example/b/c."
    write_report([row("default"), row("transferred", None, error=error)], tmp_path)
    for name in ("report.md", "report.html", "results.csv"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "ada" not in text
        assert "…/a.conll" in text
        assert "…/y.log" in text
        assert "…/b.txt" in text
    assert "and/or https://a.example/b/c." in (tmp_path / "results.csv").read_text(encoding="utf-8")


def test_report_repeats_the_cells_notes(tmp_path: Path) -> None:
    """What a cell says of its value is told once, with the number of cells that say it."""
    rows = over_seeds("default", [40.0, 41.0], notes=("Learning rate 0.001: the best of 3.",))
    output = write_report(rows, tmp_path).output
    assert "* Learning rate 0.001: the best of 3. (2 cells)" in (output / "report.md").read_text(encoding="utf-8")
    assert lines_of(output / "results.csv")[0]["notes"] == "Learning rate 0.001: the best of 3."


def test_csv_holds_every_field_of_every_row(tmp_path: Path) -> None:
    """Mappings, the interval and the curve become columns, and a number keeps all its digits."""
    one = row("default", 1 / 3, interval=(0.25, 0.5), metrics={"f1": 1 / 3, "precision": 0.5}, curve=((0, 1.5), (10, 2.5)))
    output = write_report([one, row("control", None, error="Killed, twice.\nNo memory.")], tmp_path).output
    first, second = lines_of(output / "results.csv")
    assert float(first["value"]) == 1 / 3
    assert (first["interval_low"], first["interval_high"]) == ("0.25", "0.5")
    assert (first["metrics.precision"], first["curve"], first["test.rows"]) == ("0.5", "0:1.5 10:2.5", "300")
    assert (second["value"], second["metrics.f1"], second["error"]) == ("", "", "Killed, twice.\nNo memory.")


def test_csv_of_tables_comparisons_and_curves_hold_the_numbers(tmp_path: Path) -> None:
    """The tables' numbers are there unrounded, and empty where there are none."""
    output = write_report(small(), tmp_path).output
    by_kind = {line["kind"]: line for line in lines_of(output / "tables.csv")}
    assert (by_kind["transferred"]["test_mean"], by_kind["transferred"]["gain_mean"]) == ("46.5", "5.5")
    assert (by_kind["transferred"]["relative"], by_kind["teacher"]["relative"]) == ("-33.5", "")
    assert (by_kind["control"]["test_mean"], by_kind["control"]["asked"]) == ("", "1")
    against = {line["against_kind"]: line for line in lines_of(output / "comparisons.csv")}
    assert [against["default"][name] for name in ("wins", "ties", "losses", "p_value")] == ["2", "0", "0", "0.5"]
    assert against["control"]["p_value"] == ""
    assert {line["step"] for line in lines_of(output / "curves.csv")} == {"0", "100"}


def test_page_asks_for_nothing_and_runs_nothing(tmp_path: Path) -> None:
    """No script, no address outside the file, a policy that forbids both, and the style that the policy names."""
    html = (write_report(small(), tmp_path).output / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    policy = next(tag[1]["content"] for tag in page.tags if tag[1].get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "embed", "form")]
    addresses = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "srcset", "style")]
    assert all(value is not None and value.startswith(("data:", "#")) for value in addresses)
    assert "url(" not in html
    assert "@import" not in html


def test_texts_from_outside_stay_texts(tmp_path: Path) -> None:
    """A name with markup in it is neither a tag, a link, a heading nor a new cell, in any of the files; nor a path."""
    names: dict[str, Any] = dict.fromkeys(
        ("plan", "pair", "teacher", "student", "layers", "aligner", "used_aligner", "language"), NASTY
    )
    one = row("transferred", curve=CURVE, **names)
    rows = [
        one,
        replace(one, kind="default", cell="d", layers=None, aligner=None, used_aligner=None),
        replace(one, cell="c", seed=1, value=None, error=NASTY),
        row("control", control=NASTY, test={**TEST, "type": NASTY, "part": NASTY}, versions={NASTY: NASTY, "device": NASTY}),
        replace(row("sweep", None, validation=3.0), plan=NASTY, pair=NASTY, language=NASTY, notes=(NASTY,)),
        row("default", pair="../../etc/passwd"),
    ]
    report = write_report(rows, tmp_path / "report", command=NASTY)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name) for name in report.files)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    html = (report.output / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    markdown = (report.output / "report.md").read_text(encoding="utf-8")
    markdown = re.sub(r"\]\(curves-[a-z0-9.-]+\.png\)", "]()", markdown)
    outside_code = re.sub(r"`[^`\n]*`", "", re.sub(r"^(`{3,})sh\n.*?^\1$", "", markdown, flags=re.DOTALL | re.MULTILINE))
    for loose in ("<script", "evil.example", "](http", "\n# head", "$x$"):
        assert loose not in outside_code
    for table in re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_names_that_look_alike_have_pictures_of_their_own(tmp_path: Path) -> None:
    """Two pairs whose names differ in marks or case alone do not overwrite each other's curves."""
    rows = [row("default", pair=pair, curve=CURVE) for pair in ("a/b", "A b", "//")]
    files = [name for name in write_report(rows, tmp_path).files if name.endswith(".png")]
    assert files == ["curves-a-b-lora-ner-2.png", "curves-a-b-lora-ner.png", "curves-x-lora-ner.png"]
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert all(f"]({name})" in markdown for name in files)


def test_report_of_two_plans_keeps_them_apart(tmp_path: Path) -> None:
    """The same pair in two plans is two tables, and their headings name the plan."""
    rows = [
        row("default", 40.0),
        row("transferred", 41.0),
        row("default", 50.0, plan="big"),
        row("transferred", 52.0, plan="big"),
    ]
    text = (write_report(rows, tmp_path).output / "report.md").read_text(encoding="utf-8")
    assert "# Experiment: big, small" in text
    assert "### big: big-to-small (matching), lora\n" in text
    assert "### small: big-to-small (matching), lora\n" in text


def test_report_of_failures_alone_says_so(tmp_path: Path) -> None:
    """A run in which every cell failed has a report without a number."""
    report = write_report([row("default", None, curve=(), error="Killed.")], tmp_path)
    assert (report.cells, report.failed) == (1, 1)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| Student (default init) | – | – | – | – | 0 |" in text
    assert "There is no default student to compare with: no cell of it measured anything." in text


def test_write_report_refuses_to_write_about_nothing(tmp_path: Path) -> None:
    """No rows are no report, and no folder."""
    with pytest.raises(TrainingError, match="There are no results"):
        write_report([], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_write_report_leaves_other_files_alone(tmp_path: Path) -> None:
    """The folder may be the experiment's own: what is in it stays."""
    (tmp_path / "results.jsonl").write_text("kept", encoding="utf-8")
    (tmp_path / "report.md").write_text("old", encoding="utf-8")
    write_report([row("default")], tmp_path)
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("# Experiment")
    assert (tmp_path / "results.jsonl").read_text(encoding="utf-8") == "kept"
    assert not list(tmp_path.glob(".*"))


def test_write_report_says_which_folder_cannot_be_written(tmp_path: Path) -> None:
    """A file where the folder should be is named."""
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="taken"):
        write_report(small(), tmp_path / "taken")


def test_write_report_without_matplotlib_says_what_to_install(tmp_path: Path) -> None:
    """The extra is named before anything is written."""
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from pathlib import Path\n"
        "from modxfer.errors import DependencyError\n"
        "from modxfer.experiments.report import write_report\n"
        "from tests.experiments.report.rows import row\n"
        "try:\n"
        "    write_report([row('default')], Path(sys.argv[1]))\n"
        "except DependencyError as error:\n"
        "    print(error)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True, check=True, cwd=root
    )
    assert "pip install 'modxfer[plot]'" in done.stdout
    assert not (tmp_path / "out").exists()


def test_importing_the_report_loads_neither_torch_nor_matplotlib() -> None:
    """Reading results needs no heavy package."""
    code = (
        "import sys, modxfer.experiments.report\n"
        "print([name for name in ('torch', 'transformers', 'matplotlib', 'scipy', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.strip() == "[]"
