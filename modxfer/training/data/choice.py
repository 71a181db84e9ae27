"""What a user says about the data of a task."""

from dataclasses import dataclass, field

from modxfer.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChoice:
    """The columns that a user names; None for those that are to be found by their usual names.

    Attributes:
        text: The text, or the first of two.
        text2: The second of two texts.
        label: The label.
        tokens: The lists of words.
        tags: The lists of tags.
        language: The language of each row.
    """

    text: str | None = None
    text2: str | None = None
    label: str | None = None
    tokens: str | None = None
    tags: str | None = None
    language: str | None = None


FLAGS = {
    "text": "--text-column",
    "text2": "--second-text-column",
    "label": "--label-column",
    "tokens": "--tokens-column",
    "tags": "--tags-column",
    "language": "--language-column",
}
"""Field of `ColumnChoice` to the flag that sets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChoice:
    """The data that a training is to use.

    Attributes:
        data: A file, a folder, or a data set's id with optional config and revision, `ID[:CONFIG][@REVISION]`.
        validation: The same for the validation split, where it lies elsewhere.
        test: The same for the test split.
        train_split: Name of the training split; None for the usual one.
        validation_split: Name of the validation split; None for the usual one.
        test_split: Name of the test split; None for the usual one.
        columns: The columns that the user names.
        holdout: Part of the training split that is held out for validation where there is no validation split, in (0, 1).
        limit_train: Rows to train on at most: a sample by seed.
        limit_validation: Rows of the validation split at most: the first ones.
        limit_test: Rows of the test split at most: the first ones.
        seed: Seed of what is held out and of the sample.
    """

    data: str
    validation: str | None = None
    test: str | None = None
    train_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    columns: ColumnChoice = field(default_factory=ColumnChoice)
    holdout: float = 0.1
    limit_train: int | None = None
    limit_validation: int | None = None
    limit_test: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.holdout < 1:
            raise UsageError(f"`--holdout {self.holdout}` is not a part of the rows.", do="Give a number between 0 and 1.")
        limits = {"--limit": self.limit_train, "limit_validation": self.limit_validation, "limit_test": self.limit_test}
        for name, limit in limits.items():
            if limit is not None and limit < 1:
                raise UsageError(f"`{name} {limit}` leaves no rows.", do="Leave it out, or give a number above 0.")
