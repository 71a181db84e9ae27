"""The names of a head's labels are found where a module's files say them, and nowhere else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modxfer.converters.formats import inspect_files
from modxfer.registry.head_names import head_names
from tests.registry.conftest import Made

NUMBERS = {"B-PER": 1, "O": 0, "B-LOC": 2}


def test_a_module_without_names_has_none(made: Made) -> None:
    """A module of peft does not say them."""
    assert head_names(inspect_files(made.module)) is None


@pytest.mark.parametrize("config", [{"config": {"label2id": NUMBERS}}, {"label2id": NUMBERS}])
def test_names_of_a_heads_config_are_in_the_order_of_its_rows(made: Made, config: dict[str, Any]) -> None:
    """In the head's own config, or in that of the class that it is a part of."""
    assert head_names(replace(inspect_files(made.module), head_config=config)) == ("O", "B-PER", "B-LOC")


@pytest.mark.parametrize(
    "numbers",
    [None, {}, [], {"O": 0, "B": 2}, {"O": 0, "B": 0}, {"O": "0"}, {"O": True}, {"LABEL_0": 0, "LABEL_1": 1}, {"": 0}],
)
def test_what_are_no_names_is_passed_over(made: Made, numbers: Any) -> None:
    """Numbers that leave one out, or names that `transformers` made up."""
    assert head_names(replace(inspect_files(made.module), head_config={"config": {"label2id": numbers}})) is None


@pytest.mark.parametrize(("names", "found"), [(["A", "O"], ("A", "O")), (["A", "A"], None), (["A", 3], None), ("AO", None)])
def test_names_of_the_record_come_first(made: Made, tmp_path: Path, names: Any, found: Any) -> None:
    """What modxfer wrote beside the module."""
    files = replace(inspect_files(made.module), folder=tmp_path)
    (tmp_path / "transfer.json").write_text(json.dumps({"head": {"names": names}}))
    assert head_names(files) == found
    assert head_names(replace(files, head_config={"config": {"label2id": NUMBERS}})) == (found or ("O", "B-PER", "B-LOC"))
