"""Labels of a head, told from files, and whether data fits them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from modxfer.converters.formats import inspect_files
from modxfer.errors import DataError, FormatError
from modxfer.training.libraries.heads import HeadLabels, fit_labels, head_labels

START = "base_model.model."


def peft_module(folder: Path, *, last: str = "classifier", labels: int = 3, task: str | None = "TOKEN_CLS") -> Path:
    """Write a `peft` module with a head's last layer."""
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "task_type": task, "r": 2}))
    tensors = {
        f"{START}bert.encoder.layer.0.attention.self.query.lora_A.weight": np.zeros((2, 6), dtype=np.float32),
        f"{START}{last}.weight": np.zeros((labels, 6), dtype=np.float32),
        f"{START}pre_classifier.weight": np.zeros((6, 6), dtype=np.float32),
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def adapters_module(folder: Path, head: dict[str, Any]) -> Path:
    """Write a module in the `adapters` format with a head's config."""
    inner = {"mh_adapter": False, "output_adapter": True, "reduction_factor": 2, "non_linearity": "relu"}
    (folder / "adapter_config.json").write_text(json.dumps({"config": inner, "name": "a"}))
    (folder / "head_config.json").write_text(json.dumps(head))
    save_file({"x.adapters.a.adapter_down.0.weight": np.zeros((2, 4), dtype=np.float32)}, folder / "adapter.safetensors")
    save_file({"heads.a.1.weight": np.zeros((3, 4), dtype=np.float32)}, folder / "model_head.safetensors")
    return folder


def labels_of(folder: Path) -> HeadLabels | None:
    """Look at a folder as training does."""
    return head_labels(folder, inspect_files(folder))


@pytest.mark.parametrize("last", ["classifier", "classifier.out_proj", "score", "classification_head.out_proj", "logits_proj"])
def test_head_labels_counts_the_rows_of_the_last_layer(last: str, tmp_path: Path) -> None:
    """Without names there is the number, and the task that the config says."""
    assert labels_of(peft_module(tmp_path, last=last)) == HeadLabels(names=None, count=3, task="TOKEN_CLS")


def test_head_labels_is_none_without_a_head(tmp_path: Path) -> None:
    """Tensors that belong to no head for labels count for nothing."""
    assert labels_of(peft_module(tmp_path, last="bert.pooler.dense", task=None)) is None


def test_head_labels_takes_names_from_the_record(tmp_path: Path) -> None:
    """What modxfer wrote down counts, and must be as many as there are rows."""
    folder = peft_module(tmp_path)
    record = tmp_path / "transfer.json"
    record.write_text(json.dumps({"head": {"names": ["b", "a", "c"]}}))
    assert labels_of(folder) == HeadLabels(names=("b", "a", "c"), count=3, task="TOKEN_CLS")

    record.write_text(json.dumps({"head": {"names": ["b", "a"]}}))
    with pytest.raises(FormatError, match=r"has 3 labels, and its files name 2 \(2 different ones\)"):
        labels_of(folder)
    record.write_text(json.dumps({"head": {"names": "bac"}}))
    with pytest.raises(FormatError, match=r"`head.names` in `.*transfer.json` is not a list of names"):
        labels_of(folder)
    record.write_text("{")
    with pytest.raises(FormatError, match=r"`.*transfer.json` cannot be read"):
        labels_of(folder)


@pytest.mark.parametrize("is_static", [False, True])
def test_head_labels_takes_names_from_the_config_of_adapters(is_static: bool, tmp_path: Path) -> None:
    """Names in the order of their numbers, for heads with a config and for those of a `transformers` class."""
    said = {"num_labels": 3, "label2id": {"c": 2, "a": 0, "b": 1}}
    static = {"config": None, "model_class": "BertForTokenClassification", "name": None, **said}
    flexible = {"config": {"head_type": "tagging", "layers": 1, **said}, "model_class": "BertAdapterModel", "name": "a"}
    folder = adapters_module(tmp_path, static if is_static else flexible)
    assert labels_of(folder) == HeadLabels(names=("a", "b", "c"), count=3, task="TOKEN_CLS")


@pytest.mark.parametrize("table", [None, {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}])
def test_head_labels_takes_no_stand_ins_for_names(table: dict[str, int] | None, tmp_path: Path) -> None:
    """What `transformers` numbers itself says nothing."""
    head = {"config": {"head_type": "classification", "layers": 2, "num_labels": 3, "label2id": table}, "name": "a"}
    assert labels_of(adapters_module(tmp_path, head)) == HeadLabels(names=None, count=3, task="SEQ_CLS")


def test_fit_labels_keeps_the_order_of_the_head() -> None:
    """With names the head's rows decide; labels that the data never has are told."""
    head = HeadLabels(names=("b", "a", "c"), count=3)
    assert fit_labels(head, ("a", "b", "c"), where="m") == (("b", "a", "c"), ())
    labels, warnings = fit_labels(head, ("a", "b"), where="m")
    assert labels == ("b", "a", "c")
    assert warnings == ("The head in `m` also knows `c`, which the data never has.",)


def test_fit_labels_refuses_labels_that_the_head_lacks() -> None:
    """They are listed, with what to do."""
    head = HeadLabels(names=("a", "b"), count=2)
    with pytest.raises(DataError, match=r"`m` lacks: `x`, `y`; it knows `a`, `b`. Train a new head with `--head new`"):
        fit_labels(head, ("a", "x", "y"), where="m")


def test_fit_labels_assumes_an_order_only_with_a_warning() -> None:
    """A head without names takes the data's order if the number fits."""
    head = HeadLabels(names=None, count=2)
    labels, warnings = fit_labels(head, ("a", "b"), where="m")
    assert labels == ("a", "b")
    assert warnings == ("The files of `m` do not name the head's 2 labels: they are taken to be, in this order, `a`, `b`.",)
    with pytest.raises(DataError, match=r"`m` has 2 labels, and the data has 3: `a`, `b`, `c`. Train a new head"):
        fit_labels(head, ("a", "b", "c"), where="m")
