"""Building the page of a registry: a folder of plain files that any web server, or none, can show."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from modxfer.errors import OutputError
from modxfer.paths import check_free, staged_folder
from modxfer.registry.card_text import escape
from modxfer.registry.entries.fields import ID_PART
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import FOLDERS, Settings
from modxfer.registry.site.content import Content, read_content, relate
from modxfer.registry.site.pages import alignment_page, index_page, module_page
from modxfer.registry.site.tables import alignment_rows, module_rows, summary

ASSETS = ("icon.svg", "site.css", "site.js")

_PAGE = re.compile(rf"(modules|alignments)/{ID_PART}/{ID_PART}\.html")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A page that was built.

    Attributes:
        output: Its folder.
        modules: Number of modules on it.
        alignments: Number of alignment maps on it.
        files: Number of files in the folder.
        left_out: Files of the registry with which something is wrong, in order; they are not on the page.
    """

    output: Path
    modules: int
    alignments: int
    files: int
    left_out: tuple[str, ...]

    @property
    def first(self) -> Path:
        """The page to open."""
        return self.output / "index.html"

    def as_json(self) -> dict[str, object]:
        """Give what `registry build --json` prints.

        Returns:
            Plain values.
        """
        return {
            "output": str(self.output),
            "modules": self.modules,
            "alignments": self.alignments,
            "files": self.files,
            "left_out": list(self.left_out),
        }


def build(registry: Registry, target: Path, *, force: bool = False) -> Built:
    """Build the page of a registry. The same registry gives the same bytes.

    Args:
        registry: The registry.
        target: The folder to write.
        force: Replace a folder that exists.

    Returns:
        What was built, and what was left out.

    Raises:
        EntryError: what the registry is called cannot be read.
        OutputError: the folder exists (without `force`), holds entries of the registry, or cannot be written.
    """
    check_free(target, force=force)
    _check_apart(registry, target)
    content, left_out = read_content(registry)
    files = 0
    with staged_folder(target, force=force) as folder:
        for path, text in render(content):
            _write(folder, path, text)
            files += 1
    return Built(
        output=target,
        modules=len(content.modules),
        alignments=len(content.alignments),
        files=files,
        left_out=left_out,
    )


def _check_apart(registry: Registry, target: Path) -> None:
    """Refuse a folder that the registry's files lie in, or could: with `force` they would be deleted."""
    root, output = registry.root.resolve(), target.resolve()
    if output in (root, *root.parents) or any(output.is_relative_to(root / folder) for folder in FOLDERS):
        raise OutputError(
            f"The page in `{target}` would take the place of entries of the registry `{registry.name}`.",
            do="Name another folder with `--output`.",
        )


def render(content: Content) -> Iterator[tuple[str, str]]:
    """Write the files of a page. Nothing is trusted here, though the entries should have been checked.

    Args:
        content: What is shown.

    Yields:
        Paths in the page's folder, and what the files hold.
    """
    relations = relate(content)
    modules, alignments = module_rows(content, relations), alignment_rows(content, relations)
    yield "index.html", index_page(content, modules, alignments)
    for module in content.modules.values():
        yield f"modules/{module.id}.html", module_page(module, content, relations)
    for alignment in content.alignments.values():
        yield f"alignments/{alignment.id}.html", alignment_page(alignment, content, relations)
    summaries = {"modules": summary(modules, relations.names), "alignments": summary(alignments, relations.names)}
    yield "index.json", _index(content.settings, summaries)
    yield "README.md", _readme(content.settings)
    yield ".nojekyll", ""
    own = resources.files("modxfer.registry.site") / "assets"
    yield from ((f"assets/{name}", (own / name).read_text("utf-8")) for name in ASSETS)


def _write(folder: Path, path: str, text: str) -> None:
    target = folder / path
    if "/" in path:
        assert _PAGE.fullmatch(path) or path.removeprefix("assets/") in ASSETS, path
        target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8", newline="\n")


def _index(settings: Settings, entries: Mapping[str, object]) -> str:
    values = {"format_version": 1, "title": settings.title, "description": settings.description, **entries}
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def _readme(settings: Settings) -> str:
    """Write what a static Space on the Hub reads; GitHub Pages does not mind it."""
    title = json.dumps(settings.title)  # JSON is YAML
    return f"---\ntitle: {title}\nsdk: static\napp_file: index.html\n---\n\n# {escape(settings.title)}\n\nOpen `index.html`.\n"
