"""Uploads by the genuine client: LFS, commits, pull requests, cards, and what libraries push and load."""

import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    ModelHubMixin,
)
from huggingface_hub.errors import BadRequestError, EntryNotFoundError, HfHubHTTPError, RevisionNotFoundError

from tests.hub.clients import status_of
from tests.hub.faults import Fault
from tests.hub.protocol import Request
from tests.hub.server import HubServer

LARGE = bytes(range(256)) * 40


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    """Give the client of user ann, who has a repository."""
    client = HfApi(token=hub.add_user("ann"))
    hub.add_repo("ann/m", {"old.txt": b"old", "folder/a.txt": b"a", "folder/b.bin": LARGE})
    hub.clear_log()
    return client


def add(path: str, content: bytes) -> CommitOperationAdd:
    """Make the operation that adds a file."""
    return CommitOperationAdd(path, content)


def send_commit(hub: HubServer, *lines: dict, token: str, summary: str = "Commit") -> dict:
    """Send a commit without the client."""
    body = [{"key": "header", "value": {"summary": summary, "description": ""}}, *lines]
    request = urllib.request.Request(
        f"{hub.url}/api/models/ann/m/commit/main", "\n".join(map(json.dumps, body)).encode(), method="POST",
        headers={"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {token}"},
    )  # fmt: skip
    with urllib.request.urlopen(request) as answer:
        found: dict = json.load(answer)
    return found


def test_create_commit_does_all_operations_at_once(hub: HubServer, api: HfApi) -> None:
    """One commit adds, changes, copies and removes files and folders, regular and by LFS."""
    before = hub.head("ann/m")
    made = api.create_commit(
        "ann/m",
        [
            add("new.safetensors", LARGE), add("old.txt", b"new"), add("empty.bin", b""),
            CommitOperationCopy("folder/b.bin", "copy.bin"), CommitOperationCopy("folder/a.txt", "copy.txt"),
            CommitOperationDelete("folder/"),
        ],
        commit_message="All at once", commit_description="Why",
    )  # fmt: skip
    commit = hub.commits("ann/m")[0]
    assert (commit.oid, commit.title, commit.message, commit.author) == (made.oid, "All at once", "Why", "ann")
    assert (commit.parents, made.commit_url) == ((before,), f"{hub.url}/ann/m/commit/{made.oid}")
    expected = {"new.safetensors": LARGE, "old.txt": b"new", "empty.bin": b"", "copy.bin": LARGE, "copy.txt": b"a"}
    assert hub.files("ann/m") == expected
    assert {path for path, entry in commit.files.items() if entry.sha256} == {"new.safetensors", "copy.bin"}


def test_preupload_knows_what_goes_by_lfs(hub: HubServer, api: HfApi) -> None:
    """The name or the size decides, by the repository's own `.gitattributes`; ignored files are left out."""
    api.create_commit(
        "ann/m", [add(".gitattributes", b"*.big filter=lfs\n"), add(".gitignore", b"*.tmp\nout/\n")], commit_message="x"
    )
    operations = [
        add("a.big", b"1"),
        add("a.safetensors", b"2"),
        add("a.txt", bytes(10_000_001)),
        add("a.tmp", b""),
        add("out/a", b""),
    ]
    api.create_commit("ann/m", operations, commit_message="y")
    entries = hub.commits("ann/m")[0].files
    assert {path: entry.sha256 is not None for path, entry in entries.items() if path.startswith("a.")} == {
        "a.big": True, "a.safetensors": False, "a.txt": True,
    }  # fmt: skip
    assert "out/a" not in entries


def test_object_that_is_there_is_not_sent_again(hub: HubServer, api: HfApi) -> None:
    """The LFS batch asks for nothing that the repository has; and what has not changed makes no commit."""
    api.create_commit("ann/m", [add("again.bin", LARGE)], commit_message="Same object")
    assert hub.requests("PUT", host="storage") == []
    head = hub.head("ann/m")
    again = api.create_commit("ann/m", [add("again.bin", LARGE), add("old.txt", b"old")], commit_message="Nothing")
    assert (again.oid, hub.head("ann/m")) == (head, head)


def test_multipart_upload_is_put_together(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    """An object above the limit goes up in parts, which the storage joins."""
    hub.multipart_bytes, hub.part_bytes = 5_000, 4_000
    content = LARGE + b"tail"
    (tmp_path / "file").write_bytes(content)
    api.upload_file(path_or_fileobj=tmp_path / "file", path_in_repo="parts.bin", repo_id="ann/m")
    assert [len(request.body) for request in hub.requests("PUT", host="storage")] == [4000, 4000, 2244]
    assert hub.files("ann/m")["parts.bin"] == content


def test_parent_commit_must_be_the_head(hub: HubServer, api: HfApi) -> None:
    """A commit on what is no longer the head is refused with 412 and changes nothing; a short id of the head will do."""
    old = hub.head("ann/m")
    new = hub.commit("ann/m", {"other.txt": b"x"})
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as failure:
        api.create_commit("ann/m", [add("a.txt", b"a")], commit_message="x", parent_commit=old)
    assert status_of(failure) == 412
    assert hub.head("ann/m") == new
    api.create_commit("ann/m", [add("a.txt", b"a")], commit_message="x", parent_commit=new[:7])
    assert hub.commits("ann/m")[0].parents == (new,)


def test_concurrent_commits_on_one_head_have_one_winner(hub: HubServer, api: HfApi) -> None:
    """Of several commits on the same head one lands; the others are told so."""
    head = hub.head("ann/m")
    told: list[int] = []

    def push(number: int) -> None:
        client = HfApi(token=api.token)
        try:
            client.create_commit("ann/m", [add(f"{number}.bin", bytes([number]) * 9)], commit_message="x", parent_commit=head)
        except HfHubHTTPError as error:
            told.append(getattr(error.response, "status_code", 0))

    threads = [threading.Thread(target=push, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [412] * 5
    assert hub.commits("ann/m")[1].oid == head


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        (
            {"key": "lfsFile", "value": {"path": "x.bin", "algo": "sha256", "oid": "0" * 64, "size": 3}},
            400,
            "does not exist: x.bin",
        ),
        ({"key": "deletedFile", "value": {"path": "none.txt"}}, 404, "A file with this name doesn't exist: none.txt"),
        ({"key": "deletedFolder", "value": {"path": "none"}}, 404, "A folder with this name doesn't exist: none"),
        ({"key": "file", "value": {"path": "../x", "content": "", "encoding": "base64"}}, 400, 'Invalid path: "../x"'),
        ({"key": "file", "value": {"path": "x", "content": "*", "encoding": "base64"}}, 400, "Invalid base64 content of x"),
        (
            {"key": "file", "value": {"path": "README.md", "content": "---\nlicense: no\n---\n"}},
            400,
            '"license" must be one of',
        ),
        ({"key": "fly", "value": {"path": "x"}}, 400, 'got "fly"'),
    ],
)
def test_commit_with_a_wrong_operation_changes_nothing(hub: HubServer, api: HfApi, line, status, message) -> None:
    """A commit lands whole or not at all: one operation that cannot be done refuses those before it too."""
    head, good = hub.head("ann/m"), {"key": "file", "value": {"path": "good.txt", "content": "x"}}
    with pytest.raises(urllib.error.HTTPError, match=str(status)) as failure:
        send_commit(hub, good, line, token=str(api.token))
    assert message in json.load(failure.value)["error"]
    assert hub.head("ann/m") == head


def test_copy_file_line_copies_on_the_server(hub: HubServer, api: HfApi) -> None:
    """A `copyFile` line copies a file of the repository without its content."""
    line = {"key": "copyFile", "value": {"path": "x.bin", "srcPath": "folder/b.bin"}}
    assert send_commit(hub, line, token=str(api.token))["commitOid"] == hub.head("ann/m")
    assert hub.files("ann/m")["x.bin"] == LARGE


def test_storage_refuses_wrong_content(hub: HubServer, api: HfApi) -> None:
    """An object whose bytes are not those of its name is not kept, so no commit can point to it."""

    def spoil(request: Request) -> None:
        request.body = b"wrong" + request.body[5:]

    hub.faults.add(Fault(kind="hook", method="PUT", host="storage", on_request=spoil))
    head = hub.head("ann/m")
    with pytest.raises((RuntimeError, HfHubHTTPError), match=r"x\.bin|XAmzContentSHA256Mismatch"):
        api.create_commit("ann/m", [add("x.bin", b"right content")], commit_message="x")
    assert hub.head("ann/m") == head


def test_wrong_card_is_refused_by_the_client_before_the_commit(hub: HubServer, api: HfApi) -> None:
    """The client asks the Hub about the card first and says what is wrong in it."""
    with pytest.raises(ValueError, match=r'"base_model" with value "\./x" is not valid'):
        api.create_commit("ann/m", [add("README.md", b"---\nlicense: mit\nbase_model: ./x\n---\n")], commit_message="x")
    assert hub.requests("POST", "/commit/") == []


def test_missing_branch_and_missing_file(hub: HubServer, api: HfApi) -> None:
    """A commit goes to branches only, never to a tag; removing what is not there is an error."""
    api.create_tag("ann/m", tag="v1")
    for revision in ("none", "v1"):
        with pytest.raises(RevisionNotFoundError, match=f"Invalid rev id: {revision}"):
            api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="ann/m", revision=revision)
    with pytest.raises(EntryNotFoundError, match="A file with this name doesn't exist"):
        api.delete_file("none.txt", "ann/m")


def test_commit_needs_the_right_to_write(hub: HubServer, api: HfApi) -> None:
    """Readers, read tokens and the anonymous may not commit; the Hub points to pull requests."""
    head = hub.head("ann/m")
    asked = (
        (hub.add_user("bob"), 403, "pass `create_pr=1` as a query parameter to create a Pull Request"),
        (hub.add_user("ann", role="read"), 403, "You have read access but not the required permissions"),
        (False, 401, "Invalid username or password"),
    )
    for token, status, message in asked:
        with pytest.raises(HfHubHTTPError, match=message) as failure:
            HfApi(token=token).upload_file(path_or_fileobj=LARGE, path_in_repo="x.bin", repo_id="ann/m")
        assert status_of(failure) == status
    assert hub.head("ann/m") == head


def test_pull_request_by_a_reader(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    """Who may only read opens a pull request, goes on with it, and the owner merges it."""
    head = hub.head("ann/m")
    bob = HfApi(token=hub.add_user("bob"))
    made = bob.create_commit("ann/m", [add("x.bin", LARGE[:99]), add("y.txt", b"y")], commit_message="Please", create_pr=True)
    assert (str(made.pr_num), made.pr_revision, hub.head("ann/m")) == ("1", "refs/pr/1", head)
    assert Path(bob.hf_hub_download("ann/m", "x.bin", revision="refs/pr/1", cache_dir=tmp_path)).read_bytes() == LARGE[:99]
    bob.upload_file(path_or_fileobj=b"z", path_in_repo="z.bin", repo_id="ann/m", revision="refs/pr/1")
    (listed,) = api.get_repo_discussions("ann/m")
    assert (listed.title, listed.author, listed.is_pull_request, listed.status) == ("Please", "bob", True, "open")
    assert [ref.ref for ref in api.list_repo_refs("ann/m", include_pull_requests=True).pull_requests or []] == ["refs/pr/1"]
    with pytest.raises(HfHubHTTPError, match="403"):
        bob.merge_pull_request("ann/m", 1)
    api.comment_discussion("ann/m", 1, "Thank you")
    api.merge_pull_request("ann/m", 1)
    assert {**hub.files("ann/m"), "x.bin": b""}.keys() >= {"x.bin", "y.txt", "z.bin", "old.txt"}
    details = api.get_discussion_details("ann/m", 1)
    assert (details.status, details.merge_commit_oid) == ("merged", hub.head("ann/m"))
    assert [event.type for event in details.events] == ["comment", "commit", "comment", "status-change"]


def test_discussion_is_opened_renamed_and_closed(hub: HubServer, api: HfApi) -> None:
    """A discussion and an empty pull request are opened; changes leave their events."""
    opened = api.create_discussion("ann/m", "A question", description="Why?")
    draft = api.create_pull_request("ann/m", "A draft")
    assert (opened.num, draft.num, draft.status, draft.git_reference) == (1, 2, "draft", "refs/pr/2")
    assert api.model_info("ann/m", revision="refs/pr/2").sha == hub.head("ann/m")
    api.rename_discussion("ann/m", 1, "A better question")
    api.change_discussion_status("ann/m", 1, "closed")
    found = [(each.num, each.title, each.status) for each in api.get_repo_discussions("ann/m", discussion_type="discussion")]
    assert found == [(1, "A better question", "closed")]


def test_upload_folder_uploads_and_removes(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    """A folder goes up in one commit, and what matches the patterns goes away in the same one."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").write_bytes(LARGE)
    (tmp_path / "a.txt").write_text("a")
    before = len(hub.commits("ann/m"))
    api.upload_folder(repo_id="ann/m", folder_path=tmp_path, delete_patterns=["folder/*"])
    assert hub.files("ann/m") == {"old.txt": b"old", "a.txt": b"a", "sub/w.bin": LARGE}
    assert len(hub.commits("ann/m")) == before + 1


def test_empty_message_is_a_bad_request(hub: HubServer, api: HfApi) -> None:
    """The Hub wants a message."""
    with pytest.raises(urllib.error.HTTPError, match="400"):
        send_commit(hub, token=str(api.token), summary="")
    with pytest.raises((BadRequestError, ValueError), match="commit_message"):
        api.create_commit("ann/m", [add("x", b"")], commit_message="")


@dataclass
class Thing(ModelHubMixin, library_name="things", license="mit"):
    """The smallest thing that the mixin saves: its configuration."""

    size: int = 3

    def _save_pretrained(self, save_directory: Path) -> None:
        (save_directory / "model.safetensors").write_bytes(bytes(self.size))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, size: int = 3, **_: object) -> "Thing":
        return cls(size=size)


def test_model_hub_mixin_pushes_and_loads(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    """`push_to_hub` makes the repository with a card in one commit; `from_pretrained` reads it back."""
    Thing(size=9).push_to_hub("ann/thing", token=str(api.token))
    assert set(hub.files("ann/thing")) == {"README.md", "config.json", "model.safetensors"}
    assert api.model_info("ann/thing").library_name == "things"
    assert len(hub.commits("ann/thing")) == 2
    assert Thing.from_pretrained("ann/thing", cache_dir=tmp_path).size == 9
