"""Small base models and modules on disk, made once, and a way to call the command line."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner, Result

from modxfer.alignments.corpus import open_corpus
from modxfer.cli import app
from tests.builders import make_peft_module, tiny_config, tiny_model

VOCABULARY = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Folders that tests read and never change.

    Attributes:
        teacher: A BERT of 4 layers, 12 wide.
        student: A RoBERTa of 2 layers, 15 wide.
        twin: A BERT of 2 layers, 12 wide.
        module: A LoRA with a head on the teacher, which it names.
    """

    teacher: Path
    student: Path
    twin: Path
    module: Path


def save_tokenizer(folder: Path, *, vocabulary: int = VOCABULARY) -> None:
    """Train a small tokenizer on the text that ships with the package, and save it."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, limit_alphabet=vocabulary // 3, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(open_corpus(None).texts(), trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
    ).save_pretrained(folder)


def save_base(folder: Path, family: str, *, seed: int = 0, **sizes: Any) -> Path:
    """Save a small random base model with its tokenizer."""
    config = tiny_config(family, vocab=VOCABULARY, **sizes)
    tiny_model(config, seed=seed).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_module(folder: Path, base: Path, config: Any, **options: Any) -> Path:
    """Save a LoRA with a head for token classification, which names its base model."""
    model = tiny_model(config, task="TOKEN_CLS")
    model.config._name_or_path = str(base)
    model.name_or_path = str(base)
    make_peft_module(folder, model, task_type="TOKEN_CLS", **options)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": str(base)}))
    (folder / "README.md").unlink(missing_ok=True)
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Make the folders."""
    root = tmp_path_factory.mktemp("world")
    teacher = save_base(root / "tiny-teacher", "bert", layers=4)
    config = tiny_config("bert", vocab=VOCABULARY, layers=4)
    return World(
        teacher=teacher,
        student=save_base(root / "tiny-student", "roberta", hidden=15, ffn=22, layers=2, seed=1),
        twin=save_base(root / "tiny-twin", "bert", layers=2, seed=2),
        module=save_module(root / "ner-module", teacher, config),
    )


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Call the command line in a folder of its own, with lines of 80 columns."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words], prog_name="modxfer")

    return call
