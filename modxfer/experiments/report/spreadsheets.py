"""The numbers of a report as CSV: full precision, one thing a line."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from modxfer.experiments.report.blocks import Block, Variant
from modxfer.experiments.report.statistics import Average, average, mean_curve, relative, sign_test
from modxfer.experiments.report.tables import gain
from modxfer.experiments.results import ResultRow

_MAPPINGS = ("metrics", "test", "versions")


def rows_csv(rows: Sequence[ResultRow]) -> str:
    """Write every row of a results file, a line each.

    Args:
        rows: The rows.

    Returns:
        CSV: a column a field; a curve is `step:value` pairs with spaces between them.
    """
    return _write([_flat(row) for row in rows])


def averages_csv(blocks: Sequence[Block]) -> str:
    """Write the tables of results.

    Args:
        blocks: The blocks.

    Returns:
        CSV: a line for each block's teacher, students and controls.
    """
    return _write([_averages(variant, block) for block in blocks for variant in block.variants])


def comparisons_csv(blocks: Sequence[Block]) -> str:
    """Write the sign tests.

    Args:
        blocks: The blocks.

    Returns:
        CSV: a line for each transferred student and each that it is compared with.
    """
    return _write([line for block in blocks for line in _comparisons(block)])


def curves_csv(blocks: Sequence[Block]) -> str:
    """Write the mean learning curves.

    Args:
        blocks: The blocks.

    Returns:
        CSV: a line a step.
    """
    return _write([line for block in blocks for variant in block.students for line in _curve(variant, block)])


def _flat(row: ResultRow) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if field.name in _MAPPINGS:
            flat |= {f"{field.name}.{name}": value[name] for name in sorted(value)}
        elif field.name == "interval":
            flat |= dict(zip(("interval_low", "interval_high"), value or (None, None), strict=True))
        elif field.name == "notes":
            flat["notes"] = " | ".join(value)
        elif field.name == "curve":
            flat["curve"] = " ".join(f"{step}:{point}" for step, point in value)
        else:
            flat[field.name] = value
    return flat


def _what(variant: Variant, block: Block) -> dict[str, Any]:
    key = variant.key
    return {
        "plan": block.plan,
        "pair": block.pair,
        "relation": block.relation,
        "method": block.method,
        "task": block.task,
        "metric": block.metric,
        "kind": key.kind,
        "control": key.control,
        "layers": key.layers,
        "aligner": variant.aligner,
        "head": key.head if key.kind not in ("teacher", "default") else "",
    }


def _averages(variant: Variant, block: Block) -> dict[str, Any]:
    teacher = block.teacher.values if block.teacher else {}
    is_student = variant.key.kind != "teacher"
    gained = average(gain(variant, block)) if variant.key.kind in ("transferred", "control") else None
    rel = relative(variant.values, teacher, is_higher_better=block.is_higher_better) if is_student else None
    return {
        **_what(variant, block),
        "asked": len(variant.asked),
        **_numbers("test", average(variant.values)),
        "relative": rel,
        **_numbers("zero_shot", average(variant.zero_shot)),
        **_numbers("gain", gained),
    }


def _numbers(name: str, value: Average | None) -> dict[str, Any]:
    return {
        f"{name}_mean": value.mean if value else None,
        f"{name}_deviation": value.deviation if value else None,
        f"{name}_seeds": value.seeds if value else 0,
        f"{name}_values": value.places if value else 0,
    }


def _comparisons(block: Block) -> Iterator[dict[str, Any]]:
    for variant in block.transferred:
        for other in (*([block.default] if block.default else []), *block.controls):
            test = sign_test(variant.values, other.values, is_higher_better=block.is_higher_better)
            against = _what(other, block)
            yield {
                **_what(variant, block),
                **{f"against_{name}": against[name] for name in ("kind", "control", "layers", "aligner", "head")},
                "wins": test.wins,
                "ties": test.ties,
                "losses": test.losses,
                "p_value": test.p_value,
            }


def _curve(variant: Variant, block: Block) -> Iterator[dict[str, Any]]:
    for point in mean_curve(variant.curves):
        yield {
            **_what(variant, block),
            "step": point.step,
            "mean": point.average.mean,
            "deviation": point.average.deviation,
            "runs": point.average.places,
        }


def _write(lines: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=_columns(lines), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _columns(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line))
