"""A tiny teacher: random weights, and a tokenizer whose vocabulary is given."""

from collections.abc import Iterable
from typing import Any

import tokenizers
import torch
import transformers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tiny_tokenizer(words: Iterable[str]) -> Any:
    """Make a WordPiece tokenizer that knows these tokens and the special ones, in this order."""
    numbers = {word: number for number, word in enumerate((*SPECIAL, *words))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", numbers["[SEP]"]), ("[CLS]", numbers["[CLS]"]))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def tiny_teacher(*, vocabulary: int = 60) -> Any:
    """Make a BERT of 6 layers and 12 units, 3 heads of 4, 20 units in the FFN, no parameter of it constant."""
    config: Any = transformers.AutoConfig.for_model(
        "bert",
        vocab_size=vocabulary,
        hidden_size=12,
        num_hidden_layers=6,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=40,
        attn_implementation="eager",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.BertModel(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()
