"""Rules over several files: references, aliases, lineages, and what is said of one base model in several places."""

import time
from pathlib import Path
from typing import Any

import pytest

from modxfer.registry.checks.across import Finding, check_across
from modxfer.registry.checks.alone import parts_of
from modxfer.registry.checks.run import check
from modxfer.registry.entries.reading import read_file
from tests.entries import (
    COMMIT,
    alignment_entry,
    as_yaml,
    base,
    entry_path,
    make_registry,
    module_entry,
    sha256,
    source,
    teacher_entry,
    transferred_entry,
)
from tests.registry.checks.cases import lineage_of

OTHER_COMMIT = COMMIT[::-1]


def across(*entries: dict[str, Any], **files: str) -> list[tuple[str, str, str]]:
    """Check entries against each other: file, rule and field of each finding, in no order."""
    return sorted((found.path, found.rule, ".".join(map(str, found.keys))) for found in findings(*entries, **files))


def findings(*entries: dict[str, Any], **files: str) -> list[Finding]:
    """Check entries against each other."""
    texts = {entry_path(entry): as_yaml(entry) for entry in entries} | files
    return list(check_across(parts_of(read_file(path, texts[path].encode())) for path in sorted(texts)))


def lineage(
    teacher: dict[str, Any] | None = None, alignment: dict[str, Any] | None = None, **changes: Any
) -> list[tuple[str, str]]:
    """Check a whole lineage, with changes to the module that was transferred: rule and field of each finding in it."""
    found = across(teacher or teacher_entry(), alignment or alignment_entry(), transferred_entry(**changes))
    assert {path for path, _, _ in found} <= {"modules/acme/ner-small.yaml"}
    return [(rule, keys) for _, rule, keys in found]


def test_a_whole_lineage_is_right() -> None:
    """Teacher, alignment map and module agree."""
    assert lineage() == []


def test_the_same_tensors_are_found_under_another_name() -> None:
    """By their sha256 wherever they lie, or by repository, commit and folder; other commits and folders are others."""
    first, files = module_entry(), ("adapter_config.json", "adapter_model.safetensors")
    copied = source("other/place", *files) | {"files": first["source"]["files"]}
    again = source("ACME/ner", *files)
    later = source("acme/ner", *files) | {"revision": OTHER_COMMIT, "files": source("later", *files)["files"]}
    nested = source("acme/ner", *(f"second/{name}" for name in files))
    assert across(first, module_entry("acme/z", source=copied)) == [
        ("modules/acme/z.yaml", "duplicate-source", "source.files.1.sha256")
    ]
    assert across(first, module_entry("acme/z", source=again)) == [
        ("modules/acme/z.yaml", "duplicate-source", "source.repository")
    ]
    assert across(first, module_entry("acme/z", source=later), module_entry("acme/zz", source=nested)) == []
    archive = {"archive": "https://example.com/a.zip", "sha256": sha256("zip")}
    assert across(*(module_entry(id, source=archive) for id in ("a/a", "a/b", "a/c"))) == [
        ("modules/a/b.yaml", "duplicate-source", "source.sha256"),
        ("modules/a/c.yaml", "duplicate-source", "source.sha256"),
    ]
    assert across(alignment_entry(), alignment_entry("acme/z", source=alignment_entry()["source"])) == [
        ("alignments/acme/z.yaml", "duplicate-source", "source.files.1.sha256")
    ]


def test_references_must_exist_under_their_own_name() -> None:
    """Neither an entry of the other kind nor an alias will do; a broken entry is there all the same."""
    aliases = "format_version: 1\nmodules: {big: ner-large}\n"
    module = transferred_entry(lineage=lineage_of("acme/big", "acme/ner-large"))
    found = findings(teacher_entry(), alignment_entry(), module, **{"aliases/acme.yaml": aliases})
    assert [(finding.rule, finding.what, finding.do) for finding in found] == [
        (
            "unknown-reference",
            "`acme/big` is an alias, which may lead elsewhere tomorrow.",
            "Write what it stands for, `acme/ner-large`.",
        ),
        ("unknown-reference", "There is no `alignments/acme/ner-large.yaml`.", "Register it first, or correct the id."),
    ]
    assert across(transferred_entry(), alignment_entry(), **{"modules/acme/ner-large.yaml": "title: ["}) == []


def test_aliases_lead_to_entries() -> None:
    """Not to nothing, not to other aliases, not to themselves; and none is called as an entry is."""
    text = "format_version: 1\nmodules: {ok: ner, chain: ok, self: self, lost: nothing, ner: ner}\nalignments: {ok: ner}\n"
    found = findings(module_entry(), **{"aliases/acme.yaml": text})
    assert [(finding.rule, finding.keys, finding.at_key, finding.what) for finding in found] == [
        ("alias", ("modules", "chain"), False, "`ok` is itself an alias."),
        ("alias", ("modules", "self"), False, "`self` is itself an alias."),
        ("alias", ("modules", "lost"), False, "The alias leads to `nothing`, and there is no `modules/acme/nothing.yaml`."),
        ("alias", ("modules", "ner"), True, "The alias `ner` is also the name of an entry, `modules/acme/ner.yaml`."),
        ("alias", ("alignments", "ok"), False, "The alias leads to `ner`, and there is no `alignments/acme/ner.yaml`."),
    ]


def descends(id: str, teacher: str) -> dict[str, Any]:
    """Describe a module that was made from another of the same base model."""
    feeds = [[[layer, 1.0]] for layer in range(6)]
    return module_entry(id, lineage=lineage_of(teacher, None, encoder=feeds))


def test_each_cycle_is_reported_once_at_each_of_its_members() -> None:
    """Two cycles and a way into one: those on the way descend from a cycle, but not from themselves."""
    found = findings(
        descends("a/one", "a/two"), descends("a/two", "a/three"), descends("a/three", "a/one"), descends("a/way", "a/one"),
        descends("b/self", "b/self"), descends("b/end", "c/root"), module_entry("c/root"),
    )  # fmt: skip
    assert {(finding.path, finding.rule) for finding in found} == {
        *((f"modules/a/{name}.yaml", "lineage-cycle") for name in ("one", "two", "three")),
        ("modules/b/self.yaml", "lineage-cycle"),
    }
    assert len(found) == 4
    (first,) = (finding for finding in found if finding.path == "modules/a/one.yaml")
    assert first.what == "`a/one` descends from itself: its teachers are `a/two`, then `a/three`, then `a/one`."


@pytest.mark.parametrize("closed", [True, False])
def test_long_lineages_take_no_longer(closed: bool) -> None:
    """Three thousand modules in one line or one circle: no recursion, no quadratic time."""
    number = 3_000
    short = module_entry("a/m", lineage=lineage_of("a/other", None, encoder=[[[0, 1.0]]]))
    template = parts_of(read_file("modules/a/m.yaml", as_yaml(short).encode()))
    assert template.lineage is not None
    parts = [
        type(template)(
            path=f"modules/a/m{index}.yaml",
            lineage=template.lineage.model_copy(update={"teacher": f"a/m{(index + 1) % number}"}),
        )
        for index in range(number)
    ]
    if not closed:
        parts[-1] = type(template)(path=parts[-1].path)
    start = time.process_time()
    found = list(check_across(parts))
    assert time.process_time() - start < 10  # some 0.1 s; quadratic would be a minute
    assert [finding.rule for finding in found] == ["lineage-cycle"] * (number if closed else 0)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"base": base("acme/other")}, "student is `acme/bert-student`, and `acme/ner-small` is for `acme/other`"),
        (
            {"base": base(revision=OTHER_COMMIT, fingerprint=None)},
            f"student is `acme/bert-student` at `{COMMIT[:12]}`, and `acme/ner-small` is for the one at `{OTHER_COMMIT[:12]}`",
        ),
        (
            {"base": base(fingerprint=sha256("damaged"))},
            f"student is `acme/bert-student` of fingerprint `{sha256('acme/bert-student')[:12]}`, and `acme/ner-small` "
            f"is for one of `{sha256('damaged')[:12]}`",
        ),
    ],
)  # fmt: skip
def test_the_map_must_be_of_this_pair(changes: dict[str, Any], what: str) -> None:
    """Name, commit and fingerprint of both ends are compared."""
    (found,) = findings(teacher_entry(), alignment_entry(), transferred_entry(**changes))
    assert (found.rule, found.keys, found.what) == (
        "lineage-base",
        ("lineage", "alignment"),
        f"The alignment map's {what}.",
    )


def test_the_map_must_be_of_the_teacher() -> None:
    """The other end as well."""
    assert lineage(teacher_entry(base=base("acme/other", hidden=768, layers=12))) == [("lineage-base", "lineage.alignment")]


def test_a_base_model_that_was_renamed_is_the_same() -> None:
    """Where both fingerprints are known and equal, names and commits do not count; where a commit is not known, names do."""
    renamed = base("new/name", revision=OTHER_COMMIT, fingerprint=sha256("acme/bert-student"))
    assert lineage(base=renamed) == []
    assert lineage(base=base(revision=None, fingerprint=None)) == []


def test_one_base_model_has_one_shape_everywhere() -> None:
    """Who differs from most others is reported; another commit may differ."""
    odd = base() | {"widths": {"hidden": 384, "heads": 384, "ffn": 999}, "depths": {"encoder": 7}, "family": "roberta"}
    others = [module_entry("a/a", base=odd), module_entry("b/b"), module_entry("c/c")]
    assert across(*others) == [
        ("modules/a/a.yaml", "lineage-widths", "base.depths.encoder"),
        ("modules/a/a.yaml", "lineage-widths", "base.family"),
        ("modules/a/a.yaml", "lineage-widths", "base.widths.ffn"),
    ]
    assert across(module_entry("a/a", base=odd | {"revision": OTHER_COMMIT}), *others[1:]) == []


def test_without_a_map_the_widths_are_the_same() -> None:
    """An identity needs equal widths; depths and families may differ."""
    alike = base("acme/deep", hidden=384, layers=12, family="roberta")
    assert lineage(teacher_entry(base=alike), lineage=lineage_of(alignment=None)) == []
    assert lineage(lineage=lineage_of(alignment=None)) == [
        ("lineage-widths", "base.widths.ffn"),
        ("lineage-widths", "base.widths.heads"),
        ("lineage-widths", "base.widths.hidden"),
    ]


FEEDS: list[Any] = [[[2 * layer, 1.0]] for layer in range(6)]


@pytest.mark.parametrize(
    ("last", "what"),
    [
        ([], "is fed by no layer of the teacher"),
        ([[12, 1.0]], "is fed by the teacher's layer `12`, and the teacher has the layers 0 to 11"),
        ([[-1, 1.0]], "is fed by `-1`, which is no layer"),
        ([[1.5, 1.0]], "is fed by `1.5`, which is no layer"),
        ([[1, 0.5], [1, 0.5]], "is fed by one layer of the teacher twice"),
        ([[1, 0.5], [2, 0.25]], "has the weights `0.5, 0.25`"),
        ([[1, 1.5], [2, -0.5]], "has the weights `1.5, -0.5`"),
    ],
)
def test_each_student_layer_has_its_teacher_layers(last: Any, what: str) -> None:
    """Layers that are there, each once, with weights above 0 that sum to 1."""
    (found,) = findings(teacher_entry(), alignment_entry(), transferred_entry(lineage=lineage_of(encoder=[*FEEDS[:5], last])))
    assert (found.rule, found.keys) == ("lineage-layers", ("lineage", "layers", "map", "encoder", 5))
    assert found.what == f"Student layer 5 {what}."


def test_averages_and_whole_numbers_are_right() -> None:
    """Several layers a feed, and 1 for 1.0."""
    feeds = [[[layer, 1 / 3], [layer + 1, 1 / 3], [layer + 2, 1 / 3]] for layer in range(5)] + [[[11, 1]]]
    assert lineage(lineage=lineage_of(encoder=feeds)) == []


def test_the_layer_map_has_the_stacks_of_the_student() -> None:
    """One that is missing, one that is not there, one that is too short."""
    wrong = lineage_of(decoder=FEEDS)
    assert lineage(lineage=wrong) == [("lineage-layers", "lineage.layers.map.decoder")]
    del wrong["layers"]["map"]["encoder"]
    assert ("lineage-layers", "lineage.layers.map") in lineage(lineage=wrong)
    assert lineage(lineage=lineage_of(encoder=FEEDS[:5])) == [("lineage-layers", "lineage.layers.map.encoder")]


def test_a_transfer_keeps_method_and_inner_sizes() -> None:
    """The format may change, and so may the order of the inner sizes."""
    assert lineage(format="adapters", source=source("a/b", "adapter_config.json", "adapter.safetensors")) == []
    teacher = teacher_entry(method={"name": "lora", "inner_sizes": [4, 8]})
    assert lineage(teacher, method={"name": "lora", "inner_sizes": [8, 4]}) == []
    assert lineage(teacher) == [("lineage-method", "method.inner_sizes")]


def test_the_place_is_looked_up(tmp_path: Path) -> None:
    """What is found across files is reported at its line and column."""
    registry = make_registry(tmp_path, transferred_entry())
    problems = check(registry).problems
    lines = (tmp_path / "modules/acme/ner-small.yaml").read_text().split("\n")
    assert [lines[found.place.line - 1][found.place.column - 1 :] for found in problems] == [
        "acme/ner-large",
        "acme/bert-to-student",
    ]
