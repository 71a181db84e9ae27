"""From a plan to its cells: everything that decides a cell's result, as plain values, with an id that is a hash of that."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from modxfer.alignments.files import hash_file
from modxfer.experiments.inputs import Inputs
from modxfer.experiments.plan import Plan, module_key
from modxfer.experiments.plan_parts import DataPlan, MethodPlan, StudentPlan, TaskPlan, TeacherPlan
from modxfer.experiments.results import FORMAT_VERSION, Kind, ResultRow
from modxfer.training.libraries.methods import method_options
from modxfer.training.settings import TrainingSettings, as_json
from modxfer.training.tasks import find_task

_ID_DIGITS = 16
_NOT_DECIDING = ("device", "report_to")

Group = tuple[str, str, str, str]
"""Student, method, task and language: what shares one learning rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training and measurement, as a worker process gets it: plain values only.

    Attributes:
        id: Hash of everything that decides the result, and of the names under which it is reported.
        kind: What it is, as in `ResultRow`.
        plan: Name of the plan.
        relation: "matching", "incompatible", or "teacher" for a teacher's own.
        teacher: Name of the teacher.
        student: Name of the student; None for a teacher's own.
        model: The base model that is trained.
        teacher_model: The base model that the moved module comes from; None where nothing is moved.
        method: The method.
        options: All options of a new module.
        task: Name of the task.
        language: Name of the language.
        data: Arguments of `DataChoice`.
        settings: Those of `TrainingSettings`, seed and learning rate among them.
        layers: The layer map; None where nothing is moved.
        aligner: The aligner; None where nothing is moved, or nothing is aligned.
        head: "new" or "kept".
        control: Which control it is; None if it is none.
        module: The teacher's module, where it is there already: its own cell measures it, and trains nothing. None otherwise.
        teacher_cell: Id of the cell that makes the module to move; None where nothing is moved.
        corpus: The text to align on; None for the module's own data set, or what ships with the package.
        tokens: Matched tokens to align on at most.
        notes: What is told in the row.
    """

    id: str = ""
    kind: Kind
    plan: str
    relation: str
    teacher: str
    student: str | None = None
    model: str
    teacher_model: str | None = None
    method: str
    options: Mapping[str, Any]
    task: str
    language: str
    data: Mapping[str, Any]
    settings: Mapping[str, Any]
    layers: str | None = None
    aligner: str | None = None
    head: str = "new"
    control: str | None = None
    module: str | None = None
    teacher_cell: str | None = None
    corpus: str | None = None
    tokens: int = 0
    notes: tuple[str, ...] = ()

    @property
    def seed(self) -> int:
        """Seed of initialisation, order and dropout."""
        return int(self.settings["seed"])

    @property
    def learning_rate(self) -> float:
        """The highest learning rate."""
        return float(self.settings["learning_rate"])

    @property
    def pair(self) -> str:
        """Name of the teacher-student pair; of a teacher's own cell the teacher's name."""
        return self.teacher if self.student is None else f"{self.teacher} to {self.student}"

    @property
    def group(self) -> Group:
        """What shares one learning rate."""
        return self.student or "", self.method, self.task, self.language

    def training_settings(self, device: str) -> TrainingSettings:
        """Give the settings to train with.

        Args:
            device: Where to train.

        Returns:
            The settings.
        """
        return TrainingSettings(**{**self.settings, "report_to": (), "device": device})

    def as_json(self) -> dict[str, Any]:
        """Give what `--dry-run --json` prints.

        Returns:
            Plain values.
        """
        return {**asdict(self), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Cell":
        """Read what `as_json` gave.

        Args:
            values: Plain values.

        Returns:
            The cell.
        """
        known = {item.name for item in fields(cls)}
        given: dict[str, Any] = {name: value for name, value in values.items() if name in known}
        return cls(**{**given, "notes": tuple(given["notes"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The learning rate of a group.

    Attributes:
        value: The rate.
        note: How it was chosen; empty if the plan says it.
        failure: Why there is none; None if there is one.
    """

    value: float
    note: str = ""
    failure: str | None = None


def first_stage(plan: Plan, inputs: Inputs) -> tuple[Cell, ...]:
    """List the cells that others need: the teachers' modules, and the sweeps of the learning rate.

    Args:
        plan: The plan.
        inputs: What its cells read.

    Returns:
        The cells.
    """
    maker = _Maker(plan, inputs)
    return (*maker.teachers(), *maker.sweeps())


def second_stage(plan: Plan, inputs: Inputs, rates: Mapping[Group, Rate]) -> tuple[Cell, ...]:
    """List the cells that compare: default students, transferred ones and controls.

    Args:
        plan: The plan.
        inputs: What its cells read.
        rates: The learning rate of each group; a group that is missing has the plan's.

    Returns:
        The cells.
    """
    return tuple(_Maker(plan, inputs).students(rates))


def choose_rates(plan: Plan, sweep: Iterable[Cell], rows: Mapping[str, ResultRow]) -> dict[Group, Rate]:
    """Choose the learning rate of each group: where the default student does best on the validation split.

    Args:
        plan: The plan.
        sweep: The sweep's cells.
        rows: Their results, by cell.

    Returns:
        Group to rate, of the groups that were swept.
    """
    tried: dict[Group, dict[float, list[float | None]]] = {}
    for cell in sweep:
        row = rows.get(cell.id)
        value = None if row is None or row.error is not None else row.validation
        tried.setdefault(cell.group, {}).setdefault(cell.learning_rate, []).append(value)
    return {group: _choose_rate(group, values, plan) for group, values in tried.items()}


def _choose_rate(group: Group, tried: Mapping[float, list[float | None]], plan: Plan) -> Rate:
    task = find_task(group[2])
    means = {}
    for rate, values in tried.items():
        measured = [value for value in values if value is not None]
        if len(measured) == len(values):
            means[rate] = fmean(measured)
    if not means:
        first = next(iter(tried))
        return Rate(value=first, failure="No learning rate could be chosen: every one of the sweep failed.")
    best = max(means, key=lambda rate: means[rate] if task.is_higher_better else -means[rate])
    failed = [f"{rate:g}" for rate in tried if rate not in means]
    note = (
        f"Learning rate {best:g}: the default student's best of {', '.join(f'{rate:g}' for rate in tried)} by its "
        f"{task.metric} on the validation split{f' ({chr(44).join(failed)} failed)' if failed else ''}; all cells of "
        "this student, method, task and language have the same."
    )
    return Rate(value=best, note=note)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes cells."""

    plan: Plan
    inputs: Inputs

    def teachers(self) -> Iterator[Cell]:
        made = [
            self._teacher(teacher, method, task, language, seed)
            for teacher, method, task, language in self._teacher_groups()
            for seed in self._teacher_seeds()
        ]
        yield from {cell.id: cell for cell in made}.values()  # a module that is there already has no seeds

    def sweeps(self) -> Iterator[Cell]:
        sweep = self.plan.sweep
        if sweep is None:
            return
        for student, method, task, language in self._student_groups():
            for rate in sweep.learning_rates:
                for seed in sweep.seeds:
                    settings = self._settings(task, seed, rate)
                    if sweep.max_steps is not None:
                        settings["max_steps"] = sweep.max_steps
                    cell = self._student(student, method, task, language, settings, kind="sweep")
                    untested = {**cell.data, "test": None, "test_split": None, "limit_test": None}
                    yield self._identified(replace(cell, data=untested))

    def students(self, rates: Mapping[Group, Rate]) -> Iterator[Cell]:
        for student, method, task, language in self._student_groups():
            rate = rates.get((student.name, method.name, task.name, language))
            note = (rate.note,) if rate is not None and rate.note else ()
            for seed in self.plan.seeds:
                settings = self._settings(task, seed, None if rate is None else rate.value)
                plain = self._student(student, method, task, language, settings, kind="default")
                for cell in (plain, *self._moved(plain, student, method, task, language, seed)):
                    yield self._identified(replace(cell, notes=note))

    def _moved(
        self, plain: Cell, student: StudentPlan, method: MethodPlan, task: TaskPlan, language: str, seed: int
    ) -> Iterator[Cell]:
        """List what is compared with one default student."""
        plan = self.plan
        teacher = plan.teacher(student)
        teacher_seed = seed if plan.teacher_seeds == "each" else plan.seeds[0]
        made = self._teacher(teacher, method, task, language, teacher_seed)
        moved = replace(
            plain,
            teacher_model=made.model,
            teacher_cell=made.id,
            module=made.module,
            corpus=plan.alignment.corpus,
            tokens=plan.alignment.tokens,
        )
        aligners = plan.transfers.aligners_for(student.relation)
        heads = ["kept" if head == "keep" else "new" for head in plan.transfers.heads]
        for layers in plan.transfers.layers:
            for aligner in aligners:
                for head in heads:
                    yield replace(moved, kind="transferred", layers=layers, aligner=aligner, head=head)
        for layers in plan.control_layers or plan.transfers.layers[:1]:
            for control in plan.controls:
                yield replace(
                    moved,
                    kind="control",
                    control=control,
                    layers=layers,
                    aligner=None if control == "random-gather" else aligners[0],
                    head="kept" if control == "head-only" else "new",
                )

    def _teacher_seeds(self) -> tuple[int, ...]:
        return self.plan.seeds if self.plan.teacher_seeds == "each" else self.plan.seeds[:1]

    def _teacher_groups(self) -> Iterator[tuple[TeacherPlan, MethodPlan, TaskPlan, str]]:
        used = {student.teacher for student in self.plan.students}
        for teacher in self.plan.teachers:
            for method in self.plan.methods:
                for task in self.plan.tasks:
                    for language in task.languages:
                        if teacher.name in used:
                            yield teacher, method, task, language

    def _student_groups(self) -> Iterator[tuple[StudentPlan, MethodPlan, TaskPlan, str]]:
        for student in self.plan.students:
            for method in self.plan.methods:
                for task in self.plan.tasks:
                    for language in task.languages:
                        yield student, method, task, language

    def _settings(self, task: TaskPlan, seed: int, rate: float | None) -> dict[str, Any]:
        settings = replace(self.plan.settings(task.name), seed=seed)
        return as_json(settings if rate is None else replace(settings, learning_rate=rate))

    def _student(
        self,
        student: StudentPlan,
        method: MethodPlan,
        task: TaskPlan,
        language: str,
        settings: Mapping[str, Any],
        *,
        kind: Kind,
    ) -> Cell:
        return Cell(
            kind=kind,
            plan=self.plan.name,
            relation=student.relation,
            teacher=student.teacher,
            student=student.name,
            model=self.inputs.bases[student.model].reference,
            method=method.name,
            options=method_options(method.name, method.options),
            task=task.name,
            language=language,
            data=self._data(task.languages[language]),
            settings=settings,
        )

    def _teacher(self, teacher: TeacherPlan, method: MethodPlan, task: TaskPlan, language: str, seed: int) -> Cell:
        module = teacher.modules.get(module_key(method.name, task.name, language))
        return self._identified(
            Cell(
                kind="teacher",
                plan=self.plan.name,
                relation="teacher",
                teacher=teacher.name,
                model=self.inputs.bases[teacher.model].reference,
                method=method.name,
                options=method_options(method.name, method.options),
                task=task.name,
                language=language,
                data=self._data(task.languages[language]),
                settings=as_json(replace(self.plan.teacher_settings(teacher, task.name), seed=seed)),
                module=None if module is None else self.inputs.modules[module].reference,
            )
        )

    def _data(self, data: DataPlan) -> dict[str, Any]:
        choice = data.choice()
        return {**choice, **{name: self.inputs.pin(choice[name]) for name in ("data", "validation", "test")}}

    def _identified(self, cell: Cell) -> Cell:
        """Give a cell the id of all that decides its result: contents instead of the places where they lie."""
        contents = {item.reference: item.fingerprint for item in self._all_pinned()}
        values = cell.as_json()
        for name in ("id", "plan", "notes"):
            del values[name]
        settings = {key: value for key, value in cell.settings.items() if key not in _NOT_DECIDING}
        if cell.kind == "teacher" and cell.module is not None:  # it is measured only
            settings = {key: settings[key] for key in ("max_tokens", "precision")}
        values |= {
            "format_version": FORMAT_VERSION,
            "settings": settings,
            "model": contents[cell.model],
            "teacher_model": contents.get(cell.teacher_model or ""),
            "module": contents.get(cell.module or ""),
            "data": {key: contents.get(value, value) if isinstance(value, str) else value for key, value in cell.data.items()},
            "corpus": self.inputs.corpus if cell.corpus is not None else None,
            "layers": _content_of(cell.layers),
        }
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return replace(cell, id=hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS])

    def _all_pinned(self) -> Iterator[Any]:
        for group in (self.inputs.bases, self.inputs.data, self.inputs.modules):
            yield from group.values()


def _content_of(layers: str | None) -> str | None:
    """Give a layer map's name, or the hash of the file that holds it."""
    if layers is None:
        return None
    try:
        return hash_file(Path(layers)) if Path(layers).is_file() else layers
    except OSError:
        return layers
