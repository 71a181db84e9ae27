"""Writing the report of an experiment: markdown, HTML, CSV and pictures."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from modxfer.errors import OutputError, TrainingError
from modxfer.experiments.report.blocks import Block, failure, latest, make_blocks
from modxfer.experiments.report.curves import check_matplotlib, draw_curves
from modxfer.experiments.report.document import (
    Bullets,
    Document,
    Heading,
    Paragraph,
    Part,
    Picture,
    Section,
    Text,
    joined,
    listed,
    plain,
)
from modxfer.experiments.report.findings import findings, warnings
from modxfer.experiments.report.markdown import as_markdown
from modxfer.experiments.report.page import as_page
from modxfer.experiments.report.record import what_was_run
from modxfer.experiments.report.spreadsheets import averages_csv, comparisons_csv, curves_csv, rows_csv
from modxfer.experiments.report.tables import FEWER, curve_table, language_table, results_table, sign_table
from modxfer.experiments.report.wording import block_name, count, pair_name, without_folders, word
from modxfer.experiments.results import ResultRow

_SLUG = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report that was written.

    Attributes:
        output: Its folder.
        files: Names of its files, sorted.
        cells: Number of cells.
        failed: How many of them failed.
        findings: What was found: a sentence or more for each pair, method and task.
        warnings: What a reader must know before believing it.
    """

    output: Path
    files: tuple[str, ...]
    cells: int
    failed: int
    findings: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Give what `experiment report --json` prints.

        Returns:
            Plain values.
        """
        return {
            "output": str(self.output),
            "files": list(self.files),
            "cells": self.cells,
            "failed": self.failed,
            "findings": list(self.findings),
            "warnings": list(self.warnings),
        }


def write_report(rows: Sequence[ResultRow], output: Path, *, command: str | None = None, waiting: int = 0) -> Report:
    """Write what an experiment's rows show. The same rows give the same report.

    Args:
        rows: The rows of its results file.
        output: The folder to write into; files of an older report are replaced, and others left alone.
        command: The command that made the rows, to be shown; None if it is not known.
        waiting: Cells of the plan that have no row yet.

    Returns:
        What was written.

    Raises:
        TrainingError: there are no rows, or two cells measured the same thing with other settings.
        UsageError: a row is of a task that there is not.
        OutputError: the folder cannot be written.
        DependencyError: matplotlib is not installed.
    """
    if not rows:
        raise TrainingError("There are no results to report.", do="Run the plan first: modxfer experiment run PLAN.yaml.")
    check_matplotlib()
    kept = [replace(row, error=without_folders(row.error)) if row.error else row for row in latest(rows)]
    blocks = make_blocks(kept)
    _make_folder(output)
    pictures = _pictures(blocks)
    minds = [*_unfinished(waiting), *warnings(blocks)]
    document = make_document(kept, blocks, pictures, command=command, minds=minds)
    texts = {
        "results.csv": rows_csv(kept),
        "tables.csv": averages_csv(blocks),
        "comparisons.csv": comparisons_csv(blocks),
        "curves.csv": curves_csv(blocks),
        "report.md": as_markdown(document),
        "report.html": as_page(document),
    }
    files = {picture.file: picture.png for picture in pictures.values()}
    files |= {name: text.encode() for name, text in texts.items()}
    _write(output, files)
    return Report(
        output=output,
        files=tuple(sorted(files)),
        cells=len(kept),
        failed=sum(failure(row) is not None for row in kept),
        findings=tuple(f"{plain(_name(block, blocks))}: {plain(text)}" for block in blocks for text in findings(block)),
        warnings=tuple(plain(text) for text in minds),
    )


def make_document(
    rows: Sequence[ResultRow],
    blocks: Sequence[Block],
    pictures: Mapping[int, Picture],
    *,
    command: str | None,
    minds: Sequence[Text],
) -> Document:
    """Put a report together.

    Args:
        rows: The rows, one a cell.
        blocks: The same in order.
        pictures: The blocks' learning curves, by the block's place.
        command: The command that made the rows.
        minds: What a reader must know before believing it.

    Returns:
        The report.
    """
    plans = listed([word(plan) for plan in sorted({row.plan for row in rows})])
    sections = [
        Section(title="What was found", parts=_found(blocks, minds)),
        Section(title="Results", parts=_results(blocks)),
        Section(title="Wins, ties and losses", parts=_signs(blocks)),
        Section(title="Languages", parts=_languages(blocks)),
        Section(title="Learning curves", parts=_curves(blocks, pictures)),
        what_was_run(rows, blocks, command=command),
    ]
    return Document(title=joined("Experiment: ", plans), sections=[section for section in sections if section.parts])


def _unfinished(waiting: int) -> Iterator[Text]:
    if waiting:
        have = "has" if waiting == 1 else "have"
        yield f"This is not the whole experiment: {count(waiting, 'cell')} of the plan {have} not run yet."


def _found(blocks: Sequence[Block], minds: Sequence[Text]) -> list[Part]:
    parts: list[Part] = [Paragraph(text=text, is_warning=True) for text in minds]
    if not blocks:
        return [*parts, Paragraph(text="There are no cells of a student yet, and so nothing to compare.")]
    for block in blocks:
        parts += [Heading(text=_name(block, blocks)), Bullets(items=findings(block))]
    return parts


def _results(blocks: Sequence[Block]) -> list[Part]:
    parts: list[Part] = []
    for _, group in groupby(blocks, key=lambda block: (block.plan, block.relation, block.pair, block.method)):
        those = list(group)
        first = those[0]
        plan = joined(word(first.plan), ": ") if _has_plans(blocks) else ""
        parts += [Heading(text=joined(plan, pair_name(first), ", ", word(first.method))), _models(first), results_table(those)]
    if not parts:
        return []
    several = any(len(block.languages) > 1 for block in blocks)
    seeds = max(len(block.seeds) for block in blocks)
    return [Paragraph(text=_how_to_read(several_languages=several, one_seed=seeds < 2)), *parts]


def _models(block: Block) -> Paragraph:
    return Paragraph(text=joined("Teacher ", word(block.teacher_name), ", student ", word(block.student_name), "."))


def _how_to_read(*, several_languages: bool, one_seed: bool) -> str:
    over = "mean over languages of the mean over seeds" if several_languages else "mean over seeds"
    averages = " of the averages over languages" if several_languages else ""
    deviation = (
        "There is one seed, and so no deviation." if one_seed else f"± is the standard deviation over seeds{averages} (n − 1)."
    )
    return (
        f"On the test split: {over}. {deviation} REL: difference to the teacher. Zero-shot: before training. Gain: difference "
        "to the default student at the same language and seed. In REL and gain, above 0 is better, whichever way the metric "
        f"runs. Bold: the best student, controls included. {FEWER}: over fewer values than the fullest row, and never bold. "
        "–: not measured, or not to be had."
    )


def _signs(blocks: Sequence[Block]) -> list[Part]:
    parts: list[Part] = []
    for block in blocks:
        table = sign_table(block)
        if table is not None:
            parts += [Heading(text=_name(block, blocks)), table]
    if not parts:
        return []
    text = (
        "Each transferred student against the default student and the controls, at the same language and seed: wins / ties / "
        "losses. A tie is equality after rounding to the 2 decimals that the tables show. p: exact two-sided sign test, ties "
        "left out, not corrected for the number of tests. It takes each language and seed for one independent trial, and the "
        "seeds of one language share its test split, and its teacher's module where there is one for all."
    )
    return [Paragraph(text=text), *parts]


def _languages(blocks: Sequence[Block]) -> list[Part]:
    parts: list[Part] = []
    for block in blocks:
        table = language_table(block)
        if table is not None:
            parts += [Heading(text=_name(block, blocks)), table]
    return [Paragraph(text="Means over seeds, on the test split. Bold: the best student."), *parts] if parts else []


def _curves(blocks: Sequence[Block], pictures: Mapping[int, Picture]) -> list[Part]:
    parts: list[Part] = []
    for index, picture in pictures.items():
        parts += [Heading(text=_name(blocks[index], blocks)), picture]
    if not parts:
        return []
    text = (
        "The main metric on the validation split: mean over seeds, and a band of one standard deviation where there is more "
        "than one. Step 0 is before training. A line goes as far as its shortest run; between the steps at which a run was "
        "measured, it counts with the straight line between them."
    )
    return [Paragraph(text=text), *parts]


def _pictures(blocks: Sequence[Block]) -> dict[int, Picture]:
    pictures: dict[int, Picture] = {}
    taken: set[str] = set()
    for index, block in enumerate(blocks):
        png, table = draw_curves(block), curve_table(block)
        if png is None or table is None:
            continue
        file = _file(block, taken)
        taken.add(file)
        pictures[index] = Picture(file=file, png=png, alternative=_alternative(block), table=table)
    return pictures


def _file(block: Block, taken: set[str]) -> str:
    """Name a picture's file: only letters, digits, dots and dashes, and none that is taken, on any file system."""
    parts = (block.pair, block.method, block.task)
    slug = "-".join(re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-.")[:_SLUG] or "x" for part in parts)
    names = (f"curves-{slug}{f'-{number}' if number > 1 else ''}.png" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def _alternative(block: Block) -> str:
    """Describe a picture. Not every renderer takes a code span there, so names that would need one are left to the heading."""
    name = joined(block_name(block))
    shown = plain(name) if all(isinstance(piece, str) for piece in name) else "the pair in the heading"
    return f"Learning curves of {shown}. The table below holds the same numbers."


def _name(block: Block, blocks: Sequence[Block]) -> Text:
    return joined(word(block.plan), ": ", block_name(block)) if _has_plans(blocks) else block_name(block)


def _has_plans(blocks: Sequence[Block]) -> bool:
    return len({block.plan for block in blocks}) > 1


def _write(output: Path, files: Mapping[str, bytes]) -> None:
    """Write files aside, all of them, and only then put them in place."""
    try:
        with tempfile.TemporaryDirectory(prefix=".report-", dir=output) as name:
            for file, content in files.items():
                (Path(name) / file).write_bytes(content)
            for file in files:
                (Path(name) / file).replace(output / file)
    except OSError as error:
        raise _write_error(output, error) from error


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _write_error(output, error) from error


def _write_error(output: Path, error: OSError) -> OutputError:
    return OutputError(
        f"Cannot write the report to `{output}`: {error.strerror or error}.", do="Name another folder with `--output`."
    )
