"""What a card says that an entry can repeat. Every part comes with notes on what could not be used, and why."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from modxfer.converters.formats.files import read_card
from modxfer.converters.formats.needed import CARD
from modxfer.registry.adding.plain_text import first_heading, first_paragraph, is_plain, plain
from modxfer.registry.adding.values import takes, texts
from modxfer.registry.card_text import items, mapping
from modxfer.registry.entries.fields import Commit, Language, Line, Word, shown
from modxfer.registry.entries.models import DataSet, Result
from modxfer.registry.licences import one_licence

T = TypeVar("T")

Found = tuple[tuple[T, ...], list[str]]
"""What can be used, and notes on what cannot."""

MODEL_CARD = "model card"
"""What ran a measurement of which a card says nothing more."""

_MANY_LANGUAGES = "multilingual"
_LIBRARIES = "modxfer peft adapters adapter-transformers transformers safetensors pytorch"
_AUTOMATIC = frozenset(
    [*_LIBRARIES.split(), "alignment-map", "generated_from_trainer", "endpoints_compatible", "autotrain_compatible"]
)
_AUTOMATIC_STARTS = ("arxiv:", "base_model:", "dataset:", "doi:", "language:", "license:", "modxfer-pair-", "region:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card.

    Attributes:
        head: Its metadata; empty where it has none that can be read.
        text: All of it; empty where there is none.
    """

    head: Mapping[str, Any]
    text: str

    @property
    def licence(self) -> str | None:
        """What it says of the licence; None if nothing."""
        return one_licence(self.head.get("license"))

    @property
    def title(self) -> str:
        """What it calls itself: by its results, else by its first heading; empty if by nothing."""
        models = map(mapping, items(self.head.get("model-index")))
        named = next((model["name"] for model in models if isinstance(model.get("name"), str)), "")
        return plain(named) or first_heading(self.text)

    @property
    def description(self) -> str:
        """Its first paragraph; empty if it has none."""
        return first_paragraph(self.text)

    @property
    def task(self) -> str | None:
        """The task that it names; None if it names none that an entry can."""
        found = self.head.get("pipeline_tag")
        return found if isinstance(found, str) and takes(Word, found) else None

    def datasets(self) -> Found[DataSet]:
        """List the data sets that it names.

        Returns:
            The data sets, and notes.
        """
        named = texts(self.head.get("datasets"))
        usable = [name for name in named if takes(Line, name) and is_plain(name)]
        return tuple(DataSet(name=name) for name in usable), _unused("data set", named, usable)

    def languages(self) -> Found[str]:
        """List the languages that it names, as BCP 47 has them.

        Returns:
            Language tags, and notes.
        """
        named = texts(self.head.get("language"))
        tags = {name: tag for name in named if (tag := _language(name)) is not None}
        return tuple(dict.fromkeys(tags.values())), _unused("language", named, tags)

    def tags(self, *, automatic: Collection[str]) -> Found[str]:
        """List the tags that somebody chose.

        Args:
            automatic: Tags that say what the entry says elsewhere.

        Returns:
            Tags, and notes.
        """
        known = {tag.lower() for tag in automatic} | _AUTOMATIC
        named = [
            tag
            for tag in texts(self.head.get("tags"))
            if tag.lower() not in known and not tag.lower().startswith(_AUTOMATIC_STARTS)
        ]
        usable = [tag for tag in named if takes(Word, tag)]
        return tuple({tag.casefold(): tag for tag in usable}.values()), _unused("tag", named, usable)

    def results(self) -> Found[Result]:
        """List what it says was measured.

        Returns:
            Results, one for each metric, data set and split, and notes.
        """
        found: dict[tuple[str, str, str], Result] = {}
        notes = []
        for dataset, metric, ran_by in _metrics(self.head):
            result = _result(dataset, metric, ran_by)
            if isinstance(result, str):
                notes.append(f"The card's result {_shown_result(dataset, metric)} is left out: {result}.")
                continue
            same = found.setdefault((result.metric, result.dataset, result.split), result)
            if same is not result and same != result:
                notes.append(f"The card's result {_shown_result(dataset, metric)} is left out: there is another one of it.")
            elif dataset.get("revision") is not None and result.dataset_revision is None:
                revision = shown(dataset["revision"])
                notes.append(f"The revision {revision} of the data set {shown(result.dataset)} is no commit, and is left out.")
        return tuple(found.values()), list(dict.fromkeys(notes))


def read_card_in(*folders: Path) -> tuple[Card, list[str]]:
    """Read a card.

    Args:
        *folders: Where it may lie; the first that holds one counts.

    Returns:
        The card, which is empty if there is none, and notes.
    """
    folder = next((folder for folder in folders if (folder / CARD).is_file()), None)
    if folder is None:
        return Card(head={}, text=""), ["There is no card, so what only a card says is not known."]
    text = (folder / CARD).read_bytes().decode("utf-8-sig", "replace")
    head = read_card(folder)
    is_odd = not head and text.startswith("---")
    return Card(head=head, text=text), ["The card's metadata cannot be read, and is passed over."] if is_odd else []


def _unused(what: str, named: Collection[str], used: Collection[str]) -> list[str]:
    left = [shown(name) for name in named if name not in used]
    return [f"The card names the {what} {name}, which is none that an entry can say." for name in left]


def _language(name: str) -> str | None:
    """Write a language as it is in use; names of languages mean several, and are not guessed at."""
    import langcodes

    if name.strip().lower() == _MANY_LANGUAGES:
        return "mul"
    if not name.isascii() or len(name) > 35 or not langcodes.tag_is_valid(name):
        return None
    tag = str(langcodes.standardize_tag(name))
    return tag if takes(Language, tag) else None


def _metrics(head: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], str]]:
    """Give each number of a card's `model-index`, with its data set and what ran it."""
    for model in map(mapping, items(head.get("model-index"))):
        for result in map(mapping, items(model.get("results"))):
            ran_by = mapping(result.get("source")).get("name")
            said = plain(ran_by) if isinstance(ran_by, str) else ""
            for metric in map(mapping, items(result.get("metrics"))):
                yield mapping(result.get("dataset")), metric, said or MODEL_CARD


def _result(dataset: Mapping[str, Any], metric: Mapping[str, Any], ran_by: str) -> Result | str:
    """Make a result, or say why it cannot be one."""
    value, split, revision = metric.get("value"), dataset.get("split"), dataset.get("revision")
    name = _dataset_name(dataset)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "its value is no number"
    if not takes(Word, metric.get("type")):
        return "it names no metric"
    if name is None:
        return "it names no data set"
    if not takes(Word, split):
        return "it does not say on which split it was measured"
    return Result(
        metric=str(metric["type"]),
        value=float(value),
        dataset=name,
        dataset_revision=revision if takes(Commit, revision) else None,
        split=str(split),
        ran_by=ran_by,
        seeds=None,
        deviation=None,
    )


def _dataset_name(dataset: Mapping[str, Any]) -> str | None:
    """Name a data set by its id, with its configuration where that is not the only one."""
    name, config = dataset.get("type") or dataset.get("name"), dataset.get("config")
    if not isinstance(name, str):
        return None
    full = f"{name} ({config})" if isinstance(config, str) and config not in ("", "default", name) else name
    return full if takes(Line, full) and is_plain(full) else None


def _shown_result(dataset: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    name = dataset.get("type") or dataset.get("name") or "no data set"
    return f"{shown(metric.get('type'))} {shown(metric.get('value'))} on {shown(name)}"
