"""What can fail at the Hub: each kind of failure has its words. Most is proved where it happens: see the files beside."""

import errno
import os
import traceback
from pathlib import Path

import pytest

from modxfer.errors import HubError, ModxferError, StoreError
from modxfer.registry.hub.calls import api, call
from modxfer.registry.hub.failures import causes, explain, is_about, is_transient
from modxfer.registry.hub.repositories import open_repository
from tests.hub.faults import Fault
from tests.hub.remote import Person
from tests.hub.server import HubServer

NAME = "acme/lora"
TOKEN = "hf_" + "sEcReT" * 5


def refuse(hub: HubServer, status: int, message: str = "Not today", **headers: str) -> None:
    """Let the Hub refuse everything."""
    hub.faults.add(Fault(kind="status", status=status, message=message, headers=headers, times=None))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("status", "said", "requests"),
    [
        (400, r"The Hub refused a request for `acme/lora` \(status 400: Not today\)\. Put right what it says", 1),
        (402, r"The Hub refused a request for `acme/lora` \(status 402: Not today\)\. Put right what it says", 1),
        (403, r"You may not read `acme/lora` \(status 403: Not today\)\. Log in with `hf auth login`", 1),
        (404, r"The Hub refused a request for `acme/lora` \(status 404: Not today\)\.", 1),
        (409, r"The Hub refused a request for `acme/lora` \(status 409: Not today\)\.", 1),
        (412, r"Somebody else committed to `acme/lora` meanwhile, and nothing was changed\. Look at", 1),
        (501, r"The Hub has a problem of its own .* `acme/lora` \(status 501: Not today\)\. Try again later", 1),
        (503, r"The Hub has a problem of its own .* `acme/lora` \(status 503: Not today\)\. Try again later", 2),
        (408, r"The Hub has a problem of its own .* `acme/lora` \(status 408: Not today\)\. Try again later", 2),
    ],
)
def test_each_status_has_its_words(hub: HubServer, status: int, said: str, requests: int) -> None:
    """What the Hub refuses is told with its status and words; it is asked again only where that may help."""
    refuse(hub, status)
    with pytest.raises(HubError, match=said):
        open_repository(NAME)
    assert min(len(hub.log), 2) == requests


@pytest.mark.parametrize(
    ("headers", "do"),
    [
        ({"Retry-After": "100", "RateLimit": ""}, "Try again in 100 seconds."),
        ({"RateLimit": '"api";r=0;t=290'}, "Try again in 5 minutes."),
        ({"RateLimit": "none"}, "Try again in some minutes; being logged in (`hf auth login`) raises the limit."),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_too_many_requests_says_when_to_come_back(hub: HubServer, headers: dict[str, str], do: str) -> None:
    """The Hub's own word on that is passed on, in whichever header it stands."""
    refuse(hub, 429, **headers)
    with pytest.raises(HubError, match=r"too many requests from you, the last for `acme/lora` \(status 429: Not today") as got:
        open_repository(NAME)
    assert got.value.do == do


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a\x1b[31mred\x07 alarm", "a [31mred alarm"),
        ("x" * 500, "x" * 199 + "…"),
        ("right\u202eleft\u2028 line", "right left line"),
        (f"your token {TOKEN} is bad", "your token *** is bad"),
        ("Bearer abc.def-1 was refused", "Bearer *** was refused"),
    ],
)
def test_the_hubs_words_are_made_harmless(hub: HubServer, message: str, shown: str) -> None:
    """What a server says is short, on one line, without what is not printable, and without tokens."""
    error = call_failing(hub, message)
    assert f"(status 400: {shown})" in error.what


def call_failing(hub: HubServer, message: str) -> ModxferError:
    """Give the error that a refusal with this message becomes."""
    from huggingface_hub.errors import HfHubHTTPError

    refuse(hub, 400, "Bad")
    with pytest.raises(HfHubHTTPError) as caught:
        api().model_info(NAME)
    caught.value.server_message = message
    return explain(caught.value, name=NAME)


@pytest.mark.parametrize("place", ["header", "body"])
def test_a_token_that_the_hub_repeats_is_nowhere_in_the_error(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Neither our error nor what it came from shows a token, even one that does not look like one."""
    odd = "correct-horse-battery"
    monkeypatch.setenv("HF_TOKEN", odd)
    hub.add_user("acme", token=odd)
    message = f"Authorization: Bearer {odd}" if place == "body" else "Bad"
    refuse(hub, 400, message, **({"X-Error-Message": f"I know {odd}"} if place == "header" else {}))
    with pytest.raises(HubError, match=r"status 400: .*\*\*\*") as caught:
        open_repository(NAME)
    assert odd not in "".join(traceback.format_exception(caught.value))
    assert odd not in "".join(repr(cause) + str(cause.__dict__.get("server_message")) for cause in causes(caught.value))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9", r"could not be reached, or the connection was cut, for `acme/lora` \(Connect"),
        (
            "htp://127.0.0.1:9",
            r"The address of the Hub is none that can be asked for `acme/lora` \((Invalid|Unsup)",
        ),
    ],
)
def test_an_address_that_leads_nowhere(hub: HubServer, url: str, said: str) -> None:
    """A Hub that is not there, and an address that none can have, are told apart."""
    from huggingface_hub import HfApi

    with pytest.raises(HubError, match=said):
        call(lambda: HfApi(endpoint=url).model_info(NAME), name=NAME, attempts=2)


def test_a_page_instead_of_an_answer(hub: HubServer, tmp_path: Path) -> None:
    """A login page of some network is no answer of the Hub, and is told as such."""
    hub.add_repo(NAME, {"README.md": b"<html>Please log in to this network.</html>"})
    with pytest.raises(HubError, match=r"What came for `acme/lora` is no answer of the Hub \(JSONDecodeError\)\. Check HF_END"):
        call(lambda: read_as_json(f"{hub.url}/{NAME}/resolve/main/README.md"), name=NAME, attempts=2)


def read_as_json(url: str) -> object:
    """Read something with the client."""
    import huggingface_hub

    return huggingface_hub.get_session().get(url).json()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_full_disk_is_told_and_not_tried_again(number: int) -> None:
    """Another attempt does not make room."""
    error = OSError(number, os.strerror(number), "/cache/blob")
    assert not is_transient(error)
    assert "The disk is full, so `acme/lora` at `v1` could not be fetched." in str(explain(error, name=NAME, revision="v1"))


def test_a_disk_that_is_full_while_downloading(hub: HubServer, tmp_path: Path) -> None:
    """A download that the machine has no room for is told, with where to make room, and works once there is some."""
    hub.add_repo(NAME, {"adapter_model.safetensors": bytes(range(256)) * 4000})
    person = Person(folder=tmp_path)
    fetch = (
        "from modxfer.errors import HubError; from modxfer.registry.hub.repositories import open_repository\n"
        "try: print(len(open_repository('acme/lora').fetch(['adapter_model.safetensors']).joinpath("
        "'adapter_model.safetensors').read_bytes()))\n"
        "except HubError as error: print(error)"
    )
    limit = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))\n"
    )
    printed = person.python(limit + fetch)
    assert printed.startswith("The disk is full, so `acme/lora` at `")
    assert "HF_HOME" in printed
    assert person.python(fetch) == f"{256 * 4000}\n"


def test_a_cache_that_cannot_be_written(hub: HubServer) -> None:
    """What the machine refuses is told with the file it is about."""
    error = PermissionError(errno.EACCES, "Permission denied", "/cache/blobs/x")
    said = "Cannot read or write `/cache/blobs/x`, which is needed for `acme/lora`: Permission denied. Check its permissions"
    assert said in str(explain(error, name=NAME))


@pytest.mark.parametrize(("writing", "said"), [(True, "Could not put anything into"), (False, "Could not get")])
def test_what_nobody_foresaw_is_passed_on(writing: bool, said: str) -> None:
    """An error of another kind keeps its words."""
    error = explain(ValueError("no\nsuch  thing."), name=NAME, writing=writing)
    assert str(error) == f"{said} `acme/lora`: no such thing. Put right what it says, and try again."


def test_our_own_errors_stay_as_they_are() -> None:
    """An error that says what to do already is not wrapped."""
    ours = StoreError("`x` is damaged.", do="Remove it.")
    assert explain(ours, name=NAME) is ours


def test_a_certificate_that_is_not_trusted() -> None:
    """Asking again does not make a certificate better."""
    import ssl

    error = ConnectionError("handshake")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    assert not is_transient(error)
    assert "The certificate of the Hub is not trusted here, so it was not asked for `acme/lora`." in str(
        explain(error, name=NAME)
    )


def test_offline_is_no_failure_of_the_hub(hub: HubServer, tmp_path: Path) -> None:
    """What is not in the cache is told as such when the user does not want the Hub to be asked; nobody asks it."""
    hub.add_repo(NAME, {"README.md": b"A card."})
    printed = Person(folder=tmp_path).python(
        "import os; os.environ['HF_HUB_OFFLINE'] = '1'\n"
        "from modxfer.errors import HubError; from modxfer.registry.hub.repositories import open_repository\n"
        "try: open_repository('acme/lora')\n"
        "except HubError as error: print(error)"
    )
    assert printed == (
        "`acme/lora` is not in the cache, and the Hub is not to be asked. Leave `--offline` out, and unset HF_HUB_OFFLINE.\n"
    )
    assert hub.log == []


def test_is_about_knows_the_request(hub: HubServer) -> None:
    """An error is about the path that was asked for; one without a request may be about any."""
    with pytest.raises(Exception, match="Repository Not Found") as caught:
        api().model_info(NAME)
    assert is_about(caught.value, f"/api/models/{NAME}")
    assert not is_about(caught.value, "/commit/")
    assert is_about(ValueError("anything"), "/commit/")


def test_causes_ends() -> None:
    """A chain that bites its own tail is walked once."""
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert list(causes(first)) == [first, second]
