"""Starting a registry: right at once, and beside what is there."""

import json
from pathlib import Path

import pytest

from modxfer.errors import OutputError, UsageError
from modxfer.registry.checks.run import check
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.schema import schemas
from modxfer.registry.starting import start
from modxfer.registry.workflow import WORKFLOW, workflow
from tests.registry.conftest import contents

SCHEMAS = {f"schema/{name}.json" for name in ("module", "alignment", "aliases", "registry")}
KEPT = {"modules/.gitkeep", "alignments/.gitkeep", "aliases/.gitkeep"}
ALL = {"registry.yaml", "README.md", ".gitattributes", WORKFLOW, *SCHEMAS, *KEPT}


def test_a_new_registry_passes_the_check(tmp_path: Path) -> None:
    """It has its settings, folders, schemas, a page and a workflow, and its name is the folder's."""
    started = start(tmp_path / "our modules")
    files = contents(started.root)
    assert set(files) == set(started.written) == ALL
    assert (started.title, started.kept) == ("our modules", ())
    report = check(Registry(root=started.root, name="new"))
    assert (report.problems, report.files) == ((), 1)
    assert files[WORKFLOW].decode() == workflow()
    assert files[".gitattributes"] == b"*.yaml text eol=lf\n"
    assert json.loads(files["schema/module.json"]) == schemas()["module"]
    assert files["README.md"].startswith(b"# our modules\n")
    assert (started.root / "registry.yaml").stat().st_mode & 0o777 == 0o644


def test_what_is_there_stays(tmp_path: Path) -> None:
    """A git repository with a page and entries becomes a registry; what was there is named and not touched."""
    (tmp_path / "README.md").write_text("Ours.\n")
    (tmp_path / "modules" / "acme").mkdir(parents=True)
    started = start(tmp_path)
    assert started.kept == ("README.md",)
    assert set(started.written) == ALL - {"README.md"}
    assert (tmp_path / "README.md").read_text() == "Ours.\n"


def test_a_registry_is_not_started_again(tmp_path: Path) -> None:
    """Its settings stay, and so does all else."""
    start(tmp_path, title="First")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"is a registry already: it holds `registry\.yaml`"):
        start(tmp_path, title="Second")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["=cmd", "<b>x</b>", "a\tb\x1b[2J", "-x"])
def test_odd_names_of_folders_are_not_taken(tmp_path: Path, name: str) -> None:
    """A folder's name that could not be a title gives none; the registry is right all the same."""
    started = start(tmp_path / name.replace("/", ""))
    assert started.title == "A registry of modules"
    assert check(Registry(root=started.root, name="new")).problems == ()


@pytest.mark.parametrize("title", ["", "two\nlines", "x" * 300, "<script>", "=1+1"])
def test_a_title_is_one_line_of_plain_text(tmp_path: Path, title: str) -> None:
    """Anything else is refused, and nothing is written."""
    with pytest.raises(UsageError, match="`--title`"):
        start(tmp_path / "new", title=title)
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_through_links_or_over_files(tmp_path: Path) -> None:
    """A link can lead out of the folder, and a file is no folder."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "schema").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="schema` is a symbolic link"):
        start(tmp_path / "linked")
    (tmp_path / "filed").mkdir()
    (tmp_path / "filed" / "modules").write_text("x")
    with pytest.raises(OutputError, match="filed/modules` is a file"):
        start(tmp_path / "filed")
    with pytest.raises(OutputError, match="filed/modules` is a file"):
        start(tmp_path / "filed" / "modules")
    assert set(contents(tmp_path)) == {"filed/modules"}
