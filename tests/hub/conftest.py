"""A Hub that may be the one on this machine or a real one, and a person who is logged in there."""

from collections.abc import Iterator

import pytest

from tests.hub.remote import Remote, remotes
from tests.registry.conftest import Made, made

__all__ = ["Made", "made"]


@pytest.fixture(params=["this machine", pytest.param("real", marks=pytest.mark.network)])
def remote(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    """Give a Hub, with the user logged in."""
    for remote in remotes(request, request.param):
        monkeypatch.setenv("HF_TOKEN", remote.token)
        yield remote
