"""`make bench`: measure the budgets of start-up, conversion, alignment, training and registry, print them, write README.md.

python -m benchmarks [--no-write]
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from benchmarks.alignment import compare_with_forward_passes, compare_with_loops, open_base
from benchmarks.measure import compare, python, run
from benchmarks.registry import measure_build, measure_check, measure_first_search, measure_search, write_registry
from benchmarks.subjects import Subjects, make_subjects
from benchmarks.training import compare_with_plain_trainer, devices
from modxfer.registry.entries.folder import Registry
from modxfer.training.libraries.context import has_adapters

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- begin: python -m benchmarks -->", "<!-- end -->"
Row = tuple[str, str, str, str]


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--no-write", action="store_true", help="print only, leave benchmarks/README.md as it is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MODXFER_HOME"] = str(Path(scratch) / "store")
        os.environ["HF_HUB_OFFLINE"] = "1"
        rows: list[Row] = []
        for row in measure(Path(scratch)):
            rows.append(row)
            print(" | ".join(row), flush=True)
    table = "\n".join(_table(rows))
    if not options.no_write:
        before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        README.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def measure(scratch: Path) -> Iterator[Row]:
    """Measure every budget.

    Args:
        scratch: A folder for base models, modules and the store.

    Yields:
        What was measured, the figures, the ratio, and the budget.
    """
    yield from _measure_start_up()
    yield from _measure_registry(scratch / "registry")
    subjects = make_subjects(scratch)
    yield from _measure_conversion(subjects, scratch)
    yield from _measure_alignment(subjects)
    yield from _measure_training(subjects)


def _measure_start_up() -> Iterator[Row]:
    found = compare([sys.executable, "-m", "modxfer", "--help"], python("import typer, rich"))
    yield (
        "`modxfer --help` against `import typer, rich`",
        f"{found.ours:.3f} s against {found.theirs:.3f} s",
        f"{found.ratio:.2f} ({found.lowest:.2f} to {found.highest:.2f})",
        "2",
    )


def _measure_conversion(subjects: Subjects, scratch: Path) -> Iterator[Row]:
    for label, student, align in (
        ("an identity alignment", subjects.student, "identity"),
        ("a stored `lsa` alignment", subjects.narrow, "lsa"),
        ("a stored `linear` alignment", subjects.narrow, "linear"),
    ):
        command = [sys.executable, "-m", "modxfer", "convert", str(subjects.module)]
        command += ["--from", str(subjects.teacher), "--to", str(student), "--align", align]
        command += ["--output", str(scratch / f"converted-{align}"), "--force", "--quiet"]
        run(command)
        found = compare(command, python("import torch"))
        yield (
            f"`modxfer convert` with {label}, against `import torch`",
            f"{found.ours:.2f} s against {found.theirs:.2f} s",
            f"{found.ratio:.2f} ({found.lowest:.2f} to {found.highest:.2f})",
            "1.5",
        )
        allowed = found.their_peak + 3 * subjects.module_bytes
        yield (
            f"its peak memory, against `import torch` + 3 x the module ({subjects.module_bytes / 1e6:.2f} MB)",
            f"{found.our_peak / 1e6:.0f} MB against {allowed / 1e6:.0f} MB",
            f"{found.our_peak / allowed:.2f}",
            "1",
        )


def _measure_alignment(subjects: Subjects) -> Iterator[Row]:
    teacher = open_base(subjects.teacher)
    for name, folder in (("three of its layers", subjects.student), ("4 layers of 256", subjects.narrow)):
        for aligner in ("auto", "lsa"):
            ours, bare, ratio = compare_with_forward_passes(subjects.module, teacher, open_base(folder), aligner=aligner)
            yield (
                f"alignment of MiniLM with {name} (`{aligner}`, LoRA on query and value), against both bare forward passes",
                f"{ours:.2f} s against {bare:.2f} s",
                f"{ratio:.2f}",
                "1.15",
            )
    ours, loops = compare_with_loops()
    yield (
        "statistics and assignment of 400 tokens, 48 x 64 units, against token by token and unit by unit",
        f"{ours * 1e3:.1f} ms against {loops * 1e3:.0f} ms",
        f"1/{loops / ours:.0f}",
        "-",
    )


def _measure_training(subjects: Subjects) -> Iterator[Row]:
    trainers = {"lora": "transformers.Trainer"}
    if has_adapters():
        trainers["bottleneck"] = "adapters.AdapterTrainer"
    for device in devices():
        for method, trainer in trainers.items():
            found = compare_with_plain_trainer(subjects.student, method=method, device=device)
            yield (
                f"training of a {method} on three layers of MiniLM ({device}), against `{trainer}`",
                f"{found.ours:.0f} examples/s against {found.theirs:.0f}",
                f"{found.ratio:.2f} ({found.lowest:.2f} to {found.highest:.2f})",
                "at least 0.95",
            )


def _measure_registry(scratch: Path) -> Iterator[Row]:
    small, large = measure_check(scratch)
    for number, seconds in (("1,000", small), ("10,000", large)):
        yield f"`modxfer registry check`, offline, of {number} entries", f"{seconds * 1e3:.2f} ms an entry", "-", "1 ms"
    yield "the same an entry, 10,000 against 1,000 (linear: 1)", "", f"{large / small:.2f}", "-"
    first, again = measure_first_search(Registry(root=scratch / "large", name="made up"))
    yield "the first search of a folder of 10,000 entries, which makes the index", f"{first:.1f} s", "-", "-"
    yield "a later one, which looks whether a file has changed", f"{again * 1e3:.0f} ms", "-", "-"
    found = measure_search(scratch)
    yield "search over 100,000 entries, median of 12 queries", f"{found.median * 1e3:.1f} ms", "-", "50 ms"
    yield "the slowest of them", f"{found.slowest * 1e3:.1f} ms", "-", "50 ms"
    yield "looking whether one of 100,000 files has changed, before such a search", f"{found.listing * 1e3:.0f} ms", "-", "-"
    yield "putting an entry that was read into the index", f"{found.adding * 1e3:.2f} ms", "-", "-"
    seconds = measure_build(scratch, write_registry(scratch / "built", 1000))
    yield "`modxfer registry build` of 1,000 entries", f"{seconds:.1f} s", "-", "10 s"


def _table(rows: list[Row]) -> Iterator[str]:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "numpy", "scipy"))
    yield f"Measured with Python {platform.python_version()}, {packages}, on {os.cpu_count()} cores ({platform.machine()})."
    yield ""
    yield "| what | median | ratio | budget |"
    yield "|---|---|---|---|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    main()
