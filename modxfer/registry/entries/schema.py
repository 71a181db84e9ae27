"""The JSON Schemas of a registry's files, for editors and for programs in other languages: made from the models."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from modxfer.errors import OutputError
from modxfer.paths import write_aside
from modxfer.registry.entries.models import FORMAT_VERSION, SCHEMAS
from modxfer.registry.entries.writing import refuse_links

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@cache
def schemas() -> Mapping[str, dict[str, Any]]:
    """Make the JSON Schemas, in the dialect of 2020-12.

    They know what can be seen in one field without a table: which fields there are, their types, lengths and patterns.
    `modxfer registry check` knows the rest.

    Returns:
        Kind of file (module, alignment, aliases, registry) to its schema.
    """
    return {name: _schema(name, model.model_json_schema()) for model, name in SCHEMAS.items()}


def choose_schema(kind: str | None = None) -> dict[str, Any]:
    """Choose a schema.

    Args:
        kind: Kind of file; None for all of them.

    Returns:
        Its schema; for all, kind to schema.
    """
    return dict(schemas()) if kind is None else schemas()[kind]


def schema_text(schema: Mapping[str, Any]) -> str:
    """Write a schema as JSON.

    Args:
        schema: The schema.

    Returns:
        Its text, which ends in a line feed.
    """
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schemas(root: Path, kind: str | None = None, *, force: bool = False) -> tuple[Path, ...]:
    """Write schemas to where entries look for them: `schema/<kind>.json` in the registry.

    Args:
        root: The registry's folder; made if it is not there.
        kind: Kind of file; None for all.
        force: Replace files that hold something else, such as the schemas of an older modxfer.

    Returns:
        The files.

    Raises:
        OutputError: there is such a file that holds something else (without `force`), or a link on the way to it.
    """
    texts = {f"schema/{name}.json": schema_text(schema) for name, schema in schemas().items() if kind in (None, name)}
    for path, text in texts.items():
        refuse_links(root, path)
        if not force and (root / path).exists() and (root / path).read_bytes() != text.encode():
            raise OutputError(f"`{root / path}` exists, and is another schema.", do="Replace it with `--force`.")
    for path, text in texts.items():
        write_aside(root / path, text)
    return tuple(root / path for path in texts)


def _schema(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": DIALECT, "$id": f"urn:modxfer:registry:{FORMAT_VERSION}:{name}", **_completed(body)}


def _completed(node: Any) -> Any:
    """Add what the models know and pydantic does not write; leave out defaults that say nothing, as editors offer them."""
    if isinstance(node, list):
        return [_completed(item) for item in node]
    if not isinstance(node, dict):
        return node
    completed = {
        key: {name: _described(value) for name, value in body.items()} if key == "properties" else _completed(body)
        for key, body in node.items()
        if key != "default" or body not in (None, "", [], {})
    }
    if "patternProperties" in completed:  # the keys of a mapping are of one kind
        completed["additionalProperties"] = False
    return completed


def _described(field: dict[str, Any]) -> dict[str, Any]:
    """Say what a field is where that is said of its items, or of the one thing that it may be."""
    body: dict[str, Any] = _completed(field)
    inner = [*body.get("anyOf", ()), body.get("items", {})]
    said = next((option["description"] for option in inner if "description" in option), None)
    return {"description": said} | body if said else body
