"""Which token fills up: model and batches must mean the same one."""

from typing import Any


def name_padding(model: Any, collator: Any) -> None:
    """Tell a model what its batches are filled up with.

    A decoder's classification looks for the last token that does not fill up. Its config may name another such token than its
    tokenizer uses, or none; then what it says of a text would depend on the longest text beside it.

    Args:
        model: The model, whose config is changed.
        collator: What puts examples into a batch.
    """
    for config in (model.config, model.config.get_text_config()):
        config.pad_token_id = collator.tokenizer.pad_token_id
