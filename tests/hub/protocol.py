"""What goes over the wire: requests, answers, the Hub's errors with their headers, pages."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

INVALID_TOKEN = "Invalid credentials in Authorization header"
NO_TOKEN = "Invalid username or password."
MOVED_HEAD = "A commit has happened since. Please refresh and try again."


@dataclass(slots=True, kw_only=True)
class Request:
    """A request as the routes see it, and the line of the log that it becomes.

    Attributes:
        method: GET, HEAD, POST, ...
        host: "hub" or "storage", the second server that stands for the CDN and the object storage.
        path: path as sent, still quoted.
        query: values by name.
        headers: by lower-case name.
        body: what was received.
        user: name of the user whose token came with it, or None.
        status: status of the answer; 0 where the connection was dropped instead.
        sent: bytes of body that were sent in the answer.
    """

    method: str
    host: str
    path: str
    raw_query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    user: str | None = None
    status: int = 0
    sent: int = 0

    @property
    def query(self) -> dict[str, list[str]]:
        """The values of each parameter, in order."""
        return parse_qs(self.raw_query, keep_blank_values=True)

    @property
    def range(self) -> str | None:
        """The `Range` header."""
        return self.headers.get("range")

    @property
    def received(self) -> int:
        """Bytes of body that came with the request."""
        return len(self.body)

    def value(self, name: str, default: str | None = None) -> str | None:
        """Give the last value of a parameter."""
        return self.query.get(name, [default])[-1]

    def values(self, name: str) -> list[str]:
        """Give all values of a parameter, which may be written `name[]` too."""
        return [*self.query.get(name, []), *self.query.get(f"{name}[]", [])]

    def flag(self, name: str) -> bool:
        """Read a parameter as yes or no: clients write `True`, `true` and `1`."""
        return str(self.value(name)).lower() in ("true", "1")

    def number(self, name: str, default: int) -> int:
        """Read a parameter as a number."""
        value = self.value(name)
        return int(value) if value is not None and value.isdigit() else default

    def fields(self) -> dict[str, Any]:
        """Read the body, JSON or a form (where each value is a list)."""
        if "urlencoded" in self.headers.get("content-type", ""):
            return dict(parse_qs(self.body.decode(), keep_blank_values=True))
        try:
            parsed = json.loads(self.body or b"{}")
        except ValueError as error:
            raise HubError(400, f"Invalid JSON body: {error}") from error
        if not isinstance(parsed, dict):
            raise HubError(400, "Invalid JSON body: an object is needed")
        return parsed


@dataclass(slots=True, kw_only=True)
class Response:
    """An answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class HubError(Exception):
    """An error as the Hub words it: status, message, and `X-Error-Code` where it has one."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def response(self) -> Response:
        """Make the answer: the message stands in the body and in a header."""
        answer = as_json({"error": self.message}, status=self.status)
        answer.headers["X-Error-Message"] = " ".join(self.message.split())
        if self.code is not None:
            answer.headers["X-Error-Code"] = self.code
        if self.status == 401:
            answer.headers["WWW-Authenticate"] = 'Bearer realm="Authentication required", charset="UTF-8"'
        answer.headers |= self.headers
        return answer


def as_json(value: Any, *, status: int = 200, **headers: str) -> Response:
    """Answer with JSON."""
    kept = {"Content-Type": "application/json; charset=utf-8"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return Response(status=status, body=json.dumps(value).encode(), headers=kept)


def done() -> Response:
    """Answer that there is nothing more to say."""
    return Response(body=b"OK", headers={"Content-Type": "text/plain; charset=utf-8"})


def pages(request: Request, items: Sequence[Any], size: int, base: str) -> tuple[Sequence[Any], dict[str, str]]:
    """Cut one page out of `items`; the next one's address goes into `Link`, as GitHub writes it.

    Args:
        request: the request, whose `cursor` says where the page begins.
        items: all that could be given.
        size: how many go into a page.
        base: address of the server.

    Returns:
        The page, and the headers to send with it.
    """
    start = _read_cursor(request.value("cursor"))
    page = items[start : start + size]
    if start + size >= len(items):
        return page, {}
    query = {name: values for name, values in request.query.items() if name != "cursor"}
    query["cursor"] = [base64.urlsafe_b64encode(f"at:{start + size}".encode()).decode()]
    return page, {"Link": f'<{base}{request.path}?{urlencode(query, doseq=True)}>; rel="next"'}


def _read_cursor(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(cursor).decode().removeprefix("at:"))
    except (ValueError, binascii.Error) as error:
        raise HubError(400, "Invalid cursor") from error


def cut_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Read a `Range` of one part.

    Args:
        header: the header, or None.
        size: bytes of the whole file.

    Returns:
        First byte and the one after the last, or None where the whole file is asked for (also by a header that makes no
        sense or asks for several parts, which a server may ignore).

    Raises:
        HubError: the range begins behind the end of the file (416).
    """
    unit, _, part = (header or "").replace(" ", "").partition("=")
    first, dash, last = part.partition("-")
    if unit != "bytes" or not dash or "," in part or not (first + last).isdigit():
        return None
    if first:
        begin, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
    else:
        begin, end = max(size - int(last), 0), size
    if begin >= size or begin >= end:
        raise HubError(416, "Range Not Satisfiable", Content_Range=f"bytes */{size}")
    return begin, end


def file_response(request: Request, content: bytes, headers: Mapping[str, str]) -> Response:
    """Answer with a file or the range of it that is asked for."""
    kept = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    cut = cut_range(request.range, len(content))
    if cut is None:
        return Response(body=content, headers=kept)
    begin, end = cut
    kept["Content-Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
    return Response(status=206, body=content[begin:end], headers=kept)
