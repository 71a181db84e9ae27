"""How long to wait for the Hub: limits on silence, on the pauses that it asks for, and on trying again.

`huggingface_hub` has no time limit for most requests, tries some of them again by itself, and pauses as long as the Hub asks.
The limits are put into its client, so that they hold for all that it does.
"""

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

WAIT_VARIABLE = "MODXFER_HUB_TIMEOUT"
"""Seconds to go on asking a Hub that does not answer as it should. A request that has no word of an answer for a part of that
counts as failed. The command line sets it; in a library it is left to the program, because it holds for every request that the
process makes through `huggingface_hub`."""

TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
"""The statuses after which the same request may succeed a little later."""

_USUAL_SECONDS = 60.0
_PATIENCE = 0.75  # of the limit, counted from the first failure
_SILENCE = {"GET": 1 / 3, "HEAD": 1 / 3}  # of the limit: time to try again; what changes something may take longer
_SILENCE_OF_OTHERS = 1 / 2
_BRIEF_SECONDS = 3.0  # of silence, where little is to be hoped for
_FIRST_PAUSE = 1 / 120  # of the limit; each pause after it is twice as long
_RATE_LIMIT = re.compile(r"\br\s*=\s*0\s*;\s*t\s*=\s*(\d+)")


class NotAnswered(ConnectionError):
    """The same request has failed for too long; the client is not to try again."""


def limit_seconds() -> float | None:
    """Read the limit.

    Returns:
        Seconds, more than 0; None if none is set.
    """
    try:
        limit = float(os.environ.get(WAIT_VARIABLE, ""))
    except ValueError:
        return None
    return limit if limit > 0 else None


def longest_pause_seconds() -> float:
    """Say how long a pause is made if the Hub asks for it.

    Returns:
        Seconds.
    """
    return limit_seconds() or _USUAL_SECONDS


def patience_seconds() -> float:
    """Say how long after its first failure a request is tried again.

    Returns:
        Seconds.
    """
    return _PATIENCE * longest_pause_seconds()


def own_pause_seconds(attempt: int) -> float:
    """Say how long to wait where the Hub does not.

    Args:
        attempt: How often it was asked.

    Returns:
        Seconds: half a second, one, two, ... if the limit is the usual one.
    """
    return _FIRST_PAUSE * longest_pause_seconds() * 2.0 ** (attempt - 1)


def asked_pause_seconds(headers: Mapping[str, str]) -> float | None:
    """Read how long the Hub asks to wait.

    Args:
        headers: Of its answer, whatever their case.

    Returns:
        Seconds; None if it does not ask.
    """
    known = {name.lower(): str(value) for name, value in headers.items()}
    after = known.get("retry-after", "").strip()
    if after.isdecimal():
        return float(after)
    try:
        when = parsedate_to_datetime(after)
        return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except ValueError:  # neither seconds nor a date
        used_up = _RATE_LIMIT.search(known.get("ratelimit", ""))
        return float(used_up[1]) if used_up else None


def limit_client() -> None:
    """Put the limits into the client, if one is set. Offline there are no requests, and nothing to limit."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if limit_seconds() is not None and not HF_HUB_OFFLINE:
        _install()


def forget_failures() -> None:
    """Begin to count anew."""
    with _lock:
        _failing_since.clear()


@contextlib.contextmanager
def hurried(is_hurried: bool) -> Iterator[None]:
    """Let requests fail after a few seconds of silence, and at their first failure; only where a limit is set.

    Args:
        is_hurried: Whether to do so; else they wait as usual.

    Yields:
        Nothing.
    """
    token = _is_hurried.set(is_hurried)
    try:
        yield
    finally:
        _is_hurried.reset(token)


@cache
def _install() -> None:
    """Once a process: the limit is read again for every request."""
    import huggingface_hub

    if hasattr(huggingface_hub, "set_client_factory"):  # since version 1, one httpx client for all threads
        _install_for_httpx(huggingface_hub)
    else:
        _install_for_requests(huggingface_hub)


def _install_for_httpx(hub: Any) -> None:
    session = hub.get_session()
    client: Any = type(session)

    class _Limited(client):  # type: ignore[misc] # the client's own class, httpx or httpx2
        def send(self, request: Any, **options: Any) -> Any:
            """Send a request within the limits."""
            limit = _silence_seconds(request.method)
            timeout = request.extensions.get("timeout") or dict.fromkeys(("connect", "read", "write", "pool"))
            request.extensions["timeout"] = {phase: _shorter(limit, seconds) for phase, seconds in timeout.items()}
            return _watch(lambda: client.send(self, request, **options), request)

    hub.set_client_factory(
        lambda: _Limited(event_hooks=session.event_hooks, follow_redirects=session.follow_redirects, timeout=session.timeout)
    )


def _install_for_requests(hub: Any) -> None:
    """`requests` has a session a thread, and no time limit of a session."""
    session = hub.get_session()
    adapter: Any = type(session.get_adapter("https://"))

    class _Limited(adapter):  # type: ignore[misc] # the client's own adapter, whatever its class
        def send(self, request: Any, stream: Any = False, timeout: Any = None, **options: Any) -> Any:
            """Send a request within the limits."""
            limit = _silence_seconds(request.method)
            given = timeout if isinstance(timeout, tuple) else (timeout, timeout)
            shorter = tuple(_shorter(limit, seconds) for seconds in given)
            return _watch(lambda: adapter.send(self, request, stream=stream, timeout=shorter, **options), request)

    def open_session() -> Any:
        limited = type(session)()
        for scheme in ("http://", "https://"):
            limited.mount(scheme, _Limited())
        return limited

    hub.configure_http_backend(open_session)


def _silence_seconds(method: str) -> float | None:
    limit = limit_seconds()
    if limit is None:
        return None
    return _shorter(_BRIEF_SECONDS if _is_hurried.get() else None, limit * _SILENCE.get(method, _SILENCE_OF_OTHERS))


def _shorter(limit: float | None, seconds: int | float | None) -> int | float | None:
    return min((value for value in (limit, seconds) if value is not None), default=None)


_is_hurried: ContextVar[bool] = ContextVar("is_hurried", default=False)
_failing_since: dict[tuple[str, str], float] = {}
_lock = threading.Lock()  # large files are sent by several threads


def _watch(send: Callable[[], Any], request: Any) -> Any:
    """Send a request, and stop the client's own attempts when it has failed for too long, or is asked for too long a pause."""
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined] # public, by its documentation

    key = (str(request.method), str(request.url).partition("?")[0])
    try:
        response = send()
    except Exception as error:
        if _is_failing_too_long(key):
            raise NotAnswered("The Hub did not answer for too long.") from error
        raise
    if response.status_code not in TRANSIENT:
        with _lock:
            _failing_since.pop(key, None)
        return response
    if (asked_pause_seconds(response.headers) or 0.0) > longest_pause_seconds() or _is_failing_too_long(key):
        hf_raise_for_status(response)  # what the client raises when it has tried often enough
    return response


def _is_failing_too_long(key: tuple[str, str]) -> bool:
    """Note a failure."""
    now = time.monotonic()
    with _lock:
        return _is_hurried.get() or now - _failing_since.setdefault(key, now) > patience_seconds()
