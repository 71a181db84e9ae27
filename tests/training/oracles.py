"""What modules predict, computed one example at a time with `transformers` and `peft` alone."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers


def load_plain(base: Path, module: Path, *, task_class: str = "AutoModelForTokenClassification", **options: Any) -> Any:
    """Let `transformers` and `peft` load base model and module."""
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, task_class).from_pretrained(str(base), **options)
        return peft.PeftModel.from_pretrained(model, str(module)).eval()


def logits(model: Any, encoding: Any) -> torch.Tensor:
    """Run a model on one example."""
    with torch.no_grad():
        found: torch.Tensor = model(**encoding).logits[0]
    return found


def tags_of(model: Any, tokenizer: Any, words: Sequence[str], labels: Sequence[str], *, max_tokens: int) -> list[str]:
    """Predict the tags of one sentence; what is cut off is outside."""
    encoding = tokenizer(list(words), is_split_into_words=True, truncation=True, max_length=max_tokens, return_tensors="pt")
    best = logits(model, encoding).argmax(dim=-1)
    tags = ["O"] * len(words)
    for place, word in reversed(list(enumerate(encoding.word_ids(0)))):
        if word is not None:
            tags[word] = labels[int(best[place])]
    return tags
