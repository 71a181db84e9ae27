"""How to load what a card describes: Python that works as pasted. Only names that were checked get into it."""

import re
from collections.abc import Mapping
from typing import Any

from modxfer.alignments.alignment_map import AlignmentMap, BaseRecord
from modxfer.architectures import Architecture, Kind
from modxfer.converters.module import Module
from modxfer.registry.card_text import folder_name, is_on_hub, items, literal, mapping

TASK_CLASSES = {
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "IMAGE_CLS": "AutoModelForImageClassification",
    "FEATURE_EXTRACTION": "AutoModel",
}
"""Task type to the class of `transformers` that has a head for it."""

_KIND_CLASSES = {
    Kind.ENCODER: "SEQ_CLS",
    Kind.DECODER: "CAUSAL_LM",
    Kind.ENCODER_DECODER: "SEQ_2_SEQ_LM",
    Kind.IMAGE: "IMAGE_CLS",
}
"""Kind of base model to the task of a class that holds one, for modules that have no head and name no task."""

PIPELINES = {
    "TOKEN_CLS": "token-classification",
    "SEQ_CLS": "text-classification",
    "QUESTION_ANS": "question-answering",
    "CAUSAL_LM": "text-generation",
}
"""Task type to the Hub's name of the task."""

_UNLABELLED = ("CAUSAL_LM", "SEQ_2_SEQ_LM", "FEATURE_EXTRACTION")
_LABEL = re.compile(r"[A-Za-z0-9][\w.+/ -]{0,39}", re.ASCII)
_MANY_LABELS = 40
_NAME = re.compile(r"[A-Za-z0-9][\w-]{0,39}", re.ASCII)

HERE = "."
"""Stands for the folder of a card that is on no Hub."""


def task_to_load(module: Module, base: Architecture) -> str | None:
    """Say for which task a model class has to be to load a module: its keys must name the base model as that class does.

    Args:
        module: The module, as it is written.
        base: The base model that it belongs to.

    Returns:
        A key of `TASK_CLASSES`; None for the bare base model.
    """
    if module.head is not None:
        return module.head.task
    if module.format != "peft":
        return None
    if not module.inside_task_model:
        return None
    task = module.config.get("task_type")
    if task in TASK_CLASSES and (task not in base.family.heads or base.prefix(task) == base.prefix(None)):
        return str(task)
    has_class = base.family.kind is not Kind.DECODER or "lm_head" in base.family.modules
    return _KIND_CLASSES.get(base.family.kind) if has_class else None


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
    code = loading_code(record, base=base, place=repository or HERE, branch=branch, is_on_hub=repository is not None)
    return [*_python(code), *_stand_ins(base, repository, _fused(record))] if code else []


def loading_code(
    record: Mapping[str, Any], *, base: str, place: str, branch: str | None = None, is_on_hub: bool = False
) -> list[str]:
    """Write the code that loads a module on its student.

    Args:
        record: What `transfer.json` holds.
        base: The arguments that name the student in the code.
        place: The module's Hub id or folder.
        branch: The branch on the Hub; None for the main one.
        is_on_hub: Whether the place is on the Hub, for what is loaded from folders only.

    Returns:
        Lines of Python; none for a format that no library here loads.
    """
    module, head = mapping(record.get("module")), mapping(record.get("head"))
    if module.get("method") == "fusion":
        return _fusion(base, place, branch, _fused(record), is_on_hub=is_on_hub)
    if module.get("format") == "diff":
        return _differences(base, place, branch, head, is_on_hub=is_on_hub)
    writer = {"peft": _peft, "adapters": _adapters}.get(str(module.get("format")))
    task = head.get("task") or module.get("loaded_for")
    return writer(base, literal(place), branch, {**head, "task": task}) if writer else []


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
    model_class, model = _task_model(base, head)
    return [
        "from peft import PeftModel",
        f"from transformers import {model_class}",
        "",
        *model,
        f"model = PeftModel.from_pretrained(model, {place}{f', revision={literal(branch)}' if branch else ''})",
    ]


def _differences(base: str, place: str, branch: str | None, head: Mapping[str, Any], *, is_on_hub: bool) -> list[str]:
    """Add the differences by hand, as their library is not among the packaged ones."""
    model_class, model = _task_model(base, head)
    at = f'hf_hub_download({_at(place, branch)[0]}, "pytorch_diff.bin"{_at(place, branch)[1]})'
    name = "name" if model_class != "AutoModel" else 'name.removeprefix(f"{model.base_model_prefix}.")'
    return [
        "import torch",
        *(["from huggingface_hub import hf_hub_download"] if is_on_hub else []),
        f"from transformers import {model_class}",
        "",
        *model,
        f"module = torch.load({at if is_on_hub else literal(f'{place}/pytorch_diff.bin')}, weights_only=True)",
        "with torch.no_grad():",
        '    for name, diff in module["diffs"].items():',
        '        axes = diff["size"][::-1]  # the first axis counts fastest',
        '        change = torch.zeros(axes, dtype=diff["values"].dtype)',
        '        change.view(-1)[torch.tensor(diff["index_steps"], dtype=torch.long).cumsum(0)] = diff["values"]',
        f"        model.get_parameter({name}).add_(change.permute(*reversed(range(change.ndim))))",
        '    for name, value in module["abs"].items():',
        f"        model.get_parameter({name}).copy_(value)",
    ]


def _task_model(base: str, head: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Name the class of `transformers` with a head like a module's, and write what makes a model of it."""
    task = str(head.get("task"))
    model_class = TASK_CLASSES.get(task, "AutoModel")
    labels = 2 if task == "QUESTION_ANS" else head.get("labels")  # an answer has a start and an end
    is_count = isinstance(labels, int) and not isinstance(labels, bool) and labels > 0
    count = f", num_labels={labels}" if task in TASK_CLASSES and task not in _UNLABELLED and is_count else ""
    names = _label_names(head) if count else []
    is_new = bool(count == "" and task in TASK_CLASSES and task not in _UNLABELLED and not head.get("labels"))
    return model_class, [
        *(["# its head is new: train it"] if is_new else []),
        *([f"labels = [{', '.join(map(literal, names))}]"] if names else []),
        f"model = {model_class}.from_pretrained({base}{count}{', id2label=dict(enumerate(labels))' if names else ''})",
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


def _fusion(base: str, place: str, branch: str | None, fused: list[str], *, is_on_hub: bool) -> list[str]:
    """The adapters that are fused come first; `adapters` loads what fuses them from folders only."""
    named, revision = _at(place, branch)
    return [
        "from adapters import AutoAdapterModel",
        *(["from huggingface_hub import snapshot_download"] if is_on_hub else []),
        "",
        f"model = AutoAdapterModel.from_pretrained({base})",
        *(f"model.load_adapter({literal(f'./{name}')}, load_as={literal(name)}, use_safetensors=True)" for name in fused),
        f"fusion = {f'snapshot_download({named}{revision})' if is_on_hub else named}",
        "model.load_adapter_fusion(fusion, set_active=True, use_safetensors=True)",
    ]


def _at(place: str, branch: str | None) -> tuple[str, str]:
    """Write a place, and the argument that names a branch there."""
    return literal(place), f", revision={literal(branch)}" if branch else ""


def _fused(record: Mapping[str, Any]) -> list[str]:
    """Take the names of the adapters that a module fuses, if each is a plain word."""
    names = items(mapping(record.get("module")).get("fused"))
    return names if all(isinstance(name, str) and _NAME.fullmatch(name) for name in names) else []


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


def _stand_ins(base: str, repository: str | None, fused: list[str]) -> list[str]:
    """Say which paths a reader has to replace."""
    said = [] if repository else ['`"."` stands for the folder of this file.']
    if base.startswith('"./'):
        said.append(f"`{base}` stands for the folder of the student.")
    said += [f"`./{name}` stands for the folder, or the Hub id, of the adapter `{name}` on the student." for name in fused]
    return ["", " ".join(said)] if said else []
