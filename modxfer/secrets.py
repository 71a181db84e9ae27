"""Keeping tokens out of everything that is printed or written."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

_LOOKS_LIKE_TOKEN = re.compile(
    r"\b(?:hf|api_org)_[A-Za-z0-9]{8,}|(?<=\b[Bb]earer )[^\s\"',;]+|(?<=\bBEARER )[^\s\"',;]+|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
"""Tokens of the Hub, whatever follows "Bearer", and a user with a password inside a URL."""

_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
_SHORTEST = 8  # what is shorter is no token, and may well be a part of a name
HIDDEN = "***"


def redact(text: str) -> str:
    """Hide tokens in a text.

    Args:
        text: What is about to be printed or written.

    Returns:
        The text with stars for everything that is, or looks like, a token.
    """
    for value in sorted(_known(), key=len, reverse=True):  # one may begin with another
        text = text.replace(value, HIDDEN)
    return _LOOKS_LIKE_TOKEN.sub(HIDDEN, text)


def _known() -> set[str]:
    """List the user's tokens: those of the environment, and those that `hf auth login` has saved."""
    found = {os.environ.get(name, "").strip() for name in _VARIABLES}
    for path, is_list in _files():
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        lines = [line.partition("=")[2] for line in content.splitlines()] if is_list else [content]
        found.update(line.strip() for line in lines)
    return {value for value in found if len(value) >= _SHORTEST}


def _files() -> Iterator[tuple[Path, bool]]:
    """Say where `huggingface_hub`, which need not be imported for this, keeps the token in use and a list of all."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.path.expandvars(os.environ.get("HF_HOME") or f"{cache}/huggingface")).expanduser()
    named = os.environ.get("HF_TOKEN_PATH")
    token = Path(os.path.expandvars(named)).expanduser() if named else home / "token"
    yield token, False
    yield token.with_name("stored_tokens"), True
