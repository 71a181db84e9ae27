"""Tables and JSON of alignment maps."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.cli.output import human_size
from modxfer.cli.summary import corpus_line
from modxfer.cli.tables import facts, grid, layer_means, score_tables
from modxfer.registry.store import StoredAlignment


def alignment_tables(alignment: AlignmentMap) -> Iterator[RenderableType]:
    """Show an alignment map.

    Args:
        alignment: The map.

    Yields:
        Facts, then the scores by layer and site.
    """
    yield facts(
        {
            "id": alignment.key[:12],
            "teacher": _base_line(alignment, "teacher"),
            "student": _base_line(alignment, "student"),
            "aligner": alignment.aligner,
            "asked for": alignment.requested,
            "because": alignment.reason,
            "corpus": corpus_line(alignment),
            "correlation": f"{alignment.mean_correlation:.2f} on average",
        }
    )
    yield from score_tables(alignment)


def alignment_json(alignment: AlignmentMap) -> dict[str, Any]:
    """Give an alignment map as plain values, without its arrays.

    Args:
        alignment: The map.

    Returns:
        JSON values.
    """
    return {
        "id": alignment.key,
        "teacher": asdict(alignment.teacher),
        "student": asdict(alignment.student),
        "aligner": alignment.aligner,
        "requested": alignment.requested,
        "reason": alignment.reason,
        "parameters": dict(alignment.parameters),
        "corpus": asdict(alignment.corpus),
        "mean_correlation": alignment.mean_correlation,
        "layers": layer_means(alignment),
        "sites": [
            {"layer": title, "student": str(pair.student), "teacher": str(pair.teacher), **asdict(score)}
            for title, pairs in alignment.layers()
            for pair, score in pairs
        ],
        "warnings": list(alignment.warnings),
        "versions": dict(alignment.versions),
    }


def store_table(stored: Iterable[StoredAlignment]) -> Table:
    """Show what is stored.

    Args:
        stored: The alignment maps.

    Returns:
        The table.
    """
    table = grid("id", "teacher", "student", "aligner", "mean", "size", "used", right=("mean", "size"))
    for item in stored:
        used, size = time.strftime("%Y-%m-%d", time.localtime(item.used)), human_size(item.size_bytes)
        found = item.alignment
        cells = ["damaged", "", "", ""]
        if found is not None:
            cells = [found.teacher.name, found.student.name, found.aligner, f"{found.mean_correlation:.2f}"]
        table.add_row(item.key[:12], *cells, size, used)
    return table


def stored_json(item: StoredAlignment) -> dict[str, Any]:
    """Give what is stored of a map as plain values.

    Args:
        item: A stored alignment map.

    Returns:
        JSON values.
    """
    found = item.alignment
    return {
        "id": item.key,
        "folder": str(item.folder),
        "damaged": found is None,
        "teacher": found.teacher.name if found else None,
        "student": found.student.name if found else None,
        "aligner": found.aligner if found else None,
        "corpus": found.corpus.name if found else None,
        "tokens": found.corpus.tokens if found else None,
        "mean_correlation": found.mean_correlation if found else None,
        "size_bytes": item.size_bytes,
        "used": item.used,
    }


def _base_line(alignment: AlignmentMap, side: str) -> str:
    record = alignment.teacher if side == "teacher" else alignment.student
    return f"{record.name} ({record.model_type}, {(record.revision or record.fingerprint)[:12]})"
