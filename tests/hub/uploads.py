"""Uploads: what goes by LFS, the objects in the storage, and commits."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from tests.hub import cards, discussions
from tests.hub.protocol import MOVED_HEAD, NO_TOKEN, HubError, Request, Response, as_json, file_response
from tests.hub.site import Site, commit_at
from tests.hub.storage import REGULAR_LIMIT_BYTES, Commit, Entry, Repository, is_ignored

# How the clients decide between LFS and Xet, which this server does not speak:
# - 0.36 offers "xet" among the `transfers` of the LFS batch and uses what the answer's `transfer` names: "basic" here.
# - 2.4 asks nobody: with hf_xet installed it uploads all but open files by Xet, and fails on a Hub without it. It must be told
#   with HF_HUB_DISABLE_XET=1 (read when it is imported), and then asks for "basic" or "multipart" alone.
# - Both download by Xet only what is answered with `X-Xet-Hash`.
_LFS_JSON = {"Content-Type": "application/vnd.git-lfs+json"}
_SECRET = b"signs the addresses of the storage"


# --- the storage -------------------------------------------------------------------------------------------------------


def _key(repo: Repository) -> str:
    # names change, the place of the objects does not
    return hashlib.sha256(f"{repo.type}/{repo.created.isoformat()}".encode()).hexdigest()[:32]


def _signature(method: str, path: str) -> str:
    return hmac.new(_SECRET, f"{method} {path}".encode(), hashlib.sha256).hexdigest()


def signed(site: Site, method: str, repo: Repository, oid: str, part: int | None = None, **query: str) -> str:
    """Make an address in the storage that works without a token, for this method only."""
    path = f"/repos/{_key(repo)}/{oid}" + ("" if part is None else f"/{part}")
    return f"{site.storage_url}{path}?{urlencode({'X-Amz-Signature': _signature(method, path), **query})}"


def _stored_in(site: Site, request: Request, at: Mapping[str, str]) -> Repository:
    """Find the repository of an address in the storage, and check the address."""
    method = "GET" if request.method == "HEAD" else request.method
    if "authorization" in request.headers:
        raise HubError(
            400, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the Authorization header"
        )
    if not hmac.compare_digest(request.value("X-Amz-Signature") or "", _signature(method, request.path)):
        raise HubError(403, "SignatureDoesNotMatch")
    found = [repo for repo in site.repos.values() if _key(repo) == at["key"]]
    if not found:
        raise HubError(404, "NoSuchKey")
    return found[0]


def put_object(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Take an object whole."""
    repo = _stored_in(site, request, at)
    _keep(repo, at["oid"], request.body)
    return Response(headers={"ETag": f'"{hashlib.md5(request.body, usedforsecurity=False).hexdigest()}"'})


def _keep(repo: Repository, oid: str, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != oid:
        raise HubError(400, "XAmzContentSHA256Mismatch: the content does not have the SHA-256 that its name says")
    with repo.lock:
        repo.objects[oid] = content


def put_part(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Take a part of an object."""
    repo = _stored_in(site, request, at)
    with repo.lock:
        site.uploads.setdefault(f"{at['key']}/{at['oid']}", {})[int(at["part"])] = request.body
    return Response(headers={"ETag": f'"{hashlib.md5(request.body, usedforsecurity=False).hexdigest()}"'})


def get_object(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Give an object or a range of it."""
    repo = _stored_in(site, request, at)
    if at["oid"] not in repo.objects:
        raise HubError(404, "NoSuchKey")
    return file_response(request, repo.objects[at["oid"]], {"ETag": f'"{at["oid"]}"'})


# --- LFS ---------------------------------------------------------------------------------------------------------------


def lfs_batch(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Say what is to be done for each object: nothing, one PUT, or a PUT for each part."""
    repo = site.repo(request, at["type"], at["id"])
    token = site.accounts.token_of(request)
    fields = request.fields()
    if fields.get("operation") == "download":
        site.check_gate(request, repo)
    elif token is None:
        raise HubError(401, NO_TOKEN)
    elif token.role == "read" or ("ref" in fields and not _is_pull_request(fields["ref"])):
        # without a ref, the objects are for a new pull request, which any reader may open
        site.check_write(request, repo)
    asked = fields.get("objects")
    if not isinstance(asked, list):
        raise HubError(422, '"objects" is required')
    give = _download_action if fields.get("operation") == "download" else _upload_action
    transfers = fields.get("transfers") or ["basic"]
    objects = [give(site, repo, str(each["oid"]), int(each["size"]), transfers) for each in asked]
    multipart = any("chunk_size" in each.get("actions", {}).get("upload", {}).get("header", {}) for each in objects)
    answer = as_json({"transfer": "multipart" if multipart else "basic", "objects": objects, "hash_algo": "sha256"})
    answer.headers |= _LFS_JSON
    return answer


def _is_pull_request(ref: Any) -> bool:
    return isinstance(ref, dict) and str(ref.get("name")).startswith("refs/pr/")


def _download_action(site: Site, repo: Repository, oid: str, size: int, _transfers: list[str]) -> dict[str, Any]:
    if oid not in repo.objects:
        return {"oid": oid, "size": size, "error": {"code": 404, "message": "Object does not exist"}}
    action = {"href": signed(site, "GET", repo, oid), "expires_in": 3600}
    return {"oid": oid, "size": size, "authenticated": True, "actions": {"download": action}}


def _upload_action(site: Site, repo: Repository, oid: str, size: int, transfers: list[str]) -> dict[str, Any]:
    if oid in repo.objects:
        return {"oid": oid, "size": size}
    base = f"{site.url}{repo.url_path}.git/info/lfs/objects"
    verify = {"href": f"{base}/verify", "header": {}}
    if size > site.multipart_bytes and "multipart" in transfers:
        num_parts = -(-size // site.part_bytes)
        header = {"chunk_size": str(site.part_bytes)}
        header |= {str(part): signed(site, "PUT", repo, oid, part, partNumber=str(part)) for part in range(1, num_parts + 1)}
        query = urlencode({"uploadId": f"{_key(repo)}/{oid}", "signature": _signature("POST", f"{_key(repo)}/{oid}")})
        upload = {"href": f"{site.url}/api/complete_multipart?{query}", "header": header}
    else:
        upload = {"href": signed(site, "PUT", repo, oid), "header": {}}
    return {"oid": oid, "size": size, "authenticated": True, "actions": {"upload": upload, "verify": verify}}


def complete_multipart(site: Site, request: Request, _at: Mapping[str, str]) -> Response:
    """Put the parts of an object together. No token comes with this request: its address is signed."""
    upload, fields = request.value("uploadId") or "", request.fields()
    if not hmac.compare_digest(request.value("signature") or "", _signature("POST", upload)):
        raise HubError(403, "SignatureDoesNotMatch")
    parts = site.uploads.get(upload, {})
    named = {int(part["partNumber"]): str(part["etag"]).strip('"') for part in fields.get("parts", [])}
    if sorted(named) != list(range(1, len(named) + 1)) or not all(
        number in parts and hashlib.md5(parts[number], usedforsecurity=False).hexdigest() == etag
        for number, etag in named.items()
    ):
        raise HubError(400, "InvalidPart: one or more of the specified parts could not be found")
    repo = next(repo for repo in site.repos.values() if upload.startswith(f"{_key(repo)}/"))
    _keep(repo, str(fields.get("oid")), b"".join(parts[number] for number in sorted(named)))
    del site.uploads[upload]
    return as_json({"success": True})


def lfs_verify(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Check that an object has arrived with the size that the client has."""
    repo, fields = site.repo(request, at["type"], at["id"]), request.fields()
    content = repo.objects.get(str(fields.get("oid")))
    if content is None:
        raise HubError(404, "Object does not exist")
    if len(content) != fields.get("size"):
        raise HubError(422, f"Size mismatch: expected {fields.get('size')}, got {len(content)}")
    return as_json({"success": True})


# --- commits -----------------------------------------------------------------------------------------------------------


def preupload(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Say how each file is to be uploaded and what is there under its path now."""
    repo = site.repo(request, at["type"], at["id"])
    _check_commit(site, request, repo, at["revision"])
    commit = commit_at(repo, at["revision"])
    fields = request.fields()
    ignore = fields.get("gitIgnore")
    if ignore is None and ".gitignore" in commit.files:
        ignore = repo.read(commit.files[".gitignore"]).decode("utf-8", "replace")
    answers = []
    for each in fields.get("files", []):
        path, there = each["path"], commit.files.get(each["path"])
        mode = "lfs" if repo.uses_lfs(path, int(each["size"]), commit) else "regular"
        about = {"path": path, "uploadMode": mode, "shouldIgnore": is_ignored(path, ignore or "")}
        answers.append(about | ({"oid": there.etag} if there else {}))
    return as_json({"files": answers, "commitOid": commit.oid})


def _check_commit(site: Site, request: Request, repo: Repository, revision: str) -> None:
    """Refuse a visitor who may not commit: a pull request may be opened by all who read, and continued by who opened it."""
    token = site.accounts.token_of(request)
    if token is None:
        raise HubError(401, NO_TOKEN)
    if token.role == "read" or site.accounts.can_write(token, repo.namespace):
        site.check_write(request, repo)
        return
    if request.flag("create_pr") or discussions.opened_by(repo, revision) == token.user:
        return
    raise HubError(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")


def commit(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Carry out all operations of a commit, or none."""
    repo = site.repo(request, at["type"], at["id"])
    _check_commit(site, request, repo, at["revision"])
    header, operations = _read_lines(request)
    with repo.lock:
        commit_at(repo, at["revision"])
        ref = repo.branch(at["revision"])
        if ref is None:
            raise HubError(404, f"Invalid rev id: {at['revision']}", "RevisionNotFound")
        base = _base(repo, repo.commits[repo.refs[ref]], header.get("parentCommit"), pull_request=request.flag("create_pr"))
        files = dict(base.files)
        for key, value in operations:
            _apply(repo, files, key, value)
        _check_card(repo, base, files)
        title, message = str(header["summary"]), str(header.get("description") or "")
        opened = None
        if request.flag("create_pr"):
            opened = discussions.open_discussion(site, request, repo, title=title, text=message, base=ref, start=base)
            ref = f"refs/pr/{opened['num']}"
        made = repo.add_commit(ref, files, title=title, message=message, author=str(request.user), date=site.now())
        if opened:
            discussions.add_event(site, request, opened, "commit", {"subject": title, "oid": made.oid})
    page = site.url + repo.url_path
    about = {"success": True, "commitOid": made.oid, "commitUrl": f"{page}/commit/{made.oid}", "hookOutput": ""}
    if opened:
        about["pullRequestUrl"] = f"{page}/discussions/{opened['num']}"
    return as_json(about)


def _base(repo: Repository, head: Commit, parent: str | None, *, pull_request: bool) -> Commit:
    """Find the commit to build on: the head, which must be the one that the client knows (7 characters will do)."""
    if parent is None or (len(parent) >= 7 and head.oid.startswith(parent)):
        return head
    known = [each for each in repo.history(head) if len(parent) >= 7 and each.oid.startswith(parent)]
    if pull_request and known:
        return known[0]
    raise HubError(412, MOVED_HEAD)


def _read_lines(request: Request) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """Read the body: a JSON object on each line, the header first."""
    if "application/x-ndjson" not in request.headers.get("content-type", ""):
        raise HubError(400, "Content-Type must be application/x-ndjson")
    try:
        lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
        items = [(str(line["key"]), dict(line["value"])) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise HubError(400, f"Invalid ndjson body: {error}") from error
    if not items or items[0][0] != "header":
        raise HubError(400, 'The first line must have the key "header"')
    if not items[0][1].get("summary"):
        raise HubError(400, '"value.summary" is not allowed to be empty')
    return items[0][1], items[1:]


def _apply(repo: Repository, files: dict[str, Entry], key: str, value: Mapping[str, Any]) -> None:
    """Carry out one operation on the files of the commit to be."""
    path = str(value.get("path", "")).removesuffix("/")
    if not path or any(part in ("", ".", "..", ".git") for part in path.split("/")):
        raise HubError(400, f'Invalid path: "{value.get("path")}"')
    match key:
        case "file":
            _put(files, path, repo.put_regular(_content(path, value)))
        case "lfsFile":
            _put(files, path, _pointer(repo, path, value))
        case "deletedFile" | "deletedFolder":
            _delete(files, path, folder=key == "deletedFolder")
        case "copyFile":
            source = commit_at(repo, value["srcRev"]).files if value.get("srcRev") else files
            if value.get("srcPath") not in source:
                raise HubError(404, f"A file with this name doesn't exist: {value.get('srcPath')}", "EntryNotFound")
            _put(files, path, source[str(value["srcPath"])])
        case _:
            raise HubError(400, f'"key" must be one of [file, lfsFile, deletedFile, deletedFolder, copyFile], got "{key}"')


def _pointer(repo: Repository, path: str, value: Mapping[str, Any]) -> Entry:
    """Make the pointer to an object, which must have been uploaded (without a size where a file is copied)."""
    if value.get("algo", "sha256") != "sha256" or str(value.get("oid")) not in repo.objects:
        raise HubError(400, f"LFS pointer pointed to a file that does not exist: {path} ({value.get('oid')})")
    entry = repo.put_pointer(str(value["oid"]))
    if value.get("size", entry.size) != entry.size:
        raise HubError(400, f"LFS pointer of {path} has size {value['size']}, the file has {entry.size}")
    return entry


def _delete(files: dict[str, Entry], path: str, *, folder: bool) -> None:
    gone = [name for name in files if (name.startswith(f"{path}/") if folder else name == path)]
    if not gone:
        raise HubError(404, f"A {'folder' if folder else 'file'} with this name doesn't exist: {path}", "EntryNotFound")
    for name in gone:
        del files[name]


def _put(files: dict[str, Entry], path: str, entry: Entry) -> None:
    """Set a file, as git does: what was a folder becomes the file, and the other way round."""
    parts = path.split("/")
    for name in [name for name in files if name.startswith(f"{path}/")]:
        del files[name]
    for depth in range(1, len(parts)):
        files.pop("/".join(parts[:depth]), None)
    files[path] = entry


def _content(path: str, value: Mapping[str, Any]) -> bytes:
    text = str(value.get("content", ""))
    try:
        content = base64.b64decode(text, validate=True) if value.get("encoding") == "base64" else text.encode()
    except binascii.Error as error:
        raise HubError(400, f"Invalid base64 content of {path}") from error
    if len(content) > REGULAR_LIMIT_BYTES:
        raise HubError(400, f"Your push was rejected because it contains files larger than 10 MiB: {path}. Please use LFS.")
    return content


def _check_card(repo: Repository, base: Commit, files: Mapping[str, Entry]) -> None:
    """Refuse a card that the Hub cannot read."""
    readme = files.get("README.md")
    if readme is None or readme == base.files.get("README.md"):
        return
    errors, _ = cards.validate_card(repo.read(readme).decode("utf-8", "replace"), repo.type)
    if errors:
        raise HubError(400, f"Invalid metadata in README.md. {' '.join(errors)}")
