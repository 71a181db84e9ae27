"""The routes of accounts, and those that make, change and remove repositories, branches and tags."""

import re
from collections.abc import Mapping
from typing import Any

from tests.hub import cards
from tests.hub.protocol import NO_TOKEN, HubError, Request, Response, as_json, done
from tests.hub.site import Site, as_date, commit_at, object_id

_NO_REF = ("..", "//", "@{", "/.", " ", "~", "^", ":", "?", "*", "[", "\\")
_NAME = re.compile(r"^(?!.*(--|\.\.))[A-Za-z0-9_]([\w.-]{0,94}[A-Za-z0-9_])?$")


# --- accounts ----------------------------------------------------------------------------------------------------------


def whoami(site: Site, request: Request, _at: Mapping[str, str]) -> Response:
    """Say whose token came."""
    token = site.accounts.token_of(request)
    if token is None:
        raise HubError(401, NO_TOKEN)
    about: dict[str, Any] = {"displayName": f"{token.user}-token", "role": token.role, "createdAt": as_date(site.now())}
    if token.role == "fineGrained":
        scoped = [
            {"entity": {"type": "user", "name": name}, "permissions": ["repo.content.read", "repo.write"]}
            for name in sorted(token.namespaces)
        ]
        about["fineGrained"] = {"scoped": scoped, "canReadGatedRepos": False, "global": []}
    orgs = [
        {"type": "org", "id": object_id("org", name), "name": name, "fullname": name, "roleInOrg": members[token.user]}
        for name, members in site.accounts.organizations.items()
        if token.user in members
    ]
    return as_json({
        "type": "user", "id": object_id("user", token.user), "name": token.user, "fullname": token.user,
        "email": f"{token.user}@example.com", "emailVerified": True, "canPay": False, "isPro": False, "periodEnd": None,
        "avatarUrl": f"/avatars/{token.user}.svg", "orgs": orgs, "auth": {"type": "access_token", "accessToken": about},
    })  # fmt: skip


def user_overview(site: Site, _request: Request, at: Mapping[str, str]) -> Response:
    """Describe a user."""
    if at["name"] not in site.accounts.users:
        raise HubError(404, "This user does not exist")
    name = at["name"]
    return as_json({
        "_id": object_id("user", name), "user": name, "type": "user", "fullname": name, "avatarUrl": f"/avatars/{name}.svg",
        "isPro": False, "numModels": sum(repo.namespace == name for repo in site.all_repos("model")),
    })  # fmt: skip


def organization_overview(site: Site, _request: Request, at: Mapping[str, str]) -> Response:
    """Describe an organisation."""
    name = at["name"]
    if name not in site.accounts.organizations:
        raise HubError(404, "Sorry, we can't find the page you are looking for.")
    members = site.accounts.organizations[name]
    return as_json({
        "_id": object_id("org", name), "name": name, "fullname": name, "avatarUrl": f"/avatars/{name}.svg", "isVerified": False,
        "numUsers": len(members), "numModels": sum(repo.namespace == name for repo in site.all_repos("model")),
    })  # fmt: skip


def agent_harnesses(_site: Site, _request: Request, _at: Mapping[str, str]) -> Response:
    """Give the register of environment variables that 2.x asks for once a day, for its `User-Agent`: empty here."""
    return as_json({"standardEnvVars": [], "harnesses": {}})


def validate_yaml(_site: Site, request: Request, _at: Mapping[str, str]) -> Response:
    """Check a card's metadata."""
    fields = {key: value[-1] if isinstance(value, list) else value for key, value in request.fields().items()}
    errors, warnings = cards.validate_card(str(fields.get("content", "")), str(fields.get("repoType", "model")))
    found = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return as_json(found, status=400 if errors else 200)


# --- making, moving and removing repositories --------------------------------------------------------------------------


def _target(site: Site, request: Request, fields: Mapping[str, Any]) -> tuple[str, str]:
    """Read which repository a body names: type and name with namespace."""
    token = site.accounts.token_of(request)
    if token is None:
        raise HubError(401, NO_TOKEN)
    name, organization = str(fields.get("name") or ""), fields.get("organization")
    if "/" in name:
        organization, _, name = name.partition("/")
    repo_type = str(fields.get("type") or "model")
    if repo_type not in cards.EXPANDABLE:
        raise HubError(400, f'"type" must be one of [model, dataset, space], got "{repo_type}"')
    return repo_type, f"{organization or token.user}/{name}"


def _check_namespace(site: Site, request: Request, repo_type: str, namespace: str) -> None:
    if not site.accounts.can_write(site.accounts.token_of(request), namespace):
        raise HubError(403, f'You don\'t have the rights to create a {repo_type} under the namespace "{namespace}"')


def _check_name(name: str) -> None:
    if not _NAME.match(name) or name.endswith((".git", ".ipynb")):
        raise HubError(
            400,
            f"Invalid repo name: {name} - only regular characters and '-', '_', '.' accepted, "
            "'--' and '..' are forbidden, '-' and '.' cannot start or end the name",
        )


def create_repo(site: Site, request: Request, _at: Mapping[str, str]) -> Response:
    """Make a repository."""
    fields = request.fields()
    repo_type, repo_id = _target(site, request, fields)
    namespace, _, name = repo_id.partition("/")
    _check_name(name)
    _check_namespace(site, request, repo_type, namespace)
    if repo_type == "space" and fields.get("sdk") not in ("gradio", "streamlit", "docker", "static"):
        raise HubError(400, '"sdk" must be one of [gradio, streamlit, docker, static]')
    with site.lock:
        if (repo_type, repo_id) in site.repos:
            url = site.url + site.repos[repo_type, repo_id].url_path
            answer = HubError(409, f"You already created this {repo_type} repo").response()
            answer.body = as_json({"error": f"You already created this {repo_type} repo", "url": url}).body
            return answer
        # 0.36 sends `private`, 2.x `visibility`
        private = fields.get("private") is True or fields.get("visibility") == "private"
        repo = site.create_repo(repo_type, repo_id, author=str(request.user), private=private, sdk=fields.get("sdk"))
    return as_json({"url": site.url + repo.url_path, "name": repo_id, "id": object_id(repo_type, repo.created.isoformat())})


def delete_repo(site: Site, request: Request, _at: Mapping[str, str]) -> Response:
    """Remove a repository."""
    repo_type, repo_id = _target(site, request, request.fields())
    with site.lock:
        site.writable(request, repo_type, repo_id)
        del site.repos[repo_type, repo_id]
    return done()


def move_repo(site: Site, request: Request, _at: Mapping[str, str]) -> Response:
    """Rename a repository; its old name leads to the new one."""
    fields = request.fields()
    repo_type, old, new = str(fields.get("type") or "model"), str(fields.get("fromRepo")), str(fields.get("toRepo"))
    with site.lock:
        repo = site.writable(request, repo_type, old)
        namespace, _, name = new.partition("/")
        _check_name(name)
        _check_namespace(site, request, repo_type, namespace)
        if (repo_type, new) in site.repos:
            raise HubError(409, f"A {repo_type} named {new} already exists")
        site.repos[repo_type, new] = site.repos.pop((repo_type, old))
        repo.id = new
        site.redirects = {key: new if name == old else name for key, name in site.redirects.items() if key != (repo_type, new)}
        site.redirects[repo_type, old] = new
    return done()


def settings(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Change who may see a repository."""
    repo, fields = site.writable(request, at["type"], at["id"]), request.fields()
    if fields.get("gated", False) not in (False, "auto", "manual"):
        raise HubError(400, '"gated" must be one of [auto, manual, false]')
    with repo.lock:
        repo.gated = fields.get("gated", repo.gated)
        if "visibility" in fields:
            repo.private = fields["visibility"] == "private"
        repo.private = fields.get("private", repo.private)
    return as_json({"private": repo.private, "gated": repo.gated})


def auth_check(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Say whether the visitor may read, or write, a repository."""
    repo = site.repo(request, at["type"], at["id"])
    site.check_gate(request, repo)
    if at.get("write"):
        site.check_write(request, repo)
    return as_json({})


# --- branches and tags --------------------------------------------------------------------------------------------------


def _check_ref(name: str) -> None:
    """Refuse what `git check-ref-format --branch` refuses."""
    has_bad_part = any(part in name for part in _NO_REF) or any(part.endswith(".lock") for part in name.split("/"))
    has_bad_end = name.startswith(("-", "/", ".")) or name.endswith(("/", ".")) or name in ("", "@")
    if has_bad_part or has_bad_end or not name.isprintable():
        raise HubError(400, f"Invalid reference name: {name!r}")


def create_branch(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Make a branch, from `main` or the `startingPoint`."""
    repo = site.writable(request, at["type"], at["id"])
    name = f"refs/heads/{at['name']}"
    _check_ref(at["name"])
    with repo.lock:
        if name in repo.refs:
            raise HubError(409, f"Reference already exists: {name}")
        repo.refs[name] = commit_at(repo, request.fields().get("startingPoint") or "main").oid
    return done()


def delete_branch(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Remove a branch other than `main`."""
    repo = site.writable(request, at["type"], at["id"])
    with repo.lock:
        if at["name"] == "main":
            raise HubError(403, "Cannot delete the main branch")
        if repo.refs.pop(f"refs/heads/{at['name']}", None) is None:
            raise HubError(404, f"Invalid rev id: {at['name']}", "RevisionNotFound")
    return done()


def create_tag(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Tag a revision."""
    repo = site.writable(request, at["type"], at["id"])
    name = f"refs/tags/{request.fields().get('tag')}"
    _check_ref(str(request.fields().get("tag") or ""))
    with repo.lock:
        commit = commit_at(repo, at["name"])
        if name in repo.refs:
            raise HubError(409, f"Tag reference exists already: {name}")
        repo.refs[name] = commit.oid
    return done()


def delete_tag(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Remove a tag."""
    repo = site.writable(request, at["type"], at["id"])
    with repo.lock:
        if repo.refs.pop(f"refs/tags/{at['name']}", None) is None:
            raise HubError(404, f"Invalid rev id: {at['name']}", "RevisionNotFound")
    return done()


def super_squash(site: Site, request: Request, at: Mapping[str, str]) -> Response:
    """Make one commit of a branch's history."""
    repo = site.writable(request, at["type"], at["id"])
    with repo.lock:
        ref, commit = repo.branch(at["name"]), commit_at(repo, at["name"])
        if ref is None:
            raise HubError(404, f"Invalid rev id: {at['name']}", "RevisionNotFound")
        title = str(request.fields().get("message") or "Super-squash branch")
        repo.add_commit(ref, commit.files, title=title, author=str(request.user), date=site.now(), parents=[])
    return done()
