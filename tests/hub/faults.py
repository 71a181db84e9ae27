"""Faults on purpose: what goes wrong between a client and the Hub, for the requests that a test names."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tests.hub.protocol import HubError, Request, Response

Kind = Literal["drop", "drop-after", "cut-upload", "delay", "status", "truncate", "corrupt", "hook"]


@dataclass(slots=True, kw_only=True, eq=False)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: what happens. `drop`: the connection closes before anything is done. `drop-after`: the request is carried out
            and the answer is lost. `cut-upload`: the connection closes after `num_bytes` of the request's body came in.
            `delay`: the answer comes `seconds` late. `status`: the answer is `status` with `message`, and nothing is done.
            `truncate`: `num_bytes` of the body are sent, under the `Content-Length` of all of it, then the connection
            closes. `corrupt`: the body has the right length and wrong bytes. `hook`: only `on_request` is called.
        method: which requests; None is any.
        path: regular expression, searched in the quoted path and query (`/api/models/a/b?blobs=true`).
        host: "hub", "storage", or None for both.
        times: how many requests it strikes; None is all.
        skip: how many matching requests pass before.
        on_request: called with the request before it is carried out, for instance to let another commit land first.
        headers: further headers of a `status` answer.
    """

    kind: Kind
    method: str | None = None
    path: str = ""
    host: str | None = None
    times: int | None = 1
    skip: int = 0
    seconds: float = 0.0
    status: int = 500
    message: str = "Internal Error - We're working hard to fix this as soon as possible!"
    code: str | None = None
    retry_after: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    num_bytes: int = 0
    on_request: Callable[[Request], None] | None = None
    seen: int = field(default=0, init=False)
    struck: int = field(default=0, init=False)

    def matches(self, request: Request) -> bool:
        """Say whether it is about this request."""
        target = f"{request.path}?{request.raw_query}" if request.raw_query else request.path
        return (
            self.method in (None, request.method)
            and self.host in (None, request.host)
            and re.search(self.path, target) is not None
        )

    def response(self) -> Response:
        """Make the answer of a `status` fault. A 429 says when to come back in both headers that clients read."""
        answer = HubError(self.status, self.message, self.code).response()
        if self.retry_after is not None:
            answer.headers["Retry-After"] = str(self.retry_after)
        if self.status == 429:
            answer.headers["RateLimit"] = f'"api";r=0;t={self.retry_after or 0}'
        answer.headers |= self.headers
        return answer


class Faults:
    """The faults of a server."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Let something go wrong from now on.

        Args:
            fault: what, and for which requests.

        Returns:
            The same, whose `struck` then counts the requests it hit.
        """
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Let everything go well again."""
        with self._lock:
            self._faults.clear()

    def strike(self, request: Request) -> list[Fault]:
        """Count a request, and give the faults that hit it."""
        hit = []
        with self._lock:
            for fault in self._faults:
                if not fault.matches(request):
                    continue
                fault.seen += 1
                if fault.seen > fault.skip and (fault.times is None or fault.struck < fault.times):
                    fault.struck += 1
                    hit.append(fault)
        return hit
