"""Alignment maps on the Hub: fetching one, and finding those of a pair that may be used without being named."""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.alignments.files import RECORD, TENSORS, read_alignment, read_record
from modxfer.converters.formats.needed import CARD
from modxfer.errors import FormatError, HubError, ModxferError
from modxfer.registry.entries.references import is_registered, open_registered, resolve_alignment
from modxfer.registry.hub.calls import api, call
from modxfer.registry.hub.failures import RepositoryMissing
from modxfer.registry.hub.repositories import Repository, open_repository, parse_reference
from modxfer.registry.lookup import Wanted
from modxfer.registry.pairs import MAP_TAG, map_name, pair_tag

if TYPE_CHECKING:
    from modxfer.registry.entries.models import AlignmentEntry

logger = logging.getLogger(__name__)

TRUST_VARIABLE = "MODXFER_TRUST"
"""Users and organisations, separated by commas, whose published maps may be used without being named."""

_MOST = 20
"""Maps of one pair that are looked at in one namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedMap:
    """An alignment map that was fetched from the Hub and verified.

    Attributes:
        repository: The Hub id.
        revision: Commit hash.
        folder: Where its files lie.
        alignment: The map.
        entry: Id of the entry that led to it; None if none did.
    """

    repository: str
    revision: str
    folder: Path
    alignment: AlignmentMap
    entry: str | None = None

    @property
    def origin(self) -> dict[str, str]:
        """What to write down of where it came from."""
        entry = {"entry": self.entry} if self.entry is not None else {}
        return {"repository": self.repository, "revision": self.revision, **entry}


def fetch_map(reference: str, *, registry: str | None = None) -> PublishedMap:
    """Fetch an alignment map, and verify its hashes and version.

    Args:
        reference: Its Hub id with an optional `@revision`, or `registry:` with the id of an entry.
        registry: The registry that has the entry; None for what `MODXFER_REGISTRY` names.

    Returns:
        The map.

    Raises:
        UsageError: there is no such repository, or no registry is named.
        FormatError: it holds no alignment map, a damaged one, or one of another version.
        EntryError: there is no such entry, or its files are not what it pins.
        HubError: the Hub refuses or cannot be reached.
    """
    if is_registered(reference):
        return fetch_registered(resolve_alignment(reference, registry))
    repository = open_repository(reference)
    folder = repository.fetch(_files(repository))
    return PublishedMap(repository=repository.name, revision=repository.commit, folder=folder, alignment=read_alignment(folder))


def fetch_registered(entry: "AlignmentEntry") -> PublishedMap:
    """Fetch the alignment map of an entry, and verify it against the entry too.

    Args:
        entry: The entry.

    Returns:
        The map.

    Raises:
        FormatError: the repository holds no alignment map, a damaged one, or one of another version.
        EntryError: it is no longer there, or its files are not what the entry pins.
        HubError: the Hub refuses or cannot be reached.
    """
    found = open_registered(entry)
    folder = found.fetch(_files(found.repository))
    return PublishedMap(
        repository=found.repository.name,
        revision=found.repository.commit,
        folder=folder,
        alignment=read_alignment(folder),
        entry=entry.id,
    )


def _files(repository: Repository) -> list[str]:
    """List the files of the alignment map that a repository holds."""
    if not {RECORD, TENSORS} <= set(repository.files):
        raise FormatError(
            f"`{repository.name}` holds no `{RECORD}` with its `{TENSORS}`, so it is no alignment map.",
            do="Give the id of one; `modxfer inspect` says what it is.",
        )
    return [path for path in (RECORD, TENSORS, CARD) if path in repository.files]


def trusted_namespaces(names: Iterable[str]) -> tuple[str, ...]:
    """List whose maps may be used without being named: the owners of what is used anyway, and those whom the user trusts.

    Args:
        names: The module and the two base models, as Hub ids; folders' names have no owner.

    Returns:
        Namespaces, each once.
    """
    owners = [name.partition("/")[0] for name in names if "/" in name]
    trusted = [name.strip() for name in os.environ.get(TRUST_VARIABLE, "").split(",")]
    return tuple(dict.fromkeys(name for name in [*trusted, *owners] if name))


def find_published(wanted: Wanted, *, namespaces: Iterable[str]) -> PublishedMap | None:
    """Look for a published map that serves a conversion.

    Args:
        wanted: What it must be.
        namespaces: Whose maps to look at, in this order.

    Returns:
        The map, fetched and verified; of several the one with the most tokens in the first namespace that has any.
        None if there is none, or the Hub cannot be asked.
    """
    for namespace in namespaces:
        offered = [found for name in _candidates(wanted, namespace) if (found := _look_at(name, wanted)) is not None]
        for _, name in sorted(offered, reverse=True):
            published = _try(name, wanted)
            if published is not None:
                return published
    return None


def _candidates(wanted: Wanted, namespace: str) -> Iterator[str]:
    """List a namespace's maps of a pair: the one with the usual name, then what the Hub's index knows."""
    yield (usual := f"{namespace}/{map_name(wanted.teacher.name, wanted.student.name)}")
    tag = pair_tag(wanted.teacher.fingerprint, wanted.student.fingerprint)
    try:
        models = call(
            lambda: list(api().list_models(author=namespace, filter=[MAP_TAG, tag], limit=_MOST)), name=namespace, optional=True
        )
    except ModxferError as error:
        logger.info("%s", error)
        return
    yield from sorted(model.id for model in models if model.id != usual)


def _look_at(name: str, wanted: Wanted) -> tuple[int, str] | None:
    """Fetch what a map says of itself; give its tokens and its id at its commit if it is worth fetching."""
    with passing_over(name):
        parse_reference(name)
        repository = open_repository(name, optional=True)
        if RECORD in repository.files:
            record = read_record(repository.fetch([RECORD]))
            if wanted.may_be_served_by(record):
                return int(record["corpus"]["tokens"]), f"{repository.name}@{repository.commit}"
    return None


def _try(name: str, wanted: Wanted) -> PublishedMap | None:
    """Fetch a map if it serves."""
    with passing_over(name):
        published = fetch_map(name)
        if wanted.is_served_by(published.alignment):
            return published
    return None


@contextlib.contextmanager
def passing_over(name: str) -> Iterator[None]:
    """Go on without a map that is not there or not sound; what is wrong with it is said.

    Args:
        name: What it is called.

    Yields:
        Nothing.
    """
    try:
        yield
    except (RepositoryMissing, HubError) as error:
        logger.info("%s", error)
    except (ModxferError, KeyError, TypeError, ValueError) as error:
        what = error.what if isinstance(error, ModxferError) else f"`{name}` does not say what it must."
        logger.warning("A published alignment map is not used: %s", what)
