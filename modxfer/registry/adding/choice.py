"""What a user says of an entry, and what is taken where nothing is said."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from modxfer.alignments.files import hash_file
from modxfer.errors import UsageError
from modxfer.registry.adding.card import Card
from modxfer.registry.adding.values import require, takes
from modxfer.registry.card_text import code
from modxfer.registry.entries.fields import EntryId, Line, Word, check_licence, shown
from modxfer.registry.entries.models import Author, Entry, PinnedFile
from modxfer.registry.hub.repositories import Repository
from modxfer.registry.licences import as_spdx

_LONGEST_PART = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryChoice:
    """What a user says of an entry; what is not said is found.

    Attributes:
        id: `<namespace>/<name>`; None for the repository's name.
        licence: Its licence; None for what the card says.
        authors: Who made it; empty for the repository's owner.
        title: Its title; None for the card's.
        tags: Tags beside those of the card.
        task: A module's task; None for the card's.
        has_lineage: Whether what a transferred module was made from goes into the entry.
    """

    id: str | None = None
    licence: str | None = None
    authors: tuple[str, ...] = ()
    title: str | None = None
    tags: tuple[str, ...] = ()
    task: str | None = None
    has_lineage: bool = True

    def __post_init__(self) -> None:
        given = [("--id", EntryId, self.id), ("--title", Line, self.title), ("--task", Word, self.task)]
        given += [("--author", Line, author) for author in self.authors] + [("--tag", Word, tag) for tag in self.tags]
        for option, kind, value in given:
            if value is not None:
                require(kind, value, option=option)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """An entry that was written by itself.

    Attributes:
        entry: The entry.
        notes: What could not be found or used, a sentence each.
    """

    entry: Entry
    notes: tuple[str, ...]


def entry_id(choice: EntryChoice, repository: str) -> str:
    """Choose an entry's id.

    Args:
        choice: What the user said.
        repository: The Hub id of what it describes.

    Returns:
        `<namespace>/<name>`.

    Raises:
        UsageError: nothing was said, and none can be made of the repository's name.
    """
    if choice.id is not None:
        return choice.id
    owner, _, name = repository.rpartition("/")
    id = f"{_slug(owner)}/{_slug(name)}"
    if not takes(EntryId, id):
        raise UsageError(f"No entry's id can be made of `{repository}`.", do="Give one with `--id NAMESPACE/NAME`.")
    return id


def _slug(text: str) -> str:
    """Bring a name into the form of a part of an id."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower())
    return re.sub(r"([._-])[._-]+", r"\1", plain)[:_LONGEST_PART].strip("._-")


def author_list(choice: EntryChoice, repository: str) -> tuple[Author, ...]:
    """Name who made something.

    Args:
        choice: What the user said.
        repository: The Hub id of what they made.

    Returns:
        The authors.

    Raises:
        UsageError: nobody was named, and the repository has no owner.
    """
    owner = repository.rpartition("/")[0]
    if not choice.authors and not owner:
        raise UsageError(f"`{repository}` names no owner.", do="Say who made it with `--author`.")
    return tuple(Author(name=name, email=None, url=None) for name in dict.fromkeys(choice.authors or (owner,)))


def chosen_licence(choice: EntryChoice, on_card: str | None, *, what: str) -> str:
    """Choose a licence.

    Args:
        choice: What the user said.
        on_card: What the card says; None if nothing.
        what: The repository's id, for messages.

    Returns:
        An SPDX expression.

    Raises:
        UsageError: none was stated that has an SPDX expression.
    """
    stated = choice.licence
    found = as_spdx(stated or on_card or "") or (stated if stated and _is_licence(stated) else None)
    if found is not None and _is_licence(found):
        return found
    do = "State one with `--license`, as SPDX writes it: `Apache-2.0`; `LicenseRef-<name>` for one that SPDX has not."
    if stated is not None:
        raise UsageError(f"`--license`: `{code(stated, limit=60)}` is no licence that SPDX has an expression for.", do=do)
    says = f"says `{code(on_card, limit=60)}`" if on_card else "says none"
    raise UsageError(f"The licence of `{what}` is not known: its card {says}.", do=do)


def licence_notes(choice: EntryChoice, on_card: str | None, licence: str) -> list[str]:
    """Say where what the user states is not what the card says.

    Args:
        choice: What the user said.
        on_card: What the card says; None if nothing.
        licence: The entry's licence.

    Returns:
        A sentence, or none.
    """
    if choice.licence is None or not on_card or licence in (on_card, as_spdx(on_card)):
        return []
    return [f"The licence {shown(licence)} was stated, and the card says {shown(on_card)}: `check --online` will say so too."]


def _is_licence(text: str) -> bool:
    from pydantic_core import PydanticCustomError

    try:
        return check_licence(text) == text
    except PydanticCustomError:
        return False


def chosen_title(choice: EntryChoice, card: Card, *, otherwise: str) -> str:
    """Choose a title.

    Args:
        choice: What the user said.
        card: The card.
        otherwise: What to call it if the card has no title.

    Returns:
        One line.
    """
    return choice.title or card.title or otherwise


def pin_files(repository: Repository, paths: Iterable[str]) -> tuple[PinnedFile, ...]:
    """Pin files by their content: weights by the hashes that the Hub says, small ones are fetched.

    Args:
        repository: The repository.
        paths: Its files.

    Returns:
        The files, in order of their paths.

    Raises:
        HubError: one cannot be had.
    """
    pinned = []
    for path in sorted(paths):
        file = repository.files[path]
        found = file.sha256 or hash_file(repository.fetch([path]) / path)
        pinned.append(PinnedFile(path=path, sha256=found, size_bytes=file.size_bytes))
    return tuple(pinned)
