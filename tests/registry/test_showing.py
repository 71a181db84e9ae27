"""Looking at entries: by id or alias, with a lineage that ends whatever it says."""

from pathlib import Path

import pytest

from modxfer.errors import EntryError
from modxfer.registry.entries.models import AlignmentEntry, ModuleEntry
from modxfer.registry.showing import find_entry
from tests.entries import alignment_entry, make_registry, module_entry, transferred_entry, whole_lineage

ALIASES = "format_version: 1\nmodules: {best: ner-small}\nalignments: {best: bert-to-student}\n"


@pytest.mark.parametrize("reference", ["acme/ner-small", "registry:acme/ner-small", "acme/best", "registry:acme/best"])
def test_an_entry_is_found_by_its_id_or_an_alias(tmp_path: Path, reference: str) -> None:
    """With or without `registry:`; its teacher is one step up."""
    found = find_entry(make_registry(tmp_path, *whole_lineage(), **{"aliases/acme.yaml": ALIASES}), reference)
    assert isinstance(found.entry, ModuleEntry)
    assert found.entry.id == "acme/ner-small"
    (step,) = found.ancestors
    assert (step.id, step.base, step.alignment, step.layers) == (
        "acme/ner-large",
        "acme/bert-teacher",
        "acme/bert-to-student",
        "skip",
    )
    assert step.problem == ""


def test_a_module_comes_before_an_alignment_map_of_the_same_id(tmp_path: Path) -> None:
    """Both can be had, and where there is one, that is it."""
    registry = make_registry(tmp_path, module_entry("acme/x"), alignment_entry("acme/x"), alignment_entry("acme/y"))
    module = find_entry(registry, "acme/x")
    assert (type(module.entry), module.has_alignment) == (ModuleEntry, True)
    alignment = find_entry(registry, "acme/x", alignment=True)
    assert (type(alignment.entry), alignment.has_alignment) == (AlignmentEntry, False)
    assert isinstance(find_entry(registry, "acme/y").entry, AlignmentEntry)


def test_what_is_not_there_or_wrong_is_said(tmp_path: Path) -> None:
    """The id is named; of a broken entry the first problem."""
    registry = make_registry(tmp_path, module_entry("acme/broken", license="what"))
    for reference, wrong in {
        "acme/none": "no module `acme/none`",
        "../x": r"`\.\./x` is not an entry's id",
        "registry:": "is not an entry's id",
        "acme/broken": r"modules/acme/broken\.yaml` of the registry .* 1 problem; line",
    }.items():
        with pytest.raises(EntryError, match=wrong):
            find_entry(registry, reference)
    with pytest.raises(EntryError, match="no alignment map `acme/broken`"):
        find_entry(registry, "acme/broken", alignment=True)


def test_a_lineage_that_goes_round_or_breaks_ends(tmp_path: Path) -> None:
    """The step where it cannot go on says why."""

    def child(id: str, teacher: str) -> dict[str, object]:
        entry = transferred_entry(id)
        return {**entry, "lineage": {**entry["lineage"], "teacher": teacher}}

    registry = make_registry(tmp_path, child("a/one", "a/two"), child("a/two", "a/one"), child("a/three", "a/gone"))
    round_steps = find_entry(registry, "a/one").ancestors
    assert [(step.id, step.problem != "") for step in round_steps] == [("a/two", False), ("a/one", True)]
    assert "goes round" in round_steps[-1].problem
    (step,) = find_entry(registry, "a/three").ancestors
    assert (step.id, step.base) == ("a/gone", "")
    assert "has no module `a/gone`" in step.problem


def test_the_commands_use_the_entry(tmp_path: Path) -> None:
    """They name entry and registry; an archive outside the Hub has none, as it is not fetched."""
    archive = {"archive": "https://example.org/x.zip", "sha256": "a" * 64}
    registry = make_registry(tmp_path / "my registry", *whole_lineage(), module_entry("acme/old", source=archive))
    at = f"--registry '{tmp_path / 'my registry'}'"
    assert find_entry(registry, "acme/ner-small").commands == (
        f"modxfer convert registry:acme/ner-small --to MODEL {at}",
        f"modxfer pull registry:acme/ner-small --output DIR {at}",
    )
    assert find_entry(registry, "acme/bert-to-student").commands == (
        f"modxfer convert MODULE --to acme/bert-student --alignment registry:acme/bert-to-student {at}",
    )
    assert find_entry(registry, "acme/old").commands == ()
