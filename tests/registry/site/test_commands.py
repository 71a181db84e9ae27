"""The commands on a page are ones that work when they are pasted."""

import shlex
from typing import Any

import pytest

from modxfer.registry.entries.models import AlignmentEntry, ModuleEntry, Settings
from modxfer.registry.site.commands import alignment_commands, module_commands
from modxfer.registry.site.content import Content, collect, relate
from tests.entries import module_entry, sha256, whole_lineage

SETTINGS = Settings.model_validate({"format_version": 1, "title": "Modules of Acme"})


def _content(*entries: dict[str, Any], address: str | None = None) -> Content:
    models = [(AlignmentEntry if "aligner" in entry else ModuleEntry).model_validate(entry) for entry in entries]
    return collect(SETTINGS, {f"{model.folder}/{model.id}.yaml": model for model in models}, address=address)


def test_module_commands_name_the_students_that_maps_lead_to() -> None:
    """Where a map begins at the module's base model, its student is the one to convert to."""
    content = _content(*whole_lineage(), address="hf://datasets/acme/registry")
    texts = [item.text for item in module_commands(content.modules["acme/ner-large"], content, relate(content))]
    assert texts == [
        "export MODXFER_REGISTRY=hf://datasets/acme/registry",
        "modxfer convert registry:acme/ner-large --to acme/bert-student",
        "modxfer pull registry:acme/ner-large",
        "modxfer registry show acme/ner-large",
    ]


def test_module_commands_leave_open_what_is_not_known() -> None:
    """Without a map the student, and without an address the registry, are for the reader to fill in."""
    content = _content(module_entry())
    texts = [item.text for item in module_commands(content.modules["acme/ner"], content, relate(content))]
    assert texts[:2] == ["export MODXFER_REGISTRY=FOLDER", "modxfer convert registry:acme/ner --to STUDENT_MODEL"]


def test_module_commands_are_none_for_an_archive() -> None:
    """modxfer fetches no archives, so nothing is offered."""
    archive = {"archive": "https://example.com/a.zip", "sha256": sha256("a")}
    content = _content(module_entry(source=archive))
    assert module_commands(content.modules["acme/ner"], content, relate(content)) == []


def test_alignment_commands_use_the_map() -> None:
    """A module on the map's teacher is converted with this very map; an id that a module has too is told apart."""
    teacher, alignment, module = whole_lineage()
    content = _content(teacher, alignment, module, module_entry(alignment["id"]))
    texts = [item.text for item in alignment_commands(content.alignments[alignment["id"]], content, relate(content))]
    assert texts[1:] == [
        "modxfer convert registry:acme/ner-large --to acme/bert-student --alignment registry:acme/bert-to-student",
        "modxfer align pull registry:acme/bert-to-student",
        "modxfer registry show acme/bert-to-student --alignment",
    ]


@pytest.mark.parametrize("name", ["a; rm -rf /", "$(reboot)", "a\nreboot", "`id`", "a' && id '"])
def test_commands_keep_a_hostile_name_in_one_word(name: str) -> None:
    """Whatever a name holds that got past the checks, a shell reads it as one word."""
    teacher, alignment, _ = whole_lineage()
    content = _content(teacher, alignment)
    entry = content.alignments[alignment["id"]]
    hostile = entry.model_copy(update={"student": entry.student.model_copy(update={"name": name})})
    convert = alignment_commands(hostile, content, relate(content))[1].text
    assert "\n" not in convert
    assert shlex.split(convert)[3:5] == ["--to", " ".join(name.split())]
