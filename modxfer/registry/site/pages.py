"""The pages of a registry, as text."""

from collections.abc import Iterator, Sequence

from modxfer.registry.entries.models import AlignmentEntry, Layers, ModuleEntry
from modxfer.registry.site.charts import correlation_chart, format_number, result_charts
from modxfer.registry.site.commands import alignment_commands, module_commands
from modxfer.registry.site.content import Content, Relations, base_key
from modxfer.registry.site.lineage import LINE, WIDTH, alignment_lineage, describe, module_lineage
from modxfer.registry.site.rendering import templates
from modxfer.registry.site.tables import Row, filters_of

MOST_LISTED = 12
"""Entries that a page of another one lists; a link to the table leads to the rest."""

_ABOVE = "../../"  # from an entry's page to the first one


def index_page(content: Content, modules: Sequence[Row], alignments: Sequence[Row]) -> str:
    """Write the first page.

    Args:
        content: What is shown.
        modules: The rows of the table of modules.
        alignments: The rows of the table of alignment maps.

    Returns:
        HTML.
    """
    return (
        templates()
        .get_template("index.html")
        .render(
            root="",
            settings=content.settings,
            modules=modules,
            alignments=alignments,
            filters=filters_of([*modules, *alignments]),
            counts=list(_counts(content)),
        )
    )


def module_page(entry: ModuleEntry, content: Content, relations: Relations) -> str:
    """Write the page of a module.

    Args:
        entry: The module.
        content: What is shown.
        relations: How it hangs together.

    Returns:
        HTML.
    """
    drawing = module_lineage(entry, content, relations)
    return (
        templates()
        .get_template("module.html")
        .render(
            root=_ABOVE,
            settings=content.settings,
            kind="Module",
            kind_plural="Modules",
            entry=entry,
            names=relations.names.get((entry.folder, entry.id), []),
            commands=module_commands(entry, content, relations),
            charts=result_charts(entry),
            drawing=drawing,
            words=describe(drawing, entry) if drawing else "",
            layer_map=layer_steps(entry.lineage.layers) if entry.lineage else [],
            maps=relations.maps_from.get(base_key(entry.base), []),
            sizes={"width": WIDTH, "line": LINE},
            most_listed=MOST_LISTED,
        )
    )


def alignment_page(entry: AlignmentEntry, content: Content, relations: Relations) -> str:
    """Write the page of an alignment map.

    Args:
        entry: The alignment map.
        content: What is shown.
        relations: How it hangs together.

    Returns:
        HTML.
    """
    drawing = alignment_lineage(entry, relations)
    return (
        templates()
        .get_template("alignment.html")
        .render(
            root=_ABOVE,
            settings=content.settings,
            kind="Alignment map",
            kind_plural="Alignment maps",
            entry=entry,
            names=relations.names.get((entry.folder, entry.id), []),
            commands=alignment_commands(entry, content, relations),
            chart=correlation_chart(entry),
            drawing=drawing,
            words=describe(drawing, entry),
            made=relations.made_with.get(entry.id, []),
            movable=relations.on_base.get(base_key(entry.teacher), []),
            sizes={"width": WIDTH, "line": LINE},
            most_listed=MOST_LISTED,
        )
    )


def layer_steps(layers: Layers) -> list[tuple[str, list[str]]]:
    """Write a layer map for people.

    Args:
        layers: The layer map.

    Returns:
        Each stack of layers, and its layers with those that feed them, as in `1 ← 2`, or `1 ← 2 × 0.5 + 3 × 0.5`.
    """
    return [
        (stack, [f"{layer} ← {_fed_by(feeds)}" for layer, feeds in enumerate(student_layers)])
        for stack, student_layers in layers.map.items()
    ]


def _fed_by(feeds: Sequence[Sequence[int | float]]) -> str:
    whole = len(feeds) == 1 and feeds[0][1] == 1
    return " + ".join(f"{layer}" if whole else f"{layer} × {format_number(weight)}" for layer, weight in feeds) or "none"


def _counts(content: Content) -> Iterator[tuple[int, str]]:
    modules, alignments = content.modules.values(), content.alignments.values()
    bases = {entry.base.name for entry in modules}
    bases |= {base.name for entry in alignments for base in (entry.teacher, entry.student)}
    languages = {language for entry in modules for language in entry.languages}
    counted = {"module": len(modules), "alignment map": len(alignments), "base model": len(bases), "language": len(languages)}
    yield from ((number, name if number == 1 else f"{name}s") for name, number in counted.items())
