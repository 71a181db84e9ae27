"""The public calls that join the rooms: find a module, find or compute an alignment, convert, write."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modxfer.alignments.aligners import ALIGNERS
from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.alignments.files import read_alignment, write_alignment
from modxfer.converters.fitting import fit_roles
from modxfer.converters.formats.needed import CARD
from modxfer.converters.heads import fit_head
from modxfer.errors import ModxferError, UsageError
from modxfer.paths import check_free, home, staged_folder
from modxfer.registry import conversions
from modxfer.registry.cards import alignment_card
from modxfer.registry.conversions import Converted
from modxfer.registry.finding import Progress, find_alignment, named_alignment
from modxfer.registry.hub.commits import DEFAULT_BRANCH, Destination, check_login
from modxfer.registry.hub.repositories import parse_reference
from modxfer.registry.licences import choose_licence
from modxfer.registry.locate import is_base_model
from modxfer.registry.lookup import AlignmentChoice, FoundAlignment
from modxfer.registry.pair import Pair, read_pair, search_whole
from modxfer.registry.pairs import map_name, slug
from modxfer.registry.publishing import Pushed, is_map, push_folder
from modxfer.registry.pulling import Pulled, pull
from modxfer.registry.pulling import pull_map as pull_alignment
from modxfer.registry.store import Store

if TYPE_CHECKING:
    from modxfer.training.evaluation_request import Evaluated, EvaluationRequest
    from modxfer.training.train import Trained, TrainRequest

__all__ = [
    "AlignmentChoice",
    "Converted",
    "FoundAlignment",
    "Pulled",
    "PushChoice",
    "Pushed",
    "compute_alignment",
    "convert",
    "convert_set",
    "evaluate",
    "find_alignment_map",
    "pull",
    "pull_alignment",
    "push",
    "push_alignment",
    "train",
    "usual_map_name",
]


TrainingProgress = Callable[..., None]
"""Called with how much is done, how much there is and, if that has changed, what is going on now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushChoice:
    """Where to publish, as the user said it.

    Attributes:
        name: The Hub id; the repository is made if there is none.
        licence: The licence; None for the teacher module's.
        private: Whether a new repository is private; None for what its owner's default is.
        create_pr: Open a pull request instead of changing the branch.
        branch: The branch; it is made if there is none.
        message: The commit's message; None for one that says what it is.
        parent_commit: The commit that the branch is expected to be at; None for wherever it is when this begins.
    """

    name: str
    licence: str | None = None
    private: bool | None = None
    create_pr: bool = False
    branch: str = DEFAULT_BRANCH
    message: str | None = None
    parent_commit: str | None = None

    def __post_init__(self) -> None:
        if "@" in self.name:
            raise UsageError(f"`{self.name}` names a revision.", do="Name the branch to push to with `--revision`.")
        if self.name.count("/") != 1:
            raise UsageError(f"`{self.name}` does not say whose it is.", do="Give an id as in `organisation/name`.")
        parse_reference(self.name)


def convert(
    module: str,
    *,
    to: str,
    teacher: str | None = None,
    layers: str = "skip",
    align: AlignmentChoice | None = None,
    keep_head: bool = True,
    drop_missing: bool = False,
    rank: int | None = None,
    format: str | None = None,
    output: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
    push_to: PushChoice | None = None,
    progress: Progress = lambda done, total: None,
) -> Converted:
    """Convert a module from its base model to another one, and write it.

    Args:
        module: The module: a folder, a Hub id, or `registry:` with the id of an entry in the registry that `align` names.
        to: The student: a folder or a Hub id.
        teacher: The teacher, where the module does not say or says wrong.
        layers: Layer map: "skip", "last", "avg", "avg-delta", a list such as "0,2,4", or a JSON file.
        align: How to align the two; None for the defaults.
        keep_head: Convert the prediction head too.
        drop_missing: Leave pieces behind whose roles the student lacks; else such a module is refused.
        rank: The largest rank of a LoRA in the result; None for what the conversion gives.
        format: "peft" or "adapters"; None for the module's own.
        output: Where to write; None for a folder named after module and student, here.
        force: Replace an output that exists.
        dry_run: Do everything but write.
        push_to: Publish the result there; what could keep it from being published is looked at before anything is computed.
        progress: Called with matched tokens seen and asked for, while an alignment is computed.

    Returns:
        What was made.

    Raises:
        ModxferError: anything that keeps the module from arriving whole; nothing is written then.
    """
    start = time.perf_counter()
    choice = align or AlignmentChoice()
    if output is not None and not dry_run:
        check_free(output, force=force)  # before a LoRA is made of another method, which can take minutes
    pair = read_pair(module, to=to, teacher=teacher, layers=layers, registry=choice.registry, rank=rank)
    target = output or Path(conversions.usual_name(pair))
    wishes = conversions.Wishes(
        to=to, keep_head=keep_head, drop_missing=drop_missing, rank=rank, format=format, force=force, dry_run=dry_run
    )
    conversions.check_targets({target: pair}, wishes)
    if push_to is not None:
        _check_pushable(pair, push_to)
    (converted,) = conversions.convert_pairs({target: pair}, choice, wishes, progress=progress)
    pushed = None if push_to is None or dry_run else _push_converted(target, push_to)
    return replace(converted, pushed=pushed, seconds=time.perf_counter() - start)


def convert_set(
    modules: Sequence[str],
    *,
    to: str,
    teacher: str | None = None,
    layers: str = "skip",
    align: AlignmentChoice | None = None,
    keep_head: bool = True,
    drop_missing: bool = False,
    rank: int | None = None,
    format: str | None = None,
    output: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda done, total: None,
) -> tuple[Converted, ...]:
    """Convert several modules of one teacher, with one alignment for all of them, and write each to a folder of its own.

    Args:
        modules: The modules, as in `convert`.
        to: The student: a folder or a Hub id.
        teacher: The teacher, where the modules do not say or say wrong.
        layers: Layer map, as in `convert`.
        align: How to align the two; None for the defaults.
        keep_head: Convert the prediction heads too.
        drop_missing: Leave pieces behind whose roles the student lacks; else such a module is refused.
        rank: The largest rank of a LoRA in the results; None for what the conversion gives.
        format: "peft" or "adapters"; None for each module's own.
        output: The folder in which every module gets one of its name; None for folders named after module and student, here.
        force: Replace outputs that exist.
        dry_run: Do everything but write.
        progress: Called with matched tokens seen and asked for, while an alignment is computed.

    Returns:
        What was made, in the order of the modules.

    Raises:
        ModxferError: the modules are of different teachers, or anything keeps one of them from arriving whole; nothing is
            written then, unless the message names what was.
    """
    start = time.perf_counter()
    choice = align or AlignmentChoice()
    named = choice.registry
    pairs = [read_pair(each, to=to, teacher=teacher, layers=layers, registry=named, rank=rank) for each in modules]
    conversions.check_set(pairs)
    wishes = conversions.Wishes(
        to=to, keep_head=keep_head, drop_missing=drop_missing, rank=rank, format=format, force=force, dry_run=dry_run
    )
    targets = conversions.name_targets(pairs, output)
    conversions.check_targets(targets, wishes)
    made = conversions.convert_pairs(targets, choice, wishes, progress=progress)
    return tuple(replace(each, seconds=time.perf_counter() - start) for each in made)


def train(
    request: "TrainRequest",
    *,
    init_from: str | None = None,
    teacher: str | None = None,
    layers: str = "skip",
    align: AlignmentChoice | None = None,
    drop_missing: bool = False,
    force: bool = False,
    resume: bool = False,
    progress: TrainingProgress = lambda done, total, text=None: None,
) -> "Trained":
    """Train a module on a base model, measure it, and write it; a module of another base model is converted first.

    Args:
        request: What to train.
        init_from: A module of another base model, to be converted and begun with: a folder, a Hub id, or `registry:` with the
            id of an entry.
        teacher: Its base model, where it does not say or says wrong.
        layers: Layer map for it, as in `convert`.
        align: How to align the two; None for the defaults.
        drop_missing: Leave its pieces behind whose roles the base model lacks.
        force: Replace an output that exists, and checkpoints of a training that did not end.
        resume: Go on with a training that did not end; where there is none, begin.
        progress: Called with how much is done, how much there is, and what is going on.

    Returns:
        What was trained and measured.

    Raises:
        ModxferError: anything that keeps the module from being trained; an older output stays as it was.
    """
    from modxfer.training.train import train_module  # imports transformers, which takes seconds

    if init_from is None:
        return train_module(request, force=force, resume=resume, progress=progress)
    if request.init is not None:
        raise UsageError(
            f"`--init {request.init}` and `--init-from {init_from}` were both given.",
            do="Give `--init` for a module of this base model, or `--init-from` for one of another.",
        )
    if request.output is not None:
        check_free(request.output, force=force)  # before an alignment is computed, which can take minutes
    with tempfile.TemporaryDirectory(prefix="modxfer-init-") as folder:
        converted = convert(
            init_from,
            to=request.model,
            teacher=teacher,
            layers=layers,
            align=align,
            drop_missing=drop_missing,
            output=Path(folder) / f"{slug(init_from)}-to-{slug(request.model)}",
            progress=lambda done, total: progress(done, total, "Aligning"),
        )
        begun = replace(request, init=str(converted.output))
        trained = train_module(begun, force=force, resume=resume, progress=progress)
    return replace(trained, warnings=(*converted.record["warnings"], *trained.warnings))


def evaluate(request: "EvaluationRequest", *, progress: TrainingProgress = lambda done, total, text=None: None) -> "Evaluated":
    """Measure a module on a task's data, and compare it with another one.

    Args:
        request: What to measure, and on what.
        progress: Called with how much is done, how much there is, and what is going on.

    Returns:
        What was measured.

    Raises:
        ModxferError: the module, its base model or the data cannot be had, or they do not fit.
    """
    from modxfer.training.evaluating import evaluate_module  # imports transformers, which takes seconds

    return evaluate_module(request, progress=progress)


def compute_alignment(
    module: str,
    *,
    to: str,
    teacher: str | None = None,
    layers: str = "skip",
    align: AlignmentChoice | None = None,
    output: Path | None = None,
    force: bool = False,
    progress: Progress = lambda done, total: None,
) -> FoundAlignment:
    """Find or compute the alignment map that a conversion would use, without converting.

    Args:
        module: The module whose sites are to be aligned, or a teacher, for a map that serves any module of the pair.
        to: The student.
        teacher: The teacher, where the module does not say or says wrong.
        layers: Layer map, as in `convert`.
        align: How to align the two; None for the defaults.
        output: A folder to write a copy of the map to; None to keep it in the store only.
        force: Replace an output that exists.
        progress: Called with matched tokens seen and asked for.

    Returns:
        The map, and where it came from.

    Raises:
        ModxferError: the map cannot be computed; nothing is written then.
    """
    choice = align or AlignmentChoice()
    if is_base_model(module):
        if teacher is not None:
            raise UsageError(f"`{module}` is a base model, and `--from {teacher}` names another.", do="Leave `--from` out.")
        _check_whole(choice)
        search = search_whole(module, to=to, layers=layers)
    else:
        pair = read_pair(module, to=to, teacher=teacher, layers=layers, registry=choice.registry)
        kept, _ = fit_head(pair.module, pair.teacher.architecture, pair.student.architecture)
        search = pair.search(fit_roles(kept, pair.student.architecture, drop_missing=True)[0])
    if output is not None:
        conversions.check_apart(
            output, teacher=search.teacher.folder, student=search.student.folder, module=Path(module).expanduser()
        )
        check_free(output, force=force)
    found = find_alignment(search, choice, progress=progress, measure_identity=True)
    found = replace(found, warnings=tuple(search.warnings))
    if output is not None and found.alignment is not None:
        with staged_folder(output, force=force) as staging:
            write_alignment(found.alignment, staging)
            (staging / CARD).write_text(alignment_card(found.alignment), encoding="utf-8")
    return found


def find_alignment_map(reference: str, *, registry: str | None = None) -> AlignmentMap:
    """Find an alignment map, and verify it.

    Args:
        reference: A folder that holds one, the first digits of its id in the store, a Hub id with an optional `@revision`, or
            `registry:` with the id of an entry.
        registry: The registry that has the entry; None for what `MODXFER_REGISTRY` names.

    Returns:
        The map.

    Raises:
        StoreError: more than one begins with these digits, or none does and no repository can have such an id.
        FormatError: there is no map, or a damaged one.
        EntryError: there is no such entry, or its files are not what it pins.
        HubError: the Hub refuses or cannot be reached.
    """
    from modxfer.registry.shared_map import AlignmentMap as SharedMap  # imports huggingface_hub, which takes a while

    found = named_alignment(reference, registry=registry).alignment
    assert found is not None
    return SharedMap.of(found)


def push(folder: Path, choice: PushChoice, *, dry_run: bool = False) -> Pushed:
    """Publish a converted module or an alignment map: verified, in one commit, with its card.

    Args:
        folder: What `convert` or `align compute` wrote.
        choice: Where to, and how.
        dry_run: Do everything but change the Hub.

    Returns:
        What was done; nothing, if all of it was there already.

    Raises:
        ModxferError: it cannot be published; nothing was changed then.
    """
    destination = Destination(
        name=choice.name,
        branch=choice.branch,
        message=choice.message or f"Add {'an alignment map' if is_map(folder) else 'a converted module'}",
        private=choice.private,
        create_pr=choice.create_pr,
        parent_commit=choice.parent_commit,
    )
    return push_folder(folder, destination, licence=choice.licence, dry_run=dry_run)


def push_alignment(reference: str, choice: PushChoice, *, dry_run: bool = False) -> Pushed:
    """Publish an alignment map that lies in a folder or in the store.

    Args:
        reference: A folder, or the first digits of the map's id in the store.
        choice: Where to, and how.
        dry_run: Do everything but change the Hub.

    Returns:
        What was done; nothing, if all of it was there already.

    Raises:
        ModxferError: it cannot be published; nothing was changed then.
    """
    return push(_local_map(reference), choice, dry_run=dry_run)


def usual_map_name(reference: str) -> str:
    """Name the repository in which others look for a map of this pair first: the user's own, named after the pair.

    Args:
        reference: A folder, or the first digits of the map's id in the store.

    Returns:
        A Hub id.

    Raises:
        ModxferError: there is no such map, or the user is not logged in.
    """
    alignment = read_alignment(_local_map(reference))
    return f"{check_login(str(reference))}/{map_name(alignment.teacher.name, alignment.student.name)}"


def _local_map(reference: str) -> Path:
    folder = Path(reference).expanduser()
    return folder if folder.is_dir() else Store(home()).locate(reference)


def _push_converted(folder: Path, choice: PushChoice) -> Pushed:
    """Push a module that was just converted; if that fails, say where it is."""
    try:
        return push(folder, choice)
    except ModxferError as error:
        on = f"The module is in `{folder}`; publish it with `modxfer push {folder} {choice.name}`."
        raise type(error)(error.what, do=f"{error.do} {on}") from error


def _check_pushable(pair: Pair, choice: PushChoice) -> None:
    """Find out whether a module may be published, before any work is done for it."""
    choose_licence(stated=choice.licence, module=pair.files.licence, teacher=pair.teacher.licence, student=pair.student.licence)
    check_login(choice.name)


def _check_whole(choice: AlignmentChoice) -> None:
    if choice.aligner in ALIGNERS and ALIGNERS[choice.aligner].writes_as_read:
        raise UsageError(
            f"A map by the aligner `{choice.aligner}` depends on the module, so there is none for all modules of a pair.",
            do="Give a module instead of a base model, or another aligner.",
        )
