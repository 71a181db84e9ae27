"""What to measure, as a user says it, and what was measured."""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modxfer.errors import UsageError
from modxfer.training.data.choice import ColumnChoice
from modxfer.training.evaluation import DRAWS, Evaluation
from modxfer.training.settings import TrainingSettings
from modxfer.training.significance import Comparison
from modxfer.training.tasks import Task

COMPARISON_DRAWS = 10_000
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """Data to measure on.

    Attributes:
        spec: A file, a folder, or a data set's id with optional config and revision, `ID[:CONFIG][@REVISION]`.
        language: The language of rows of which the data says nothing; empty for none.
    """

    spec: str
    language: str = ""


def parse_source(text: str) -> DataSource:
    """Read what a user types for data: `[LANG=]DATA`.

    Args:
        text: What was typed. A file or folder of that whole name counts before a language.

    Returns:
        The source.
    """
    language, sign, spec = text.partition("=")
    is_language = bool(sign and spec and _LANGUAGE.fullmatch(language)) and not _is_there(text)
    return DataSource(spec=spec, language=language) if is_language else DataSource(spec=text)


def split_labels(text: str) -> tuple[str, ...]:
    """Read what a user types for labels: `A,B,C`.

    Args:
        text: What was typed.

    Returns:
        The labels.

    Raises:
        UsageError: one of them is empty.
    """
    labels = tuple(label.strip() for label in text.split(","))
    if not all(labels):
        raise UsageError(f"`--labels {text[:200]}` has an empty label.", do="Separate the labels by one comma each.")
    return labels


def _is_there(text: str) -> bool:
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # too long, a NUL byte, a home that is not there
        return Path(text).expanduser().exists()
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """What to measure, as the user said it.

    Attributes:
        module: The module: a folder, a Hub id or `registry:` with the id of an entry.
        task: Name of the task.
        data: What to measure on; at least one.
        model: The base model: a folder or a Hub id. None for what the module names.
        split: The split of the data; None for "test", or the only one.
        columns: The columns that the user names.
        limit: Rows of each source at most: the first ones.
        labels: The labels in the order of the head's rows, for a head whose files do not name them; None to go by these files.
        settings: Device, precision and tokens of an example, and the seed of the draws.
        draws: Draws of the bootstrap.
        comparison_draws: Random exchanges of the comparison.
        compare: Another module, to be compared with.
        registry: The registry that has the entry; None for what `MODXFER_REGISTRY` names.
        write: Whether to put the results into the module's record and card.
    """

    module: str
    task: str
    data: Sequence[DataSource]
    model: str | None = None
    split: str | None = None
    columns: ColumnChoice = field(default_factory=ColumnChoice)
    limit: int | None = None
    labels: tuple[str, ...] | None = None
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    draws: int = DRAWS
    comparison_draws: int = COMPARISON_DRAWS
    compare: str | None = None
    registry: str | None = None
    write: bool = False

    def __post_init__(self) -> None:
        if not self.data:
            raise UsageError("No data is named.", do="Name some with `--data`.")
        for flag, value in (("--limit", self.limit), ("--draws", self.draws), ("--draws", self.comparison_draws)):
            if value is not None and value < 1:
                raise UsageError(f"`{flag} {value}` is no number above 0.", do=f"Leave `{flag}` out, or give one.")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise UsageError("`--labels` names a label twice.", do="Name each of the head's labels once, in their order.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A module that was measured.

    Attributes:
        module: What the module is called.
        base: What its base model is called.
        task: The task.
        evaluation: What was measured.
        other: What the module is called that it was compared with; None if with none.
        other_evaluation: What was measured of that one.
        comparison: How the two differ, the module less the other, in the task's main metric.
        written: The folder whose record and card now have the results; None if they were not to be written.
        warnings: What a user should know.
        seconds: Time it took in all.
    """

    module: str
    base: str
    task: Task
    evaluation: Evaluation
    other: str | None
    other_evaluation: Evaluation | None
    comparison: Comparison | None
    written: Path | None
    warnings: tuple[str, ...]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Give what `evaluate --json` prints.

        Returns:
            Plain values.
        """
        other = None
        if self.comparison is not None and self.other_evaluation is not None:
            other = {"module": self.other, **self.comparison.as_json(), "evaluation": self.other_evaluation.as_json()}
        return {
            "module": self.module,
            "base": self.base,
            "task": self.task.name,
            **self.evaluation.as_json(),
            "comparison": other,
            "written": str(self.written) if self.written else None,
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
        }
