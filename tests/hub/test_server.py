"""The Hub of the tests, read and managed by the genuine client of whichever version is installed."""

import hashlib
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.numpy import save

from tests.hub.clients import status_of
from tests.hub.server import HubServer
from tests.hub.storage import Entry, build_tree, git_oid

CARD = b"""---
license: mit
base_model: base/model
base_model_relation: adapter
library_name: adapters
language: [en, de]
datasets: some/data
tags: [one, two]
---
# A module
"""
WEIGHTS = save({"down": np.arange(35, dtype=np.float32).reshape(5, 7), "up": np.zeros((7, 5), dtype=np.float16)})
FILES = {
    "README.md": CARD,
    "config.json": b'{"model_type": "bert"}',
    "w.safetensors": WEIGHTS,
    "deep/er/note.txt": "grün".encode(),
}


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    """Give the client of user ann, who may write."""
    return HfApi(token=hub.add_user("ann"))


def stranger(hub: HubServer) -> HfApi:
    """Give the client of a user who owns nothing."""
    return HfApi(token=hub.add_user("bob"))


ANONYMOUS = HfApi(token=False)


# --- accounts ----------------------------------------------------------------------------------------------------------


def test_whoami_names_the_user_and_the_organisations(hub: HubServer, api: HfApi) -> None:
    """A token tells its user, the user's organisations and what it may do."""
    hub.add_organization("org", {"ann": "write", "bob": "read"})
    about = api.whoami()
    assert (about["name"], about["auth"]["accessToken"]["role"]) == ("ann", "write")
    assert [(org["name"], org["roleInOrg"]) for org in about["orgs"]] == [("org", "write")]


def test_revoked_token_is_refused_everywhere(hub: HubServer) -> None:
    """A revoked token gives 401 with the Hub's message, for public repositories too."""
    token = hub.add_user("ann")
    hub.add_repo("ann/m", FILES)
    hub.revoke(token)
    with pytest.raises(HfHubHTTPError, match="Invalid credentials in Authorization header") as failure:
        HfApi(token=token).model_info("ann/m")
    assert status_of(failure) == 401
    assert not isinstance(failure.value, RepositoryNotFoundError)


@pytest.mark.parametrize(
    ("role", "namespaces", "namespace", "works"),
    [
        ("read", (), "ann", False),
        ("write", (), "ann", True),
        ("write", (), "org", True),
        ("write", (), "other", False),
        ("fineGrained", ("org",), "org", True),
        ("fineGrained", ("org",), "ann", False),
    ],
)
def test_create_repo_needs_a_role(hub: HubServer, role, namespaces, namespace, works) -> None:
    """Only a token that may write in a namespace makes repositories there."""
    hub.add_organization("org", {"ann": "write"})
    hub.add_organization("other", {"ann": "read"})
    client = HfApi(token=hub.add_user("ann", role=role, namespaces=namespaces))
    if works:
        assert client.create_repo(f"{namespace}/m").repo_id == f"{namespace}/m"
        return
    with pytest.raises(HfHubHTTPError, match=f'under the namespace "{namespace}"') as failure:
        client.create_repo(f"{namespace}/m")
    assert status_of(failure) == 403
    assert not hub.repos


# --- making, moving, removing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repo_type", ["model", "dataset", "space"])
def test_create_and_delete_repo(hub: HubServer, api: HfApi, repo_type: str) -> None:
    """A new repository has its first commit; making it again is a conflict; once removed it is gone."""
    sdk = {"space_sdk": "static"} if repo_type == "space" else {}
    url = api.create_repo("m", repo_type=repo_type, private=True, **sdk)  # type: ignore[arg-type]
    assert (url.repo_id, url.repo_type) == ("ann/m", repo_type)
    assert [commit.title for commit in api.list_repo_commits("ann/m", repo_type=repo_type)] == ["initial commit"]
    assert api.repo_info("ann/m", repo_type=repo_type).private is True
    with pytest.raises(HfHubHTTPError, match=f"already created this {repo_type} repo") as failure:
        api.create_repo("ann/m", repo_type=repo_type, **sdk)  # type: ignore[arg-type]
    assert status_of(failure) == 409
    assert api.create_repo("ann/m", repo_type=repo_type, exist_ok=True, **sdk) == url  # type: ignore[arg-type]
    api.delete_repo("ann/m", repo_type=repo_type)
    assert not api.repo_exists("ann/m", repo_type=repo_type)
    with pytest.raises(RepositoryNotFoundError, match="404"):
        api.delete_repo("ann/m", repo_type=repo_type)


def test_move_repo_redirects_old_name(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    """After renaming, the API and the files answer under the old name, by a redirect to the new one."""
    hub.add_repo("ann/old", FILES)
    api.move_repo("ann/old", "ann/new")
    assert api.model_info("ann/old").id == "ann/new"
    for name in ("w.safetensors", "config.json"):
        found = hf_hub_download("ann/old", name, cache_dir=tmp_path, token=False)
        assert Path(found).read_bytes() == FILES[name]
    api.upload_file(path_or_fileobj=b"more", path_in_repo="more.txt", repo_id="ann/old")
    assert hub.files("ann/new")["more.txt"] == b"more"
    assert {request.status for request in hub.log if "/ann/old" in request.path} == {307}


def test_new_repo_takes_over_an_old_name(hub: HubServer, api: HfApi) -> None:
    """A repository made at a redirecting name is what this name means from then on."""
    hub.add_repo("ann/old", FILES)
    api.move_repo("ann/old", "ann/new")
    api.create_repo("ann/old")
    assert [api.model_info(name).id for name in ("ann/old", "ann/new")] == ["ann/old", "ann/new"]


def test_private_repo_is_hidden(hub: HubServer, api: HfApi) -> None:
    """To others a private repository does not exist: 401 without a token, 404 with one, and no list has it."""
    hub.add_repo("ann/m", FILES, private=True)
    for client, status in ((ANONYMOUS, "401"), (stranger(hub), "404")):
        with pytest.raises(RepositoryNotFoundError, match=status):
            client.model_info("ann/m")
        with pytest.raises(RepositoryNotFoundError, match=status):
            client.list_repo_commits("ann/m")
        assert list(client.list_models(author="ann")) == []
    assert [model.id for model in api.list_models(author="ann")] == ["ann/m"]
    api.update_repo_settings("ann/m", private=False)
    assert ANONYMOUS.model_info("ann/m").private is False


def test_bare_401_of_the_real_hub(hub: HubServer) -> None:
    """With `names_missing_repo` off, a missing repository is answered as the Hub answers it: without an X-Error-Code."""
    hub.names_missing_repo = False
    with pytest.raises(urllib.error.HTTPError, match="401") as failure:
        urllib.request.urlopen(f"{hub.url}/api/models/no/such")
    assert failure.value.headers["X-Error-Message"] == "Invalid username or password."
    assert "X-Error-Code" not in failure.value.headers


def test_gated_repo_needs_access(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    """A gated repository shows what it is and its card; its files take a log-in (401) and access (403)."""
    hub.add_user("eve")
    hub.add_repo("ann/m", FILES)
    api.update_repo_settings("ann/m", gated="manual")
    for client, status in ((ANONYMOUS, "401"), (stranger(hub), "403")):
        assert client.model_info("ann/m").gated == "manual"
        assert client.hf_hub_download("ann/m", "README.md", cache_dir=tmp_path / status)
        with pytest.raises(GatedRepoError, match=status):
            client.hf_hub_download("ann/m", "w.safetensors", cache_dir=tmp_path / status)
    hub.repository("ann/m").granted.add("bob")
    found = stranger(hub).hf_hub_download("ann/m", "w.safetensors", cache_dir=tmp_path)
    assert Path(found).read_bytes() == WEIGHTS


# --- what is in a repository -------------------------------------------------------------------------------------------


def test_oids_are_those_of_git(hub: HubServer, api: HfApi) -> None:
    """Ids are git's: of blobs, of pointers for files stored by LFS, of trees, and the SHA-256 of objects."""
    hub.add_repo("ann/m", FILES)
    found: dict[str, Any] = {entry.path: entry for entry in api.list_repo_tree("ann/m", recursive=True)}
    assert found["config.json"].blob_id == git_oid(FILES["config.json"]) == "46332c50668921e90868a1d44a2550bb60ffdb1d"
    lfs = found["w.safetensors"].lfs
    assert lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{lfs.sha256}\nsize {len(WEIGHTS)}\n".encode()
    assert (found["w.safetensors"].blob_id, lfs.pointer_size) == (git_oid(pointer), len(pointer))
    assert found["deep/er"].tree_id == build_tree(hub.commits("ann/m")[0].files).folders["deep/er"]


def test_git_oid_is_that_of_git() -> None:
    """Ids that git itself prints: of the empty blob, the empty tree, and a tree where folders do not sort as their names do."""
    assert git_oid(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert build_tree({}).oid == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    files = {"x.txt": b"1", "d/e/f.txt": b"2", "d.txt": b"3", "d/z": b"4", "d-e/q": b"5"}
    entries = {path: Entry(oid=git_oid(content), size=1) for path, content in files.items()}
    assert build_tree(entries).oid == "4f140037db0faa29f316ffbd91f55cc53ee0764e"


def test_model_info_reads_the_card_and_the_files(hub: HubServer, api: HfApi) -> None:
    """The description has the head commit, the files, the card's data and the tags that follow from it."""
    head = hub.add_repo("ann/m", FILES)
    about = api.model_info("ann/m", files_metadata=True)
    assert (about.sha, about.author, about.library_name) == (head, "ann", "adapters")
    sizes = {each.rfilename: each.size for each in about.siblings or [] if each.rfilename != ".gitattributes"}
    assert sizes == {path: len(content) for path, content in FILES.items()}
    assert about.card_data is not None
    assert about.card_data.license == "mit"
    wanted = "adapters safetensors one two en dataset:some/data base_model:base/model base_model:adapter:base/model license:mit"
    assert set(wanted.split()) <= set(about.tags or [])
    assert about.safetensors is not None
    assert about.safetensors.parameters == {"F32": 35, "F16": 35}


def test_model_info_expand_gives_only_what_is_asked(hub: HubServer, api: HfApi) -> None:
    """`expand` names the fields; one that does not exist is a bad request."""
    hub.add_repo("ann/m", FILES)
    about = api.model_info("ann/m", expand=["sha", "gated"])
    assert (about.sha, about.gated, about.tags, about.siblings) == (hub.head("ann/m"), False, None, None)
    with pytest.raises(HfHubHTTPError, match='got "colour"'):
        api.model_info("ann/m", expand=["colour"])  # type: ignore[list-item]


def test_missing_things_have_their_own_errors(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    """What is missing, repository, revision or file, is told by its own error of the client."""
    hub.add_repo("ann/m", FILES)
    with pytest.raises(RepositoryNotFoundError, match="404"):
        api.model_info("ann/none")
    with pytest.raises(RevisionNotFoundError, match="Invalid rev id: none"):
        api.model_info("ann/m", revision="none")
    with pytest.raises(EntryNotFoundError, match="404"):
        api.hf_hub_download("ann/m", "none.bin", cache_dir=tmp_path)
    with pytest.raises(EntryNotFoundError, match='none does not exist on "main"'):
        list(api.list_repo_tree("ann/m", "none"))
    assert [api.file_exists("ann/m", name) for name in ("config.json", "none")] == [True, False]
    assert [api.repo_exists(name) for name in ("ann/m", "ann/none")] == [True, False]
    assert list(tmp_path.glob("*/.no_exist/*/none.bin"))  # the client learned at which commit it is missing


def test_list_models_filters_and_pages(hub: HubServer, api: HfApi) -> None:
    """Models are found by tags, author and words, over several pages; a limit stops early."""
    for number in range(7):
        relation = b"finetune" if number % 2 else b"adapter"
        hub.add_repo(f"ann/m{number}", {"README.md": CARD.replace(b"relation: adapter", b"relation: " + relation)})
    hub.add_repo("bob/x", FILES)
    hub.page_size = 2
    found = api.list_models(filter=["base_model:adapter:base/model", "license:mit"], author="ann", full=True, cardData=True)
    assert sorted(model.id for model in found) == ["ann/m0", "ann/m2", "ann/m4", "ann/m6"]
    assert len(hub.requests("GET", "/api/models")) == 2
    assert [model.id for model in api.list_models(search="X")] == ["bob/x"]
    assert len(list(api.list_models(filter="adapters", limit=3))) == 3
    newest = next(iter(api.list_models(sort="last_modified", limit=1)))
    assert newest.id == "bob/x"


def test_list_repo_tree_pages_and_folders(hub: HubServer, api: HfApi) -> None:
    """A tree is listed folder by folder or whole, page by page, with each path's last commit if wanted."""
    hub.add_repo("ann/m", FILES | {f"deep/{number}.txt": b"x" for number in range(5)})
    changed = hub.commit("ann/m", {"deep/3.txt": b"y"}, message="Change one")
    hub.page_size = 3
    assert [entry.path for entry in api.list_repo_tree("ann/m", "deep")] == ["deep/er", *(f"deep/{n}.txt" for n in range(5))]
    whole: dict[str, Any] = {entry.path: entry for entry in api.list_repo_tree("ann/m", recursive=True, expand=True)}
    assert set(hub.files("ann/m")) | {"deep", "deep/er", ".gitattributes"} == set(whole)
    assert [path for path, entry in whole.items() if entry.last_commit.oid == changed] == ["deep", "deep/3.txt"]
    infos = api.get_paths_info("ann/m", ["deep", "w.safetensors", "none"], expand=True)
    assert [(each.path, each.last_commit is not None) for each in infos] == [("deep", True), ("w.safetensors", True)]


def test_commits_branches_and_tags(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    """Branches and tags are made, listed, resolved and removed; history comes page by page, the newest first."""
    first = hub.add_repo("ann/m", {"a.txt": b"1"})
    second = hub.commit("ann/m", {"a.txt": b"2"}, message="Second")
    hub.page_size = 2
    assert [commit.commit_id for commit in api.list_repo_commits("ann/m")][:2] == [second, first]
    assert len(api.list_repo_commits("ann/m")) == 3
    api.create_tag("ann/m", tag="v1", revision=first)
    api.create_branch("ann/m", branch="a/dev", revision=first)
    with pytest.raises(HfHubHTTPError, match="refs/heads/a/dev") as failure:
        api.create_branch("ann/m", branch="a/dev")
    assert status_of(failure) == 409
    api.create_branch("ann/m", branch="a/dev", exist_ok=True)
    refs = api.list_repo_refs("ann/m", include_pull_requests=True)
    assert {ref.name: ref.target_commit for ref in refs.branches + refs.tags} == {"main": second, "a/dev": first, "v1": first}
    for revision in ("v1", "a/dev", first):
        assert Path(api.hf_hub_download("ann/m", "a.txt", revision=revision, cache_dir=tmp_path)).read_bytes() == b"1"
    api.delete_branch("ann/m", branch="a/dev")
    api.delete_tag("ann/m", tag="v1")
    with pytest.raises(RevisionNotFoundError, match="v1"):
        api.delete_tag("ann/m", tag="v1")
    api.super_squash_history("ann/m")
    assert len(hub.commits("ann/m")) == 1
    assert hub.files("ann/m") == {"a.txt": b"2"}


# --- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repo_type", ["model", "dataset", "space"])
def test_snapshot_download_is_byte_equal(hub: HubServer, tmp_path: Path, repo_type: str) -> None:
    """A download has every byte, names it by the commit and the ids, and sends no token to the storage."""
    token = hub.add_user("ann")
    head = hub.add_repo("ann/m", FILES, repo_type=repo_type, private=True)
    folder = Path(snapshot_download("ann/m", repo_type=repo_type, cache_dir=tmp_path, token=token))
    assert folder.name == head
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert (folder / "config.json").resolve().name == git_oid(FILES["config.json"])
    assert {request.user for request in hub.requests(host="hub") if "/m" in request.path} == {"ann"}
    stored = hub.requests("GET", host="storage")
    assert [(request.user, request.sent, "authorization" in request.headers) for request in stored] == [
        (None, len(WEIGHTS), False)
    ]


def test_storage_refuses_tokens_and_unsigned_addresses(hub: HubServer) -> None:
    """The storage takes only signed addresses, and no token beside them."""
    hub.add_repo("ann/m", FILES)
    with urllib.request.urlopen(f"{hub.url}/ann/m/resolve/main/w.safetensors") as answer:
        address = answer.url
    assert address.startswith(hub.storage_url)
    for url, headers, status in ((address, {"Authorization": "Bearer x"}, 400), (address.split("?")[0], {}, 403)):
        with pytest.raises(urllib.error.HTTPError, match=str(status)):
            urllib.request.urlopen(urllib.request.Request(url, headers=headers))


def test_safetensors_header_is_read_by_range(hub: HubServer, api: HfApi) -> None:
    """The header of a large file is read without its tensors."""
    large = save({"w": np.zeros((3000, 1000), dtype=np.float32)})
    hub.add_repo("ann/m", {"large.safetensors": large})
    found = api.parse_safetensors_file_metadata("ann/m", "large.safetensors")
    assert found.tensors["w"].shape == [3000, 1000]
    (read,) = hub.requests("GET", host="storage")
    assert (read.range, read.status, read.sent) == ("bytes=0-100000", 206, 100_001)


@pytest.mark.parametrize("name", ["config.json", "w.safetensors"])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [("bytes=2-5", slice(2, 6)), ("bytes=3-", slice(3, None)), ("bytes=-4", slice(-4, None)), ("bytes=0-99999", slice(None))],
)
def test_range_is_what_was_asked(hub: HubServer, name: str, asked: str, expected: slice) -> None:
    """Ranges give their bytes with 206 and say where they lie."""
    hub.add_repo("ann/m", FILES)
    request = urllib.request.Request(f"{hub.url}/ann/m/resolve/main/{name}", headers={"Range": asked})
    with urllib.request.urlopen(request) as answer:
        got = answer.read()
        assert answer.status == 206
        where = answer.headers["Content-Range"]
    begin, end, _ = expected.indices(len(FILES[name]))
    assert (got, where) == (FILES[name][expected], f"bytes {begin}-{end - 1}/{len(FILES[name])}")


def test_range_behind_the_end_is_416(hub: HubServer) -> None:
    """A range that begins behind the end is refused, with the size."""
    hub.add_repo("ann/m", FILES)
    request = urllib.request.Request(f"{hub.url}/ann/m/resolve/main/config.json", headers={"Range": "bytes=5000-"})
    with pytest.raises(urllib.error.HTTPError, match="416") as failure:
        urllib.request.urlopen(request)
    assert failure.value.headers["Content-Range"] == f"bytes */{len(FILES['config.json'])}"


def test_validate_yaml_in_the_hubs_words(hub: HubServer) -> None:
    """The metadata of a card is judged: what is wrong, and what is only missing."""

    def ask(content: str) -> tuple[int, dict]:
        body = json.dumps({"content": content, "repoType": "model"}).encode()
        request = urllib.request.Request(f"{hub.url}/api/validate-yaml", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    assert ask(CARD.decode()) == (200, {"errors": [], "warnings": []})
    assert ask("no block")[1]["warnings"] == [{"message": "empty or missing yaml metadata in repo card"}]
    wrong = {
        "license: none-such": '"license" must be one of',
        "license: mit\nbase_model: ./here": '"base_model" with value "./here" is not valid',
        "license: mit\nbase_model: 3": '"base_model" must be a string',
        "license: mit\nbase_model_relation: child": '"base_model_relation" must be one of',
        "license: [mit": "Invalid YAML",
        "license: mit\nlanguage: german": '"language" with value "german" is not valid',
        "license: mit\nmodel-index: [{name: x, results: [{task: {type: t}}]}]": 'results[0].dataset.type" is required',
    }
    for text, message in wrong.items():
        status, found = ask(f"---\n{text}\n---\n")
        assert status == 400
        assert message in found["errors"][0]["message"]
