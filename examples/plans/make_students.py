"""Make the two students of `small.yaml`, from the real MiniLM of the `demo` extra.

    python examples/plans/make_students.py --text wikineural/en/val.conllu --output students

`matching` has three of the teacher's six layers, and its width. `incompatible` has four layers of two thirds of the width, and
starts from random weights: no unit of it was ever one of the teacher's. Both learn to give the teacher's hidden states for the
text, the second one through a projection that is learned with it and then thrown away. Labels in the files are not read.
A copy of the teacher is put beside them.
"""

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.progress import Progress, TaskID

from modxfer.alignments.corpus import Corpus, open_corpus
from modxfer.demo.descending import Schedule
from modxfer.demo.distilling import Lesson, distil, pick_blocks, prepare_lessons
from modxfer.demo.settings import Narrow
from modxfer.demo.students import keep_all_units, make_student, start_student
from modxfer.demo.teacher import NAME, find_teacher
from modxfer.errors import ModxferError
from modxfer.paths import check_free
from modxfer.training.libraries.context import quiet, seeded

MATCHING_LAYERS = (0, 2, 4)
INCOMPATIBLE_LAYERS = (0, 1, 3, 4)
"""The first teacher layer of each block that a student layer stands for, as SKIP maps them."""

INCOMPATIBLE_SIZES = Narrow(hidden=256, heads=8, ffn=1024)
MATCHING_STEPS, INCOMPATIBLE_STEPS = 70, 160
"""Steps for each minute that may be taken. A count, so that a slower machine takes longer and makes the same students."""

BATCH_SIZE, MAX_TOKENS = 32, 128

CARD = """---
base_model: sentence-transformers/all-MiniLM-L6-v2
---
# {title}

{structure} It was made by `examples/plans/make_students.py` of modxfer to be a student in experiments, and is no good for
anything else.

It learned to give the hidden states of {teacher} for {texts:,} texts, without labels ({steps:,} steps of {batch}, seed {seed}):

{sources}

What is said about the use of these texts goes for this model too.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How one student comes to be.

    Attributes:
        name: Its name, and that of its folder.
        structure: What it is, in a sentence.
        layers: The first teacher layer of each of its blocks.
        is_cut: Whether it starts as layers of the teacher, else from random weights.
        schedule: How long and how fast.
    """

    name: str
    structure: str
    layers: tuple[int, ...]
    is_cut: bool
    schedule: Schedule


def courses(minutes: float) -> tuple[Course, Course]:
    """Plan both students.

    Args:
        minutes: Time to train both, about, on two cores.

    Returns:
        The matching one and the incompatible one.
    """
    return (
        Course(
            name="matching",
            structure="3 layers of 384 units, which were layers 0, 2 and 4 of the teacher.",
            layers=MATCHING_LAYERS,
            is_cut=True,
            schedule=Schedule(steps=max(1, round(MATCHING_STEPS * minutes)), batch_size=BATCH_SIZE, learning_rate=5e-4),
        ),
        Course(
            name="incompatible",
            structure="4 layers of 256 units, from random weights.",
            layers=INCOMPATIBLE_LAYERS,
            is_cut=False,
            schedule=Schedule(steps=max(1, round(INCOMPATIBLE_STEPS * minutes)), batch_size=BATCH_SIZE, learning_rate=1e-3),
        ),
    )


def make_students(corpora: Sequence[Corpus], output: Path, *, minutes: float, seed: int, show: Progress) -> dict[str, float]:
    """Make both students, and save them beside a copy of the teacher.

    Args:
        corpora: What to learn from.
        output: The folder for them.
        minutes: Time to train both, about, on two cores.
        seed: Seed of initialisations and orders.
        show: Where to show how far it is.

    Returns:
        What was done, to its seconds.
    """
    base = find_teacher()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(base))
    teacher = transformers.BertModel.from_pretrained(str(base), attn_implementation="eager")
    texts = [text for corpus in corpora for text in corpus.texts()]
    prepared = sorted({*MATCHING_LAYERS, *INCOMPATIBLE_LAYERS})
    start = time.perf_counter()
    show.add_task(f"asking the teacher about {len(texts):,} texts", total=None)
    lessons = prepare_lessons(teacher, texts, tokenizer, layers=prepared, batch_size=BATCH_SIZE, max_tokens=MAX_TOKENS)
    seconds = {"teacher": time.perf_counter() - start}
    for course in courses(minutes):
        start = time.perf_counter()
        bar = show.add_task(f"teaching the {course.name} student", total=course.schedule.steps)
        own = pick_blocks(lessons, prepared, layers=course.layers)
        with seeded(seed):
            student = teach(teacher, own, course, seed=seed, progress=partial(_update, show, bar))
        save(student, tokenizer, output / course.name)
        (output / course.name / "README.md").write_text(card(course, corpora, texts=len(texts), seed=seed), encoding="utf-8")
        seconds[course.name] = time.perf_counter() - start
    shutil.copytree(base, output / "teacher")
    return seconds


def _update(show: Progress, bar: TaskID, done: int, total: int) -> None:
    show.update(bar, completed=done, total=total)


def teach(
    teacher: transformers.BertModel,
    lessons: Sequence[Lesson],
    course: Course,
    *,
    seed: int,
    progress: Callable[[int, int], None],
) -> transformers.BertModel:
    """Make one student, and let it learn.

    Args:
        teacher: The teacher.
        lessons: Its lessons.
        course: How it comes to be.
        seed: Seed of the order.
        progress: Called after every step.

    Returns:
        The student.
    """
    cut = keep_all_units(teacher.config, layers=course.layers) if course.is_cut else None
    if cut is not None:
        student = make_student(teacher, cut)
    else:
        student = start_student(teacher.config, layers=len(course.layers), narrow=INCOMPATIBLE_SIZES)
    distil(student, lessons, cut=cut, schedule=course.schedule, seed=seed, progress=progress)
    return student


def save(student: transformers.BertModel, tokenizer: Any, folder: Path) -> None:
    """Save a student as `transformers` loads it.

    Args:
        student: The student.
        tokenizer: Its tokenizer.
        folder: Where.
    """
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def card(course: Course, corpora: Sequence[Corpus], *, texts: int, seed: int) -> str:
    """Write down what a student is, and what it was made of.

    Args:
        course: How it came to be.
        corpora: What it learned from.
        texts: How many texts these are.
        seed: The seed.

    Returns:
        The text of its README.md.
    """
    sources = "\n".join(f"* `{'/'.join(Path(corpus.name).parts[-3:])}`, sha256 {corpus.fingerprint}" for corpus in corpora)
    return CARD.format(
        title=f"The {course.name} student of {NAME}",
        structure=course.structure,
        teacher=NAME,
        texts=texts,
        steps=course.schedule.steps,
        batch=course.schedule.batch_size,
        seed=seed,
        sources=sources,
    )


def main() -> int:
    """Read the command line, and make the students.

    Returns:
        Exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--text", metavar="FILE", action="append", help="text or CoNLL-like; may be repeated (default: the text that ships)"
    )
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--minutes", type=float, default=7.0, help="time to train both, about, on two cores (default: 7)")
    parser.add_argument("--seed", type=int, default=0, help="seed of initialisations and orders (default: 0)")
    options = parser.parse_args()
    console = Console(stderr=True, highlight=False)
    try:
        check_free(options.output, force=False)
        corpora = [open_corpus(name) for name in options.text or [None]]
        with Progress(console=console) as show, quiet():
            seconds = make_students(corpora, options.output, minutes=options.minutes, seed=options.seed, show=show)
    except ModxferError as error:
        console.print(f"{error.what} {error.do}", markup=False)
        return error.exit_status
    parts = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    console.print(f"{options.output}: {parts}, on {torch.get_num_threads()} threads.", markup=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
