"""Results get into the record and the card of a module, and nothing else of it changes."""

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest

from modxfer.api import PushChoice, push
from modxfer.errors import FormatError, OutputError, TrainingError, UsageError
from modxfer.registry.cards import module_card
from modxfer.registry.results import add_results
from modxfer.registry.transfers import as_text, read_transfer
from tests.hub.server import HubServer
from tests.registry.cards import head_of
from tests.registry.conftest import Made

DATASET = {"type": "acme/news", "name": "acme/news", "config": None, "split": "test", "revision": "d" * 40, "rows": 10}
ROW = {"task": "ner", "metric": "f1", "value": 71.5, "dataset": DATASET, "seed": 0, "interval": [70.0, 73.0], "examples": 10}


@pytest.fixture
def folder(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a converted module that a test may change."""
    monkeypatch.setenv("MODXFER_HOME", str(tmp_path / "home"))
    return Path(shutil.copytree(made.converted, tmp_path / "mine"))


def values(folder: Path) -> list[Any]:
    """List the values that a record holds."""
    return [row["value"] for row in read_transfer(folder)["results"]]


def test_results_get_into_record_and_card(folder: Path) -> None:
    """The folder verifies afterwards, the module's files are as they were, and a later result takes an earlier one's place."""
    before = (folder / "adapter_model.safetensors").read_bytes()
    add_results(folder, [ROW, {**ROW, "metric": "recall", "value": 60.0}])
    add_results(folder, [{**ROW, "value": 72.5}, {**ROW, "seed": 1, "value": 73.0}])
    assert values(folder) == [72.5, 60.0, 73.0]
    card = (folder / "README.md").read_text()
    assert card == module_card(read_transfer(folder))
    assert "72.50 %" in card
    assert "71.50 %" not in card
    (shown,) = head_of(card)["model-index"][0]["results"]
    assert [metric["value"] for metric in shown["metrics"]] == [0.725, 0.6, 0.73]
    assert (folder / "adapter_model.safetensors").read_bytes() == before


@pytest.mark.parametrize("change", [{"dataset": {**DATASET, "part": "the first 5 rows"}}, {"stage": "before training"}])
def test_other_measurements_stay(folder: Path, change: dict[str, Any]) -> None:
    """On another part, or at another time."""
    add_results(folder, [ROW])
    add_results(folder, [{**ROW, **change, "value": 1.0}])
    assert values(folder) == [71.5, 1.0]


def test_a_users_own_card_keeps_its_words(folder: Path) -> None:
    """The record has the results nevertheless; a card that is not there is not written."""
    (folder / "README.md").write_text("My own words.")
    add_results(folder, [ROW])
    assert (folder / "README.md").read_text() == "My own words."
    (folder / "README.md").unlink()
    add_results(folder, [{**ROW, "seed": 1}])
    assert not (folder / "README.md").exists()
    assert len(values(folder)) == 2


def test_cut_short_between_the_two_files(acme: HubServer, folder: Path) -> None:
    """The record is new and the card is old: it verifies, the card is still modxfer's, and is put right by what comes next."""
    old = (folder / "README.md").read_bytes()
    add_results(folder, [ROW])
    (folder / "README.md").write_bytes(old)
    assert values(folder) == [71.5]
    pushed = push(folder, PushChoice(name="acme/moved"))
    assert "71.50 %" in pushed.parcel.card
    assert "former_card" not in json.loads(acme.files("acme/moved")["transfer.json"])
    add_results(folder, [{**ROW, "seed": 1}])
    assert (folder / "README.md").read_text() == module_card(read_transfer(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, True, "3"])
def test_what_is_no_number_is_refused(folder: Path, value: Any) -> None:
    """And nothing is written."""
    with pytest.raises(TrainingError, match=f"The result `f1` is {value}"):
        add_results(folder, [ROW, {**ROW, "value": value}])
    assert values(folder) == []


def test_a_changed_module_gets_no_results(folder: Path) -> None:
    """They would be those of other weights."""
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(FormatError, match=r"`adapter_config\.json` is not what"):
        add_results(folder, [ROW])


def test_a_module_of_others_has_no_place_for_results(made: Made) -> None:
    """There is no record beside it."""
    with pytest.raises(UsageError, match=r"ner` holds no `transfer\.json`"):
        add_results(made.module, [ROW])


def test_a_record_with_odd_results_takes_new_ones(folder: Path) -> None:
    """Whatever somebody wrote there."""
    (folder / "transfer.json").write_text(as_text({**read_transfer(folder), "results": 3}))
    add_results(folder, [ROW])
    assert values(folder) == [71.5]


def test_a_folder_that_cannot_be_written_stays_as_it_was(folder: Path) -> None:
    """And the reason is said."""
    before = (folder / "transfer.json").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"Cannot write the results into `.*mine`: File too large"):
            add_results(folder, [ROW])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / "transfer.json").read_bytes() == before
    assert len(list(folder.iterdir())) == 4
