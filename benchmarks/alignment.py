"""An alignment against the bare forward passes over the same tokens, and against the statistics done token by token."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from modxfer.alignments.aligners.lsa import solve_assignment
from modxfer.alignments.alignment_map import BaseRecord
from modxfer.alignments.compute import BaseModel, compute_alignment
from modxfer.alignments.corpus import Corpus, open_corpus
from modxfer.alignments.layer_maps import layer_map
from modxfer.alignments.moments import Moments
from modxfer.alignments.probe import Probe, batches
from modxfer.alignments.request import AlignmentRequest
from modxfer.architectures import architecture_from_config, read_config
from modxfer.converters.convert import request_for
from modxfer.converters.formats import inspect_files, read_module


def open_base(folder: Path) -> BaseModel:
    """Open a base model as an alignment needs it.

    Args:
        folder: Its folder.

    Returns:
        The base model, with a record that names nothing.
    """
    architecture = architecture_from_config(read_config(folder), name=folder.name)
    record = BaseRecord(name=folder.name, revision=None, fingerprint="", model_type=architecture.model_type)
    return BaseModel(folder=folder, architecture=architecture, record=record)


def make_request(module: Path, teacher: BaseModel, student: BaseModel) -> AlignmentRequest:
    """List what converting a module with SKIP needs aligned.

    Args:
        module: The module's folder.
        teacher: The teacher.
        student: The student.

    Returns:
        The request.
    """
    layers = layer_map("skip", teacher=teacher.architecture.depths, student=student.architecture.depths)
    return request_for(read_module(inspect_files(module), teacher.architecture), layers)


def compare_with_forward_passes(
    module: Path, teacher: BaseModel, student: BaseModel, *, aligner: str, runs: int = 7
) -> tuple[float, float, float]:
    """Time an alignment and the two bare forward passes in turn, both with loading the base models.

    Args:
        module: The module whose sites are aligned.
        teacher: The teacher.
        student: The student.
        aligner: The aligner.
        runs: Counted runs of each.

    Returns:
        Median seconds of the alignment, of the passes, and the median ratio pair by pair.
    """
    corpus = open_corpus(None)
    request = make_request(module, teacher, student)

    def ours() -> None:
        compute_alignment(request, teacher=teacher, student=student, corpus=corpus, aligner=aligner)

    inputs = _inputs(teacher, student, corpus)
    pairs = [(_seconds(ours), _seconds(lambda: _bare(teacher, student, inputs))) for _ in range(runs + 1)][1:]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def compare_with_loops(*, tokens: int = 400, student: int = 48, teacher: int = 64) -> tuple[float, float]:
    """Time the statistics of one pair of sites, and the same done token by token and unit by unit as in the paper's script.

    Args:
        tokens: Number of tokens.
        student: Units of the student's site.
        teacher: Units of the teacher's site.

    Returns:
        Seconds of ours and of the loops, both including the assignment, which has to come out the same.

    Raises:
        RuntimeError: the two assignments differ.
    """
    import torch

    generator = np.random.default_rng(0)
    teacher_rows = generator.standard_normal((tokens, teacher))
    student_rows = teacher_rows[:, :student] + 0.5 * generator.standard_normal((tokens, student))
    results: list[np.ndarray] = []

    def ours() -> None:
        moments = Moments([("s", "t")])
        moments.update({"s": torch.from_numpy(student_rows), "t": torch.from_numpy(teacher_rows)})
        results.append(solve_assignment(moments.statistics("s", "t").correlation()))

    def loops() -> None:
        results.append(solve_assignment(_correlate_in_loops(student_rows.tolist(), teacher_rows.tolist())))

    ours()
    fast, slow = statistics.median(_seconds(ours) for _ in range(5)), _seconds(loops)
    if any((result != results[0]).any() for result in results):
        raise RuntimeError("The loops found another assignment.")
    return fast, slow


def _correlate_in_loops(student: list[list[float]], teacher: list[list[float]]) -> np.ndarray:
    tokens, width, other = len(student), len(student[0]), len(teacher[0])
    means = [sum(row[i] for row in student) / tokens for i in range(width)]
    other_means = [sum(row[j] for row in teacher) / tokens for j in range(other)]
    found = np.zeros((width, other))
    for i in range(width):
        for j in range(other):
            product = square = other_square = 0.0
            for token in range(tokens):
                a, b = student[token][i] - means[i], teacher[token][j] - other_means[j]
                product, square, other_square = product + a * b, square + a * a, other_square + b * b
            found[i, j] = product / (square * other_square) ** 0.5
    return found


def _inputs(teacher: BaseModel, student: BaseModel, corpus: Corpus) -> list[tuple[dict[str, object], ...]]:
    with (
        Probe(teacher.folder, teacher.architecture, [], device="cpu") as first,
        Probe(student.folder, student.architecture, [], device="cpu") as second,
    ):
        return [(dict(first.encode(texts).inputs), dict(second.encode(texts).inputs)) for texts in batches(corpus.texts())]


def _bare(teacher: BaseModel, student: BaseModel, inputs: list[tuple[dict[str, object], ...]]) -> None:
    import torch
    from transformers import AutoModel

    models = [AutoModel.from_pretrained(str(base.folder), dtype=torch.float32).eval() for base in (teacher, student)]
    with torch.inference_mode():
        for batch in inputs:
            for model, tensors in zip(models, batch, strict=True):
                model(**tensors)


def _seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
