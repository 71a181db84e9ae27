"""Sites and points are written as text and read back."""

import pytest

from modxfer.architectures import FINAL, Point, Side, Site


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("encoder.11.query.input", Site("encoder", 11, Point("query", Side.INPUT))),
        ("embeddings_norm.output", Site("", None, Point("embeddings_norm", Side.OUTPUT))),
        ("final.output", Site("", None, FINAL)),
    ],
)
def test_site_text_is_read_back(text: str, site: Site) -> None:
    """A site's text names stack, layer, role and side, and reading it gives the site again."""
    assert str(site) == text
    assert Site.parse(text) == site


def test_point_parse_refuses_an_unknown_side() -> None:
    """A side that is neither input nor output is no point."""
    with pytest.raises(ValueError, match="middle"):
        Point.parse("query.middle")
