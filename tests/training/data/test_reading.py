"""Splits: found, held out and limited as asked, with labels in a fixed order."""

from pathlib import Path

import pytest

from modxfer.errors import DataError, UsageError
from modxfer.training.data.choice import ColumnChoice, DataChoice
from modxfer.training.data.reading import read_split, read_task_data
from modxfer.training.data.rows import Row, TaskData, TextRow
from modxfer.training.tasks import find_task

ANY, NER, LM = find_task("text-classification"), find_task("ner"), find_task("causal-lm")


def _table(path: Path, count: int, *, prefix: str = "t", labels: str = "ab") -> Path:
    rows = "".join(f"{prefix}{number}\t{labels[number % len(labels)]}\n" for number in range(count))
    path.write_text(f"text\tlabel\n{rows}")
    return path


def _texts(rows: object) -> list[str]:
    return [row.texts[0] for row in rows if isinstance(row, TextRow)]  # type: ignore[attr-defined] # rows of a split


def _of(data: TaskData) -> dict[str, list[str]]:
    return {name: _texts(split.rows) for name, split in data.splits.items()}


def test_read_task_data_holds_out_a_part_by_seed(tmp_path: Path) -> None:
    """A file's rows are in one of two splits, in their order, the same each time, others for another seed; it is recorded."""
    path = _table(tmp_path / "a.tsv", 40)
    data = read_task_data(ANY, DataChoice(data=str(path), holdout=0.2, seed=3))
    train, held = _of(data)["train"], _of(data)["validation"]
    every = [f"t{number}" for number in range(40)]
    assert (len(held), sorted(train + held)) == (8, sorted(every))
    assert [train, held] == [[text for text in every if text in part] for part in (train, held)]
    assert _of(read_task_data(ANY, DataChoice(data=str(path), holdout=0.2, seed=3))) == _of(data)
    assert _of(read_task_data(ANY, DataChoice(data=str(path), holdout=0.2, seed=4))) != _of(data)
    records = {name: split.record for name, split in data.splits.items()}
    assert [records[name].part for name in ("train", "validation")] == [
        "without the 20 % by seed 3 held out",
        "held out: 20 % by seed 3",
    ]
    assert [records[name].rows for name in ("train", "validation")] == [32, 8]
    assert {record.name for record in records.values()} == {f"{tmp_path.name}/a.tsv"}
    assert len({record.sha256 for record in records.values()}) == 1


def test_read_task_data_limits_by_sample_and_by_place(tmp_path: Path) -> None:
    """Training takes a sample by seed, without repeats; what is measured takes the first rows. The labels stay."""
    for name in ("train", "dev", "test"):
        _table(tmp_path / f"{name}.tsv", 30, prefix=name, labels="abcdefghij")
    choice = DataChoice(data=str(tmp_path), limit_train=5, limit_validation=4, limit_test=3, seed=1)
    data = read_task_data(ANY, choice)
    texts = _of(data)
    assert (texts["validation"], texts["test"]) == ([f"dev{n}" for n in range(4)], [f"test{n}" for n in range(3)])
    assert len(set(texts["train"])) == 5
    assert texts["train"] != [f"train{n}" for n in range(5)]
    assert _of(read_task_data(ANY, choice)) == texts
    assert data.splits["train"].record.part == "a sample of 5 of 30 rows by seed 1"
    assert data.splits["test"].record.part == "the first 3 of 30 rows"
    assert data.labels == tuple("abcdefghij")


def test_read_task_data_puts_labels_that_are_only_measured_last(tmp_path: Path) -> None:
    """The training split's labels come first, others after them, and a warning counts rows and names labels."""
    train = _table(tmp_path / "a.tsv", 6, labels="cb")
    other = _table(tmp_path / "b.tsv", 6, labels="cab")
    data = read_task_data(ANY, DataChoice(data=str(train), validation=str(train), test=str(other)))
    assert data.labels == ("b", "c", "a")
    assert data.warnings[0] == "2 of 6 test rows have labels that no training row has: `a`."
    assert [split.labels for split in data.splits.values()] == [("b", "c"), ("b", "c"), ("a", "b", "c")]


def test_read_task_data_takes_a_named_split_and_holds_out_of_it(tmp_path: Path) -> None:
    """Training on `val` leaves no validation split, so a part is held out of it; no row is both trained and measured."""
    for name in ("val", "test"):
        _table(tmp_path / f"{name}.tsv", 10, prefix=name)
    with pytest.raises(DataError, match=r"has no training split \(splits: `validation`, `test`\)\. .*`--train-split`"):
        read_task_data(ANY, DataChoice(data=str(tmp_path)))
    data = read_task_data(ANY, DataChoice(data=str(tmp_path), train_split="val"))
    assert {name: len(texts) for name, texts in _of(data).items()} == {"train": 9, "validation": 1, "test": 10}
    assert data.splits["train"].record.name == f"{tmp_path.name}/val.tsv"
    assert set(_of(read_task_data(ANY, DataChoice(data=str(tmp_path), train_split="test")))) == {"train", "validation"}
    with pytest.raises(DataError, match=r"has no split `test\[:50%\]` \(splits: `validation`, `test`\)"):
        read_task_data(ANY, DataChoice(data=str(tmp_path), train_split="test[:50%]"))
    with pytest.raises(DataError, match=r"`validation` is the training split, and `--test-split` names it too"):
        read_task_data(ANY, DataChoice(data=str(tmp_path), train_split="dev", test_split="val"))


def test_read_task_data_joins_the_parts_of_a_split(tmp_path: Path) -> None:
    """Several files of a split are one, in the order of their names; an error names the right file and line."""
    _table(tmp_path / "train-00000.tsv", 3, prefix="x")
    _table(tmp_path / "train-00001.tsv", 3, prefix="y")
    _table(tmp_path / "my_valid.tsv", 2)
    data = read_task_data(ANY, DataChoice(data=str(tmp_path)))
    assert _of(data) == {"train": ["x0", "x1", "x2", "y0", "y1", "y2"], "validation": ["t0", "t1"]}
    assert data.splits["train"].record.name == f"{tmp_path.name}/train-00000.tsv and 1 more"
    (tmp_path / "train-00001.tsv").write_text("text\tlabel\na\tb\n\t\n\tb\n")
    with pytest.raises(DataError, match=r"Line 4 of `.*train-00001\.tsv` has no text"):
        read_task_data(ANY, DataChoice(data=str(tmp_path)))
    (tmp_path / "train-00001.tsv").write_text("sentence\tlabel\na\tb\n")
    with pytest.raises(DataError, match=r"train-00001\.tsv` has the columns `sentence`, `label`, and .*`text`, `label`"):
        read_task_data(ANY, DataChoice(data=str(tmp_path)))


def test_read_split_takes_test_or_the_only_one(tmp_path: Path) -> None:
    """Without a name it is the test split; a folder of one file is that file."""
    _table(tmp_path / "all.tsv", 4)
    assert len(read_split(ANY, str(tmp_path), columns=ColumnChoice()).rows) == 4
    for name in ("train", "test"):
        _table(tmp_path / f"{name}.tsv", 2, prefix=name)
    split = read_split(ANY, str(tmp_path), columns=ColumnChoice(), limit=1, language="de")
    assert split.rows == [TextRow(texts=("test0",), label="a", language="de")]
    assert _texts(read_split(ANY, str(tmp_path), columns=ColumnChoice(), split="training").rows) == ["train0", "train1"]
    with pytest.raises(DataError, match=r"has no split `dev` \(splits: `train`, `test`\)"):
        read_split(ANY, str(tmp_path), columns=ColumnChoice(), split="dev")
    with pytest.raises(DataError, match=r"all\.tsv` is one file, and has no split `dev`\. Leave `--split` out"):
        read_split(ANY, str(tmp_path / "all.tsv"), columns=ColumnChoice(), split="dev")


def test_read_split_takes_the_language_of_the_data(tmp_path: Path) -> None:
    """A column of languages goes before what the caller says."""
    path = tmp_path / "a.csv"
    path.write_text("text,label,lang\na,x,fr\nb,y,\n")
    rows: list[Row] = list(read_split(ANY, str(path), columns=ColumnChoice(), language="de").rows)
    assert [row.language for row in rows] == ["fr", "de"]


def test_open_source_refuses_folders_that_say_nothing(tmp_path: Path) -> None:
    """A folder without splits, and one with splits of two kinds, are told of with what they hold."""
    with pytest.raises(DataError, match=r"holds no data files"):
        read_split(ANY, str(tmp_path), columns=ColumnChoice())
    for name in ("a.tsv", "b.tsv"):
        _table(tmp_path / name, 2)
    with pytest.raises(DataError, match=r"holds a\.tsv, b\.tsv, and none is called train"):
        read_split(ANY, str(tmp_path), columns=ColumnChoice())
    _table(tmp_path / "train.tsv", 2)
    (tmp_path / "test.csv").write_text("text,label\na,b\n")
    with pytest.raises(DataError, match=r"files of several kinds: \.csv, \.tsv"):
        read_split(ANY, str(tmp_path), columns=ColumnChoice())


def test_read_task_data_refuses_one_class(tmp_path: Path) -> None:
    """There is nothing to learn of one label, or of `O` only; language modelling has no labels."""
    path = _table(tmp_path / "a.tsv", 9, labels="z")
    with pytest.raises(DataError, match=r"The 8 training rows of `.*a\.tsv` have only the label `z`"):
        read_task_data(ANY, DataChoice(data=str(path)))
    (tmp_path / "a.conll").write_text("a O\n\nb O\n\nc O\n")
    with pytest.raises(DataError, match=r"The 2 training rows of `.*a\.conll` have only the tag `O`, so no span"):
        read_task_data(NER, DataChoice(data=str(tmp_path / "a.conll")))
    (tmp_path / "one.tsv").write_text("text\tlabel\na\tb\n")
    with pytest.raises(DataError, match=r"one\.tsv` has one row, so none can be held out"):
        read_task_data(ANY, DataChoice(data=str(tmp_path / "one.tsv")))
    (tmp_path / "a.txt").write_text("a b\nc d\n")
    assert read_task_data(LM, DataChoice(data=str(tmp_path / "a.txt"))).labels == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"holdout": 1.0}, r"`--holdout 1\.0`"),
        ({"holdout": 0.0}, r"`--holdout 0\.0`"),
        ({"limit_train": 0}, r"`--limit 0` leaves"),
        ({"limit_test": 0}, r"`limit_test 0` leaves"),
    ],
)
def test_data_choice_refuses_numbers_out_of_range(changes: dict[str, float], message: str) -> None:
    """A part is between 0 and 1, and a limit leaves rows."""
    with pytest.raises(UsageError, match=message):
        DataChoice(data="x", **changes)  # type: ignore[arg-type] # of several types


def test_read_task_data_tells_of_rows_that_were_trained_on(tmp_path: Path) -> None:
    """A test split that is the training file is told; a single row that occurs twice is not."""
    path, other = _table(tmp_path / "a.tsv", 40), tmp_path / "b.tsv"
    other.write_text("text\tlabel\nt0\ta\n" + "".join(f"n{number}\tb\n" for number in range(39)))

    same = read_task_data(ANY, DataChoice(data=str(path), test=str(path), holdout=0.2))
    new = read_task_data(ANY, DataChoice(data=str(path), test=str(other), holdout=0.2))

    assert same.warnings == ("32 of 40 test rows are training rows too: scores on them say little about new text.",)
    assert not new.warnings
