"""What an entry says of a base model: its commit, and the structure that its config gives it. No weights are fetched."""

from collections.abc import Mapping
from dataclasses import dataclass

from modxfer.architectures import FAMILIES, Architecture, read_config
from modxfer.converters.formats.checks import is_hub_id
from modxfer.errors import ArchitectureError, UsageError
from modxfer.paths import home
from modxfer.registry.adding.values import takes
from modxfer.registry.entries.fields import Word, shown
from modxfer.registry.entries.models import Base
from modxfer.registry.fingerprints import choose_weights, fingerprint
from modxfer.registry.hub.repositories import open_repository
from modxfer.registry.locate import LocatedBase, locate_base
from modxfer.registry.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A base model on the Hub.

    Attributes:
        base: What an entry says of it.
        architecture: Its structure; None where modxfer does not know the family.
    """

    base: Base
    architecture: Architecture | None


def describe_base(name: str, *, revision: str | None, known_fingerprint: str | None = None) -> Described:
    """Describe a base model on the Hub.

    Args:
        name: Its Hub id.
        revision: Branch, tag or commit; None for what its main branch is at now.
        known_fingerprint: Its fingerprint, if somebody took it already.

    Returns:
        What it is. Its fingerprint is there if it is known, or the Hub says the hashes of all its weights; widths
        and depths are there if modxfer knows the family.

    Raises:
        UsageError: it is not on the Hub.
        ArchitectureError: its config is missing, or says no sizes.
        HubError: the Hub refuses or cannot be reached.
    """
    if not is_hub_id(name):
        raise UsageError(
            f"The base model {shown(name)} is a folder of one machine, and an entry names base models on the Hub.",
            do="Write its Hub id into the card as `base_model`, and push that.",
        )
    repository = open_repository(f"{name}@{revision}" if revision else name, from_cache=False)
    # By its commit, which no folder of this machine is called.
    located = locate_base(f"{repository.name}@{repository.commit}", memory=Store(home()).hashes)
    family = str(read_config(located.folder).get("model_type"))
    if not takes(Word, family):
        raise ArchitectureError(
            f"The config of `{repository.name}` names no `model_type`, so its family is not known.",
            do="Name a base model of which `transformers` knows the family.",
        )
    architecture = located.architecture if family in FAMILIES else None
    base = Base(
        name=repository.name,
        revision=repository.commit,
        fingerprint=known_fingerprint or _free_fingerprint(located),
        family=family,
        widths=architecture.widths if architecture else {},
        depths=dict(architecture.depths) if architecture else {},
    )
    return Described(base=base, architecture=architecture)


def _free_fingerprint(located: LocatedBase) -> str | None:
    """Take the fingerprint from what the Hub says, if it says all that is needed."""
    files = located.repository.files if located.repository else {}
    hashes: Mapping[str, str | None] = {name: files[name].sha256 for name in choose_weights(files)}
    known = {name: found for name, found in hashes.items() if found is not None}
    return fingerprint(known, config=located.folder / "config.json") if known and len(known) == len(hashes) else None
