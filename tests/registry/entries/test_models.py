"""The models of entries: strict, frozen, and the one description that everything else is made from."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from modxfer.registry.entries.models import FOLDERS, Aliases, AlignmentEntry, ArchiveSource, HubSource, ModuleEntry, Settings
from tests.entries import alignment_entry, module_entry, sha256, transferred_entry

KINDS: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (ModuleEntry, module_entry()),
    (ModuleEntry, transferred_entry()),
    (AlignmentEntry, alignment_entry()),
    (Aliases, {"format_version": 1, "modules": {"stable": "ner"}}),
    (Settings, {"format_version": 1, "title": "A"}),
]


@pytest.mark.parametrize(("model", "value"), KINDS)
def test_each_model_takes_its_example_and_no_other_field(model: type[BaseModel], value: dict[str, Any]) -> None:
    """An unknown field is refused, and nothing can be changed afterwards."""
    read = model.model_validate(value)
    with pytest.raises(ValidationError, match="extra_forbidden"):
        model.model_validate({**value, "surprise": 1})
    with pytest.raises(ValidationError, match="frozen"):
        read.format_version = 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(("model", "value"), KINDS)
def test_each_field_that_is_required_is_missed(model: type[BaseModel], value: dict[str, Any]) -> None:
    """Without it, that field and no other is reported."""
    for name, field in model.model_fields.items():
        if field.is_required():
            with pytest.raises(ValidationError, match="missing") as refused:
                model.model_validate({key: item for key, item in value.items() if key != name})
            assert [error["loc"] for error in refused.value.errors()] == [(name,)]


def test_a_source_is_on_the_hub_or_an_archive() -> None:
    """Told by the field `archive`."""
    archive = {"archive": "https://example.com/a.zip", "sha256": sha256("a")}
    assert isinstance(ModuleEntry.model_validate(module_entry()).source, HubSource)
    assert isinstance(ModuleEntry.model_validate(module_entry(source=archive)).source, ArchiveSource)
    with pytest.raises(ValidationError, match="extra_forbidden"):
        ModuleEntry.model_validate(module_entry(source=module_entry()["source"] | archive))


def test_every_folder_has_its_model() -> None:
    """The folders of a registry, and nothing twice."""
    assert {"modules": ModuleEntry, "alignments": AlignmentEntry, "aliases": Aliases} == FOLDERS
