"""Libraries that stand on the client find in the Hub of the tests what they find in the real one."""

import io
from pathlib import Path

import datasets
import pyarrow
import pytest
import torch
from pyarrow import parquet
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from tests.hub.server import HubServer


def test_transformers_loads_and_pushes_a_model(hub: HubServer, tmp_path: Path) -> None:
    """A model is loaded by its id, bit for bit, and pushed with one commit."""
    config = BertConfig(hidden_size=6, num_hidden_layers=1, num_attention_heads=2, intermediate_size=5, vocab_size=11)
    model = BertModel(config)
    model.save_pretrained(tmp_path / "saved")
    hub.add_repo("ann/bert", {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()})
    assert AutoConfig.from_pretrained("ann/bert", cache_dir=tmp_path).hidden_size == 6
    loaded = AutoModel.from_pretrained("ann/bert", cache_dir=tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    loaded.push_to_hub("ann/copy", token=hub.add_user("ann"))
    assert hub.files("ann/copy")["config.json"] == hub.files("ann/bert")["config.json"]
    assert len(hub.commits("ann/copy")) == 2


def _parquet(columns: dict[str, list]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize(
    "files",
    [
        {"train.csv": b"text,label\na,0\nb,1\n"},
        {"train.jsonl": b'{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n'},
        {"data/train-00000-of-00001.parquet": _parquet({"text": ["a", "b"], "label": [0, 1]})},
    ],
)
def test_load_dataset_reads_a_data_set(hub: HubServer, tmp_path: Path, files: dict[str, bytes]) -> None:
    """`load_dataset` finds the files of a data set by its id."""
    hub.add_repo("ann/data", files, repo_type="dataset")
    data = datasets.load_dataset("ann/data", split="train", cache_dir=str(tmp_path))
    assert (data["text"][:], data["label"][:]) == (["a", "b"], [0, 1])
