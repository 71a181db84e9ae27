"""The plan of an experiment: what a YAML file says, checked."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from modxfer.alignments.aligners import ALIGNERS, AUTO
from modxfer.alignments.layer_maps import MODES
from modxfer.errors import ModxferError, UsageError
from modxfer.experiments.plan_parts import (
    AlignmentPlan,
    Control,
    Count,
    DataPlan,
    MethodPlan,
    Name,
    Part,
    Seeds,
    StudentPlan,
    SweepPlan,
    TaskPlan,
    TeacherPlan,
    TrainingChanges,
    TransferPlan,
)
from modxfer.registry.entries.yaml_text import Document, read_yaml
from modxfer.training.libraries.methods import method_options
from modxfer.training.settings import PRESETS, TrainingSettings
from modxfer.training.tasks import TASKS

FORMAT_VERSION = 1
_MOST_SHOWN = 20
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Plan(Part):
    """An experiment."""

    format_version: Literal[1]
    name: Name
    description: str = ""
    teachers: tuple[TeacherPlan, ...] = Field(min_length=1)
    students: tuple[StudentPlan, ...] = Field(min_length=1)
    methods: tuple[MethodPlan, ...] = Field(min_length=1)
    tasks: tuple[TaskPlan, ...] = Field(min_length=1)
    transfers: TransferPlan = Field(default_factory=TransferPlan)
    controls: tuple[Control, ...] = ()
    control_layers: tuple[str, ...] = ()
    seeds: Seeds = (0,)
    teacher_seeds: Literal["first", "each"] = "first"
    training: TrainingChanges = Field(default_factory=TrainingChanges)
    teacher_training: TrainingChanges | None = None
    sweep: SweepPlan | None = None
    alignment: AlignmentPlan = Field(default_factory=AlignmentPlan)
    jobs: Count | None = None
    threads: Count | None = None

    def settings(self, task: str) -> TrainingSettings:
        """Give the settings that students are trained with.

        Args:
            task: The task's name.

        Returns:
            The settings.
        """
        return self.training.settings(task)

    def teacher_settings(self, teacher: TeacherPlan, task: str) -> TrainingSettings:
        """Give the settings that a teacher's module is trained with: its own changes on those of all teachers.

        Args:
            teacher: The teacher.
            task: The task's name.

        Returns:
            The settings.
        """
        return teacher.training.over(self.teacher_training or self.training).settings(task)

    def teacher(self, student: StudentPlan) -> TeacherPlan:
        """Find a student's teacher.

        Args:
            student: The student.

        Returns:
            Its teacher.
        """
        return next(teacher for teacher in self.teachers if teacher.name == student.teacher)


def parse_settings(texts: Sequence[str]) -> dict[str, str]:
    """Read what `--set` says.

    Args:
        texts: NAME=VALUE each; a VALUE that is a relative path begins where the process is.

    Returns:
        Name to value.

    Raises:
        UsageError: a text has another form, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not _VARIABLE.fullmatch(f"${{{name}}}"):
            raise UsageError(f"`--set {text[:200]}` is not NAME=VALUE.", do="Write it as in `--set DATA=/data`.")
        if name in found:
            raise UsageError(f"`--set {name}` comes twice.", do="Give it once.")
        found[name] = _from_here(value)
    return found


def _from_here(value: str) -> str:
    """Make a relative path absolute: who types one means it from where they are, and not from the plan's folder."""
    is_path = value.startswith(("./", "../", "~")) or ("/" in value and _is_there(Path(value)))
    return str(Path(value).expanduser().resolve()) if is_path else value


def read_plan(path: Path, settings: Mapping[str, str] | None = None) -> Plan:
    """Read a plan, and check it.

    Args:
        path: The file. Relative paths in it begin at its folder.
        settings: Values of names that the plan has as `${NAME}`.

    Returns:
        The plan; the paths in it are absolute.

    Raises:
        UsageError: the file cannot be read, or something in it is wrong; everything that is wrong is told at once.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read the plan `{path}`: {error.strerror}.", do="Name a plan, a YAML file.") from error
    document = read_yaml(content)
    problems = [f"line {fault.place.line}: {fault.what}" for fault in document.faults]
    if not problems and not isinstance(document.value, dict):
        problems = ["it is no mapping of fields to values"]
    if problems:
        raise _wrong(path, problems)
    filled = _fill(document.value, dict(settings or {}), (), problems)
    try:
        plan = Plan.model_validate(filled)
    except ValidationError as error:
        problems += [_problem(document, item["loc"], item["msg"]) for item in _own_errors(error)]
        raise _wrong(path, problems) from error
    problems += [_problem(document, keys, what) for keys, what in _contradictions(plan)]
    if problems:
        raise _wrong(path, problems)
    return _at(plan, path.resolve().parent)


def _wrong(path: Path, problems: Sequence[str]) -> UsageError:
    shown = "; ".join(f"({number}) {text}" for number, text in enumerate(problems[:_MOST_SHOWN], 1))
    more = f"; and {len(problems) - _MOST_SHOWN} more" if len(problems) > _MOST_SHOWN else ""
    many = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    return UsageError(f"The plan `{path}` has {many}: {shown}{more}.", do="Correct the plan, and run it again.")


def _own_errors(error: ValidationError) -> Iterator[Any]:
    """Leave out that a list is too short where that is only because its items are wrong."""
    found = error.errors(include_url=False)
    for item in found:
        place = item["loc"]
        if item["type"] != "too_short" or not any(other["loc"][: len(place)] == place != other["loc"] for other in found):
            yield item


def _problem(document: Document, keys: Sequence[str | int], what: str) -> str:
    """Say what is wrong with a value, and where it is in the file."""
    known = tuple(keys)
    while known and known not in document.values:
        known = known[:-1]
    shown = known if len(keys) - len(known) > 1 else keys  # pydantic also names the members of a union
    return f"line {document.place(known).line}, `{'.'.join(map(str, shown))}`: {what}"


def _fill(value: Any, settings: Mapping[str, str], keys: tuple[str | int, ...], problems: list[str]) -> Any:
    """Put values in the place of `${NAME}`, and note the names that have none."""
    match value:
        case str():
            for name in _VARIABLE.findall(value):
                if name not in settings:
                    where = ".".join(map(str, keys))
                    problems.append(f"`{where}`: `${{{name}}}` has no value, so say `--set {name}=VALUE`")
            return _VARIABLE.sub(lambda found: settings.get(found[1], found[0]), value)
        case dict():
            return {key: _fill(item, settings, (*keys, key), problems) for key, item in value.items()}
        case list():
            return [_fill(item, settings, (*keys, index), problems) for index, item in enumerate(value)]
        case _:
            return value


def _contradictions(plan: Plan) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """List what is wrong between fields, and with names that other tables know."""
    yield from _repeated(plan)
    if plan.controls and not (plan.control_layers or plan.transfers.layers):
        yield ("controls",), "they need a layer map: name one in `control_layers`"
    teachers = {teacher.name for teacher in plan.teachers}
    for index, student in enumerate(plan.students):
        if student.teacher not in teachers:
            yield ("students", index, "teacher"), f"there is no teacher `{student.teacher}` (there are {_listing(teachers)})"
    for index, task in enumerate(plan.tasks):
        if task.name not in TASKS:
            yield ("tasks", index, "name"), f"there is no task `{task.name}` (there are {_listing(TASKS)})"
    yield from _unknown_methods(plan)
    yield from _unknown_aligners(plan)
    yield from _unknown_modules(plan)
    yield from _wrong_settings(plan)


def _repeated(plan: Plan) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """List what comes twice: its cells would be the same ones."""
    transfers, sweep = plan.transfers, plan.sweep
    aligners = transfers.aligners if isinstance(transfers.aligners, Mapping) else {"": transfers.aligners}
    fields: dict[tuple[str, ...], Iterable[object]] = {
        ("teachers",): [teacher.name for teacher in plan.teachers],
        ("students",): [student.name for student in plan.students],
        ("methods",): [method.name for method in plan.methods],
        ("tasks",): [task.name for task in plan.tasks],
        ("seeds",): plan.seeds,
        ("controls",): plan.controls,
        ("control_layers",): plan.control_layers,
        ("transfers", "layers"): transfers.layers,
        ("transfers", "heads"): transfers.heads,
        **{("transfers", "aligners", *([relation] if relation else [])): names for relation, names in aligners.items()},
        ("sweep", "learning_rates"): sweep.learning_rates if sweep else (),
        ("sweep", "seeds"): sweep.seeds if sweep else (),
    }
    for field, names in fields.items():
        for name, count in Counter(names).items():
            if count > 1:
                yield field, f"`{name}` comes {count} times"


def _unknown_methods(plan: Plan) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for index, method in enumerate(plan.methods):
        try:
            options = method_options(method.name, method.options)
        except ModxferError as error:
            yield ("methods", index), f"{error.what} {error.do}"
            continue
        if options.get("size", 0) is None:
            yield (
                ("methods", index),
                "it has no `size`, and teacher and student would each take one of their own, which do not compare",
            )


def _unknown_aligners(plan: Plan) -> Iterator[tuple[tuple[str | int, ...], str]]:
    known = [AUTO, *ALIGNERS]
    given = plan.transfers.aligners
    for relation, names in given.items() if isinstance(given, Mapping) else [("", given)]:
        for index, name in enumerate(names):
            if name not in known:
                keys = [key for key in ("transfers", "aligners", relation, index) if key != ""]
                yield tuple(keys), f"there is no aligner `{name}` (there are {_listing(known)})"


def _unknown_modules(plan: Plan) -> Iterator[tuple[tuple[str | int, ...], str]]:
    known = [
        module_key(method.name, task.name, language)
        for method in plan.methods
        for task in plan.tasks
        for language in task.languages
    ]
    for index, teacher in enumerate(plan.teachers):
        for key in teacher.modules:
            if key not in known:
                yield ("teachers", index, "modules", key), f"`{key}` is none of {_listing(known)}"


def _wrong_settings(plan: Plan) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Try every set of settings, since presets and ranges are known where they are made."""
    parts: list[tuple[tuple[str | int, ...], TrainingChanges]] = [(("training",), plan.training)]
    if plan.teacher_training is not None:
        parts.append((("teacher_training",), plan.teacher_training))
    parts += [(("teachers", index, "training"), teacher.training) for index, teacher in enumerate(plan.teachers)]
    for keys, changes in parts:
        if changes.preset not in PRESETS:
            yield (*keys, "preset"), f"there is no preset `{changes.preset}` (there are {_listing(PRESETS)})"
            continue
        try:
            changes.settings("ner")
        except UsageError as error:
            yield keys, error.what


def _listing(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def module_key(method: str, task: str, language: str) -> str:
    """Name the place of a module in a teacher's `modules`.

    Args:
        method: Name of the method.
        task: Name of the task.
        language: Name of the language.

    Returns:
        The key.
    """
    return f"{method}/{task}/{language}"


def _at(plan: Plan, folder: Path) -> Plan:
    """Make the paths of a plan absolute."""
    teachers = [
        teacher.model_copy(
            update={
                "model": _path(teacher.model, folder),
                "modules": {key: _path(module, folder) for key, module in teacher.modules.items()},
            }
        )
        for teacher in plan.teachers
    ]
    students = [student.model_copy(update={"model": _path(student.model, folder)}) for student in plan.students]
    tasks = [
        task.model_copy(update={"languages": {name: _data_at(data, folder) for name, data in task.languages.items()}})
        for task in plan.tasks
    ]
    transfers = plan.transfers.model_copy(update={"layers": _layers_at(plan.transfers.layers, folder)})
    alignment = plan.alignment
    if alignment.corpus is not None:
        alignment = alignment.model_copy(update={"corpus": _path(alignment.corpus, folder)})
    return plan.model_copy(
        update={
            "teachers": tuple(teachers),
            "students": tuple(students),
            "tasks": tuple(tasks),
            "transfers": transfers,
            "control_layers": _layers_at(plan.control_layers, folder),
            "alignment": alignment,
        }
    )


def _layers_at(specs: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    return tuple(spec if spec in MODES else _path(spec, folder) for spec in specs)


def _data_at(data: DataPlan, folder: Path) -> DataPlan:
    paths = {name: getattr(data, name) for name in ("train", "validation", "test")}
    return data.model_copy(update={name: _path(spec, folder) for name, spec in paths.items() if spec is not None})


def _path(spec: str, folder: Path) -> str:
    """Give a path from the plan's folder on, else from here; what is at neither, and does not look like one, is a Hub id."""
    if spec.startswith("~"):
        return str(Path(spec).expanduser())
    if _is_there(folder / spec) or spec.startswith(("./", "../")):
        return str((folder / spec).resolve())
    return str(Path(spec).resolve()) if _is_there(Path(spec)) else spec


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, say
        return False
