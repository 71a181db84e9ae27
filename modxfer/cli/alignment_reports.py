"""Tables and JSON of alignment maps."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.cli.output import human_size
from modxfer.cli.summary import corpus_line
from modxfer.cli.tables import facts, grid, layer_means, score_tables
from modxfer.registry.store import StoredAlignment
from modxfer.registry.upkeep import DAMAGED, Item, Pruned

_KINDS = {
    "map": "alignment map",
    "damaged": "damaged map, set aside",
    "unfinished": "unfinished map",
    "hash": "remembered hash",
    "listing": "remembered listing",
    "registry": "copy of a registry",
    "lock": "lock",
}
"""What people read of what was pruned."""

_DAY_SECONDS = 86_400


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


def store_table(stored: Iterable[StoredAlignment], *, now: float) -> Table:
    """Show what is stored.

    Args:
        stored: The alignment maps.
        now: The time, in seconds since the epoch.

    Returns:
        The table.
    """
    table = grid("id", "teacher\nstudent", "aligner\nfrom", "mean", "size", "used", right=("mean", "size"))
    for item in stored:
        found, origin = item.alignment, _origin_line(item)
        pair, how, mean = Text("damaged", style="bold red"), Text(origin), ""
        if found is not None:
            pair = Text(f"{found.teacher.name}\n{found.student.name}")
            how, mean = Text(f"{found.aligner}\n{origin}"), f"{found.mean_correlation:.2f}"
        used = f"{time.strftime('%Y-%m-%d', time.localtime(item.used))}\n{_ago(now - item.used)}"
        table.add_row(item.key[:12], pair, how, mean, human_size(item.size_bytes), used)
    for column in (table.columns[0], *table.columns[3:]):
        column.no_wrap = True
    return table


def store_notes(root: Path, stored: Iterable[StoredAlignment], aside: Sequence[Item]) -> Iterator[str]:
    """Say what is wrong in the store, and what to do about it.

    Args:
        root: The store's folder.
        stored: The alignment maps.
        aside: The damaged ones that were set aside.

    Yields:
        Sentences; none where nothing is wrong.
    """
    broken = [item.key[:12] for item in stored if item.alignment is None]
    if broken:
        yield ""
        yield f"Damaged: {', '.join(broken)}."
        yield "A conversion that needs it computes it again; `modxfer align rm ID` removes it."
    if aside:
        count, size = f"{len(aside)} damaged map{'s' * (len(aside) > 1)}", human_size(sum(item.size_bytes for item in aside))
        yield ""
        yield f"Set aside earlier: {count}, {size}, in {root / DAMAGED}"
        yield "`modxfer align prune --damaged --keep-days 0` removes them."


def set_aside_json(root: Path, aside: Sequence[Item]) -> dict[str, Any]:
    """Give what was set aside as plain values.

    Args:
        root: The store's folder.
        aside: The damaged maps that were set aside.

    Returns:
        JSON values.
    """
    return {
        "folder": str(root / DAMAGED),
        "maps": [{"id": item.key, "folder": str(item.path), "size_bytes": item.size_bytes} for item in aside],
        "size_bytes": sum(item.size_bytes for item in aside),
    }


def prune_tables(pruned: Pruned) -> Iterator[RenderableType]:
    """Show what was pruned: maps one by one, the rest by number.

    Args:
        pruned: What was pruned.

    Yields:
        A table, unless it would be empty, and the size of it all.
    """
    table = grid("what", "id", "size", right=("size",))
    small: dict[str, list[Item]] = {}
    for item in pruned.removed:
        if item.kind in ("hash", "listing", "lock"):
            small.setdefault(item.kind, []).append(item)
        else:
            table.add_row(_KINDS[item.kind], item.key[:12], human_size(item.size_bytes))
    for kind, items in small.items():
        what = _KINDS[kind] if len(items) == 1 else f"{len(items)} {_KINDS[kind]}{'es' if kind == 'hash' else 's'}"
        table.add_row(what, "", human_size(sum(item.size_bytes for item in items)))
    if pruned.removed:
        yield table
    yield f"{human_size(pruned.size_bytes)} in all" if pruned.removed else "Nothing"


def in_use_warnings(pruned: Pruned) -> Iterator[str]:
    """Say what was not removed although it is old.

    Args:
        pruned: What was pruned.

    Yields:
        Sentences.
    """
    for item in pruned.in_use:
        yield f"The {_KINDS[item.kind]} `{item.key[:12]}` was left: another process is at work on it. Prune again later."


def pruned_json(pruned: Pruned) -> dict[str, Any]:
    """Give what was pruned as plain values.

    Args:
        pruned: What was pruned.

    Returns:
        JSON values.
    """
    removed, in_use = (
        [{"kind": item.kind, "id": item.key or None, "path": str(item.path), "size_bytes": item.size_bytes} for item in items]
        for items in (pruned.removed, pruned.in_use)
    )
    return {"removed": removed, "in_use": in_use, "size_bytes": pruned.size_bytes}


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
        "origin": None if item.origin is None else dict(item.origin),
        "size_bytes": item.size_bytes,
        "used": item.used,
    }


def _base_line(alignment: AlignmentMap, side: str) -> str:
    record = alignment.teacher if side == "teacher" else alignment.student
    return f"{record.name} ({record.model_type}, {(record.revision or record.fingerprint)[:12]})"


def _origin_line(item: StoredAlignment) -> str:
    if item.origin is None:
        return "computed here"
    repository, revision = item.origin.get("repository"), item.origin.get("revision", "")
    return f"{repository}@{revision[:7]}".rstrip("@") if repository else "unknown"


def _ago(seconds: float) -> str:
    days = max(int(seconds // _DAY_SECONDS), 0)
    return {0: "today", 1: "1 day ago"}.get(days, f"{days} days ago")
