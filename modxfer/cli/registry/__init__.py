"""`modxfer registry`: keep a registry of modules and alignment maps. One file a command."""

import typer

from modxfer.cli.registry import add, build, check, importing, init, rules, schema, search, show

app = typer.Typer(
    help="Keep a registry of modules and alignment maps.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init", short_help="Make a registry in a folder.")(init.init)
app.command("add", short_help="Write the entry of a module or alignment map.")(add.add)
app.command("check", short_help="Check the entries of a registry.")(check.check)
app.command("rules", short_help="List what is checked.")(rules.rules)
app.command("search", short_help="Search a registry.")(search.search)
app.command("show", short_help="Show an entry, with its lineage.")(show.show)
app.command("build", short_help="Build the web page of a registry.")(build.build)
app.command("schema", short_help="Print the JSON Schema of entries.")(schema.schema)
app.command("import", short_help="Make entries of another registry's.")(importing.import_)
