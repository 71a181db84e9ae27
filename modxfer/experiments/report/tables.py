"""The tables of results: the paper's layout, the sign tests, languages, and the steps of the curves."""

from collections.abc import Iterable, Sequence

from modxfer.experiments.report.blocks import Block, Variant, VariantKey
from modxfer.experiments.report.document import DASH, Cell, Group, Table, Text, joined, plain
from modxfer.experiments.report.statistics import (
    DIGITS,
    Point,
    average,
    gains,
    mean_curve,
    means_of_languages,
    relative,
    sign_test,
)
from modxfer.experiments.report.wording import block_name, full_name, metric_name, number, spread, tally, word

FEWER = "†"
"""Marks a mean over fewer values than the fullest row has."""

_MOST_STEPS = 9


def results_table(blocks: Sequence[Block]) -> Table:
    """Lay the results out as the paper's tables 2 and 3.

    Args:
        blocks: The blocks of one pair and method: one a task.

    Returns:
        The table, controls last.
    """
    columns: list[Text] = ["Model"]
    for block in blocks:
        task = f"{block.task} " if len(blocks) > 1 else ""
        columns += [joined(task, metric_name(block.metric)), f"{task}REL", f"{task}zero-shot", f"{task}gain"]
    first = blocks[0]
    groups = {"": ("teacher", "default", "transferred"), "Controls": ("control",)}
    keys = _keys(blocks)
    return Table(
        title=f"Results: {plain(joined(word(first.pair), ', ', word(first.method)))}",
        columns=[*columns, "seeds"],
        texts=1,
        groups=[
            Group(title=title, rows=[_results_row(key, blocks) for key in keys if key.kind in kinds])
            for title, kinds in groups.items()
            if any(key.kind in kinds for key in keys)
        ],
    )


def is_marked(variant: Variant, block: Block) -> bool:
    """Say whether a mean is over fewer values than another one of its table.

    Args:
        variant: The row.
        block: Its block.

    Returns:
        Whether it has values, but fewer than the fullest row.
    """
    return 0 < len(variant.rows) < block.most_places


def gain(variant: Variant, block: Block) -> dict[tuple[str, int], float]:
    """Pair a student with the default student.

    Args:
        variant: The student.
        block: Its block.

    Returns:
        How much better it is, by language and seed.
    """
    default = block.default.values if block.default else {}
    return gains(variant.values, default, is_higher_better=block.is_higher_better)


def sign_table(block: Block) -> Table | None:
    """Count wins, ties and losses of each transferred student.

    Args:
        block: The block.

    Returns:
        A column for the default student, and one for each control; None if there is nothing to compare.
    """
    others = [*([block.default] if block.default else []), *block.controls]
    if not others or not block.transferred:
        return None
    return Table(
        title=f"Wins, ties and losses: {plain(block_name(block))}",
        columns=["Model", *(joined("against ", _opponent(other, block)) for other in others)],
        texts=1,
        groups=[
            Group(
                title="",
                rows=[
                    [
                        Cell(text=full_name(variant)),
                        *(
                            Cell(text=tally(sign_test(variant.values, other.values, is_higher_better=block.is_higher_better)))
                            for other in others
                        ),
                    ]
                    for variant in block.transferred
                ],
            )
        ],
    )


def language_table(block: Block) -> Table | None:
    """Show each language.

    Args:
        block: The block.

    Returns:
        Means over seeds; None for a block of one language.
    """
    languages = block.languages
    if len(languages) < 2:
        return None
    means = {variant.key: means_of_languages(variant.values) for variant in block.variants}
    complete = {variant.key: _complete_languages(variant, block) for variant in block.students}
    best = {
        language: _best([m[language] for key, m in means.items() if language in complete.get(key, ())], block)
        for language in languages
    }

    def cell(variant: Variant, language: str) -> Cell:
        value = means[variant.key].get(language)
        if value is None:
            return Cell(text=DASH)
        if variant.key.kind == "teacher":
            return Cell(text=number(value))
        is_whole = language in complete[variant.key]
        return Cell(
            text=number(value) + ("" if is_whole else FEWER),
            is_best=is_whole and round(value, DIGITS) == best[language],
        )

    return Table(
        title=f"Languages: {plain(block_name(block))}",
        columns=["Model", *(word(language) for language in languages)],
        texts=1,
        groups=[
            Group(
                title="",
                rows=[
                    [Cell(text=full_name(variant)), *(cell(variant, language) for language in languages)]
                    for variant in block.variants
                ],
            )
        ],
    )


def curve_table(block: Block) -> Table | None:
    """Show the mean learning curves in numbers.

    Args:
        block: The block.

    Returns:
        Some of the steps, the first and the last among them; None if there are no curves.
    """
    curves = {variant.key: mean_curve(variant.curves) for variant in block.students}
    steps = some_steps(point.step for curve in curves.values() for point in curve)
    if not steps:
        return None
    return Table(
        title=f"Learning curves: {plain(block_name(block))}",
        columns=["Model", *(f"step {step:,}" for step in steps)],
        texts=1,
        groups=[
            Group(
                title="",
                rows=[
                    [Cell(text=full_name(variant)), *_curve_cells(curves[variant.key], steps)]
                    for variant in block.students
                    if curves[variant.key]
                ],
            )
        ],
    )


def some_steps(steps: Iterable[int]) -> list[int]:
    """Choose steps to show.

    Args:
        steps: Steps, in any order.

    Returns:
        All of them if they are few, else some that are evenly spread among them, the first and the last included.
    """
    every = sorted(set(steps))
    if len(every) <= _MOST_STEPS:
        return every
    return [every[round(index * (len(every) - 1) / (_MOST_STEPS - 1))] for index in range(_MOST_STEPS)]


def _curve_cells(curve: Sequence[Point], steps: Sequence[int]) -> list[Cell]:
    there = {point.step: point.average.mean for point in curve}
    return [Cell(text=number(there.get(step))) for step in steps]


def _keys(blocks: Sequence[Block]) -> list[VariantKey]:
    order = {"teacher": 0, "default": 1, "transferred": 2, "control": 3}
    keys = {variant.key for block in blocks for variant in block.variants}
    return sorted(keys, key=lambda key: (order[key.kind], key.order()))


def _find(key: VariantKey, block: Block) -> Variant | None:
    return next((variant for variant in block.variants if variant.key == key), None)


def _results_row(key: VariantKey, blocks: Sequence[Block]) -> list[Cell]:
    found = [_find(key, block) for block in blocks]
    one = next(variant for variant in found if variant is not None)
    counts = [str(len({seed for _, seed in variant.rows})) if variant else DASH for variant in found]
    return [
        Cell(text=full_name(one)),
        *(cell for variant, block in zip(found, blocks, strict=True) for cell in _task_cells(variant, block)),
        Cell(text=counts[0] if len(set(counts)) == 1 else " / ".join(counts)),
    ]


def _task_cells(variant: Variant | None, block: Block) -> list[Cell]:
    mean = average(variant.values) if variant else None
    if variant is None or mean is None:
        return [Cell(text=DASH)] * 4
    is_teacher, is_default = variant.key.kind == "teacher", variant.key.kind == "default"
    mark = FEWER if is_marked(variant, block) else ""
    teacher = block.teacher.values if block.teacher else {}
    rel = None if is_teacher else relative(variant.values, teacher, is_higher_better=block.is_higher_better)
    zero_shot = average(variant.zero_shot)
    gained = None if is_teacher or is_default else average(gain(variant, block))
    return [
        Cell(text=spread(mean) + mark, is_best=not is_teacher and not mark and round(mean.mean, DIGITS) == _best_mean(block)),
        Cell(text=number(rel, sign=True)),
        Cell(text=number(zero_shot.mean if zero_shot else None)),
        Cell(text=spread(gained, sign=True) + (_few(gained.places, block) if gained else "")),
    ]


def _few(places: int, block: Block) -> str:
    return FEWER if places < block.most_places else ""


def _best_mean(block: Block) -> float | None:
    means = [average(variant.values) for variant in block.students if not is_marked(variant, block)]
    return _best([mean.mean for mean in means if mean is not None], block)


def _best(values: Sequence[float], block: Block) -> float | None:
    rounded = [round(value, DIGITS) for value in values]
    if len(rounded) < 2:
        return None
    return max(rounded) if block.is_higher_better else min(rounded)


def _complete_languages(variant: Variant, block: Block) -> set[str]:
    def seeds(of: Variant, language: str) -> int:
        return sum(place[0] == language for place in of.rows)

    most = {language: max(seeds(other, language) for other in block.students) for language in block.languages}
    return {language for language in block.languages if 0 < seeds(variant, language) == most[language]}


def _opponent(other: Variant, block: Block) -> Text:
    """Name the column of a control: shortly, if there is but one of the kind."""
    if other.key.kind == "default":
        return "default student"
    alike = [control for control in block.controls if control.key.control == other.key.control]
    return full_name(other) if len(alike) > 1 else word(other.key.control)
