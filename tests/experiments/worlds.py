"""A tiny world for experiments: two base models with one tokenizer, tagged sentences, and a plan."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml

from tests.demo.tiny import tiny_tokenizer

NAMES, PLACES, OTHERS = ("ada", "bela", "cora"), ("oslo", "riga", "turin"), ("sees", "likes", "a", "house", "in", "and")


def write_base(folder: Path, *, layers: int, hidden: int, seed: int) -> Path:
    """Write a tiny BERT with its tokenizer."""
    config: Any = transformers.AutoConfig.for_model(
        "bert",
        vocab_size=40,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=hidden + 6,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.BertModel(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(str(folder))
    tiny_tokenizer((*NAMES, *PLACES, *OTHERS)).save_pretrained(str(folder))
    return folder


def write_sentences(path: Path, *, number: int, seed: int) -> Path:
    """Write tagged sentences."""
    chance = random.Random(seed)
    blocks = []
    for _ in range(number):
        words = [(chance.choice(NAMES), "B-PER"), (chance.choice(OTHERS), "O"), (chance.choice(PLACES), "B-LOC")]
        words += [(chance.choice(OTHERS), "O") for _ in range(chance.randrange(3))]
        blocks.append("".join(f"{index}\t{word}\t{tag}\n" for index, (word, tag) in enumerate(words)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def write_world(folder: Path) -> Path:
    """Write base models and data; gives the folder."""
    write_base(folder / "teacher", layers=4, hidden=12, seed=1)
    write_base(folder / "student", layers=2, hidden=10, seed=2)
    write_sentences(folder / "data" / "train.conllu", number=24, seed=3)
    write_sentences(folder / "data" / "validation.conllu", number=8, seed=4)
    write_sentences(folder / "data" / "test.conllu", number=8, seed=5)
    return folder


def plan_values(**changes: Any) -> dict[str, Any]:
    """Give a plan of one pair, one method and one seed, for the folder of a world."""
    return {
        "format_version": 1,
        "name": "tiny",
        "teachers": [{"name": "big", "model": "teacher"}],
        "students": [{"name": "small", "model": "student", "teacher": "big", "relation": "incompatible"}],
        "methods": [{"name": "lora", "rank": 2}],
        "tasks": [
            {
                "name": "ner",
                "languages": {
                    "en": {
                        "train": "${DATA}/train.conllu",
                        "validation": "${DATA}/validation.conllu",
                        "test": "${DATA}/test.conllu",
                    }
                },
            }
        ],
        "transfers": {"layers": ["skip"], "aligners": ["lsa"], "heads": ["keep"]},
        "seeds": [0],
        "training": {"max_steps": 2, "batch_size": 4, "eval_steps": 1},
        "alignment": {"corpus": "data/train.conllu", "tokens": 200},
        **changes,
    }


def write_plan(folder: Path, values: Mapping[str, Any]) -> Path:
    """Write a plan into the folder of a world."""
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(dict(values), sort_keys=False), encoding="utf-8")
    return path


def settings(folder: Path) -> dict[str, str]:
    """Give what `--set` would say."""
    return {"DATA": str(folder / "data")}
