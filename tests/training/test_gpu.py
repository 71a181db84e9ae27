"""Training, evaluating and moving a module on an accelerator: `pytest -m gpu` on a machine that has one."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from modxfer import api
from modxfer.registry.lookup import AlignmentChoice
from modxfer.training.data.choice import DataChoice
from modxfer.training.data.encoding import Encoded, encode
from modxfer.training.data.rows import TaggedRow
from modxfer.training.fitting.fit import Fit, fit
from modxfer.training.libraries.choosing import library_for_method
from modxfer.training.libraries.library import Wanted
from modxfer.training.settings import TrainingSettings
from modxfer.training.tallies import tally
from modxfer.training.tasks import TASKS
from modxfer.training.train import Trained, TrainRequest
from tests.builders import tiny_config, tiny_model
from tests.planted import planted_pair, save_base, small_text, tiny_tokenizer

NER = TASKS["ner"]
LABELS = ("O", "B-CAP", "I-CAP")

# An optimiser step is as long for a small gradient as for a large one, so the last bits of float32 sums grow with each step.
WEIGHT_TOLERANCE = 1e-4  # absolute
LOSS_TOLERANCE = 1e-3  # relative


def tagged_rows(number: int, *, words: int, seed: int = 0) -> list[TaggedRow]:
    """Draw words of the shipped text; those with a capital letter are spans."""
    known = [word for word in small_text().split() if word.isascii() and word.isalpha()]
    chance = random.Random(seed)
    drawn = [tuple(chance.choices(known, k=words)) for _ in range(number)]
    return [TaggedRow(words=row, tags=tuple("B-CAP" if word[0].isupper() else "O" for word in row)) for row in drawn]


def write_conll(path: Path, rows: list[TaggedRow]) -> Path:
    """Write rows as a file with a word and its tag a line."""
    blocks = ["\n".join(f"{word}\t{tag}" for word, tag in zip(row.words, row.tags, strict=True)) for row in rows]
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def without_dropout(folder: Path) -> Path:
    """Take dropout out of a saved base model: devices draw other random numbers."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}), encoding="utf-8")
    return folder


def train_on(device: str, base: Path, folder: Path, **changes: Any) -> Trained:
    """Train a LoRA for a few steps from a file of 48 rows; 32 others are the test split."""
    data = write_conll(folder / "train.conll", tagged_rows(48, words=9))
    test = write_conll(folder / "test.conll", tagged_rows(32, words=11, seed=1))
    settings = {"max_steps": 8, "eval_steps": 4, "batch_size": 8, "learning_rate": 3e-3, "precision": "fp32", "patience": None}
    request = TrainRequest(
        model=str(base),
        task="ner",
        data=DataChoice(data=str(data), test=str(test), holdout=0.25),
        method="lora",
        settings=TrainingSettings(**{**settings, "device": device, "attention": "eager", **changes}),
        output=folder / device,
        measure_start=True,
    )
    return api.train(request)


@pytest.mark.gpu
def test_an_accelerator_trains_and_measures_what_the_cpu_does(tmp_path: Path) -> None:
    """In float32 and without dropout, CUDA gives the CPU's weights and scores, and says what it ran on."""
    base = without_dropout(planted_pair(tmp_path, "bert").teacher)
    trained = {device: train_on(device, base, tmp_path) for device in ("cuda", "cpu")}

    assert (trained["cuda"].fit.device, trained["cuda"].fit.precision) == ("cuda", "fp32")
    weights = {device: load_file(result.output / "adapter_model.safetensors") for device, result in trained.items()}
    assert weights["cuda"].keys() == weights["cpu"].keys()
    for name, on_cpu in weights["cpu"].items():
        np.testing.assert_allclose(weights["cuda"][name], on_cpu, rtol=0, atol=WEIGHT_TOLERANCE, err_msg=name)
    for name, measured in trained["cpu"].evaluations.items():
        assert dict(trained["cuda"].evaluations[name].metrics) == pytest.approx(dict(measured.metrics), abs=1.0), name
    assert trained["cuda"].fit.steps == trained["cpu"].fit.steps == 8


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["auto", "bf16", "fp16"])
def test_an_accelerator_trains_in_mixed_precision(tmp_path: Path, precision: str) -> None:
    """The loss falls, the module is saved in float32, and it holds nothing that is not finite."""
    base = planted_pair(tmp_path, "bert").teacher
    trained = train_on("cuda", base, tmp_path, precision=precision, max_steps=40, eval_steps=20, learning_rate=1e-2)

    assert trained.fit.precision == {"auto": "bf16"}.get(precision, precision)
    values = [float(np.ravel(loss)[-1]) for loss in trained.fit.losses]
    assert np.mean(values[-2:]) < values[0]
    for name, tensor in load_file(trained.output / "adapter_model.safetensors").items():
        assert tensor.dtype == np.float32, name
        assert np.isfinite(tensor).all(), name


@pytest.mark.gpu
def test_a_module_trained_on_an_accelerator_is_moved_there_as_on_the_cpu(tmp_path: Path) -> None:
    """Aligning on CUDA and on the CPU with the same text gives the same moved module, to float32 precision."""
    pair = planted_pair(tmp_path, "bert")
    module = train_on("cuda", pair.teacher, tmp_path).output
    moved = {}
    for device in ("cuda", "cpu"):
        output = tmp_path / f"moved-{device}"
        align = AlignmentChoice(aligner="lsa", device=device, tokens=1500)
        api.convert(str(module), to=str(pair.student), align=align, output=output)
        moved[device] = load_file(output / "adapter_model.safetensors")

    for name, on_cpu in moved["cpu"].items():
        np.testing.assert_allclose(moved["cuda"][name], on_cpu, rtol=1e-5, atol=1e-7, err_msg=name)


@dataclass(frozen=True, kw_only=True)
class Long:
    """A training whose activations take much memory: a batch of 32 rows of some 500 tokens, attention not fused."""

    base: Path
    train: Encoded
    validation: Encoded
    settings: TrainingSettings

    def run(self, work: Path) -> Fit:
        """Train a new LoRA."""
        library = library_for_method("lora")
        wanted = Wanted(base=self.base, task=NER, labels=LABELS, method="lora", attention="eager")
        return fit(
            library.start(wanted),
            library,
            task=NER,
            train=self.train,
            validation=self.validation,
            tokenizer=tiny_tokenizer(),
            settings=self.settings,
            work=work,
            score=lambda predictions: tally(NER, self.validation, predictions).values(),
        )


@pytest.fixture
def long(tmp_path: Path) -> Long:
    """Make a base model that takes 512 tokens, and rows that fill them."""
    config = tiny_config("bert", vocab=len(tiny_tokenizer()), hidden=64, heads=4, ffn=128, layers=4)
    config.max_position_embeddings = 512
    tokenizer, rows = tiny_tokenizer(), tagged_rows(72, words=400)
    train, validation = (encode(part, tokenizer, task=NER, labels=LABELS, max_tokens=512) for part in (rows[:64], rows[64:]))
    return Long(
        base=without_dropout(save_base(tmp_path / "long", tiny_model(config))),
        train=train,
        validation=validation,
        settings=TrainingSettings(batch_size=32, max_steps=3, eval_steps=3, patience=None, precision="fp32", device="cuda"),
    )


@pytest.mark.gpu
def test_memory_that_runs_out_halves_the_pieces_and_not_the_batch(long: Long, tmp_path: Path) -> None:
    """With two thirds of the memory that it took, training goes on in smaller pieces of the same batch, to the same losses."""
    free_cuda()
    whole = long.run(tmp_path / "whole")
    peak = torch.cuda.max_memory_reserved()
    assert (whole.micro_batch_size, whole.accumulation) == (32, 1)

    free_cuda()
    try:
        torch.cuda.set_per_process_memory_fraction(0.67 * peak / torch.cuda.get_device_properties(0).total_memory)
        pieces = long.run(tmp_path / "pieces")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert pieces.micro_batch_size < 32
    assert pieces.micro_batch_size * pieces.accumulation == 32
    assert pieces.steps == whole.steps == 3
    np.testing.assert_allclose(np.asarray(pieces.losses), np.asarray(whole.losses), rtol=LOSS_TOLERANCE)


def free_cuda() -> None:
    """Give back what earlier work left, and count anew."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
