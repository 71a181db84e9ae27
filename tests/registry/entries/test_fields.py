"""Kinds of fields: what each takes, and what it says of what it does not take."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from modxfer.registry.entries.fields import (
    Address,
    Commit,
    EntryId,
    EntryName,
    FilePath,
    HubId,
    Language,
    Licence,
    Line,
    Prose,
    Sha256,
    Word,
    shown,
)

TAKEN: list[tuple[Any, list[str]]] = [
    (EntryId, ["acme/ner", "a/b", "acme-2/ner_v1.0-small", "0/1", f"{'a' * 96}/b"]),
    (EntryName, ["ner", "1.0"]),
    (Commit, ["0123456789abcdef" * 2 + "01234567"]),
    (Sha256, ["0123456789abcdef" * 4]),
    (HubId, ["gpt2", "acme/Bert-base.v1", "a_b/c"]),
    (Word, ["f1", "token-classification", "macro avg", "a/b:c+d"]),
    (Line, ["A title.", "日本語", "x" * 200]),
    (Prose, ["", "Two\nlines", "x" * 5000]),
    (FilePath, ["a.safetensors", "deep/er/a.json", "..a", "a..b/c", "bin/a", "a.bin.json"]),
    (
        Address,
        ["https://example.com", "https://EXAMPLE.com/a?b=c&d#e", "https://a.b.co.uk:443/x", "https://xn--bcher-kva.example/"],
    ),
    (
        Licence,
        [
            "Apache-2.0",
            "MIT OR Apache-2.0",
            "GPL-3.0-or-later WITH Classpath-exception-2.0",
            "LicenseRef-Own",
            "NOASSERTION",
            "NONE",
        ],
    ),
    (Language, ["en", "pt-BR", "zh-Hant", "mul", "qaa", "sr-Latn"]),
]

REFUSED: list[tuple[Any, str, list[str]]] = [
    (
        EntryId,
        "entry-id",
        [
            "ner",
            "Acme/ner",
            "acme/ner/x",
            "../ner",
            "acme/..",
            "acme/.ner",
            "acme/ner.",
            "acme//ner",
            "acme/a--b",
            "acme/ner\n",
            "acme/é",
            "con/a",
            "a/nul",
            "a/com1.x",
            f"{'a' * 97}/b",
            "",
            "/",
            "a/b\x00",
        ],
    ),
    (EntryName, "entry-id", ["a/b", "A", "aux", ""]),
    (Commit, "unpinned", ["main", "v1.0", "0" * 39, "0" * 41, "G" * 40, "A" * 40, "0" * 40 + "\n"]),
    (Sha256, "unpinned", ["0" * 63, "0" * 64 + "\n", "sha256:" + "0" * 64]),
    (
        HubId,
        "hub-id",
        [
            *("/home/me", "./model", "a/b/c", "..", "a/..", "a--b", "a.git", "~/x", "a b", "hf://a/b", "", "a/b\n", "C:\\x"),
            *(f"{'a' * 97}/b", f"a/{'b' * 97}", "a/-b", "a/b.", ".a/b", "a..b"),
        ],
    ),
    (Word, "bad-value", ["", " a", "a  b", "a,b", "<b>", "=1", "a\n", "x" * 81, "é"]),
    (Line, "bad-value", ["", "  ", "a\nb", "x" * 201]),
    (Prose, "bad-value", ["x" * 5001]),
    (FilePath, "file-path", ["", "/etc/passwd", "../a", "a/../b", "./a", "a//b", "a/", "a\\b", "C:a", "x" * 256, ".", ".."]),
    (
        FilePath,
        "pickle",
        ["a.bin", "x/pytorch_model.bin", "a.PT", "a.pth", "a.pkl", "a.ckpt", "a.pickle", "a.joblib", "a.bin.", "a.bin "],
    ),
    (
        Address,
        "address",
        [
            "http://example.com",
            "file:///etc/passwd",
            "ftp://example.com",
            "javascript:alert(1)",
            "data:text/html,x",
            "//example.com",
            "https://localhost",
            "https://LOCALHOST:443/",
            "https://localhost.",
            "https://a.localhost",
            "https://foo.local",
            "https://intranet",
            "https://127.0.0.1",
            "https://10.0.0.1",
            "https://192.168.1.1/",
            "https://172.16.0.1",
            "https://169.254.169.254/latest",
            "https://0.0.0.0",
            "https://[::1]",
            "https://[fe80::1]",
            "https://[fc00::1]/",
            "https://[::ffff:127.0.0.1]",
            "https://[::]",
            "https://2130706433",
            "https://0x7f000001",
            "https://0x7f.1",
            "https://127.1",
            "https://0177.0.0.1",
            "https://127.0.0.1.",
            "https://user@example.com",
            "https://user:pass@example.com",
            "https://@example.com",
            "https://example.com:8080",
            "https://example.com:99999",
            "https://exam ple.com",
            "https://example.com/<script>",
            'https://example.com/"onload=x',
            "https://example.com/\nx",
            "https://éxample.com",
            "https://",
            "",
            "https://[::1",
            "https://-a.com",
            "https://a..b",
            "https://example.com\\@localhost",
            "https://" + "a" * 500 + ".com",
            "https://metadata.google.internal",
        ],
    ),
    (
        Licence,
        "license",
        ["apache-2.0", "Apache 2.0", "", "MIT or Apache-2.0", "unknown", "x" * 10_000, "MIT AND", "(MIT", "LicenseRef-"],
    ),
    (Language, "language", ["english", "EN", "pt_BR", "pt-br", "iw", "", "xx-invalid-tag", "en-", "é", "e" * 40, "zz-ZZ-zz"]),
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in TAKEN for text in texts])
def test_right_values_are_taken_as_they_are(kind: Any, text: str) -> None:
    """Nothing is changed on the way in."""
    assert TypeAdapter(kind).validate_python(text, strict=True) == text


@pytest.mark.parametrize(("kind", "rule", "text"), [(kind, rule, text) for kind, rule, texts in REFUSED for text in texts])
def test_other_values_are_refused_by_their_rule(kind: Any, rule: str, text: str) -> None:
    """What is wrong and what to do are two plain sentences."""
    with pytest.raises(ValidationError, match=rule) as refused:
        TypeAdapter(kind).validate_python(text, strict=True)
    (error,) = refused.value.errors()
    assert error["type"] == rule
    for sentence in (error["ctx"]["what"], error["ctx"]["do"]):
        assert sentence.isprintable()
        assert re.fullmatch(r"[A-Z`].*[.?]", sentence)


@given(st.text())
def test_what_is_shown_is_one_plain_code_span(text: str) -> None:
    """No text can end its code span, begin a line or move a cursor."""
    found = shown(text)
    assert found[0] == found[-1] == "`"
    assert found.count("`") == 2
    assert 3 <= len(found) <= 62
    assert found.isprintable() or any(char == "\xa0" for char in text)


@given(st.text(), st.sampled_from([kind for kind, _ in TAKEN]))
def test_no_text_breaks_a_field(text: str, kind: Any) -> None:
    """Any text is taken or refused; nothing else happens."""
    try:
        assert TypeAdapter(kind).validate_python(text) == text
    except ValidationError as error:
        assert {"what", "do"} <= set(error.errors()[0]["ctx"])  # noqa: PT017 (either is right)
