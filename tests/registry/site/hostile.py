"""Entries whose every text is an attack, built past all checks: the page must hold even where a check has a hole."""

import types
import typing
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from modxfer.registry.entries.models import Aliases, AlignmentEntry, ArchiveSource, ModuleEntry, Settings
from modxfer.registry.entries.reading import Model
from modxfer.registry.site.content import Content, collect

PAYLOADS = (
    "<script>window.pwned=1</script><img src=x onerror=window.pwned=1><svg onload=window.pwned=1>",
    "\"><script>window.pwned=1</script><a onmouseover='window.pwned=1' autofocus onfocus=window.pwned=1 tabindex=1 x=\"",
    "'/><iframe srcdoc='<script>parent.pwned=1</script>'></iframe><img src=x onerror='window.pwned=1'",
    "</title></style></textarea></option></select></script></text></svg><script>window.pwned=1</script>",
    "javascript:window.pwned=1//\u202e{{ 7*7 }}{% raw %}${window.pwned=1}",
    "data:text/html,<script>window.pwned=1</script>&lt;script&gt;window.pwned=1&lt;/script&gt;",
    "--><!-- ]]><![CDATA[<script>window.pwned=1</script>\n\u2028\x1b[31m",
)


def hostile_content(*payloads: str) -> Content:
    """Build a registry with a namespace for each payload, `evil0` and so on; its own title and address are all of them."""
    models: dict[str, Model] = {}
    for number, payload in enumerate(payloads):
        models |= _models(payload, f"evil{number}")
    return collect(hostile(Settings, " ".join(payloads)), models, address=" ".join(payloads))


def hostile(model: type[BaseModel], payload: str, **given: Any) -> Any:
    """Build a model of any kind with a payload in every text of it, however deep; some fields may be given."""
    hints = typing.get_type_hints(model, include_extras=True)
    fields = {name: given[name] if name in given else _value(hints[name], payload) for name in model.model_fields}
    return model.model_construct(**fields)


def _models(payload: str, namespace: str) -> dict[str, Model]:
    """Build modules that descend from each other, one that descends from a payload, one in an archive, a map and aliases."""
    orphan = hostile(ModuleEntry, payload, id=f"{namespace}/orphan")
    known = orphan.lineage.model_copy(update={"teacher": f"{namespace}/teacher", "alignment": f"{namespace}/map"})
    archive = hostile(ArchiveSource, payload)
    return {
        f"modules/{namespace}/teacher.yaml": hostile(ModuleEntry, payload, id=f"{namespace}/teacher", lineage=None),
        f"modules/{namespace}/child.yaml": hostile(ModuleEntry, payload, id=f"{namespace}/child", lineage=known),
        f"modules/{namespace}/orphan.yaml": orphan,
        f"modules/{namespace}/archive.yaml": hostile(
            ModuleEntry, payload, id=f"{namespace}/archive", source=archive, lineage=None
        ),
        f"alignments/{namespace}/map.yaml": hostile(AlignmentEntry, payload, id=f"{namespace}/map"),
        f"aliases/{namespace}.yaml": Aliases.model_construct(
            format_version=1, modules={payload: "teacher"}, alignments={payload: "map"}
        ),
    }


def _value(hint: Any, payload: str) -> Any:
    """Build a value of a type."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        return _value(args[0], payload)
    if origin in (typing.Union, types.UnionType):
        return _value(_worst(args), payload)
    if origin is tuple:
        return (_value(args[0], payload),) * 2
    if origin is dict:
        return {_value(args[0], payload): _value(args[1], payload), "second": _value(args[1], payload)}
    if origin is Literal or hint is str:
        return payload
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return hostile(hint, payload)
    return {bool: True, int: 7, float: 0.5}[hint]


def _worst(options: tuple[Any, ...]) -> Any:
    """Choose a text where one may stand, else whatever may."""
    possible = [option for option in options if option is not types.NoneType]
    bare = [get_args(option)[0] if get_origin(option) is typing.Annotated else option for option in possible]
    return str if str in bare else possible[0]
