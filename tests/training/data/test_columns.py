"""Columns: found by their usual names, or named by the user."""

from collections.abc import Mapping

import pytest

from modxfer.errors import DataError, UsageError
from modxfer.training.data.choice import ColumnChoice
from modxfer.training.data.columns import Columns, fill, find_columns
from modxfer.training.data.tables import table_of_rows
from modxfer.training.tasks import find_task

PREMISE = ("premise", "hypothesis")


def _find(task: str, columns: str, named: Mapping[str, str]) -> Columns:
    table = table_of_rows([dict.fromkeys(columns.split("|"), "")], [1], name="t")
    return find_columns(find_task(task), table, ColumnChoice(**named))


@pytest.mark.parametrize(
    ("task", "columns", "named", "wanted"),
    [
        ("ner", "id|tokens|ner_tags|lang", {}, Columns(tokens="tokens", tags="ner_tags", language="lang")),
        ("ner", "Words|Labels", {}, Columns(tokens="Words", tags="Labels")),
        ("ner", "tokens|tags|ner_tags", {"tags": "tags"}, Columns(tokens="tokens", tags="tags")),
        ("nli", "premise|hypothesis|label|language", {}, Columns(texts=PREMISE, label="label", language="language")),
        ("nli", "sentence_B|sentence_A|gold_label", {}, Columns(texts=("sentence_A", "sentence_B"), label="gold_label")),
        ("pi", "Quality|#1 ID|#2 ID|#1 String|#2 String", {}, Columns(texts=("#1 String", "#2 String"), label="Quality")),
        ("pi", "question1|question2|is_duplicate", {}, Columns(texts=("question1", "question2"), label="is_duplicate")),
        ("pi", "a|b|label", {"text": "b", "text2": "a"}, Columns(texts=("b", "a"), label="label")),
        ("pi", "premise|hypothesis|a|text1|text2|label", {"text": "text1"}, Columns(texts=("text1", "text2"), label="label")),
        ("text-classification", "sentence|label", {}, Columns(texts=("sentence",), label="label")),
        ("text-classification", "text|text1|text2|label", {}, Columns(texts=("text1", "text2"), label="label")),
        ("text-classification", "text1|text2|label", {"text": "text2"}, Columns(texts=("text2",), label="label")),
        ("causal-lm", "id|text|label", {}, Columns(texts=("text",))),
        ("causal-lm", "premise|hypothesis|content", {}, Columns(texts=("content",))),
    ],
)  # fmt: skip
def test_find_columns_knows_usual_names(task: str, columns: str, named: Mapping[str, str], wanted: Columns) -> None:
    """Usual names are found in any case, and what the user names comes first."""
    assert _find(task, columns, named) == wanted


@pytest.mark.parametrize(
    ("task", "columns", "named", "message"),
    [
        ("ner", "words|x", {}, r"lists of tags \(columns: `words`, `x`; .*`--tags-column`"),
        ("ner", "x|tags", {}, r"lists of words .*`--tokens-column`"),
        ("nli", "text|label", {}, r"`nli` needs two texts.*\(columns: `text`, `label`\).*`--second-text-column`"),
        ("pi", "premise|hypothesis|x|label", {"text": "x"}, r"`pi` needs two texts"),
        ("nli", "premise|hypothesis|x", {}, r"for the label \(columns: .*`--label-column`"),
        ("text-classification", "x|label", {}, r"for the text \(columns: .*`--text-column`"),
        ("nli", "a|b", {"label": "c"}, r"`t` has no column `c` \(columns: `a`, `b`\)\. .*`--label-column`"),
        ("ner", "tokens|tags", {"language": "c"}, r"no column `c`.*`--language-column`"),
    ],
)
def test_find_columns_lists_what_there_is(task: str, columns: str, named: Mapping[str, str], message: str) -> None:
    """A column that is missing is told of with those there are, and with the flag."""
    with pytest.raises(DataError, match=message):
        _find(task, columns, named)


@pytest.mark.parametrize(
    ("task", "named", "message"),
    [
        ("ner", {"text": "a"}, r"`ner` has no use for `--text-column`"),
        ("causal-lm", {"label": "a"}, r"`causal-lm` has no use for `--label-column`"),
        ("nli", {"text2": "a"}, r"`--second-text-column` is named, and not the first"),
        ("nli", {"text": "a", "text2": "a"}, r"`a` is named as both texts"),
    ],
)
def test_find_columns_refuses_flags_without_use(task: str, named: Mapping[str, str], message: str) -> None:
    """A flag that would do nothing is wrong usage."""
    with pytest.raises(UsageError, match=message):
        _find(task, "a|label", named)


def test_fill_keeps_what_the_user_names() -> None:
    """A preset's columns stand where the user names none."""
    filled = fill(ColumnChoice(tags="mine"), ColumnChoice(tags="its", tokens="words"))
    assert filled == ColumnChoice(tags="mine", tokens="words")
