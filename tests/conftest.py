"""What every test gets: no network, a cache and a store of its own, one thread, the data folder if named."""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "modxfer",
    deadline=None,  # the first call of a test pays for imports and for the shape checks
    derandomize=True,
    print_blob=True,
)
hypothesis.settings.load_profile("modxfer")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--data DIR`, the folder that tests marked `data` read."""
    parser.addoption("--data", metavar="DIR", help="folder with the data sets, for the tests marked `data`")


def pytest_configure(config: pytest.Config) -> None:
    """Set what libraries read once, when they are imported; a value that is set already stays."""
    folder = config.getoption("--data")
    if folder is not None and not (config.invocation_params.dir / folder).is_dir():
        raise pytest.UsageError(f"`--data {folder}` names no folder. Name the folder that holds the data sets.")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("MPLBACKEND", "agg")
    cache = tempfile.mkdtemp(prefix="modxfer-tests-")
    os.environ["HF_HOME"] = cache
    config.add_cleanup(lambda: shutil.rmtree(cache, ignore_errors=True))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that run `adapters` where it is not installed (the current world)."""
    if importlib.util.find_spec("adapters") is not None:
        return
    left_out = [item for item in items if item.get_closest_marker("adapters")]
    if left_out:
        items[:] = [item for item in items if not item.get_closest_marker("adapters")]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty local store, so that none finds what another has left."""
    monkeypatch.setenv("MODXFER_HOME", str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """Give the folder named with `--data`."""
    folder = request.config.getoption("--data")
    if folder is None:
        pytest.fail(
            "This test reads the data folder, and none was named. Run pytest with `--data DIR`.",
            pytrace=False,
        )
    return Path(request.config.invocation_params.dir / folder).resolve()
