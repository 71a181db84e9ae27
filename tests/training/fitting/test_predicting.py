"""Predictions: what they are for each kind of task, in the order of the rows, whatever the memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modxfer.errors import TrainingError
from modxfer.training.data.encoding import IGNORED, Encoded
from modxfer.training.fitting.predicting import Outputs, predict
from modxfer.training.libraries.choosing import library_for_method
from modxfer.training.tasks import TASKS, Task
from tests.training.fitting import small

METHODS = ("lora", pytest.param("bottleneck", marks=pytest.mark.adapters))
ROWS = 37


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a tiny base model."""
    return small.write_base(tmp_path_factory.mktemp("base"))


def outputs(model: Any, rows: Encoded, *, task: Task = small.NER, method: str = "lora", **others: Any) -> Outputs:
    """Predict with the usual settings."""
    library = library_for_method(method)
    return predict(model, library, rows, task=task, tokenizer=small.tokenizer(), settings=small.SETTINGS, **others)


def logits_of(model: Any, example: Any) -> torch.Tensor:
    """Run one row through a model, alone and without padding."""
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([example["input_ids"]])).logits[0]
    return logits


@pytest.mark.parametrize("method", METHODS)
def test_predict_gives_the_best_label_of_each_token_in_the_order_of_the_rows(method: str, base: Path) -> None:
    """Rows of any length come back where they were, as the model labels each of them alone; -100 where nothing is labelled."""
    rows, model = small.tagged(ROWS), small.start(base, method=method)
    found = outputs(model, rows, method=method)

    assert found.predictions.shape == (ROWS, max(len(example["labels"]) for example in examples(rows)))
    for row, example in zip(found.predictions, examples(rows), strict=True):
        labels = np.array(example["labels"])
        expected = np.where(labels == IGNORED, IGNORED, logits_of(model, example).argmax(dim=-1).numpy())
        np.testing.assert_array_equal(row[: len(labels)], expected)
        assert (row[len(labels) :] == IGNORED).all()
    assert not model.training
    assert found.examples_per_second == pytest.approx(ROWS / found.seconds)
    tokens = sum(len(example["input_ids"]) for example in examples(rows))
    assert found.tokens_per_second == pytest.approx(tokens / found.seconds)


def examples(rows: Encoded) -> list[Any]:
    """Give the examples, whose values are lists of numbers."""
    return list(rows.examples)


def test_predict_gives_the_best_label_of_each_row(base: Path) -> None:
    """Classification has one number a row."""
    task = TASKS["nli"]
    words = [row["input_ids"][1:-1] for row in examples(small.tagged(ROWS))]
    rows = small.encoded(words, [row[0] % 3 for row in words])
    model = small.start(base, task=task)
    centre = torch.stack([logits_of(model, example) for example in rows.examples]).mean(dim=0)
    (bias,) = [parameter for name, parameter in model.named_parameters() if name.endswith("modules_to_save.default.bias")]
    with torch.no_grad():
        bias.sub_(centre)  # a new head tells the rows apart by less than its own bias
    found = outputs(model, rows, task=task)

    expected = [int(logits_of(model, example).argmax()) for example in rows.examples]
    assert found.predictions.tolist() == expected
    assert len(set(expected)) > 1


def test_predict_sums_what_the_next_tokens_cost(tmp_path: Path) -> None:
    """Language modelling has nats and tokens for each row, the first token not among them, as torch computes them."""
    model, rows = decoder(tmp_path), texts()
    found = outputs(model, rows, task=TASKS["causal-lm"])

    assert found.predictions.dtype == np.float64
    for (nats, tokens), example in zip(found.predictions, examples(rows), strict=True):
        likelihoods = logits_of(model, example).log_softmax(dim=-1)
        following = example["input_ids"][1:]
        assert tokens == len(following)
        expected = -sum(float(likelihoods[place, token]) for place, token in enumerate(following))
        assert nats == pytest.approx(expected, rel=1e-5)  # float32, padded and not


def decoder(folder: Path) -> Any:
    """Put a new LoRA on the tiny GPT-2."""
    base = small.write_base(folder / "base", model=small.tiny_decoder())
    return small.start(base, task=TASKS["causal-lm"], targets=["c_attn"])


def texts() -> Encoded:
    """Make rows whose labels are their own tokens."""
    words = [row["input_ids"][1:-1] for row in examples(small.tagged(ROWS))]
    return small.encoded(words, [[2, *row, 3] for row in words])


def test_fit_of_a_language_model_is_the_same_in_pieces(tmp_path: Path) -> None:
    """One step from whole batches and from single rows is one step; its loss is the mean over the tokens that are predicted."""
    task, rows, models = TASKS["causal-lm"], texts(), {}

    def perplexity(predictions: np.ndarray) -> dict[str, float]:
        nats, tokens = predictions.sum(axis=0)
        return {"perplexity": float(np.exp(nats / tokens))}

    for micro in (None, 1):
        models[micro] = decoder(tmp_path / str(micro))
        fitted = small.train(
            models[micro],
            tmp_path / f"work-{micro}",
            task=task,
            train=rows,
            validation=rows,
            score=perplexity,
            batch_size=ROWS,
            micro_batch_size=micro,
            max_steps=1,
            warmup=0.0,
        )
        assert fitted.losses[0][1] == pytest.approx(np.log(fitted.curve[0][1]), abs=1e-3)  # logged to four digits in 4.57
    whole, pieces = (small.trained(model) for model in models.values())
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, pieces[name], rtol=1e-4, atol=1e-5)  # one step of Adam shows the gradient's sign


def test_predict_halves_the_batch_when_memory_runs_out(base: Path) -> None:
    """The predictions are those of any batch; where a single row is too much, the error says what to do."""
    rows, model = small.tagged(ROWS), small.start(base)
    expected = outputs(model, rows).predictions
    limit = [5]

    def check(_: Any, inputs: Any, named: Any) -> None:
        if len(named["input_ids"]) > limit[0]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")

    model.register_forward_pre_hook(check, with_kwargs=True)
    np.testing.assert_array_equal(outputs(model, rows).predictions, expected)
    limit[0] = 0
    with pytest.raises(TrainingError, match="single example at a time"):
        outputs(model, rows)


@pytest.mark.parametrize("method", METHODS)
def test_predict_with_a_model_that_was_trained_gives_its_best_value(method: str, base: Path, tmp_path: Path) -> None:
    """After training the module and its head are in use: what they predict scores as the best checkpoint did."""
    model, rows = small.start(base, method=method), small.tagged(13, seed=1)
    fitted = small.train(model, tmp_path, method=method, max_steps=4, eval_steps=2)
    found = outputs(model, rows, method=method)

    assert small.accuracy(rows)(found.predictions)["f1"] == fitted.best_value
    assert fitted.best_value == max(value for step, value in fitted.curve if step)


def test_predict_reports_every_batch(base: Path) -> None:
    """Progress counts batches."""
    reports: list[tuple[int, int, str]] = []
    outputs(small.start(base), small.tagged(ROWS), progress=lambda *report: reports.append(report))
    assert reports == [(1, 3, ""), (2, 3, ""), (3, 3, "")]


def test_predict_in_one_precision_does_not_change_the_next(base: Path) -> None:
    """After bf16 comes what fp32 gives without it, in one process: a number must be what its record says."""
    model, rows = small.start(base), small.tagged(ROWS)
    said = []
    for precision in ("fp32", "bf16", "fp32"):
        seen: list[torch.dtype] = []
        hook = model.get_base_model().classifier.register_forward_hook(
            lambda module, inputs, output, seen=seen: seen.append(output.dtype)
        )
        predict(
            model,
            library_for_method("lora"),
            rows,
            task=TASKS["ner"],
            tokenizer=small.tokenizer(),
            settings=replace(small.SETTINGS, precision=precision),
        )
        hook.remove()
        said.append(set(seen))

    assert said == [{torch.float32}, {torch.bfloat16}, {torch.float32}]


def test_predict_ends_when_memory_runs_out_in_one_of_several_processes(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait in the middle of what is gathered, so that a smaller batch would wait for them for ever."""
    model = small.start(base)

    def check(*_: Any) -> None:
        for name, value in {"LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")

    model.register_forward_pre_hook(check)
    with pytest.raises(TrainingError, match="Memory ran out with 16 examples at once"):
        outputs(model, small.tagged(ROWS))


def test_predict_reads_the_last_token_whatever_the_config_calls_padding(tmp_path: Path) -> None:
    """A decoder says the same of a row alone and beside longer ones, though its config names another padding token."""
    task = TASKS["nli"]
    decoder = small.tiny_decoder()
    decoder.config.pad_token_id = 4  # the tokenizer's is 0
    base = small.write_base(tmp_path / "base", model=decoder)
    words = [row["input_ids"][1:-1] for row in examples(small.tagged(ROWS))]
    rows = small.encoded(words, [0] * ROWS)
    model = small.start(base, task=task, targets=["c_attn"])
    alone = torch.stack([logits_of(model, example) for example in rows.examples])
    with torch.no_grad():  # a new head tells the rows apart by little: the middle between two labels is put among them
        weight = model.get_base_model().score.modules_to_save["default"].weight
        weight[0], weight[1:] = weight[0] - weight[1], 0.0
        weight[0] *= 1000.0
    alone = torch.stack([logits_of(model, example) for example in rows.examples])
    found = outputs(model, rows, task=task)

    expected = alone.argmax(dim=-1).tolist()
    assert len(set(expected)) > 1
    assert found.predictions.tolist() == expected
