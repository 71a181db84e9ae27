"""Model cards of converted modules and alignment maps."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from modxfer.alignments.alignment_map import AlignmentMap

LIBRARIES = {"peft": "peft", "adapters": "adapter-transformers"}
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~-])")


def module_card(record: Mapping[str, Any]) -> str:
    """Write the card of a converted module.

    Args:
        record: What `transfer.json` holds.

    Returns:
        Markdown with a YAML head; every text from outside is escaped.
    """
    teacher, student, module = record["teacher"], record["student"], record["module"]
    head: dict[str, Any] = {"library_name": LIBRARIES[module["format"]], "tags": ["modxfer", module["method"]]}
    if student["revision"] and _HUB_ID.fullmatch(student["name"]):  # a folder's name means nothing on the Hub
        head["base_model"] = student["name"]
    lines = [
        f"# {escape(module['name'])}: {escape(module['method'])} for {escape(student['name'])}",
        "",
        f"A module for `{code(student['name'])}`, moved there from `{code(teacher['name'])}` by modxfer "
        f"{escape(record['versions']['modxfer'])}. It was not trained on its new base model: fine-tune it first.",
        "",
        "## Where it comes from",
        "",
        f"* Teacher module: `{code(module['name'])}` ({escape(module['method'])}, {escape(module['format'])} format)",
        f"* Teacher: `{code(teacher['name'])}`{_revision(teacher)}",
        f"* Student: `{code(student['name'])}`{_revision(student)}",
        f"* Layer map: {escape(record['layers']['mode'])}",
        f"* Alignment: {_alignment_line(record['alignment'])}",
        f"* Tensors converted: {record['tensors']['converted']}",
        *_section("Dropped", record["dropped"]),
        *_section("Not exact", record["approximated"]),
        *_section("Warnings", record["warnings"]),
        "",
        "Hashes of all files are in `transfer.json`.",
    ]
    return _with_head(head, lines)


def alignment_card(alignment: AlignmentMap) -> str:
    """Write the card of an alignment map.

    Args:
        alignment: The map.

    Returns:
        Markdown with a YAML head; every text from outside is escaped.
    """
    corpus = alignment.corpus
    lines = [
        f"# Alignment map: {escape(alignment.teacher.name)} to {escape(alignment.student.name)}",
        "",
        f"How the units of `{code(alignment.student.name)}` correspond to those of `{code(alignment.teacher.name)}`, by the "
        f"aligner `{code(alignment.aligner)}`, from {corpus.tokens} matched tokens of {escape(corpus.name)}.",
        *([escape(alignment.reason)] if alignment.reason else []),
        "",
        f"Mean matched correlation: {alignment.mean_correlation:.3f}",
        *_section("Warnings", alignment.warnings),
    ]
    return _with_head({"tags": ["modxfer", "alignment-map"]}, lines)


def escape(text: str) -> str:
    """Make a text from outside harmless in markdown and HTML, on one line.

    Args:
        text: Any text.

    Returns:
        The text, with line breaks as spaces and every mark of markdown escaped.
    """
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;")


def code(text: str) -> str:
    """Make a text from outside harmless inside backticks.

    Args:
        text: Any text.

    Returns:
        The text on one line, without backticks.
    """
    return " ".join(text.split()).replace("`", "'")


def _with_head(head: Mapping[str, Any], lines: Sequence[str]) -> str:
    return "---\n" + yaml.safe_dump(dict(head), allow_unicode=True, sort_keys=True) + "---\n\n" + "\n".join(lines) + "\n"


def _section(title: str, sentences: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *(f"* {escape(sentence)}" for sentence in sentences)] if sentences else []


def _revision(base: Mapping[str, Any]) -> str:
    return f" at `{code(base['revision'])}`" if base.get("revision") else ""


def _alignment_line(alignment: Mapping[str, Any]) -> str:
    if alignment["source"] == "identity":
        return "identity, as stated"
    return (
        f"`{code(alignment['aligner'])}`, mean matched correlation {alignment['mean_correlation']:.3f} over "
        f"{alignment['tokens']} tokens of {escape(alignment['corpus'])}"
    )
