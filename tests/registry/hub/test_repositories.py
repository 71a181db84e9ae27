"""Reading from a Hub at which things go wrong, over HTTP, by the genuine client."""

import hashlib
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from modxfer.errors import HubError, UsageError
from modxfer.registry.hub.calls import api, call
from modxfer.registry.hub.failures import RepositoryMissing, RevisionMissing
from modxfer.registry.hub.repositories import Repository, git_hash, open_repository, parse_reference, resolve_dataset
from tests.hub.faults import Fault
from tests.hub.remote import Person
from tests.hub.server import HubServer
from tests.hub.silence import Silence

NAME = "acme/lora"
TENSORS = {"lora_A": np.arange(60_000, dtype=np.float32).reshape(200, 300)}
FILES = {
    "README.md": b"---\nlicense: mit\n---\nA card.\n",
    "adapter_config.json": b'{"peft_type": "LORA"}',
    "sub/adapter_model.safetensors": save(TENSORS),
}
STEPS: dict[str, dict[str, Any]] = {
    "info": {"path": rf"^/api/models/{NAME}(\?|$)"},
    "tree": {"path": "/tree/"},
    "head": {"method": "HEAD", "path": "/resolve/.*adapter_config"},
    "regular": {"method": "GET", "path": "/resolve/.*adapter_config"},
    "large": {"method": "GET", "host": "storage"},
}
FAULTS: dict[str, dict[str, Any]] = {
    "drop": {"kind": "drop"},
    "429": {"kind": "status", "status": 429, "retry_after": 1},
    "500": {"kind": "status", "status": 500},
    "502": {"kind": "status", "status": 502},
    "503": {"kind": "status", "status": 503, "retry_after": 0},
    "504": {"kind": "status", "status": 504},
    "truncate": {"kind": "truncate", "num_bytes": 15},
    "corrupt": {"kind": "corrupt"},
}


def fault(what: str, silence: Silence, *, times: int | None = 1, **where: Any) -> Fault:
    """Make a fault of this kind there."""
    return silence.fault(**where, times=times) if what == "silence" else Fault(**FAULTS[what], **where, times=times)


def read_all() -> dict[str, bytes]:
    """Open the repository and fetch everything; gives what arrived."""
    repository = open_repository(NAME)
    folder = repository.fetch(FILES)
    return {path: (folder / path).read_bytes() for path in FILES}


@pytest.fixture
def lora(hub: HubServer) -> str:
    """Publish a module; gives its commit."""
    return hub.add_repo(NAME, FILES)


@pytest.mark.usefixtures("lora", "patient")
@pytest.mark.parametrize(
    ("what", "step"),
    [
        *(("drop", step) for step in STEPS),
        *((what, step) for what in ("429", "503") for step in ("info", "large")),
        *((what, "info") for what in ("500", "502", "504")),
        *((what, step) for what in ("truncate", "corrupt") for step in ("info", "regular", "large")),
        ("silence", "info"),
        pytest.param("silence", "large", marks=pytest.mark.slow),
    ],
)
def test_what_goes_wrong_once_is_tried_again(hub: HubServer, silence: Silence, what: str, step: str) -> None:
    """A fault that passes is not noticed: the bytes are the right ones in the end."""
    struck = hub.faults.add(fault(what, silence, **STEPS[step]))
    assert read_all() == FILES
    assert struck.struck == 1


@pytest.mark.usefixtures("lora", "impatient")
@pytest.mark.parametrize(
    ("what", "step", "said"),
    [
        ("drop", "info", f"The Hub could not be reached, or the connection was cut, for `{NAME}`"),
        ("drop", "large", f"The Hub could not be reached, or the connection was cut, for `{NAME}` at `"),
        ("silence", "info", f"The Hub did not answer in time for `{NAME}`"),
        pytest.param("silence", "large", f"The Hub did not answer in time for `{NAME}` at `", marks=pytest.mark.slow),
        ("500", "tree", f"The Hub has a problem of its own and did not answer for `{NAME}` at `.* .status 500: Internal Error"),
        ("504", "head", f"The Hub has a problem of its own and did not answer for `{NAME}` at `.* .status 504: Internal Error"),
        ("429", "regular", f"The Hub has had too many requests from you, the last for `{NAME}` at `.* .status 429"),
        ("corrupt", "info", f"What came for `{NAME}` is no answer of the Hub .*DecodeError"),
        ("corrupt", "large", f"`sub/adapter_model.safetensors` of `{NAME}` arrived twice with another content"),
        ("corrupt", "regular", f"`adapter_config.json` of `{NAME}` arrived twice with another content"),
    ],
)
def test_what_stays_wrong_is_told(hub: HubServer, silence: Silence, what: str, step: str, said: str) -> None:
    """A fault that does not pass is an error that names the repository, soon, and leaves nothing wrong in the cache."""
    hub.faults.add(fault(what, silence, times=None, **STEPS[step]))
    with pytest.raises(HubError, match=said) as caught:
        read_all()
    assert caught.value.do.endswith(".")
    hub.faults.clear()
    assert read_all() == FILES


@pytest.mark.slow
@pytest.mark.usefixtures("lora", "impatient")
def test_a_file_that_never_comes_whole_is_told(hub: HubServer) -> None:
    """A connection that is always cut before the file begins is an error in the end, and the next try works."""
    hub.faults.add(Fault(kind="truncate", num_bytes=0, times=None, **STEPS["large"]))
    with pytest.raises(HubError, match=f"the connection was cut, for `{NAME}` at `"):
        read_all()
    hub.faults.clear()
    assert read_all() == FILES


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("step", ["info", "head", "large"])
def test_a_pause_that_is_too_long_is_told_and_not_made(hub: HubServer, lora: str, step: str) -> None:
    """When the Hub asks to wait five minutes, nobody waits, and the user is told when to come back."""
    status = hub.faults.add(Fault(kind="status", status=429, retry_after=300, times=None, **STEPS[step]))
    with pytest.raises(HubError, match=r"too many requests from you.*Try again in 5 minutes\."):
        read_all()
    assert status.struck <= 2  # once, and once more by the client, which looks into its cache in between


@pytest.mark.usefixtures("patient")
def test_a_pause_that_is_asked_for_is_made(hub: HubServer, lora: str, caplog: pytest.LogCaptureFixture) -> None:
    """The Hub is not asked again before it wants to be."""
    hub.faults.add(Fault(kind="status", status=429, retry_after=2, times=1, **STEPS["info"]))
    with caplog.at_level(logging.WARNING, logger="modxfer"):
        assert open_repository(NAME).commit == lora
    assert [record.getMessage() for record in caplog.records] == [
        "The Hub did not answer as it should; trying again in 2.0 seconds."
    ]


def test_a_damaged_file_in_the_cache_is_fetched_again(hub: HubServer, lora: str) -> None:
    """Somebody else's wrong bytes of the right length are noticed, both in LFS and outside, and replaced."""
    repository = open_repository(NAME)
    folder = repository.fetch(FILES)
    for path in ("adapter_config.json", "sub/adapter_model.safetensors"):
        (folder / path).resolve().write_bytes(b"x" * len(FILES[path]))
    assert read_all() == FILES


def test_a_damaged_file_is_not_left_when_it_cannot_be_replaced(
    hub: HubServer, lora: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is known to be wrong is taken out of the cache, and the error says both things."""
    monkeypatch.setenv("MODXFER_HUB_TIMEOUT", "0.3")
    repository = open_repository(NAME)
    file = repository.fetch(["adapter_config.json"]) / "adapter_config.json"
    blob = file.resolve()
    blob.write_bytes(b"x" * len(FILES["adapter_config.json"]))
    hub.faults.add(Fault(**FAULTS["500"], **STEPS["head"], times=None))
    with pytest.raises(HubError, match=rf"`adapter_config.json` of `{NAME}` was damaged in the cache.*status 500"):
        repository.fetch(["adapter_config.json"])
    assert not file.exists()
    assert not blob.exists()


@pytest.mark.usefixtures("lora", "patient")
@pytest.mark.parametrize("what", ["drop", "503", "truncate", "corrupt", pytest.param("silence", marks=pytest.mark.slow)])
def test_read_header_tries_again(hub: HubServer, silence: Silence, what: str) -> None:
    """A header is read by range although the first answer fails."""
    repository = open_repository(NAME)
    hub.faults.add(fault(what, silence, **STEPS["large"]))
    header = repository.read_header("sub/adapter_model.safetensors")
    assert header == {"lora_A": {"dtype": "F32", "shape": [200, 300], "data_offsets": [0, 240_000]}}
    assert max(request.sent for request in hub.requests("GET", host="storage")) < 110_000


@pytest.mark.usefixtures("patient")
def test_read_header_refuses_what_is_no_safetensors_file(hub: HubServer) -> None:
    """A file that is something else is told, after one more look."""
    hub.add_repo(NAME, {"adapter_model.safetensors": b"<html>not here</html>" * 9})
    with pytest.raises(HubError, match=f"`adapter_model.safetensors` of `{NAME}` does not begin as a safetensors file does"):
        open_repository(NAME).read_header("adapter_model.safetensors")
    assert len(hub.requests("GET", host="storage")) == 2


@pytest.mark.usefixtures("lora", "patient")
@pytest.mark.parametrize("what", ["drop", "503", "truncate", "corrupt"])
def test_lists_of_models_are_tried_again(hub: HubServer, what: str) -> None:
    """Looking for models gets over what passes."""
    hub.faults.add(Fault(**FAULTS[what], path=r"^/api/models\?"))
    models = call(lambda: list(api().list_models(author="acme")), name="acme")
    assert [model.id for model in models] == [NAME]


def test_a_repository_that_was_renamed_has_its_new_name(hub: HubServer, acme: HubServer) -> None:
    """The old name leads to the new one, which is what is written down; all files come."""
    commit = hub.add_repo(NAME, FILES)
    call(lambda: api().move_repo(NAME, "acme/newer"), name=NAME, writing=True)
    repository = open_repository(NAME)
    assert (repository.name, repository.commit) == ("acme/newer", commit)
    folder = repository.fetch(FILES)
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert list(repository.read_header("sub/adapter_model.safetensors")) == ["lora_A"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("revision", ["", "@main", "@v2"])
def test_an_unreachable_hub_is_replaced_by_the_cache(
    hub: HubServer, lora: str, revision: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What was fetched earlier is used while the Hub is away, with a warning that names the commit."""
    hub.commit(NAME, {"notes.txt": b"for v2"}, branch="v2")
    before = open_repository(NAME + revision)
    before.fetch(FILES)
    hub.commit(NAME, {"README.md": b"newer"})
    hub.faults.add(Fault(kind="drop", times=None))
    with caplog.at_level(logging.WARNING, logger="modxfer"):
        repository = open_repository(NAME + revision)
    assert (repository.commit, repository.files) == (before.commit, before.files)
    assert repository.fetch(FILES).is_dir()
    said = f"The Hub could not be reached; `{NAME}` is taken from the cache, at commit {before.commit[:12]}."
    assert said in [record.getMessage() for record in caplog.records]


@pytest.mark.usefixtures("impatient")
def test_an_unreachable_hub_and_another_programs_cache(hub: HubServer, lora: str, tmp_path: Path) -> None:
    """What another program has fetched is found too, without a list of what else there is."""
    from huggingface_hub import snapshot_download

    snapshot_download(NAME)
    hub.faults.add(Fault(kind="status", status=503, times=None))
    repository = open_repository(NAME)
    assert repository.commit == lora
    assert set(FILES) <= set(repository.files)


@pytest.mark.usefixtures("impatient", "lora")
def test_an_unreachable_hub_and_nothing_in_the_cache(hub: HubServer) -> None:
    """What was seen and never fetched is no cache."""
    open_repository(NAME)
    hub.faults.add(Fault(kind="drop", times=None))
    with pytest.raises(HubError, match=f"The Hub could not be reached, or the connection was cut, for `{NAME}`"):
        open_repository(NAME)


@pytest.mark.usefixtures("impatient")
def test_a_commit_that_was_listed_needs_no_hub(hub: HubServer, lora: str) -> None:
    """A commit does not change, so the Hub is not asked again."""
    read_all()
    hub.clear_log()
    folder = open_repository(f"{NAME}@{lora}").fetch(FILES)
    assert (folder / "README.md").read_bytes() == FILES["README.md"]
    assert hub.log == []


@pytest.mark.usefixtures("lora")
@pytest.mark.parametrize(
    ("reference", "kind", "said"),
    [
        ("acme/none", RepositoryMissing, "`acme/none` is no folder here and not on the Hub, or it is private"),
        (f"{NAME}@v9", RevisionMissing, f"`{NAME}` has no revision `v9`.*at http://127.0.0.1:[0-9]*/{NAME}"),
    ],
)
@pytest.mark.parametrize("is_known", [True, False], ids=["user", "visitor"])
def test_what_does_not_exist_is_asked_for_once(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, reference: str, kind: type[UsageError], said: str, is_known: bool
) -> None:
    """A name that does not exist is wrong usage, also for somebody who is not logged in, and asking again would not help."""
    if is_known:
        monkeypatch.setenv("HF_TOKEN", hub.add_user("you"))
    with pytest.raises(kind, match=said):
        open_repository(reference)
    assert [request.status in (401, 404) for request in hub.log] == [True]


def test_a_visitor_without_the_hubs_error_code(hub: HubServer) -> None:
    """The Hub itself says "Invalid username or password" for what is not there; that is not about a token."""
    hub.names_missing_repo = False
    with pytest.raises(RepositoryMissing, match="`acme/none` is no folder here and not on the Hub"):
        open_repository("acme/none")


def test_a_token_that_was_revoked(hub: HubServer, lora: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad token is told as such, even for a public repository, with how to get another."""
    token = hub.add_user("acme")
    hub.revoke(token)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(
        HubError, match=rf"does not accept your token \(status 401: Invalid credentials.*`{NAME}`.*`hf auth login`"
    ):
        open_repository(NAME)
    assert len(hub.log) == 1


@pytest.mark.parametrize(
    ("user", "said"),
    [
        (None, r"is gated.*\(status 401\)\. Log in with `hf auth login`, and ask for access at http://127.*/acme/lora\."),
        ("you", r"is gated.*\(status 403\)\. Ask for access at http://127.*/acme/lora, and try again once it is granted\."),
    ],
)
def test_a_gated_repository_says_where_to_ask(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, user: str | None, said: str
) -> None:
    """Somebody who was not let in is told where to ask, and the Hub is asked once."""
    hub.add_repo(NAME, FILES, gated="manual", granted=["friend"])
    if user:
        monkeypatch.setenv("HF_TOKEN", hub.add_user(user))
    with pytest.raises(HubError, match=said):
        read_all()
    assert [request.status for request in hub.log].count(401 if user is None else 403) == 1
    monkeypatch.setenv("HF_TOKEN", hub.add_user("friend"))
    assert read_all() == FILES


def test_a_disabled_repository(hub: HubServer, lora: str) -> None:
    """What the Hub has switched off is told, and not asked for again."""
    hub.repository(NAME).disabled = True
    with pytest.raises(HubError, match=rf"The Hub has disabled `{NAME}` at `{lora}` \(status 403: Access to this resource"):
        read_all()
    assert [request.status for request in hub.log].count(403) == 1


def test_a_private_repository_of_somebody_else(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user may not see is not there for them; its owner's member reads it."""
    hub.add_repo(NAME, FILES, private=True)
    monkeypatch.setenv("HF_TOKEN", hub.add_user("you"))
    with pytest.raises(RepositoryMissing, match=f"`{NAME}` is no folder here and not on the Hub, or it is private"):
        read_all()
    monkeypatch.setenv("HF_TOKEN", hub.add_user("acme", role="read"))
    assert read_all() == FILES


@pytest.mark.parametrize("reference", ["", "a b/c", "../x", "a/b/c", "a--b/c", "a/..", "@main"])
def test_what_no_id_looks_like(reference: str) -> None:
    """A path or a slip of the pen is told before anybody is asked."""
    with pytest.raises(UsageError, match="no id that the Hub could have"):
        parse_reference(reference)


def test_git_hash_is_gits() -> None:
    """The hash of a blob is what `git hash-object` prints."""
    assert git_hash(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_file_is_compared_by_what_the_hub_says(hub: HubServer, lora: str, tmp_path: Path) -> None:
    """Regular files are known by git's hash, those in LFS by sha256, and each is told from another of its length."""
    repository: Repository = open_repository(NAME)
    assert repository.licence == "mit"
    for path, content in FILES.items():
        local = tmp_path / "file"
        local.write_bytes(content)
        assert repository.files[path].matches(local)
        local.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        assert not repository.files[path].matches(local)
    large = repository.files["sub/adapter_model.safetensors"]
    assert large.sha256 == hashlib.sha256(FILES["sub/adapter_model.safetensors"]).hexdigest()
    assert repository.files["adapter_config.json"].sha256 is None


@pytest.mark.parametrize("is_private", [True, False])
def test_a_repository_says_whether_it_is_private(acme: HubServer, is_private: bool) -> None:
    """What the Hub says now is what counts, also where the list of files is remembered from before; else nobody knows."""
    commit = acme.add_repo(NAME, FILES, private=is_private)
    assert [open_repository(NAME).private for _ in range(2)] == [is_private] * 2
    assert open_repository(f"{NAME}@{commit}").private is None


def test_a_data_set_is_read_like_a_repository_of_models(hub: HubServer, lora: str) -> None:
    """Of one name there may be both, and each has its own list, files and headers."""
    other = {**FILES, "README.md": b"---\nlicense: cc0-1.0\n---\n", "sub/adapter_model.safetensors": save({"x": np.ones(3)})}
    commit = hub.add_repo(NAME, other, repo_type="dataset")
    data, model = open_repository(NAME, kind="dataset"), open_repository(NAME)
    assert [(item.commit, item.licence, item.kind) for item in (data, model)] == [
        (commit, "cc0-1.0", "dataset"),
        (lora, "mit", "model"),
    ]
    folder = data.fetch(FILES)
    assert {path: (folder / path).read_bytes() for path in FILES} == other
    assert data.cached("README.md") == folder / "README.md"
    assert model.cached("README.md") is None
    assert list(data.read_header("sub/adapter_model.safetensors")) == ["x"]
    hub.clear_log()
    assert open_repository(f"{NAME}@{commit}", kind="dataset").files == data.files
    assert hub.log == []
    assert open_repository(f"{NAME}@{lora}").files == model.files


@pytest.mark.usefixtures("lora", "patient")
@pytest.mark.parametrize(
    ("what", "step"), [*((what, "regular") for what in ("drop", "503", "truncate", "corrupt")), ("corrupt", "large")]
)
def test_read_tries_again_and_keeps_nothing(hub: HubServer, silence: Silence, what: str, step: str) -> None:
    """A file that is read by one request is the right one in the end, and not in the cache."""
    repository = open_repository(NAME)
    hub.faults.add(fault(what, silence, **STEPS[step]))
    for path, content in FILES.items():
        assert repository.read(path) == content
        assert repository.cached(path) is None
    assert not hub.requests("HEAD")


@pytest.mark.usefixtures("lora", "impatient")
def test_read_tells_what_stays_wrong(hub: HubServer) -> None:
    """Other bytes than the Hub says are refused, of the right length too."""
    repository = open_repository(NAME)
    for step, path in (("regular", "adapter_config.json"), ("large", "sub/adapter_model.safetensors")):
        hub.faults.add(Fault(kind="corrupt", **STEPS[step], times=None))
        with pytest.raises(HubError, match=f"`{path}` of `{NAME}` arrived twice with another content than the Hub says"):
            repository.read(path)


RESOLVE = "from modxfer.registry.hub.repositories import resolve_dataset; print(resolve_dataset('acme/texts'))"
OFFLINE = "import os; os.environ['HF_HUB_OFFLINE'] = '1'\n"


def test_a_data_set_has_its_last_commit_offline(hub: HubServer, tmp_path: Path) -> None:
    """What was seen once is known without the Hub, which is not asked then."""
    person = Person(folder=tmp_path)
    hub.add_repo("acme/texts", {"README.md": b"Texts."}, repo_type="dataset")
    commit = hub.commit("acme/texts", {"a.txt": b"a"}, repo_type="dataset")
    assert person.python(RESOLVE) == f"{commit}\n"
    hub.commit("acme/texts", {"a.txt": b"b"}, repo_type="dataset")
    hub.clear_log()
    assert person.python(OFFLINE + RESOLVE) == f"{commit}\n"
    assert hub.log == []


def test_a_data_set_that_was_never_seen_is_missed_offline(tmp_path: Path) -> None:
    """Without the Hub, nobody can guess a commit."""
    result = Person(folder=tmp_path).run(sys.executable, "-c", OFFLINE + RESOLVE)
    assert result.returncode == 1
    assert "`acme/texts` is not in the cache, and the Hub is not to be asked." in result.stderr


@pytest.mark.usefixtures("impatient")
def test_a_data_set_that_is_gone_is_told(hub: HubServer) -> None:
    """What the Hub says counts, whatever was seen before; a Hub that is away says nothing."""
    commit = hub.add_repo("acme/texts", {"README.md": b"Texts."}, repo_type="dataset")
    assert resolve_dataset("acme/texts") == commit
    away = hub.faults.add(Fault(kind="drop", times=None))
    assert resolve_dataset("acme/texts") == commit
    assert away.struck == 1
    hub.reset()
    with pytest.raises(RepositoryMissing, match="acme/texts"):
        resolve_dataset("acme/texts")
