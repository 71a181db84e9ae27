"""The parts of a plan, as its YAML file has them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from modxfer.alignments.aligners import AUTO
from modxfer.alignments.compute import DEFAULT_TOKENS
from modxfer.training.settings import TrainingSettings, preset

_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"

Name = Annotated[str, Field(pattern=f"^{_NAME}$", max_length=100)]
Count = Annotated[int, Field(gt=0)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(min_length=1)]
Relation = Literal["matching", "incompatible"]
Control = Literal["random-norm", "random-gather", "head-only"]
Head = Literal["keep", "drop"]
Aligners = Annotated[tuple[str, ...], Field(min_length=1)]


class Part(BaseModel):
    """A part of a plan: it has no other fields than these."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingChanges(Part):
    """A preset, and what differs from it; the fields are those of `TrainingSettings`."""

    preset: str = "default"
    epochs: float = 10.0
    max_steps: int | None = None
    learning_rate: float = 1e-3
    batch_size: int = 16
    micro_batch_size: int | None = None
    warmup: float = 0.1
    weight_decay: float = 0.01
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    eval_steps: int | None = None
    patience: int | None = None
    max_tokens: int | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    attention: str | None = None

    def over(self, other: "TrainingChanges") -> "TrainingChanges":
        """Put these changes on top of others.

        Args:
            other: What lies below.

        Returns:
            Both together.
        """
        return TrainingChanges(**{**other.model_dump(exclude_unset=True), **self.model_dump(exclude_unset=True)})

    def settings(self, task: str) -> TrainingSettings:
        """Give the settings for a task; seed and device are the caller's.

        Args:
            task: Its name.

        Returns:
            The settings.

        Raises:
            UsageError: there is no such preset, or a setting is out of its range.
        """
        changes = self.model_dump(exclude_unset=True, exclude={"preset"})
        unset: dict[str, Any] = {name: None for name, value in changes.items() if value is None}
        return replace(preset(self.preset, task=task, **changes), **unset)


class TeacherPlan(Part):
    """A teacher, and modules on it that are there already: "method/task/language" to module."""

    name: Name
    model: str
    modules: Mapping[str, str] = Field(default_factory=dict)
    training: TrainingChanges = Field(default_factory=TrainingChanges)


class StudentPlan(Part):
    """A student of one teacher."""

    name: Name
    model: str
    teacher: str
    relation: Relation


class MethodPlan(BaseModel):
    """A method; every other field is an option of its new modules, such as `rank`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The options of new modules."""
        return dict(self.model_extra or {})


class Splits(Part):
    """One value for each split."""

    train: str | None = None
    validation: str | None = None
    test: str | None = None


class Limits(Part):
    """Rows of each split at most."""

    train: Count | None = None
    validation: Count | None = None
    test: Count | None = None


class Columns(Part):
    """Which columns hold what."""

    text: str | None = None
    text2: str | None = None
    label: str | None = None
    tokens: str | None = None
    tags: str | None = None
    language: str | None = None


class DataPlan(Part):
    """The data of one task in one language."""

    train: str
    validation: str | None = None
    test: str | None = None
    splits: Splits = Field(default_factory=Splits)
    columns: Columns = Field(default_factory=Columns)
    limits: Limits = Field(default_factory=Limits)
    holdout: float = Field(default=0.1, gt=0, lt=1)

    def choice(self) -> dict[str, Any]:
        """Give the arguments of `DataChoice`, its columns as a dictionary."""
        return {
            "data": self.train,
            "validation": self.validation,
            "test": self.test,
            "columns": self.columns.model_dump(),
            "holdout": self.holdout,
            **{f"{name}_split": value for name, value in self.splits.model_dump().items()},
            **{f"limit_{name}": value for name, value in self.limits.model_dump().items()},
        }


class TaskPlan(Part):
    """A task, with data for each language."""

    name: str
    languages: Mapping[Name, DataPlan] = Field(min_length=1)


class TransferPlan(Part):
    """How modules are moved: every layer map, with every aligner, with and without the head."""

    layers: tuple[str, ...] = ("skip",)
    aligners: Aligners | Mapping[Relation, Aligners] = (AUTO,)
    heads: tuple[Head, ...] = ("keep", "drop")

    def aligners_for(self, relation: Relation) -> tuple[str, ...]:
        """List the aligners for one kind of pair.

        Args:
            relation: The kind.

        Returns:
            Their names; those of a kind that the plan does not name are `auto`.
        """
        return self.aligners.get(relation, (AUTO,)) if isinstance(self.aligners, Mapping) else self.aligners


class SweepPlan(Part):
    """Learning rates to try on the default student."""

    learning_rates: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(min_length=1)
    seeds: Seeds = (0,)
    max_steps: Count | None = None


class AlignmentPlan(Part):
    """The text that base models are aligned on."""

    corpus: str | None = None
    tokens: Count = DEFAULT_TOKENS
