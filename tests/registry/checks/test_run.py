"""The check as a whole: what is reported of each broken entry, which files count, and what the later stages are given."""

import os
import re
from pathlib import Path

import pytest

from modxfer.errors import UsageError
from modxfer.registry.checks.rules import RULES, Severity, Stage
from modxfer.registry.checks.run import check
from modxfer.registry.entries.folder import Registry
from tests.entries import alignment_entry, as_yaml, make_registry, module_entry, teacher_entry, transferred_entry, whole_lineage
from tests.hub.server import HubServer
from tests.registry.checks.cases import CASES, NER, SMALL, Case, lineage_of, reported

_LINES = (Path(__file__).parent / "reports.txt").read_text(encoding="utf-8").splitlines()
EXPECTED = {first.split(": ")[1]: [first, second] for first, second in zip(_LINES[::2], _LINES[1::2], strict=True)}
"""Rule to the whole report of the case that breaks it: where, which rule and what is wrong, then how to mend it."""

ALIASES_TO_TEACHER = "format_version: 1\nmodules:\n  stable: ner-large\n"

LINEAGE = transferred_entry()["lineage"]

ELSEWHERE = {"key-order", "layout"}
"""Rules whose cases are in `test_layout.py`."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_each_broken_entry_is_reported_exactly(case: Case, tmp_path: Path) -> None:
    """One thing is wrong, and one problem is reported: its rule, its place, what is wrong and how to mend it."""
    report = case.check(tmp_path)
    assert reported(report) == EXPECTED[case.rule]
    assert (report.errors, report.warnings) == ((1, 0) if RULES[case.rule].severity is Severity.ERROR else (0, 1))


def test_every_offline_rule_has_a_case() -> None:
    """No rule can be added without an entry that breaks it."""
    offline = {rule.id for rule in RULES.values() if rule.stage is Stage.OFFLINE}
    assert {case.rule for case in CASES} | ELSEWHERE == offline


def test_a_right_registry_has_no_problems(tmp_path: Path) -> None:
    """Valid entries, an alias and a comment: nothing is reported, and all files are counted."""
    aliases = "# What is stable.\nformat_version: 1\nmodules:\n  stable: ner-small\nalignments:\n  best: bert-to-student\n"
    registry = make_registry(tmp_path, *whole_lineage(), **{"aliases/acme.yaml": aliases})
    report = check(registry)
    assert reported(report) == []
    assert (report.files, report.stages, report.errors, report.warnings) == (5, (Stage.OFFLINE,), 0, 0)


def test_all_problems_of_all_files_come_in_one_run(tmp_path: Path) -> None:
    """All cases that are single module entries, together: none hides another's, and they are in order of file and line."""
    singles = [case for case in CASES if len(case.entries) + len(case.files) == 1 and NER in case.files]
    singles += [case for case in CASES if len(case.entries) == 1 and not case.files and case.rule != "unreadable"]
    files: dict[str, str | bytes] = {}
    for number, case in enumerate(singles):
        content = case.files.get(NER) or as_yaml(case.entries[0])
        data = content if isinstance(content, bytes) else content.encode()
        files[f"modules/n{number:02}/m.yaml"] = data.replace(b"id: acme/ner\n", f"id: n{number:02}/m\n".encode())
    report = check(make_registry(tmp_path, **files))
    found = {(problem.path, problem.rule) for problem in report.problems}
    assert len(singles) > 25
    assert {(f"modules/n{number:02}/m.yaml", case.rule) for number, case in enumerate(singles)} <= found
    assert list(report.problems) == sorted(
        report.problems, key=lambda problem: (problem.path, problem.place.line, problem.place.column, problem.rule)
    )


def test_all_problems_of_one_file_come_in_one_run(tmp_path: Path) -> None:
    """A mistake in one field hides none in another, those included that need several fields or several files."""
    entry = transferred_entry(
        title=7,
        description="<b>bold</b>",
        languages=["en", "xx-invalid-tag", "en"],
        license="NOASSERTION",
        method={"name": "bottleneck", "inner_sizes": [5000]},
        lineage=lineage_of("acme/lost"),
        results=[{**module_entry()["results"][0], "value": 87}],
        homepage="http://example.com",
    )
    registry = make_registry(tmp_path, teacher_entry(), alignment_entry(), entry)
    rules = {problem.rule for problem in check(registry).problems if problem.path == SMALL}
    assert rules == {
        "wrong-type",
        "markup",
        "language",
        "duplicate-item",
        "license-unknown",
        "widths",
        "unknown-reference",
        "odd-score",
        "address",
        "key-order",
    }


def test_only_and_skip_choose_rules(tmp_path: Path) -> None:
    """Rules that are left out do not count, in the sums neither."""
    registry = make_registry(tmp_path, module_entry(title=7, license="NOASSERTION"))
    assert [problem.rule for problem in check(registry).problems] == ["wrong-type", "license-unknown"]
    only = check(registry, only=["license-unknown"])
    assert ([problem.rule for problem in only.problems], only.errors, only.warnings) == (["license-unknown"], 0, 1)
    assert [problem.rule for problem in check(registry, skip=["license-unknown"]).problems] == ["wrong-type"]
    assert check(registry, only=["wrong-type"], skip=["wrong-type"]).problems == ()


@pytest.mark.parametrize("argument", ["only", "skip"])
def test_an_unknown_rule_is_refused(argument: str, tmp_path: Path) -> None:
    """A rule that does not exist would silently not be checked, or not be skipped."""
    registry = make_registry(tmp_path)
    with pytest.raises(UsageError, match=re.escape("There is no rule `lincense`. Did you mean `license`?")):
        check(registry, **{argument: ["lincense"]})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=re.escape("There is no rule `?`. `modxfer registry rules` lists them.")):
        check(registry, **{argument: ["\x1b"]})  # type: ignore[arg-type]


def test_paths_choose_whose_problems_are_reported(tmp_path: Path) -> None:
    """Files and folders can be named; the others are read all the same, and count for what is between files."""
    broken = [module_entry(id, title=7) for id in ("acme/one", "acme/two", "zeta/one")]
    registry = make_registry(tmp_path, *broken)

    def paths(*named: str) -> list[str]:
        report = check(registry, paths=named)
        assert report.files == len(report.problems)
        return [problem.path for problem in report.problems]

    assert paths("modules/acme/one.yaml") == ["modules/acme/one.yaml"]
    assert paths("modules/acme") == paths("./modules/acme/") == ["modules/acme/one.yaml", "modules/acme/two.yaml"]
    assert paths("modules/acme/two.yaml", "modules/zeta") == ["modules/acme/two.yaml", "modules/zeta/one.yaml"]
    assert [problem.path for problem in check(registry, paths=["."]).problems] == [
        problem.path for problem in check(registry).problems
    ]
    assert paths() == []
    (tmp_path / "aliases").mkdir()
    assert paths("aliases") == []


@pytest.mark.parametrize("path", ["modules/acme/nr.yaml", "../outside", "/etc/passwd", "modules/../..", "", "\0", "README.md"])
def test_an_unknown_path_is_refused(path: str, tmp_path: Path) -> None:
    """What is not in the registry cannot be checked, and must not look as if it were right."""
    (tmp_path / "outside").mkdir()
    registry = make_registry(tmp_path / "registry", module_entry(), **{"README.md": "A registry.\n"})
    if path == "":
        assert check(registry, paths=[path]).files == 2
        return
    with pytest.raises(UsageError, match="has no file or folder"):
        check(registry, paths=[path])


def test_a_problem_between_files_counts_for_each_of_them(tmp_path: Path) -> None:
    """A change of a teacher that breaks its student's lineage is reported where only the teacher was changed."""
    registry = make_registry(tmp_path, teacher_entry(method={"name": "ia3"}), alignment_entry(), transferred_entry())
    report = check(registry, paths=["modules/acme/ner-large.yaml"])
    assert [(problem.path, problem.rule) for problem in report.problems] == [(SMALL, "lineage-method")]
    assert check(registry, paths=["registry.yaml"]).problems == ()


def test_a_file_that_is_gone_is_missed_by_others(tmp_path: Path) -> None:
    """Where the one change is that an entry was taken out, what referred to it is reported."""
    registry = make_registry(tmp_path, alignment_entry(), transferred_entry(), **{"aliases/acme.yaml": ALIASES_TO_TEACHER})
    assert check(registry, paths=[]).problems == ()
    report = check(registry, paths=[], gone=["modules/acme/ner-large.yaml"])
    assert [(problem.path, problem.rule) for problem in report.problems] == [
        ("aliases/acme.yaml", "alias"),
        (SMALL, "unknown-reference"),
    ]


def test_links_are_reported_and_not_followed(tmp_path: Path) -> None:
    """A link as a file, as a namespace, as a folder and as the settings: what it leads to is not read."""
    outside = make_registry(tmp_path / "outside", module_entry(), alignment_entry(), **{"aliases/acme.yaml": "secret"})
    root = tmp_path / "registry"
    make_registry(root, module_entry("zeta/right"))
    (root / "registry.yaml").unlink()
    (root / "alignments").symlink_to(outside.root / "alignments")
    (root / "modules/acme").symlink_to(outside.root / "modules/acme")
    (root / "modules/zeta/link.yaml").symlink_to("/etc/passwd")
    (root / "modules/zeta/loop.yaml").symlink_to("loop.yaml")
    (root / "registry.yaml").symlink_to(outside.root / "registry.yaml")
    (root / "aliases").mkdir()
    (root / "aliases/acme.yaml").symlink_to(outside.root / "aliases/acme.yaml")
    (root / "modules/zeta/gone.yaml").symlink_to("nowhere")
    report = check(Registry(root=root, name="r"))
    assert {problem.rule for problem in report.problems} == {"symlink"}
    assert [problem.path for problem in report.problems] == [
        "aliases/acme.yaml",
        "alignments",
        "modules/acme",
        "modules/zeta/gone.yaml",
        "modules/zeta/link.yaml",
        "modules/zeta/loop.yaml",
        "registry.yaml",
    ]
    assert report.files == 1


def test_large_files_and_pipes_are_not_opened(tmp_path: Path) -> None:
    """A file of 10 MB is reported by its size; a pipe, on which reading would wait for ever, as misplaced."""
    registry = make_registry(tmp_path, **{NER: "title: " + "x" * 10_000_000})
    os.mkfifo(tmp_path / "modules/acme/pipe.yaml")
    found = [(problem.path, problem.rule) for problem in check(registry).problems]
    assert found == [(NER, "too-large"), ("modules/acme/pipe.yaml", "misplaced")]


@pytest.mark.parametrize(
    "name",
    [
        "modules/Acme/ner.yaml",
        "modules/acme/ner.yml",
        "modules/acme/deep/ner.yaml",
        "modules/acme/.ner.yaml",
        "modules/-/ner.yaml",
        "modules/acme/a\x1b[31m.yaml",
        "modules/a..b/ner.yaml",
        "modules/acme/..yaml",
        "modules/ner.yaml",
        "alignments/map.yaml",
        "aliases/acme/x.yaml",
    ],
)
def test_names_that_are_none_are_reported(name: str, tmp_path: Path) -> None:
    """A file that lies elsewhere, or whose name holds anything but what a name may hold, is reported and not opened."""
    registry = make_registry(tmp_path, **{name: "not even YAML: ["})
    (problem,) = check(registry).problems
    assert problem.rule == "misplaced"
    assert problem.path.isprintable()


def test_a_later_stage_gets_what_can_be_read(tmp_path: Path) -> None:
    """What is no entry is not asked about on the Hub; the stages that ran are named."""
    registry = make_registry(tmp_path, module_entry(title=7))
    report = check(registry, through=Stage.ONLINE)
    assert report.stages == (Stage.OFFLINE, Stage.ONLINE)
    assert [problem.rule for problem in report.problems] == ["wrong-type"]


def test_a_rule_that_does_not_count_leaves_no_entry_unchecked_in_silence(tmp_path: Path) -> None:
    """An entry that cannot be read as one is named in the next stage, though the rule that it breaks is skipped."""
    registry = make_registry(tmp_path, module_entry(license="Apache"))
    report = check(registry, skip=["license"], through=Stage.ONLINE)
    assert reported(report) == [
        "modules/acme/ner.yaml:1:1: not-checked: The entry breaks rules that do not count here (`license`), and so was not "
        "checked further.",
        "  Mend what they say.",
    ]


def test_an_entry_that_can_be_read_is_asked_about_whatever_else_is_wrong(hub: HubServer, tmp_path: Path) -> None:
    """An error between files does not hide that the repository is missing: all problems come in one run."""
    registry = make_registry(tmp_path, module_entry(lineage=LINEAGE))
    rules = {problem.rule for problem in check(registry, through=Stage.ONLINE).problems}
    assert rules == {"unknown-reference", "repository-missing"}


@pytest.mark.parametrize(("rule", "through"), [("tensors", Stage.ONLINE), ("not-loadable", Stage.WEIGHTS)])
def test_choosing_a_rule_does_not_hide_that_it_was_not_checked(
    rule: str, through: Stage, hub: HubServer, tmp_path: Path
) -> None:
    """A repository that is missing is reported with any choice of rules, since nothing of it could be checked."""
    report = check(make_registry(tmp_path, module_entry()), only=[rule], through=through)
    assert [problem.rule for problem in report.problems] == ["repository-missing"]
