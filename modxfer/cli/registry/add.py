"""`modxfer registry add`."""

from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli.errors import reporting

ModuleArgument = Annotated[str, typer.Argument(metavar="MODULE", help="A Hub id, or a folder pulled from there.")]
IdOption = Annotated[
    str | None, typer.Option("--id", metavar="NAMESPACE/NAME", help="Its id here.  [default: the repository's]")
]
LicenceOption = Annotated[
    str | None, typer.Option("--license", metavar="LICENSE", help="Its licence.  [default: what its card says]")
]
AuthorOption = Annotated[
    list[str] | None, typer.Option("--author", metavar="NAME", help="Who made it; may come again.  [default: its owner]")
]
TitleOption = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="Its title.  [default: the card's]")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="A tag beside the card's; may come again.")]
TaskOption = Annotated[str | None, typer.Option("--task", metavar="TASK", help="A module's task.  [default: the card's]")]
NoLineageOption = Annotated[bool, typer.Option("--no-lineage", help="Leave out what it was made from.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace another entry of this id.")]


def add(
    module: ModuleArgument,
    registry: options.RegistryOption = None,
    id: IdOption = None,
    license: LicenceOption = None,
    author: AuthorOption = None,
    title: TitleOption = None,
    tag: TagOption = None,
    task: TaskOption = None,
    no_lineage: NoLineageOption = False,
    force: ForceOption = False,
    dry_run: options.DryRunOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Write the entry of a module or an alignment map: from its files, its card and its base model's config.

    No weights are fetched. The entry is checked before it is written; what could not be found is said.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.registry.reports import added_line
        from modxfer.registry.adding.add import add
        from modxfer.registry.adding.choice import EntryChoice
        from modxfer.registry.entries.opening import open_registry

        choice = EntryChoice(
            id=id,
            licence=license,
            authors=tuple(author or ()),
            title=title,
            tags=tuple(tag or ()),
            task=task,
            has_lineage=not no_lineage,
        )
        added = add(module, open_registry(registry), choice, force=force, dry_run=dry_run)
        out.note(*added.notes, added_line(added))
        out.result(added.as_json(), added.text.rstrip("\n") if dry_run else str(added.file))
