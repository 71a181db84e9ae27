"""What was trained arrives whole, says where it comes from and what was measured, and loads as its card says."""

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from modxfer import api
from modxfer.converters.formats import inspect_files
from modxfer.errors import OutputError, TrainingError
from modxfer.registry.head_names import head_names
from modxfer.registry.transfers import read_transfer
from tests.builders import outputs, tiny_config, tiny_inputs
from tests.registry.cards import head_of, parse, python_blocks
from tests.registry.conftest import Made, acme, made
from tests.training.made import make_base
from tests.training.trained import COMMIT, HASH, LABELS, make_decoder, result, stir, train

__all__ = ["acme", "made"]

METHODS = ["lora", pytest.param("bottleneck", marks=pytest.mark.adapters)]


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a base model beside which modules are made."""
    make_base(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    return "base"


def run_snippet(folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the Python of a card in the module's folder, with the base model beside it."""
    shutil.copytree(base, folder / base.name)
    monkeypatch.chdir(folder)
    (source,) = python_blocks((folder / "README.md").read_text())
    names: dict[str, Any] = {}
    exec(compile(source, "card", "exec"), names)
    return names


@pytest.mark.parametrize("method", METHODS)
def test_a_module_from_scratch_is_written_with_its_record(base: str, method: str) -> None:
    """The record names data, settings and choice of the step, and no transfer; it verifies, and has no times."""
    written = train(Path("mine"), base, method=method, results=[result()], languages=["en"])
    record = read_transfer(Path("mine"))
    assert {**record, "sha256": None} == {**written, "sha256": None}
    assert (record["teacher"], record["layers"], record["alignment"]) == ({}, {}, {})
    assert record["module"]["name"] == "mine"
    assert (record["module"]["revision"], record["module"]["method"]) == (None, method)
    assert record["student"]["name"] == "base"
    assert record["head"] == {"task": "TOKEN_CLS", "labels": 4, "names": list(LABELS)}
    training = record["training"]
    assert (training["task"], training["init"], training["init_module"]) == ("ner", "default", None)
    assert training["labels"] == list(LABELS)
    assert training["data"]["train"]["revision"] == COMMIT
    assert training["data"]["validation"]["sha256"] == HASH
    assert training["settings"]["seed"] == 3
    assert training["fit"]["curve"] == [[0, None], [30, 81.25], [40, 80.0]]
    assert 0 < training["fit"]["trainable_parameters"] < training["fit"]["total_parameters"]
    bare = transformers.AutoModel.from_pretrained("base", add_pooling_layer=False).num_parameters()
    if method == "lora":  # no parameter is counted twice, of the head neither
        assert training["fit"]["total_parameters"] == bare + training["fit"]["trainable_parameters"]
    assert {"torch", "transformers"} < set(training["versions"])
    assert record["results"] == [result()]
    assert inspect_files(Path("mine")).base.name == "base"
    assert not [key for key in _keys(record) if "seconds" in key or "date" in key]


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from _keys(part)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_training_gives_the_same_bytes(base: str, method: str) -> None:
    """Every file, the record included."""
    train(Path("mine"), base, method=method)
    first = {path.name: path.read_bytes() for path in Path("mine").iterdir()}
    train(Path("mine"), base, method=method, force=True)
    assert {path.name: path.read_bytes() for path in Path("mine").iterdir()} == first


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", ["ner", "nli"])
def test_the_cards_snippet_gives_what_was_trained(
    base: str, method: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pasted beside the base model it gives the outputs of the model that was saved."""
    kept: list[Any] = []

    def keep(model: Any) -> None:
        stir(model)
        kept.append(model.eval())

    train(Path("mine"), base, method=method, task=task, change=keep)
    ids = tiny_inputs(tiny_config("bert", vocab=40))
    loaded = run_snippet(tmp_path / "mine", tmp_path / "base", monkeypatch)["model"].eval()
    for found, wanted in zip(outputs(loaded, ids), outputs(kept[0], ids), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)  # another order of sums, at most
    if method == "lora":
        assert loaded.config.id2label == dict(enumerate(LABELS))


@pytest.mark.parametrize("method", METHODS)
def test_a_language_model_of_an_unknown_family_is_written_and_loads(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What modxfer cannot convert is compared with the model instead, and its card loads the base model's own head."""
    monkeypatch.chdir(tmp_path)
    make_decoder(tmp_path / "gpt")
    record = train(Path("mine"), "gpt", method=method, task="causal-lm", labels=())
    assert record["student"]["model_type"] == "gpt2"
    assert record["head"] == {"task": "CAUSAL_LM", "labels": None}
    card = (tmp_path / "mine" / "README.md").read_text()
    assert head_of(card)["pipeline_tag"] == "text-generation"
    assert "language modelling" in card
    loaded = run_snippet(tmp_path / "mine", tmp_path / "gpt", monkeypatch)["model"].eval()
    (logits, *_) = outputs(loaded, torch.tensor([[5, 6, 7]]))
    assert logits.shape == (1, 3, 50)


def test_the_card_says_how_it_was_trained(base: str) -> None:
    """Task, data with commit and hash, beginning, choice and settings; and it is no initialisation any more."""
    train(Path("mine"), base, results=[result(), result(stage="before training", value=1.5)], languages=["en"])
    card = Path("mine/README.md").read_text()
    shown = parse(card).shown
    assert "it was not trained" not in shown
    for part in (
        "trained there for named entity recognition (ner) on acme/names, en at dddddddddddd",
        "It began at the usual initialisation of its method.",
        "Chosen on: data/held.conll sha256 555555555555, the first 9 rows, 9 rows",
        "of 2 looks after training began at the data that it was chosen on, the one with the best f1, 81.25 %, at step 30 of 40"
        "; it stopped early",
        "0.001, linear",
        "16 a step (8 × 2 × 1",
        "fp32, on cpu",
    ):
        assert part in shown, part
    assert (
        "| ner | `acme/names`, `en` at `dddddddddddd` | `test` | f1 | 79.50 % | 75.00 to 84.00 | 300 | 3 | after training |"
        in card
    )
    assert "| 1.50 % |" in card
    head = head_of(card)
    assert (head["datasets"], head["language"]) == (["acme/names"], ["en"])
    (measured,) = head["model-index"][0]["results"]  # not the one before training
    assert measured["metrics"] == [{"type": "f1", "value": 0.795, "name": "f1, seed 3"}]
    assert measured["task"] == {"type": "token-classification", "name": "ner"}


def test_results_on_a_part_are_not_given_as_those_of_the_whole(base: str) -> None:
    """The Hub's results name a split, and somebody would take them for all of it."""
    part = {**result()["dataset"], "part": "the first 30 rows"}
    train(Path("mine"), base, results=[result(dataset=part)])
    card = Path("mine/README.md").read_text()
    assert "model-index" not in head_of(card)
    assert "`test`, the first 30 rows" in card


def test_a_trained_transfer_keeps_its_origin(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the record said of teacher, layers and alignment stays; training and results are added."""
    monkeypatch.chdir(tmp_path)
    before = read_transfer(made.converted)
    record = train(Path("mine"), str(made.student), init=str(made.converted), results=[result()])
    for key in ("teacher", "layers", "alignment", "dropped", "approximated", "licence", "languages", "versions"):
        assert record[key] == before[key], key
    assert {**record["module"], **before["module"]} == record["module"]
    assert record["training"]["init"] == "module"
    assert record["training"]["init_module"]["name"] == "converted"
    assert set(record["training"]["init_module"]["files"]) == {"adapter_model.safetensors"}
    assert record["head"]["names"] == list(LABELS)
    shown = parse(Path("mine/README.md").read_text()).shown
    assert "then trained there for named entity recognition (ner)" in shown
    assert "It began as the module converted, which was moved here." in shown
    assert "Teacher module: ner" in shown
    assert "An initialisation: fine-tune it" not in shown


def test_a_module_that_was_never_moved_is_named_as_the_beginning(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its licence and languages, and without a teacher."""
    monkeypatch.chdir(tmp_path)
    record = train(Path("mine"), str(made.teacher), init=str(made.module))
    assert record["teacher"] == {}
    assert (record["module"]["name"], record["licence"], record["languages"]) == ("ner", "mit", ["en"])
    shown = parse(Path("mine/README.md").read_text()).shown
    assert "It began as the module ner." in shown
    assert "mit: what the card of the module that it began with says." in shown


def test_a_record_that_is_not_of_the_files_is_not_used(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that somebody changed since the conversion are not said to come from it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made.converted, "changed")
    path = Path("changed/adapter_model.safetensors")
    tensors = load_file(path)
    save_file({key: tensor * 2 for key, tensor in tensors.items()}, path)
    record = train(Path("mine"), str(made.student), init="changed")
    assert record["teacher"] == {}
    assert "does not fit its files" in record["warnings"][0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(base: str, value: float) -> None:
    """The tensor is named, and an older output stays."""
    train(Path("mine"), base)
    before = Path("mine/transfer.json").read_bytes()

    def break_one(model: Any) -> None:
        first = next(parameter for key, parameter in model.named_parameters() if "lora_B" in key)
        with torch.no_grad():
            first[0, 0] = value

    with pytest.raises(TrainingError, match=r"not finite, in `base_model\.model\.bert.*lora_B"):
        train(Path("mine"), base, change=break_one, force=True)
    assert Path("mine/transfer.json").read_bytes() == before
    assert {path.name for path in Path().iterdir()} == {"base", "mine"}


def test_a_tensor_that_is_not_saved_is_noticed(base: str) -> None:
    """Something trainable that the library does not save keeps the module from being written."""

    def also_train(model: Any) -> None:
        model.base_model.model.bert.embeddings.LayerNorm.weight.requires_grad_(True)

    with pytest.raises(TrainingError, match=r"lacks `base_model\.model\.bert\.embeddings\.LayerNorm\.weight`"):
        train(Path("mine"), base, change=also_train)
    assert not Path("mine").exists()


def test_a_result_that_is_no_number_is_refused(base: str) -> None:
    """Nothing is written that was not measured."""
    with pytest.raises(TrainingError, match="The result `f1` is nan"):
        train(Path("mine"), base, results=[result(value=float("nan"))])


def test_a_file_that_cannot_grow_leaves_nothing(base: str) -> None:
    """What the disk says comes wrapped in the error of safetensors; it is said plainly, and an older output stays."""
    train(Path("mine"), base)
    before = Path("mine/transfer.json").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match="Cannot write `mine`: File too large"):
            train(Path("mine"), base, force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Path("mine/transfer.json").read_bytes() == before
    assert {path.name for path in Path().iterdir()} == {"base", "mine"}


def test_a_trained_module_converts_to_another_base_model(base: str, made: Made, tmp_path: Path) -> None:
    """The names of its labels go along, what was measured of it does not."""
    train(Path("mine"), str(made.teacher), results=[result()])
    converted = api.convert(
        "mine", to=str(made.student), align=api.AlignmentChoice(corpus=str(made.text)), output=tmp_path / "moved"
    )
    record = read_transfer(tmp_path / "moved")
    assert converted.head == "kept"
    assert record["head"] == {"task": "TOKEN_CLS", "labels": 4, "names": list(LABELS)}
    assert (record["results"], "training" in record) == ([], False)
    assert head_names(inspect_files(tmp_path / "moved")) == LABELS
    assert record["datasets"] == ["acme/names"]
    assert "it was not trained" in (tmp_path / "moved" / "README.md").read_text()
