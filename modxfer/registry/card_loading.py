"""How to load what a card describes: Python that works as pasted. Only names that were checked get into it."""

import re
from collections.abc import Mapping
from typing import Any

from modxfer.alignments.alignment_map import AlignmentMap, BaseRecord
from modxfer.registry.card_text import folder_name, is_on_hub, items, literal, mapping

TASK_CLASSES = {
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "CAUSAL_LM": "AutoModelForCausalLM",
}
"""Task type to the class of `transformers` that has a head for it."""

PIPELINES = {
    "TOKEN_CLS": "token-classification",
    "SEQ_CLS": "text-classification",
    "QUESTION_ANS": "question-answering",
    "CAUSAL_LM": "text-generation",
}
"""Task type to the Hub's name of the task."""

_UNLABELLED = ("CAUSAL_LM",)
_LABEL = re.compile(r"[A-Za-z0-9][\w.+/ -]{0,39}", re.ASCII)
_MANY_LABELS = 40

HERE = "."
"""Stands for the folder of a card that is on no Hub."""


def module_loading(record: Mapping[str, Any], *, repository: str | None, branch: str | None = None) -> list[str]:
    """Say how to load a module on its student.

    Args:
        record: What `transfer.json` holds.
        repository: The module's Hub id, checked; None for a folder.
        branch: The branch there, checked; None for the main one.

    Returns:
        Lines of markdown; none for a format that no library here loads.
    """
    student = mapping(record.get("student"))
    base = _base_arguments(student.get("name"), student.get("revision"))
    code = loading_code(record, base=base, place=repository or HERE, branch=branch)
    return [*_python(code), *_stand_ins(base, repository)] if code else []


def loading_code(record: Mapping[str, Any], *, base: str, place: str, branch: str | None = None) -> list[str]:
    """Write the code that loads a module on its student.

    Args:
        record: What `transfer.json` holds.
        base: The arguments that name the student in the code.
        place: The module's Hub id or folder.
        branch: The branch on the Hub; None for the main one.

    Returns:
        Lines of Python; none for a format that no library here loads.
    """
    writer = {"peft": _peft, "adapters": _adapters}.get(str(mapping(record.get("module")).get("format")))
    return writer(base, literal(place), branch, mapping(record.get("head"))) if writer else []


def alignment_loading(alignment: AlignmentMap, *, repository: str | None, branch: str | None = None) -> list[str]:
    """Say how to convert with an alignment map, and how to load it.

    Args:
        alignment: The map.
        repository: Its Hub id, checked; None for a folder.
        branch: The branch there, checked; None for the main one.

    Returns:
        Lines of markdown.
    """
    place = f"{repository or HERE}{f'@{branch}' if branch else ''}"
    lines = [
        "For any module of the teacher:",
        "",
        "```console",
        f"$ modxfer convert MODULE --to {_base_word(alignment.student)} --alignment {place}",
        "```",
        "",
        "In Python:",
        "",
        *_python(["import modxfer", "", f"alignment = modxfer.AlignmentMap.from_pretrained({literal(place)})"]),
    ]
    return lines if repository else [*lines, "", "`.` stands for the folder of this file."]


def _peft(base: str, place: str, branch: str | None, head: Mapping[str, Any]) -> list[str]:
    task = str(head.get("task"))
    model_class = TASK_CLASSES.get(task, "AutoModel")
    labels = 2 if task == "QUESTION_ANS" else head.get("labels")  # an answer has a start and an end
    is_count = isinstance(labels, int) and not isinstance(labels, bool) and labels > 0
    count = f", num_labels={labels}" if task in TASK_CLASSES and task not in _UNLABELLED and is_count else ""
    names = _label_names(head) if count else []
    return [
        "from peft import PeftModel",
        f"from transformers import {model_class}",
        "",
        *([f"labels = [{', '.join(map(literal, names))}]"] if names else []),
        f"model = {model_class}.from_pretrained({base}{count}{', id2label=dict(enumerate(labels))' if names else ''})",
        f"model = PeftModel.from_pretrained(model, {place}{f', revision={literal(branch)}' if branch else ''})",
    ]


def _label_names(head: Mapping[str, Any]) -> list[str]:
    """Take the names of the labels if each is a plain word, and there are as many as labels and not too many to read."""
    names = items(head.get("names"))
    are_plain = all(isinstance(name, str) and _LABEL.fullmatch(name) for name in names)
    return names if are_plain and len(names) == head.get("labels") and len(names) <= _MANY_LABELS else []


def _adapters(base: str, place: str, branch: str | None, head: Mapping[str, Any]) -> list[str]:
    """The head has the module's name, so it becomes active with it; `adapters` calls a branch a version."""
    version = f", version={literal(branch)}" if branch else ""
    if head.get("task") == "CAUSAL_LM":  # the head is the base model's own
        return [
            "import adapters",
            "from transformers import AutoModelForCausalLM",
            "",
            f"model = AutoModelForCausalLM.from_pretrained({base})",
            "adapters.init(model)",
            f"model.load_adapter({place}{version}, set_active=True, use_safetensors=True)",
        ]
    return [
        "from adapters import AutoAdapterModel",
        "",
        f"model = AutoAdapterModel.from_pretrained({base})",
        f"model.load_adapter({place}{version}, set_active=True, use_safetensors=True)",
    ]


def base_arguments(reference: str, revision: str | None) -> str:
    """Write the arguments that name a base model in code.

    Args:
        reference: Its Hub id, or its folder.
        revision: Commit hash; None for a folder.

    Returns:
        Python.
    """
    return f"{literal(reference)}, revision={literal(revision)}" if revision else literal(reference)


def _base_arguments(name: object, revision: object) -> str:
    if is_on_hub(name, revision):
        return base_arguments(str(name), str(revision))
    return literal(_folder(name))


def _base_word(base: BaseRecord) -> str:
    return f"{base.name}@{base.revision}" if is_on_hub(base.name, base.revision) else _folder(base.name)


def _folder(name: object) -> str:
    """A path, and never what could be taken for a Hub id."""
    return f"./{folder_name(name, otherwise='student')}"


def _python(lines: list[str]) -> list[str]:
    return ["```python", *lines, "```"]


def _stand_ins(base: str, repository: str | None) -> list[str]:
    """Say which paths a reader has to replace."""
    said = [] if repository else ['`"."` stands for the folder of this file.']
    if base.startswith('"./'):
        said.append(f"`{base}` stands for the folder of the student.")
    return ["", " ".join(said)] if said else []
