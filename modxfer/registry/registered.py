"""Alignment maps of a pair in the registry that the user named: those whose entries say that they fit, fetched and verified."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from modxfer.errors import HubError, StoreError
from modxfer.registry.entries.naming import name_of_registry
from modxfer.registry.lookup import FoundAlignment, Wanted
from modxfer.registry.published import fetch_registered, passing_over
from modxfer.registry.pulling import keep_registered, registered_key
from modxfer.registry.store import Store

if TYPE_CHECKING:
    from modxfer.registry.entries.folder import Registry
    from modxfer.registry.entries.models import AlignmentEntry

logger = logging.getLogger(__name__)


def find_registered(store: Store, wanted: Wanted, registry: str | None) -> FoundAlignment | None:
    """Look into the registry for a map that serves a conversion; what is wrong with one that might is said and passed over.

    Args:
        store: Where a map that was fetched is kept.
        wanted: What it must be.
        registry: The registry; None for what `MODXFER_REGISTRY` names.

    Returns:
        The map with the most tokens, fetched and held against its entry; None if no registry is named, it has no such map, or
        the Hub cannot be asked for it.

    Raises:
        UsageError: there is no such registry.
        EntryError: what is named is no registry.
    """
    if name_of_registry(registry) is None:
        return None
    from modxfer.registry.entries.opening import named_registry  # reading entries takes a while to import

    try:
        found = named_registry(registry)
    except (HubError, StoreError) as error:
        logger.warning("The registry was not looked into: %s", error.what)
        return None
    assert found is not None
    for entry in sorted(_candidates(found, wanted), key=lambda entry: (-entry.corpus.tokens, entry.id)):
        with passing_over(entry.id):
            if (served := _serve(store, wanted, entry)) is not None:
                return served
    return None


def _candidates(registry: "Registry", wanted: Wanted) -> Iterator["AlignmentEntry"]:
    """Read the entries of a pair. Of thousands, those alone are parsed in which both fingerprints are written."""
    from modxfer.registry.entries.models import AlignmentEntry
    from modxfer.registry.entries.reading import read_file

    prints = [wanted.teacher.fingerprint.encode(), wanted.student.fingerprint.encode()]
    for file in registry.list_files([AlignmentEntry.folder]).files:
        try:
            content = (registry.root / file.path).read_bytes()
        except OSError as error:
            logger.info("%s", error)
            continue
        if not all(known in content for known in prints):
            continue
        entry = read_file(file.path, content).model
        if not isinstance(entry, AlignmentEntry):
            logger.warning("An entry of the registry is not used: `%s` has problems; see `modxfer registry check`.", file.path)
        elif _fits(entry, wanted):
            yield entry


def _fits(entry: "AlignmentEntry", wanted: Wanted) -> bool:
    record = {key: {"fingerprint": getattr(entry, key).fingerprint} for key in ("teacher", "student", "corpus")}
    return wanted.may_be_served_by({**record, "requested": entry.requested})


def _serve(store: Store, wanted: Wanted, entry: "AlignmentEntry") -> FoundAlignment | None:
    """Take an entry's map from the store, else fetch and keep it; a store that cannot be written is no reason to do without."""
    key = registered_key(entry)
    origin = {"repository": entry.source.repository, "revision": entry.source.revision, "entry": entry.id}
    kept = store.find(key, is_use=False)
    if kept is not None and wanted.is_served_by(kept):
        store.mark_used(key)
        return FoundAlignment(source="store", alignment=kept, published=origin)
    published = fetch_registered(entry)
    if not wanted.is_served_by(published.alignment):
        return None
    try:
        keep_registered(published, key=key)
        kept = store.find(key)
    except StoreError as error:
        logger.warning("%s", error.what)
    return FoundAlignment(source="registry", alignment=kept or published.alignment, published=published.origin)
