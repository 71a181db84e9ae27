"""`make bench`: measure the budgets of start-up, conversion and alignment, print them, and write them into README.md.

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
from benchmarks.subjects import Subjects, make_subjects

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
    subjects = make_subjects(scratch)
    yield from _measure_conversion(subjects, scratch)
    yield from _measure_alignment(subjects)


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
