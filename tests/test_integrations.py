"""What other people's CI takes from the root of this repository: the action, the hooks, the workflow. Needs no network."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from modxfer.registry.workflow import WORKFLOW, workflow
from tests.entries import as_yaml, make_registry, module_entry, whole_lineage

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "workflows" / "check-registry.yml"
BIN = Path(sys.executable).parent


def run(words: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a CI would, with the programs of these tests' environment and nothing of the user's."""
    return subprocess.run(
        words,
        cwd=folder,
        env={
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "GIT_CONFIG_GLOBAL": os.devnull,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def git(folder: Path, *words: str) -> str:
    """Run git."""
    name = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = run(["git", *name, *words], folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder: Path) -> str:
    """Commit everything, and give the commit."""
    if not (folder / ".git").exists():
        git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("schema", "path"),
    [("vendor.github-actions", ROOT / "action.yml"), ("vendor.github-workflows", EXAMPLE)],
    ids=["action", "workflow"],
)
def test_files_are_what_github_reads(schema: str, path: Path) -> None:
    """By GitHub's schemas, which come with check-jsonschema."""
    done = run([str(BIN / "check-jsonschema"), "--builtin-schema", schema, str(path)], ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


# --- the action -----------------------------------------------------------------------------------------------------------


def action() -> Any:
    """Read the action."""
    return yaml.safe_load((ROOT / "action.yml").read_text())


def check_registry(folder: Path, inputs: Mapping[str, str], *, programs: Path = BIN) -> subprocess.CompletedProcess[str]:
    """Run the action's last step as GitHub's runner does."""
    step = action()["runs"]["steps"][-1]
    given = {name: value["default"] for name, value in action()["inputs"].items()} | {
        "changed-since": "",  # outside of a pull request
        **inputs,
    }
    environment = {}
    for name, value in step["env"].items():
        match = re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) }}", value)
        assert match is not None, value
        environment[name] = given[match[1]]
    script = folder / "step.sh"
    script.write_text(step["run"])
    words = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)]
    return run(words, folder, GITHUB_WORKSPACE=str(folder), PATH=f"{programs}{os.pathsep}{os.environ['PATH']}", **environment)


def words_of_check(folder: Path, inputs: Mapping[str, str]) -> list[str]:
    """Run the action's last step with a program that only says what words it is given."""
    program = folder / "programs" / "modxfer"
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    program.chmod(0o755)
    done = check_registry(folder, inputs, programs=program.parent)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\0")[:-1]


def test_action_passes_a_clean_registry(tmp_path: Path) -> None:
    """In a folder of the check-out."""
    make_registry(tmp_path / "r", *whole_lineage())
    done = check_registry(tmp_path, {"registry": "r"})
    assert (done.returncode, done.stdout) == (0, "No problems; 4 files checked offline.\n"), done.stderr


def test_action_reports_problems(tmp_path: Path) -> None:
    """As annotations in the log, and as SARIF beside them; the step fails."""
    make_registry(tmp_path / "r", module_entry(license="apache"))
    done = check_registry(tmp_path, {"registry": "r", "sarif-file": "out.sarif"})
    assert done.returncode == 1
    assert done.stdout.startswith("::error file=r/modules/acme/ner.yaml,line=")
    (run_,) = json.loads((tmp_path / "out.sarif").read_text())["runs"]
    assert [result["ruleId"] for result in run_["results"]] == ["license"]


def test_action_passes_its_inputs_on(tmp_path: Path) -> None:
    """Each as an option; ids of rules however they are separated."""
    assert words_of_check(tmp_path, {}) == ["registry", "check", "--registry=.", "--format=github"]
    for skip in ("license language", "license,language", "\nlicense, \n language\n"):
        assert words_of_check(tmp_path, {"skip": skip})[4:] == ["--skip=license", "--skip=language"]
    more = {"online": "true", "weights": "true", "changed-since": "main", "sarif-file": "a b.sarif", "registry": "a b"}
    assert words_of_check(tmp_path, more)[2:] == [
        "--registry=a b", "--format=github", "--online", "--weights", "--changed-since=main", "--sarif=a b.sarif"
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["$(touch ran)`touch ran`;touch ran", "--debug", "'\"; touch ran; '", "*", "\\"])
def test_action_runs_no_input(tmp_path: Path, value: str) -> None:
    """An input is a value, whatever it says: no command, no option of its own, no pattern of files."""
    names = {"registry": "registry", "format": "format", "changed-since": "changed-since", "sarif-file": "sarif"}
    words = words_of_check(tmp_path, dict.fromkeys(["skip", *names], value))
    expected = [f"--{option}={value}" for option in names.values()]
    assert words == ["registry", "check", *expected, *(f"--skip={word}" for word in value.split())]
    assert not (tmp_path / "ran").exists()


def test_action_checks_what_changed(tmp_path: Path) -> None:
    """Since the base of a pull request, which GitHub gives."""
    assert action()["inputs"]["changed-since"]["default"] == "${{ github.event.pull_request.base.sha }}"
    make_registry(tmp_path, module_entry(license="apache"))
    base = commit(tmp_path)
    (tmp_path / "modules/acme/new.yaml").write_text(as_yaml(module_entry("acme/new", license="mit")))
    commit(tmp_path)
    done = check_registry(tmp_path, {"changed-since": base})
    assert done.returncode == 1
    assert re.findall(r"file=([^,]*)", done.stdout) == ["modules/acme/new.yaml"]


@pytest.mark.parametrize(
    ("inputs", "part"),
    [
        ({"online": "yes"}, "::error::The input 'online' takes true or false."),
        ({"weights": "True"}, "::error::The input 'weights' takes true or false."),
        ({"registry": "nowhere"}, "There is no folder `nowhere`."),
    ],
)
def test_action_refuses_wrong_inputs(tmp_path: Path, inputs: dict[str, str], part: str) -> None:
    """Status 2, and what is wrong."""
    make_registry(tmp_path, *whole_lineage())
    done = check_registry(tmp_path, inputs)
    assert done.returncode == 2, done.stderr
    assert part in done.stdout + " ".join(done.stderr.replace("│", " ").split())


def test_action_puts_no_input_into_a_script() -> None:
    """No expression of GitHub's stands in a script, where it would be a part of the program."""
    for step in action()["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_action_installs_itself_with_what_it_was_tested_with() -> None:
    """From its own commit, with the pins that are there."""
    script = action()["runs"]["steps"][1]["run"]
    (pins,) = re.findall(r'--constraint "\$GITHUB_ACTION_PATH/([^"]+)"', script)
    assert (ROOT / pins).is_file()
    assert '"${pip[@]}" "$GITHUB_ACTION_PATH"' in script


# --- the workflow ---------------------------------------------------------------------------------------------------------


def steps(workflow: Mapping[Any, Any]) -> list[Any]:
    """List the steps of all jobs."""
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_workflow_is_the_example() -> None:
    """What `modxfer registry init` writes is what the examples show."""
    assert workflow() == EXAMPLE.read_text(encoding="utf-8")
    assert Path(WORKFLOW).name == EXAMPLE.name


def test_workflow_gives_strangers_nothing() -> None:
    """Pull requests run with the right to read; what else a job may do, it does not do for them."""
    read = yaml.safe_load(workflow())
    events = read[True]  # YAML 1.1 reads `on` as true
    assert "pull_request" in events
    assert "pull_request_target" not in events
    assert read["permissions"] == {"contents": "read"}
    for job in read["jobs"].values():
        assert "permissions" not in job or job["if"] == "github.event_name != 'pull_request'"
    assert not any("run" in step for step in steps(read))


def test_workflow_uses_the_action() -> None:
    """With inputs that it has, at the version that this is; every other action is pinned as well."""
    used = [step for step in steps(yaml.safe_load(workflow())) if step["uses"].startswith("OWNER/modxfer@")]
    assert len(used) == 2
    for step in used:
        assert step["uses"] == f"OWNER/modxfer@v{version('modxfer')}"
        assert set(step["with"]) <= set(action()["inputs"])
    for step in [*steps(yaml.safe_load(workflow())), *action()["runs"]["steps"]]:
        assert re.fullmatch(r"[\w./-]+@v\d[\d.]*", step.get("uses", "a/b@v1"))


# --- the hooks ------------------------------------------------------------------------------------------------------------


def hooks() -> dict[str, Any]:
    """Read the hooks by their ids."""
    return {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}


def test_hooks_are_what_pre_commit_reads(tmp_path: Path) -> None:
    """By its own check; the two are alike but for where modxfer comes from."""
    done = run([str(BIN / "pre-commit"), "validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    own, system = hooks().values()
    differ = {key for key in own if own[key] != system[key]}
    assert differ == {"id", "language", "description"}
    assert (own["language"], system["language"]) == ("python", "system")


@pytest.mark.parametrize(
    ("path", "is_checked"),
    [
        ("registry.yaml", True),
        ("a/b/registry.yaml", True),
        ("modules/acme/ner.yaml", True),
        ("a/alignments/acme/map.yaml", True),
        ("modules/acme/ner.yml", True),  # to say that it should be .yaml
        ("aliases/acme.yaml", True),
        ("modules/acme.yaml", False),
        ("src/modules/net/conv.py", False),
        ("my-registry.yaml", False),
        ("old-modules/acme/ner.yaml", False),
        ("modules/acme/ner.yaml.orig", False),
    ],
)
def test_hooks_see_the_files_of_a_registry(path: str, is_checked: bool) -> None:
    """Entries, aliases and settings, wherever the registry lies."""
    for hook in hooks().values():
        assert (re.search(hook["files"], path) is not None) == is_checked


def test_hook_stops_a_commit(tmp_path: Path) -> None:
    """As pre-commit runs it: on the files of the commit, in a repository with a registry in a folder."""
    repository, place = tmp_path / "hooks", tmp_path / "work"
    for folder in (repository, place):
        folder.mkdir()
    (repository / ".pre-commit-hooks.yaml").write_text((ROOT / ".pre-commit-hooks.yaml").read_text())
    config = {
        "repos": [{"repo": str(repository), "rev": commit(repository), "hooks": [{"id": "modxfer-registry-check-system"}]}]
    }
    (place / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    make_registry(place / "registry", *whole_lineage(), module_entry("acme/old", license="apache"))
    commit(place)

    def commit_with_hook() -> subprocess.CompletedProcess[str]:
        git(place, "add", "-A")
        return run([str(BIN / "pre-commit"), "run"], place, PRE_COMMIT_HOME=str(tmp_path / "cache"))

    path = place / "registry/modules/acme/new.yaml"
    path.write_text(as_yaml(module_entry("acme/new", license="mit")))
    (place / "notes.txt").write_text("of no concern\n")
    done = commit_with_hook()
    assert done.returncode == 1
    assert "registry/modules/acme/new.yaml:" in done.stdout
    assert "error[license]" in done.stdout
    assert "acme/old" not in done.stdout
    path.write_text(as_yaml(module_entry("acme/new")))
    done = commit_with_hook()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed" in done.stdout
