"""A Hub for tests: a real HTTP server that speaks the REST protocol of the Hugging Face Hub as its own client uses it."""

import contextlib
import hashlib
import io
import logging
import socket
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.hub import routes
from tests.hub.faults import Fault, Faults
from tests.hub.protocol import HubError, Request, Response
from tests.hub.site import Role, Site, Token
from tests.hub.storage import Commit, Repository

_log = logging.getLogger(__name__)


class _Dropped(Exception):
    """The connection is to close without another word."""


class _Handler(BaseHTTPRequestHandler):
    """Turns a connection into requests and answers into bytes; all decisions are made elsewhere."""

    protocol_version = "HTTP/1.1"
    server_version = "test-hub"
    sys_version = ""
    wbufsize = 64 * 1024  # headers and body in one packet: no wait for an acknowledgement in between
    disable_nagle_algorithm = True
    server: "_Listener"

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug(format, *args)

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(method=self.command, host=self.server.host_name, path=path, raw_query=query, headers=headers)
        try:
            self._exchange(request)
        except _Dropped:
            self.close_connection = True
            self.server.forget(self.connection)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _exchange(self, request: Request) -> None:
        hub = self.server.hub
        life = hub.life
        faults: dict[str, Fault] = {fault.kind: fault for fault in hub.faults.strike(request)}
        try:
            if "cut-upload" in faults:
                request.body = self._body(faults["cut-upload"].num_bytes)
                raise _Dropped
            request.body = self._body()
            response = hub.respond(request, faults, life)
        except _Dropped:
            hub.record(request, life)
            raise
        request.status = response.status
        body = b"" if request.method == "HEAD" else response.body
        if "truncate" in faults:
            body = body[: faults["truncate"].num_bytes]
        request.sent = len(body)
        hub.record(request, life)
        self._send(response, body)
        if "truncate" in faults:
            raise _Dropped

    def _body(self, limit: int = sys.maxsize) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunks(limit)
        return self.rfile.read(min(int(self.headers.get("Content-Length") or 0), limit))

    def _chunks(self, limit: int) -> bytes:
        body = io.BytesIO()
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            body.write(self.rfile.read(min(size, limit - body.tell())))
            if body.tell() >= limit:
                return body.getvalue()
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body.getvalue()

    def _send(self, response: Response, body: bytes) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value.encode("ascii", "backslashreplace").decode())
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class _Listener(ThreadingHTTPServer):
    """One listening socket, with its open connections, which end with it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub: "HubServer", host_name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self.host_name = host_name
        self._open: set[socket.socket] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def forget(self, connection: socket.socket) -> None:
        """Close a connection at once."""
        with contextlib.suppress(OSError):  # the client was faster
            connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("connection ended", exc_info=True)  # a client that goes away in the middle is no fault of ours

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            self.forget(connection)


class HubServer(Site):
    """The server. Use it as a context manager, or `start` and `stop` it; `reset` empties it for the next test.

    Attributes:
        url: address, for `HF_ENDPOINT`.
        storage_url: address of a second server for the objects of LFS, as the Hub's are elsewhere too: the client sends no
            token there, and what is read or written there are weights and other large files.
        faults: what goes wrong; see `Fault`.
        log: the requests so far, in the order in which they were answered.
        errors: tracebacks of the server's own mistakes, which it answered with a 500.
        page_size: items on a page of any list; None is the Hub's own sizes.
        multipart_bytes: larger objects are uploaded in parts.
        part_bytes: size of a part.
    """

    def __init__(self) -> None:
        super().__init__()
        self.faults = Faults()
        self.log: list[Request] = []
        self.errors: list[str] = []
        self.life = 0  # counts resets: what arrived before one is neither carried out nor logged after it
        self._stopping = threading.Event()
        self._listeners: list[_Listener] = []

    # --- life ---

    def start(self) -> Self:
        """Listen on two free ports of this machine only."""
        hub, storage = _Listener(self, "hub"), _Listener(self, "storage")
        self.url, self.storage_url = hub.url, storage.url
        self._listeners = [hub, storage]
        for listener in self._listeners:
            threading.Thread(target=listener.serve_forever, args=(0.02,), name=listener.host_name, daemon=True).start()
        return self

    def stop(self) -> None:
        """Close the ports and all connections."""
        self._stopping.set()
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def reset(self) -> None:
        """Forget repositories, users, faults, settings and the log; and let modxfer forget that this Hub did not answer."""
        from modxfer.registry.hub.outage import forget_outage

        forget_outage()
        self.faults.clear()
        with self.lock:
            self.life += 1
            self.clear()
        self.log.clear()
        self.errors.clear()

    # --- requests ---

    def respond(self, request: Request, faults: Mapping[str, Fault], life: int) -> Response:
        """Answer a request, with what is to go wrong.

        Args:
            request: the request.
            faults: by kind.
            life: number of resets before it arrived.

        Returns:
            The answer.

        Raises:
            _Dropped: the connection is to close instead.
        """
        for fault in faults.values():
            if fault.on_request is not None:
                fault.on_request(request)
        if "delay" in faults:
            self._stopping.wait(faults["delay"].seconds)
        if "drop" in faults or life != self.life:
            raise _Dropped
        response = faults["status"].response() if "status" in faults else self._answer(request)
        if "drop-after" in faults:
            raise _Dropped
        if "corrupt" in faults:
            response.body = bytes(byte ^ 0xFF for byte in response.body)
        if request.host == "hub":
            response.headers.setdefault("RateLimit", '"api";r=499;t=300')
            response.headers.setdefault("RateLimit-Policy", '"fixed window";"api";q=500;w=300')
        response.headers.setdefault("X-Request-Id", f"Root=1-{len(self.log):08x}")
        return response

    def _answer(self, request: Request) -> Response:
        try:
            return routes.answer(self, request)
        except Exception:
            self.errors.append(traceback.format_exc())
            return HubError(500, f"The test server has a mistake: {self.errors[-1]}").response()

    def record(self, request: Request, life: int) -> None:
        """Write a request into the log, unless it arrived before a reset."""
        if life == self.life:
            self.log.append(request)

    def clear_log(self) -> None:
        """Forget the requests so far."""
        self.log.clear()

    def requests(self, method: str | None = None, path: str = "", host: str | None = None) -> list[Request]:
        """Give the requests of the log with this method, text in the path, and host."""
        return [
            request
            for request in list(self.log)
            if method in (None, request.method) and path in request.path and host in (None, request.host)
        ]

    # --- setting up without HTTP ---

    def add_user(self, name: str, *, token: str | None = None, role: Role = "write", namespaces: Iterable[str] = ()) -> str:
        """Add a user, or a further token of one.

        Args:
            name: name, which is a namespace too.
            token: the token; None makes one, always the same for the same name and role.
            role: "read", "write" or "fineGrained".
            namespaces: what a fine-grained token reaches, to read and write.

        Returns:
            The token.
        """
        value = token or "hf_" + hashlib.sha256(f"{name} {role}".encode()).hexdigest()[:34]
        with self.lock:
            if name not in self.accounts.users:
                self.accounts.users.append(name)
            self.accounts.tokens[value] = Token(user=name, value=value, role=role, namespaces=frozenset(namespaces))
        return value

    def add_organization(self, name: str, members: Mapping[str, str] | None = None) -> None:
        """Add an organisation whose members are "read", "write" or "admin"."""
        self.accounts.organizations[name] = dict(members or {})

    def revoke(self, token: str) -> None:
        """Make a token invalid."""
        self.accounts.tokens[token].revoked = True

    def add_repo(
        self, repo_id: str, files: Mapping[str, bytes] | None = None, *, private: bool = False, gated: str | bool = False,
        repo_type: str = "model", granted: Iterable[str] = (), sdk: str | None = None,
    ) -> str:  # fmt: skip
        """Add a repository.

        Args:
            repo_id: name with namespace, which need not be a user's.
            files: what it holds, in one commit after the initial one.
            private: whether only its namespace sees it.
            gated: "auto" or "manual" where its files must be asked for.
            repo_type: "model", "dataset" or "space".
            granted: users who were given access.
            sdk: of a space.

        Returns:
            Id of the head commit.
        """
        author = repo_id.split("/")[0]
        repo = self.create_repo(repo_type, repo_id, author=author, private=private, sdk=sdk)
        repo.gated = "auto" if gated is True else gated
        repo.granted.update(granted)
        if files:
            self.commit(repo_id, files, repo_type=repo_type, message="Upload folder using huggingface_hub")
        return self.head(repo_id, repo_type=repo_type)

    def repository(self, repo_id: str, repo_type: str = "model") -> Repository:
        """Give a repository by its present name."""
        return self.repos[repo_type, repo_id]

    def commit(
        self, repo_id: str, files: Mapping[str, bytes | None], *, branch: str = "main", message: str = "Update",
        repo_type: str = "model", author: str | None = None,
    ) -> str:  # fmt: skip
        """Commit to a branch, which is made from `main` if it is new.

        Args:
            repo_id: the repository.
            files: new content by path; None removes a file.
            branch: the branch.
            message: first line of the message.
            repo_type: type of the repository.
            author: name of a user; None is the namespace.

        Returns:
            Id of the commit.
        """
        repo = self.repository(repo_id, repo_type)
        with repo.lock:
            ref = repo.branch(branch) or f"refs/heads/{branch}"
            head = repo.commits[repo.refs.setdefault(ref, repo.refs["refs/heads/main"])]
            kept = {path: entry for path, entry in head.files.items() if path not in files}
            new = {path: repo.put(path, content, head) for path, content in files.items() if content is not None}
            made = repo.add_commit(ref, kept | new, title=message, author=author or repo_id.split("/")[0], date=self.now())
        return made.oid

    # --- looking without HTTP ---

    def files(self, repo_id: str, revision: str = "main", *, repo_type: str = "model") -> dict[str, bytes]:
        """Give all files of a revision, without the `.gitattributes` that the Hub makes."""
        repo = self.repository(repo_id, repo_type)
        entries = self._commit(repo_id, revision, repo_type).files
        return {path: repo.read(entry) for path, entry in entries.items() if path != ".gitattributes"}

    def head(self, repo_id: str, revision: str = "main", *, repo_type: str = "model") -> str:
        """Give the id of the commit that a revision is at."""
        return self._commit(repo_id, revision, repo_type).oid

    def commits(self, repo_id: str, revision: str = "main", *, repo_type: str = "model") -> list[Commit]:
        """Give the commits up to a revision, the newest first."""
        return self.repository(repo_id, repo_type).history(self._commit(repo_id, revision, repo_type))

    def _commit(self, repo_id: str, revision: str, repo_type: str) -> Commit:
        found = self.repository(repo_id, repo_type).find(revision)
        if found is None:
            raise KeyError(f"`{repo_id}` has no revision `{revision}`")
        return found
