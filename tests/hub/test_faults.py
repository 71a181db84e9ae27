"""Each fault does what its name says, over the connection that a client really has."""

import contextlib
import http.client
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.hub.clients import status_of
from tests.hub.faults import Fault
from tests.hub.protocol import Request
from tests.hub.server import HubServer

INFO = "/api/models/ann/m"


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    """Give the client of user ann, who has a repository."""
    hub.add_repo("ann/m", {"a.txt": b"0123456789", "w.bin": b"weights"})
    return HfApi(token=hub.add_user("ann"))


def ask(
    hub: HubServer, path: str = INFO, *, method: str = "GET", body: bytes | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send one request without any client's retries."""
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc, timeout=5)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def test_drop_closes_before_anything_is_done(hub: HubServer, api: HfApi) -> None:
    """The connection closes, the log has no status, and the next request goes through."""
    hub.faults.add(Fault(kind="drop", path=INFO))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(hub)
    assert ask(hub)[0].status == 200
    assert [request.status for request in hub.log] == [0, 200]


def test_drop_after_loses_only_the_answer(hub: HubServer, api: HfApi) -> None:
    """A commit lands although its client never hears of it."""
    before = hub.head("ann/m")
    hub.faults.add(Fault(kind="drop-after", path="/commit/"))
    with pytest.raises(Exception, match=r"(?i)disconnected|aborted"):
        api.create_commit("ann/m", [CommitOperationAdd("b.txt", b"b")], commit_message="Lost answer")
    assert hub.commits("ann/m")[0].parents == (before,)
    assert len(hub.requests("POST", "/commit/")) == 1  # neither client sends a commit again


def test_cut_upload_ends_in_the_middle(hub: HubServer, api: HfApi) -> None:
    """The connection closes after some bytes of the body came in; the client sends the object again."""
    content = bytes(3_000_000)
    hub.faults.add(Fault(kind="cut-upload", method="PUT", host="storage", num_bytes=1000))
    api.create_commit("ann/m", [CommitOperationAdd("big.bin", content)], commit_message="Big")
    assert [(request.received, request.status) for request in hub.requests("PUT")] == [(1000, 0), (3_000_000, 200)]
    assert hub.files("ann/m")["big.bin"] == content


def test_delay_answers_late(hub: HubServer, api: HfApi) -> None:
    """The answer comes after so many seconds."""
    hub.faults.add(Fault(kind="delay", path=INFO, seconds=0.2))
    start = time.monotonic()
    assert ask(hub)[0].status == 200
    assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize("status", [401, 403, 500, 502, 503, 504])
def test_status_is_answered_and_nothing_done(hub: HubServer, api: HfApi, status: int) -> None:
    """Any status with a message, in the body and the header, as the Hub words its errors."""
    head = hub.head("ann/m")
    hub.faults.add(Fault(kind="status", path="/commit/", status=status, message="Some message"))
    with pytest.raises(HfHubHTTPError, match="Some message") as failure:
        api.create_commit("ann/m", [CommitOperationAdd("b.txt", b"b")], commit_message="x")
    assert status_of(failure) == status
    assert hub.head("ann/m") == head


def test_too_many_requests_says_when_to_come_back(hub: HubServer, api: HfApi) -> None:
    """A 429 has Retry-After and the rate limit that 2.x reads."""
    hub.faults.add(Fault(kind="status", path=INFO, status=429, retry_after=7))
    answer, _ = ask(hub)
    assert (answer.status, answer.headers["Retry-After"], answer.headers["RateLimit"]) == (429, "7", '"api";r=0;t=7')


def test_client_sends_objects_again_after_503(hub: HubServer, api: HfApi) -> None:
    """Both clients retry the storage by themselves."""
    fault = hub.faults.add(Fault(kind="status", method="PUT", host="storage", status=503))
    api.upload_file(path_or_fileobj=b"x" * 99, path_in_repo="x.bin", repo_id="ann/m")
    assert (fault.struck, hub.files("ann/m")["x.bin"]) == (1, b"x" * 99)


def test_truncate_sends_less_than_it_says(hub: HubServer, api: HfApi) -> None:
    """The length is that of the whole, the bytes end before."""
    hub.faults.add(Fault(kind="truncate", path="a.txt", num_bytes=4))
    with pytest.raises(http.client.IncompleteRead) as failure:
        ask(hub, "/ann/m/resolve/main/a.txt")
    assert (failure.value.partial, failure.value.expected) == (b"0123", 6)


def test_interrupted_download_goes_on_where_it_ended(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    """Of a file that was cut, the blocks of 10 MiB that the client has kept are not sent again."""
    content = bytes(range(251)) * 60_000
    hub.add_repo("ann/big", {"w.bin": content})
    hub.faults.add(Fault(kind="truncate", host="storage", num_bytes=12_000_000))
    with contextlib.suppress(OSError):  # 0.36 gives up at the cut and goes on when it is called again; 2.x does so itself
        api.hf_hub_download("ann/big", "w.bin", cache_dir=tmp_path)
    found = api.hf_hub_download("ann/big", "w.bin", cache_dir=tmp_path)
    assert Path(found).read_bytes() == content
    sent = [(request.range, request.sent) for request in hub.requests("GET", host="storage")]
    assert sent == [(None, 12_000_000), ("bytes=10485760-", len(content) - 10_485_760)]


def test_corrupt_has_the_right_length(hub: HubServer, api: HfApi) -> None:
    """The bytes are wrong and nothing else is."""
    hub.faults.add(Fault(kind="corrupt", path="a.txt"))
    answer, body = ask(hub, "/ann/m/resolve/main/a.txt")
    assert (answer.status, len(body), body == b"0123456789") == (200, 10, False)


def test_hook_lets_another_commit_land_first(hub: HubServer, api: HfApi) -> None:
    """A hook runs before the request is carried out: here it wins the race."""
    head = hub.head("ann/m")

    def be_first(_: Request) -> None:
        hub.commit("ann/m", {"a.txt": b"other"})

    hub.faults.add(Fault(kind="hook", path="/commit/main", on_request=be_first))
    with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
        api.create_commit("ann/m", [CommitOperationAdd("b.txt", b"b")], commit_message="x", parent_commit=head)
    assert hub.files("ann/m")["a.txt"] == b"other"


def test_times_skip_and_host_choose_the_requests(hub: HubServer, api: HfApi) -> None:
    """A fault strikes after those it skips and as often as it says; None is always."""
    fault = hub.faults.add(Fault(kind="status", method="GET", path=r"models/ann/m\?blobs", host="hub", skip=1, times=2))
    always = hub.faults.add(Fault(kind="status", path="whoami", status=503, times=None))
    assert [ask(hub, f"{INFO}?blobs=true")[0].status for _ in range(4)] == [200, 500, 500, 200]
    assert ask(hub)[0].status == 200
    assert [ask(hub, "/api/whoami-v2")[0].status for _ in range(3)] == [503] * 3
    assert (fault.struck, always.struck) == (2, 3)
    hub.faults.clear()
    assert ask(hub, "/api/whoami-v2")[0].status == 401
