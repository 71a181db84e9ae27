"""`modxfer registry check`."""

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from modxfer.registry.checks.formats.values import report_values
from modxfer.registry.checks.run import check
from modxfer.registry.entries.opening import REGISTRY_VARIABLE
from tests.entries import COMMIT, alignment_entry, as_yaml, make_registry, module_entry, source, whole_lineage
from tests.hub.server import HubServer
from tests.registry.conftest import contents

Call = Callable[..., Result]

NER, MAP = "modules/acme/ner.yaml", "alignments/acme/bert-to-student.yaml"
SEVERITIES = [("unknown-field", "error"), ("language", "error"), ("license", "error"), ("license-unknown", "warning")]
TOKEN = "hf_" + "sEcReT1" * 5


@pytest.fixture(autouse=True)
def no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no setting of whoever runs the tests name a registry, or a check-out."""
    for name in (REGISTRY_VARIABLE, "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)


def broken(root: Path) -> Path:
    """Write a registry with two errors in one entry, one in another and a warning in a third."""
    make_registry(
        root,
        module_entry(license="apache", languages=["xx-nonsense-tag"]),
        module_entry(
            "acme/quiet", license="NOASSERTION", source=source("acme/quiet", "adapter_config.json", "adapter_model.safetensors")
        ),
        alignment_entry(tokens=3),
    )
    return root


def git(folder: Path, *words: str) -> str:
    """Run git."""
    name = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path) -> str:
    """Commit everything, and give the commit."""
    if not (folder / ".git").exists():
        git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


# --- what is reported -----------------------------------------------------------------------------------------------------


def test_check_of_a_clean_registry(call: Call, tmp_path: Path) -> None:
    """Nothing to say but what was checked; status 0."""
    make_registry(tmp_path / "r", *whole_lineage())
    done = call("registry", "check", tmp_path / "r")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "No problems; 4 files checked offline.\n", "")


def test_check_prints_every_problem(call: Call) -> None:
    """Two lines a problem, as long as they are, by file, at the path as typed; status 1."""
    root = broken(Path("r"))
    done = call("registry", "check", "r")
    assert (done.exit_code, done.stderr) == (1, "")
    found = {
        rule: (problem, word)
        for problem in check(make_registry(root)).problems
        for rule, word in SEVERITIES
        if rule == problem.rule
    }
    says = [
        f"r/{problem.path}:{problem.place.line}:{problem.place.column}: {word}[{rule}] {problem.what}\n    {problem.do}\n"
        for rule, (problem, word) in found.items()
    ]
    alone, first, second, last = says
    summary = "3 errors and 1 warning in 3 files; 4 files checked offline."
    assert done.stdout == f"{alone}\n{first}{second}\n{last}\n{summary}\n"
    assert max(map(len, done.stdout.splitlines())) > 100


def test_check_passes_with_warnings(call: Call) -> None:
    """Warnings do not fail."""
    broken(Path("r"))
    done = call("registry", "check", "r", "--rule", "license-unknown")
    assert done.exit_code == 0
    assert "1 warning in 1 file; 4 files checked offline." in done.stdout


@pytest.mark.parametrize("words", [["--json"], ["--format", "json"], ["--json", "--format", "json"]])
def test_check_prints_one_json_object(call: Call, words: list[str]) -> None:
    """The report as values, whichever way JSON is asked for."""
    root = broken(Path("r"))
    done = call("registry", "check", root, *words)
    assert done.exit_code == 1
    assert json.loads(done.stdout) == report_values(check(make_registry(root)))
    assert done.stdout.count("\n") == 1


def test_check_prints_commands_for_github(call: Call) -> None:
    """With paths from the root of the git repository, not of the registry."""
    broken(Path("all/r"))
    commit(Path("all"))
    done = call("registry", "check", "all/r", "--format", "github", "--rule", "license")
    assert done.exit_code == 1
    first, *rest = done.stdout.splitlines()
    assert first.startswith(f"::error file=r/{NER},line=")
    assert "title=license::`license`: `apache` is not" in first
    assert rest == ["1 error in 1 file; 4 files checked offline."]


def test_check_writes_sarif(call: Call) -> None:
    """To stdout, or to a file beside any other format; a file that exists only with --force."""
    broken(Path("r"))
    printed = call("registry", "check", "r", "--format", "sarif")
    assert printed.exit_code == 1
    rules = [result["ruleId"] for result in json.loads(printed.stdout)["runs"][0]["results"]]
    assert rules == ["unknown-field", "language", "license", "license-unknown"]

    words = ["registry", "check", "r", "--format", "json", "--sarif", "out.sarif"]
    done = call(*words)
    assert json.loads(done.stdout)["errors"] == 3
    assert json.loads(Path("out.sarif").read_text()) == json.loads(printed.stdout)
    Path("out.sarif").write_text("precious")
    refused = call(*words)
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["error"]["what"] == "`out.sarif` exists."
    assert Path("out.sarif").read_text() == "precious"
    call(*words, "--force")
    assert Path("out.sarif").read_text().strip() == printed.stdout.strip()


@pytest.mark.parametrize("format", ["text", "json", "github", "sarif"])
def test_check_keeps_hostile_texts_in_their_place(call: Call, format: str) -> None:
    """No format lets an entry move the cursor, add a line, order the runner about or show a token."""
    hostile = f"\x1b[2J\r\n::add-mask::x ##[stop-commands]y [bold]z[/bold] \u202e{TOKEN}"
    make_registry(Path("r"), module_entry(license=hostile, title=hostile, tags=[hostile]))
    done = call("registry", "check", "r", "--format", format)
    assert done.exit_code == 1
    assert not set(done.stdout) & set("\x1b\r\u202e")
    assert "::add-mask" in done.stdout  # it is there, and does nothing
    assert not any(line.lstrip().startswith("::add-mask") for line in done.stdout.splitlines())
    assert TOKEN not in done.stdout + done.stderr
    if format in ("text", "github"):
        assert "##[" not in done.stdout
        assert "[bold]z[/bold]" in done.stdout
    else:
        assert json.loads(done.stdout)


def test_check_has_colours_on_a_terminal_only(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours are ours, and never break a line."""
    broken(Path("r"))
    plain = call("registry", "check", "r").stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = call("registry", "check", "r").stdout
    assert "\x1b[1;31merror[license]\x1b[0m" in coloured
    assert coloured.count("\n") == plain.count("\n")


# --- what is checked ------------------------------------------------------------------------------------------------------


def counts(done: Result) -> tuple[int, int]:
    """Give how many files were checked, and how many errors were found."""
    values = json.loads(done.stdout)
    return values["files"], values["errors"]


@pytest.mark.parametrize(
    ("here", "words", "expected"),
    [
        (".", "r", (4, 3)),
        (".", "--registry r", (4, 3)),
        ("r", "", (4, 3)),
        ("r/modules", "", (4, 3)),
        ("r", ".", (4, 3)),
        ("r/modules", "acme", (2, 2)),
        (".", "r/modules", (2, 2)),
        (".", f"r/{NER}", (1, 2)),
        (".", f"r/{NER} r/{MAP}", (2, 3)),
        (".", f"r/{NER} r/{NER} r/modules/acme/../acme", (2, 2)),
        (".", "r/registry.yaml", (1, 0)),
        (".", f"--registry r {NER}", (1, 2)),  # as it stands in the report
        (".", f"--registry r r/{MAP}", (1, 1)),
        ("r", f"{NER} .", (4, 3)),
        ("r", "--rule license --rule language", (4, 2)),
        ("r", "--skip license --skip language", (4, 1)),
        ("r", "--rule license --skip language", (4, 1)),
    ],
)
def test_check_finds_what_is_meant(
    call: Call, monkeypatch: pytest.MonkeyPatch, here: str, words: str, expected: tuple[int, int]
) -> None:
    """Files and folders as seen from here, the registry around them, and rules by id."""
    broken(Path("r"))
    monkeypatch.chdir(here)
    assert counts(call("registry", "check", "--json", *shlex.split(words))) == expected


def test_check_takes_absolute_paths_and_links_to_folders(call: Call, tmp_path: Path) -> None:
    """A registry may be reached through a link; one inside of it is reported, and not followed."""
    root = broken(tmp_path / "r").resolve()
    Path("link").symlink_to(root)
    (root / "modules/acme/linked.yaml").symlink_to(root / NER)
    assert counts(call("registry", "check", root / NER, "--json")) == (1, 2)
    assert counts(call("registry", "check", "link/modules/acme/ner.yaml", "--json")) == (1, 2)
    assert counts(call("registry", "check", "--registry", root, f"link/{NER}", "--json")) == (1, 2)
    linked = call("registry", "check", root / "modules/acme/linked.yaml")
    assert linked.exit_code == 1
    assert "error[symlink]" in linked.stdout


def test_check_reports_a_file_in_a_folder_that_is_misplaced(call: Call) -> None:
    """What is wrong with the folder is what is wrong with the file."""
    make_registry(Path("r"), **{"modules/Acme/x.yaml": "a: b\n", "modules/acme/x.yml": "a: b\n"})
    for path, reported in {"modules/Acme/x.yaml": "modules/Acme", "modules/acme/x.yml": "modules/acme/x.yml"}.items():
        done = call("registry", "check", f"r/{path}")
        assert done.exit_code == 1
        assert f"r/{reported}:1:1: error[misplaced]" in done.stdout


def test_check_uses_the_registry_that_is_set(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MODXFER_REGISTRY counts where no file says otherwise."""
    broken(tmp_path / "set")
    make_registry(Path("other"), *whole_lineage())
    monkeypatch.setenv(REGISTRY_VARIABLE, str(tmp_path / "set"))
    assert counts(call("registry", "check", "--json")) == (4, 3)
    assert counts(call("registry", "check", NER, "--json")) == (1, 2)
    assert counts(call("registry", "check", "other/modules", "--json")) == (2, 0)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("", "No registry was named, and this folder is in none."),
        ("outside.txt", "No registry was named"),
        ("--registry nowhere", "`nowhere`"),
        ("r/modules/acme/none.yaml", "There is no file `r/modules/acme/none.yaml`."),
        ("--registry r outside.txt", "`outside.txt` lies outside of the registry `r`."),
        ("--registry r ../here/outside.txt", "lies outside of the registry `r`."),
        ("--registry r ../none", "There is no file `../none`."),
        ("r/README.md", "`README.md` is no file of the registry `r`."),
        ("r/docs", "`docs` is no file of the registry `r`."),
        (f"r/{NER} s/{NER}", f"`s/{NER}` lies in the registry"),
        ("r --rule licence", "There is no rule `licence`. Did you mean `license`?"),
        (
            "r --fix --rule layout",
            "`--fix` mends everything that is mechanical, and `--rule` was given. Leave one of them out.",
        ),
        ("r --skip quite-another", "There is no rule `quite-another`. `modxfer registry rules` lists them."),
        ("r --rule tensors", "The rule `tensors` is not checked offline. Add `--online`."),
        ("r --rule no-effect --online", "Add `--weights`."),
        ("r --rule license --skip license", "Every rule that is to count is skipped as well."),
        ("r --json --format github", "`--json` and `--format github` are two formats."),
        ("r --format xml", "'xml' is not one of"),
    ],
)
def test_check_refuses_wrong_usage(call: Call, words: str, part: str) -> None:
    """Status 2, and what is wrong with it."""
    for name in "rs":
        broken(Path(name))
    for path in ("outside.txt", "r/README.md", "r/docs/x.md"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text("x\n")
    done = call("registry", "check", *shlex.split(words))
    assert done.exit_code == 2
    assert part in " ".join(done.stderr.replace("│", " ").split())
    assert "[" not in done.stdout


def test_check_of_no_registry(call: Call) -> None:
    """A folder without `registry.yaml` is an error of the folder."""
    Path("empty").mkdir()
    done = call("registry", "check", "--registry", "empty")
    assert done.exit_code == 1
    assert "`empty` is no registry: it holds no `registry.yaml`." in done.stderr


# --- what changed ---------------------------------------------------------------------------------------------------------


def test_check_of_what_changed(call: Call) -> None:
    """Only files that differ from the revision, committed or not; of those, only those that are named."""
    broken(Path("g/r"))
    since = commit(Path("g"))
    assert counts(call("registry", "check", "g/r", "--changed-since", since, "--json")) == (0, 0)
    entry = module_entry("acme/new", license="apache")
    Path("g/r/modules/acme/new.yaml").write_text(as_yaml(entry))
    commit(Path("g"))
    assert counts(call("registry", "check", "g/r", "--changed-since", since, "--json")) == (1, 1)
    Path("g/r", MAP).write_text(as_yaml(alignment_entry()))
    assert counts(call("registry", "check", "g/r", "--changed-since", since, "--json"))[0] == 2
    assert counts(call("registry", "check", f"g/r/{MAP}", "--changed-since", since, "--json")) == (1, 0)
    assert counts(call("registry", "check", f"g/r/{NER}", "--changed-since", since, "--json")) == (0, 0)


def test_check_of_what_is_gone(call: Call) -> None:
    """Who takes an entry away is told of those that refer to it."""
    make_registry(Path("g"), *whole_lineage())
    since = commit(Path("g"))
    Path("g", MAP).unlink()
    commit(Path("g"))
    done = call("registry", "check", "g", "--changed-since", since)
    assert done.exit_code == 1
    assert "error[unknown-reference]" in done.stdout
    assert counts(call("registry", "check", "g", "--changed-since", since, "--json")) == (1, 1)


def test_check_of_what_changed_since_nothing(call: Call) -> None:
    """A revision that is not there is named."""
    make_registry(Path("g"), *whole_lineage())
    commit(Path("g"))
    done = call("registry", "check", "g", "--changed-since", COMMIT)
    assert done.exit_code == 2
    assert f"There is no git revision `{COMMIT}`." in done.stderr


# --- mending --------------------------------------------------------------------------------------------------------------


def test_check_mends_first(call: Call) -> None:
    """What is mechanical is mended, said, and then not reported; of the files that are named."""
    make_registry(Path("r"), *whole_lineage())
    for name in ("ner-large", "ner-small"):
        path = Path(f"r/modules/acme/{name}.yaml")
        path.write_text(path.read_text() + "\n\n")
    before = call("registry", "check", "r")
    assert before.exit_code == 0
    assert "What is mechanical can be mended with `modxfer registry check --fix`." in before.stdout

    done = call("registry", "check", "r/modules/acme/ner-small.yaml", "--fix")
    assert (done.exit_code, done.stdout) == (0, "No problems; 1 file checked offline.\n")
    assert "r/modules/acme/ner-small.yaml: mended[layout]" in done.stderr
    assert "Mended 1 problem in 1 file." in done.stderr
    assert "can be mended" in call("registry", "check", "r").stdout
    again = call("registry", "check", "r/modules/acme/ner-small.yaml", "--fix")
    assert again.stderr == "Nothing was mended.\n"


# --- on the Hub -----------------------------------------------------------------------------------------------------------


def test_check_of_a_registry_on_the_hub(call: Call, hub: HubServer, tmp_path: Path) -> None:
    """Its entries are checked where they are copied to, at paths of the registry; a copy is not mended."""
    hub.add_repo("acme/modules", contents(broken(tmp_path / "r")), repo_type="dataset")
    name = "hf://datasets/acme/modules"
    done = call("registry", "check", "--registry", name)
    assert done.exit_code == 1
    assert f"{name}/{NER}:" in done.stdout
    assert "4 files checked offline." in done.stdout
    assert counts(call("registry", "check", "--registry", name, NER, "--json")) == (1, 2)
    commands = call("registry", "check", "--registry", name, NER, "--format", "github", "--rule", "license")
    assert commands.stdout.startswith(f"::error file={NER},line=")

    for words, part in {f"{NER} --fix": "is on the Hub", "modules/../x": "There is no file `modules/../x`"}.items():
        refused = call("registry", "check", "--registry", name, *words.split())
        assert refused.exit_code == 2
        assert part in " ".join(refused.stderr.split())


@pytest.mark.parametrize(("word", "stages"), [("--online", ["online"]), ("--weights", ["online", "weights"])])
def test_check_asks_the_hub_only_when_told(call: Call, hub: HubServer, word: str, stages: list[str]) -> None:
    """Offline nothing is asked; --online asks, and --weights does what --online does."""
    make_registry(Path("r"), module_entry())
    offline = call("registry", "check", "r", "--json")
    assert (offline.exit_code, json.loads(offline.stdout)["stages"]) == (0, ["offline"])
    assert hub.log == []
    done = call("registry", "check", "r", word, "--json")
    values = json.loads(done.stdout)
    assert (done.exit_code, values["stages"]) == (1, ["offline", *stages])
    assert {problem["rule"] for problem in values["problems"]} == {"repository-missing"}
    assert hub.log != []
