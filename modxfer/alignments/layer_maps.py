"""Which teacher layers feed each student layer."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modxfer.errors import UsageError

MODES = ("skip", "last", "avg", "avg-delta")
"""The layer maps that have a name; anything else is an explicit one."""

_LIST = re.compile(r"\s*\d+\s*(,\s*\d+\s*)*", re.ASCII)

Feed = tuple[tuple[int, float], ...]
"""The teacher layers of one student layer, each with its weight; the weights sum to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMap:
    """For each student layer, the teacher layers that feed it.

    Attributes:
        mode: "skip", "last", "avg", "avg-delta" or "explicit".
        feeds: Stack to one feed for each student layer.
    """

    mode: str
    feeds: Mapping[str, tuple[Feed, ...]]

    @property
    def averages_updates(self) -> bool:
        """Whether averages are of whole updates (up @ down), not of factors."""
        return self.mode == "avg-delta"

    def pairs(self) -> Iterator[tuple[str, int, int]]:
        """List every pair of layers that has to be aligned.

        Yields:
            Stack, student layer, teacher layer.
        """
        for stack, feeds in self.feeds.items():
            for student, feed in enumerate(feeds):
                for teacher, _ in feed:
                    yield stack, student, teacher

    def as_lists(self) -> dict[str, list[list[list[int | float]]]]:
        """Give the map as plain lists, for JSON.

        Returns:
            Stack to one list for each student layer, of [teacher layer, weight] pairs.
        """
        return {
            stack: [[[teacher, weight] for teacher, weight in feed] for feed in feeds] for stack, feeds in self.feeds.items()
        }


def layer_map(spec: str, *, teacher: Mapping[str, int], student: Mapping[str, int]) -> LayerMap:
    """Build a layer map from what the user asked for.

    With a teacher of T layers and a student of S, the block of student layer i runs from teacher layer floor(i T / S) up to,
    not including, floor((i + 1) T / S), and holds at least its first layer. So a student as deep as its teacher is fed one to
    one, and in a deeper student neighbours share a teacher layer.

    Args:
        spec: "skip" (first layer of each block), "last" (last layer of each block), "avg" (mean over the block), "avg-delta"
            (mean over the block of whole updates), teacher layers as in "0,2,4", or the path of a JSON table: an object from
            student layer to a teacher layer, a list of them, or an object from teacher layer to weight. Of base models with
            several stacks it is an object from stack to such a table.
        teacher: Number of layers of each of the teacher's stacks.
        student: Number of layers of each of the student's stacks.

    Returns:
        The layer map.

    Raises:
        UsageError: the spec is no known mode, list or file, misses a student layer, or names a layer that is not there.

    Source:
        SKIP and AVG: Klimaszewski et al. 2024, section 3.2.
    Departs from the paper: AVG takes every layer of a block, as the text says; the authors' loader leaves out the last one.
    """
    if set(teacher) != set(student):
        raise UsageError(
            f"The teacher has the stacks {sorted(teacher)} and the student {sorted(student)}.",
            do="Choose a student with the teacher's structure.",
        )
    if spec in MODES:
        feeds = {
            stack: tuple(_named_feed(spec, layer, teacher[stack], depth) for layer in range(depth))
            for stack, depth in student.items()
        }
        return LayerMap(mode=spec, feeds=feeds)
    tables = _explicit_tables(spec, student)
    feeds = {
        stack: tuple(_explicit_feed(tables[stack], layer, teacher[stack]) for layer in range(depth))
        for stack, depth in student.items()
    }
    return LayerMap(mode="explicit", feeds=feeds)


def _named_feed(mode: str, layer: int, teacher_depth: int, student_depth: int) -> Feed:
    start = layer * teacher_depth // student_depth
    stop = max(start + 1, (layer + 1) * teacher_depth // student_depth)
    match mode:
        case "skip":
            return ((start, 1.0),)
        case "last":
            return ((stop - 1, 1.0),)
        case _:
            return tuple((index, 1.0 / (stop - start)) for index in range(start, stop))


def _explicit_tables(spec: str, student: Mapping[str, int]) -> dict[str, Mapping[str, Any]]:
    """Read a comma-separated list or a JSON file into one table for each stack, from student layer (as text) to its feed."""
    said = [int(layer) for layer in spec.split(",")] if _LIST.fullmatch(spec) else _read_table(Path(spec))
    if not isinstance(said, dict) or set(said) != set(student):
        if len(student) != 1:
            raise UsageError(
                f"The layer map `{spec}` does not say which stack it is for, and the base models have the stacks "
                f"{', '.join(student)}.",
                do=f"Give a JSON file with an object such as {json.dumps({stack: [0, 2] for stack in student})}, or use one of "
                f"{', '.join(MODES)}.",
            )
        said = dict.fromkeys(student, said)
    return {stack: _explicit_table(said[stack], spec, depth) for stack, depth in student.items()}


def _explicit_table(table: Any, spec: str, depth: int) -> Mapping[str, Any]:
    """Check that one stack's table has all student layers."""
    if isinstance(table, list):
        table = {str(index): entry for index, entry in enumerate(table)}
    if not isinstance(table, dict) or set(table) != {str(index) for index in range(depth)}:
        found = f"student layers {', '.join(map(str, table))}" if isinstance(table, dict) else "no object"
        raise UsageError(
            f"The layer map `{spec}` gives {found}, and the student has the layers 0 to {depth - 1}.",
            do="Give every student layer exactly once.",
        )
    return table


def _read_table(path: Path) -> Any:
    try:
        is_file = path.is_file()
    except OSError:  # a name that is too long, say
        is_file = False
    if not is_file:
        raise UsageError(
            f"`{path}` is no layer map: not one of {', '.join(MODES)}, no list such as 0,2,4, and no JSON file.",
            do="Give `--layers` one of these.",
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"Cannot read the layer map `{path}`: {error}.", do="Give it a JSON object.") from error


def _explicit_feed(table: Mapping[str, Any], layer: int, teacher_depth: int) -> Feed:
    entry = table[str(layer)]
    if type(entry) is int:  # a bool is no layer, and no weight
        weights = {entry: 1.0}
    elif isinstance(entry, list) and entry and all(type(index) is int for index in entry):
        weights = {index: 1.0 / len(entry) for index in entry}
    elif isinstance(entry, dict) and all(key.isdecimal() and type(weight) in (int, float) for key, weight in entry.items()):
        weights = {int(key): float(weight) for key, weight in entry.items()}
    else:
        weights = {}
    if not weights or min(weights.values()) <= 0 or not math.isclose(math.fsum(weights.values()), 1.0, abs_tol=1e-6):
        raise UsageError(
            f"The layer map gives student layer {layer} `{json.dumps(entry)}`.",
            do="Give a teacher layer, a list of different ones, or an object from teacher layer to weight above 0, with sum 1.",
        )
    for index in weights:
        if not 0 <= index < teacher_depth:
            raise UsageError(
                f"The layer map feeds student layer {layer} from teacher layer {index}, and the teacher has the layers 0 to "
                f"{teacher_depth - 1}.",
                do="Name a layer that is there.",
            )
    return tuple(sorted(weights.items()))
