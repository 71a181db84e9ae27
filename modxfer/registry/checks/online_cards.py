"""Checking an entry against the card of its repository: what the card does not say contradicts nothing."""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

from modxfer.converters.formats.files import read_card
from modxfer.converters.formats.needed import CARD
from modxfer.registry.cards import LIBRARIES
from modxfer.registry.checks.online_asking import LARGEST_TEXT_BYTES, fetched
from modxfer.registry.checks.online_modules import may_be_same
from modxfer.registry.entries.fields import NO_LICENCE, shown
from modxfer.registry.entries.models import AlignmentEntry, Entry, ModuleEntry
from modxfer.registry.entries.problems import Problem
from modxfer.registry.entries.reading import ReadFile
from modxfer.registry.entries.yaml_text import Keys
from modxfer.registry.hub.repositories import Repository
from modxfer.registry.licences import SPDX, UNSAID, as_spdx, normalise
from modxfer.registry.pairs import pair_tag

_FORMATS = {library: format for format, library in LIBRARIES.items()}
_HUB_IDS = {spdx: name for name, spdx in SPDX.items()}
_LICENCE_WORDS = re.compile(r"[\w.+-]+")
_ANY_LANGUAGE = frozenset({"mul", "multilingual", "code", "und"})
_PAIR_TAG = re.compile(r"modxfer-pair-[0-9a-f]{16}")


def check_card(read: ReadFile, entry: Entry, repository: Repository) -> Iterator[Problem]:
    """Check an entry against the card of its repository.

    Args:
        read: The entry's file.
        entry: The entry, whose source is a repository.
        repository: That repository, at the pinned commit.

    Yields:
        The problems.
    """
    if CARD not in repository.files or repository.files[CARD].size_bytes > LARGEST_TEXT_BYTES:
        return
    with fetched(repository, [CARD]) as folder:
        card = read_card(folder)
    yield from _check_licence(read, entry.license, _texts(card, "license"))
    if isinstance(entry, AlignmentEntry):
        bases = {"teacher": entry.teacher.name, "student": entry.student.name}
        yield from _check_pair(read, bases, _texts(card, "base_model"))
        yield from _check_tags(read, entry, _texts(card, "tags"))
    else:
        yield from _check_module(read, entry, card)


def _check_module(read: ReadFile, entry: ModuleEntry, card: Mapping[str, Any]) -> Iterator[Problem]:
    bases = _texts(card, "base_model")
    if bases and not any(may_be_same(entry.base.name, name) for name in bases):
        yield _problem(read, ("base", "name"), "The base model", entry.base.name, bases)
    yield from _check_languages(read, entry.languages, _texts(card, "language"))
    datasets = _texts(card, "datasets")
    for index, dataset in enumerate(entry.datasets):
        if datasets and not any(may_be_same(dataset.name, name) for name in datasets):
            yield _problem(read, ("datasets", index, "name"), "The data set", dataset.name, datasets)
    tasks = _texts(card, "pipeline_tag")
    if tasks and entry.task is not None and entry.task not in tasks:
        yield _problem(read, ("task",), "The task", entry.task, tasks)
    formats = [_FORMATS[library] for library in _texts(card, "library_name") if library in _FORMATS]
    if formats and entry.format not in formats:
        yield _problem(read, ("format",), "The format", entry.format, formats)


def _check_licence(read: ReadFile, stated: str, card: Collection[str]) -> Iterator[Problem]:
    """The Hub's ids are coarser than SPDX's, so both are brought to them; an expression agrees with each licence in it."""
    said = {name for text in card if (name := normalise(text)) is not None and name not in UNSAID}
    if not said:
        return
    ours = {_HUB_IDS.get(word) or normalise(word) for word in _LICENCE_WORDS.findall(stated)}
    if said & ours:
        return
    spdx = sorted(filter(None, map(as_spdx, said)))
    if stated in (NO_LICENCE, "NONE"):
        what = f"The entry names no licence, and the card says {shown(', '.join(sorted(said)))}."
    else:
        what = f"The licence is {shown(stated)}, and the card says {shown(', '.join(sorted(said)))}."
    yield read.problem("card", ("license",), what, do=f"Write {shown(' OR '.join(spdx))}, or have the card corrected.")


def _check_languages(read: ReadFile, stated: Collection[str], card: Collection[str]) -> Iterator[Problem]:
    """A language agrees with any variety of it."""
    said = {_primary(text) for text in card}
    if said & _ANY_LANGUAGE:
        return
    known = said - {""}
    for index, tag in enumerate(stated):
        if known and tag not in _ANY_LANGUAGE and _primary(tag) not in known:
            yield _problem(read, ("languages", index), "The language", tag, card)


def _primary(text: str) -> str:
    """Give the first part of a language tag, as it is in use; empty for what is none, such as a language's name."""
    import langcodes

    if text.lower() in _ANY_LANGUAGE:
        return text.lower()
    if len(text) > 35 or not text.isascii() or not langcodes.tag_is_valid(text):
        return ""
    return str(langcodes.standardize_tag(text)).partition("-")[0]


def _check_pair(read: ReadFile, bases: Mapping[str, str], card: Collection[str]) -> Iterator[Problem]:
    """A card of a map names both base models, or those of the two that are on the Hub."""
    for name in card:
        if not any(map(partial(may_be_same, name), bases.values())):
            what = f"The card names the base model {shown(name)}, which is neither the teacher nor the student."
            yield read.problem("card", ("teacher", "name"), what, do="Correct the entry, or have the card corrected.")


def _check_tags(read: ReadFile, entry: AlignmentEntry, card: Collection[str]) -> Iterator[Problem]:
    """The tag of its pair is how modxfer finds a map."""
    prints = (entry.teacher.fingerprint, entry.student.fingerprint)
    tags = [tag for tag in card if _PAIR_TAG.fullmatch(tag)]
    if tags and None not in prints and pair_tag(str(prints[0]), str(prints[1])) not in tags:
        what = f"The card has the tag of another pair of base models, {shown(tags[0])}."
        yield read.problem("card", ("teacher", "fingerprint"), what, do="Push the map again, and pin that.")


def _problem(read: ReadFile, at: Keys, what: str, stated: str, card: Collection[str]) -> Problem:
    said = shown(", ".join(card))
    return read.problem(
        "card", at, f"{what} is {shown(stated)}, and the card says {said}.", do="Correct the entry, or have the card corrected."
    )


def _texts(card: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Take what a card says under a key: a text, or a list of them."""
    value = card.get(key)
    texts = value if isinstance(value, list) else [value]
    return tuple(text for text in texts if isinstance(text, str) and text.strip())
