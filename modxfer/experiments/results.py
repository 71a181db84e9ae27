"""The results of an experiment: one row a cell, in a file that only grows."""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from modxfer.errors import FormatError, OutputError
from modxfer.paths import write_aside

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
"""Of a line of the file, and part of every cell's id: results of another version are made anew."""

RESULTS = "results.jsonl"
CELLS = "cells.json"
"""The cells of the plan that was run last; rows of others are those of an older plan."""

Kind = Literal["sweep", "teacher", "default", "transferred", "control"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """What one cell measured.

    Attributes:
        cell: Id of the cell: a hash of all that decides its result.
        plan: Name of the plan.
        kind: "sweep" (the default student at one learning rate), "teacher", "default", "transferred" or "control".
        pair: Name of the teacher-student pair; a teacher's own row has each teacher's name here.
        relation: "matching", "incompatible", or "teacher" for a teacher's own row.
        teacher: Name of the teacher.
        student: Name of the student; None for a teacher's own row.
        method: "lora" or "bottleneck".
        layers: The layer map; None where nothing was moved.
        aligner: The aligner that was asked for; None where nothing was moved.
        used_aligner: The aligner that was used; None where nothing was moved.
        head: "new", or "kept" for one that was moved.
        control: "random-norm", "random-gather" or "head-only"; None otherwise.
        task: Name of the task.
        language: Language tag, or the name that the plan gives the data.
        seed: Seed of initialisation, order and dropout.
        learning_rate: The highest learning rate.
        steps: Optimiser steps that were made.
        metric: The task's main metric.
        value: Its value on the test split after training; None for a cell that failed.
        zero_shot: The same before training.
        validation: Its best value on the validation split after the start: step 0 is never taken.
        interval: 95 % bootstrap interval of `value`, low and high.
        metrics: All metrics on the test split after training.
        curve: Steps and the main metric on the validation split at these, step 0 first.
        test: What the test split is: `SplitRecord.as_json()`.
        seconds: Time that the cell took.
        error: What went wrong; None if nothing.
        versions: Versions of the packages that ran it, device and precision too.
        notes: What to know when reading the value, such as how the learning rate was chosen.
    """

    cell: str
    plan: str
    kind: Kind
    pair: str
    relation: str
    teacher: str
    student: str | None
    method: str
    layers: str | None
    aligner: str | None
    used_aligner: str | None
    head: str
    control: str | None
    task: str
    language: str
    seed: int
    learning_rate: float
    steps: int
    metric: str
    value: float | None
    zero_shot: float | None
    validation: float | None
    interval: tuple[float, float] | None
    metrics: Mapping[str, float]
    curve: tuple[tuple[int, float], ...]
    test: Mapping[str, Any]
    seconds: float
    error: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give what a line of the file holds.

        Returns:
            Plain values.
        """
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        plain: dict[str, Any] = json.loads(json.dumps({"format_version": FORMAT_VERSION, **values}, default=dict))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ResultRow":
        """Read what `as_json` gave.

        Args:
            values: Plain values.

        Returns:
            The row.

        Raises:
            FormatError: they are of another version, or no row.
        """
        found = values.get("format_version")
        if found != FORMAT_VERSION:
            raise FormatError(
                f"A result has format version {str(found)[:40]!r}, and this modxfer reads version {FORMAT_VERSION}.",
                do="Read it with the modxfer that wrote it, or begin in another folder with `--output`.",
            )
        known = {item.name for item in fields(cls)}
        given = {name: value for name, value in values.items() if name != "format_version"}
        odd = sorted(known ^ set(given))
        if odd:
            raise FormatError(
                f"A result has other fields than a row of version {FORMAT_VERSION}: {', '.join(odd)[:200]}.",
                do="Begin in another folder with `--output`.",
            )
        interval = given["interval"]
        return cls(
            **{
                **given,
                "interval": None if interval is None else (interval[0], interval[1]),
                "curve": tuple((step, value) for step, value in given["curve"]),
                "notes": tuple(given["notes"]),
            }
        )


def shown_layers(layers: str | None) -> str | None:
    """Name a layer map as results do: one that is a file without its folders.

    Args:
        layers: What the plan says; None where nothing is moved.

    Returns:
        The name.
    """
    return Path(layers).name if layers is not None and Path(layers).is_absolute() else layers


def append_row(path: Path, row: ResultRow) -> None:
    """Add a row to the file, on disk when this returns. One process at a time may do so.

    Args:
        path: The file; made if it is not there.
        row: The row.

    Raises:
        OutputError: it cannot be written.
    """
    line = (json.dumps(row.as_json(), sort_keys=True, allow_nan=False) + "\n").encode()
    try:
        with path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(
            f"Cannot write the result of a cell to `{path}`: {error.strerror}.", do="Make room, and run it again: it goes on."
        ) from error


def read_rows(path: Path, *, repair: bool = False) -> tuple[ResultRow, ...]:
    """Read the rows of a file. Of several rows of one cell the last counts.

    A last line without an end was being written when its process was killed: it is left out, and a warning logged.

    Args:
        path: The file; one that is not there has no rows.
        repair: Cut such a line off the file, so that more can be added.

    Returns:
        The rows, sorted by what they are of.

    Raises:
        FormatError: a line is no row, or of another version.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        logger.warning("The last line of `%s` was cut off when it was written, and is left out.", path)
        if repair:
            os.truncate(path, end)
    found: dict[str, ResultRow] = {}
    for number, line in enumerate(content[:end].splitlines(), 1):
        try:
            row = ResultRow.from_json(_object(line))
        except FormatError as error:
            raise FormatError(f"Line {number} of `{path}` cannot be read. {error.what}", do=error.do) from error
        found[row.cell] = row
    return tuple(sorted(found.values(), key=_order))


def read_results(folder: Path) -> tuple[ResultRow, ...]:
    """Read the results of the plan that was run last in a folder.

    Args:
        folder: The folder of an experiment.

    Returns:
        Its rows, sorted by what they are of, under the name that the plan has now.

    Raises:
        FormatError: there are no results, or they cannot be read.
    """
    path = folder / RESULTS
    if not path.is_file():
        raise FormatError(f"`{folder}` holds no `{RESULTS}`.", do="Name the folder that `modxfer experiment run` wrote.")
    rows = read_rows(path)
    content = _read_cells(folder)
    if content is None:
        return rows
    plan = content.get("plan")
    kept = (row for row in rows if row.cell in content["cells"])
    return tuple(replace(row, plan=plan) if isinstance(plan, str) else row for row in kept)


def count_waiting(folder: Path, rows: Iterable[ResultRow]) -> int:
    """Count the cells of the plan that was run last that have no result yet.

    Args:
        folder: The folder of an experiment.
        rows: Its rows.

    Returns:
        How many; 0 where the folder does not say which cells there are.

    Raises:
        FormatError: what the folder says of its cells cannot be read.
    """
    content = _read_cells(folder)
    return 0 if content is None else len(content["cells"] - {row.cell for row in rows})


def write_cells(folder: Path, cells: Iterable[str], *, plan: str) -> None:
    """Write down which cells belong to the plan that is run.

    Args:
        folder: The folder of the experiment.
        cells: Their ids.
        plan: Name of the plan; it is no part of the ids, so rows that are there may have another.
    """
    content = {"format_version": FORMAT_VERSION, "plan": plan, "cells": sorted(cells)}
    write_aside(folder / CELLS, json.dumps(content, indent=1) + "\n")


def _read_cells(folder: Path) -> dict[str, Any] | None:
    """Read which cells belong to the plan that was run last, as a set; None if that was never written down."""
    try:
        content = json.loads((folder / CELLS).read_text(encoding="utf-8"))
        return {**content, "cells": set(content["cells"])}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"Cannot read `{folder / CELLS}`.", do="Run the plan again; results that are there stay.") from error


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FormatError("It is no JSON.", do="Remove the line; its cell is run again.") from error
    if not isinstance(values, dict):
        raise FormatError("It is no JSON object.", do="Remove the line; its cell is run again.")
    return values


def _order(row: ResultRow) -> tuple[Any, ...]:
    places = [row.task, row.language, row.pair, row.method, row.kind, row.control, row.layers, row.aligner, row.head]
    return (*(str(place or "") for place in places), row.learning_rate, row.seed, row.cell)
