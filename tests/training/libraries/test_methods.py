"""The table of methods: options and their checks."""

from typing import Any

import pytest

from modxfer.errors import UsageError
from modxfer.training.libraries.methods import METHODS, find_method, method_options


def test_find_method_lists_the_table() -> None:
    """An unknown method is answered with those that there are."""
    with pytest.raises(UsageError, match=r"no method `ia3` to train. Use one of lora, bottleneck with `--method`"):
        find_method("ia3")
    assert {name: find_method(name).library for name in METHODS} == {"lora": "peft", "bottleneck": "adapters"}


def test_method_options_fills_up_what_was_not_said() -> None:
    """Alpha is twice the rank unless it is said; None stands for not said."""
    assert method_options("lora", {}) == {"rank": 8, "alpha": 16, "dropout": 0.0, "targets": None}
    assert method_options("lora", {"rank": 3, "alpha": None})["alpha"] == 6
    assert method_options("lora", {"alpha": 1.5})["alpha"] == 1.5
    assert method_options("bottleneck", {}) == {"size": None}


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("lora", {"rank": 0}, "`--rank 0` is not a whole number above 0"),
        ("lora", {"rank": True}, "`--rank True` is not a whole number above 0"),
        ("lora", {"rank": 2.5}, "`--rank 2.5` is not a whole number above 0"),
        ("lora", {"alpha": float("nan")}, "`--alpha nan` is not a number above 0"),
        ("lora", {"dropout": 1}, "`--dropout 1` is not a number from 0 to below 1"),
        ("lora", {"targets": []}, r"`--targets \[\]` is not a list of names"),
        ("lora", {"targets": "query"}, "`--targets query` is not a list of names"),
        ("lora", {"size": 4}, "`lora` has no option `size`. It has rank, alpha, dropout, targets"),
        ("bottleneck", {"size": -1}, "`--size -1` is not a whole number above 0"),
        ("bottleneck", {"rank": 4}, "`bottleneck` has no option `rank`. It has size"),
    ],
)
def test_method_options_refuses_what_is_no_setting(method: str, options: dict[str, Any], said: str) -> None:
    """A value out of its range, of another type, or of another method."""
    with pytest.raises(UsageError, match=said):
        method_options(method, options)
