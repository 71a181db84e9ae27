"""What people read after a conversion or an alignment."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from modxfer.cli.tables import facts, layer_means
from modxfer.registry.card_loading import base_arguments, loading_code

if TYPE_CHECKING:
    from modxfer.alignments.alignment_map import AlignmentMap
    from modxfer.api import Converted, FoundAlignment

_SOURCES = {
    "identity": "stated, not measured",
    "file": "from the folder named",
    "store": "from the store",
    "registry": "from the registry",
    "hub": "published",
    "computed": "computed now",
}


def conversion_summary(converted: "Converted") -> RenderableType:
    """Say what a conversion did.

    Args:
        converted: The conversion.

    Returns:
        A table of facts.
    """
    record = converted.record
    module, tensors = record["module"], record["tensors"]
    return facts(
        {
            "module": f"{module['name']} ({module['method']}, {module['format']} format)",
            "teacher": record["teacher"]["name"],
            "student": record["student"]["name"],
            "layers": layers_line(record["layers"]),
            "alignment": alignment_line(converted.found),
            "because": converted.found.alignment.reason if converted.found.alignment else "",
            "corpus": corpus_line(converted.found.alignment),
            "correlation": correlation_line(converted.found.alignment),
            "head": converted.head,
            "tensors": f"{tensors['converted']} converted",
            "dropped": _lines(record["dropped"]),
            "not exact": _lines(record["approximated"]),
            "noted": _lines(record["notes"]),
            "time": f"{converted.seconds:.1f} s",
        }
    )


def layers_line(layers: Mapping[str, Any]) -> str:
    """Say which teacher layers feed each student layer.

    Args:
        layers: Mode and map, as in `transfer.json`.

    Returns:
        One line for each stack.
    """
    lines = []
    for stack, feeds in layers["map"].items():
        shown = "  ".join(f"{student}<-{_feed(feed)}" for student, feed in enumerate(feeds))
        lines.append(f"{layers['mode']}, {stack}: {shown}")
    return "\n".join(lines)


def alignment_line(found: "FoundAlignment") -> str:
    """Say which alignment was used, and where it came from.

    Args:
        found: The alignment.

    Returns:
        One line.
    """
    origin = f", {found.published['repository']} at {found.published['revision'][:12]}" if found.published else ""
    source = f"{_SOURCES[found.source]}{origin} ({found.seconds:.1f} s)"
    if found.alignment is None:
        return f"identity, {source}"
    alignment = found.alignment
    asked = f", asked for: {alignment.requested}" if alignment.requested != alignment.aligner else ""
    return f"{alignment.aligner}{asked}; {source}; id {alignment.key[:12]}"


def corpus_line(alignment: "AlignmentMap | None") -> str:
    """Say which text an alignment was computed on.

    Args:
        alignment: The map; None where there is none.

    Returns:
        One line; empty where there is no map.
    """
    if alignment is None:
        return ""
    corpus = alignment.corpus
    return f"{corpus.name}: {corpus.tokens:,} matched tokens of {corpus.texts:,} texts, matched by {corpus.matching}"


def correlation_line(alignment: "AlignmentMap | None") -> str:
    """Say how well units correspond: in all, and for each layer.

    Args:
        alignment: The map; None where there is none.

    Returns:
        Some lines; empty where there is no map.
    """
    if alignment is None:
        return ""
    layers = "  ".join(f"{title}: {mean:.2f}" for title, mean in layer_means(alignment).items())
    return f"{alignment.mean_correlation:.2f} on average\n{layers}"


def how_to_load(converted: "Converted") -> Iterator[RenderableType]:
    """Say how to load a converted module.

    Args:
        converted: The conversion; it has been written.

    Yields:
        Lines of Python.
    """
    student = converted.record["student"]
    base = base_arguments(converted.student, student["revision"])
    yield "Load it in Python:"
    for line in loading_code(converted.record, base=base, place=str(converted.output)):
        yield f"  {line}".rstrip()


def _feed(feed: Iterable[Sequence[Any]]) -> str:
    return "+".join(str(teacher) for teacher, *_ in feed)


def _lines(sentences: Iterable[str]) -> str:
    return "\n".join(sentences)
