"""The entry of a module, from its repository, its card and its base model's config."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from modxfer.converters.formats import inspect_files
from modxfer.converters.formats.checks import is_hub_id, listing
from modxfer.converters.formats.files import read_json
from modxfer.converters.formats.needed import needed_files
from modxfer.converters.module import BaseReference, ModuleFiles
from modxfer.errors import ConversionError, FormatError, UsageError
from modxfer.registry.adding.bases import describe_base
from modxfer.registry.adding.card import Card, read_card_in
from modxfer.registry.adding.choice import (
    Drawn,
    EntryChoice,
    author_list,
    chosen_licence,
    chosen_title,
    entry_id,
    licence_notes,
    pin_files,
)
from modxfer.registry.adding.lineage import find_lineage
from modxfer.registry.adding.values import texts
from modxfer.registry.card_text import mapping
from modxfer.registry.card_training import is_transfer
from modxfer.registry.cards import PIPELINES
from modxfer.registry.checks.online_modules import roles_of
from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.models import Base, Head, HubSource, Lineage, Method, ModuleEntry
from modxfer.registry.hub.headers import remote_headers
from modxfer.registry.hub.repositories import Repository
from modxfer.registry.inspection import report_module, sketch_module
from modxfer.registry.reports import ModuleReport
from modxfer.registry.transfers import TRANSFER

_CONFIG = "adapter_config.json"
_TASKS = PIPELINES | {
    "SEQ_2_SEQ_LM": "text2text-generation",
    "FEATURE_EXTRACTION": "feature-extraction",
}
"""Task type of a head or of `peft` to the Hub's name of the task."""

_METHODS = {"lora": "LoRA", "bottleneck": "Bottleneck adapter"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """What was fetched of a module: no weights.

    Attributes:
        source: Its files, pinned.
        module: What its configs and the headers of its weights say.
        transfer: Its `transfer.json`; empty if it has none.
        card: Its card.
        notes: What is wrong with the card.
    """

    source: HubSource
    module: ModuleFiles
    transfer: Mapping[str, Any]
    card: Card
    notes: list[str]


def draw_module(repository: Repository, *, branch: str, choice: EntryChoice, registry: Registry) -> Drawn:
    """Write the entry of a module.

    Args:
        repository: Its repository, at one commit.
        branch: The branch that the commit was taken from.
        choice: What the user said.
        registry: The registry, which must have what the module was made from.

    Returns:
        The entry.

    Raises:
        UsageError: its base model is on no Hub, it states no licence, or what it was made from is not registered.
        FormatError: its files cannot be registered.
        HubError: the Hub refuses or cannot be reached.
        ModxferError: it is of a method that modxfer does not know.
    """
    files = _fetch(repository, branch=branch)
    card = files.card
    licence = chosen_licence(choice, card.licence, what=repository.name)
    base, report, base_notes = _inspect(repository, files)
    task = choice.task or card.task or _task(report, files.module.config)
    datasets, dataset_notes = card.datasets()
    languages, language_notes = card.languages()
    results, result_notes = card.results()
    tags, tag_notes = card.tags(automatic=_known_tags(report, base, task, texts(card.head.get("language"))))
    made = f"{_METHODS.get(report.method, report.method)} for {base.name}{f', {task}' if task else ''}"
    entry = ModuleEntry(
        format_version=1,
        id=entry_id(choice, repository.name),
        title=chosen_title(choice, card, otherwise=made),
        description=card.description,
        source=files.source,
        base=base,
        method=_method(report),
        format="peft" if report.format == "peft" else "adapters",
        task=task,
        head=Head(task=report.head, labels=report.labels) if report.head else None,
        datasets=datasets,
        languages=languages,
        results=results,
        license=licence,
        authors=author_list(choice, repository.name),
        tags=tuple(dict.fromkeys((*tags, *choice.tags))),
        homepage=None,
        citation=None,
        lineage=_lineage(files, choice, registry),
    )
    notes = [
        *licence_notes(choice, card.licence, licence),
        *files.notes,
        *base_notes,
        *dataset_notes,
        *language_notes,
        *tag_notes,
        *result_notes,
        *_left_open(entry),
    ]
    return Drawn(entry=entry, notes=tuple(notes))


def _fetch(repository: Repository, *, branch: str) -> _Files:
    """Fetch config, card and record, and take the hashes of the weights from the Hub."""
    needed = needed_files(repository.files)
    folders = sorted({path.rpartition("/")[0] for path in needed if path.endswith(_CONFIG)})
    if not folders:
        raise FormatError(
            f"`{repository.name}` holds {listing(needed)} and no `{_CONFIG}`, and an entry is of an adapter, which has one.",
            do="Name it by its Hub id: a module needs no entry to be converted.",
        )
    if len(folders) != 1:
        raise FormatError(
            f"`{repository.name}` holds {len(folders)} modules, and an entry describes one.",
            do="Register a repository that holds a single module.",
        )
    pickles = [path for path in needed if PurePosixPath(path).suffix == ".bin"]
    if pickles:
        raise FormatError(
            f"`{repository.name}` holds its tensors in the pickle `{pickles[0]}`, which can run code where it is loaded.",
            do="Save the module as safetensors, and push that.",
        )
    own = folders[0]
    records = [path for path in (f"{own}/{TRANSFER}", TRANSFER) if path in repository.files]
    record = records[0] if records else None
    weights = [path for path in needed if path.endswith(".safetensors")]
    folder = repository.fetch([*(path for path in needed if path not in weights), *records[:1]])
    card, notes = read_card_in(*dict.fromkeys((folder / own, folder)))
    return _Files(
        source=HubSource(
            repository=repository.name,
            revision=repository.commit,
            branch=branch,
            files=pin_files(repository, (*needed, *records[:1])),
        ),
        module=inspect_files(
            folder, elsewhere={PurePosixPath(path).name: remote_headers(repository, path) for path in weights}
        ),
        transfer=read_json(folder / record) if record else {},
        card=card,
        notes=notes,
    )


def _inspect(repository: Repository, files: _Files) -> tuple[Base, ModuleReport, list[str]]:
    """Find the base model, and say what the module is on it."""
    named = _base_reference(files)
    described = describe_base(named.name, revision=named.revision)
    base, notes = described.base, []
    if named.revision is None:
        notes.append(f"The module does not say at which commit its base model is; `{base.name}` is now at {base.revision}.")
    if described.architecture is None:
        notes.append(f"modxfer does not know the family {shown(base.family)}, so widths, places and inner sizes are left out.")
        return base, report_module(files.module, None, name=repository.name, revision=repository.commit), notes
    try:
        module = sketch_module(files.module, described.architecture)
    except (FormatError, ConversionError) as error:
        raise type(error)(
            f"`{repository.name}` does not fit its base model `{base.name}`. {error.what}", do=error.do
        ) from error
    return base, report_module(files.module, module, name=repository.name, revision=repository.commit), notes


def _base_reference(files: _Files) -> BaseReference:
    """Say which base model is meant: the one in the config, else on the card, else in the record of the transfer."""
    student = mapping(files.transfer.get("student"))
    name, revision = files.module.base.name, files.module.base.revision
    if not is_hub_id(name):
        others = [*texts(files.card.head.get("base_model"))[:1], student.get("name")]
        found = next((other for other in others if isinstance(other, str) and is_hub_id(other)), None)
        name, revision = (name, None) if found is None else (found, None)
    if revision is None and student.get("name") == name and isinstance(student.get("revision"), str):
        revision = student["revision"]
    if not name:
        raise UsageError("The module names no base model.", do="Write its Hub id into the card as `base_model`, and push that.")
    return replace(files.module.base, name=name, revision=revision)


def _task(report: ModuleReport, config: Mapping[str, Any]) -> str | None:
    return _TASKS.get(report.head or str(config.get("task_type")))


def _method(report: ModuleReport) -> Method:
    return Method(
        name=report.method,
        inner_sizes=report.inner_sizes,
        scalings=tuple(float(scaling) for scaling in report.scalings),
        roles=roles_of(report),
        parameters=report.parameters or None,
    )


def _lineage(files: _Files, choice: EntryChoice, registry: Registry) -> Lineage | None:
    """A module that was trained from scratch, or never moved, has a record and no lineage."""
    was_moved = bool(files.transfer) and is_transfer(files.transfer)
    return find_lineage(files.transfer, registry) if was_moved and choice.has_lineage else None


def _known_tags(report: ModuleReport, base: Base, task: str | None, languages: tuple[str, ...]) -> set[str]:
    """Name the tags that say what the entry says elsewhere."""
    return {report.format, report.method, base.family, base.name, f"adapterhub:{base.name}", task or "", *languages}


def _left_open(entry: ModuleEntry) -> list[str]:
    """Say what could not be found."""
    fields: dict[str, object] = {
        "task": entry.task,
        "data sets": entry.datasets,
        "languages": entry.languages,
        "results": entry.results,
        "description": entry.description,
    }
    missing = [name for name, value in fields.items() if not value]
    return [f"Not found, and left out: {', '.join(missing)}."] if missing else []
