"""Converting modules of one teacher with one alignment, and writing them: all of them, or none."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modxfer.alignments.aligners import ALIGNERS
from modxfer.alignments.request import AlignmentRequest
from modxfer.architectures import Architecture
from modxfer.converters.convert import Conversion, convert_module
from modxfer.converters.fitting import fit_roles
from modxfer.converters.formats import reformat
from modxfer.converters.formats.checks import listing
from modxfer.converters.heads import drop_head, fit_head
from modxfer.converters.module import BaseReference, Module
from modxfer.converters.ranks import check_reducible, grown_ranks, reduce_ranks
from modxfer.errors import OutputError, UsageError
from modxfer.paths import check_free, staged_folder
from modxfer.registry.finding import Progress, Search, find_alignment
from modxfer.registry.locate import LocatedBase
from modxfer.registry.lookup import AlignmentChoice, FoundAlignment
from modxfer.registry.pair import Pair
from modxfer.registry.pairs import slug
from modxfer.registry.publishing import Pushed
from modxfer.registry.transfers import transfer_record, write_staged

_Moved = tuple[Module, Mapping[str, Any]]
"""A module on the student, in the format that is written, and what `transfer.json` is to hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user wants of the result.

    Attributes:
        to: The student, as the user named it.
        keep_head: Convert the prediction head too.
        drop_missing: Leave pieces behind whose roles the student lacks; else such a module is refused.
        rank: The largest rank of a LoRA; None for what the conversion gives.
        format: "peft" or "adapters"; None for the module's own.
        force: Replace an output that exists.
        dry_run: Do everything but write.
    """

    to: str
    keep_head: bool
    drop_missing: bool
    rank: int | None
    format: str | None
    force: bool
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """The result of a conversion.

    Attributes:
        output: The folder that holds the module; None after a dry run.
        student: The student: its Hub id, or its folder as it was named.
        record: What `transfer.json` holds.
        head: What became of the prediction head: "kept", "dropped" or "none".
        found: The alignment that was used.
        seconds: Time it took in all, with what came before and after.
        pushed: What was pushed; None if that was not asked for, or after a dry run.
    """

    output: Path | None
    student: str
    record: Mapping[str, Any]
    head: str
    found: FoundAlignment
    seconds: float = 0.0
    pushed: Pushed | None = None

    def as_json(self) -> dict[str, Any]:
        """Give what `convert --json` prints.

        Returns:
            Plain values.
        """
        return {
            "output": str(self.output) if self.output else None,
            "format": self.record["module"]["format"],
            "method": self.record["module"]["method"],
            "teacher": self.record["teacher"],
            "student": self.record["student"],
            "layers": self.record["layers"],
            "alignment": self.found.as_json(),
            "tensors": self.record["tensors"],
            "head": self.head,
            "dropped": self.record["dropped"],
            "approximated": self.record["approximated"],
            "notes": self.record["notes"],
            "warnings": self.record["warnings"],
            "pushed": self.pushed.as_json() if self.pushed else None,
            "seconds": round(self.seconds, 3),
        }


def usual_name(pair: Pair) -> str:
    """Name the folder of a converted module for which none was named.

    Args:
        pair: The module between its base models.

    Returns:
        Module and student.
    """
    return f"{slug(pair.located.name)}-to-{slug(pair.student.name)}"


def name_targets(pairs: Sequence[Pair], output: Path | None) -> dict[Path, Pair]:
    """Give every module of a set its folder.

    Args:
        pairs: The modules between their base models.
        output: The folder that holds them; None for usual names, here.

    Returns:
        Folder to module.

    Raises:
        UsageError: two of them would get the same.
    """
    targets: dict[Path, Pair] = {}
    for pair in pairs:
        target = Path(usual_name(pair)) if output is None else output / slug(pair.located.name)
        if target in targets:
            raise UsageError(
                f"Two of the modules are called `{pair.located.name}`, and would both be written to `{target}`.",
                do="Convert them one by one, with `--output`.",
            )
        targets[target] = pair
    return targets


def check_set(pairs: Sequence[Pair]) -> None:
    """Refuse a set without modules, or of modules that were not all trained on one base model.

    Args:
        pairs: The modules between their base models.

    Raises:
        UsageError: there is no module, or more than one teacher.
    """
    if not pairs:
        raise UsageError("No module was given.", do="Name at least one.")
    teachers = {pair.teacher.record.fingerprint if pair.teacher.has_weights else pair.teacher.name for pair in pairs}
    if len(teachers) > 1:
        named = ", ".join(f"`{pair.located.name}` to `{pair.teacher.name}`" for pair in pairs)
        raise UsageError(
            f"The modules belong to different base models: {named}.", do="Convert those of each base model by themselves."
        )


def check_targets(targets: Mapping[Path, Pair], wishes: Wishes) -> None:
    """Refuse places that cannot be written, before anything is computed.

    Args:
        targets: Folder to module.
        wishes: What the user wants.

    Raises:
        OutputError: one of them exists (without `force`), or is what one of the results is made from.
    """
    for target in targets:
        for pair in targets.values():
            check_apart(target, module=pair.located.folder, teacher=pair.teacher.folder, student=pair.student.folder)
        if not wishes.dry_run:
            check_free(target, force=wishes.force)


def check_apart(target: Path, **inputs: Path) -> None:
    """Refuse an output that would take the place of what it is made from, or of a folder around that.

    Args:
        target: The output.
        **inputs: What it is made from, by what to call it.

    Raises:
        OutputError: it would.
    """
    for what, folder in inputs.items():
        if folder.resolve().is_relative_to(target.resolve()):
            raise OutputError(f"The output `{target}` is, or holds, the {what} `{folder}`.", do="Name another with `--output`.")


def convert_pairs(
    pairs: Mapping[Path, Pair], choice: AlignmentChoice, wishes: Wishes, *, progress: Progress
) -> list[Converted]:
    """Convert modules of one teacher with one alignment, and write each to its folder.

    Args:
        pairs: Folder to module.
        choice: What the user said of the alignment.
        wishes: What the user wants of the result.
        progress: Called with matched tokens seen and asked for, while an alignment is computed.

    Returns:
        What was made, in the order of the modules.

    Raises:
        ModxferError: one of the modules does not arrive whole; nothing is written then, unless the message says what was.
    """
    kept = {target: _fit(pair, wishes) for target, pair in pairs.items()}
    found = _find_for_all([pair.search(kept[target][0]) for target, pair in pairs.items()], choice, progress=progress)
    moved = {target: _convert(pair, *kept[target], found, wishes) for target, pair in pairs.items()}
    if not wishes.dry_run:
        _write(moved, next(iter(pairs.values())).student.architecture, force=wishes.force)
    return [
        Converted(
            output=None if wishes.dry_run else target,
            student=pair.student.name if pair.student.revision else wishes.to,
            record=moved[target][1],
            head="none" if pair.module.head is None else "dropped" if moved[target][0].head is None else "kept",
            found=found,
        )
        for target, pair in pairs.items()
    ]


def _fit(pair: Pair, wishes: Wishes) -> tuple[Module, list[str]]:
    """Leave out of a module what cannot or shall not go along; gives what stays, and sentences on the rest."""
    if wishes.rank is not None:
        check_reducible(pair.module, rank=wishes.rank)
    student = pair.student.architecture
    kept, dropped = fit_head(pair.module, pair.teacher.architecture, student) if wishes.keep_head else drop_head(pair.module)
    kept, missing = fit_roles(kept, student, drop_missing=wishes.drop_missing)
    return kept, [*dropped, *missing]


def _find_for_all(searches: Sequence[Search], choice: AlignmentChoice, *, progress: Progress) -> FoundAlignment:
    """Find one alignment that serves all modules of a set."""
    first = searches[0]
    if len(searches) == 1:
        return find_alignment(first, choice, progress=progress)
    if choice.aligner in ALIGNERS and ALIGNERS[choice.aligner].writes_as_read and len({each.request for each in searches}) > 1:
        raise UsageError(
            f"A map by the aligner `{choice.aligner}` depends on the module, and these modules differ in their places.",
            do="Convert them one by one, or choose another aligner.",
        )
    owners = {each.module.partition("/")[0] for each in searches}
    together = replace(
        first,
        request=AlignmentRequest.union(each.request for each in searches),
        module=first.module if len(owners) == 1 else "",
        datasets=tuple(dict.fromkeys(name for each in searches for name in each.datasets)),
        warnings=[],
    )
    found = find_alignment(together, choice, progress=progress)
    for each in searches:
        each.warnings.extend(together.warnings)
    return found


def _convert(pair: Pair, kept: Module, dropped: list[str], found: FoundAlignment, wishes: Wishes) -> _Moved:
    """Move one module, and put it on the student in the form that is wanted."""
    student = pair.student.architecture
    conversion = convert_module(
        kept, teacher=pair.teacher.architecture, student=student, layers=pair.layers, alignment=found.alignment
    )
    cut: tuple[str, ...] = ()
    if wishes.rank is not None:
        reduced = reduce_ranks(conversion.module, student, rank=wishes.rank)
        conversion, cut = replace(conversion, module=reduced.module), reduced.approximated
    arrived, lost = _arrive(conversion, pair.student, format=wishes.format)
    record = transfer_record(
        pair,
        conversion,
        arrived=arrived,
        found=found,
        dropped=[*dropped, *lost],
        approximated=cut,
        notes=grown_ranks(arrived, student),
    )
    return arrived, record


def _arrive(conversion: Conversion, student: LocatedBase, *, format: str | None) -> tuple[Module, list[str]]:
    """Put the converted module on the student, in the format asked for."""
    base = BaseReference(
        name=student.reference if student.revision is None else student.name,
        revision=student.revision,
        model_type=student.architecture.model_type,
        hidden_size=student.architecture.dimensions["hidden"],
    )
    module = replace(conversion.module, base=base)
    if format is None or format == module.format:
        return module, []
    return reformat(module, student.architecture, format=format)


def _write(moved: Mapping[Path, _Moved], student: Architecture, *, force: bool) -> None:
    """Write modules: none takes its place before all of them stand beside theirs."""
    placed: list[Path] = []

    def note(target: Path, problem: object) -> None:
        if problem is None:
            placed.append(target)

    try:
        with contextlib.ExitStack() as stack:
            for target, (module, record) in moved.items():
                stack.push(lambda kind, error, trace, target=target: note(target, kind))
                staging = stack.enter_context(staged_folder(target, force=force))
                write_staged(module, record, student, staging)
    except OutputError as error:
        if not placed:
            raise
        raise OutputError(f"{error.what} Before that, {listing(placed)} had been written.", do=error.do) from error
