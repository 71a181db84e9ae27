"""Tables of what `inspect` found."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from modxfer.cli.output import human_size
from modxfer.cli.tables import facts, grid
from modxfer.registry import card_text
from modxfer.registry.card_text import items, mapping
from modxfer.registry.inspection import header_bytes
from modxfer.registry.reports import BaseReport, ModuleReport, PieceReport


def module_tables(report: ModuleReport) -> Iterator[RenderableType]:
    """Show a module.

    Args:
        report: The module.

    Yields:
        Facts, then its pieces, or its tensors where its pieces are unknown.
    """
    inner = "rank" if report.method == "lora" else "bottleneck width"
    head = f"{report.head}, {report.labels} labels" if report.head else "none" if report.pieces else ""
    yield facts(
        {
            "module": f"{report.repository} at {report.revision}" if report.repository else str(report.folder),
            "name": report.name,
            "format": report.format,
            "method": report.method,
            inner: ", ".join(map(str, report.inner_sizes)),
            "scaling": ", ".join(f"{factor:.4g}" for factor in report.scalings),
            "base model": _base_line(report),
            "data sets": ", ".join(report.datasets),
            "languages": ", ".join(report.languages),
            "licence": report.licence or "",
            "head": head,
            "trained": _training_line(report),
            "results": "\n".join(map(_result_line, report.results)),
            "size": f"{len(report.tensors)} tensors, {report.parameters:,} parameters, {human_size(report.size_bytes)}",
        }
    )
    yield ""
    if report.pieces:
        yield _pieces_table(report.pieces)
    else:
        yield Text(report.unread)
        yield ""
        yield _tensors_table(report)


def _training_line(report: ModuleReport) -> str:
    training = report.training
    data, fit = mapping(mapping(training.get("data")).get("train")), mapping(training.get("fit"))
    if not training:
        return ""
    best = card_text.number(fit.get("best_value"), 2)
    return (
        f"for {_brief(training.get('task'))} on {_brief(data.get('type') or data.get('name'))}, "
        f"{card_text.number(fit.get('steps'))} steps; "
        f"best {_brief(fit.get('metric'))} {best} at step {card_text.number(fit.get('best_step'))}"
    )


def _result_line(result: Mapping[str, Any]) -> str:
    data = mapping(result.get("dataset"))
    where = " ".join(_brief(data[key]) for key in ("type", "name", "split", "part") if data.get(key))
    low, high = (*items(result.get("interval")), None, None)[:2]
    return (
        f"{_brief(result.get('metric'))} {card_text.number(result.get('value'), 2)}"
        f"{f' ({card_text.number(low, 2)} to {card_text.number(high, 2)})' if low is not None else ''} on {where or 'no data'}"
        f"{', ' + _brief(result['stage']) if result.get('stage') else ''}"
    )


def _brief(text: object) -> str:
    """Records may be of anyone: one line, not too long."""
    return card_text.one_line(text, limit=80)


def base_tables(report: BaseReport) -> Iterator[RenderableType]:
    """Show a base model.

    Args:
        report: The base model.

    Yields:
        Facts, then its roles.
    """
    yield facts(
        {
            "base model": report.name + (f" at {report.revision}" if report.revision else f" in {report.folder}"),
            "family": f"{report.family} ({report.attention})"
            + ("; not in the table, its roles were read off its submodules" if report.inferred else ""),
            "layers": ", ".join(f"{stack} {depth}" for stack, depth in report.depths.items()),
            "widths": ", ".join(f"{name} {width}" for name, width in report.widths.items()),
            "weights": _weights_line(report),
        }
    )
    yield ""
    table = grid("", "role", "submodule", "input", "output", right=("input", "output"))
    for role in report.roles:
        table.add_row(role.stack, role.role, role.path, str(role.reads), str(role.writes))
    yield table
    yield ""
    yield "A site is a role's input or output; widths are in units."


def _base_line(report: ModuleReport) -> str:
    base = report.base
    extra = [base.model_type or "", f"{base.hidden_size} units" if base.hidden_size else ""]
    known = ", ".join(word for word in extra if word)
    name = (base.name or "not named") + (f" at {base.revision}" if base.revision else "")
    return f"{name} ({known})" if known else name


def _weights_line(report: BaseReport) -> str:
    weights = report.weights
    if weights is None:
        return "not on this machine"
    size = f"{human_size(weights.size_bytes)} in {len(weights.files)} file{'s' * (len(weights.files) > 1)}"
    if weights.parameters is None:
        return f"{size} (pickles, not opened)"
    return f"{weights.tensors} tensors, {weights.parameters:,} parameters, {'/'.join(weights.dtypes)}, {size}"


def _pieces_table(pieces: Iterable[PieceReport]) -> Table:
    """One row for each role and shape, however many layers have it."""
    table = grid("layers", "role", "reads", "writes", "tensors", "size", right=("size",))
    rows: dict[tuple[str, ...], list[PieceReport]] = {}
    for piece in pieces:
        rows.setdefault((piece.stack, piece.role, piece.reads, piece.writes, _shapes(piece.tensors)), []).append(piece)
    for (stack, role, reads, writes, shapes), same in rows.items():
        layers = [piece.layer for piece in same if piece.layer is not None]
        size = human_size(sum(piece.size_bytes for piece in same))
        table.add_row(f"{stack} {ranges(layers)}".strip(), role, reads, writes, shapes, size)
    return table


def _tensors_table(report: ModuleReport) -> Table:
    """One row for each key and shape; `#` stands for the first number in a key."""
    table = grid("tensor", "#", "dtype", "shape", "size", right=("size",))
    rows: dict[tuple[str, str, str], list[tuple[int | None, int]]] = {}
    for header in report.tensors:
        number = re.search(r"(?<=\.)\d+(?=\.)", header.key)
        key = header.key if number is None else f"{header.key[: number.start()]}#{header.key[number.end() :]}"
        layer = None if number is None else int(number[0])
        shape = "x".join(map(str, header.shape)) or "scalar"
        rows.setdefault((key, header.dtype, shape), []).append((layer, header_bytes(header)))
    for (key, dtype, shape), same in rows.items():
        layers = [layer for layer, _ in same if layer is not None]
        table.add_row(key, ranges(layers), dtype, shape, human_size(sum(size for _, size in same)))
    return table


def _shapes(tensors: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{part} {'x'.join(map(str, shape)) or 'scalar'}" for part, shape in tensors.items())


def ranges(numbers: Iterable[int]) -> str:
    """Write numbers shortly.

    Args:
        numbers: Whole numbers.

    Returns:
        Runs as "0-3", the rest one by one, in order.
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
