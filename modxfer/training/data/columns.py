"""Find the columns that a task needs: by the names that the user gives, else by their usual names."""

from dataclasses import dataclass, fields, replace

from modxfer.errors import DataError, UsageError
from modxfer.training.data.choice import FLAGS, ColumnChoice
from modxfer.training.data.tables import Table, shorten
from modxfer.training.tasks import Task

TOKENS = ("tokens", "words", "token", "word")
TAGS = ("ner_tags", "tags", "ner", "labels", "tag")
PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("#1 string", "#2 string"),
)
TEXTS = ("text", "sentence", "content", "review")
LABELS = ("label", "labels", "gold_label", "quality", "entailment_judgment", "entailment_label", "is_duplicate", "class")
LANGUAGES = ("lang", "language")
"""Usual names in small letters, the likeliest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns that hold a task's rows.

    Attributes:
        texts: The texts; empty for tagging.
        label: The label; None where the task has none.
        tokens: The words; None but for tagging.
        tags: The tags; None but for tagging.
        language: The language; None if no column holds it.
    """

    texts: tuple[str, ...] = ()
    label: str | None = None
    tokens: str | None = None
    tags: str | None = None
    language: str | None = None


def find_columns(task: Task, table: Table, choice: ColumnChoice) -> Columns:
    """Find the columns of a task in a table.

    Args:
        task: The task.
        table: The table.
        choice: What the user names.

    Returns:
        The columns.

    Raises:
        UsageError: a column is named that the task has no use for.
        DataError: there is no such column, or one that is needed is not found.
    """
    _check_use(task, choice)
    for field in fields(choice):
        wanted = getattr(choice, field.name)
        if wanted is not None and wanted not in table.columns:
            raise DataError(
                f"`{table.name}` has no column `{shorten(wanted)}` (columns: {table.listed()}).",
                do=f"Name one that it has with `{FLAGS[field.name]}`.",
            )
    language = choice.language or _first(table, LANGUAGES)
    if task.kind == "tagging":
        return Columns(
            tokens=_need(table, choice, "tokens", TOKENS, what="lists of words"),
            tags=_need(table, choice, "tags", TAGS, what="lists of tags"),
            language=language,
        )
    texts = _find_texts(task, table, choice)
    if task.kind == "causal-lm":
        return Columns(texts=texts, language=language)
    return Columns(texts=texts, label=_need(table, choice, "label", LABELS, what="label"), language=language)


def _check_use(task: Task, choice: ColumnChoice) -> None:
    used = {"tagging": {"tokens", "tags"}, "classification": {"text", "text2", "label"}, "causal-lm": {"text"}}[task.kind]
    for field in fields(choice):
        if getattr(choice, field.name) is not None and field.name not in used | {"language"}:
            raise UsageError(f"The task `{task.name}` has no use for `{FLAGS[field.name]}`.", do="Leave it out.")


def _find_texts(task: Task, table: Table, choice: ColumnChoice) -> tuple[str, ...]:
    if choice.text2 is not None and choice.text is None:
        raise UsageError("`--second-text-column` is named, and not the first.", do="Name both; `--text-column` is the first.")
    if choice.text is not None and choice.text2 is not None:
        if choice.text == choice.text2:
            raise UsageError(f"`{choice.text}` is named as both texts.", do="Name two columns.")
        return choice.text, choice.text2
    if choice.text is not None and 1 in task.texts:
        return (choice.text,)
    known = {column.lower(): column for column in table.columns}
    pairs = [(known[a], known[b]) for a, b in PAIRS if a in known and b in known and 2 in task.texts]
    if choice.text is not None:
        pairs = [pair for pair in pairs if pair[0] == choice.text]
    if pairs:
        return pairs[0]
    if 1 not in task.texts:
        raise DataError(
            f"The task `{task.name}` needs two texts, and no two columns of `{table.name}` have usual names "
            f"(columns: {table.listed()}).",
            do="Name them with `--text-column` and `--second-text-column`.",
        )
    return (_need(table, choice, "text", TEXTS, what="text"),)


def _need(table: Table, choice: ColumnChoice, field: str, usual: tuple[str, ...], *, what: str) -> str:
    found: str | None = getattr(choice, field) or _first(table, usual)
    if found is None:
        raise DataError(
            f"No column of `{table.name}` has a usual name for the {what} "
            f"(columns: {table.listed()}; usual: {', '.join(usual)}).",
            do=f"Name it with `{FLAGS[field]}`.",
        )
    return found


def _first(table: Table, usual: tuple[str, ...]) -> str | None:
    known = {column.lower(): column for column in table.columns}
    return next((known[name] for name in usual if name in known), None)


def fill(choice: ColumnChoice, usual: ColumnChoice) -> ColumnChoice:
    """Complete what the user names with what is known of a data set.

    Args:
        choice: What the user names.
        usual: What is known.

    Returns:
        The user's columns, and the known ones where they name none.
    """
    changes = {field.name: getattr(choice, field.name) or getattr(usual, field.name) for field in fields(choice)}
    return replace(choice, **changes)
