"""A lineage is drawn whole, oldest first, and always ends."""

import itertools
from typing import Any

import pytest

from modxfer.registry.entries.models import AlignmentEntry, Layers, ModuleEntry, Settings
from modxfer.registry.site.content import Content, collect, relate
from modxfer.registry.site.lineage import (
    MOST_ANCESTORS,
    MOST_DESCENDANTS,
    WIDTH,
    Drawing,
    alignment_lineage,
    describe,
    module_lineage,
    shorten,
    wrap,
)
from modxfer.registry.site.pages import layer_steps
from tests.entries import alignment_entry, module_entry, teacher_entry, transferred_entry, whole_lineage

SETTINGS = Settings.model_validate({"format_version": 1, "title": "Modules of Acme"})


def _content(*entries: dict[str, Any]) -> Content:
    models = [(AlignmentEntry if "aligner" in entry else ModuleEntry).model_validate(entry) for entry in entries]
    return collect(SETTINGS, {f"{model.folder}/{model.id}.yaml": model for model in models})


def _draw(content: Content, id: str) -> Drawing | None:
    return module_lineage(content.modules[id], content, relate(content))


def _shown(drawing: Drawing | None) -> list[tuple[str, str, int]]:
    assert drawing is not None
    return [(item.box.role, item.box.id or item.box.label, item.x) for item in drawing.boxes]


def _child(id: str, teacher: str, *, alignment: str | None = None) -> dict[str, Any]:
    lineage = transferred_entry()["lineage"] | {"teacher": teacher, "alignment": alignment}
    return module_entry(id, lineage={key: value for key, value in lineage.items() if value is not None})


def test_module_lineage_shows_teacher_map_module_and_descendants() -> None:
    """The boxes stand in order of descent, each generation below the module further right."""
    content = _content(*whole_lineage(), _child("acme/grandchild", "acme/ner-small"))
    assert _shown(_draw(content, "acme/ner-small")) == [
        ("Teacher", "acme/ner-large", 0),
        ("Alignment map", "acme/bert-to-student", 0),
        ("This module", "acme/ner-small", 0),
        ("Transferred from it", "acme/grandchild", 22),
    ]
    assert _shown(_draw(content, "acme/ner-large")) == [
        ("This module", "acme/ner-large", 0),
        ("Transferred from it", "acme/ner-small", 22),
        ("Transferred further", "acme/grandchild", 44),
    ]


def test_module_lineage_links_all_but_itself() -> None:
    """Each box of an entry is a link to its page, but for the entry's own."""
    drawing = _draw(_content(*whole_lineage()), "acme/ner-small")
    assert drawing is not None
    assert [item.box.page for item in drawing.boxes] == [
        ("modules", "acme/ner-large"),
        ("alignments", "acme/bert-to-student"),
        None,
    ]
    assert [item.box.is_here for item in drawing.boxes] == [False, False, True]


def test_module_lineage_says_what_is_not_shown() -> None:
    """A teacher or a map that is left out is named, without a link."""
    assert _shown(_draw(_content(transferred_entry()), "acme/ner-small")) == [
        ("Teacher", "not shown in this registry", 0),
        ("Alignment map", "not shown in this registry", 0),
        ("This module", "acme/ner-small", 0),
    ]


def test_module_lineage_is_none_for_a_module_on_its_own() -> None:
    """Where there is nothing to draw, nothing is drawn."""
    assert _draw(_content(teacher_entry()), "acme/ner-large") is None


def test_module_lineage_ends_in_a_cycle() -> None:
    """Modules that descend from each other are each drawn once."""
    content = _content(_child("acme/a", "acme/b"), _child("acme/b", "acme/a"))
    assert [id for _, id, _ in _shown(_draw(content, "acme/a"))] == ["acme/b", "acme/a", "acme/b"]


def test_module_lineage_cuts_long_ones() -> None:
    """Of many ancestors and descendants the nearest are drawn, and the number of the others is said."""
    chain = [_child(f"acme/m{n}", f"acme/m{n - 1}") for n in range(1, MOST_ANCESTORS + 4)]
    above = _shown(_draw(_content(module_entry("acme/m0"), *chain), chain[-1]["id"]))
    assert [role for role, *_ in above].count("Teacher before") == MOST_ANCESTORS - 1
    assert above[0][1] == "and more before"

    children = [_child(f"acme/c{n:03}", "acme/m0") for n in range(MOST_DESCENDANTS + 30)]
    below = _shown(_draw(_content(module_entry("acme/m0"), *children), "acme/m0"))
    assert len(below) == 1 + MOST_DESCENDANTS + 1
    assert below[-1][1] == "and 30 more"


def test_boxes_do_not_overlap_and_fit_the_drawing() -> None:
    """Each box begins below the last one, and all lie inside."""
    drawing = _draw(_content(*whole_lineage(), *[_child(f"acme/c{n}", "acme/ner-small") for n in range(3)]), "acme/ner-small")
    assert drawing is not None
    edges = [(item.y, item.y + item.box.height) for item in drawing.boxes]
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(edges))
    assert edges[-1][1] <= drawing.height
    assert max(item.x + WIDTH for item in drawing.boxes) <= drawing.width


def test_alignment_lineage_shows_both_base_models_and_what_was_made() -> None:
    """A map stands between its base models; the modules made with it hang below the student."""
    content = _content(*whole_lineage())
    drawing = alignment_lineage(content.alignments["acme/bert-to-student"], relate(content))
    assert _shown(drawing) == [
        ("Teacher", "bert, 768 wide", 0),
        ("This alignment map", "acme/bert-to-student", 0),
        ("Student", "bert, 384 wide", 0),
        ("Made with it", "acme/ner-small", 22),
    ]
    assert describe(drawing, content.alignments["acme/bert-to-student"]).endswith("; Made with it: acme/ner-small.")


def test_an_alias_in_a_lineage_leads_to_its_entry() -> None:
    """What a lineage names may be an alias."""
    teacher, alignment, module = whole_lineage()
    content = _content(teacher, alignment, {**module, "lineage": module["lineage"] | {"teacher": "acme/stable"}})
    aliased = Content(
        settings=SETTINGS,
        modules=content.modules,
        alignments=content.alignments,
        aliases={("modules", "acme/stable"): "acme/ner-large"},
        address=None,
    )
    drawing = module_lineage(aliased.modules["acme/ner-small"], aliased, relate(aliased))
    assert _shown(drawing)[0] == ("Teacher", "acme/ner-large", 0)
    assert [entry.id for entry in relate(aliased).children["acme/ner-large"]] == ["acme/ner-small"]


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("short", 5, ["short"]),
        ("two words here", 9, ["two words", "here"]),
        ("organisation/name-of-a-model", 16, ["organisation/", "name-of-a-model"]),
        ("a" * 50, 10, ["a" * 10, "a" * 9 + "…"]),
        ("漢字漢字漢字漢字", 6, ["漢字漢", "字漢…"]),
    ],
)
def test_wrap_fits_two_lines(text: str, columns: int, expected: list[str]) -> None:
    """Lines break at spaces and marks where they can, and wide letters count twice."""
    assert wrap(text, columns) == expected


def test_shorten_keeps_both_ends() -> None:
    """Of a long id the middle goes."""
    assert shorten("namespace/some-rather-long-name", 20) == "namespace/so…g-name"
    assert shorten("namespace/name", 20) == "namespace/name"


def test_layer_steps_names_what_feeds_each_layer() -> None:
    """Weights are said only where more than one layer feeds, or one does in part."""
    layers = Layers.model_validate({"mode": "avg", "map": {"encoder": [[[0, 1.0]], [[1, 0.5], [2, 0.5]], [[3, 0.25]], []]}})
    assert layer_steps(layers) == [("encoder", ["0 ← 0", "1 ← 1 × 0.5 + 2 × 0.5", "2 ← 3 × 0.25", "3 ← none"])]


def test_relations_know_maps_by_the_revision_of_their_base() -> None:
    """A map for another revision of a base model does not serve its modules."""
    other = alignment_entry("acme/other", teacher=teacher_entry()["base"] | {"revision": "0" * 40})
    content = _content(*whole_lineage(), other)
    relations = relate(content)
    base = content.modules["acme/ner-large"].base
    assert [entry.id for entry in relations.maps_from[base.name, base.revision]] == ["acme/bert-to-student"]
