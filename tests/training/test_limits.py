"""The tokenizer of a base model."""

import contextlib
import json
from pathlib import Path

import pytest

from modxfer.errors import FormatError
from modxfer.training.limits import choose_max_tokens, load_tokenizer
from tests.training.made import make_base


def test_load_tokenizer_tells_of_a_damaged_file(tmp_path: Path) -> None:
    """What reads it has no error of its own; it is told with the folder all the same."""
    make_base(tmp_path / "base")
    (tmp_path / "base" / "tokenizer.json").write_text('{"version": "1.0", "model": 7}')
    with pytest.raises(FormatError, match=r"base` has no tokenizer that can be loaded: `.+` Save its tokenizer"):
        load_tokenizer(tmp_path / "base")


def test_load_tokenizer_runs_no_code_of_the_base_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Code beside a base model is neither run nor asked about."""
    make_base(tmp_path / "base")
    (tmp_path / "base" / "mine.py").write_text("raise SystemExit('run')")
    path = tmp_path / "base" / "tokenizer_config.json"
    code = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", "mine.Mine"]}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **code}))
    with contextlib.suppress(FormatError):  # transformers 5 takes the plain tokenizer instead
        load_tokenizer(tmp_path / "base")
    assert capsys.readouterr().out == ""


def test_choose_max_tokens_tells_of_a_base_model_that_nobody_knows(tmp_path: Path) -> None:
    """A kind of model that `transformers` does not know is told with the folder."""
    make_base(tmp_path / "base")
    tokenizer = load_tokenizer(tmp_path / "base")
    path = tmp_path / "base" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "unheard-of"}))
    with pytest.raises(FormatError, match=r"config of the base model in `.*base` cannot be loaded: `.*unheard-of"):
        choose_max_tokens(None, tokenizer, tmp_path / "base")
