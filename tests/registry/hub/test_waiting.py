"""Limits on waiting, in the genuine client."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from modxfer.registry.hub.calls import api
from modxfer.registry.hub.waiting import asked_pause_seconds, hurried, limit_client, longest_pause_seconds, patience_seconds
from tests.hub.faults import Fault
from tests.hub.remote import Person
from tests.hub.server import HubServer
from tests.hub.silence import Silence


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": " 12 "}, 12.0),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"ratelimit": '"api";r=3;t=55'}, None),
        ({"Retry-After": "5", "RateLimit": '"api";r=0;t=55'}, 5.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_asked_pause_seconds(headers: dict[str, str], seconds: float | None) -> None:
    """The Hub asks in one of three ways; an answer that is not the last one allowed asks nothing."""
    assert asked_pause_seconds(headers) == seconds


def test_asked_pause_seconds_until_a_time() -> None:
    """A time of day is counted from now."""
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert asked_pause_seconds({"Retry-After": at}) == pytest.approx(90, abs=3)


@pytest.mark.parametrize(
    ("value", "pause", "patience"),
    [("8", 8.0, 6.0), ("", 60.0, 45.0), ("0", 60.0, 45.0), ("-3", 60.0, 45.0), ("soon", 60.0, 45.0)],
)
def test_the_limits_follow_the_variable(monkeypatch: pytest.MonkeyPatch, value: str, pause: float, patience: float) -> None:
    """One number says how patient to be; without a sensible one it is about a minute."""
    monkeypatch.setenv("MODXFER_HUB_TIMEOUT", value)
    assert (longest_pause_seconds(), patience_seconds()) == (pause, patience)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("method", "at_most"), [("GET", 0.5), ("POST", 0.7)])
def test_silence_ends_a_request(hub: HubServer, silence: Silence, method: str, at_most: float) -> None:
    """Any request of the client fails when no word comes for a part of the limit."""
    import huggingface_hub

    limit_client()
    hub.faults.add(silence.fault(times=None))
    begin = time.monotonic()
    with pytest.raises(Exception, match="timed out"):
        huggingface_hub.get_session().request(method, f"{hub.url}/api/whoami-v2")
    assert at_most - 0.25 < time.monotonic() - begin < at_most + 1.0


@pytest.mark.slow
@pytest.mark.parametrize("is_hurried", [True, False])
def test_a_hurried_request_waits_a_few_seconds(
    hub: HubServer, silence: Silence, monkeypatch: pytest.MonkeyPatch, is_hurried: bool
) -> None:
    """However long the limit, what is hurried fails after three seconds of silence; what is not waits on."""
    import huggingface_hub

    monkeypatch.setenv("MODXFER_HUB_TIMEOUT", "18")
    limit_client()
    hub.faults.add(silence.fault(times=None))
    begin = time.monotonic()
    with hurried(is_hurried), pytest.raises(Exception, match=r"timed out|did not answer"):
        huggingface_hub.get_session().get(f"{hub.url}/api/whoami-v2")
    assert (time.monotonic() - begin < 5) == is_hurried


def test_without_the_variable_a_slow_hub_is_waited_for(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that was set once does not stay for ever."""
    monkeypatch.setenv("MODXFER_HUB_TIMEOUT", "0.6")
    hub.add_repo("acme/lora")
    assert api().model_info("acme/lora").id == "acme/lora"
    monkeypatch.delenv("MODXFER_HUB_TIMEOUT")
    hub.faults.add(Fault(kind="delay", seconds=0.7))
    assert api().model_info("acme/lora").id == "acme/lora"


def test_a_library_leaves_the_client_alone(hub: HubServer, tmp_path: Path) -> None:
    """Without the variable, the client of a program that uses modxfer is the one it was."""
    hub.add_repo("acme/lora", {"README.md": b"A card."})
    printed = Person(folder=tmp_path).python(
        "import os; os.environ.pop('MODXFER_HUB_TIMEOUT', None)\n"
        "import huggingface_hub as h; from modxfer.registry.hub.repositories import open_repository\n"
        "before = h.get_session(); open_repository('acme/lora'); print(h.get_session() is before)"
    )
    assert printed == "True\n"


def test_the_limit_survives_a_connection_that_is_refused(hub: HubServer, silence: Silence, tmp_path: Path) -> None:
    """The client throws its connections away when one fails, and the limit is on the new ones too."""
    hub.add_repo("acme/lora", {"README.md": b"A card."})
    hub.faults.add(Fault(kind="drop", path="/api/models"))
    hub.faults.add(silence.fault(path="/api/models", skip=1, times=None))
    printed = Person(folder=tmp_path).python(
        "import os, time; os.environ['MODXFER_HUB_TIMEOUT'] = '1'\n"
        "from modxfer.errors import HubError; from modxfer.registry.hub.repositories import open_repository\n"
        "begin = time.monotonic()\n"
        "try: open_repository('acme/lora')\n"
        "except HubError as error: print(time.monotonic() - begin < 10, error)"
    )
    assert printed.startswith("True The Hub did not answer in time for `acme/lora`")
