"""The demo: a real teacher, two students made from it, real conversions, and what they are worth after a few steps."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modxfer.alignments.corpus import open_corpus
from modxfer.demo.comparing import Conversion, Course, Method, Transfer, choose_methods, compare, convert_all, teach
from modxfer.demo.descending import Schedule
from modxfer.demo.distilling import distil, prepare_lessons
from modxfer.demo.phases import Phases, Report
from modxfer.demo.sentences import DECLARATION, make_data
from modxfer.demo.settings import FULL, DemoSettings
from modxfer.demo.students import Cut, keep_all_units, make_student, shuffle_units
from modxfer.demo.teacher import NAME, find_teacher
from modxfer.errors import OutputError
from modxfer.paths import check_free
from modxfer.training.libraries.context import has_adapters, quiet, seeded
from modxfer.training.limits import load_tokenizer

MATCHING, INCOMPATIBLE = "matching", "incompatible"

NO_ADAPTERS = (
    "The library `adapters` is not installed, so there are no bottleneck adapters here. "
    "Install it with `pip install 'modxfer[adapters]'`."
)

_SHARES = {"teacher": 0.5, "teach": 32.0, "lessons": 7.0, "distil": 19.0, "convert": 11.0, "fine-tune": 19.0}
"""Seconds that a phase takes, about, on two cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo measured.

    Attributes:
        output: The folder that holds everything it made.
        declaration: What the scores are of, to be shown with them.
        notes: What was left out, and why.
        seed: The seed.
        settings: The sizes it ran with.
        rows: The table: one plain dict for each model, with `student` (None for the teacher), `method`, `model` ("teacher",
            "default", "transferred SKIP", "transferred AVG"), `head` ("own", "new", "transferred"), `steps` of
            training, `zero_shot_f1` (F1 before the first step) and `f1`, `precision`, `recall` of the best checkpoint, in
            percent.
        conversions: One for each conversion: what `auto` chose, why, and its scores.
        phases: Phase to seconds.
        seconds: Seconds in all.
    """

    output: Path
    declaration: str
    notes: tuple[str, ...]
    seed: int
    settings: DemoSettings
    rows: tuple[Mapping[str, Any], ...]
    conversions: tuple[Conversion, ...]
    phases: Mapping[str, float]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Give what `demo --json` prints.

        Returns:
            Plain values.
        """
        settings = asdict(self.settings)
        return {
            "output": str(self.output),
            "teacher": NAME if self.settings.teacher is None else str(self.settings.teacher),
            "data": self.declaration,
            "notes": list(self.notes),
            "seed": self.seed,
            "settings": {**settings, "teacher": settings["teacher"] and str(settings["teacher"])},
            "rows": [dict(row) for row in self.rows],
            "conversions": [asdict(conversion) for conversion in self.conversions],
            "phases": {name: round(seconds, 2) for name, seconds in self.phases.items()},
            "seconds": round(self.seconds, 2),
        }


def run_demo(*, output: Path | None, progress: Report, seed: int = 0, settings: DemoSettings = FULL) -> DemoResult:
    """Run the demo.

    Args:
        output: Where to put what is made; it must not exist. None for `modxfer-demo` here, with a number if that is taken.
        progress: Called with the name of the phase, and the part of the whole work that is done, in [0, 1].
        seed: Seed of the data, the students, the initialisations and the orders.
        settings: The sizes.

    Returns:
        What was measured. The data, the modules, the students and `demo.json` are in the output folder.

    Raises:
        DependencyError: the teacher's package, or one that training needs, is not installed.
        FormatError: the teacher's weights are not those that they should be.
        OutputError: the output exists, or cannot be written.
        ModxferError: a conversion failed. Nothing is left behind then.
    """
    start = time.perf_counter()
    methods = choose_methods(settings)
    phases = Phases(_plan(methods), progress)
    target = (output or _free_name(Path("modxfer-demo"))).absolute()
    with _own_folder(target), quiet():
        rows, conversions = _run(target, methods, phases, seed=seed, settings=settings)
        result = DemoResult(
            output=target,
            declaration=DECLARATION,
            notes=() if has_adapters() else (NO_ADAPTERS,),
            seed=seed,
            settings=settings,
            rows=tuple(rows),
            conversions=tuple(conversions),
            phases=phases.seconds,
            seconds=time.perf_counter() - start,
        )
        text = json.dumps(result.as_json(), indent=2, ensure_ascii=False)
        (target / "demo.json").write_text(text + "\n", encoding="utf-8")
    return result


def _run(
    target: Path, methods: Sequence[Method], phases: Phases, *, seed: int, settings: DemoSettings
) -> tuple[list[dict[str, Any]], list[Conversion]]:
    with phases.run("checking the teacher"):
        base = settings.teacher or find_teacher()
        data = make_data(train=settings.train_sentences, test=settings.test_sentences, seed=seed)
        data.write(target / "data")

    def course(schedule: Schedule) -> Course:
        return Course(data=target / "data", max_tokens=settings.max_tokens, schedule=schedule, seed=seed)

    rows, conversions = [], []
    for method in methods:
        module = target / "teacher" / method.folder
        with phases.run(f"training the teacher's {method.title}") as tick:
            rows.append(teach(method, base, course(settings.teach), module, progress=tick))
    students = _make_students(target / "students", base, data.texts, phases, seed=seed, settings=settings)
    transfers = [
        Transfer(
            student=name,
            base=folder,
            method=method,
            teacher=base,
            module=target / "teacher" / method.folder,
            output=target / name / method.folder,
            trained=target / "trained" / name / method.folder,
        )
        for name, folder in students.items()
        for method in methods
    ]
    for transfer in transfers:
        with phases.run(f"converting the {transfer.method.title} to the {transfer.student} student") as tick:
            conversions += convert_all(transfer, corpus=settings.corpus, tokens=settings.tokens, progress=tick)
    for transfer in transfers:
        with phases.run(f"fine-tuning the {transfer.method.title} of the {transfer.student} student") as tick:
            rows += compare(transfer, course(settings.fine_tune), progress=tick)
    return rows, conversions


def _make_students(
    folder: Path, base: Path, texts: Sequence[str], phases: Phases, *, seed: int, settings: DemoSettings
) -> dict[str, Path]:
    """Make both students, distil them and save them; gives their folders."""
    import transformers

    with phases.run("preparing the students"), seeded(seed):
        tokenizer = load_tokenizer(base)
        teacher = transformers.BertModel.from_pretrained(str(base), attn_implementation="eager")
        lessons = prepare_lessons(
            teacher,
            [*texts, *open_corpus(settings.corpus).texts()],
            tokenizer,
            layers=settings.layers,
            batch_size=settings.distil.batch_size,
            max_tokens=settings.max_tokens,
        )
    cuts: dict[str, Cut] = {
        MATCHING: keep_all_units(teacher.config, layers=settings.layers),
        INCOMPATIBLE: shuffle_units(teacher.config, layers=settings.layers, narrow=settings.narrow, seed=seed),
    }
    for name, cut in cuts.items():
        with phases.run(f"distilling the {name} student") as tick, seeded(seed):
            student = make_student(teacher, cut)
            distil(student, lessons, cut=cut, schedule=settings.distil, seed=seed, progress=tick)
            student.save_pretrained(folder / name)
            tokenizer.save_pretrained(folder / name)
    return {name: folder / name for name in cuts}


def _plan(methods: Sequence[Method]) -> dict[str, float]:
    """List the phases in order, each with the seconds that it takes, about."""
    cells = [(method.title, student) for student in (MATCHING, INCOMPATIBLE) for method in methods]
    plan: dict[str, float] = {"checking the teacher": _SHARES["teacher"]}
    plan |= {f"training the teacher's {method.title}": _SHARES["teach"] for method in methods}
    plan["preparing the students"] = _SHARES["lessons"]
    plan |= {f"distilling the {student} student": _SHARES["distil"] for student in (MATCHING, INCOMPATIBLE)}
    plan |= {f"converting the {method} to the {student} student": _SHARES["convert"] for method, student in cells}
    plan |= {f"fine-tuning the {method} of the {student} student": _SHARES["fine-tune"] for method, student in cells}
    return plan


@contextmanager
def _own_folder(target: Path) -> Iterator[None]:
    """Make a folder, and take it away again if the block does not end well.

    It is filled in its place, not beside it, since the modules in it say where their base models are.
    """
    check_free(target, force=False)
    try:
        target.mkdir(parents=True)
        yield
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise OutputError(
            f"Cannot write the demo's results to `{target}`: {error.strerror or error}.",
            do="Name a folder that can be written with `--output`, on a disk with 300 MB free.",
        ) from error
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _free_name(wanted: Path) -> Path:
    """Add the first number that makes a new name of it, if it is taken."""
    number, name = 1, wanted
    while name.exists():
        number += 1
        name = wanted.with_name(f"{wanted.name}-{number}")
    return name
