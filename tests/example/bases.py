"""The example's two base models, and their tokenizer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from modxfer.demo.descending import Schedule, descend, draw_batches, pad
from modxfer.demo.distilling import distil, prepare_lessons
from modxfer.demo.settings import Narrow
from modxfer.demo.students import make_student, shuffle_units
from modxfer.demo.words import OPEN_WORDS
from tests.example.served import FILES, SEED, STUDENT, TEACHER

CARD = """---
license: apache-2.0
language: en
---
A tiny base model that knows the words of modxfer's demo.
"""


def make_bases(texts: Sequence[str]) -> None:
    """Train a base model to fill in words, and another one, half as deep and narrower, to follow it."""
    tokenizer = _make_tokenizer(texts)
    teacher = _train_teacher(texts, tokenizer)
    cut = shuffle_units(teacher.config, layers=(0, 2), narrow=Narrow(hidden=24, heads=3, ffn=48), seed=SEED)
    student = make_student(teacher, cut)
    lessons = prepare_lessons(teacher, texts, tokenizer, layers=(0, 2), batch_size=64, max_tokens=64)
    schedule = Schedule(steps=1500, batch_size=64, learning_rate=3e-3)
    distil(student, lessons, cut=cut, schedule=schedule, seed=SEED, progress=lambda done, total: None)
    for name, base in ((TEACHER, teacher), (STUDENT, student)):
        base.save_pretrained(FILES / name)
        tokenizer.save_pretrained(FILES / name)
        (FILES / name / "README.md").write_text(CARD, encoding="utf-8")


def _make_tokenizer(texts: Sequence[str]) -> Any:
    """Give every word but the names a token of its own: only the context tells what a name is."""
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    names = {word for group in ("surname", "first") for name in OPEN_WORDS[group] for word in name.split()}
    known = (" ".join(word for word in text.split() if word not in names) for text in texts)
    words.train_from_iterator(known, trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    words.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )


def _train_teacher(texts: Sequence[str], tokenizer: Any) -> transformers.BertModel:
    """Train the larger base model to fill in words that are left out."""
    torch.manual_seed(SEED)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = transformers.BertForMaskedLM(config)
    rows = tokenizer(list(texts), truncation=True, max_length=64)["input_ids"]
    batches, rng = draw_batches(len(rows), 64, seed=SEED), np.random.default_rng(SEED)

    def loss() -> torch.Tensor:
        ids = torch.from_numpy(pad([rows[index] for index in next(batches)], 0))
        hidden = torch.from_numpy(rng.random(ids.shape) < 0.2) & (ids > 3)
        outputs = model(
            input_ids=torch.where(hidden, 4, ids),
            attention_mask=(ids > 0).long(),
            labels=torch.where(hidden, ids, -100),
        )
        value: torch.Tensor = outputs.loss
        return value

    model.train()
    descend(list(model.parameters()), loss, schedule=Schedule(steps=2500, batch_size=64, learning_rate=4e-3))
    teacher = transformers.BertModel(config)
    teacher.load_state_dict(model.bert.state_dict(), strict=False)
    teacher.eval()
    return teacher
