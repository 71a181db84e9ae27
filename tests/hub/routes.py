"""The routes that read repositories, and the table of all routes."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from tests.hub import cards, discussions, manage, uploads
from tests.hub.protocol import HubError, Request, Response, as_json, file_response, pages
from tests.hub.site import Site, as_date, commit_at
from tests.hub.storage import Commit, Entry, Repository, build_tree, lfs_pointer

Handler = Callable[[Site, Request, Mapping[str, str]], Response]


# --- what is in a repository -------------------------------------------------------------------------------------------


def info(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Describe a repository at a revision."""
    repo = site.repo(request, at["type"], at["id"])
    commit = commit_at(repo, at.get("revision") or "main")
    about = cards.describe(repo, commit, blobs=request.flag("blobs"))
    return as_json(cards.shown(about, repo.type, request.values("expand")))


def search(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """List the repositories that fit."""
    token = site.accounts.token_of(request)
    seen = [repo for repo in site.all_repos(at["type"]) if site.visible(token, repo)]
    found = [about for about in (cards.describe(repo, commit_at(repo, "main")) for repo in seen) if _fits(request, about)]
    key = {"lastModified": "lastModified", "createdAt": "createdAt", "likes": "likes", "downloads": "downloads"}
    field = key.get(str(request.value("sort")), "trendingScore")
    found.sort(key=lambda about: about[field], reverse=request.value("direction") != "1")
    limit = request.number("limit", site.page(1000))
    page, headers = pages(request, found, min(limit, site.page(1000)), site.url)
    expand = request.values("expand")
    detail = {"full": request.flag("full"), "card": request.flag("cardData"), "config": request.flag("config")}
    items = [cards.shown(each, at["type"], expand) if expand else cards.listed(each, at["type"], **detail) for each in page]
    answer = as_json(items)
    answer.headers |= headers
    return answer


def _fits(request: Request, about: Mapping[str, Any]) -> bool:
    wanted = [tag for value in request.values("filter") for tag in value.split(",") if tag]
    wanted += request.values("pipeline_tag")
    gated = request.value("gated")
    return (
        set(wanted) <= set(about["tags"])
        and all(word.lower() in about["id"].lower() for word in request.values("search"))
        and request.value("author") in (None, about["author"])
        and (gated is None or (about["gated"] is not False) == request.flag("gated"))
    )


def _file_info(path: str, entry: Entry) -> dict[str, Any]:
    about: dict[str, Any] = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.sha256 is not None:
        pointer = len(lfs_pointer(entry.sha256, entry.size))
        about["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": pointer}
    return about


def _expanded(repo: Repository, commit: Commit, items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each path the commit that last changed it, and what the Hub's scan says."""
    for about in items:
        last = repo.last_change(commit, about["path"])
        about["lastCommit"] = {"id": last.oid, "title": last.title, "date": as_date(last.date)}
        if about["type"] == "file":
            about["securityFileStatus"] = {"status": "safe", "avScan": {"virusFound": False}, "pickleImportScan": None}
    return list(items)


def tree(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """List a folder of a revision."""
    repo = site.repo(request, at["type"], at["id"])
    site.check_gate(request, repo)
    commit = commit_at(repo, at["revision"])
    folder = (at.get("path") or "").strip("/")
    folders = build_tree(commit.files).folders
    if folder not in folders:
        raise HubError(404, f'{folder} does not exist on "{at["revision"]}"', "EntryNotFound")
    start = f"{folder}/" if folder else ""
    items: list[dict[str, Any]] = [
        {"type": "directory", "oid": oid, "size": 0, "path": path} for path, oid in sorted(folders.items()) if path
    ]
    items += [_file_info(path, entry) for path, entry in commit.files.items()]
    items = [about for about in items if about["path"].startswith(start)]
    if request.flag("recursive"):
        items.sort(key=lambda about: about["path"])
    else:
        items = [about for about in items if "/" not in about["path"][len(start) :]]
    expand = request.flag("expand")
    page, headers = pages(request, items, site.page(50 if expand else 1000), site.url)
    answer = as_json(_expanded(repo, commit, list(page)) if expand else page)
    answer.headers |= headers
    return answer


def paths_info(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Describe the paths named in the body; those that are not there are left out."""
    repo = site.repo(request, at["type"], at["id"])
    site.check_gate(request, repo)
    commit = commit_at(repo, at["revision"])
    folders = build_tree(commit.files).folders
    fields = request.fields()
    items: list[dict[str, Any]] = []
    for path in cards.as_list(fields.get("paths") or []):
        name = path.strip("/")
        if name in commit.files:
            items.append(_file_info(name, commit.files[name]))
        elif name in folders and name:
            items.append({"type": "directory", "oid": folders[name], "size": 0, "path": name})
    expand = str(cards.as_list(fields.get("expand"))[-1]).lower() in ("true", "1")
    return as_json(_expanded(repo, commit, items) if expand else items)


def commits(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """List the commits up to a revision; the pages are numbered here."""
    repo = site.repo(request, at["type"], at["id"])
    site.check_gate(request, repo)
    history = repo.history(commit_at(repo, at["revision"]))
    size, number = request.number("limit", site.page(50)), request.number("p", 0)
    formatted = "formatted" in request.values("expand")
    answer = as_json([_commit_info(each, formatted=formatted) for each in history[number * size :][:size]])
    answer.headers["X-Total-Count"] = str(len(history))
    if (number + 1) * size < len(history):
        rest = [f"{quote(name)}={quote(value)}" for name, values in request.query.items() for value in values if name != "p"]
        answer.headers["Link"] = f'<{site.url}{request.path}?{"&".join([*rest, f"p={number + 1}"])}>; rel="next"'
    return answer


def _commit_info(commit: Commit, *, formatted: bool) -> dict[str, Any]:
    about: dict[str, Any] = {
        "id": commit.oid, "title": commit.title, "message": commit.message, "date": as_date(commit.date),
        "authors": [{"user": commit.author, "avatar": f"/avatars/{commit.author}.svg"}],
    }  # fmt: skip
    if formatted:
        about["formatted"] = {"title": commit.title, "message": commit.message}
    return about


def refs(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """List branches, tags and, if asked for, pull requests."""
    repo = site.repo(request, at["type"], at["id"])

    def below(start: str) -> Sequence[dict[str, str]]:
        names = [name for name in sorted(repo.refs) if name.startswith(start)]
        return [{"name": name.removeprefix(start), "ref": name, "targetCommit": repo.refs[name]} for name in names]

    found = {"branches": below("refs/heads/"), "converts": below("refs/convert/"), "tags": below("refs/tags/")}
    if request.flag("include_prs"):
        found["pullRequests"] = [{**each, "name": each["ref"]} for each in below("refs/pr/")]
    return as_json(found)


# --- files -------------------------------------------------------------------------------------------------------------


def resolve(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Give a file: a regular one as it is, one stored by LFS by its address in the storage."""
    repo = site.repo(request, at["type"], at["id"])
    path = at["path"]
    if path != "README.md":  # the card is what tells how to ask for access
        site.check_gate(request, repo)
    commit = commit_at(repo, at["revision"])
    about = {
        "X-Repo-Commit": commit.oid,
        "Access-Control-Expose-Headers": "X-Repo-Commit,X-Error-Code,X-Error-Message,ETag,Link",
    }
    entry = commit.files.get(path)
    if entry is None:
        raise HubError(404, "Entry not found", "EntryNotFound", **about)
    name = quote(path.rsplit("/", 1)[-1])
    about["Content-Disposition"] = f"inline; filename*=UTF-8''{name}; filename=\"{name}\";"
    if entry.sha256 is None:
        about |= {"ETag": f'"{entry.oid}"', "Content-Type": "text/plain; charset=utf-8"}
        return file_response(request, repo.read(entry), about)
    about |= {"X-Linked-Size": str(entry.size), "X-Linked-ETag": f'"{entry.sha256}"', "Accept-Ranges": "bytes"}
    about |= {"Location": uploads.signed(site, "GET", repo, entry.sha256), "Content-Type": "text/plain; charset=utf-8"}
    return Response(status=302, headers=about, body=f"Found. Redirecting to {about['Location']}".encode())


def raw(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Give what git has of a file: of one stored by LFS, the pointer."""
    repo = site.repo(request, at["type"], at["id"])
    site.check_gate(request, repo)
    entry = commit_at(repo, at["revision"]).files.get(at["path"])
    if entry is None:
        raise HubError(404, "Entry not found", "EntryNotFound")
    return file_response(
        request, repo.blobs[entry.oid], {"ETag": f'"{entry.oid}"', "Content-Type": "text/plain; charset=utf-8"}
    )


# --- the table ---------------------------------------------------------------------------------------------------------

_API = r"/api/(?P<type>model|dataset|space)s"
_REPO = rf"{_API}/(?P<id>[^/]+(?:/[^/]+)?)"
_REVISION = r"(?P<revision>refs/(?:pr|convert|heads|tags)/[^/]+|[^/]+)"
_PAGE = r"/(?:(?P<type>dataset|space)s/)?(?P<id>[^/]+(?:/[^/]+)?)"


@dataclass(frozen=True, slots=True)
class Route:
    """Which requests a function answers."""

    method: str
    path: re.Pattern[str]
    handler: Handler


def _table(*routes: tuple[str, str, Handler]) -> tuple[Route, ...]:
    return tuple(Route(method, re.compile(f"^{path}$"), handler) for method, path, handler in routes)


HUB_ROUTES = _table(
    ("GET", "/api/whoami-v2", manage.whoami),
    ("GET", "/api/agent-harnesses", manage.agent_harnesses),
    ("GET", r"/api/users/(?P<name>[^/]+)/overview", manage.user_overview),
    ("GET", r"/api/organizations/(?P<name>[^/]+)/overview", manage.organization_overview),
    ("POST", "/api/validate-yaml", manage.validate_yaml),
    ("POST", "/api/repos/create", manage.create_repo),
    ("DELETE", "/api/repos/delete", manage.delete_repo),
    ("POST", "/api/repos/move", manage.move_repo),
    ("POST", "/api/complete_multipart", uploads.complete_multipart),
    ("GET", _API, search),
    ("GET", rf"{_REPO}/revision/{_REVISION}", info),
    ("GET", rf"{_REPO}/tree/{_REVISION}(?:/(?P<path>.*))?", tree),
    ("POST", rf"{_REPO}/paths-info/{_REVISION}", paths_info),
    ("GET", rf"{_REPO}/commits/{_REVISION}", commits),
    ("GET", rf"{_REPO}/refs", refs),
    ("POST", rf"{_REPO}/branch/(?P<name>.+)", manage.create_branch),
    ("DELETE", rf"{_REPO}/branch/(?P<name>.+)", manage.delete_branch),
    ("POST", rf"{_REPO}/tag/(?P<name>.+)", manage.create_tag),
    ("DELETE", rf"{_REPO}/tag/(?P<name>.+)", manage.delete_tag),
    ("POST", rf"{_REPO}/super-squash/(?P<name>.+)", manage.super_squash),
    ("PUT", rf"{_REPO}/settings", manage.settings),
    ("GET", rf"{_REPO}/auth-check(?P<write>/write)?", manage.auth_check),
    ("POST", rf"{_REPO}/preupload/{_REVISION}", uploads.preupload),
    ("POST", rf"{_REPO}/commit/{_REVISION}", uploads.commit),
    ("GET", rf"{_REPO}/discussions", discussions.list_discussions),
    ("POST", rf"{_REPO}/discussions", discussions.create_discussion),
    ("GET", rf"{_REPO}/discussions/(?P<num>\d+)", discussions.get_discussion),
    ("POST", rf"{_REPO}/discussions/(?P<num>\d+)/(?P<action>comment|title|status|merge)", discussions.change_discussion),
    ("GET", _REPO, info),
    ("POST", rf"{_PAGE}\.git/info/lfs/objects/batch", uploads.lfs_batch),
    ("POST", rf"{_PAGE}\.git/info/lfs/objects/verify", uploads.lfs_verify),
    ("GET", rf"{_PAGE}/resolve/{_REVISION}/(?P<path>.+)", resolve),
    ("GET", rf"{_PAGE}/raw/{_REVISION}/(?P<path>.+)", raw),
)
STORAGE_ROUTES = _table(
    ("PUT", r"/repos/(?P<key>[^/]+)/(?P<oid>[0-9a-f]{64})", uploads.put_object),
    ("PUT", r"/repos/(?P<key>[^/]+)/(?P<oid>[0-9a-f]{64})/(?P<part>\d+)", uploads.put_part),
    ("GET", r"/repos/(?P<key>[^/]+)/(?P<oid>[0-9a-f]{64})", uploads.get_object),
)


def answer(site: Site, request: Request) -> Response:
    """Answer a request.

    Args:
        site: the state of the Hub, which the request may change.
        request: the request; its `user` is set where a token came with it.

    Returns:
        The answer; errors are answers too.
    """
    method = "GET" if request.method == "HEAD" else request.method
    try:
        for route in HUB_ROUTES if request.host == "hub" else STORAGE_ROUTES:
            found = route.path.match(request.path)
            if found and route.method == method:
                at = {name: unquote(value) for name, value in found.groupdict().items() if value is not None}
                return route.handler(site, request, {"type": "model"} | at)
    except HubError as error:
        return error.response()
    return HubError(404, "Sorry, we can't find the page you are looking for.").response()
