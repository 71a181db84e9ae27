"""A Hub that takes a request and says nothing, for as long as a test lasts."""

import threading
from typing import Any

from tests.hub.faults import Fault
from tests.hub.protocol import Request


class Silence:
    """Keeps requests waiting until it is over; then they are carried out, late."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._waiting = 0

    def fault(self, *, times: int | None = 1, **where: Any) -> Fault:
        """Make a fault that keeps requests waiting."""
        return Fault(kind="hook", on_request=self._keep, times=times, **where)

    def end(self) -> None:
        """Let all requests go on, and wait until they have, so that no other test sees them."""
        self._over.set()
        while self._waiting:
            threading.Event().wait(0.01)
        threading.Event().wait(0.05)

    def _keep(self, request: Request) -> None:
        self._waiting += 1
        self._over.wait(60)
        self._waiting -= 1
