"""What is in a repository already: nothing of another kind is replaced, and no card of others without a word."""

import hashlib
import logging
from collections.abc import Mapping

from modxfer.alignments.files import RECORD as MAP_RECORD
from modxfer.converters.formats.files import read_card, read_json
from modxfer.converters.formats.needed import CARD, needed_files
from modxfer.errors import FormatError, ModxferError, UsageError
from modxfer.registry.fingerprints import CONFIG
from modxfer.registry.hub.commits import DEFAULT_BRANCH, Destination
from modxfer.registry.hub.failures import RepositoryMissing, RevisionMissing
from modxfer.registry.hub.repositories import Repository, git_hash, open_repository
from modxfer.registry.pairs import MAP_TAG
from modxfer.registry.transfers import TRANSFER

logger = logging.getLogger(__name__)

MODULE, ALIGNMENT_MAP = "module", "alignment map"
_BASE_MODEL = "base model"
_LARGEST_CARD_BYTES = 5_000_000


def look_at(destination: Destination) -> Repository | None:
    """Look at what a push would go on top of.

    Args:
        destination: Where to.

    Returns:
        The repository at the branch, or at the main one if the branch has yet to be made; None if there is no repository.

    Raises:
        HubError: the Hub refuses or cannot be reached.
    """
    for branch in dict.fromkeys([destination.branch, DEFAULT_BRANCH]):
        try:
            return open_repository(f"{destination.name}@{branch}", from_cache=False)
        except RepositoryMissing:
            return None
        except RevisionMissing:
            continue
    return None


def check_free(there: Repository, *, kind: str, private: bool | None) -> None:
    """Refuse a repository that holds something else, or that everybody can see where that is not wanted.

    Args:
        there: The repository.
        kind: What is to be pushed, "module" or "alignment map".
        private: Whether nobody else may see it.

    Raises:
        UsageError: so it is.
    """
    name = there.name
    for held in _kinds(there):
        if held != kind:
            raise UsageError(f"`{name}` holds {_a(held)}, and this is {_a(kind)}.", do="Choose another name.")
    if private and there.private is False:
        raise UsageError(
            f"`{name}` exists and is public, and `--private` is for new repositories.",
            do="Make it private in its settings on the Hub, or leave `--private` out.",
        )


def revealed_origin(module: Mapping[str, object], destination: Destination, there: Repository | None) -> tuple[str, ...]:
    """Warn if what is made of a private module is about to become public.

    Args:
        module: What the record says of the teacher module, or of the one that a training began with.
        destination: Where to.
        there: What is there.

    Returns:
        The warning, if any.
    """
    if not module.get("revision") or destination.private or (there is not None and there.private):
        return ()
    try:
        origin = open_repository(str(module.get("name")), from_cache=False)
    except ModxferError as error:  # it is not there any more, or not for this user
        logger.info("%s", error)
        return ()
    if not origin.private:
        return ()
    return (f"The module `{origin.name}` is private, and what is made of it goes where others may see it.",)


def replaced_card(there: Repository, *, kind: str, card: str) -> tuple[str, ...]:
    """Warn if a card is about to be replaced that modxfer did not write.

    Args:
        there: The repository.
        kind: What is to be pushed.
        card: The card that replaces it.

    Returns:
        The warning, if any.
    """
    remote = there.files.get(CARD)
    content = card.encode()
    if remote is None or hashlib.sha256(content).hexdigest() == remote.sha256 or git_hash(content) == remote.git_hash:
        return ()
    is_ours = remote.size_bytes <= _LARGEST_CARD_BYTES and (_is_of_map if kind == ALIGNMENT_MAP else _is_of_module)(there)
    return () if is_ours else (f"The card of `{there.name}` was changed on the Hub, and is replaced.",)


def _kinds(there: Repository) -> list[str]:
    paths = there.files
    holds: Mapping[str, bool] = {
        ALIGNMENT_MAP: MAP_RECORD in paths,
        _BASE_MODEL: CONFIG in paths and "adapter_config.json" not in paths,
        MODULE: bool(needed_files(paths)),
    }
    return [kind for kind, is_there in holds.items() if is_there]


def _a(kind: str) -> str:
    return f"{'an' if kind == ALIGNMENT_MAP else 'a'} {kind}"


def _is_of_map(there: Repository) -> bool:
    """The record of a map has no hash of its card."""
    if MAP_RECORD not in there.files:
        return False
    tags = read_card(there.fetch([CARD])).get("tags")
    return isinstance(tags, list) and MAP_TAG in tags


def _is_of_module(there: Repository) -> bool:
    if TRANSFER not in there.files:
        return False
    folder = there.fetch([CARD, TRANSFER])
    try:
        hashes = read_json(folder / TRANSFER).get("files")
    except FormatError:
        return False
    return isinstance(hashes, dict) and hashes.get(CARD) == hashlib.sha256((folder / CARD).read_bytes()).hexdigest()
