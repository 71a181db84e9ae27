"""What every test gets: a Hub on this machine, a cache and a store of its own, one thread, the data folder if named."""

import gc
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.hub.remote import NAMESPACE
from tests.hub.server import HubServer


def _choose_hub() -> HubServer | None:
    """Start a Hub on this machine, unless the tests are to use a real one; `huggingface_hub` reads its address once."""
    os.environ.pop("HF_HUB_OFFLINE", None)
    if os.environ.get(NAMESPACE):
        if not os.environ.get("HF_TOKEN"):
            raise pytest.UsageError(f"{NAMESPACE} is set, and no token that may write there. Set HF_TOKEN.")
        return None
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        os.environ.pop(name, None)
    server = HubServer().start()
    os.environ["HF_ENDPOINT"] = server.url
    os.environ["HF_HUB_DISABLE_XET"] = "1"  # version 2 uploads by Xet without asking whether the Hub has it
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    return server


_SERVER = _choose_hub()
_CACHE = os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="modxfer-tests-")
for _name, _value in {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "MPLBACKEND": "agg"}.items():
    os.environ.setdefault(_name, _value)

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
    """Check the data folder, and clean up in the end."""
    folder = config.getoption("--data")
    if folder is not None and not (config.invocation_params.dir / folder).is_dir():
        raise pytest.UsageError(f"`--data {folder}` names no folder. Name the folder that holds the data sets.")
    if _SERVER is not None:
        config.add_cleanup(_SERVER.stop)
    config.add_cleanup(lambda: shutil.rmtree(_CACHE, ignore_errors=True))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that run `adapters` or a browser where there is none: the current world has no `adapters`."""
    there = {
        "adapters": importlib.util.find_spec("adapters") is not None,
        "browser": all(shutil.which(program) for program in ("chromium", "chromedriver")),
    }
    missing = {name for name, is_there in there.items() if not is_there}
    left_out = [item for item in items if missing & {mark.name for mark in item.iter_markers()}]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish() -> None:
    """Take what was imported by now out of the garbage collector's sight: every trainer collects several times."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty local store, so that none finds what another has left."""
    monkeypatch.setenv("MODXFER_HOME", str(tmp_path_factory.mktemp("store")))


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """Give the Hub on this machine, empty, to somebody who is not logged in; it must make no mistake of its own."""
    assert _SERVER is not None, f"This test needs the Hub on this machine: unset {NAMESPACE}."
    _SERVER.reset()
    shutil.rmtree(Path(_CACHE, "hub"), ignore_errors=True)
    yield _SERVER
    assert not _SERVER.errors, _SERVER.errors[0]


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
