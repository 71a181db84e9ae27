"""`modxfer registry search`."""

from enum import StrEnum
from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting


class Kind(StrEnum):
    """What an entry is for."""

    MODULE = "module"
    ALIGNMENT = "alignment"


TextArgument = Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Words in the entry, or how they begin.")]
LanguageOption = Annotated[
    list[str] | None, typer.Option("--language", metavar="TAG", help="As in en; pt finds pt-BR too. May come again.")
]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TAG", help="Tag; may come again, and all must be there.")
]
MinimumOption = Annotated[
    list[str] | None, typer.Option("--min-score", metavar="METRIC=N", help="Least score, as in f1=0.8; may come again.")
]
KindOption = Annotated[Kind | None, typer.Option("--kind", help="What the entry is for.")]
FormatOption = Annotated[options.Format | None, typer.Option("--format", help="How the module is stored.")]
FitsOption = Annotated[str | None, typer.Option("--fits", metavar="MODEL", help="Modules for a base model: see above.")]


def search(
    text: TextArgument = None,
    base: Annotated[str | None, typer.Option("--base", metavar="MODEL", help="Base model: Hub id, name, name@commit.")] = None,
    family: Annotated[str | None, typer.Option("--family", metavar="FAMILY", help="Family of the base model.")] = None,
    task: Annotated[str | None, typer.Option("--task", metavar="TASK", help="Task.")] = None,
    method: Annotated[str | None, typer.Option("--method", metavar="METHOD", help="Method, or aligner.")] = None,
    format: FormatOption = None,
    language: LanguageOption = None,
    licence: Annotated[str | None, typer.Option("--license", metavar="LICENSE", help="Licence, as in MIT.")] = None,
    tag: TagOption = None,
    author: Annotated[str | None, typer.Option("--author", metavar="NAME", help="Author, or a word of the name.")] = None,
    kind: KindOption = None,
    min_score: MinimumOption = None,
    fits: FitsOption = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Show N entries at most.")] = 20,
    registry: options.RegistryOption = None,
    offline: options.OfflineOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Search the entries of a registry. Filters must all hold; case never matters.

    With --fits it lists modules for a base model, and modules that an alignment map in the registry or the local store could
    bring there.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.registry.found import show_fits, show_results
        from modxfer.registry.entries.opening import open_registry
        from modxfer.registry.search.query import Query, parse_minimum_score
        from modxfer.registry.search.query import search as search_registry

        query = Query(
            text=" ".join(text or ()),
            base=base,
            family=family,
            task=task,
            method=method,
            format=format,
            licence=licence,
            author=author,
            kind=kind,
            languages=tuple(language or ()),
            tags=tuple(tag or ()),
            scores=tuple(parse_minimum_score(minimum) for minimum in min_score or ()),
        )
        opened = open_registry(registry)
        if fits is None:
            with out.progress("Reading entries", unit="files") as report:
                results = search_registry(opened, query, limit=limit, report=report)
            show_results(out, results)
            return
        from modxfer.paths import home
        from modxfer.registry.search.fits import fits as find_fits
        from modxfer.registry.store import Store

        with out.progress("Reading entries", unit="files") as report:
            found = find_fits(opened, fits, query, store=Store(home()), limit=limit, report=report)
        show_fits(out, found)
