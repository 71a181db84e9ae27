"""Starting a registry: a folder with its settings, schemas, a short page on how to use it, and a workflow that checks it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from modxfer.errors import OutputError, UsageError
from modxfer.paths import write_aside
from modxfer.registry.adding.plain_text import is_plain
from modxfer.registry.adding.values import require, takes
from modxfer.registry.card_text import escape
from modxfer.registry.entries.fields import Line, shown
from modxfer.registry.entries.models import FOLDERS, SETTINGS, Settings
from modxfer.registry.entries.schema import schemas
from modxfer.registry.entries.writing import entry_text, refuse_links
from modxfer.registry.workflow import WORKFLOW, workflow

_UNNAMED = "A registry of modules"

_README = """\
# {title}

A registry of PEFT modules, and of the alignment maps that carry them from one base model to another, for
modxfer. Each entry is a YAML file: `modules/<namespace>/<name>.yaml` or `alignments/<namespace>/<name>.yaml`. It pins what it
describes by commit and sha256. `aliases/<namespace>.yaml` gives entries other names, such as `stable`.

All commands run in this folder.

Add a module or an alignment map that is on the Hub. What can be found out is filled in:

```console
modxfer registry add ORGANISATION/NAME
```

Check all entries, as the workflow in `.github/workflows` does for every pull request:

```console
modxfer registry check
```

Before the first push write into that workflow the account that you take modxfer from, where `OWNER` stands.

Search, look at an entry, and use it:

```console
modxfer registry search WORDS
modxfer registry show NAMESPACE/NAME
modxfer convert registry:NAMESPACE/NAME --to MODEL --registry .
```

The JSON Schemas in `schema` tell editors what an entry takes.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A registry that was made.

    Attributes:
        root: Its folder.
        title: What it is called.
        written: Its files that were written, relative to the folder, with "/".
        kept: Those that were there already, and were left as they are.
    """

    root: Path
    title: str
    written: tuple[str, ...]
    kept: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Give what `registry init --json` prints.

        Returns:
            Plain values.
        """
        return {
            "folder": str(self.root),
            "title": self.title,
            "written": list(self.written),
            "kept": list(self.kept),
        }


def start(root: Path, *, title: str | None = None) -> Started:
    """Make a registry in a folder, beside what is there already.

    Args:
        root: The folder; made if there is none.
        title: What to call the registry; None for the folder's name.

    Returns:
        What was made. Files that exist are left as they are.

    Raises:
        UsageError: the title is not one line of plain text.
        OutputError: the folder is a registry already, or cannot be written.
    """
    root = root.expanduser()
    if title is not None and (not is_plain(require(Line, title, option="--title"))):
        raise UsageError(f"`--title`: {shown(title)} is not plain text.", do="Leave out markup, and begin with a word.")
    title = title or _folder_title(root)
    if root.exists() and not root.is_dir():
        raise OutputError(f"`{root}` is a file.", do="Name a folder.")
    if (root / SETTINGS).exists() or (root / SETTINGS).is_symlink():
        raise OutputError(f"`{root}` is a registry already: it holds `{SETTINGS}`.", do="Name another folder.")
    files = dict(_files(title))
    for path in files:
        _check_way(root, path)
    kept = tuple(path for path in files if (root / path).exists())
    written = tuple(path for path in files if path not in kept)
    try:
        for path in written:  # the settings last: they make it a registry
            write_aside(root / path, files[path])
    except OSError as error:
        raise OutputError(
            f"Cannot write `{root}`: {error.strerror or error}.", do="Name a folder that can be written."
        ) from error
    return Started(root=root, title=title, written=written, kept=kept)


def _files(title: str) -> Iterator[tuple[str, str]]:
    yield "README.md", _README.format(title=escape(title))
    yield ".gitattributes", "*.yaml text eol=lf\n"
    yield WORKFLOW, workflow()
    for name, schema in schemas().items():
        yield f"schema/{name}.json", json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    for folder in FOLDERS:
        yield f"{folder}/.gitkeep", ""
    yield SETTINGS, entry_text(Settings(format_version=1, title=title, description="", homepage=None))


def _check_way(root: Path, path: str) -> None:
    """Refuse links, and files where a folder must be."""
    refuse_links(root, path)
    for step in PurePosixPath(path).parents[:-1]:
        if (root / step).exists() and not (root / step).is_dir():
            raise OutputError(f"`{root / step}` is a file, and a registry has a folder there.", do="Move it away.")


def _folder_title(root: Path) -> str:
    name = re.sub(r"\s+", " ", root.resolve().name).strip()
    return name if takes(Line, name) and is_plain(name) else _UNNAMED
