"""The state of a Hub: accounts, repositories, old names; and who may do what with them."""

import hashlib
import itertools
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from tests.hub.protocol import INVALID_TOKEN, NO_TOKEN, HubError, Request
from tests.hub.storage import Commit, Repository, default_gitattributes

Role = Literal["read", "write", "fineGrained"]
_FIRST_MOMENT = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(slots=True, kw_only=True, eq=False)
class Token:
    """A user's token; a fine-grained one reaches only what it names."""

    user: str
    value: str = field(repr=False)
    role: Role = "write"
    namespaces: frozenset[str] = frozenset()
    revoked: bool = False


class Accounts:
    """Users, their tokens, and organisations with their members' roles."""

    def __init__(self) -> None:
        self.users: list[str] = []
        self.tokens: dict[str, Token] = {}
        self.organizations: dict[str, dict[str, str]] = {}

    def token_of(self, request: Request) -> Token | None:
        """Find whose token a request carries.

        Args:
            request: the request; its `user` is set, for the log.

        Returns:
            The token, or None for an anonymous request.

        Raises:
            HubError: the token is unknown or revoked (401).
        """
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if not scheme:
            return None
        token = self.tokens.get(value.strip())
        if scheme.lower() != "bearer" or token is None or token.revoked:
            raise HubError(401, INVALID_TOKEN)
        request.user = token.user
        return token

    def role_in(self, user: str, namespace: str | None) -> str | None:
        """Give a user's role in a namespace: `admin` in the own one."""
        if user == namespace:
            return "admin"
        return self.organizations.get(namespace or "", {}).get(user)

    def can_read(self, token: Token | None, namespace: str | None) -> bool:
        """Say whether a token reaches what is private in a namespace."""
        if token is None or self.role_in(token.user, namespace) is None:
            return False
        return token.role != "fineGrained" or namespace in token.namespaces

    def can_write(self, token: Token | None, namespace: str | None) -> bool:
        """Say whether a token may change what is in a namespace."""
        if token is None or token.role == "read" or not self.can_read(token, namespace):
            return False
        return self.role_in(token.user, namespace) in ("write", "admin")


class Site:
    """Everything a Hub remembers. Addresses are set by the server that serves it."""

    def __init__(self) -> None:
        self.url = ""
        self.storage_url = ""
        self.lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        """Forget everything, settings too; the clock starts again, so that ids of commits repeat."""
        self.accounts = Accounts()
        self.repos: dict[tuple[str, str], Repository] = {}
        self.redirects: dict[tuple[str, str], str] = {}
        self.page_size: int | None = None
        self.multipart_bytes = 5_000_000_000
        self.part_bytes = 16_000_000
        # The Hub itself sends no X-Error-Code with the 401 of a repository that is missing for an anonymous visitor. The
        # client then says RepositoryNotFoundError only where the address begins with https://, which this server's cannot.
        self.names_missing_repo = True
        self.uploads: dict[str, dict[int, bytes]] = {}
        self._ticks = itertools.count()

    def now(self) -> datetime:
        """Give the time, which passes a second each time it is read."""
        return _FIRST_MOMENT + timedelta(seconds=next(self._ticks))

    def page(self, usual: int) -> int:
        """Give how many items go into a page: the Hub's usual number or what a test has set."""
        return self.page_size or usual

    def create_repo(
        self, repo_type: str, repo_id: str, *, author: str, private: bool = False, sdk: str | None = None
    ) -> Repository:
        """Make a repository with the first commit that the Hub makes in it."""
        with self.lock:
            repo = Repository(id=repo_id, type=repo_type, created=self.now(), private=private, sdk=sdk)
            self.repos[repo_type, repo_id] = repo
            self.redirects.pop((repo_type, repo_id), None)
        attributes = repo.put_regular(default_gitattributes(repo_type))
        repo.add_commit(
            "refs/heads/main", {".gitattributes": attributes}, title="initial commit", author=author, date=self.now()
        )
        return repo

    def all_repos(self, repo_type: str) -> Iterable[Repository]:
        """Give the repositories of a type, the oldest first."""
        with self.lock:
            return [repo for (kind, _), repo in self.repos.items() if kind == repo_type]

    def visible(self, token: Token | None, repo: Repository | None) -> bool:
        """Say whether a repository exists as far as this visitor may know."""
        return repo is not None and (not repo.private or self.accounts.can_read(token, repo.namespace))

    def repo(self, request: Request, repo_type: str, repo_id: str) -> Repository:
        """Find a repository for a request.

        Args:
            request: who asks.
            repo_type: "model", "dataset" or "space".
            repo_id: name with namespace.

        Returns:
            The repository.

        Raises:
            HubError: the token is not valid, or the repository is not there for this visitor, or has another name now (307).
        """
        token = self.accounts.token_of(request)
        repo = self.repos.get((repo_type, repo_id))
        if repo is not None and self.visible(token, repo):
            return repo
        self._redirect(request, token, repo_type, repo_id)
        if token is None:
            raise HubError(401, NO_TOKEN, "RepoNotFound" if self.names_missing_repo else None)
        raise HubError(404, "Repository not found", "RepoNotFound")

    def _redirect(self, request: Request, token: Token | None, repo_type: str, repo_id: str) -> None:
        """Send the visitor on where the repository was renamed, or written in other case."""
        name = self.redirects.get((repo_type, repo_id))
        if name is None:
            same = (
                known
                for kind, known in self.repos
                if kind == repo_type and known.lower() == repo_id.lower() and known != repo_id
            )
            name = next(same, None)
        if name is None or not self.visible(token, self.repos.get((repo_type, name))):
            return
        target = request.path.replace(f"/{repo_id}", f"/{name}", 1)
        query = f"?{request.raw_query}" if request.raw_query else ""
        raise HubError(307, f"Temporary Redirect. Redirecting to {target}{query}", Location=target + query)

    def writable(self, request: Request, repo_type: str, repo_id: str) -> Repository:
        """Find a repository that the visitor may change."""
        repo = self.repo(request, repo_type, repo_id)
        self.check_write(request, repo)
        return repo

    def check_write(self, request: Request, repo: Repository) -> None:
        """Refuse a visitor who may not change a repository."""
        token = self.accounts.token_of(request)
        if token is None:
            raise HubError(401, NO_TOKEN)
        if not self.accounts.can_write(token, repo.namespace):
            raise HubError(403, "You have read access but not the required permissions for this operation")

    def check_gate(self, request: Request, repo: Repository) -> None:
        """Refuse the files of a gated repository to a visitor who has not been given access."""
        token = self.accounts.token_of(request)
        if repo.disabled:
            raise HubError(403, "Access to this resource is disabled.")
        if not repo.gated or self.accounts.can_read(token, repo.namespace) or (token and token.user in repo.granted):
            return
        noun = f"{repo.type} {repo.id}"
        if token is None:
            raise HubError(
                401,
                f"Access to {noun} is restricted. You must have access to it and be authenticated to access it. Please log in.",
                "GatedRepo",
            )
        raise HubError(
            403,
            f"Access to {noun} is restricted and you are not in the authorized list. "
            f"Visit {self.url}{repo.url_path} to ask for access.",
            "GatedRepo",
        )


def commit_at(repo: Repository, revision: str) -> Commit:
    """Find a revision of a repository.

    Args:
        repo: the repository.
        revision: branch, tag, ref or full commit id.

    Returns:
        The commit.

    Raises:
        HubError: there is none of that name (404, `RevisionNotFound`).
    """
    commit = repo.find(revision)
    if commit is None:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


def object_id(*parts: str) -> str:
    """Make an id such as the Hub gives to users, repositories and comments: always the same for the same thing."""
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:24]


def as_date(moment: datetime) -> str:
    """Write a time as the Hub does."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
