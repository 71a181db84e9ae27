"""A Hub with a user who is logged in, and how patient modxfer is with it."""

from collections.abc import Iterator

import pytest

from tests.hub.server import HubServer
from tests.hub.silence import Silence


@pytest.fixture
def acme(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """Give a Hub on which the user is logged in as `acme`."""
    monkeypatch.setenv("HF_TOKEN", hub.add_user("acme"))
    return hub


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests fail after a second of silence (1.5 for what changes something), and try again for more than two."""
    monkeypatch.setenv("MODXFER_HUB_TIMEOUT", "3")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests fail after a third of a second of silence, and give up soon."""
    monkeypatch.setenv("MODXFER_HUB_TIMEOUT", "1")


@pytest.fixture
def silence(hub: HubServer) -> Iterator[Silence]:
    """Give a way to let the Hub fall silent until the test ends."""
    silence = Silence()
    yield silence
    silence.end()
