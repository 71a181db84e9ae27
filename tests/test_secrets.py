"""Keeping tokens out of what is printed."""

from pathlib import Path

import pytest

from modxfer.secrets import redact

ODD = "correct-horse-battery"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hf_abcdefGHIJ1234 is mine", "*** is mine"),
        ("(api_org_abcdefGHIJ1234)", "(***)"),
        ("Authorization: Bearer a.b-c_d", "Authorization: Bearer ***"),
        ("'authorization': 'bearer abc'", "'authorization': 'bearer ***'"),
        ("https://me:secret@huggingface.co/x", "https://***@huggingface.co/x"),
        ("set HF_ENDPOINT and hf_xet", "set HF_ENDPOINT and hf_xet"),
        ("http://127.0.0.1:8080/acme/lora@main", "http://127.0.0.1:8080/acme/lora@main"),
        ("", ""),
    ],
)
def test_what_looks_like_a_token_is_hidden(text: str, shown: str) -> None:
    """Tokens are known by their look, and names of variables and addresses are left alone."""
    assert redact(text) == shown


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_the_token_of_the_environment_is_hidden(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever it looks like."""
    monkeypatch.setenv(name, f" {ODD}\n")
    assert redact(f"sent {ODD}!") == "sent ***!"


def test_a_short_value_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that may be a part of any word is left alone."""
    monkeypatch.setenv("HF_TOKEN", "acme")
    assert redact("acme/lora") == "acme/lora"


@pytest.mark.parametrize(
    ("variable", "below", "file"),
    [
        ("HF_HOME", "", "token"),
        ("HF_HOME", "", "stored_tokens"),
        ("XDG_CACHE_HOME", "huggingface", "token"),
        ("HOME", ".cache/huggingface", "token"),
        ("HF_TOKEN_PATH", "", "stored_tokens"),
    ],
)
def test_a_saved_token_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, below: str, file: str) -> None:
    """What `hf auth login` has saved is known, wherever that is."""
    for name in ("HF_HOME", "XDG_CACHE_HOME", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "token" if variable == "HF_TOKEN_PATH" else tmp_path))
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    content = f"[mine]\nhf_token = {ODD}\n\n" if file == "stored_tokens" else f"{ODD}\n"
    assert redact(ODD) == ODD
    (tmp_path / below / file).write_text(content)
    assert redact(f"sent {ODD}!") == "sent ***!"


def test_the_longer_of_two_tokens_is_hidden_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that begins as another one does leaves no rest."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (tmp_path / "token").write_text(ODD)
    monkeypatch.setenv("HF_TOKEN", f"{ODD}-staple")
    assert redact(f"{ODD} {ODD}-staple") == "*** ***"
