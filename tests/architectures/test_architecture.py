"""A base model's structure comes from its config alone, and a wrong config is refused with its value."""

import json
from pathlib import Path
from typing import Any

import pytest

from modxfer.architectures import FINAL, Point, Side, Site, architecture_from_config, read_config
from modxfer.errors import ArchitectureError

BERT = {"model_type": "bert", "hidden_size": 12, "num_hidden_layers": 3, "intermediate_size": 20}
ELECTRA = {**BERT, "model_type": "electra"}


def test_sizes_come_from_the_config() -> None:
    """Dimensions and depths are the config's, under DistilBERT's own names too."""
    bert = architecture_from_config(BERT, name="b")
    distilbert = architecture_from_config({"model_type": "distilbert", "dim": 6, "n_layers": 2, "hidden_dim": 24}, name="d")
    assert (bert.dimensions, bert.depths) == ({"hidden": 12, "heads": 12, "ffn": 20}, {"encoder": 3})
    assert (distilbert.dimensions, distilbert.depths) == ({"hidden": 6, "heads": 6, "ffn": 24}, {"encoder": 2})


def test_electra_embeddings_fall_back_to_the_hidden_size() -> None:
    """ELECTRA's embedding size is its own key where there is one, else the hidden size."""
    assert architecture_from_config(ELECTRA, name="e").dimensions["embedding"] == 12
    assert architecture_from_config({**ELECTRA, "embedding_size": 8}, name="e").dimensions["embedding"] == 8


def test_unknown_family_says_what_was_found_and_where_a_row_goes() -> None:
    """The error names the base model, its family, what its config holds, and the file of the table."""
    config = {"model_type": "mamba", "hidden_size": 64, "architectures": ["MambaModel"]}
    with pytest.raises(ArchitectureError) as caught:
        architecture_from_config(config, name="acme/mamba")
    for part in ("acme/mamba", "`mamba`", "hidden_size=64", "MambaModel", "distilbert"):
        assert part in caught.value.what
    assert "modxfer/architectures/families" in caught.value.do


def test_unknown_family_without_anything_known() -> None:
    """A config without a family and without sizes is refused too."""
    with pytest.raises(ArchitectureError, match=r"`None`.*nothing about its sizes"):
        architecture_from_config({}, name="x")


@pytest.mark.parametrize("value", [0, -12, 12.0, "12d", True, [12]])
def test_size_must_be_a_whole_number_above_zero(value: Any) -> None:
    """A size that is no whole number above 0 is refused with its key and value."""
    with pytest.raises(ArchitectureError) as caught:
        architecture_from_config({**BERT, "hidden_size": value}, name="wrong")
    assert f"hidden_size={value!r}" in caught.value.what


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "intermediate_size"])
def test_size_has_no_default(key: str) -> None:
    """A missing size is refused with its key."""
    with pytest.raises(ArchitectureError, match=f"lacks '{key}'"):
        architecture_from_config({k: v for k, v in BERT.items() if k != key}, name="short")


def test_width_and_path_of_sites() -> None:
    """A site's width depends on its side, and its path is that of its role in its layer."""
    bert = architecture_from_config(BERT, name="b")
    up = Site("encoder", 2, Point("ffn_up", Side.OUTPUT))
    assert (bert.width(up), bert.path(up)) == (20, "encoder.layer.2.intermediate.dense")
    assert bert.width(Site("encoder", 2, Point("ffn_up", Side.INPUT))) == 12
    assert bert.path(Site("", None, FINAL)) == "encoder.layer.2.output.LayerNorm"
    assert bert.path(Site("", None, Point("pooler", Side.INPUT))) == "pooler.dense"


def test_unknown_role_names_those_that_are_there() -> None:
    """A role that the family lacks is refused with its name and the known ones."""
    bert = architecture_from_config(BERT, name="b")
    with pytest.raises(ArchitectureError, match="no role `ffn_gate`; it has query, key"):
        bert.width(Site("encoder", 0, Point("ffn_gate", Side.OUTPUT)))


def test_stand_in_of_the_pooler() -> None:
    """The pooler sees one token a text, so the final state's map serves for it."""
    bert = architecture_from_config(BERT, name="b")
    assert bert.canonical(Site("", None, Point("pooler", Side.OUTPUT))) == Site("", None, FINAL)


def test_read_config_of_a_folder(tmp_path: Path) -> None:
    """The config is read as it is."""
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    assert read_config(tmp_path) == BERT


@pytest.mark.parametrize(
    ("content", "wrong"),
    [(None, "holds no `config.json`"), (b"{", "Cannot read"), (b"\xff\xfe", "Cannot read"), (b"[1]", "JSON object")],
)
def test_read_config_refuses_what_is_none(tmp_path: Path, content: bytes | None, wrong: str) -> None:
    """A folder without a config, or with a damaged one, is refused with its name."""
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ArchitectureError, match=wrong) as caught:
        read_config(tmp_path)
    assert tmp_path.name in caught.value.what
