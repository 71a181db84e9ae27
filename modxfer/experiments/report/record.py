"""What was run: cells, failures, learning rates, test splits and versions."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from modxfer.experiments.report.blocks import Block, failure
from modxfer.experiments.report.document import (
    DASH,
    Bullets,
    Cell,
    Command,
    Group,
    Heading,
    Name,
    Paragraph,
    Part,
    Section,
    Table,
    Text,
    joined,
    listed,
)
from modxfer.experiments.report.statistics import mean_and_deviation
from modxfer.experiments.report.wording import count, metric_name, number, rate, word
from modxfer.experiments.results import ResultRow
from modxfer.training.tasks import find_task

_CELL = 12
_NOUNS = {
    "sweep": "for the learning rate",
    "teacher": "teacher",
    "default": "default student",
    "transferred": "transferred",
    "control": "control",
}


def what_was_run(rows: Sequence[ResultRow], blocks: Sequence[Block], *, command: str | None) -> Section:
    """Say what was run, so that somebody else can run it again.

    Args:
        rows: The rows, one a cell.
        blocks: The same in order.
        command: The command that ran the plan; None if it is not known.

    Returns:
        The section.
    """
    parts: list[Part] = [Bullets(items=list(_facts(rows)))]
    if command is not None:
        parts.append(Command(text=command))
    parts += [*_failed(rows), *_sweep(rows, blocks), *_tests(rows), *_notes(rows), *_versions(rows), *_mixed(rows)]
    return Section(title="What was run", parts=parts)


def _facts(rows: Sequence[ResultRow]) -> Iterator[Text]:
    plans = sorted({row.plan for row in rows})
    yield joined("Plan: ", listed([word(plan) for plan in plans]))
    kinds = {noun: sum(row.kind == kind for row in rows) for kind, noun in _NOUNS.items()}
    failed = sum(failure(row) is not None for row in rows)
    split = ", ".join(f"{many:,} {noun}" for noun, many in kinds.items() if many)
    yield f"Cells: {len(rows):,} ({split}); {failed:,} failed"
    yield f"Seeds: {', '.join(map(str, sorted({row.seed for row in rows})))}"
    yield f"Time of all cells together: {_time(sum(row.seconds for row in rows))}"
    for name in ("device", "precision"):
        used = sorted({row.versions[name] for row in rows if name in row.versions})
        if used:
            yield joined(f"{name.capitalize()}: ", listed([word(value) for value in used]))


def _time(seconds: float) -> str:
    minutes = seconds / 60
    return (
        f"{seconds:.0f} seconds" if minutes < 2 else f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    )


def _failed(rows: Sequence[ResultRow]) -> Iterator[Part]:
    failed = [(row, reason) for row in rows if (reason := failure(row)) is not None]
    if not failed:
        return
    yield Heading(text=f"Failed: {count(len(failed), 'cell')}")
    yield Table(
        title="Failed cells",
        columns=["Cell", "What", "Pair", "Method", "Task", "Language", "Reason", "Seed"],
        texts=7,
        groups=[
            Group(
                title="",
                rows=[
                    [
                        Cell(text=Name(row.cell[:_CELL])),
                        Cell(
                            text=listed(
                                [word(part) for part in (row.kind, row.control, row.layers, row.aligner, row.head) if part]
                            )
                        ),
                        *(Cell(text=word(text)) for text in (row.pair, row.method, row.task, row.language)),
                        Cell(text=Name(reason, is_prose=True)),
                        Cell(text=str(row.seed)),
                    ]
                    for row, reason in failed
                ],
            )
        ],
    )


def _sweep(rows: Sequence[ResultRow], blocks: Sequence[Block]) -> Iterator[Part]:
    yield Heading(text="Learning rates")
    swept = [row for row in rows if row.kind == "sweep"]
    if not swept:
        yield Paragraph(text=joined("No sweep was run. Learning rates used: ", _rates(rows), "."))
        return
    rates = sorted({row.learning_rate for row in swept})
    chosen = _chosen(blocks)
    by_line: dict[tuple[str, ...], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in swept:
        if failure(row) is None and row.validation is not None:
            by_line[(row.plan, row.pair, row.method, row.task, row.language)][row.learning_rate].append(row.validation)
    yield Paragraph(
        text="The default student at each rate: its best value on the validation split, mean over the sweep’s seeds. "
        "The rate that the default student was then trained with is bold."
    )
    yield Table(
        title="Sweep of the learning rate",
        columns=["Pair", "Method", "Task", "Language", "Metric", *(rate(value) for value in rates)],
        texts=5,
        groups=[
            Group(
                title="",
                rows=[
                    [
                        *(Cell(text=word(text)) for text in line[1:]),
                        Cell(text=metric_name(find_task(line[3]).metric)),
                        *(_sweep_cell(values.get(value), is_best=value in chosen.get(line, ())) for value in rates),
                    ]
                    for line, values in sorted(by_line.items())
                ],
            )
        ],
    )
    yield from _edges(by_line, chosen)


def _edges(
    by_line: dict[tuple[str, ...], dict[float, list[float]]], chosen: dict[tuple[str, ...], set[float]]
) -> Iterator[Part]:
    edges = [
        joined(*listed([word(text) for text in line[1:]]), f" ({rate(used)})")
        for line, values in sorted(by_line.items())
        for used in chosen.get(line, ())
        if len(values) > 1 and used in (min(values), max(values))
    ]
    if edges:
        yield Paragraph(
            text=joined("At the edge of the sweep, so that a rate beyond it may be better: ", listed(edges, between="; "), "."),
            is_warning=True,
        )


def _sweep_cell(values: Sequence[float] | None, *, is_best: bool) -> Cell:
    return Cell(text=number(mean_and_deviation(values)[0]), is_best=is_best) if values else Cell(text=DASH)


def _chosen(blocks: Sequence[Block]) -> dict[tuple[str, ...], set[float]]:
    """Look up the learning rates of the default students, by plan, pair, method, task and language."""
    chosen: dict[tuple[str, ...], set[float]] = defaultdict(set)
    for block in blocks:
        for (language, _), row in (block.default.rows if block.default else {}).items():
            chosen[(block.plan, block.pair, block.method, block.task, language)].add(row.learning_rate)
    return chosen


def _rates(rows: Sequence[ResultRow]) -> Text:
    return ", ".join(rate(value) for value in sorted({row.learning_rate for row in rows if row.kind != "teacher"})) or DASH


def _tests(rows: Sequence[ResultRow]) -> Iterator[Part]:
    lines: dict[tuple[str, str], set[tuple[str, ...]]] = defaultdict(set)
    for row in rows:
        if row.test:
            lines[(row.task, row.language)].add(_test_line(row))
    if not lines:
        return
    yield Heading(text="Test splits")
    yield Table(
        title="Test splits",
        columns=["Task", "Language", "Data", "Config", "Split", "Part", "Revision or sha256", "Rows"],
        texts=7,
        groups=[
            Group(
                title="",
                rows=[
                    [*(Cell(text=word(text)) for text in where), *(Cell(text=word(text) if text else DASH) for text in line)]
                    for where, those in sorted(lines.items())
                    for line in sorted(those)
                ],
            )
        ],
    )
    several = [where for where, those in sorted(lines.items()) if len(those) > 1]
    if several:
        names = [joined(word(task), " ", word(language)) for task, language in several]
        yield Paragraph(
            text=joined(
                "Cells were measured on different test splits, and cannot be compared: ", listed(names, between="; "), "."
            ),
            is_warning=True,
        )


def _test_line(row: ResultRow) -> tuple[str, ...]:
    test = row.test
    pin = test.get("revision") or test.get("sha256")
    named = [test.get("type") or test.get("name"), test.get("config"), test.get("split"), test.get("part"), pin]
    rows = test.get("rows")
    return (*(str(value or "") for value in named), f"{rows:,}" if isinstance(rows, int) else "")


def _notes(rows: Sequence[ResultRow]) -> Iterator[Part]:
    notes = Counter(note for row in rows for note in row.notes)
    if notes:
        yield Heading(text="Notes")
        yield Bullets(items=[joined(Name(note, is_prose=True), f" ({count(notes[note], 'cell')})") for note in sorted(notes)])


def _versions(rows: Sequence[ResultRow]) -> Iterator[Part]:
    versions: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for name, version in row.versions.items():
            if name not in ("device", "precision"):
                versions[name].add(version)
    if not versions:
        return
    yield Heading(text="Versions")
    yield Table(
        title="Versions",
        columns=["Package", "Version"],
        texts=2,
        groups=[
            Group(
                title="",
                rows=[
                    [Cell(text=word(name)), Cell(text=listed([_version(value) for value in sorted(those)]))]
                    for name, those in sorted(versions.items())
                ],
            )
        ],
    )
    if any(len(those) > 1 for those in versions.values()):
        yield Paragraph(text="Cells ran with different versions of the packages.", is_warning=True)


def _mixed(rows: Sequence[ResultRow]) -> Iterator[Part]:
    """Warn of cells that ran elsewhere than others: a run that is gone on with on another machine, say."""
    for name in ("device", "precision"):
        if len({row.versions[name] for row in rows if name in row.versions and row.kind not in ("sweep", "teacher")}) > 1:
            yield Paragraph(
                text=f"Not all students were trained with the same {name}: some of a difference may be due to that.",
                is_warning=True,
            )


def _version(text: str) -> str | Name:
    return text if text.replace(".", "").isalnum() and text.isascii() else Name(text)
