"""What tests ask of the genuine client in the same words for its old and its new version."""

from typing import Any

import pytest


def status_of(failure: pytest.ExceptionInfo[Any]) -> int:
    """Give the HTTP status behind an error of the client, whose types differ between `requests` and `httpx2`."""
    return int(failure.value.response.status_code)
