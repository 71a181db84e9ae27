"""Commits to a Hub, over HTTP, by the genuine client: whole or not at all, on top of what was there."""

import logging
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modxfer.errors import HubError, UsageError
from modxfer.registry.hub.calls import api, call
from modxfer.registry.hub.commits import Commit, Content, Destination, check_login, commit, plan_commit
from modxfer.registry.hub.failures import BranchMoved
from tests.hub.faults import Fault
from tests.hub.server import HubServer
from tests.hub.silence import Silence

NAME = "acme/moved"
OWNED = ("adapter_model.bin", "adapter_model.safetensors")
STEPS: dict[str, dict[str, Any]] = {
    "create": {"method": "POST", "path": "/api/repos/create"},
    "card": {"method": "POST", "path": "/api/validate-yaml"},
    "preupload": {"method": "POST", "path": "/preupload/"},
    "batch": {"method": "POST", "path": "/info/lfs/objects/batch"},
    "object": {"method": "PUT", "host": "storage"},
    "verify": {"method": "POST", "path": "/objects/verify"},
    "commit": {"method": "POST", "path": "/commit/"},
}
FAULTS: dict[str, dict[str, Any]] = {
    "drop": {"kind": "drop"},
    "drop-after": {"kind": "drop-after"},
    "cut-upload": {"kind": "cut-upload", "num_bytes": 60},
    "429": {"kind": "status", "status": 429, "retry_after": 0},
    "500": {"kind": "status", "status": 500},
}


def files(text: str = "one") -> Mapping[str, Content]:
    """Make a regular file and one that goes into LFS."""
    return {"README.md": f"---\nlicense: mit\n---\n{text}".encode(), "adapter_model.safetensors": text.encode() * 100}


def send(text: str = "one", **options: object) -> Commit:
    """Commit these files."""
    return commit(files(text), Destination(name=NAME, message="Add it", **options), owned=OWNED)  # type: ignore[arg-type]


def test_commit_makes_a_repository_with_all_files_in_one_commit(acme: HubServer, tmp_path: Path) -> None:
    """What arrives is what was sent, bytes in memory and files alike, in a single commit."""
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(256)) * 9)
    sent: dict[str, Content] = dict(files()) | {"adapter_model.bin": path}
    done = commit(sent, Destination(name=NAME, message="Add it"), owned=OWNED)
    assert (done.is_new, done.commit) == (True, acme.head(NAME))
    there = acme.files(NAME)
    assert {name: there[name] for name in files()} == files()
    assert there["adapter_model.bin"] == path.read_bytes()
    assert [made.title for made in acme.commits(NAME)][:1] == ["Add it"]
    assert done.url is not None
    assert done.url.endswith(f"/{NAME}/commit/{done.commit}")


def test_the_same_content_makes_no_commit(acme: HubServer) -> None:
    """Pushing again changes nothing on the Hub, not even its history."""
    first = send()
    again = send()
    assert (again.commit, again.is_needed) == (first.commit, False)
    assert acme.head(NAME) == first.commit


def test_a_change_sends_only_what_changed(acme: HubServer) -> None:
    """The other files stay, and stale weights of another name are removed in the same commit."""
    there: dict[str, Any] = {**files(), "adapter_model.bin": b"stale", "notes.txt": b"mine"}
    acme.add_repo(NAME, there)
    acme.clear_log()
    done = send("two")
    assert {change.path: change.kind for change in done.changes} == {
        "README.md": "changed",
        "adapter_model.safetensors": "changed",
        "adapter_model.bin": "removed",
    }
    assert set(acme.files(NAME)) == {"notes.txt", *files()}
    assert len(acme.commits(NAME)) == 3


def test_a_plan_changes_nothing(acme: HubServer) -> None:
    """A plan says what would be done, and the repository is not even made."""
    planned = plan_commit(files(), Destination(name=NAME, message="Add it"), owned=OWNED)
    assert (planned.is_new, planned.commit, planned.is_needed) == (True, None, True)
    assert (("model", NAME) in acme.repos) is False
    assert {request.method for request in acme.log} == {"GET"}


def test_a_branch_that_moves_meanwhile_is_not_overwritten(acme: HubServer) -> None:
    """A commit that lands between the look and the push wins, and the other side is told."""
    acme.add_repo(NAME, {"README.md": b"theirs"})

    def overtake() -> None:
        acme.commit(NAME, {"README.md": b"newer"})

    acme.faults.add(
        Fault(
            kind="hook",
            method="POST",
            path="/commit/",
            on_request=lambda request: overtake(),
            times=1,
        )
    )
    with pytest.raises(BranchMoved, match=f"Somebody else committed to `{NAME}` meanwhile, and nothing was changed"):
        send()
    assert acme.files(NAME)["README.md"] == b"newer"
    assert "adapter_model.safetensors" not in acme.files(NAME)


def test_an_expected_parent_is_checked_before_anything_is_sent(acme: HubServer) -> None:
    """A branch that moved since the user looked is refused without an upload."""
    old = acme.add_repo(NAME, {"README.md": b"old"})
    new = acme.commit(NAME, {"README.md": b"new"})
    with pytest.raises(BranchMoved, match=f"`{NAME}` is at commit {new[:12]}, and not at {old[:12]}"):
        send(parent_commit=old)
    assert {request.method for request in acme.log} == {"GET"}
    assert send(parent_commit=new).commit == acme.head(NAME)


def test_of_two_pushes_at_once_one_wins_and_the_other_is_told(acme: HubServer) -> None:
    """Two processes that push different content to one branch never mix it."""
    acme.add_repo(NAME, {"README.md": b"old"})
    meeting = threading.Barrier(2, timeout=20)

    def meet() -> None:
        meeting.wait()

    acme.faults.add(Fault(kind="hook", method="POST", path="/preupload/", on_request=lambda request: meet(), times=2))
    results: dict[str, object] = {}

    def push(text: str) -> None:
        try:
            results[text] = send(text)
        except HubError as error:
            results[text] = error

    threads = [threading.Thread(target=push, args=(text,)) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [text for text, result in results.items() if isinstance(result, Commit)]
    lost = [result for result in results.values() if isinstance(result, BranchMoved)]
    assert (len(won), len(lost)) == (1, 1)
    there = acme.files(NAME)
    assert {name: there[name] for name in files()} == files(won[0])


def test_a_commit_whose_answer_is_lost_is_not_made_twice(acme: HubServer) -> None:
    """When the connection is cut after the commit landed, the branch is looked at, and nothing is sent again."""
    acme.add_repo(NAME)
    acme.faults.add(Fault(method="POST", path="/commit/", kind="drop-after", times=1))
    done = send()
    assert done.commit == acme.head(NAME)
    assert len(acme.commits(NAME)) == 2
    assert len(acme.requests("POST", "/commit/")) == 1


def test_a_pull_request_leaves_the_branch_alone(acme: HubServer) -> None:
    """With a pull request the branch stays where it is."""
    head = acme.add_repo(NAME, {"README.md": b"old"})
    done = send(create_pr=True)
    assert acme.head(NAME) == head
    assert done.url is not None
    assert done.url.endswith(f"/{NAME}/discussions/1")


def test_a_new_branch_is_made(acme: HubServer) -> None:
    """A branch that is not there begins where the main one is."""
    head = acme.add_repo(NAME, {"README.md": b"old"})
    done = send(branch="v2")
    assert acme.head(NAME) == head
    assert (done.branch, done.commit) == ("v2", acme.head(NAME, "v2"))


def fault(what: str, step: str, silence: Silence, *, times: int | None = 1) -> Fault:
    """Make a fault of this kind at this step."""
    where = STEPS[step]
    return silence.fault(**where, times=times) if what == "silence" else Fault(**FAULTS[what], **where, times=times)


def steps_of(*kinds: str, at: tuple[str, ...] = tuple(STEPS)) -> list[tuple[str, str]]:
    """List faults, each at each of these steps."""
    return [(what, step) for what in kinds for step in at]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("what", "step"),
    [
        *steps_of("drop-after"),
        *steps_of("500", at=("create", "card", "object", "commit")),
        *steps_of("drop", "429", at=("preupload", "commit")),
        *steps_of("cut-upload", at=("object", "commit")),
        ("silence", "commit"),
        pytest.param("silence", "object", marks=pytest.mark.slow),
    ],
)
def test_what_goes_wrong_once_makes_one_commit(acme: HubServer, silence: Silence, what: str, step: str) -> None:
    """Wherever a push is disturbed, in the end there is exactly one commit, with all files."""
    struck = acme.faults.add(fault(what, step, silence))
    done = send()
    assert struck.struck == 1
    silence.end()  # what was kept waiting is carried out late
    assert acme.files(NAME) == files()
    assert [made.title for made in acme.commits(NAME)] == ["Add it", "initial commit"]
    assert done.commit == acme.head(NAME)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("what", "step", "said"),
    [
        *(("500", step, rf"`{NAME}` \(status 500: Internal Error") for step in ("preupload", "object", "commit")),
        ("drop", "commit", f"The Hub could not be reached, or the connection was cut, for `{NAME}`"),
        pytest.param("cut-upload", "object", f"the connection was cut, for `{NAME}`", marks=pytest.mark.slow),
        pytest.param("silence", "preupload", f"The Hub did not answer in time for `{NAME}`", marks=pytest.mark.slow),
    ],
)
def test_what_stays_wrong_leaves_the_branch_alone(acme: HubServer, silence: Silence, what: str, step: str, said: str) -> None:
    """A push that cannot be finished changes nothing that anybody sees."""
    head = acme.add_repo(NAME, {"README.md": b"old", "adapter_model.safetensors": b"old weights"})
    acme.faults.add(fault(what, step, silence, times=None))
    with pytest.raises(HubError, match=said):
        send()
    assert acme.head(NAME) == head
    acme.faults.clear()
    assert send().commit == acme.head(NAME)
    assert acme.files(NAME) == files()


@pytest.mark.parametrize("what", ["500", "drop"])
def test_the_clients_own_attempts_end(acme: HubServer, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The client, which sends an object six times by itself with pauses up to eight seconds, is stopped."""
    monkeypatch.setenv("MODXFER_HUB_TIMEOUT", "0.6")
    struck = acme.faults.add(Fault(**FAULTS[what], **STEPS["object"], times=None))
    with pytest.raises(HubError, match=f"`{NAME}`"):
        send()
    assert 1 < struck.struck < 10  # without an end there are 30


@pytest.mark.usefixtures("impatient")
def test_a_repository_that_cannot_be_made(acme: HubServer) -> None:
    """When not even the repository can be made, there is none."""
    acme.faults.add(Fault(**FAULTS["500"], **STEPS["create"], times=None))
    with pytest.raises(HubError, match=rf"`{NAME}` \(status 500: Internal Error"):
        send()
    assert ("model", NAME) not in acme.repos


@pytest.mark.usefixtures("impatient")
def test_a_commit_whose_answer_is_always_lost_is_found(acme: HubServer) -> None:
    """However often the answer is lost, the commit is found and made once."""
    acme.add_repo(NAME)
    acme.faults.add(Fault(**FAULTS["drop-after"], **STEPS["commit"], times=None))
    assert send().commit == acme.head(NAME)
    assert len(acme.commits(NAME)) == 2


def test_a_commit_that_cannot_be_looked_at_is_made_all_the_same(
    acme: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A Hub that goes away right after the commit is no failure of the push; it is said, with the commit's address."""
    monkeypatch.setenv("MODXFER_HUB_TIMEOUT", "0.5")
    acme.add_repo(NAME)
    acme.faults.add(Fault(kind="status", status=503, path=r"/revision/[0-9a-f]{40}", times=None))
    with caplog.at_level(logging.WARNING, logger="modxfer"):
        done = send()
    assert done.commit == acme.head(NAME)
    assert f"The commit was made ({done.url}), and could not be looked at afterwards:" in caplog.text


@pytest.mark.usefixtures("patient")
def test_a_pull_request_whose_answer_is_lost_is_not_opened_twice(acme: HubServer) -> None:
    """Nobody can tell whether it was opened, so the user is asked to look, and nothing is sent again."""
    acme.add_repo(NAME, {"README.md": b"old"})
    struck = acme.faults.add(Fault(**FAULTS["drop-after"], **STEPS["commit"], times=None))
    with pytest.raises(
        HubError,
        match=f"not known whether the pull request to `{NAME}` was opened: the Hub could not be reached.*"
        f"Look at http://127.*/{NAME}/discussions, and push again if it is not there",
    ):
        send(create_pr=True)
    assert struck.struck == 1
    assert len(acme.repository(NAME).discussions) == 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("step", ["preupload", "object"])
def test_a_pull_request_that_was_not_sent_yet_is_tried_again(acme: HubServer, step: str) -> None:
    """What goes wrong before the last request is tried again for a pull request too."""
    acme.add_repo(NAME, {"README.md": b"old"})
    acme.faults.add(Fault(**FAULTS["500"], **STEPS[step]))
    assert str(send(create_pr=True).url).endswith(f"/{NAME}/discussions/1")
    assert len(acme.repository(NAME).discussions) == 1


@pytest.mark.parametrize(
    ("user", "role", "said"),
    [
        ("you", "write", rf"You may not write to `{NAME}` \(status 403: .*`hf auth login`, with a token that may write"),
        ("acme", "read", rf"You may not write to `{NAME}` \(status 403: .*`hf auth login`, with a token that may write"),
    ],
)
@pytest.mark.parametrize("is_new", [True, False])
def test_who_may_not_write_is_told_once(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, user: str, role: Any, said: str, is_new: bool
) -> None:
    """Another user and a token that only reads are refused, with what to do, and nothing is sent again."""
    if not is_new:
        hub.add_repo(NAME, {"README.md": b"old"})
    monkeypatch.setenv("HF_TOKEN", hub.add_user(user, role=role))
    with pytest.raises(HubError, match=said):
        send()
    assert [request.status for request in hub.log].count(403) == 1


@pytest.mark.parametrize("is_new", [True, False])
def test_who_is_not_logged_in_is_told(hub: HubServer, is_new: bool) -> None:
    """Without a token nothing is put anywhere."""
    if not is_new:
        hub.add_repo(NAME, {"README.md": b"old"})
    with pytest.raises(HubError, match=rf"You are not logged in.* into `{NAME}`.*Log in with `hf auth login`\."):
        send()
    with pytest.raises(HubError, match=rf"You are not logged in.* into `{NAME}`\. Log in with `hf auth login`\."):
        check_login(NAME)


def test_a_revoked_token_is_told(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is not valid any more is told as such, by both ways of finding out."""
    token = hub.add_user("acme")
    monkeypatch.setenv("HF_TOKEN", token)
    assert check_login(NAME) == "acme"
    hub.revoke(token)
    for action in (send, lambda: check_login(NAME)):
        hub.clear_log()
        with pytest.raises(HubError, match=rf"does not accept your token \(status 401.*`{NAME}`.*`hf auth login`"):
            action()
        assert len(hub.log) == 1


def test_a_renamed_repository_is_written_under_its_new_name(acme: HubServer) -> None:
    """The old name leads to the new one, and that is what is recorded."""
    acme.add_repo(NAME, {"README.md": b"old"})
    call(lambda: api().move_repo(NAME, "acme/newer"), name=NAME, writing=True)
    done = send()
    assert (done.repository, done.commit) == ("acme/newer", acme.head("acme/newer"))
    assert acme.files("acme/newer") == files()


def test_a_card_that_the_hub_refuses(acme: HubServer) -> None:
    """What the Hub says of a card is told, nothing is tried again, and nothing is made."""
    head = acme.add_repo(NAME, {"README.md": b"old"})
    bad = {"README.md": b"---\nlicense: 7\n---\n"}
    with pytest.raises(HubError, match=rf"`{NAME}`.*license"):
        commit(bad, Destination(name=NAME, message="Add it"), owned=OWNED)
    assert acme.head(NAME) == head
    assert len(acme.requests("POST", "/validate-yaml")) == 1


@pytest.mark.parametrize(
    "branch",
    [
        "", " ", "bad name", "a..b", "a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b", "a\tb", "a\x7f", "-a", "/a", "a/", "a.lock",
        "a.lock/b", "a.", ".a", "a/.b", "a//b", "a@{1", "@",
    ],
)  # fmt: skip
def test_what_no_branch_is_called(acme: HubServer, branch: str) -> None:
    """A name that git does not take is refused with that name before anything is sent; the Hub would refuse it too."""
    with pytest.raises(UsageError, match=re.escape(f"`{branch}` is no name that a branch can have.")):
        send(branch=branch)
    assert acme.log == []
    if branch.strip("/"):
        acme.add_repo(NAME)
        with pytest.raises(HubError, match=r"status 40[045]"):
            call(lambda: api().create_branch(NAME, branch=branch), name=NAME, writing=True)
        assert list(acme.repository(NAME).refs) == ["refs/heads/main"]


@pytest.mark.parametrize("branch", ["v2", "a/b.c", "lock", "a.lock.b", "refs/pr/1", "1-a_b+c@d"])
def test_what_a_branch_may_be_called(branch: str) -> None:
    """Unusual names that git takes are taken."""
    assert Destination(name=NAME, message="Add it", branch=branch).branch == branch


@pytest.mark.parametrize("name", ["x", "x/", "/x"])
def test_a_name_without_an_owner_is_refused(acme: HubServer, name: str) -> None:
    """The Hub would put it into the user's namespace, where nobody looks for it."""
    with pytest.raises(UsageError, match=rf"`{name}` has no owner\. Give `user/name`\."):
        Destination(name=name, message="Add it")
    assert acme.log == []
