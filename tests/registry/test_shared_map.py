"""The alignment map of the library, to the Hub and from there."""

import sys
from pathlib import Path
from typing import Any

import pytest

import modxfer
from modxfer.errors import UsageError
from tests.hub.remote import Person
from tests.hub.server import HubServer
from tests.registry.conftest import Made

NAME = "acme/map"


@pytest.fixture
def alignment(acme: HubServer, made: Made) -> modxfer.AlignmentMap:
    """Give a map that is on the Hub."""
    alignment = modxfer.AlignmentMap.from_pretrained(made.map)
    alignment.push_to_hub(NAME, license="cc0-1.0")
    return alignment


def test_it_goes_there_and_comes_back(acme: HubServer, alignment: modxfer.AlignmentMap) -> None:
    """By its id, and by a branch or commit in the id or beside it; nothing but the map's files is asked for."""
    acme.clear_log()
    options: list[tuple[str, dict[str, Any]]] = [
        (NAME, {}),
        (f"{NAME}@main", {}),
        (f"{NAME}@{acme.head(NAME)}", {}),
        (NAME, {"revision": "main"}),
        (NAME, {"force_download": False, "resume_download": None, "proxies": None, "token": None, "cache_dir": None}),
    ]
    for name, given in options:
        assert modxfer.AlignmentMap.from_pretrained(name, **given).scores == alignment.scores
    assert not [request.path for request in acme.log if request.path.endswith("/config.json")]


def test_pushing_the_same_again_gives_the_repository(acme: HubServer, alignment: modxfer.AlignmentMap) -> None:
    """There is no commit then, and its page is no text such as "None"."""
    before = acme.commits(NAME)
    assert alignment.push_to_hub(NAME, license="cc0-1.0").endswith(f"/{NAME}")
    assert acme.commits(NAME) == before
    assert "/commit/" in alignment.push_to_hub(NAME, license="mit")


@pytest.mark.parametrize(
    ("option", "value", "instead"),
    [
        ("token", "hf_other", "HF_TOKEN"),
        ("token", False, "HF_TOKEN"),
        ("cache_dir", "here", "HF_HOME"),
        ("local_files_only", True, "HF_HUB_OFFLINE=1"),
        ("force_download", True, "hash"),
        ("proxies", {"https": "x"}, "HTTPS_PROXY"),
    ],
)
def test_options_without_effect_are_refused(made: Made, option: str, value: Any, instead: str) -> None:
    """What stands for them is said, and no token is repeated."""
    with pytest.raises(UsageError, match=f"`{option}` for an alignment map.*{instead}") as caught:
        modxfer.AlignmentMap.from_pretrained(made.map, **{option: value})
    assert "hf_other" not in str(caught.value)


def test_two_revisions_are_refused() -> None:
    """In the id and beside it."""
    with pytest.raises(UsageError, match="`acme/map@main` names a revision, and `dev`"):
        modxfer.AlignmentMap.from_pretrained("acme/map@main", revision="dev")


def test_it_loads_without_the_hub(acme: HubServer, alignment: modxfer.AlignmentMap, tmp_path: Path) -> None:
    """What was fetched once is there offline, and when the Hub is down."""
    person = Person(folder=tmp_path / "me")
    code = f"import modxfer; print(len(modxfer.AlignmentMap.from_pretrained({NAME!r}).scores))"
    count = person.python(code)
    assert int(count) == len(alignment.scores)
    offline = f"import os; os.environ['HF_HUB_OFFLINE'] = '1'; {code}"
    assert person.python(offline) == count
    acme.clear_log()
    down = f"import os; os.environ['HF_ENDPOINT'] = 'http://127.0.0.1:9'; {code}"
    result = person.run(sys.executable, "-c", down)
    assert (result.returncode, result.stdout) == (0, count), result.stderr
    assert acme.log == []
