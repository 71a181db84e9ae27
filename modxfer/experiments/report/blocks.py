"""Rows in order: for each pair, method and task the teacher, the default student, its transferred versions and the controls."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from modxfer.errors import TrainingError
from modxfer.experiments.report.statistics import Place
from modxfer.experiments.results import ResultRow
from modxfer.registry.card_text import code
from modxfer.training.tasks import TASKS, find_task

_RELATIONS = ("matching", "incompatible")
_METHODS = ("bottleneck", "lora")  # the paper's order
_LAYERS = ("avg", "skip")
_CONTROLS = ("head-only", "random-norm", "random-gather")


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantKey:
    """What tells one row of a table from the others.

    Attributes:
        kind: "teacher", "default", "transferred" or "control".
        control: Which control; empty for no control.
        layers: The layer map; empty where nothing was moved.
        aligner: The aligner that was asked for; empty where nothing was moved.
        head: "new" or "kept".
    """

    kind: str
    control: str
    layers: str
    aligner: str
    head: str

    def order(self) -> tuple[object, ...]:
        """Give what the rows of a table are sorted by: the paper's order, then the alphabet."""
        return (
            _place(self.control, _CONTROLS),
            self.head == "kept",
            _place(self.layers, _LAYERS),
            self.aligner,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """All cells of one row of a table, for one task.

    Attributes:
        key: What it is.
        rows: The cells that measured something, by language and seed.
        asked: Every language and seed that was to be measured, failed cells too.
    """

    key: VariantKey
    rows: Mapping[Place, ResultRow]
    asked: frozenset[Place]

    @property
    def values(self) -> dict[Place, float]:
        """The main metric on the test split after training."""
        return {place: row.value for place, row in self.rows.items() if row.value is not None}

    @property
    def zero_shot(self) -> dict[Place, float]:
        """The main metric on the test split before training."""
        return {place: row.zero_shot for place, row in self.rows.items() if _is_finite(row.zero_shot)}

    @property
    def curves(self) -> dict[Place, list[tuple[int, float]]]:
        """The learning curves, on the validation split."""
        return {
            place: sorted((step, value) for step, value in row.curve if math.isfinite(value))
            for place, row in self.rows.items()
        }

    @property
    def aligner(self) -> str:
        """The aligner that was used, after the one that was asked for where that is another."""
        used = sorted({row.used_aligner for row in self.rows.values() if row.used_aligner})
        return self.key.aligner if used in ([], [self.key.aligner]) else f"{self.key.aligner}: {', '.join(used)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One pair, method and task.

    Attributes:
        plan: Name of the plan.
        pair: Name of the pair.
        relation: "matching" or "incompatible".
        teacher_name: Name of the teacher.
        student_name: Name of the student.
        method: The method.
        task: The task.
        metric: Its main metric.
        is_higher_better: Whether more of that is better.
        teacher: The teacher's own cells; None if there are none.
        default: The default student's; None if there are none.
        transferred: The transferred students, in order.
        controls: The controls, in order.
    """

    plan: str
    pair: str
    relation: str
    teacher_name: str
    student_name: str
    method: str
    task: str
    metric: str
    is_higher_better: bool
    teacher: Variant | None
    default: Variant | None
    transferred: tuple[Variant, ...]
    controls: tuple[Variant, ...]

    @property
    def students(self) -> tuple[Variant, ...]:
        """The default student, the transferred ones and the controls."""
        return (*([self.default] if self.default else []), *self.transferred, *self.controls)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All of them, the teacher first."""
        return (*([self.teacher] if self.teacher else []), *self.students)

    @property
    def languages(self) -> tuple[str, ...]:
        """Every language that a cell was to be measured in."""
        return tuple(sorted({language for variant in self.variants for language, _ in variant.asked}))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed of a student."""
        return tuple(sorted({seed for variant in self.students for _, seed in variant.asked}))

    @property
    def most_places(self) -> int:
        """Values of the fullest row."""
        return max((len(variant.rows) for variant in self.variants), default=0)


def latest(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Keep one row of each cell: a killed or repeated run may have written more.

    Args:
        rows: The rows of a results file.

    Returns:
        The last row of each cell that measured something, else its last one; in the order of the first ones.
    """
    kept: dict[tuple[str, str, str, str], ResultRow] = {}
    for row in rows:
        key = (row.plan, row.kind, row.pair, row.cell)
        if key not in kept or failure(row) is None or failure(kept[key]) is not None:
            kept[key] = row
    return list(kept.values())


def failure(row: ResultRow) -> str | None:
    """Say why a cell cannot be used.

    Args:
        row: Its row.

    Returns:
        The reason; None if there is a number in it.
    """
    if row.error is not None:
        return row.error
    if row.kind == "sweep":
        return None if _is_finite(row.validation) else "It has no finite validation value."
    return None if _is_finite(row.value) else "It has no finite test value."


def make_blocks(rows: Sequence[ResultRow]) -> list[Block]:
    """Put rows into tables.

    Args:
        rows: The rows, one a cell.

    Returns:
        Blocks: matching pairs first, then incompatible ones; by pair, method (the paper's order) and task.

    Raises:
        TrainingError: two cells measured the same thing, so that one of them is not of this plan.
        UsageError: a task that there is not.
    """
    of_pairs = [row for row in rows if row.kind in ("default", "transferred", "control")]
    keys = {(row.plan, row.relation, row.pair, row.method, row.task) for row in of_pairs}
    blocks = []
    for key in sorted(keys, key=_block_order):
        plan, relation, pair, method, task = key
        near = [row for row in rows if (row.plan, row.method, row.task) == (plan, method, task)]
        blocks.append(_make_block([row for row in near if (row.relation, row.pair) == (relation, pair)], near))
    return blocks


def _make_block(own: Sequence[ResultRow], near: Sequence[ResultRow]) -> Block:
    """Make a block of a pair's rows, and of others of the same plan, method and task: its teacher's, and its student's."""
    one = own[0]
    teacher = [row for row in near if row.kind == "teacher" and row.teacher == one.teacher]
    default = [row for row in own if row.kind == "default"]
    # A default student that two pairs share may have been run for one of them.
    default = default or _of_first_pair([row for row in near if row.kind == "default" and row.student == one.student])
    variants = _variants([*teacher, *default, *_without_idle_layers(own)])

    def of(kind: str) -> tuple[Variant, ...]:
        return tuple(variant for variant in variants if variant.key.kind == kind)

    return Block(
        plan=one.plan,
        pair=one.pair,
        relation=one.relation,
        teacher_name=one.teacher,
        student_name=one.student or "",
        method=one.method,
        task=one.task,
        metric=one.metric,
        is_higher_better=find_task(one.task).is_higher_better,
        teacher=next(iter(of("teacher")), None),
        default=next(iter(of("default")), None),
        transferred=of("transferred"),
        controls=of("control"),
    )


def _without_idle_layers(rows: Sequence[ResultRow]) -> Iterator[ResultRow]:
    """Give transferred students and controls; the layer map of a control that moves no layer is no part of its name."""
    layers = {row.layers for row in rows if row.control == "head-only"}
    for row in rows:
        if row.kind in ("transferred", "control"):
            yield replace(row, layers=None) if row.control == "head-only" and len(layers) == 1 else row


def _of_first_pair(rows: Sequence[ResultRow]) -> list[ResultRow]:
    first = min((row.pair for row in rows), default=None)
    return [row for row in rows if row.pair == first]


def _variants(rows: Sequence[ResultRow]) -> list[Variant]:
    variants = []
    by_key: dict[VariantKey, list[ResultRow]] = defaultdict(list)
    for row in rows:
        by_key[_variant_key(row)].append(row)
    for key, those in by_key.items():
        measured: dict[Place, ResultRow] = {}
        for row in those:
            if failure(row) is not None:
                continue
            place = (row.language, row.seed)
            if place in measured:
                raise _twice(measured[place], row)
            measured[place] = row
        asked = frozenset((row.language, row.seed) for row in those)
        variants.append(Variant(key=key, rows=measured, asked=asked))
    return sorted(variants, key=lambda variant: variant.key.order())


def _variant_key(row: ResultRow) -> VariantKey:
    if row.kind in ("teacher", "default"):
        return VariantKey(kind=row.kind, control="", layers="", aligner="", head="new")
    return VariantKey(
        kind=row.kind, control=row.control or "", layers=row.layers or "", aligner=row.aligner or "", head=row.head
    )


def _twice(first: ResultRow, second: ResultRow) -> TrainingError:
    return TrainingError(
        f"Cells `{code(first.cell)}` and `{code(second.cell)}` are both the {second.kind} student of `{code(second.pair)}`, "
        f"{code(second.method)}, {code(second.task)}, `{code(second.language)}`, seed {second.seed}, with other settings.",
        do="Report the rows of one version of the plan: run it with a results file of its own.",
    )


def _block_order(key: tuple[str, str, str, str, str]) -> tuple[object, ...]:
    plan, relation, pair, method, task = key
    return plan, _place(relation, _RELATIONS), pair, _place(method, _METHODS), _place(task, tuple(TASKS))


def _place(name: str, order: tuple[str, ...]) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
