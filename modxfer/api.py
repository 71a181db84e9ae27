"""The public calls that join the rooms: find a module, find or compute an alignment, convert, write."""

import json
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modxfer.alignments.aligners import ALIGNERS, AUTO, DEFAULT_PENALTY
from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.alignments.compute import ALGORITHM, DEFAULT_TOKENS
from modxfer.alignments.corpus import Corpus, open_corpus, open_dataset
from modxfer.alignments.files import hash_file, read_alignment, write_alignment
from modxfer.alignments.layer_maps import LayerMap, layer_map
from modxfer.alignments.request import AlignmentRequest, check_kinds
from modxfer.converters.convert import Conversion, convert_module, request_for
from modxfer.converters.formats import inspect_files, read_module, reformat, write_module
from modxfer.converters.heads import drop_head, fit_head
from modxfer.converters.module import BaseReference, Module, ModuleFiles
from modxfer.errors import AlignmentError, CorpusError, OutputError, UsageError
from modxfer.paths import check_free, home, staged_folder
from modxfer.registry.cards import alignment_card, module_card
from modxfer.registry.locate import LocatedBase, LocatedModule, locate_base, locate_module
from modxfer.registry.store import Store, alignment_key

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
RECORD = "transfer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentChoice:
    """How to align, as the user said it.

    Attributes:
        aligner: "auto", or a name from the table of aligners.
        folder: A map to use; None to look one up or compute it.
        corpus: A file or data set; None for the module's own data set, else the text that ships with the package.
        column: The corpus's column that holds the text.
        tokens: Matched tokens to use at most.
        penalty: Ridge penalty, in units of the mean variance.
        device: Where to run, "auto" for a GPU where there is one.
    """

    aligner: str = AUTO
    folder: Path | None = None
    corpus: str | None = None
    column: str | None = None
    tokens: int = DEFAULT_TOKENS
    penalty: float = DEFAULT_PENALTY
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.aligner != AUTO and self.aligner not in ALIGNERS:
            raise UsageError(f"There is no aligner `{self.aligner}`.", do=f"Use one of {', '.join([AUTO, *ALIGNERS])}.")
        if not 0 < self.penalty < math.inf:
            raise UsageError(f"`--penalty {self.penalty}` is not a number above 0.", do="Leave it out.")
        if self.folder is not None and self.aligner != AUTO:
            raise UsageError(
                f"`--align {self.aligner}` and `--alignment {self.folder}` were both given, and a map has its aligner.",
                do="Leave one of them out.",
            )
        if self.tokens < 1:
            raise UsageError(f"`--tokens {self.tokens}` is not a number above 0.", do="Leave it out, or give some thousands.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAlignment:
    """An alignment, and where it came from.

    Attributes:
        source: "identity", "file", "store" or "computed".
        alignment: The map; None where the spaces are stated to be the same.
        seconds: Time it took to find or compute.
        warnings: What was met on the way to it; its own warnings are in the map.
    """

    source: str
    alignment: AlignmentMap | None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give what `convert --json` prints of it.

        Returns:
            Plain values.
        """
        found = self.alignment
        return {
            "source": self.source,
            "id": found.key if found else None,
            "aligner": found.aligner if found else "identity",
            "requested": found.requested if found else "identity",
            "reason": found.reason if found else "",
            "corpus": found.corpus.name if found else None,
            "tokens": found.corpus.tokens if found else 0,
            "mean_correlation": found.mean_correlation if found else None,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """The result of a conversion.

    Attributes:
        output: The folder that holds the module; None after a dry run.
        record: What `transfer.json` holds.
        head: What became of the prediction head: "kept", "dropped" or "none".
        found: The alignment that was used.
        seconds: Time it took in all.
    """

    output: Path | None
    record: Mapping[str, Any]
    head: str
    found: FoundAlignment
    seconds: float

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
            "warnings": self.record["warnings"],
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A module between its teacher and a student."""

    located: LocatedModule
    files: ModuleFiles
    module: Module
    teacher: LocatedBase
    student: LocatedBase
    layers: LayerMap
    warnings: list[str] = field(default_factory=list)


def convert(
    module: str,
    *,
    to: str,
    teacher: str | None = None,
    layers: str = "skip",
    align: AlignmentChoice | None = None,
    keep_head: bool = True,
    format: str | None = None,
    output: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda done, total: None,
) -> Converted:
    """Convert a module from its base model to another one, and write it.

    Args:
        module: The module: a folder or a Hub id.
        to: The student: a folder or a Hub id.
        teacher: The teacher, where the module does not say or says wrong.
        layers: Layer map: "skip", "last", "avg", "avg-delta", a list such as "0,2,4", or a JSON file.
        align: How to align the two; None for the defaults.
        keep_head: Convert the prediction head too.
        format: "peft" or "adapters"; None for the module's own.
        output: Where to write; None for a folder named after module and student, here.
        force: Replace an output that exists.
        dry_run: Do everything but write.
        progress: Called with matched tokens seen and asked for, while an alignment is computed.

    Returns:
        What was made.

    Raises:
        ModxferError: anything that keeps the module from arriving whole; nothing is written then.
    """
    start = time.perf_counter()
    choice = align or AlignmentChoice()
    pair = _read_pair(module, to=to, teacher=teacher, layers=layers)
    target = output or Path(f"{_slug(pair.located.name)}-to-{_slug(pair.student.name)}")
    _check_apart(target, pair)
    if not dry_run:
        check_free(target, force=force)
    kept, dropped = (
        fit_head(pair.module, pair.teacher.architecture, pair.student.architecture) if keep_head else drop_head(pair.module)
    )
    found = _find_alignment(replace(pair, module=kept), choice, progress=progress)
    conversion = convert_module(
        kept,
        teacher=pair.teacher.architecture,
        student=pair.student.architecture,
        layers=pair.layers,
        alignment=found.alignment,
    )
    arrived, notes = _arrive(conversion, pair.student, format=format)
    record = _record(pair, conversion, arrived, found, dropped=[*dropped, *notes])
    if not dry_run:
        _write(arrived, record, pair.student, target, force=force)
    head = "none" if pair.module.head is None else "dropped" if arrived.head is None else "kept"
    return Converted(
        output=None if dry_run else target,
        record=record,
        head=head,
        found=found,
        seconds=time.perf_counter() - start,
    )


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
        module: The module whose sites are to be aligned: a folder or a Hub id.
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
    pair = _read_pair(module, to=to, teacher=teacher, layers=layers)
    if output is not None:
        _check_apart(output, pair)
        check_free(output, force=force)
    kept, _ = fit_head(pair.module, pair.teacher.architecture, pair.student.architecture)
    found = _find_alignment(replace(pair, module=kept), choice, progress=progress, measure_identity=True)
    found = replace(found, warnings=tuple(pair.warnings))
    if output is not None and found.alignment is not None:
        with staged_folder(output, force=force) as staging:
            write_alignment(found.alignment, staging)
            (staging / "README.md").write_text(alignment_card(found.alignment), encoding="utf-8")
    return found


def find_alignment_map(reference: str) -> AlignmentMap:
    """Read an alignment map.

    Args:
        reference: A folder that holds one, or the first digits of its id in the store.

    Returns:
        The map.

    Raises:
        StoreError: no map, or more than one, begins with these digits.
        FormatError: the folder holds no map, or a damaged one.
    """
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return read_alignment(folder)
    store = Store(home())
    return read_alignment(store.root / "alignments" / store.resolve(reference))


def _read_pair(module: str, *, to: str, teacher: str | None, layers: str) -> _Pair:
    store = Store(home())
    located = locate_module(module)
    files = inspect_files(located.folder)
    named = teacher or _pinned(files.base)
    if not named:
        raise UsageError(f"The module `{module}` does not say which base model it belongs to.", do="Say so with `--from`.")
    try:
        from_base = locate_base(named, memory=store.hashes)
    except UsageError as error:
        if teacher:
            raise
        raise UsageError(
            f"The module `{module}` belongs to `{named}`, which is no folder here and could not be had from the Hub.",
            do="Say where that base model is with `--from`.",
        ) from error
    to_base = locate_base(to, memory=store.hashes)
    check_kinds(from_base.architecture, to_base.architecture)
    table = layer_map(layers, teacher=from_base.architecture.depths, student=to_base.architecture.depths)
    return _Pair(
        located=located,
        files=files,
        module=read_module(files, from_base.architecture),
        teacher=from_base,
        student=to_base,
        layers=table,
    )


def _find_alignment(
    pair: _Pair, choice: AlignmentChoice, *, progress: Progress, measure_identity: bool = False
) -> FoundAlignment:
    """Find an alignment in the order of the design: stated, named, stored, computed."""
    start = time.perf_counter()
    if choice.folder is not None:
        alignment = read_alignment(choice.folder)
        _check_made_for(alignment, pair, choice.folder)
        return FoundAlignment(source="file", alignment=alignment, seconds=time.perf_counter() - start)
    if choice.aligner == "identity" and not measure_identity:
        return FoundAlignment(source="identity", alignment=None)
    store = Store(home())
    corpus = _choose_corpus(pair, choice)
    request = request_for(pair.module, pair.layers)
    key = alignment_key(_key_inputs(pair, choice, corpus, request))
    alignment, was_stored = store.find_or_compute(key, lambda: _compute(request, pair, choice, corpus, progress=progress))
    return FoundAlignment(
        source="store" if was_stored else "computed", alignment=alignment, seconds=time.perf_counter() - start
    )


def _compute(
    request: AlignmentRequest, pair: _Pair, choice: AlignmentChoice, corpus: Corpus, *, progress: Progress
) -> AlignmentMap:
    from modxfer.alignments import compute
    from modxfer.alignments.probe import choose_device

    alignment = compute.compute_alignment(
        request,
        teacher=pair.teacher.with_weights(),
        student=pair.student.with_weights(),
        corpus=corpus,
        tokens=choice.tokens,
        aligner=choice.aligner,
        penalty=choice.penalty,
        device=choose_device(choice.device),
        progress=progress,
    )
    return replace(
        alignment,
        versions={name: version(name) for name in ("modxfer", "numpy", "scipy", "torch", "transformers")},
    )


def _choose_corpus(pair: _Pair, choice: AlignmentChoice) -> Corpus:
    """Take the corpus that was named, else the module's own data set if it can be had, else the text of the package."""
    if choice.corpus is not None:
        return open_corpus(choice.corpus, column=choice.column)
    for name in pair.files.datasets:
        try:
            return open_dataset(name)
        except CorpusError as error:
            pair.warnings.append(f"The module's data set `{name}` could not be had, so other text was used.")
            logger.info("%s", error)
    return open_corpus(None)


def _key_inputs(pair: _Pair, choice: AlignmentChoice, corpus: Corpus, request: AlignmentRequest) -> dict[str, Any]:
    return {
        "algorithm": ALGORITHM,
        "transformers": version("transformers"),
        "teacher": pair.teacher.record.fingerprint,
        "student": pair.student.record.fingerprint,
        "corpus": [corpus.fingerprint, corpus.column],
        "tokens": choice.tokens,
        "aligner": choice.aligner,
        "penalty": choice.penalty,
        "layers": request.layers,
        "routes": [
            [[str(item.route.reads), str(item.route.writes), item.reads, item.writes, item.updates] for item in routes]
            for routes in (request.inside, request.outside)
        ],
    }


def _check_made_for(alignment: AlignmentMap, pair: _Pair, folder: Path) -> None:
    """Refuse a map of other base models; where a base has no weights here, its family is all that can be compared."""
    for side, base, record in (
        ("teacher", pair.teacher, alignment.teacher),
        ("student", pair.student, alignment.student),
    ):
        if not base.has_weights:
            same = base.architecture.model_type == record.model_type
            pair.warnings.append(f"The {side} has no weights here, so it could not be checked against the alignment map.")
        else:
            same = base.record.fingerprint == record.fingerprint
        if not same:
            raise AlignmentError(
                f"The alignment map in `{folder}` was made for the {side} `{record.name}` ({record.fingerprint[:12]}), and "
                f"this {side} is `{base.name}`, with other files.",
                do="Compute one for this pair: leave `--alignment` out.",
            )


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


def _record(
    pair: _Pair, conversion: Conversion, arrived: Module, found: FoundAlignment, *, dropped: list[str]
) -> dict[str, Any]:
    """What `transfer.json` holds: no times, so that the same conversion gives the same bytes."""
    warnings = [*pair.warnings, *(found.alignment.warnings if found.alignment else ())]
    alignment = {key: value for key, value in found.as_json().items() if key not in ("seconds", "source")}
    return {
        "format_version": 1,
        "module": {
            "name": pair.located.name,
            "revision": pair.located.revision,
            "format": arrived.format,
            "method": arrived.method,
            "teacher_format": pair.module.format,
            "files": {name: hash_file(pair.files.folder / name) for name in pair.files.weight_files},
        },
        "teacher": _base_record(pair.teacher),
        "student": _base_record(pair.student),
        "layers": {"mode": pair.layers.mode, "map": pair.layers.as_lists()},
        "alignment": {"source": "identity" if found.alignment is None else "map", **alignment},
        "tensors": {"converted": conversion.tensors, "bytes": arrived.num_bytes()},
        "dropped": [*dropped, *conversion.dropped],
        "approximated": list(conversion.approximated),
        "warnings": list(dict.fromkeys(warnings)),
        "versions": {"modxfer": version("modxfer")},
    }


def _base_record(base: LocatedBase) -> dict[str, Any]:
    if base.has_weights:
        return asdict(base.record)
    return {
        "name": base.name,
        "revision": base.revision,
        "fingerprint": None,
        "model_type": base.architecture.model_type,
    }


def _write(module: Module, record: Mapping[str, Any], student: LocatedBase, target: Path, *, force: bool) -> None:
    """Write the module beside its target, read it back as a stranger would, and only then put it in place."""
    with staged_folder(target, force=force) as staging:
        write_module(module, student.architecture, staging)
        read_module(inspect_files(staging), student.architecture)
        (staging / "README.md").write_text(module_card(record), encoding="utf-8")
        files = {path.name: hash_file(path) for path in sorted(staging.iterdir())}
        full = json.dumps({**record, "files": files}, indent=2, ensure_ascii=False)
        (staging / RECORD).write_text(full + "\n", encoding="utf-8")


def _pinned(base: BaseReference) -> str:
    """Name the base model that a module says, at the revision that it says; a folder has none."""
    is_pinned = base.revision is not None and not Path(base.name).expanduser().is_dir()
    return f"{base.name}@{base.revision}" if base.name and is_pinned else base.name


def _check_apart(target: Path, pair: _Pair) -> None:
    """Refuse an output that would take the place of what it is made from, or of a folder around that."""
    for what, folder in (
        ("module", pair.located.folder),
        ("teacher", pair.teacher.folder),
        ("student", pair.student.folder),
    ):
        if folder.resolve().is_relative_to(target.resolve()):
            raise OutputError(f"The output `{target}` is, or holds, the {what} `{folder}`.", do="Name another with `--output`.")


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name.rpartition("/")[2]).strip("-.") or "module"
