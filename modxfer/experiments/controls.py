"""Controls: module folders to begin a training with that have only a part of what a transfer brings.

A transfer moves directions, sizes and a head. `random-norm` keeps the sizes, `random-gather` keeps the teacher's tensors and
takes units at random, `head-only` keeps the head. What gains as much as the transfer does shows what the gain comes from.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modxfer import api
from modxfer.alignments.alignment_map import AlignmentMap, CorpusRecord, SiteMap, SitePair, SiteScore
from modxfer.alignments.files import write_alignment
from modxfer.alignments.request import PairUse
from modxfer.architectures import Architecture
from modxfer.converters.formats import inspect_files, read_module
from modxfer.converters.module import Array, Module, Piece
from modxfer.errors import TrainingError
from modxfer.paths import home
from modxfer.registry.locate import LocatedBase, locate_base
from modxfer.registry.pair import read_pair
from modxfer.registry.store import Store
from modxfer.registry.transfers import write_transferred

RANDOM_GATHER = "random-gather"


def random_norm(module: Module, *, seed: int) -> Module:
    """Replace every tensor of a module by Gaussian noise of the same Frobenius norm; the head stays.

    Args:
        module: The module.
        seed: Seed of the noise.

    Returns:
        The module, each tensor in its own dtype; a tensor of zeros stays one.
    """
    generator = np.random.default_rng([seed, 1])
    pieces = {}
    for place, piece in sorted(module.pieces.items()):
        parts = piece.parts if place.is_head else _noise(piece.parts, generator)
        pieces[place] = replace(piece, parts=parts)
    return replace(module, pieces=pieces)


def random_assignment(student: int, teacher: int, generator: np.random.Generator) -> np.ndarray:
    """Choose a teacher unit for each student unit at random, without repetition as long as there are some left.

    Args:
        student: Number of student units.
        teacher: Number of teacher units.
        generator: Where chance comes from.

    Returns:
        Teacher units, int32, shape (student,).
    """
    rounds = -(-student // teacher)
    return np.concatenate([generator.permutation(teacher) for _ in range(rounds)])[:student].astype(np.int32)


def random_alignment(
    uses: Mapping[SitePair, PairUse], *, teacher: LocatedBase, student: LocatedBase, seed: int
) -> AlignmentMap:
    """Make an alignment map that takes teacher units at random, at each pair of sites others.

    Args:
        uses: The pairs of sites that a module needs.
        teacher: The teacher.
        student: The student.
        seed: Seed of the choice.

    Returns:
        The map.
    """
    generator = np.random.default_rng([seed, 2])
    maps, scores = {}, {}
    for pair in sorted(uses):
        widths = student.architecture.width(pair.student), teacher.architecture.width(pair.teacher)
        assignment = random_assignment(*widths, generator)
        maps[pair] = SiteMap(correlation=np.zeros(widths[0], dtype=np.float32), assignment=assignment)
        scores[pair] = SiteScore(
            aligner=RANDOM_GATHER,
            tokens=0,
            mean_correlation=0.0,
            chance=None,
            explained_by_units=0.0,
            explained_by_linear=None,
            same_index=float(np.mean(assignment == np.arange(widths[0]))),
            constant_units=0,
        )
    return AlignmentMap(
        teacher=teacher.record,
        student=student.record,
        corpus=CorpusRecord(name="none", revision=None, fingerprint="", texts=0, tokens=0, matching="spans"),
        aligner=RANDOM_GATHER,
        requested=RANDOM_GATHER,
        reason="a control: units are taken at random",
        parameters={"seed": seed},
        maps=maps,
        scores=scores,
    )


def head_only(transferred: Module, initial: Module) -> Module:
    """Take a module at its usual initialisation, and the head of a transferred one.

    Args:
        transferred: The transferred module, with its head.
        initial: A new module of the same shape.

    Returns:
        The module, in the transferred one's format.

    Raises:
        TrainingError: there is no head, or the two have other shapes.
    """
    if transferred.head is None:
        raise TrainingError("The teacher's head cannot be moved to this student.", do="Leave `head-only` out for this pair.")
    body = {place: piece for place, piece in initial.pieces.items() if not place.is_head}
    expected = {place: piece for place, piece in transferred.pieces.items() if not place.is_head}
    if _shapes(body) != _shapes(expected):
        raise TrainingError(
            f"A new module has {len(body)} pieces of other shapes than the {len(expected)} of the transferred one.",
            do="Give the method the options of the teacher's module, such as its `rank`.",
        )
    heads = {place: piece for place, piece in transferred.pieces.items() if place.is_head}
    return replace(transferred, pieces={**body, **heads})


def write_random_norm(converted: api.Converted, model: str, target: Path, *, seed: int) -> None:
    """Write the control `random-norm` of a conversion.

    Args:
        converted: The conversion, written.
        model: The student.
        target: The folder to write.
        seed: Seed of the noise.

    Raises:
        ModxferError: it cannot be written.
    """
    student = _locate(model).architecture
    module = random_norm(_read(converted, student), seed=seed)
    _write(module, converted, student, target, "control: every tensor but the head's was replaced by noise of the same norm")


def write_random_gather(module: str, *, model: str, teacher: str, layers: str, work: Path, target: Path, seed: int) -> None:
    """Convert a module with units taken at random, all else as in a transfer.

    Args:
        module: The teacher's module.
        model: The student.
        teacher: The teacher.
        layers: The layer map.
        work: A folder for the map.
        target: The folder to write.
        seed: Seed of the choice.

    Raises:
        ModxferError: it cannot be converted or written.
    """
    pair = read_pair(module, to=model, teacher=teacher, layers=layers)
    uses = pair.search(pair.module).request.uses(pair.teacher.architecture, pair.student.architecture)
    folder = work / "random-map"
    folder.mkdir()
    write_alignment(random_alignment(uses, teacher=pair.teacher, student=pair.student, seed=seed), folder)
    choice = api.AlignmentChoice(alignment=str(folder))
    api.convert(module, to=model, teacher=teacher, layers=layers, align=choice, output=target)


def write_head_only(
    converted: api.Converted,
    *,
    model: str,
    task: str,
    method: str,
    options: Mapping[str, Any],
    work: Path,
    target: Path,
    seed: int,
) -> None:
    """Write the control `head-only` of a conversion.

    Args:
        converted: The conversion, with its head, written.
        model: The student.
        task: Name of the task.
        method: The method.
        options: The new module's options.
        work: A folder for the new module.
        target: The folder to write.
        seed: Seed of the new module.

    Raises:
        ModxferError: there is no head, or the control cannot be made or written.
    """
    from modxfer.training.libraries.choosing import library_for_method
    from modxfer.training.libraries.heads import head_labels
    from modxfer.training.libraries.library import Wanted
    from modxfer.training.tasks import find_task

    assert converted.output is not None
    base = _locate(model)
    transferred = _read(converted, base.architecture)
    labels = head_labels(converted.output, inspect_files(converted.output))
    names = () if labels is None else labels.names or tuple(str(label) for label in range(labels.count))
    wanted = Wanted(
        base=base.with_weights().folder, task=find_task(task), labels=names, method=method, options=options, seed=seed
    )
    library, folder = library_for_method(method), work / "new-module"
    library.save(library.start(wanted), folder)
    initial = read_module(inspect_files(folder), base.architecture)
    module = head_only(transferred, initial)
    _write(module, converted, base.architecture, target, "control: everything but the head is at its usual initialisation")


def _noise(parts: Mapping[str, Array], generator: np.random.Generator) -> dict[str, Array]:
    found = {}
    for name, tensor in sorted(parts.items()):
        noise = generator.standard_normal(tensor.shape)
        norm = np.linalg.norm(tensor.astype(np.float64))
        found[name] = (noise * (norm / np.linalg.norm(noise))).astype(tensor.dtype)
    return found


def _shapes(pieces: Mapping[Any, Piece]) -> dict[str, tuple[int, ...]]:
    return {f"{place} {part}": tensor.shape for place, piece in pieces.items() for part, tensor in piece.parts.items()}


def _locate(model: str) -> LocatedBase:
    return locate_base(model, memory=Store(home()).hashes)


def _read(converted: api.Converted, student: Architecture) -> Module:
    assert converted.output is not None
    return read_module(inspect_files(converted.output), student)


def _write(module: Module, converted: api.Converted, student: Architecture, target: Path, note: str) -> None:
    record = {**converted.record, "approximated": [*converted.record["approximated"], note]}
    write_transferred(module, record, student, target, force=False)
