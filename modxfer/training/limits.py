"""The tokenizer of a base model, and how many tokens an example may have."""

from pathlib import Path
from typing import Any

from modxfer.errors import FormatError, UsageError
from modxfer.training.data.encoding import token_limit
from modxfer.training.libraries.task_models import brief


def load_tokenizer(folder: Path) -> Any:
    """Load a base model's tokenizer.

    Args:
        folder: The base model's folder.

    Returns:
        A fast tokenizer.

    Raises:
        FormatError: there is none, or it is not a fast one.
    """
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:  # what reads `tokenizer.json` has no error of its own
        raise FormatError(
            f"The base model in `{folder}` has no tokenizer that can be loaded: `{brief(error)}`",
            do="Save its tokenizer beside its weights.",
        ) from error
    if not tokenizer.is_fast:
        raise FormatError(
            f"The tokenizer in `{folder}` is not a fast one, and only those say which word a token is of.",
            do="Save a fast tokenizer beside the weights.",
        )
    return tokenizer


def choose_max_tokens(asked: int | None, tokenizer: Any, folder: Path) -> int:
    """Decide how many tokens of an example are used.

    Args:
        asked: What the user asked for; None for what the model takes.
        tokenizer: The tokenizer.
        folder: The base model's folder.

    Returns:
        Tokens, special tokens included.

    Raises:
        UsageError: more is asked for than the model takes, or nothing but special tokens is left.
        FormatError: `transformers` does not know the base model.
    """
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise FormatError(
            f"The config of the base model in `{folder}` cannot be loaded: `{brief(error)}`",
            do="Name a base model that `transformers` knows, with no code of its own.",
        ) from error
    limit = token_limit(tokenizer, config)
    special = tokenizer.num_special_tokens_to_add(pair=True)
    if asked is not None and asked <= special:
        raise UsageError(
            f"`--max-tokens {asked}` leaves no room beside {special} special tokens.",
            do="Give some tens of tokens, or leave it out.",
        )
    if asked is not None and limit is not None and asked > limit:
        raise UsageError(
            f"`--max-tokens {asked}` is more than the base model takes, which is {limit}.",
            do=f"Give {limit} at most, or leave it out.",
        )
    return asked or limit or DEFAULT_MAX_TOKENS


DEFAULT_MAX_TOKENS = 512
"""Where neither the model nor its tokenizer says what it takes."""
