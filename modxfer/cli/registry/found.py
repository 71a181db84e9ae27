"""What people read after a search. All text of an entry goes through `one_line`: it may have been written by anyone."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from modxfer.cli.output import Output
from modxfer.registry.card_text import one_line

if TYPE_CHECKING:
    from modxfer.registry.search.fits import Fit, Fits
    from modxfer.registry.search.query import Hit, Results


def show_results(out: Output, results: "Results") -> None:
    """Print what a search found.

    Args:
        out: The sink.
        results: What.
    """
    hits = results.hits
    values = {
        "total": results.total,
        "entries": [hit.as_json() for hit in hits],
        "files_with_problems": results.problems,
        "warnings": list(results.warnings),
    }
    out.result(values, *(_hit_lines(hits) if hits else ["Nothing was found."]))
    if results.total > len(hits):
        out.note(f"These are {len(hits)} of {results.total:,}; see more with --limit.")
    _warn(out, results.problems, results.warnings)


def show_fits(out: Output, fits: "Fits") -> None:
    """Print what there is for a base model.

    Args:
        out: The sink.
        fits: What.
    """
    values = {
        "model": {"name": fits.model.name, "revision": fits.model.revision, "fingerprint": fits.model.fingerprint},
        "as_is": {"total": fits.as_is_total, "modules": [fit.as_json() for fit in fits.as_is]},
        "transferable": {"total": fits.transferable_total, "modules": [fit.as_json() for fit in fits.transferable]},
        "files_with_problems": fits.problems,
        "warnings": list(fits.warnings),
    }
    out.result(values, *_fit_lines(fits))
    _warn(out, fits.problems, fits.warnings)


def _warn(out: Output, problems: int, warnings: tuple[str, ...]) -> None:
    if problems:
        count = "1 file has problems and was" if problems == 1 else f"{problems:,} files have problems and were"
        warnings = (*warnings, f"{count} not searched: see `modxfer registry check`.")
    out.warn(warnings)


def _hit_lines(hits: "tuple[Hit, ...]") -> Iterator[RenderableType]:
    for hit in hits:
        yield from _record(hit, on=_bases(hit))


def _record(hit: "Hit", *, on: str) -> Iterator[RenderableType]:
    """Show an entry on lines of its own: a table of 80 columns would cut ids in pieces, which nobody could copy."""
    method = f"alignment map, {hit.method}" if hit.kind == "alignment" else hit.method
    yield Text(one_line(hit.id), style="bold", no_wrap=True)
    yield _indented(hit.title)
    yield _indented("; ".join(filter(None, (f"{method}{f' on {on}' if on else ''}", hit.task, _score(hit)))))


def _indented(text: str) -> Padding:
    return Padding(Text(one_line(text)), (0, 0, 0, 2))


def _bases(hit: "Hit") -> str:
    return hit.base.name if hit.teacher is None else f"{hit.teacher.name} -> {hit.base.name}"


def _score(hit: "Hit") -> str:
    if hit.metric is None:
        return ""
    metric = "correlation" if hit.kind == "alignment" else hit.metric
    return f"{metric} {hit.scores[hit.metric]:.4g}"


def _fit_lines(fits: "Fits") -> Iterator[RenderableType]:
    name = one_line(fits.model.name)
    if fits.as_is:
        yield f"For {name}, to be used as they are ({len(fits.as_is)} of {fits.as_is_total:,}):"
        for fit in fits.as_is:
            yield from _record(fit.hit, on="")
            yield _indented(f"the same base model, by its {fit.match}")
    else:
        yield f"No module was found that is for {name}."
    yield ""
    if fits.transferable:
        yield f"An alignment map could bring to {name} ({len(fits.transferable)} of {fits.transferable_total:,}):"
        for fit in fits.transferable:
            yield from _brought(fit)
    else:
        yield f"No known alignment map brings another module to {name}."


def _brought(fit: "Fit") -> Iterator[RenderableType]:
    yield from _record(fit.hit, on=fit.hit.base.name)
    if fit.route is not None:
        yield _indented(f"by the alignment map {fit.route.alignment}, correlation {fit.route.mean_correlation:.2f}")
        yield one_line(fit.route.command)
