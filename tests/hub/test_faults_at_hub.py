"""What the command line prints and leaves behind when things go wrong at the Hub, each person with a machine of their own."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from modxfer.alignments.alignment_map import SitePair
from modxfer.alignments.files import write_alignment
from modxfer.architectures import Point, Side, Site
from tests.hub.faults import Fault
from tests.hub.remote import Person
from tests.hub.server import HubServer
from tests.hub.silence import Silence
from tests.modules import assignment_map, map_of

NAME = "acme/lora"
KEY = "base_model.model.encoder.layer.0.attention.self.query.lora_{}.weight"
FILES = {
    "README.md": b"---\nlicense: mit\n---\nA card.\n",
    "adapter_config.json": json.dumps(
        {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["query"], "base_model_name_or_path": "acme/base"}
    ).encode(),
    "adapter_model.safetensors": save(
        {KEY.format("A"): np.ones((2, 6), dtype=np.float32), KEY.format("B"): np.ones((6, 2), dtype=np.float32)}
    ),
}
ODD = "correct-horse-battery-staple"


def modxfer(
    person: Person, *arguments: str, seconds: float = 3, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run modxfer, not too patiently; a variable that is empty is not set at all."""
    settings = {"MODXFER_HUB_TIMEOUT": str(seconds), **(variables or {})}
    unset = [f"--unset={name}" for name, value in settings.items() if not value]
    values = [f"{name}={value}" for name, value in settings.items() if value]
    return person.run("env", *unset, *values, sys.executable, "-m", "modxfer", *arguments)


def error_of(result: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Give the error that `--json` prints, the only thing on stdout."""
    printed: dict[str, dict[str, str]] = json.loads(result.stdout)
    return printed["error"]


@pytest.fixture
def person(hub: HubServer, tmp_path: Path) -> Person:
    """Publish a module, and give somebody who is logged in."""
    hub.add_repo(NAME, FILES)
    return Person(folder=tmp_path / "home", token=hub.add_user("you"))


def test_pull_gets_over_what_passes(hub: HubServer, person: Person) -> None:
    """One fault of each kind: stdout is one JSON object, stderr says no more than that it was tried again."""
    hub.faults.add(Fault(kind="drop", path="/api/models/acme/lora$"))
    hub.faults.add(Fault(kind="status", status=503, path="/tree/"))
    hub.faults.add(Fault(kind="status", status=429, retry_after=0, method="HEAD", path="/resolve/"))
    hub.faults.add(Fault(kind="corrupt", method="GET", path="/resolve/.*config"))
    hub.faults.add(Fault(kind="truncate", num_bytes=40, host="storage"))
    result = modxfer(person, "pull", NAME, "--json")
    assert result.returncode == 0, result.stderr
    pulled = json.loads(result.stdout)
    assert {path: Path(pulled["folder"], path).read_bytes() for path in pulled["files"]} == FILES
    said = [line for line in result.stderr.splitlines() if line.startswith(("Warning", "Error", "HTTP", "'", "Retry"))]
    assert said
    assert all(line.startswith("Warning: The Hub did not answer as it should; trying again in ") for line in said)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (None, "The Hub did not answer in time for `acme/lora`"),
        ("storage", "The Hub did not answer in time for `acme/lora` at `"),
    ],
)
def test_pull_gives_up_on_silence_soon(hub: HubServer, person: Person, host: str | None, said: str) -> None:
    """A Hub or a storage that takes requests and never answers is one error, on stdout as JSON, and status 1."""
    silence = Silence()
    hub.faults.add(silence.fault(host=host, times=None))
    begin = time.monotonic()
    result = modxfer(person, "pull", NAME, "--json", seconds=1)
    assert time.monotonic() - begin < 25
    silence.end()
    assert result.returncode == 1
    assert said in error_of(result)["what"]
    assert (error_of(result)["type"], "Traceback" in result.stderr) == ("HubError", False)


@pytest.mark.parametrize(
    ("name", "status", "kind", "do"),
    [
        ("acme/none", 2, "RepositoryMissing", "hf auth login"),
        pytest.param(f"{NAME}@v9", 2, "RevisionMissing", f"/{NAME}.", marks=pytest.mark.slow),
        ("acme/gated", 1, "HubError", "Ask for access at http://127.0.0.1"),
    ],
)
def test_pull_of_what_cannot_be_had(hub: HubServer, person: Person, name: str, status: int, kind: str, do: str) -> None:
    """What does not exist is wrong usage; what is closed is told with where to ask; both say what to do."""
    hub.add_repo("acme/gated", FILES, gated="manual")
    result = modxfer(person, "pull", name, "--json")
    assert result.returncode == status
    assert error_of(result)["type"] == kind
    assert name.partition("@")[0] in error_of(result)["what"]
    assert do in error_of(result)["do"]
    assert len([request for request in hub.log if request.status in (403, 404)]) == 1


def test_pull_from_the_cache(hub: HubServer, person: Person) -> None:
    """A module that was fetched is there without a Hub: with a warning that names the commit, or silently with --offline."""
    before = modxfer(person, "pull", NAME, "--json")
    hub.faults.add(Fault(kind="drop", times=None))
    away = modxfer(person, "pull", NAME, "--json", seconds=1)
    hub.clear_log()
    offline = modxfer(person, "pull", NAME, "--json", "--offline")
    variable = modxfer(person, "pull", NAME, "--json", variables={"HF_HUB_OFFLINE": "1"})
    assert [result.returncode for result in (before, away, offline, variable)] == [0, 0, 0, 0], away.stderr + offline.stderr
    assert away.stdout == offline.stdout == variable.stdout == before.stdout
    said = f"Warning: The Hub could not be reached; `{NAME}` is taken from the cache, at commit {hub.head(NAME)[:12]}."
    assert said in " ".join(away.stderr.split())
    assert "Warning" not in offline.stderr + variable.stderr
    assert hub.log == []
    none = modxfer(person, "pull", "acme/other", "--json", "--offline")
    assert none.returncode == 1
    assert error_of(none)["what"] == "`acme/other` is not in the cache, and the Hub is not to be asked."


def test_a_full_disk_leaves_no_output(hub: HubServer, person: Person) -> None:
    """A download that does not fit is told, and nothing stands where the files were to go."""
    big = {**FILES, "adapter_model.safetensors": save({KEY.format("A"): np.ones((600, 600), dtype=np.float32)})}
    hub.add_repo("acme/big", big)
    script = 'trap "" XFSZ; ulimit -f 512; exec "$@"'  # files of more than 512 kB are refused
    words = ("pull", "acme/big", "--output", "mine", "--json")
    result = person.run("bash", "-c", script, "bash", sys.executable, "-m", "modxfer", *words)
    assert result.returncode == 1
    assert error_of(result)["what"].startswith("The disk is full, so `acme/big` at `")
    assert not (person.folder / "mine").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make an alignment map to publish."""
    site = Site("encoder", 0, Point("query", Side.INPUT))
    alignment = map_of({SitePair(site, site): assignment_map(np.arange(6))})
    (tmp_path / "map").mkdir()
    write_alignment(alignment, tmp_path / "map")
    return tmp_path / "map"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="drop-after", method="POST", path="/commit/"),
        pytest.param(Fault(kind="cut-upload", num_bytes=50, method="PUT", host="storage"), marks=pytest.mark.slow),
        pytest.param(Fault(kind="status", status=500, method="POST", path="/repos/create"), marks=pytest.mark.slow),
    ],
    ids=["commit", "object", "create"],
)
def test_push_gets_over_what_passes(hub: HubServer, person: Person, folder: Path, fault: Fault) -> None:
    """One commit, all files, one JSON object."""
    hub.faults.add(fault)
    result = modxfer(person, "push", str(folder), "you/map", "--license", "mit", "--json")
    assert result.returncode == 0, result.stderr
    assert fault.struck == 1
    assert json.loads(result.stdout)["commit"] == hub.head("you/map")
    assert len(hub.commits("you/map")) == 2
    assert hub.files("you/map")["alignment.safetensors"] == (folder / "alignment.safetensors").read_bytes()


def test_push_that_cannot_be_finished(hub: HubServer, person: Person, folder: Path) -> None:
    """The branch is where it was, and the user is told."""
    head = hub.add_repo("you/map", {"README.md": b"old"})
    hub.faults.add(Fault(kind="status", status=502, message="Bad gateway", method="POST", path="/commit/", times=None))
    result = modxfer(person, "push", str(folder), "you/map", "--license", "mit", "--json", seconds=1)
    assert result.returncode == 1
    assert "did not answer for `you/map` (status 502: Bad gateway)" in error_of(result)["what"]
    assert hub.head("you/map") == head


def saved_token(hub: HubServer, person: Person) -> dict[str, str]:
    """Log somebody in as `hf auth login` does; gives what the environment must not say then."""
    hub.add_user("saver", token=ODD)
    (person.folder / "huggingface").mkdir(parents=True)
    (person.folder / "huggingface" / "token").write_text(ODD)
    return {"HF_TOKEN": "", "HF_HUB_DISABLE_IMPLICIT_TOKEN": ""}


def everything_in(folder: Path) -> Iterator[bytes]:
    """Read all files below a folder but the one that the token is saved in."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "token":
            yield path.read_bytes()


@pytest.mark.parametrize(
    ("place", "options"),
    [
        ("header", ("--debug",)),
        ("body", ("--debug", "--json")),
        pytest.param("header", ("--json",), marks=pytest.mark.slow),
        pytest.param("body", (), marks=pytest.mark.slow),
    ],
)
def test_a_token_that_the_hub_repeats_is_not_shown(
    hub: HubServer, person: Person, place: str, options: tuple[str, ...]
) -> None:
    """However a server gives a saved token back, nobody sees it: not in the error, a traceback, a warning or a file."""
    variables = saved_token(hub, person)
    headers = {"X-Error-Message": f"sent: Bearer {ODD}, {ODD}"} if place == "header" else {}
    headers["X-HF-Warning"] = f"topic; beware of {ODD}"
    message = f"authorization={ODD}" if place == "body" else "Bad"
    hub.faults.add(Fault(kind="status", status=400, message=message, headers=headers, times=None))
    result = modxfer(person, "pull", NAME, *options, variables=variables)
    assert hub.log[-1].headers["authorization"] == f"Bearer {ODD}"
    assert result.returncode == 1
    assert "***" in result.stderr
    assert ("Traceback" in result.stderr) == ("--debug" in options)
    assert ODD not in result.stdout + result.stderr
    assert not any(ODD.encode() in content for content in everything_in(person.folder))


def test_a_token_in_a_name_is_not_shown(hub: HubServer, person: Person) -> None:
    """What the user types by mistake is hidden as well."""
    result = modxfer(person, "pull", f"acme/{person.token}", "--json")
    assert result.returncode == 2
    assert "`acme/***`" in error_of(result)["what"]
    assert person.token not in result.stdout + result.stderr
