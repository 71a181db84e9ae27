"""The support table as text: what each method's families have in common is said once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from modxfer.architectures import FAMILIES
from modxfer.converters.support import Cell, Verdict, support
from modxfer.converters.support_samples import Sample

_INTRODUCTION = """\
# What can be moved

Made by `modxfer support --markdown` from the code's own tables; `modxfer support --family llama` shows one family.

* **exact**: on a student whose units are the teacher's in another order, the converted module computes what it computed on the
  teacher. On other students every module is as good as the alignment of the two base models is.
* **approximate**: even there something is lost; how much is measured, and stated in the record of the conversion.
* **refused**: nothing is written, and the reason is given.

Teacher and student may be of different families of one kind: encoders, decoders, encoder-decoders, encoders of images. A LoRA
of one format can become one of the other with `--format`. A base model of a family that is not listed is read by its structure,
where that is unambiguous; the result then says so.
"""

_ALL = "all"
_HEADING, _RULE = "| method | exact | approximate | refused | |", "|---|---|---|---|---|"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What becomes of one method in one format.

    Attributes:
        sample: The method.
        families: Verdict to the families, in words; nothing where there are none.
        remarks: What is approximated or why it is refused, each with its families where it is not for all.
    """

    sample: Sample
    families: dict[Verdict, str]
    remarks: tuple[str, ...]


def lines(cells: Iterable[Cell]) -> Iterator[Line]:
    """Gather the cells of each method.

    Args:
        cells: The table, method after method.

    Yields:
        A line for each method in each format.
    """
    for _, group in groupby(cells, key=lambda cell: (cell.sample.format, cell.sample.method)):
        members = list(group)
        everyone = [cell.family for cell in members]
        by_verdict = {verdict: [cell.family for cell in members if cell.verdict is verdict] for verdict in Verdict}
        yield Line(
            sample=members[0].sample,
            families={verdict: _name(found, everyone) for verdict, found in by_verdict.items() if found},
            remarks=tuple(_remarks(members)),
        )


def _remarks(cells: Sequence[Cell]) -> Iterator[str]:
    for why in dict.fromkeys(cell.why for cell in cells if cell.why):
        families = [cell.family for cell in cells if cell.why == why]
        is_general = len(families) == len(cells) or cells[0].sample.how == why
        yield why if is_general else f"{', '.join(families)}: {why}"


def _name(families: Sequence[str], everyone: Sequence[str]) -> str:
    """Name families as briefly as that goes."""
    others = [family for family in everyone if family not in families]
    if not others:
        return _ALL if len(families) > 1 else families[0]
    if len(others) < len(families):
        return f"{_ALL} but {', '.join(others)}"
    return ", ".join(families)


def markdown() -> str:
    """Write the whole table as a page.

    Returns:
        The page, in Markdown.
    """
    kinds = {str(family.kind): None for family in FAMILIES.values()}
    text = [_INTRODUCTION, "## Families\n"]
    text += [f"* **{kind}**: {', '.join(name for name, row in FAMILIES.items() if str(row.kind) == kind)}" for kind in kinds]
    for format, group in groupby(support(), key=lambda cell: cell.sample.format):
        text += [
            f"\n## `{format}`\n",
            *_without_library(format),
            _HEADING,
            _RULE,
        ]
        text += [_row(line) for line in lines(cell for cell in group if _has_library(cell.family, format))]
    return "\n".join(text) + "\n"


def _has_library(family: str, format: str) -> bool:
    return format != "adapters" or FAMILIES[family].in_adapters


def _without_library(format: str) -> Iterator[str]:
    """Say once for which families a library has no model class, and leave them out of its table."""
    without = [name for name in FAMILIES if not _has_library(name, format)]
    if without:
        yield f"The library has no model class for {', '.join(without)}, which are left out below.\n"


def _row(line: Line) -> str:
    columns = [line.sample.method, *(line.families.get(verdict, "") for verdict in Verdict), " ".join(line.remarks)]
    return f"| {' | '.join(column.replace('|', chr(92) + '|') for column in columns)} |"
