"""What can fail at the Hub: whether it is worth trying again, and what to tell the user."""

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

from modxfer.errors import HubError, ModxferError, UsageError
from modxfer.registry.hub.waiting import TRANSIENT, asked_pause_seconds, longest_pause_seconds
from modxfer.secrets import redact

_TRANSPORTS = {"requests", "urllib3", "httpx", "httpx2", "httpcore", "httpcore2"}
"""The packages whose errors mean that no answer came; `huggingface_hub` uses `requests` before version 1, then httpx."""

_HOPELESS = {
    "InvalidHeader",
    "InvalidProxyURL",
    "InvalidSchema",
    "InvalidURL",
    "LocalProtocolError",
    "LocationParseError",
    "MissingSchema",
    "SSLCertVerificationError",
    "TooManyRedirects",
    "UnsupportedProtocol",
}
"""Errors of theirs after which asking again gives the same: it is the address, or a certificate."""

_GARBLED = {"JSONDecodeError", "UnicodeDecodeError", "FileMetadataError"}
"""An answer came, and is none that the Hub gives."""

_MOVED = "a commit has happened since"
_LOG_IN = "Log in with `hf auth login`."


class BranchMoved(HubError):
    """Somebody else committed to the branch meanwhile."""


class RepositoryMissing(UsageError):
    """There is no such repository, or none that this user may see."""


class RevisionMissing(UsageError):
    """The repository has no such branch, tag or commit."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an error to what it was raised from; the client wraps one in another.

    Args:
        error: Where to begin.

    Yields:
        The error, its cause, and so on.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def status_of(error: BaseException) -> int | None:
    """Give the HTTP status that an error is about.

    Args:
        error: What the client raised.

    Returns:
        The status; None if there was no answer.
    """
    for cause in causes(error):
        response = getattr(cause, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def is_transient(error: BaseException) -> bool:
    """Say whether the same request may succeed a little later.

    Args:
        error: What the client raised.

    Returns:
        Whether to try again.
    """
    if is_offline(error) or _is_full_disk(error):
        return False
    status = status_of(error)
    if status is not None:
        return status in TRANSIENT and (asked_wait_seconds(error) or 0) <= longest_pause_seconds()
    names = _names(error)
    if names & _HOPELESS:
        return False
    return has_no_answer(error) or bool(names & _GARBLED) or _is_cut_short(error)


def is_unanswered(error: BaseException) -> bool:
    """Say whether the Hub seems to be away: no answer came, or one that says that it cannot answer anybody now.

    Args:
        error: What the client raised.

    Returns:
        Whether that is so; not if it was not asked, or had too many requests.
    """
    if is_offline(error) or _is_full_disk(error):
        return False
    status = status_of(error)
    if status is not None:
        return status in TRANSIENT and status != 429
    return has_no_answer(error) and not _names(error) & (_HOPELESS | _GARBLED)


def asked_wait_seconds(error: BaseException) -> float | None:
    """Read how long the Hub asks to wait.

    Args:
        error: What the client raised.

    Returns:
        Seconds; None if it does not say.
    """
    for cause in causes(error):
        headers = getattr(getattr(cause, "response", None), "headers", None)
        if headers is not None:
            return asked_pause_seconds(headers)
    return None


def is_about(error: BaseException, path: str) -> bool:
    """Say whether an error is about a request for a path, or may be.

    Args:
        error: What the client raised.
        path: A part of the path, as in "/commit/".

    Returns:
        Whether that is so; True if it is not known what was asked for.
    """
    urls = []
    for cause in causes(error):
        with contextlib.suppress(RuntimeError):  # what httpx says where there is no request
            request: Any = getattr(cause, "request", None) or getattr(getattr(cause, "response", None), "request", None)
            urls.append(str(getattr(request, "url", "") or ""))
    known = [url for url in urls if url]
    return not known or any(path in url for url in known)


def hide_tokens(error: BaseException) -> None:
    """Take tokens out of what the client raised, since it is shown wherever our own error is shown with its cause.

    Args:
        error: What the client raised; its texts are changed.
    """
    for cause in causes(error):
        if isinstance(cause, ModxferError):
            continue
        with contextlib.suppress(AttributeError, TypeError):  # some errors keep what they were made with
            cause.args = tuple(redact(part) if isinstance(part, str) else part for part in cause.args)
        message: Any = getattr(cause, "server_message", None)
        if isinstance(message, str):
            cause.server_message = redact(message)  # type: ignore[attr-defined]


def explain(error: Exception, *, name: str, revision: str | None = None, writing: bool = False) -> ModxferError:
    """Turn what the client raised into what to tell the user.

    Args:
        error: What the client raised.
        name: The repository that was asked for.
        revision: Its branch, tag or commit; None for the default branch.
        writing: Whether something was to be changed there.

    Returns:
        The error to raise.
    """
    if isinstance(error, ModxferError):
        return error
    at = f"`{name}`" + (f" at `{revision}`" if revision else "")
    if is_offline(error):
        return HubError(
            f"{at} is not in the cache, and the Hub is not to be asked.", do="Leave `--offline` out, and unset HF_HUB_OFFLINE."
        )
    if _is_full_disk(error):
        return HubError(
            f"The disk is full, so {at} could not be fetched.",
            do="Free some space, or keep the cache elsewhere with HF_HOME, then try again.",
        )
    status = status_of(error)
    if status is None:
        return _unanswered(at, error, writing=writing)
    names = _names(error)
    if "GatedRepoError" in names:
        return _gated(at, page(name), status)
    if "RevisionNotFoundError" in names:
        return RevisionMissing(
            f"`{name}` has no revision `{revision or 'main'}`.", do=f"See its branches and commits at {page(name)}."
        )
    if "EntryNotFoundError" in names and status == 404:
        return HubError(f"A file that {at} lists is not there.", do="Try again, or name another revision.")
    if status == 401:
        return _unknown_user(at, error, writing=writing)
    if "RepositoryNotFoundError" in names:
        return _missing(at, writing=writing)
    return _refused(at, error, status, writing=writing)


def _gated(at: str, url: str, status: int) -> ModxferError:
    what = f"{at} is gated, and its owner has not let you in (status {status})."
    if status == 401:
        return HubError(what, do=f"Log in with `hf auth login`, and ask for access at {url}.")
    return HubError(what, do=f"Ask for access at {url}, and try again once it is granted.")


def _unknown_user(at: str, error: BaseException, *, writing: bool) -> ModxferError:
    if _had_token(error):
        said = _server_message(error)
        return HubError(
            f"The Hub does not accept your token (status 401{f': {said}' if said else ''}), which was sent for {at}.",
            do="Log in again with `hf auth login`, or set HF_TOKEN to a valid token.",
        )
    if writing:
        return HubError(f"You are not logged in, so nothing can be put into {at} (status 401).", do=_LOG_IN)
    return _missing(at, writing=False)


def _missing(at: str, *, writing: bool) -> ModxferError:
    if writing:
        return RepositoryMissing(
            f"{at} is not on the Hub, or it is private and you may not see it.",
            do="Check its name, and that you are logged in as a user who may (`hf auth whoami`).",
        )
    return RepositoryMissing(
        f"{at} is no folder here and not on the Hub, or it is private and you may not see it.",
        do="Check the name; for a private one log in with `hf auth login`.",
    )


def _refused(at: str, error: BaseException, status: int, *, writing: bool) -> ModxferError:
    said = _server_message(error)
    told = f"status {status}: {said}" if said else f"status {status}"
    if status == 412 or _MOVED in str(error).lower():
        return BranchMoved(
            f"Somebody else committed to {at} meanwhile, and nothing was changed.",
            do="Look at what is there now, and push again.",
        )
    if "DisabledRepoError" in _names(error):
        return HubError(
            f"The Hub has disabled {at} ({told}).", do="Choose another repository, or ask its owner what has become of it."
        )
    if status == 403:
        return HubError(
            f"You may not {'write to' if writing else 'read'} {at} ({told}).",
            do="Log in with `hf auth login`, with a token that may write there, or choose another name."
            if writing
            else "Log in with `hf auth login` as a user who may, or ask its owner for access.",
        )
    if status == 429:
        return HubError(f"The Hub has had too many requests from you, the last for {at} ({told}).", do=_come_back(error))
    if status in TRANSIENT or status >= 500:
        return HubError(
            f"The Hub has a problem of its own and did not answer for {at} ({told}).",
            do="Try again later; https://status.huggingface.co shows how the Hub is.",
        )
    return HubError(f"The Hub refused a request for {at} ({told}).", do="Put right what it says, and try again.")


def _come_back(error: BaseException) -> str:
    seconds = asked_wait_seconds(error)
    if not seconds:
        return "Try again in some minutes; being logged in (`hf auth login`) raises the limit."
    return f"Try again in {seconds:.0f} seconds." if seconds < 120 else f"Try again in {seconds / 60:.0f} minutes."


def _unanswered(at: str, error: BaseException, *, writing: bool) -> ModxferError:
    names = _names(error)
    if "LocalTokenNotFoundError" in names:
        return HubError(f"You are not logged in, so nothing can be put into {at}.", do=_LOG_IN)
    if "SSLCertVerificationError" in names:
        return HubError(
            f"The certificate of the Hub is not trusted here, so it was not asked for {at}.",
            do="Check HF_ENDPOINT and the clock of this machine, or name your own certificates with SSL_CERT_FILE.",
        )
    if names & _HOPELESS:
        return HubError(
            f"The address of the Hub is none that can be asked for {at} ({_kind(error)}).",
            do="Check HF_ENDPOINT and the proxy that is set (HTTPS_PROXY).",
        )
    if names & _GARBLED:
        return HubError(
            f"What came for {at} is no answer of the Hub ({_kind(error)}).",
            do="Check HF_ENDPOINT, and whether a proxy or a login page is in between, then try again.",
        )
    if has_no_answer(error) or _is_cut_short(error):
        wrong = "did not answer in time" if _is_silence(error) else "could not be reached, or the connection was cut,"
        return HubError(
            f"The Hub {wrong} for {at} ({_kind(error)}).",
            do="Check your connection and HF_ENDPOINT, then try again."
            if writing
            else "Check your connection and HF_ENDPOINT, then try again; `--offline` uses what is in the cache.",
        )
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.strerror and cause.filename:
            return HubError(
                f"Cannot read or write `{cause.filename}`, which is needed for {at}: {cause.strerror}.",
                do="Check its permissions, or keep the cache elsewhere with HF_HOME.",
            )
    doing = "put anything into" if writing else "get"
    return HubError(
        f"Could not {doing} {at}: {_shorten(str(error)) or _kind(error)}.", do="Put right what it says, and try again."
    )


def page(name: str) -> str:
    """Give the address of a repository's page.

    Args:
        name: Its id.

    Returns:
        The URL.
    """
    from huggingface_hub.constants import ENDPOINT

    return f"{ENDPOINT}/{name}"


def is_offline(error: BaseException) -> bool:
    """Say whether the Hub was not even asked, because the user does not want that.

    Args:
        error: What the client raised.

    Returns:
        Whether that is so.
    """
    return "OfflineModeIsEnabled" in _names(error)


def has_no_answer(error: BaseException) -> bool:
    """Say whether a request had no answer, or only a part of one.

    Args:
        error: What the client raised.

    Returns:
        Whether that is so.
    """
    return any(_is_of_transport(cause) for cause in causes(error))


def _is_of_transport(cause: BaseException) -> bool:
    return isinstance(cause, ConnectionError | TimeoutError) or type(cause).__module__.partition(".")[0] in _TRANSPORTS


def _is_full_disk(error: BaseException) -> bool:
    return any(getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) for cause in causes(error))


def _is_silence(error: BaseException) -> bool:
    return any("Timeout" in type(cause).__name__ for cause in causes(error))  # a refused connection is a kind of it in urllib3


def _is_cut_short(error: BaseException) -> bool:
    """Say whether a file came with another size than it has; the client has no class of its own for that."""
    return any("consistency check failed" in str(cause).lower() for cause in causes(error))


def _had_token(error: BaseException) -> bool:
    for cause in causes(error):
        response = getattr(cause, "response", None)
        if response is not None:
            return "authorization" in {name.lower() for name in response.request.headers}
    return False


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for cause in causes(error) for kind in type(cause).__mro__}


def _kind(error: BaseException) -> str:
    """Name the innermost error that is about the connection, or what came over it."""
    found = [type(cause).__name__ for cause in causes(error) if _is_of_transport(cause) or type(cause).__name__ in _GARBLED]
    return found[-1] if found else type(error).__name__


def _server_message(error: BaseException) -> str:
    for cause in causes(error):
        message: Any = getattr(cause, "server_message", None)
        if isinstance(message, str) and message.strip():
            return _shorten(message)
    return ""


def _shorten(text: str) -> str:
    """Put a text from outside on one short line, without what is not printable and without secrets."""
    line = " ".join("".join(char if char.isprintable() else " " for char in redact(text)).split())
    return (line if len(line) <= 200 else f"{line[:199]}…").rstrip(" .")
