"""Pushing a folder to the Hub: a converted module or an alignment map, verified, with its card and its licence."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.alignments.files import RECORD as MAP_RECORD
from modxfer.alignments.files import TENSORS, read_alignment
from modxfer.converters.formats import inspect_files
from modxfer.converters.formats.files import read_card
from modxfer.converters.formats.needed import CARD, MODULE_FILES
from modxfer.errors import UsageError
from modxfer.registry.card_text import mapping
from modxfer.registry.card_training import training_of
from modxfer.registry.cards import alignment_card, module_card
from modxfer.registry.hub.commits import DEFAULT_BRANCH, Commit, Content, Destination, commit, plan_commit
from modxfer.registry.hub.failures import page
from modxfer.registry.licences import check_licence, choose_licence, one_licence
from modxfer.registry.occupied import ALIGNMENT_MAP, MODULE, check_free, look_at, replaced_card, revealed_origin
from modxfer.registry.own_cards import FORMER_CARD, amend, card_path, is_own_card, read_card_text
from modxfer.registry.pairs import MAP_TAG, pair_tag
from modxfer.registry.transfers import TRANSFER, as_text, read_transfer
from modxfer.secrets import redact

_OWNED = (*MODULE_FILES, TRANSFER, MAP_RECORD, TENSORS)
"""Files that modxfer or the libraries would read, so that an old one must not stay beside new ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A folder ready to be pushed.

    Attributes:
        kind: "module" or "alignment map".
        files: Path in the repository to content.
        card: The card, as it will be there.
        licence: Its licence, as the Hub writes it.
        left_out: Files of the folder that are not pushed.
        origins: What the record says of the teacher module, and of the one that a training began with.
        warnings: What a user should know before it is public.
    """

    kind: str
    files: Mapping[str, Content]
    card: str
    licence: str
    left_out: tuple[str, ...]
    origins: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What was pushed, or would be.

    Attributes:
        parcel: What.
        commit: The commit.
        is_done: Whether it was carried out; False for a dry run.
    """

    parcel: Parcel
    commit: Commit
    is_done: bool

    @property
    def url(self) -> str:
        """The page of the commit or the pull request; of the repository, if there was nothing to commit."""
        return self.commit.url or page(self.commit.repository)

    def as_json(self) -> dict[str, Any]:
        """Give what `push --json` prints.

        Returns:
            Plain values.
        """
        return {
            "repository": self.commit.repository,
            "kind": self.parcel.kind,
            "branch": self.commit.branch,
            "commit": self.commit.commit if self.is_done else None,
            "url": self.url if self.is_done else None,
            "new_repository": self.commit.is_new,
            "changed": self.commit.is_needed,
            "files": [
                {"path": change.path, "size_bytes": change.size_bytes, "change": change.kind} for change in self.commit.changes
            ],
            "left_out": list(self.parcel.left_out),
            "warnings": list(self.parcel.warnings),
            "licence": self.parcel.licence,
            "card": self.parcel.card,
            "dry_run": not self.is_done,
        }


def is_map(folder: Path) -> bool:
    """Say whether a folder holds an alignment map.

    Args:
        folder: The folder.

    Returns:
        Whether its record is there.
    """
    return (folder / MAP_RECORD).is_file()


def push_folder(folder: Path, destination: Destination, *, licence: str | None = None, dry_run: bool = False) -> Pushed:
    """Push a module or an alignment map to the Hub, in one commit.

    Args:
        folder: What `convert`, `train` or `align compute` wrote.
        destination: Where to, and how.
        licence: Its licence; None for the teacher module's.
        dry_run: Do everything but change the Hub.

    Returns:
        What was pushed. If all of it was there already, nothing was.

    Raises:
        UsageError: the folder holds neither, or a token; no licence can be chosen; or the repository holds something else.
        FormatError: the folder does not hold what its record says.
        HubError: the Hub refuses or cannot be reached.
    """
    is_elsewhere = destination.branch != DEFAULT_BRANCH and not destination.create_pr
    parcel = pack(folder, name=destination.name, licence=licence, branch=destination.branch if is_elsewhere else None)
    there = look_at(destination)
    if there is not None:
        check_free(there, kind=parcel.kind, private=destination.private)
        parcel = replace(parcel, warnings=(*parcel.warnings, *replaced_card(there, kind=parcel.kind, card=parcel.card)))
    revealed = (warning for origin in parcel.origins for warning in revealed_origin(origin, destination, there))
    parcel = replace(parcel, warnings=tuple(dict.fromkeys([*parcel.warnings, *revealed])))
    send = plan_commit if dry_run else commit
    return Pushed(parcel=parcel, commit=send(parcel.files, destination, owned=_OWNED), is_done=not dry_run)


def pack(folder: Path, *, name: str, licence: str | None, branch: str | None = None) -> Parcel:
    """Verify a folder, choose its licence and write its card.

    Args:
        folder: What `convert`, `train` or `align compute` wrote.
        name: The Hub id that it goes to, for the card.
        licence: Its licence; None for the teacher module's.
        branch: The branch that it goes to, for the card; None for the main one.

    Returns:
        What is to be pushed.

    Raises:
        UsageError: the folder holds neither, or a token, or no licence can be chosen.
        FormatError: the folder does not hold what its record says.
    """
    if is_map(folder) or (folder / TRANSFER).is_file():
        parcel = (_pack_map if is_map(folder) else _pack_module)(folder, name=name, licence=licence, branch=branch)
        _refuse_tokens(parcel.files)
        return parcel
    if not folder.is_dir():
        raise UsageError(f"`{folder}` is no folder.", do="Name one that `modxfer convert`, `train` or `align compute` wrote.")
    raise UsageError(
        f"`{folder}` holds neither `{TRANSFER}` nor `{MAP_RECORD}`, so there is nothing to verify it against.",
        do="Name a folder that `modxfer convert`, `train` or `align compute` wrote; other folders go with `hf upload`.",
    )


def _pack_module(folder: Path, *, name: str, licence: str | None, branch: str | None) -> Parcel:
    record = read_transfer(folder)
    inspect_files(folder)
    own_card = _own_card(folder, record)
    stated = licence or _licence_in(own_card, folder)
    if stated is None and training_of(record) and not _initial(record):
        raise UsageError(
            f"No licence was stated for the module, which was trained from scratch on `{record['student'].get('name')}`.",
            do="Read the licences of the base model and of the data, and state one for the module with `--license`.",
        )
    chosen = choose_licence(
        stated=stated,
        module=record.get("licence"),
        teacher=record["teacher"].get("licence"),
        student=record["student"].get("licence"),
    )
    card = (
        module_card(record, licence=chosen, repository=name, branch=branch)
        if own_card is None
        else amend(own_card, licence=chosen)
    )
    hashes = {**record["files"], CARD: hashlib.sha256(card.encode()).hexdigest()}
    said = {key: value for key, value in record.items() if key != FORMER_CARD}
    pushed = as_text({**said, "licence": chosen, "files": hashes})
    weights: dict[str, Content] = {path: folder / path for path in record["files"] if path != CARD}
    files = {**weights, CARD: card.encode(), TRANSFER: pushed.encode()}
    return Parcel(
        kind=MODULE,
        files=files,
        card=card,
        licence=chosen,
        left_out=_left_out(folder, files),
        origins=tuple(origin for origin in (record["module"], _initial(record)) if origin),
        warnings=_base_warnings(student=record["student"]),
    )


def _initial(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(training_of(record).get("init_module"))


def _pack_map(folder: Path, *, name: str, licence: str | None, branch: str | None) -> Parcel:
    alignment = read_alignment(folder)
    own_card = _own_map_card(folder, alignment)
    stated = licence or _licence_in(own_card, folder)
    if stated is None:
        bases = f"`{alignment.teacher.name}` and `{alignment.student.name}`"
        raise UsageError(
            f"No licence was stated for the alignment map, and it is made of two base models, {bases}.",
            do="Read their licences, and state one for the map with `--license`.",
        )
    chosen = check_licence(stated)
    tags = (MAP_TAG, pair_tag(alignment.teacher.fingerprint, alignment.student.fingerprint))
    card = (
        alignment_card(alignment, licence=chosen, repository=name, branch=branch, tags=tags)
        if own_card is None
        else amend(own_card, licence=chosen, tags=tags)
    )
    files: dict[str, Content] = {TENSORS: folder / TENSORS, MAP_RECORD: folder / MAP_RECORD, CARD: card.encode()}
    return Parcel(
        kind=ALIGNMENT_MAP,
        files=files,
        card=card,
        licence=chosen,
        left_out=_left_out(folder, files),
        warnings=_base_warnings(teacher=asdict(alignment.teacher), student=asdict(alignment.student)),
    )


def _own_card(folder: Path, record: Mapping[str, Any]) -> str | None:
    """Give the card that a user wrote or changed; None if it is the one that `convert` wrote, or there is none."""
    path = card_path(folder)
    if path is None or not is_own_card(path, record):
        return None
    return read_card_text(path)


def _own_map_card(folder: Path, alignment: AlignmentMap) -> str | None:
    path = card_path(folder)
    if path is None:
        return None
    text = read_card_text(path)
    return None if text == alignment_card(alignment) else text


def _licence_in(own_card: str | None, folder: Path) -> str | None:
    """Take the licence that a user wrote into the card."""
    return one_licence(read_card(folder).get("license")) if own_card is not None else None


def _refuse_tokens(files: Mapping[str, Content]) -> None:
    """Refuse what nobody else may read; only texts can hold it."""
    for path, content in files.items():
        if path != CARD and not path.endswith(".json"):
            continue
        text = (content if isinstance(content, bytes) else content.read_bytes()).decode("utf-8", "replace")
        if redact(text) != text:
            raise UsageError(
                f"There is something in `{path}` that looks like a token, and everybody could read it.",
                do="Remove it." if path == CARD else "Remove it from the names that were given, and make the folder again.",
            )


def _base_warnings(**bases: Mapping[str, Any]) -> tuple[str, ...]:
    """Warn of base models that only this machine knows."""
    return tuple(
        f"The {side} `{base.get('name')}` is a folder and not on the Hub, so others must have the same files to use this."
        for side, base in bases.items()
        if not base.get("revision")
    )


def _left_out(folder: Path, files: Mapping[str, Content]) -> tuple[str, ...]:
    there = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return tuple(sorted(path for path in there if path not in files))
