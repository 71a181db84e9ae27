"""What people read of registries and entries. All text of an entry goes through `plain`: it may have been written by anyone."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from modxfer.cli.output import human_size
from modxfer.cli.tables import facts, grid
from modxfer.registry.card_text import one_line
from modxfer.registry.entries.models import AlignmentEntry, ArchiveSource, Base, Entry, ModuleEntry

if TYPE_CHECKING:
    from modxfer.registry.adding.add import Added
    from modxfer.registry.showing import ShownEntry
    from modxfer.registry.starting import Started

_HASH_DIGITS = 12


def plain(text: object) -> str:
    """Make a text of an entry harmless in a terminal.

    Args:
        text: Anything.

    Returns:
        It on one line, without characters that a terminal would obey.
    """
    return one_line(text)


def started_lines(started: "Started") -> Iterator[RenderableType]:
    """Say what was made.

    Args:
        started: The registry.

    Yields:
        Lines.
    """
    yield facts(
        {"registry": plain(started.title), "written": ", ".join(started.written), "left as it was": ", ".join(started.kept)}
    )
    if any(path.startswith(".github/") for path in started.written):
        yield Text("In the workflow write the account of your modxfer where OWNER stands.")


def added_line(added: "Added") -> str:
    """Say what became of an entry.

    Args:
        added: The entry.

    Returns:
        One line.
    """
    if not added.is_changed:
        return f"{added.entry.id} is there already, and says the same: nothing was to be done."
    if not added.is_done:
        return f"Nothing was written: this was a dry run. {added.path} would hold:"
    return f"{added.entry.id} was {'added' if added.is_new else 'replaced'}."


def entry_tables(found: "ShownEntry") -> Iterator[RenderableType]:
    """Show an entry.

    Args:
        found: The entry, with its lineage.

    Yields:
        Facts, files, scores or results, lineage, and commands.
    """
    entry = found.entry
    yield facts(_module_facts(entry) if isinstance(entry, ModuleEntry) else _map_facts(entry))
    if entry.description:
        yield ""
        yield from (Text(plain(line)) for line in entry.description.splitlines() if line.strip())
    yield ""
    yield from _files(entry)
    if isinstance(entry, ModuleEntry):
        yield from _results(entry)
    else:
        yield from _scores(entry)
    if found.ancestors:
        yield ""
        yield _tree(found)
    if found.commands:
        yield ""
        yield from found.commands


def _module_facts(entry: ModuleEntry) -> dict[str, str]:
    method, head = entry.method, entry.head
    settings = {"inner size": method.inner_sizes, "scaling": [f"{factor:.4g}" for factor in method.scalings]}
    return {
        "module": plain(entry.id),
        "title": plain(entry.title),
        "base model": _base(entry.base),
        "its sizes": _sizes(entry.base),
        "method": plain(", ".join([method.name, *(f"{name} {_list(values)}" for name, values in settings.items() if values)])),
        "places": plain(_list(method.roles)),
        "parameters": f"{method.parameters:,}" if method.parameters else "",
        "head": plain(f"{head.task}{f', {head.labels} labels' if head.labels else ''}") if head else "",
        "format": entry.format,
        "task": plain(entry.task or ""),
        "data sets": plain(_list(dataset.name for dataset in entry.datasets)),
        "languages": plain(_list(entry.languages)),
        **_common_facts(entry),
    }


def _map_facts(entry: AlignmentEntry) -> dict[str, str]:
    corpus, scores = entry.corpus, entry.scores
    asked = "" if entry.requested == entry.aligner else f" (asked for: {entry.requested})"
    return {
        "alignment map": plain(entry.id),
        "title": plain(entry.title),
        "teacher": _base(entry.teacher),
        "its sizes": _sizes(entry.teacher),
        "student": _base(entry.student),
        "the student's": _sizes(entry.student),
        "aligner": plain(f"{entry.aligner}{asked}"),
        "corpus": plain(f"{corpus.name}, {corpus.tokens:,} tokens of {corpus.texts:,} texts"),
        "mean correlation": f"{scores.mean_correlation:.4f}",
        "own id": entry.key[:_HASH_DIGITS],
        **_common_facts(entry),
    }


def _common_facts(entry: Entry) -> dict[str, str]:
    return {
        "licence": plain(entry.license),
        "authors": plain(_list(author.name for author in entry.authors)),
        "tags": plain(_list(entry.tags)),
        "homepage": plain(entry.homepage or ""),
        "citation": plain(entry.citation or ""),
    }


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _base(base: Base) -> str:
    return plain(f"{base.name}{f' at {base.revision}' if base.revision else ', at no fixed commit'}")


def _sizes(base: Base) -> str:
    layers = [f"{depth} layers ({stack})" for stack, depth in base.depths.items()]
    return plain(", ".join([base.family, *layers, *(f"{name} {width}" for name, width in base.widths.items())]))


def _files(entry: Entry) -> Iterator[RenderableType]:
    source = entry.source
    if isinstance(source, ArchiveSource):
        size = human_size(source.size_bytes) if source.size_bytes is not None else ""
        yield facts({"archive": plain(source.archive), "sha256": source.sha256, "size": size})
        return
    yield facts({"repository": plain(f"{source.repository} at {source.revision} ({source.branch})")})
    yield ""
    table = grid("file", "size", "sha256", right=("size",))
    for file in source.files:
        table.add_row(Text(plain(file.path)), human_size(file.size_bytes), file.sha256[:_HASH_DIGITS])
    yield table


def _results(entry: ModuleEntry) -> Iterator[RenderableType]:
    if not entry.results:
        return
    yield ""
    table = grid("metric", "value", "data set", "split", "measured by", right=("value",))
    for result in entry.results:
        spread = f" ± {result.deviation:.4g}" if result.deviation is not None else ""
        runs = f" ({result.seeds} runs)" if result.seeds else ""
        cells = (result.metric, f"{result.value:.4g}{spread}{runs}", result.dataset, result.split, result.ran_by)
        table.add_row(*(Text(plain(cell)) for cell in cells))
    yield table


def _scores(entry: AlignmentEntry) -> Iterator[RenderableType]:
    if not entry.scores.layers:
        return
    yield ""
    table = grid("layer: student <- teacher", "mean correlation", right=("mean correlation",))
    for layer, value in entry.scores.layers.items():
        table.add_row(Text(plain(layer)), f"{value:.4f}")
    yield table


def _tree(found: "ShownEntry") -> Tree:
    """Draw a lineage from the entry up to its root."""
    base = found.entry.base.name if isinstance(found.entry, ModuleEntry) else ""
    tree = Tree(Text(plain(f"{found.entry.id} on {base}")))
    below = tree
    for step in found.ancestors:
        how = f"alignment map {step.alignment}" if step.alignment else "no alignment map: the spaces are the same"
        below = below.add(Text(plain(f"made from {step.id}{f' on {step.base}' if step.base else ''}")))
        below.add(Text(plain(f"with {how}, layers {step.layers}")))
        if step.problem:
            below.add(Text(plain(step.problem)))
    return tree
