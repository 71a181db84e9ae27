"""What data of a task is, once it was read: rows, the splits that hold them, and the labels that they use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modxfer.training.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedRow:
    """Words with a tag each.

    Attributes:
        words: The words; at least one.
        tags: One a word, BIO: "O", or "B-" or "I-" and the kind of the span.
        language: What the data says of its language; empty if nothing.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    language: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRow:
    """One or two texts, with a label where the task has labels.

    Attributes:
        texts: The texts.
        label: The label's name; empty for language modelling.
        language: What the data says of its language; empty if nothing.
    """

    texts: tuple[str, ...]
    label: str = ""
    language: str = ""


Row = TaggedRow | TextRow


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRecord:
    """What to write down of a split: enough to find the same rows again.

    Attributes:
        name: What to call it: a data set's Hub id, or the last two parts of a file's path.
        dataset: The Hub id; None for files.
        config: The data set's config; None if it has none, and for files.
        split: The split as it was asked for ("test", "train[:90%]"); None for a file that is one split.
        revision: Commit hash of the data set; None for files.
        sha256: Hash of the files' bytes; None for a data set.
        part: What was taken of it by modxfer, such as "held out: 10 % by seed 0" or "the first 300 rows"; empty for all of it.
        rows: Rows that were used.
    """

    name: str
    dataset: str | None
    config: str | None
    split: str | None
    revision: str | None
    sha256: str | None
    part: str
    rows: int

    def as_json(self) -> dict[str, Any]:
        """Give what records and `--json` hold; `type` is the Hub id, as in the Hub's own metadata.

        Returns:
            Plain values.
        """
        return {
            "type": self.dataset,
            "name": self.name,
            "config": self.config,
            "split": self.split,
            "revision": self.revision,
            "sha256": self.sha256,
            "part": self.part,
            "rows": self.rows,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Rows of one split.

    Attributes:
        rows: The rows; at least one.
        labels: Every label that the data declares or uses: in its own order if it declares one, else "O" first and sorted
            (tags), or sorted. Empty for language modelling.
        record: Where they come from.
        warnings: What to tell the user of the reading.
    """

    rows: Sequence[Row]
    labels: tuple[str, ...]
    record: SplitRecord
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """The splits that a training uses.

    Attributes:
        task: The task.
        labels: Every label, in the order of the head's rows: the training split's, then others' new ones. A label's place is
            its number.
        splits: "train" and "validation", and "test" if there is one.
        warnings: What to tell the user, also of the splits' reading.
    """

    task: Task
    labels: tuple[str, ...]
    splits: Mapping[str, Split]
    warnings: tuple[str, ...] = ()
