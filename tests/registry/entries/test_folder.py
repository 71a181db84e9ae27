"""A registry on disk: what lies in it, and entries by their id."""

import re
from pathlib import Path

import pytest

from modxfer.errors import EntryError
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import AlignmentEntry, ModuleEntry
from tests.entries import alignment_entry, make_registry, module_entry, whole_lineage

ALIASES = "format_version: 1\nmodules: {stable: ner, lost: nothing}\nalignments: {best: bert-to-student}\n"


def test_files_are_listed_in_order(tmp_path: Path) -> None:
    """Entries, aliases and settings, with size and time; nothing else, and no folder is made up."""
    registry = make_registry(
        tmp_path,
        *whole_lineage(),
        **{"aliases/acme.yaml": ALIASES, "README.md": "x", "modules/.gitkeep": "", ".git/x": ""},
    )
    listing = registry.list_files()
    assert [file.path for file in listing.files] == [
        "aliases/acme.yaml",
        "alignments/acme/bert-to-student.yaml",
        "modules/acme/ner-large.yaml",
        "modules/acme/ner-small.yaml",
        "registry.yaml",
    ]
    status = (tmp_path / "registry.yaml").stat()
    assert (listing.files[-1].size_bytes, listing.files[-1].modified_ns) == (status.st_size, status.st_mtime_ns)
    assert [problem.path for problem in listing.problems] == []


def test_an_empty_folder_has_no_files(tmp_path: Path) -> None:
    """Nothing there, nothing listed."""
    assert Registry(root=tmp_path, name="x").list_files().files == ()


def test_entries_are_found_by_id_and_by_alias(tmp_path: Path) -> None:
    """Of the kind that was asked for."""
    registry = make_registry(tmp_path, module_entry(), alignment_entry(), **{"aliases/acme.yaml": ALIASES})
    assert registry.find(ModuleEntry, "acme/ner").id == "acme/ner"
    assert registry.find(ModuleEntry, "acme/stable").id == "acme/ner"
    assert registry.find(AlignmentEntry, "acme/best").id == "acme/bert-to-student"
    assert [entry.id for entry in registry.entries()] == ["acme/bert-to-student", "acme/ner"]


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("acme/nr", "has no module `acme/nr`. See what it has with `modxfer registry search`."),
        ("acme/lost", "has no module `acme/nothing`."),
        ("acme/best", "has no module `acme/best`."),
        ("other/ner", "has no module `other/ner`."),
        ("../ner", "`../ner` is not an entry's id."),
        ("acme/../../x", "`acme/../../x` is not an entry's id."),
        ("acme", "`acme` is not an entry's id."),
        (f"acme/{'x' * 300}", "is not an entry's id."),
        ("\x1b/x", "is not an entry's id."),
    ],
)
def test_what_is_not_there_is_not_found(id: str, message: str, tmp_path: Path) -> None:
    """No entry, an alias of nothing, one of the other kind, and what is no id at all."""
    registry = make_registry(tmp_path / "r", module_entry(), alignment_entry(), **{"aliases/acme.yaml": ALIASES})
    (tmp_path / "x.yaml").write_text("secret")
    with pytest.raises(EntryError, match=re.escape(message)):
        registry.find(ModuleEntry, id)


def test_what_is_wrong_with_an_entry_is_said(tmp_path: Path) -> None:
    """The first problem, their number, and where to see them all; of aliases too."""
    broken = module_entry(title=7, license="mit")
    registry = make_registry(tmp_path, broken, **{"aliases/acme.yaml": "format_version: 2\n"})
    with pytest.raises(EntryError, match=re.escape("has 2 problems; line 3: `title` is `7`, not a text.")) as wrong:
        registry.find(ModuleEntry, "acme/ner")
    assert wrong.value.do == "See them all with `modxfer registry check modules/acme/ner.yaml`."
    with pytest.raises(EntryError, match=re.escape("`aliases/acme.yaml` of the registry")):
        registry.find(ModuleEntry, "acme/stable")
    assert list(registry.entries()) == []


@pytest.mark.parametrize("link", ["modules/acme/ner.yaml", "modules/acme", "modules"])
def test_no_link_is_followed_to_an_entry(link: str, tmp_path: Path) -> None:
    """A link as the file, as its namespace or as the folder: the entry is not there."""
    outside = make_registry(tmp_path / "outside", module_entry())
    inside = make_registry(tmp_path / "inside")
    (inside.root / link).parent.mkdir(parents=True, exist_ok=True)
    (inside.root / link).symlink_to(outside.root / link)
    with pytest.raises(EntryError, match="has no module `acme/ner`"):
        inside.find(ModuleEntry, "acme/ner")
    assert list(inside.entries()) == []
