"""What people read after a pull or a push."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table

from modxfer.cli.output import Output, human_size
from modxfer.cli.tables import facts, grid

if TYPE_CHECKING:
    from modxfer.registry.hub.commits import Commit
    from modxfer.registry.publishing import Pushed
    from modxfer.registry.pulling import Pulled


def pulled_table(pulled: "Pulled") -> RenderableType:
    """Say what was fetched.

    Args:
        pulled: What.

    Returns:
        A table of facts.
    """
    base = ""
    if pulled.base is not None:
        at = f" at {pulled.base.revision}" if pulled.base.revision else ""
        base = f"{pulled.base.name or 'not named'}{at}"
    return facts(
        {
            pulled.kind: f"{pulled.repository} at {pulled.revision}",
            "base model": base,
            "id in the store": pulled.key or "",
            "files": f"{', '.join(pulled.files)} ({human_size(pulled.size_bytes)})",
        }
    )


def show_pushed(out: Output, pushed: "Pushed") -> None:
    """Print what was pushed, or what would be.

    Args:
        out: The sink.
        pushed: What.
    """
    out.note(*pushed_table(pushed))
    out.warn(pushed.parcel.warnings)
    if not pushed.is_done:
        out.note("Nothing was pushed: this was a dry run. The card:")
        out.result(pushed.as_json(), pushed.parcel.card.rstrip())
        return
    if not pushed.commit.is_needed:
        out.note("All of it is there already, so there is no new commit.")
    out.result(pushed.as_json(), pushed.url)


def pushed_table(pushed: "Pushed") -> Iterator[RenderableType]:
    """Say what was pushed where.

    Args:
        pushed: What.

    Yields:
        Facts, then the files.
    """
    parcel, commit = pushed.parcel, pushed.commit
    yield facts(
        {
            parcel.kind: f"{commit.repository}, branch {commit.branch}{' (new repository)' if commit.is_new else ''}",
            "licence": parcel.licence,
            "left out": ", ".join(parcel.left_out),
        }
    )
    yield _files_table(commit)


def _files_table(commit: "Commit") -> Table:
    table = grid("file", "size", "", right=("size",))
    for change in commit.changes:
        table.add_row(change.path, human_size(change.size_bytes) if change.kind != "removed" else "", change.kind)
    return table
