"""Calling the Hub: with limits on waiting, trying again where that can help, and our errors for what fails."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from modxfer.registry.hub.failures import asked_wait_seconds, explain, hide_tokens, is_transient, is_unanswered, status_of
from modxfer.registry.hub.outage import forget_outage, is_away, is_news, remember_outage
from modxfer.registry.hub.waiting import forget_failures, hurried, limit_client, own_pause_seconds, patience_seconds

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from tenacity import RetryCallState

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

ATTEMPTS = 5
"""How often the Hub is asked at most, unless said otherwise."""


def api() -> "HfApi":
    """Give the client, with the user's endpoint and token.

    Returns:
        The client.
    """
    from huggingface_hub import HfApi

    limit_client()
    return HfApi(library_name="modxfer")


def call(
    function: Callable[[], Result],
    *,
    name: str,
    revision: str | None = None,
    writing: bool = False,
    optional: bool = False,
    attempts: int = ATTEMPTS,
    may_repeat: Callable[[BaseException], bool] | None = None,
) -> Result:
    """Call the Hub.

    If it did not answer a moment ago, what only reads is asked for once, and briefly.

    Args:
        function: What asks the Hub.
        name: The repository it is about, for messages.
        revision: Its branch, tag or commit; None for the default branch.
        writing: Whether something is to be changed there.
        optional: Whether it can be done without; the Hub is then asked once, and briefly.
        attempts: How often to ask at most.
        may_repeat: Says of an error whether asking again does no harm; None if it never does.

    Returns:
        What the function gives.

    Raises:
        HubError: the Hub refuses or cannot be reached, also after trying again.
        UsageError: there is no such repository or revision.
    """
    from tenacity import Retrying, retry_if_exception

    limit_client()
    forget_failures()
    is_brief = optional or (not writing and is_away())
    retrying = Retrying(
        retry=retry_if_exception(lambda error: is_transient(error) and (may_repeat is None or may_repeat(error))),
        stop=_Stop(attempts=1 if is_brief else attempts),
        wait=_wait_seconds,
        before_sleep=_say_so,
        reraise=True,
    )
    try:
        with hurried(is_brief):
            result = retrying(function)
    except Exception as error:
        _learn(error, writing=writing, optional=optional)
        hide_tokens(error)
        raise explain(error, name=name, revision=revision, writing=writing) from error
    forget_outage()
    return result


def _learn(error: Exception, *, writing: bool, optional: bool) -> None:
    """Note whether the Hub is there.

    What did not answer to a change is looked at patiently afterwards. A single bad status says little.
    """
    if is_unanswered(error):
        if not writing and not (optional and status_of(error) is not None):
            remember_outage()
    elif status_of(error) is not None:
        forget_outage()


@dataclass(slots=True, kw_only=True)
class _Stop:
    """Stops after some attempts, or some time after the first failure: what went well before, such as a long upload, is no
    waiting."""

    attempts: int
    failing_since: float | None = None

    def __call__(self, state: "RetryCallState") -> bool:
        now = time.monotonic()
        self.failing_since = now if self.failing_since is None else self.failing_since
        return state.attempt_number >= self.attempts or now - self.failing_since > patience_seconds()


def _wait_seconds(state: "RetryCallState") -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = asked_wait_seconds(error) if error else None
    return asked if asked is not None else own_pause_seconds(state.attempt_number)


def _say_so(state: "RetryCallState") -> None:
    wait = state.next_action.sleep if state.next_action else 0.0
    level = logging.WARNING if is_news("trying again") else logging.INFO
    logger.log(level, "The Hub did not answer as it should; trying again in %.1f seconds.", wait)
