"""A tiny world that the tests of experiments share; it is only read."""

from pathlib import Path

import pytest

from tests.experiments.worlds import write_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder with two base models and data."""
    return write_world(tmp_path_factory.mktemp("world"))
