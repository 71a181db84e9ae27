"""Local files: every layout is read, and what is wrong is said with file and line."""

import json
from pathlib import Path

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from modxfer.errors import DataError
from modxfer.training.data.choice import ColumnChoice
from modxfer.training.data.reading import read_split
from modxfer.training.data.rows import Split, TaggedRow, TextRow
from modxfer.training.tasks import find_task

ROWS = [TaggedRow(words=("In", "New York"), tags=("O", "B-LOC")), TaggedRow(words=("#", "1"), tags=("O", "B-X"))]
PAIRS = [TextRow(texts=('a "b"', "c, d"), label="yes"), TextRow(texts=("e;f", "g"), label="no")]


def _read(task: str, path: Path, **columns: str) -> Split:
    return read_split(find_task(task), str(path), columns=ColumnChoice(**columns))


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.conllu", "0\tIn\tO\n1\tNew York\tB-LOC\n\n0\t#\tO\n1\t1\tB-X\n"),
        ("a.conll", "\ufeffIn\tO\r\nNew York\tB-LOC\r\n\r\n\r\n#\tO\r\n1\tB-X"),
        ("a.txt", "-DOCSTART- -X- O\n\nIn\tIN\tx\tO\nNew York\tNNP\ty\tB-LOC\n\n# a comment\n#\tS\tz\tO\n1\tCD\tz\tB-X\n"),
        ("a.iob", "1\tIn\tO\t-\tann\n2\tNew York\tB-LOC\t-\tann\n\n1-2\t#1\t_\t-\tann\n1\t#\tO\t-\tann\n2\t1\tB-X\t-\tann\n"),
    ],
)
def test_read_file_reads_conll_likes(tmp_path: Path, name: str, content: str) -> None:
    """Tokens and tags come out alike whatever stands around them."""
    split = _read("ner", _write(tmp_path, name, content))
    assert (split.rows, split.labels) == (ROWS, ("O", "B-LOC", "B-X"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'premise,hypothesis,label\n"a ""b""","c, d",yes\n\ne;f,g,no\n'),
        ("a.tsv", 'label\tpremise\thypothesis\nyes\t"a ""b"""\tc, d\nno\te;f\tg\n'),
        ("a.txt", '\ufefflabel\tpremise\thypothesis\r\nyes\ta "b"\t"c, d"\r\nno\te;f\tg\r\n'),
        ("a.csv", 'premise;hypothesis;label\n"a ""b""";c, d;yes\n"e;f";g;no\n'),
        ("a.jsonl", "".join(json.dumps(dict(zip("pq", row.texts, strict=True), l=row.label)) + "\n\n" for row in PAIRS)),
        ("a.json", json.dumps([dict(zip("pq", row.texts, strict=True), l=row.label, x=None) for row in PAIRS], indent=1)),
    ],
)
def test_read_file_reads_tables(tmp_path: Path, name: str, content: str) -> None:
    """Quoted or not, with tabs, commas, semicolons or as JSON: the cells are the same."""
    named = {"text": "p", "text2": "q", "label": "l"} if "json" in name else {}
    split = _read("nli", _write(tmp_path, name, content), **named)
    assert (split.rows, split.labels) == (PAIRS, ("no", "yes"))


def test_read_file_reads_parquet_with_declared_names(tmp_path: Path) -> None:
    """Numbers get the names that the file declares; without any they are their own text."""
    path = tmp_path / "a.parquet"
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features).to_parquet(path)
    assert (_read("text-classification", path).labels, _read("text-classification", path).rows[0]) == (
        ("neg", "pos"),
        TextRow(texts=("a",), label="pos"),
    )
    parquet.write_table(pyarrow.table({"text": ["a", "b", "c"], "label": [10, 2, 10]}), path)
    assert _read("text-classification", path).labels == ("10", "2")
    parquet.write_table(pyarrow.table({"text": ["a"], "label": [0.5]}), path)
    with pytest.raises(DataError, match=r"Column `label` of `.*a\.parquet` holds fractions"):
        _read("text-classification", path)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"Cannot read the Parquet file `.*a\.parquet`"):
        _read("text-classification", path)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json"])
def test_read_file_reads_texts_for_language_modelling(tmp_path: Path, name: str) -> None:
    """A line of a text file, or a string of JSON, is a text; blank ones are left out."""
    texts = ["one two", "three"]
    content = {"a.txt": "one two\n\nthree\n", "a.jsonl": '"one two"\n{"text": "three"}\n', "a.json": json.dumps([*texts, " "])}
    split = _read("causal-lm", _write(tmp_path, name, content[name]))
    assert [row.texts for row in split.rows if isinstance(row, TextRow)] == [("one two",), ("three",)]
    assert split.labels == ()
    assert [warning.startswith("1 empty row of") for warning in split.warnings] == [True] * (name == "a.json")


def test_read_file_tells_of_cells_that_span_lines(tmp_path: Path) -> None:
    """A quoted cell of a CSV file may go on in the next line, and this is not done in silence."""
    split = _read("text-classification", _write(tmp_path, "a.csv", 'text,label\n"a\nb, ""c""",x\nd,y\n'))
    assert split.rows[0] == TextRow(texts=('a\nb, "c"',), label="x")
    assert split.warnings == (f"1 row of `{tmp_path / 'a.csv'}` has cells of more than one line.",)


@pytest.mark.parametrize(
    ("task", "name", "content", "message"),
    [
        ("ner", "a.conll", "In\tO\nRome\n", r"Line 2 of `.*a\.conll` has 1 column, and the first token's line has 2"),
        ("ner", "a.conll", "In\nRome\n", r"Line 1 of `.*a\.conll` has 1 column, and a token and its tag need 2"),
        ("ner", "a.conllu", "1\tIn\n2\tit\n", r"Line 1 of `.*` has 2 columns, and a token and its tag need 3"),
        ("ner", "a.conll", b"In\tO\n\xe9\tO\n", r"The file `.*a\.conll` is not UTF-8 text: line 2 .*`iconv"),
        ("nli", "a.tsv", "premise\thypothesis\tlabel\na\tb\tc\na\tb\n", r"Line 3 of `.*` has 2 cells, and the header has 3"),
        ("nli", "a.tsv", 'premise\thypothesis\tlabel\n"a\tb\nc"\td\te\n', r"Line 2 of `.*` has 2 cells, and the header has 3"),
        ("nli", "a.csv", "premise,hypothesis,label\na,b,c,d\n", r"Line 2 of `.*a\.csv` has 4 cells, and the header has 3"),
        ("nli", "a.csv", 'premise,hypothesis,label\na,b,c\n"a,b,c\nd,e,f\n', r"Line 3 of `.*` has a quotation mark too many"),
        ("nli", "a.csv", "text,label,text\na,b,c\n", r"The header of `.*a\.csv` \(line 1\) has two columns `text`"),
        ("nli", "a.txt", "premise hypothesis label\n", r"The first line of `.*a\.txt` holds no tab"),
        ("nli", "a.jsonl", '{"premise": "a"}\n{"premise": \n', r"The file `.*` is not a JSON array or .*: line 2.*`--data`"),
        ("nli", "a.xlsx", "", r"The suffix `\.xlsx` of `.*` says nothing about what is in it"),
        ("nli", "a.csv", "premise,hypothesis,label\n", r"`.*a\.csv` has no rows"),
        ("ner", "a.conll", "", r"`.*a\.conll` has no rows"),
        ("causal-lm", "a.txt", "\n \n", r"`.*a\.txt` has no rows"),
        ("causal-lm", "a.json", "[]", r"`.*a\.json` has no rows"),
        ("ner", "a.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}', r"Line 1 of `.*` has 2 words and 1 tags"),
        ("ner", "a.jsonl", '\n{"tokens": "a b", "tags": ["O"]}', r"Line 2 of `.*` has no list of words in .*, but str `a b`"),
        ("ner", "a.jsonl", '{"tokens": ["a"], "tags": "O"}', r"Line 1 of `.*` has no list of tags in .*, but str `O`"),
        ("ner", "a.jsonl", '{"tokens": ["a"], "tags": [null]}', r"Line 1 of `.*` has no label in column `tags`"),
        ("ner", "a.jsonl", '{"tokens": ["a"], "tags": [4]}', r"`4`, the tag of word 1 in line 1 .*numbers need names"),
        ("nli", "a.jsonl", '{"premise": "a", "hypothesis": "b", "label": null}', r"Line 1 of `.*` has no label in column"),
        ("nli", "a.csv", "premise,hypothesis,label\na,b,x\na,b, \n", r"Line 3 of `.*` has no label in column `label`"),
        ("nli", "a.csv", "premise,hypothesis,label\na, ,x\n", r"Line 2 of `.*` has no text in column `hypothesis`"),
        ("nli", "a.csv", "premise,hypothesis,label\na,b,1.0\na,b,2\n", r"Column `label` of `.*` holds fractions"),
        ("nli", "a.jsonl", '{"premise": "a", "hypothesis": "b", "label": 0.5}', r"has the fraction float `0\.5` in column"),
        ("nli", "a.jsonl", '{"premise": ["a"], "hypothesis": "b", "label": 1}', r"has no text in column `premise`, but list"),
    ],
)  # fmt: skip
def test_read_file_says_what_is_wrong_and_where(
    tmp_path: Path, task: str, name: str, content: str | bytes, message: str
) -> None:
    """Bad files are refused, with the line."""
    path = _write(tmp_path, name, content)
    with pytest.raises(DataError, match=message) as caught:
        _read(task, path)
    assert "--corpus" not in str(caught.value)


def test_read_file_never_joins_lines_of_a_table_with_tabs(tmp_path: Path) -> None:
    """Quotation marks that do not pair are part of the text, so that a row stays a line."""
    content = 'premise\thypothesis\tlabel\n"a\tb "c"\tx\nd"\t"e" f\ty\n'
    split = _read("nli", _write(tmp_path, "a.tsv", content))
    assert [row.texts for row in split.rows if isinstance(row, TextRow)] == [('"a', 'b "c"'), ('d"', '"e" f')]
