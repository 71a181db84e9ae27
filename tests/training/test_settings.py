"""Settings of a training."""

from typing import Any

import pytest

from modxfer.errors import UsageError
from modxfer.training.settings import TrainingSettings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": -1}, "`--seed -1` is no seed"),
        ({"seed": 2**32}, "`--seed 4294967296` is no seed"),
        ({"weight_decay": -0.1}, "`--weight-decay -0.1` is no weight"),
        ({"weight_decay": float("nan")}, "`--weight-decay nan` is no weight"),
    ],
)
def test_settings_refuse_what_the_libraries_would(changes: dict[str, Any], said: str) -> None:
    """What numpy or torch would only refuse in the middle of a training is refused at once, by its flag."""
    with pytest.raises(UsageError, match=said):
        TrainingSettings(**changes)
    TrainingSettings(seed=2**32 - 1, weight_decay=0.0)
