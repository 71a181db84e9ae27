"""Remembering for a while that the Hub does not answer, so that not every question to it waits anew."""

import threading
import time
from dataclasses import dataclass, field

MEMORY_SECONDS = 90.0
"""How long after its last failure the Hub is taken to be away; a process that lives on asks as patiently as before then."""


@dataclass(slots=True)
class _Memory:
    failed_at: float | None = None
    told: set[str] = field(default_factory=set)


_memory = _Memory()
_lock = threading.Lock()


def remember_outage(*, now: float | None = None) -> None:
    """Note that the Hub did not answer.

    Args:
        now: When that was, by the monotonic clock; None for just now.
    """
    with _lock:
        _memory.failed_at = time.monotonic() if now is None else now


def forget_outage() -> None:
    """Note that the Hub answers."""
    with _lock:
        _memory.failed_at = None
        _memory.told.clear()


def is_away() -> bool:
    """Say whether the Hub did not answer a moment ago.

    Returns:
        Whether that is so, and nothing was heard from it since.
    """
    with _lock:
        since = _memory.failed_at
    if since is None:
        return False
    if time.monotonic() - since <= MEMORY_SECONDS:
        return True
    forget_outage()
    return False


def is_news(text: str) -> bool:
    """Say whether something has not been told yet in this outage, and take it as told.

    Args:
        text: What is to be told.

    Returns:
        Whether to tell it.
    """
    with _lock:
        is_new = text not in _memory.told
        _memory.told.add(text)
    return is_new
