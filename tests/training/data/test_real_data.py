"""The data sets in the data folder, read as they are."""

from collections import Counter
from pathlib import Path

import pytest

from modxfer.training.data.building import count_labels
from modxfer.training.data.choice import ColumnChoice, DataChoice
from modxfer.training.data.reading import read_split, read_task_data
from modxfer.training.data.rows import TaggedRow, TextRow
from modxfer.training.tasks import find_task

pytestmark = pytest.mark.data


@pytest.mark.parametrize(("language", "sentences", "loose"), [("en", 11597, 559), ("de", 12372, 0), ("es", 9618, 0)])
def test_wikineural_is_read_whole(data_dir: Path, language: str, sentences: int, loose: int) -> None:
    """Every sentence is there, with the nine tags; English has spans that begin with `I-`, and a warning counts them."""
    folder = data_dir / "wikineural" / language
    split = read_split(find_task("ner"), str(folder), columns=ColumnChoice())
    assert len(split.rows) == sentences
    assert split.labels == ("O", "B-LOC", "B-MISC", "B-ORG", "B-PER", "I-LOC", "I-MISC", "I-ORG", "I-PER")
    assert [warning.split()[0] for warning in split.warnings] == [str(loose)] * (loose > 0)
    lines = (folder / "test.conllu").read_text(encoding="utf-8").split("\n")
    wanted = Counter(line.rpartition("\t")[2] for line in lines if line)
    assert Counter(tag for row in split.rows if isinstance(row, TaggedRow) for tag in row.tags) == wanted


def test_sick_is_read_whole(data_dir: Path) -> None:
    """9,927 pairs with three labels."""
    split = read_split(find_task("nli"), str(data_dir / "sick"), columns=ColumnChoice())
    assert count_labels(split.rows) == {"NEUTRAL": 5611, "ENTAILMENT": 2857, "CONTRADICTION": 1459}
    assert split.labels == ("CONTRADICTION", "ENTAILMENT", "NEUTRAL")


def test_mrpc_keeps_every_line(data_dir: Path) -> None:
    """A pair a line, in spite of quotation marks, and of tabs in quoted cells."""
    data = read_task_data(find_task("pi"), DataChoice(data=str(data_dir / "mrpc")))
    train, validation, test = (data.splits[name].rows for name in ("train", "validation", "test"))
    assert (len(train) + len(validation), len(test)) == (4045, 1713)
    assert count_labels([*train, *validation]) == {"1": 2730, "0": 1315}
    assert count_labels(test) == {"1": 1139, "0": 574}
    assert not [text for row in test if isinstance(row, TextRow) for text in row.texts if text.startswith('"')]
    assert data.warnings == ()
