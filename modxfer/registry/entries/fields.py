"""The kinds of fields that entries have: each says what it takes, in words, in a pattern for the JSON Schema, and in code.

A value that a field does not take raises an error whose type is the id of a rule (`modxfer.registry.checks.rules`).
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

from modxfer.registry.card_text import code, is_hub_id

LONGEST_LINE = 200
"""Characters of a text that is one line, such as a title."""

LONGEST_PROSE = 5000
"""Characters of a text of several lines, such as a description."""

ID_PART = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"
_ID = rf"{ID_PART}/{ID_PART}"
_LONGEST_PART = 96
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in range(1, 10))]
)  # names that no file can have on Windows
_COMMIT, _SHA256 = "[0-9a-f]{40}", "[0-9a-f]{64}"
_WORD = r"[A-Za-z0-9]+(?:[ ._:/+-][A-Za-z0-9]+)*"
PICKLED = frozenset([".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pth"])
"""Ends of the names of files that are pickles, or may be."""

T = TypeVar("T")

Many = Annotated[tuple[T, ...], Strict(False)]
"""A list: YAML has no tuples."""


def refuse(rule: str, what: str, *, do: str) -> PydanticCustomError:
    """Make the error for a value that a field does not take.

    Args:
        rule: Id of the rule.
        what: What is wrong with the value, one sentence.
        do: How to mend it, one sentence.

    Returns:
        What the field's validator raises.
    """
    return PydanticCustomError(rule, "{what}", {"what": what, "do": do})


def shown(value: object) -> str:
    """Write a value that was found into a message.

    Args:
        value: Anything.

    Returns:
        It between backticks: on one line, not too long, without characters that cannot be seen.
    """
    return f"`{code(value, limit=60)}`"


def listed(names: Sequence[str]) -> str:
    """Write names into a message.

    Args:
        names: At least one.

    Returns:
        Them between backticks, joined by commas and "and".
    """
    texts = [f"`{name}`" for name in names]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]


def _spelled(rule: str, pattern: str, what: str, do: str, *, check: Callable[[str], bool] = bool) -> Any:
    """Make a field that takes texts of one pattern."""
    compiled = re.compile(pattern)

    def validate(text: str) -> str:
        if not compiled.fullmatch(text) or not check(text):
            raise refuse(rule, f"{shown(text)} is not {what}.", do=do)
        return text

    schema = {"type": "string", "pattern": f"^{pattern}$", "description": f"{what[0].upper()}{what[1:]}."}
    return Annotated[str, AfterValidator(validate), WithJsonSchema(schema)]


def _is_id(text: str) -> bool:
    parts = text.split("/")
    return all(len(part) <= _LONGEST_PART and part.partition(".")[0] not in _RESERVED for part in parts)


EntryId = _spelled(
    "entry-id",
    _ID,
    "an entry's id",
    "Write `<namespace>/<name>`: lower-case letters and digits, with single `-`, `_` or `.` between them.",
    check=_is_id,
)
EntryName = _spelled(
    "entry-id", ID_PART, "an entry's name", "Write lower-case letters and digits, with single `-`, `_` or `.` between them.",
    check=_is_id,
)  # fmt: skip
Commit = _spelled(
    "unpinned", _COMMIT, "a commit hash", "Write the 40 lower-case hexadecimal digits of a commit, not a branch or a tag."
)
Sha256 = _spelled("unpinned", _SHA256, "a sha256", "Write the 64 lower-case hexadecimal digits of the file's sha256.")
HubId = _spelled(
    "hub-id", r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)?", "a Hub id", "Write the id of a repository, as in `organisation/name`.",
    check=is_hub_id,
)  # fmt: skip
Word = _spelled(
    "bad-value", _WORD, "a plain word", "Write letters and digits, with single spaces or one of `._:/+-` between them.",
    check=lambda text: len(text) <= 80,
)  # fmt: skip


def _check_line(text: str) -> str:
    if not text.strip() or len(text) > LONGEST_LINE or "\n" in text:
        raise refuse(
            "bad-value", f"{shown(text)} is not one line of 1 to {LONGEST_LINE} characters.", do="Shorten it, or fill it in."
        )
    return text


def _check_prose(text: str) -> str:
    if len(text) > LONGEST_PROSE:
        raise refuse("bad-value", f"A text of {len(text)} characters is too long.", do=f"Keep {LONGEST_PROSE} at most.")
    return text


Line = Annotated[
    str,
    AfterValidator(_check_line),
    Field(json_schema_extra={"minLength": 1, "maxLength": LONGEST_LINE, "pattern": r"^[^\n]*\S[^\n]*$"}),
]
Prose = Annotated[str, AfterValidator(_check_prose), Field(json_schema_extra={"maxLength": LONGEST_PROSE})]


def _check_file(path: str) -> str:
    parts = path.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\\" in path or ":" in path or len(path) > 255:
        raise refuse(
            "file-path",
            f"{shown(path)} is not the path of a file in a repository.",
            do="Write it relative to the repository's root, with `/`, and without `..`.",
        )
    if "." + parts[-1].rstrip(". ").rpartition(".")[2].lower() in PICKLED:  # Windows leaves out what is stripped
        raise refuse(
            "pickle",
            f"{shown(path)} is a pickle, which can run code where it is loaded.",
            do="Save the tensors as safetensors, and pin that file.",
        )
    return path


FilePath = Annotated[
    str,
    AfterValidator(_check_file),
    Field(
        description="The path of a file in its repository, with `/`; no pickle.",
        json_schema_extra={
            "pattern": rf"^(?!/)(?!(.*/)?\.{{0,2}}(/|$))(?!.*({'|'.join(map(re.escape, sorted(PICKLED)))})$)[^\\:]{{1,255}}$"
        },
    ),
]


def check_address(address: str) -> str:
    """Take an address that a reader may be sent to; nobody follows it here.

    Args:
        address: The address.

    Returns:
        The same.

    Raises:
        PydanticCustomError: it is no https address of a public host.
    """
    do = "Give an `https` address that everybody can reach, without a user or a port."
    try:
        parts = urlsplit(address)
        host = (parts.hostname or "").rstrip(".")
        bare = parts.username is None and parts.password is None and parts.port in (None, 443)
    except ValueError:
        host, bare, parts = "", False, urlsplit("")
    printable = address.isascii() and address.isprintable() and not set(address) & set(" <>\"'`\\{}|^")
    if parts.scheme != "https" or not bare or not printable or len(address) > 500:
        raise refuse("address", f"{shown(address)} is not a plain https address.", do=do)
    if not _is_public(host):
        raise refuse("address", f"{shown(address)} leads to no public host.", do=do)
    return address


def _is_public(host: str) -> bool:
    try:
        return ip_address(host).is_global
    except ValueError:
        last = host.rpartition(".")[2]
        private = {"localhost", "local", "internal", "lan", "home", "corp", "test", "invalid", "localdomain", "arpa"}
        is_name = re.fullmatch(r"(?!-)[a-z0-9-]+(\.[a-z0-9-]+)+", host, re.IGNORECASE) is not None
        return is_name and last.lower() not in private and not last[0].isdigit()


Address = Annotated[
    str, AfterValidator(check_address), WithJsonSchema({"type": "string", "format": "uri", "pattern": "^https://"})
]


@lru_cache(maxsize=4096)
def licence_fault(text: str) -> str | None:
    """Say how a licence is really written.

    Args:
        text: The licence.

    Returns:
        Its SPDX spelling; empty if it is none, None if it is right.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if text in (NO_LICENCE, "NONE"):
        return None
    try:
        right = str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        return ""
    return None if right == text else right


NO_LICENCE = "NOASSERTION"
"""SPDX: nobody said under which licence this may be used."""


def check_licence(text: str) -> str:
    """Take a licence.

    Args:
        text: The licence.

    Returns:
        The same.

    Raises:
        PydanticCustomError: it is no SPDX expression, or not in SPDX's spelling.
    """
    right = licence_fault(text)
    if right is None:
        return text
    raise refuse(
        "license",
        f"{shown(text)} is not an SPDX licence expression{', in this spelling' if right else ''}.",
        do=f"Write {shown(right)}."
        if right
        else "Write one such as `Apache-2.0`; `LicenseRef-<name>` for one that SPDX has not, `NOASSERTION` for none known.",
    )


Licence = Annotated[
    str,
    AfterValidator(check_licence),
    Field(
        description="An SPDX licence expression, such as `Apache-2.0`.", json_schema_extra={"pattern": r"^[A-Za-z0-9.+ ()-]+$"}
    ),
]


@lru_cache(maxsize=4096)
def language_fault(tag: str) -> str | None:
    """Say how a language tag is usually written.

    Args:
        tag: The tag.

    Returns:
        The tag in use; empty if it is none, None if it is right.
    """
    import langcodes

    if not tag.isascii() or len(tag) > 35 or not langcodes.tag_is_valid(tag):
        return ""
    right = langcodes.standardize_tag(tag)
    return None if right == tag else str(right)


def check_language(tag: str) -> str:
    """Take a language tag.

    Args:
        tag: The tag.

    Returns:
        The same.

    Raises:
        PydanticCustomError: it is no BCP 47 tag, or not the one that is in use for this language.
    """
    right = language_fault(tag)
    if right is None:
        return tag
    raise refuse(
        "language",
        f"{shown(tag)} is not {'the BCP 47 tag in use for this language' if right else 'a BCP 47 language tag'}.",
        do=f"Write {shown(right)}." if right else "Write one such as `en`, `pt-BR` or `zh-Hant`; `mul` for many.",
    )


Language = Annotated[
    str,
    AfterValidator(check_language),
    Field(
        description="A BCP 47 language tag, such as `en` or `pt-BR`.",
        json_schema_extra={"pattern": "^[a-z]{2,3}(-[A-Za-z0-9]{1,8})*$"},
    ),
]
