"""Training a module from disk to disk."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from modxfer import api
from modxfer.errors import DataError, OutputError, TrainingError, UsageError
from modxfer.registry.transfers import read_transfer
from modxfer.training.checkpoints import place_of
from modxfer.training.data.choice import DataChoice
from modxfer.training.settings import TrainingSettings
from modxfer.training.train import Trained, TrainRequest, train_module
from tests.training.made import make_base, tagged_sentences, write_pairs, write_tagged

SETTINGS = TrainingSettings(max_steps=12, learning_rate=0.05, batch_size=8, eval_steps=4)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two base models of one shape, a wider one, and data."""
    folder = tmp_path_factory.mktemp("ground")
    make_base(folder / "base")
    make_base(folder / "other", seed=1)
    make_base(folder / "wide", hidden=15, layers=4)
    write_tagged(folder / "train.conll", 60)
    write_tagged(folder / "test.conll", 30, seed=1)
    write_pairs(folder / "pairs.tsv", 40)
    return folder


@pytest.fixture(scope="module")
def trained(ground: Path) -> Trained:
    """A LoRA that was trained from its usual initialisation."""
    return train_module(request_for(ground, output=ground / "trained"))


def request_for(ground: Path, *, output: Path, **changes: Any) -> TrainRequest:
    """Ask for a LoRA on the base model, for the tagged sentences."""
    request = TrainRequest(
        model=str(ground / "base"),
        task="ner",
        data=DataChoice(data=str(ground / "train.conll"), test=str(ground / "test.conll")),
        settings=SETTINGS,
        output=output,
    )
    return replace(request, **changes)


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_train_module_measures_what_the_saved_module_predicts(ground: Path, trained: Trained) -> None:
    """A stranger who loads the folder with `peft` counts the same right words as the record's F1 says.

    Spans are of one word here, so a span is right where its word's tag is.
    """
    base = transformers.AutoModelForTokenClassification.from_pretrained(ground / "base", num_labels=3)
    model = peft.PeftModel.from_pretrained(base, str(trained.output)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(ground / "base")
    labels = trained.record["head"]["names"]
    right = found = true = 0
    for sentence in tagged_sentences(30, seed=1):
        words = [word for word, _ in sentence]
        with torch.no_grad():
            logits = model(**tokenizer(words, is_split_into_words=True, return_tensors="pt")).logits[0, 1:-1]
        for (_, tag), number in zip(sentence, logits.argmax(dim=-1).tolist(), strict=True):
            true += tag != "O"
            found += labels[number] != "O"
            right += tag != "O" and labels[number] == tag

    assert right > 0
    assert trained.evaluations["test"].metrics["f1"] == pytest.approx(100 * 2 * right / (true + found))


def test_train_module_writes_what_it_measured(trained: Trained) -> None:
    """The record verifies, names data, seed and labels, and has a row for each metric and split; the card shows them."""
    record = read_transfer(trained.output)

    assert record["training"]["init"] == "default"
    assert record["training"]["labels"] == record["head"]["names"] == ["O", "B-LOC", "B-PER"]
    rows = [row for row in record["results"] if row["metric"] == "f1"]
    assert [(row["dataset"]["rows"], row["seed"], row["stage"]) for row in rows] == [
        (6, 0, "after training"),
        (30, 0, "after training"),
    ]
    assert rows[1]["value"] == trained.evaluations["test"].metrics["f1"]
    assert f"{rows[1]['value']:.2f} %" in (trained.output / "README.md").read_text(encoding="utf-8")
    assert not place_of(trained.output).exists()


def test_train_module_gives_the_same_bytes_again(ground: Path, trained: Trained, tmp_path: Path) -> None:
    """The same request gives the same folder, byte for byte."""
    again = train_module(request_for(ground, output=tmp_path / "trained"))

    assert contents(again.output) == contents(trained.output)


def test_train_module_goes_on_after_a_kill_with_the_same_result(
    ground: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was interrupted leaves no output; it is not overwritten by accident, and goes on to the same bytes."""

    def interrupt(done: int | float, total: int | float, text: str | None = None) -> None:
        if done >= 9:
            raise KeyboardInterrupt

    request = request_for(ground, output=tmp_path / "trained")
    with pytest.raises(KeyboardInterrupt):
        train_module(request, progress=interrupt)
    assert not (tmp_path / "trained").exists()
    with pytest.raises(OutputError, match=r"trained-checkpoints.*--resume"):
        train_module(request)
    with pytest.raises(UsageError, match="begun with another `settings`"):
        train_module(replace(request, settings=replace(SETTINGS, seed=5)), resume=True)
    with monkeypatch.context() as launched:
        for name, value in {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2"}.items():
            launched.setenv(name, value)
        with pytest.raises(UsageError, match="begun with another `number of processes`"):
            train_module(request, resume=True)

    resumed = train_module(request, resume=True)

    assert resumed.fit.resumed_from == 8
    assert contents(resumed.output) == contents(trained.output)


def test_train_module_begins_with_a_transferred_module(ground: Path, trained: Trained, tmp_path: Path) -> None:
    """`--init-from` is `convert` and then `--init`; the record keeps the transfer, and adds the training."""
    wide = request_for(ground, output=tmp_path / "direct", model=str(ground / "wide"), measure_start=True)
    choice = api.AlignmentChoice(tokens=300)
    converted = api.convert(
        str(trained.output), to=str(ground / "wide"), layers="0,0,1,1", align=choice, output=tmp_path / "converted"
    )

    direct = api.train(wide, init_from=str(trained.output), layers="0,0,1,1", align=choice)
    stepwise = train_module(replace(wide, init=str(converted.output), output=tmp_path / "stepwise"))

    assert direct.record["teacher"] == converted.record["teacher"]
    assert direct.record["layers"] == converted.record["layers"]
    assert direct.record["training"]["init"] == "module"
    assert {row["stage"] for row in direct.record["results"]} == {"before training", "after training"}
    weights = "adapter_model.safetensors"
    assert contents(direct.output)[weights] == contents(stepwise.output)[weights] != contents(tmp_path / "converted")[weights]


def test_train_module_keeps_the_order_of_the_head_that_it_begins_with(ground: Path, trained: Trained, tmp_path: Path) -> None:
    """Data with other labels is refused by name; with a new head it is trained."""
    text = (ground / "train.conll").read_text(encoding="utf-8").replace("B-LOC", "B-ANIMAL")
    (tmp_path / "animals.conll").write_text(text, encoding="utf-8")
    request = request_for(
        ground, output=tmp_path / "out", init=str(trained.output), data=DataChoice(data=str(tmp_path / "animals.conll"))
    )

    with pytest.raises(DataError, match=r"head in `trained` lacks: `B-ANIMAL`.*--head new"):
        train_module(request)

    new = train_module(replace(request, head="new", settings=replace(SETTINGS, max_steps=1)))
    assert new.record["head"]["names"] == ["O", "B-ANIMAL", "B-PER"]


def test_train_module_refuses_a_module_of_another_base_model(ground: Path, trained: Trained, tmp_path: Path) -> None:
    """A base model of the same shape with other weights is told from the right one."""
    request = request_for(ground, output=tmp_path / "out", model=str(ground / "other"), init=str(trained.output))

    with pytest.raises(UsageError, match="was made for `base`, and `other` is not the same base model"):
        train_module(request)


def test_train_module_stops_where_the_loss_is_no_number(ground: Path, tmp_path: Path) -> None:
    """The step is named, and nothing is written; where no step was good, no checkpoints are left either."""
    request = request_for(ground, output=tmp_path / "out", settings=replace(SETTINGS, learning_rate=1e30, warmup=0.0))

    with pytest.raises(TrainingError, match=r"step [12]"):
        train_module(request)

    assert not any(tmp_path.iterdir())


def test_train_module_trains_pairs_of_texts(ground: Path, tmp_path: Path) -> None:
    """Classification of pairs goes the same way, with accuracy."""
    request = request_for(
        ground,
        output=tmp_path / "out",
        task="pi",
        data=DataChoice(data=str(ground / "pairs.tsv")),
        settings=replace(SETTINGS, max_steps=3, eval_steps=3),
    )

    trained = train_module(request)

    assert list(trained.evaluations) == ["validation"]
    assert next(iter(trained.evaluations["validation"].metrics)) == "accuracy"
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text(encoding="utf-8"))["task_type"] == "SEQ_CLS"


@pytest.mark.adapters
def test_train_module_trains_a_bottleneck(ground: Path, tmp_path: Path) -> None:
    """A bottleneck adapter goes the same way, in the `adapters` format, and its own bytes come again."""
    request = request_for(
        ground, output=tmp_path / "one", method="bottleneck", options={"size": 4}, settings=replace(SETTINGS, max_steps=4)
    )

    one = train_module(request)
    two = train_module(replace(request, output=tmp_path / "two"))

    assert one.record["module"]["format"] == "adapters"
    assert contents(one.output)["adapter.safetensors"] == contents(two.output)["adapter.safetensors"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": replace(SETTINGS, max_tokens=41)}, "--max-tokens 41.*36"),
        ({"settings": replace(SETTINGS, max_tokens=3)}, "--max-tokens 3"),
        ({"task": "poetry"}, "no task `poetry`"),
        ({"method": "magic"}, "magic"),
        ({"options": {"rank": 0}}, "rank"),
    ],
)
def test_train_module_refuses_what_makes_no_sense(ground: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """A wish that cannot be met is told with its value, and nothing is written."""
    with pytest.raises(UsageError, match=said):
        train_module(request_for(ground, output=tmp_path / "out", **changes))

    assert not any(tmp_path.iterdir())


def test_train_module_refuses_contradictions_with_the_module_it_begins_with(
    ground: Path, trained: Trained, tmp_path: Path
) -> None:
    """A module that is begun with has its own method and options; an output that exists stays."""
    request = request_for(ground, output=tmp_path / "out", init=str(trained.output))

    with pytest.raises(UsageError, match=r"--method bottleneck.*`lora`"):
        train_module(replace(request, method="bottleneck"))
    with pytest.raises(UsageError, match="has its own `rank`"):
        train_module(replace(request, options={"rank": 4}))
    with pytest.raises(OutputError, match="exists"):
        train_module(replace(request, output=trained.output))


def test_train_looks_at_the_output_before_it_converts(ground: Path, trained: Trained, tmp_path: Path) -> None:
    """An output that exists is told before the module to begin with is even looked for."""
    request = request_for(ground, output=trained.output)

    with pytest.raises(OutputError, match="exists"):
        api.train(request, init_from=str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="`--init m` and `--init-from n` were both given"):
        api.train(replace(request, init="m"), init_from="n")
