"""Files that are damaged, that lie, or that would do harm."""

import contextlib
import json
import os
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from modxfer.converters.formats import inspect_files, read_module
from modxfer.converters.formats.files import check_header, read_card, read_headers, read_json, read_tensors, write_tensors
from modxfer.errors import FormatError, ModxferError
from tests.builders import make_peft_module, tiny_architecture, tiny_config, tiny_model

TENSOR = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def lie(path: Path, header: Any, data: bytes = bytes(24), header_bytes: int | None = None) -> Path:
    """Write a safetensors file whose header says what it likes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if header_bytes is None else header_bytes) + text + data)
    return path


def test_headers_are_those_of_the_library(tmp_path: Path) -> None:
    """Keys, dtypes and shapes are those that were saved, in order, and no data is read for them."""
    write_tensors(tmp_path / "x.safetensors", {"b": np.ones((2, 3), np.float32), "a": np.ones(4, np.float16)})
    headers = read_headers(tmp_path / "x.safetensors")
    assert [(h.key, h.dtype, h.shape) for h in headers] == [("a", "F16", (4,)), ("b", "F32", (2, 3))]
    assert (tmp_path / "x.safetensors").read_bytes()[8:].startswith(b'{"__metadata__":{"format":"pt"}')


def test_an_honest_file_made_by_hand_is_read(tmp_path: Path) -> None:
    """The helper below makes good files from good headers, so what it makes from others fails for its lie."""
    assert read_headers(lie(tmp_path / "x.safetensors", {"a": TENSOR}))[0].shape == (2, 3)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"a": {**TENSOR, "data_offsets": [0, 48]}}, "gives `a` 48 bytes, and F32 of shape [2, 3] needs 24"),
        ({"a": {**TENSOR, "shape": [2, 6], "data_offsets": [0, 48]}}, "data ends at 24"),
        ({"a": {**TENSOR, "dtype": "F64"}}, "needs 48"),
        ({"a": {**TENSOR, "dtype": "X9"}}, "no tensor"),
        ({"a": {**TENSOR, "dtype": ["F32"]}}, "no tensor"),
        ({"a": {**TENSOR, "shape": [-2, -3]}}, "no tensor"),
        ({"a": {**TENSOR, "shape": [2**40, 2**40]}}, "needs"),
        ({"a": {**TENSOR, "data_offsets": [24, 0]}}, "gives `a` -24 bytes"),
        ({"a": 5}, "says 5 of `a`"),
        ({"a": TENSOR, "b": TENSOR}, "the tensor before ends at 24"),
        ({"a": {**TENSOR, "shape": [1], "data_offsets": [0, 4]}}, "its header names 4"),
        ({"a": {**TENSOR, "shape": [5], "data_offsets": [4, 24]}}, "the tensor before ends at 0"),
        (["a"], "no JSON object"),
        (b"{not json", "Cannot read the header"),
        (b"\xff\xfe{}", "Cannot read the header"),
        (b'{"a": 1, "a": 2}', "a key comes twice"),
    ],
)
def test_lying_headers_are_refused(tmp_path: Path, header: Any, said: str) -> None:
    """Offsets outside the file, overlaps, gaps, wrong sizes and other lies are told apart, before anything is allocated."""
    path = lie(tmp_path / "x.safetensors", header)
    for read in (read_headers, read_tensors):
        with pytest.raises(FormatError, match=re.escape(said)):
            read(path)


@pytest.mark.parametrize("header_bytes", [2**60, 2**64 - 1, 0, 200])
def test_a_header_of_impossible_length_is_refused(tmp_path: Path, header_bytes: int) -> None:
    """A length that the file cannot hold is refused without reading that much."""
    path = lie(tmp_path / "x.safetensors", {"a": TENSOR}, header_bytes=header_bytes)
    with pytest.raises(FormatError, match=str(header_bytes)):
        read_headers(path)


def test_a_header_from_elsewhere_is_held_to_the_same_rules() -> None:
    """A parsed header gives what the file would, with tuples for lists too, and is refused where the file would be."""
    first, second = {**TENSOR, "shape": (1, 2), "data_offsets": (0, 8)}, {**TENSOR, "data_offsets": (8, 32)}
    header = {"__metadata__": {"format": "pt"}, "b": second, "a": first}
    found = check_header(header, file="sub/x.safetensors", file_bytes=8 + 90 + 32, header_bytes=90)
    assert [(h.file, h.key, h.dtype, h.shape) for h in found] == [
        ("x.safetensors", "a", "F32", (1, 2)),
        ("x.safetensors", "b", "F32", (2, 3)),
    ]
    for file_bytes, said in ((8 + 90 + 31, "data ends at 31"), (8 + 90 + 33, "holds 33 bytes of data"), (97, "has 97 bytes")):
        with pytest.raises(FormatError, match=f"`sub/x.safetensors`.*{said}"):
            check_header(header, file="sub/x.safetensors", file_bytes=file_bytes, header_bytes=90)


def test_a_header_of_unknown_length_is_held_against_the_whole_file() -> None:
    """Where nobody says how long the header is, a file that is too short for the tensors is still refused."""
    assert check_header({"a": TENSOR}, file="x", file_bytes=8 + 2 + 24, header_bytes=None)[0].shape == (2, 3)
    assert check_header({"a": TENSOR}, file="x", file_bytes=1000, header_bytes=None)[0].shape == (2, 3)
    with pytest.raises(FormatError, match="up to byte 24, and the data ends at 23"):
        check_header({"a": TENSOR}, file="x", file_bytes=8 + 2 + 23, header_bytes=None)


@given(kept=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(tmp_path_factory: pytest.TempPathFactory, kept: float) -> None:
    """However much of a file is missing at its end, it is not read."""
    whole = save({"a": np.ones((2, 3), np.float32), "b": np.ones(5, np.float32)})
    path = tmp_path_factory.mktemp("cut") / "x.safetensors"
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(FormatError, match=r"x\.safetensors"):
        read_tensors(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'"text"', b"[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    """Anything but a JSON object is refused, and the file is named."""
    (tmp_path / "adapter_config.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"adapter_config\.json"):
        inspect_files(tmp_path)


def test_a_folder_that_is_no_module_is_refused(tmp_path: Path) -> None:
    """Nothing there, nothing in it, something else in it, several in it: each is said."""
    with pytest.raises(FormatError, match="nowhere` is no folder"):
        inspect_files(tmp_path / "nowhere")
    with pytest.raises(FormatError, match=r"holds no `adapter_config\.json`"):
        inspect_files(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(FormatError, match=r"neither `peft_type`.*it has `model_type`"):
        inspect_files(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(FormatError, match=r"`adapter_model\.bin`, `adapter_model\.safetensors`"):
        inspect_files(tmp_path)
    for name in ("one", "two"):
        (tmp_path / "many" / name).mkdir(parents=True)
        (tmp_path / "many" / name / "adapter_config.json").write_text("{}")
    with pytest.raises(FormatError, match="`one`, `two`"):
        inspect_files(tmp_path / "many")


class Harm:
    """What an attacker puts into a pickle: to unpickle it is to run a command."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        """Say what is run."""
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("use_zip", [True, False])
def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, use_zip: bool) -> None:
    """The file that the pickle would make is not there afterwards; with plain unpickling it is."""
    import torch

    mark, path = tmp_path / "harm-was-done", tmp_path / "adapter_model.bin"
    content = {"base_model.model.x.lora_A.weight": Harm(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=use_zip)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(FormatError, match=r"adapter_model\.bin` is refused: .*system"):
        inspect_files(tmp_path)
    with pytest.raises(FormatError, match="is refused"):
        read_tensors(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize("content", [pickle.dumps([1, 2]), b"", b"not a pickle", b"PK\x03\x04 torn"])
def test_a_pickle_that_holds_no_tensors_is_refused(tmp_path: Path, content: bytes) -> None:
    """A damaged pickle, and one of something else, is refused, and the file is named."""
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(FormatError, match=r"x\.bin"):
        read_tensors(tmp_path / "x.bin")


def test_a_pickle_of_other_values_is_refused(tmp_path: Path) -> None:
    """A value that is no tensor is named."""
    import torch

    torch.save({"a": torch.ones(2), "odd": "text"}, tmp_path / "x.bin")
    with pytest.raises(FormatError, match="`odd`"):
        read_tensors(tmp_path / "x.bin")


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_pickled_dtypes_stay(tmp_path: Path, dtype: str) -> None:
    """Values and dtype of a pickled tensor arrive exactly, also where the tensor is a view."""
    import torch

    tensor = torch.randn(4, 6).to(getattr(torch, dtype))
    torch.save({"a": tensor.T[1:3]}, tmp_path / "x.bin")
    read = read_tensors(tmp_path / "x.bin")["a"]
    assert str(read.dtype) == dtype
    np.testing.assert_array_equal(read.astype(np.float64), tensor.T[1:3].double().numpy())


def test_a_pickle_may_hold_a_tensor_twice(tmp_path: Path) -> None:
    """Two keys of one storage, and a view of it, are tensors of their own here."""
    import torch

    tensor = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": tensor, "b": tensor, "c": tensor[1]}, tmp_path / "x.bin")
    read = read_tensors(tmp_path / "x.bin")
    for key, expected in {"a": tensor, "b": tensor, "c": tensor[1]}.items():
        np.testing.assert_array_equal(read[key], expected.numpy())


@pytest.mark.parametrize(
    ("text", "card"),
    [
        ("---\ndatasets: one\n---\n", {"datasets": "one"}),
        ("\ufeff---\nbase_model: b\n---\ntext", {"base_model": "b"}),
        ("---\nlanguage: no\n---\n", {"language": "no"}),
        ("---\nlanguage: [no, en]\nx: [yes, On, off]\n---\n", {"language": ["no", "en"], "x": ["yes", "On", "off"]}),
        ("---\ngated: true\nold: False\nother: trues\n---\n", {"gated": True, "old": False, "other": "trues"}),
        ("# only text", {}),
        ("---\n: [broken\n---\n", {}),
        ("---\n- a list\n---\n", {}),
        ("---\nnever: ends\n", {}),
        ("---\na: &x [1, 1]\nb: *x\n---\n", {}),
        ("---\na: !!python/object/apply:os.system [ls]\n---\n", {}),
    ],
)
def test_cards_are_read_leniently(tmp_path: Path, text: str, card: dict[str, Any]) -> None:
    """A card that cannot be read is no reason to refuse a module, and nothing in it is run."""
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert read_card(tmp_path) == card


def test_read_json_refuses_a_huge_file(tmp_path: Path) -> None:
    """A config of 60 MB is none."""
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(60_000_000)
    with pytest.raises(FormatError, match="60000000 bytes"):
        read_json(tmp_path / "x.json")


@given(seed=st.integers(0, 2**32 - 1))
def test_no_damage_leads_to_another_error(lora: Path, tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Whatever bytes change in a module, it is read or it fails with an error of ours."""
    folder, generator = tmp_path_factory.mktemp("damage"), np.random.default_rng(seed)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        data = bytearray((lora / name).read_bytes())
        for _ in range(int(generator.integers(0, 4))):
            data[int(generator.integers(0, min(len(data), 3000)))] = int(generator.integers(0, 256))
        (folder / name).write_bytes(bytes(data))
    with contextlib.suppress(ModxferError):
        assert read_module(inspect_files(folder), tiny_architecture(tiny_config("bert", layers=1))).pieces


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a LoRA on a one-layer BERT for token classification."""
    folder = tmp_path_factory.mktemp("lora")
    make_peft_module(folder, tiny_model(tiny_config("bert", layers=1), task="TOKEN_CLS"), task_type="TOKEN_CLS", r=1)
    return folder


def test_one_key_in_two_files_is_refused(tmp_path: Path) -> None:
    """A head's file that holds a tensor of the module's is refused, and the tensor named."""
    inner = {"mh_adapter": False, "output_adapter": True, "reduction_factor": 2, "non_linearity": "relu"}
    (tmp_path / "adapter_config.json").write_text(json.dumps({"config": inner, "name": "x"}))
    (tmp_path / "head_config.json").write_text("{}")
    for name in ("adapter.safetensors", "model_head.safetensors"):
        save_file({"a": np.ones(2, np.float32)}, tmp_path / name)
    with pytest.raises(FormatError, match="`a` in two files"):
        inspect_files(tmp_path)
