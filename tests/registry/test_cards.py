"""Cards say where a module comes from, and no text from outside can break out of its place."""

from typing import Any

import numpy as np
import pytest
import yaml

from modxfer.alignments.alignment_map import SitePair
from modxfer.registry.cards import alignment_card, code, escape, module_card
from tests.modules import assignment_map, map_of

EVIL = "x` </h1><script>alert(1)</script>\n---\n# [click](javascript:x) & | *b* _i_"


def record(**changes: Any) -> dict[str, Any]:
    """Make what `transfer.json` holds."""
    base = {"revision": None, "fingerprint": "f" * 64, "model_type": "bert"}
    return {
        "module": {"name": "my-ner", "format": "peft", "method": "lora", "teacher_format": "peft", "files": {}},
        "teacher": {**base, "name": "acme/big"},
        "student": {**base, "name": "acme/small", "revision": "a" * 40},
        "layers": {"mode": "skip", "map": {}},
        "alignment": {
            "source": "map",
            "aligner": "lsa",
            "mean_correlation": 0.87654,
            "tokens": 1234,
            "corpus": "some text",
        },
        "tensors": {"converted": 24, "bytes": 999},
        "dropped": ["layer 3: gone"],
        "approximated": [],
        "warnings": ["Few tokens."],
        "versions": {"modxfer": "0.1.0"},
        **changes,
    }


def head_of(card: str) -> dict[str, Any]:
    """Read a card's YAML head."""
    _, head, _ = card.split("---\n", 2)
    return dict(yaml.safe_load(head))


def test_module_card_says_where_it_comes_from() -> None:
    """Teacher, student, layer map, alignment, counts, and what was lost are all in the card."""
    card = module_card(record())
    for part in ("acme/big", "acme/small", "a" * 40, "skip", "0.877", "1234", "24", "layer 3: gone", "Few tokens."):
        assert part in card.replace("\\", "")
    assert "## Not exact" not in card
    head = head_of(card)
    assert head["base_model"] == "acme/small"
    assert head["library_name"] == "peft"
    assert set(head["tags"]) == {"modxfer", "lora"}


def test_module_card_of_a_stated_identity() -> None:
    """Without a map the card claims no figures; the library is that of the format."""
    card = module_card(record(alignment={"source": "identity"}, module={**record()["module"], "format": "adapters"}))
    assert "identity, as stated" in card
    assert head_of(card)["library_name"] == "adapter-transformers"


def test_module_card_names_no_base_model_that_the_hub_cannot_have() -> None:
    """A folder's name is not put forward as a Hub id: what came from the Hub has a revision."""
    student = {**record()["student"], "name": "bert-base-uncased", "revision": None}
    assert "base_model" not in head_of(module_card(record(student=student)))


def test_texts_from_outside_cannot_break_out() -> None:
    """Markup, line breaks and backticks in any text stay text, and the head stays what it is."""
    base = {**record()["teacher"], "name": EVIL, "revision": EVIL}
    card = module_card(
        record(
            teacher=base,
            student=base,
            module={**record()["module"], "name": EVIL},
            alignment={**record()["alignment"], "corpus": EVIL, "aligner": EVIL},
            dropped=[EVIL],
            warnings=[EVIL],
        )
    )
    head_of(card)
    body = card.split("---\n", 2)[2]
    outside_code = "".join(body.replace("\\`", "").split("`")[::2])
    assert body.count("\n---") == 0
    assert "script" in outside_code
    assert "<script" not in outside_code.replace("\\<", "")
    assert "\n# [" not in body


@pytest.mark.parametrize("text", [EVIL, "a\\b", "~~x~~", "#1", "1 < 2 & 3 > 2"])
def test_escape_and_code_are_one_line(text: str) -> None:
    """Escaped text has no bare mark and no line break; code has no backtick."""
    escaped = escape(text)
    assert "\n" not in escaped
    assert "<" not in escaped.replace("\\<", "")
    assert "`" not in escaped.replace("\\`", "")
    assert "&" not in escaped.replace("&amp;", "")
    assert "\n" not in code(text)
    assert "`" not in code(text)


def test_alignment_card_gives_the_measured_figures() -> None:
    """Names, tokens, correlation and warnings are those of the map."""
    pair = SitePair.parse("final.output<-final.output")
    card = alignment_card(map_of({pair: assignment_map(np.arange(3))}, reason=EVIL, warnings=("Only 100 matched tokens.",)))
    assert "100 matched tokens of text" in card
    assert "0.500" in card
    assert "Only 100 matched tokens" in card
    assert "<script>" not in card.replace("\\<", "")
    assert head_of(card)["tags"] == ["modxfer", "alignment-map"]
