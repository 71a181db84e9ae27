"""What is said of a module: from configs, cards and headers, whether its weights are here or somewhere else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from modxfer.converters.formats import inspect_files, read_module
from modxfer.converters.formats.files import read_headers
from modxfer.converters.module import BaseReference
from modxfer.errors import FormatError
from tests.builders import make_peft_module, tiny_architecture, tiny_config, tiny_model

INNER = {"mh_adapter": False, "output_adapter": True, "reduction_factor": 2, "non_linearity": "relu"}


def make_peft(folder: Path) -> tuple[str, ...]:
    """Save a LoRA; gives its files of weights."""
    model = tiny_model(tiny_config("bert", layers=1), task="TOKEN_CLS")
    make_peft_module(folder, model, task_type="TOKEN_CLS", r=1)
    return ("adapter_model.safetensors",)


def make_adapters(folder: Path) -> tuple[str, ...]:
    """Save what looks like a bottleneck with a head; gives its files of weights."""
    config = {"config": INNER, "name": "mine", "hidden_size": 12, "model_type": "bert", "model_name": "own/base"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "head_config.json").write_text("{}")
    save_file({"bert.encoder.layer.0.output.adapters.mine.adapter_up.bias": np.ones(12, np.float32)}, folder / ADAPTERS[0])
    save_file({"heads.mine.1.weight": np.ones((5, 12), np.float16)}, folder / ADAPTERS[1])
    return ADAPTERS


ADAPTERS = ("adapter.safetensors", "model_head.safetensors")


@pytest.mark.parametrize("make", [make_peft, make_adapters])
@pytest.mark.parametrize("nested", [False, True])
def test_a_module_is_told_from_its_configs_and_headers_from_elsewhere(
    tmp_path: Path, make: Callable[[Path], tuple[str, ...]], nested: bool
) -> None:
    """With its weights gone and their headers handed over, all that is said of a module stays the same."""
    folder = tmp_path / "mine" if nested else tmp_path
    folder.mkdir(exist_ok=True)
    names = make(folder)
    before = inspect_files(tmp_path)
    elsewhere = {name: read_headers(folder / name) for name in names}
    for name in names:
        (folder / name).unlink()
    with pytest.raises(FormatError, match=names[0]):
        inspect_files(tmp_path)
    after = inspect_files(tmp_path, elsewhere=elsewhere)
    assert after == before
    assert after.weight_files == names
    assert len(after.tensors) == sum(map(len, elsewhere.values())) > 0


def test_safetensors_elsewhere_come_before_a_pickle_here(tmp_path: Path) -> None:
    """Whichever of the two is where, the pickle is not opened."""
    (name,) = make_peft(tmp_path)
    headers = read_headers(tmp_path / name)
    (tmp_path / name).rename(tmp_path / "away")
    (tmp_path / "adapter_model.bin").write_bytes(b"no pickle at all")
    assert inspect_files(tmp_path, elsewhere={name: headers}).tensors == headers
    (tmp_path / "away").rename(tmp_path / name)
    assert inspect_files(tmp_path, elsewhere={"adapter_model.bin": None}).tensors == headers


def test_a_file_here_counts_before_its_headers_from_elsewhere(tmp_path: Path) -> None:
    """What lies in the folder is what will be read, so that is what is told."""
    (name,) = make_peft(tmp_path)
    assert inspect_files(tmp_path, elsewhere={name: ()}).tensors == read_headers(tmp_path / name)


def test_a_pickle_elsewhere_has_no_headers(tmp_path: Path) -> None:
    """A pickle that was not fetched is named as the file of weights; its tensors are unknown, and cannot be read."""
    (name,) = make_peft(tmp_path)
    (tmp_path / name).unlink()
    files = inspect_files(tmp_path, elsewhere={"adapter_model.bin": None})
    assert (files.weight_files, files.tensors) == (("adapter_model.bin",), ())
    with pytest.raises(FormatError, match=r"adapter_model\.bin"):
        read_module(files, tiny_architecture(tiny_config("bert", layers=1)))


def test_a_name_that_only_a_pickle_elsewhere_says_is_not_guessed(tmp_path: Path) -> None:
    """An old config without a name, whose keys are out of reach, is refused with what to fetch."""
    (tmp_path / "adapter_config.json").write_text(json.dumps(INNER))
    with pytest.raises(FormatError, match=r"`name` in .* is None") as caught:
        inspect_files(tmp_path, elsewhere={"pytorch_adapter.bin": None})
    assert "`pytorch_adapter.bin`" in caught.value.do


def test_one_key_in_two_files_elsewhere_is_refused(tmp_path: Path) -> None:
    """Headers from elsewhere are held to the same rules."""
    names = make_adapters(tmp_path)
    same = read_headers(tmp_path / names[0])
    for name in names:
        (tmp_path / name).unlink()
    with pytest.raises(FormatError, match="in two files"):
        inspect_files(tmp_path, elsewhere=dict.fromkeys(names, same))


def base_of(folder: Path, make: Callable[[Path], Any], named: object, card: str, **more: object) -> BaseReference:
    """Say which base model a module belongs to whose config and card name these."""
    folder.mkdir(exist_ok=True)
    make(folder)
    path, config = folder / "adapter_config.json", json.loads((folder / "adapter_config.json").read_text())
    key = "model_name" if make is make_adapters else "base_model_name_or_path"
    path.write_text(json.dumps({**config, key: named, **more}))
    (folder / "README.md").write_text(f"---\nbase_model: {card}\n---\n" if card else "")
    base = inspect_files(folder).base
    shutil.rmtree(folder)
    return base


@pytest.mark.parametrize("make", [make_peft, make_adapters])
@pytest.mark.parametrize(
    ("named", "card", "found"),
    [
        ("own/base", "some/base", "own/base"),
        ("bert-base-uncased", "some/base", "bert-base-uncased"),
        (None, "some/base", "some/base"),
        ("", "[some/base]", "some/base"),
        (5, "some/base_1.b", "some/base_1.b"),
        ("/home/ann/models/bert", "some/base", "some/base"),
        ("../models/bert", "some/base", "some/base"),
        ("./bert", "bert-base-uncased", "bert-base-uncased"),
        ("runs/7/checkpoint-100", "some/base", "some/base"),
        ("C:\\models\\bert", "some/base", "some/base"),
        ("~nobody-here/bert", "some/base", "some/base"),
        ("a\0b", "some/base", "some/base"),
        ("/home/ann/models/bert", "", "/home/ann/models/bert"),
        ("/home/ann/models/bert", "/root/bert", "/home/ann/models/bert"),
        ("/home/ann/models/bert", "../bert", "/home/ann/models/bert"),
        ("/home/ann/models/bert", "[some/base, other/base]", "/home/ann/models/bert"),
        (None, "/root/bert", ""),
        (None, "a/../b", ""),
        (None, "7", ""),
    ],
)
def test_the_base_is_what_the_config_names_unless_only_the_card_can_mean_something_here(
    tmp_path: Path, make: Callable[[Path], Any], named: object, card: str, found: str
) -> None:
    """A path of the machine that trained a module gives way to the Hub id on its card; a card names no paths."""
    assert base_of(tmp_path / "module", make, named, card).name == found


@pytest.mark.parametrize("make", [make_peft, make_adapters])
def test_a_folder_that_is_here_is_the_base(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    """A path in the config that is a folder of this machine counts before the card."""
    assert base_of(tmp_path / "module", make, str(tmp_path), "some/base").name == str(tmp_path)


def test_a_revision_belongs_to_the_name_in_the_config(tmp_path: Path) -> None:
    """The revision goes with the config's name, and not with the card's; family and width are the config's all the same."""
    pinned = base_of(tmp_path / "module", make_peft, "own/base", "some/base", revision="abc")
    assert pinned == BaseReference(name="own/base", revision="abc")
    moved = base_of(tmp_path / "module", make_peft, "/not/here", "some/base", revision="abc")
    assert moved == BaseReference(name="some/base")
    other = base_of(tmp_path / "module", make_adapters, "/not/here", "some/base")
    assert other == BaseReference(name="some/base", model_type="bert", hidden_size=12)


@pytest.mark.parametrize("make", [make_peft, make_adapters])
@pytest.mark.parametrize(
    ("card", "datasets", "languages", "licence"),
    [
        ("license: mit\nlanguage: de\ndatasets: one", ("one",), ("de",), "mit"),
        ("license: [cc-by-4.0]\nlanguage: [de, en]\ndatasets: [one, two]", ("one", "two"), ("de", "en"), "cc-by-4.0"),
        ("license: [mit, apache-2.0]", (), (), "mit, apache-2.0"),
        ("license: {name: mit}\nlanguage: no\ndatasets: 5", (), ("no",), None),
        ("license: 3\nlanguage: [de, no, 1, [fr]]\ndatasets: [one, {a: b}]", ("one",), ("de", "no"), None),
        ("tags: [x]", (), (), None),
    ],
)
def test_the_card_says_data_sets_languages_and_licence(
    tmp_path: Path,
    make: Callable[[Path], Any],
    card: str,
    datasets: tuple[str, ...],
    languages: tuple[str, ...],
    licence: str | None,
) -> None:
    """Texts and lists of texts are taken; `no` is Norwegian; anything else is passed over."""
    make(tmp_path)
    (tmp_path / "README.md").write_text(f"---\n{card}\n---\n")
    files = inspect_files(tmp_path)
    assert (files.datasets, files.languages, files.licence) == (datasets, languages, licence)
