"""`modxfer support`."""

from collections.abc import Callable

from typer.testing import Result


def test_support_fits_the_screen_and_keeps_commas(call: Callable[..., Result]) -> None:
    """The whole table fits 80 columns, and a family's name has its comma on its own line."""
    result = call("support")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if " , " in line or line.strip().startswith(",")]
    assert [line.rstrip().endswith("clip_vision_model,") for line in lines].count(True) > 1


def test_support_of_one_family_names_its_columns(call: Callable[..., Result]) -> None:
    """One family's table has a verdict and a remark for each method, and does not tell to name the family."""
    page = call("support", "--family", "bert", "--method", "BitFit").stdout
    assert page.splitlines()[0].split() == ["method", "format", "verdict", "remark"]
    assert "--family" not in page
