"""A Hub that is away: how often it is asked, and what is said, when many things are asked of it one after the other."""

import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modxfer.errors import HubError
from modxfer.registry.hub.calls import api, call
from modxfer.registry.hub.outage import MEMORY_SECONDS, forget_outage, is_away, is_news, remember_outage
from modxfer.registry.hub.repositories import open_repository, resolve_dataset
from tests.hub.faults import Fault
from tests.hub.remote import Person
from tests.hub.server import HubServer
from tests.hub.silence import Silence

NAMES = ("acme/one", "acme/two", "acme/three")
USE = """
import os
os.environ |= {"MODXFER_HUB_TIMEOUT": "2"} | ENDPOINT
import logging
logging.basicConfig(format="%(message)s")
from modxfer.errors import HubError
from modxfer.registry.hub.calls import api, call
from modxfer.registry.hub.repositories import open_repository, resolve_dataset
for name in ("acme/one", "acme/two", "acme/three"):
    for _ in range(2):
        (open_repository(name).fetch(["README.md"]) / "README.md").read_bytes()
    try:
        call(lambda: list(api().list_models(author=name)), name=name, optional=True)
    except HubError:
        print("passed over")
print(resolve_dataset("acme/texts"))
"""


class CountingSocket:
    """A port of this machine that takes connections, counts them, and says nothing."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def count(self) -> int:
        return len(self._taken)

    def _take(self) -> None:
        while True:
            try:
                self._taken.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for taken in self._taken:
            taken.close()


@pytest.fixture
def silent() -> Iterator[CountingSocket]:
    """Give an address at which nobody ever answers."""
    silent = CountingSocket()
    yield silent
    silent.close()


@pytest.fixture
def cached(hub: HubServer) -> HubServer:
    """Publish three modules and a data set, and fetch and look up all of them."""
    for name in NAMES:
        hub.add_repo(name, {"README.md": b"A card."})
        open_repository(name).fetch(["README.md"])
    hub.add_repo("acme/texts", {"README.md": b"Texts."}, repo_type="dataset")
    resolve_dataset("acme/texts")
    hub.clear_log()
    return hub


def open_all() -> None:
    """Open each repository twice, and fetch from it."""
    for name in NAMES * 2:
        open_repository(name).fetch(["README.md"])


def use(person: Person, endpoint: str | None) -> tuple[str, str]:
    """Open, fetch, look for and resolve in a process of its own; gives what it prints and warns."""
    code = USE.replace("ENDPOINT", repr({} if endpoint is None else {"HF_ENDPOINT": endpoint}))
    result = person.run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr


@pytest.fixture
def person(cached: HubServer, tmp_path: Path) -> Person:
    """Give somebody who has everything in the cache."""
    person = Person(folder=tmp_path / "person")
    use(person, None)
    return person


def test_with_everything_cached_a_silent_hub_is_asked_seldom(cached: HubServer, person: Person, silent: CountingSocket) -> None:
    """The first call asks as often as it may; each of the nine after it asks once, and all give what is in the cache."""
    printed, said = use(person, silent.url)
    assert printed.splitlines() == ["passed over"] * 3 + [cached.head("acme/texts", repo_type="dataset")]
    assert 10 <= silent.count <= 2 + 9 + 2  # the client of old may try again by itself within the first
    assert said.count("trying again") == 1
    assert [said.count(f"`{name}` is taken from the cache") for name in NAMES] == [1, 1, 1]


def test_with_everything_cached_a_refused_connection_is_told_once(cached: HubServer, person: Person) -> None:
    """Where nobody listens, each thing is said once, however often it is asked for."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        printed, said = use(person, f"http://127.0.0.1:{nobody.getsockname()[1]}")
    assert printed.splitlines() == ["passed over"] * 3 + [cached.head("acme/texts", repo_type="dataset")]
    assert said.count("trying again") == 1
    assert [said.count(f"`{name}` is taken from the cache") for name in (*NAMES, "texts")] == [1, 1, 1, 0]
    assert said.count("the data set `acme/texts` is taken at commit") == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("what", ["drop", "503"])
def test_after_an_outage_each_call_asks_once(cached: HubServer, what: str, caplog: pytest.LogCaptureFixture) -> None:
    """Two requests of the first call, one of each after it; a single warning about trying again."""
    away = cached.faults.add(Fault(kind="drop" if what == "drop" else "status", status=503, times=None))
    with caplog.at_level(logging.WARNING, logger="modxfer"):
        open_all()
    assert away.struck == 2 + 5
    said = [record.getMessage() for record in caplog.records]
    assert len([text for text in said if "trying again" in text]) == 1
    assert len(said) == 1 + len(NAMES)


@pytest.mark.usefixtures("impatient")
def test_what_is_optional_is_asked_for_once(cached: HubServer, silence: Silence, caplog: pytest.LogCaptureFixture) -> None:
    """A look-up that can be done without makes one request, warns of nothing, and spares the next calls the wait."""
    silent = cached.faults.add(silence.fault(times=None))
    with caplog.at_level(logging.WARNING, logger="modxfer"):
        with pytest.raises(HubError, match="did not answer in time for `acme`"):
            call(lambda: list(api().list_models(author="acme")), name="acme", optional=True)
        with pytest.raises(HubError, match="did not answer in time for `acme/none`"):
            open_repository("acme/none", optional=True)
        with pytest.raises(HubError, match="did not answer in time for `acme/none`"):
            open_repository("acme/none")
    assert (silent.struck, caplog.records) == (3, [])


@pytest.mark.usefixtures("impatient")
def test_one_bad_answer_to_what_is_optional_is_no_outage(cached: HubServer) -> None:
    """A search that fails says nothing of the files, which are still asked for patiently."""
    cached.faults.add(Fault(kind="status", status=500, path=r"/api/models\?"))
    with pytest.raises(HubError, match="status 500"):
        call(lambda: list(api().list_models(author="acme")), name="acme", optional=True)
    assert not is_away()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("answer", ["success", "refusal"])
def test_an_answer_ends_the_outage(cached: HubServer, answer: str) -> None:
    """Once the Hub has answered, be it that there is no such thing, what passes is tried again as ever."""
    away = cached.faults.add(Fault(kind="drop", times=None))
    open_all()
    assert is_away()
    cached.faults.clear()
    if answer == "success":
        open_repository(NAMES[0])
    else:
        with pytest.raises(Exception, match="acme/none"):
            open_repository("acme/none")
    assert not is_away()
    away = cached.faults.add(Fault(kind="drop"))
    assert open_repository(NAMES[1]).private is False
    assert away.struck == 1


@pytest.mark.usefixtures("impatient")
def test_what_is_in_the_cache_is_no_answer(cached: HubServer) -> None:
    """A file that needs no request does not make anybody believe that the Hub is back."""
    cached.faults.add(Fault(kind="drop", times=None))
    repository = open_repository(NAMES[0])
    repository.fetch(["README.md"])
    assert is_away()


def test_the_client_does_not_try_by_itself_during_an_outage(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was not fetched before costs a request, and not the client's own attempts for half a minute."""
    monkeypatch.setenv("MODXFER_HUB_TIMEOUT", "30")
    hub.add_repo(NAMES[0], {"README.md": b"A card."})
    repository = open_repository(NAMES[0])
    remember_outage()
    away = hub.faults.add(Fault(kind="status", status=503, path="/resolve/", times=None))
    with pytest.raises(HubError, match="`acme/one`"):
        repository.fetch(["README.md"])
    assert away.struck <= 2  # once, and once more by the client, which looks into its cache in between


@pytest.mark.usefixtures("impatient")
def test_changes_are_sent_patiently_during_an_outage(cached: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes something is tried again although the Hub was away a moment ago."""
    monkeypatch.setenv("HF_TOKEN", cached.add_user("acme"))
    remember_outage()
    struck = cached.faults.add(Fault(kind="drop", path="/repos/create"))
    call(lambda: api().create_repo("acme/new"), name="acme/new", writing=True)
    assert struck.struck == 1
    assert cached.head("acme/new")


def test_an_outage_is_forgotten_after_a_while() -> None:
    """A process that lives long asks as patiently as ever, and tells everything again, some time after the last failure."""
    remember_outage(now=time.monotonic() - MEMORY_SECONDS + 10)
    assert (is_away(), is_news("away")) == (True, True)
    remember_outage(now=time.monotonic() - MEMORY_SECONDS - 1)
    assert (is_away(), is_news("away")) == (False, True)
    forget_outage()


def test_news_is_told_once_in_an_outage() -> None:
    """The same words are news again only after the Hub has answered."""
    forget_outage()
    assert [is_news("away"), is_news("away"), is_news("far away")] == [True, False, True]
    forget_outage()
    assert is_news("away")
    forget_outage()
