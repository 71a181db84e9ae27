"""Discussions and pull requests."""

from collections.abc import Mapping
from typing import Any

from tests.hub.protocol import NO_TOKEN, HubError, Request, Response, as_json
from tests.hub.site import Site, as_date, commit_at, object_id
from tests.hub.storage import Commit, Entry, Repository


def opened_by(repo: Repository, revision: str) -> str | None:
    """Tell who opened the pull request that a revision such as `refs/pr/2` belongs to."""
    number = revision.removeprefix("refs/pr/")
    if number == revision or not number.isdigit() or not 0 < int(number) <= len(repo.discussions):
        return None
    return str(repo.discussions[int(number) - 1]["author"]["name"])


def open_discussion(
    site: Site,
    request: Request,
    repo: Repository,
    *,
    title: str,
    text: str,
    base: str | None = None,
    start: Commit | None = None,
) -> dict[str, Any]:
    """Open a discussion, or a pull request where the branch to merge into is given.

    Args:
        site: the Hub.
        request: whose user opens it.
        repo: where.
        title: its title.
        text: the first comment.
        base: full ref of the branch to merge into; None for a discussion.
        start: commit that the pull request begins at.

    Returns:
        The discussion.
    """
    opened: dict[str, Any] = {
        "num": len(repo.discussions) + 1, "title": title, "author": _author(request), "createdAt": as_date(site.now()),
        "status": "open", "repo": {"name": repo.id, "type": repo.type}, "isPullRequest": base is not None,
        "pinned": False, "locked": False, "events": [],
    }  # fmt: skip
    if base is not None and start is not None:
        opened |= {"changes": {"base": base}, "filesWithConflicts": []}
        repo.refs[f"refs/pr/{opened['num']}"] = start.oid
    repo.discussions.append(opened)
    add_event(site, request, opened, "comment", _comment(text))
    return opened


def _author(request: Request) -> dict[str, Any]:
    return {"name": request.user, "fullname": request.user, "type": "user", "avatarUrl": f"/avatars/{request.user}.svg"}


def _comment(text: str) -> dict[str, Any]:
    return {"edited": False, "hidden": False, "latest": {"raw": text, "html": text}}


def add_event(site: Site, request: Request, opened: dict[str, Any], kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Add what happened to a discussion."""
    event = {
        "id": object_id(opened["repo"]["type"], opened["repo"]["name"], str(opened["num"]), str(len(opened["events"]))),
        "type": kind, "createdAt": as_date(site.now()), "author": _author(request), "data": dict(data),
    }  # fmt: skip
    opened["events"].append(event)
    return event


def _find(repo: Repository, at: Mapping[str, str]) -> dict[str, Any]:
    number = int(at["num"])
    if not 0 < number <= len(repo.discussions):
        raise HubError(404, "Discussion not found")
    return repo.discussions[number - 1]


def _named(repo: Repository, opened: Mapping[str, Any]) -> dict[str, Any]:
    # the repository may have been renamed since
    return {**opened, "repo": {"name": repo.id, "type": repo.type}}


def list_discussions(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """List discussions, the newest first, 50 on a page."""
    repo = site.repo(request, at["type"], at["id"])
    kind, status, author = request.value("type", "all"), request.value("status", "all"), request.value("author")
    found = [
        opened
        for opened in reversed(repo.discussions)
        if kind in ("all", "pull_request" if opened["isPullRequest"] else "discussion")
        and (status == "all" or (status == "open") == (opened["status"] in ("open", "draft")))
        and author in (None, opened["author"]["name"])
    ]
    size, number = site.page(50), request.number("p", 0)
    listed = [
        {key: value for key, value in _named(repo, each).items() if key != "events"} for each in found[number * size :][:size]
    ]
    closed = sum(opened["status"] not in ("open", "draft") for opened in repo.discussions) if number == 0 else None
    return as_json({
        "discussions": listed, "count": len(found), "start": number * size, "numClosedDiscussions": closed,
    })  # fmt: skip


def create_discussion(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Open a discussion or an empty pull request, a draft."""
    repo, fields = site.repo(request, at["type"], at["id"]), request.fields()
    if request.user is None:
        raise HubError(401, NO_TOKEN)
    title = str(fields.get("title", "")).strip()
    if not 3 <= len(title) <= 200:
        raise HubError(400, '"title" length must be between 3 and 200 characters long')
    with repo.lock:
        pull = bool(fields.get("pullRequest"))
        about = {"base": "refs/heads/main", "start": commit_at(repo, "main")} if pull else {}
        opened = open_discussion(site, request, repo, title=title, text=str(fields.get("description", "")), **about)  # type: ignore[arg-type]
        if pull:
            opened["status"] = "draft"
    return as_json({"num": opened["num"], "pullRequest": pull, "url": f"{site.url}{repo.url_path}/discussions/{opened['num']}"})


def get_discussion(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Give a discussion with all that happened in it."""
    repo = site.repo(request, at["type"], at["id"])
    opened = _named(repo, _find(repo, at))
    if opened["isPullRequest"] and request.value("diff"):
        opened["diff"] = _diff(repo, opened)
    return as_json(opened)


def _diff(repo: Repository, opened: Mapping[str, Any]) -> str:
    """Name the files that a pull request changes, as the head of a diff does."""
    base, head = repo.commits[repo.refs[opened["changes"]["base"]]], repo.commits[repo.refs[f"refs/pr/{opened['num']}"]]
    changed = [path for path in sorted(base.files.keys() | head.files.keys()) if base.files.get(path) != head.files.get(path)]
    return "".join(f"diff --git a/{path} b/{path}\n" for path in changed)


def change_discussion(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Comment on a discussion, rename, close or merge it."""
    repo, fields = site.repo(request, at["type"], at["id"]), request.fields()
    if request.user is None:
        raise HubError(401, NO_TOKEN)
    with repo.lock:
        opened = _find(repo, at)
        if at["action"] == "comment":
            event = add_event(site, request, opened, "comment", _comment(str(fields.get("comment", ""))))
            return as_json({"newMessage": event})
        if request.user != opened["author"]["name"] or at["action"] == "merge":
            site.check_write(request, repo)
        if at["action"] == "title":
            event = add_event(site, request, opened, "title-change", {"from": opened["title"], "to": fields["title"]})
            opened["title"] = fields["title"]
            return as_json({"newTitle": event})
        if at["action"] == "merge":
            _merge(site, request, repo, opened)
            return as_json({"merged": True})
        opened["status"] = fields["status"]
        return as_json({"newStatus": add_event(site, request, opened, "status-change", {"status": fields["status"]})})


def _merge(site: Site, request: Request, repo: Repository, opened: dict[str, Any]) -> None:
    """Bring the files that a pull request changed into its base branch."""
    if not opened["isPullRequest"] or opened["status"] not in ("open", "draft"):
        raise HubError(400, "This pull request cannot be merged")
    ref = opened["changes"]["base"]
    base, head = repo.commits[repo.refs[ref]], repo.commits[repo.refs[f"refs/pr/{opened['num']}"]]
    known = {each.oid for each in repo.history(base)}
    common = next(each for each in repo.history(head) if each.oid in known)
    files, conflicts = _merged(common.files, base.files, head.files)
    if conflicts:
        opened["filesWithConflicts"] = conflicts
        raise HubError(409, f"This pull request has conflicts in {', '.join(conflicts)}")
    made = repo.add_commit(
        ref, files, title=f"{opened['title']} (#{opened['num']})", author=str(request.user), date=site.now(),
        parents=[base.oid, head.oid],
    )  # fmt: skip
    opened["status"] = "merged"
    opened["changes"]["mergeCommitId"] = made.oid
    add_event(site, request, opened, "status-change", {"status": "merged"})


def _merged(
    common: Mapping[str, Entry], ours: Mapping[str, Entry], theirs: Mapping[str, Entry]
) -> tuple[dict[str, Entry], list[str]]:
    files, conflicts = dict(ours), []
    for path in sorted(common.keys() | theirs.keys()):
        if theirs.get(path) == common.get(path) or theirs.get(path) == ours.get(path):
            continue
        if ours.get(path) != common.get(path):
            conflicts.append(path)
        elif path in theirs:
            files[path] = theirs[path]
        else:
            del files[path]
    return files, conflicts
