"""What a pull request changes, asked of real git repositories."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from modxfer.errors import UsageError
from modxfer.registry.checks.changed import changed_paths
from modxfer.registry.entries.folder import Registry
from tests.entries import as_yaml, entry_path, make_registry, module_entry, whole_lineage

NER, LARGE, SMALL = "modules/acme/ner.yaml", "modules/acme/ner-large.yaml", "modules/acme/ner-small.yaml"
MAP, ALIASES = "alignments/acme/bert-to-student.yaml", "aliases/acme.yaml"


def _git(folder: Path, *command: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@acme.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *command], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _commit(folder: Path) -> str:
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--allow-empty", "--message", "A change")
    return _git(folder, "rev-parse", "HEAD")


@pytest.fixture(params=["", "deep/registry"])
def registry(tmp_path: Path, request: pytest.FixtureRequest) -> Registry:
    """Make a registry in git, at the top of its repository or below it, with a lineage and one entry besides."""
    aliases = "format_version: 1\nmodules:\n  stable: ner-large\n"
    made = make_registry(tmp_path / "git" / request.param, module_entry(), *whole_lineage(), **{ALIASES: aliases})
    _git(tmp_path / "git", "init", "--quiet", "--initial-branch", "main")
    _commit(tmp_path / "git")
    return made


def _touch(registry: Registry, path: str) -> None:
    (registry.root / path).write_text((registry.root / path).read_text() + "# touched\n")


def test_changed_paths_finds_nothing_where_nothing_changed(registry: Registry) -> None:
    """A clean working tree at the revision has no changes; files outside the entries' folders do not count."""
    (registry.root / "README.md").write_text("read me")
    (registry.root / "schema").mkdir()
    (registry.root / "schema/module.json").write_text("{}")

    assert changed_paths(registry, "main") == ()
    assert changed_paths(registry, "HEAD") == ()


@pytest.mark.parametrize("how", ["commit", "stage", "leave"])
def test_changed_paths_finds_edits_and_new_files(registry: Registry, how: str) -> None:
    """Committed or not, known to git or not."""
    before = _git(registry.root, "rev-parse", "HEAD")
    new = module_entry("zeta/new")
    (registry.root / "modules/zeta").mkdir()
    (registry.root / entry_path(new)).write_text(as_yaml(new))
    _touch(registry, NER)
    if how == "commit":
        _commit(registry.root)
    elif how == "stage":
        _git(registry.root, "add", "--all")

    assert changed_paths(registry, before) == (NER, "modules/zeta/new.yaml")


def test_changed_paths_counts_from_where_the_branch_left(registry: Registry) -> None:
    """What was changed on the main branch since is not a change of this branch."""
    _git(registry.root, "checkout", "--quiet", "-b", "mine")
    _touch(registry, NER)
    _commit(registry.root)
    _git(registry.root, "checkout", "--quiet", "main")
    _touch(registry, LARGE)
    _commit(registry.root)
    _git(registry.root, "checkout", "--quiet", "mine")

    assert changed_paths(registry, "main") == (NER,)


@pytest.mark.parametrize("how", ["leave", "submodule", "new commit", "edit"])
def test_changed_paths_looks_into_repositories_within(registry: Registry, how: str) -> None:
    """Of a git repository inside, git names the folder alone, and all that lies there may have changed."""
    inside = registry.root / "modules/zeta"
    inside.mkdir()
    (inside / "new.yaml").write_text(as_yaml(module_entry("zeta/new")))
    (inside / "notes.txt").write_text("notes")
    _git(inside, "init", "--quiet")
    _commit(inside)
    before = _git(registry.root, "rev-parse", "HEAD")
    if how != "leave":
        added = _commit(registry.root)
        before = before if how == "submodule" else added
    if how in ("new commit", "edit"):
        _touch(registry, "modules/zeta/new.yaml")
    if how == "new commit":
        _commit(inside)
        _commit(registry.root)

    assert changed_paths(registry, before) == ("modules/zeta/.git", "modules/zeta/new.yaml", "modules/zeta/notes.txt")


def test_changed_paths_misses_a_repository_that_was_taken_out(registry: Registry) -> None:
    """What refers to an entry in it has to be checked."""
    inside = registry.root / "modules/zeta"
    inside.mkdir()
    (inside / "new.yaml").write_text(as_yaml(module_entry("zeta/new")))
    (registry.root / NER).write_text("lineage:\n  teacher: zeta/new\n")
    _git(inside, "init", "--quiet")
    _commit(inside)
    before = _commit(registry.root)
    shutil.rmtree(inside)

    assert changed_paths(registry, before) == (NER,)


def test_changed_paths_adds_what_refers_to_a_change(registry: Registry) -> None:
    """A lineage and an alias may be broken by a change of what they name."""
    _touch(registry, MAP)
    assert changed_paths(registry, "HEAD") == (MAP, SMALL)

    _touch(registry, LARGE)
    assert changed_paths(registry, "HEAD") == (ALIASES, MAP, LARGE, SMALL)


def test_changed_paths_follows_references_to_the_end(registry: Registry) -> None:
    """The lineage of a lineage counts, through an alias too, and a cycle ends."""
    lineage = "lineage:\n  teacher: {}\n"
    (registry.root / "modules/acme/grandchild.yaml").write_text(lineage.format("acme/ner-small"))
    (registry.root / "modules/acme/nephew.yaml").write_text(lineage.format("acme/stable"))
    (registry.root / "modules/acme/round.yaml").write_text(lineage.format("acme/round"))
    (registry.root / "modules/acme/broken.yaml").write_text("lineage: [teacher\n")
    _commit(registry.root)
    _touch(registry, LARGE)
    (registry.root / "modules/acme/round.yaml").write_text(lineage.format("acme/ner-large"))

    found = changed_paths(registry, "HEAD")

    names = ("grandchild", "nephew", "ner-large", "ner-small", "round")
    assert found == (ALIASES, *(f"modules/acme/{name}.yaml" for name in names))


def test_changed_paths_finds_what_a_deletion_leaves_behind(registry: Registry) -> None:
    """What is gone is not listed, and what named it is; a renamed entry is a new one and a deleted one."""
    (registry.root / LARGE).unlink()
    assert changed_paths(registry, "HEAD") == (ALIASES, SMALL)

    before = _commit(registry.root)
    _git(registry.root, "mv", NER, "modules/acme/renamed.yaml")
    _commit(registry.root)
    assert changed_paths(registry, before) == ("modules/acme/renamed.yaml",)


def test_changed_paths_lists_what_lies_where_it_should_not(registry: Registry) -> None:
    """Links, and files that are no entries, are reported like any other problem of the change."""
    (registry.root / "modules/acme/link.yaml").symlink_to("/etc/hostname")
    (registry.root / "modules/linked").symlink_to(registry.root / "alignments", target_is_directory=True)
    (registry.root / "modules/acme/odd \x1b\n`name`.yaml").write_text("id: a\n")
    (registry.root / "modules/Upper").mkdir()
    (registry.root / "modules/Upper/a.yaml").write_text("id: a\n")
    (registry.root / "modules/acme/notes.txt").write_text("a")

    problems = {problem.path for problem in registry.list_files().problems}

    assert len(problems) == 5
    assert set(changed_paths(registry, "HEAD")) == problems


def test_changed_paths_takes_ignored_files_for_new_ones(registry: Registry) -> None:
    """A check that looks at a file must not lose it to a `.gitignore`."""
    (registry.root / ".gitignore").write_text("*.yaml\n")
    (registry.root / "modules/acme/new.yaml").write_text("id: acme/new\n")

    assert changed_paths(registry, "HEAD") == ("modules/acme/new.yaml",)


@pytest.mark.parametrize("revision", ["-rf", "--output=x", "", " ", "nowhere", "main..HEAD", "HEAD~99", "a\x00b", "0" * 40])
def test_changed_paths_refuses_what_is_no_revision(registry: Registry, revision: str) -> None:
    """An option is no revision, and neither is a name that git does not know."""
    with pytest.raises(UsageError, match="git revision") as caught:
        changed_paths(registry, revision)
    assert revision[:4].strip("\x00 b") in str(caught.value)


def test_changed_paths_takes_no_name_of_a_file_for_a_revision(registry: Registry) -> None:
    """A file's name is no revision, and is not read as one."""
    with pytest.raises(UsageError, match=r"There is no git revision `registry\.yaml`\. In a shallow clone"):
        changed_paths(registry, "registry.yaml")


def test_changed_paths_says_what_a_shallow_clone_lacks(registry: Registry, tmp_path: Path) -> None:
    """Where the common commit is not there, nothing is guessed."""
    inside = registry.root.relative_to(tmp_path / "git")
    first = _git(registry.root, "rev-parse", "HEAD")
    _git(registry.root, "checkout", "--quiet", "-b", "mine")
    _touch(registry, NER)
    _commit(registry.root)
    _git(registry.root, "checkout", "--quiet", "main")
    _touch(registry, LARGE)
    _commit(registry.root)
    _git(tmp_path, "clone", "--quiet", "--depth=1", "--no-single-branch", "--branch=mine", f"file://{tmp_path}/git", "shallow")
    shallow = Registry(root=tmp_path / "shallow" / inside, name="shallow")

    with pytest.raises(UsageError, match=rf"There is no git revision `{first}`\. .*fetch-depth: 0"):
        changed_paths(shallow, first)
    with pytest.raises(UsageError, match=r"`origin/main` have no commit in common\. .*fetch-depth: 0"):
        changed_paths(shallow, "origin/main")
    _git(shallow.root, "fetch", "--quiet", "--unshallow")
    assert changed_paths(shallow, "origin/main") == (NER,)


def test_changed_paths_refuses_a_folder_without_git(tmp_path: Path) -> None:
    """A registry that is in no repository has no history, and an empty repository has no commit."""
    registry = make_registry(tmp_path / "plain", module_entry())
    with pytest.raises(UsageError, match=r"git cannot say what was changed in .*plain`: `fatal: not a git repository"):
        changed_paths(registry, "HEAD")

    _git(registry.root, "init", "--quiet")
    with pytest.raises(UsageError, match="There is no git revision `HEAD`"):
        changed_paths(registry, "HEAD")


def test_changed_paths_listens_to_no_other_repository(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a hook, the environment tells git of another repository and index; they do not count."""
    _git(tmp_path, "init", "--quiet", "other")
    _touch(registry, NER)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))

    assert changed_paths(registry, "HEAD") == (NER,)


def test_changed_paths_needs_git(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git there is an error that says so; a folder of that name is no program."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UsageError, match="The program `git` cannot be started"):
        changed_paths(registry, "HEAD")


def test_changed_paths_runs_nothing_that_a_repository_names(registry: Registry, tmp_path: Path) -> None:
    """Neither a monitor nor a diff program of the repository's settings is started."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho > {tmp_path}/started\nexit 1\n")
    program.chmod(0o755)
    _git(registry.root, "config", "core.fsmonitor", str(program))
    _git(registry.root, "config", "diff.external", str(program))
    _git(registry.root, "config", "diff.own.textconv", str(program))
    (registry.root / ".gitattributes").write_text("*.yaml diff=own\n")
    _touch(registry, NER)

    assert changed_paths(registry, "HEAD") == (NER,)
    assert not os.path.lexists(tmp_path / "started")
