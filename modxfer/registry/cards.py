"""Model cards of modules and of alignment maps, in the form that the Hub reads.

The metadata goes through `huggingface_hub`'s card classes. Records may have been written by anyone, so every text in them
passes through `card_text`, and what is not what it should be is left out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from modxfer.alignments.alignment_map import AlignmentMap, BaseRecord, SitePair, SiteScore
from modxfer.errors import UsageError
from modxfer.registry import card_text
from modxfer.registry.card_loading import PIPELINES, alignment_loading, module_loading
from modxfer.registry.card_results import eval_results, result_table
from modxfer.registry.card_text import bullets, code, escape, items, linked, mapping, named, number, python_blocks, span, table
from modxfer.registry.card_training import began_as, is_transfer, task_name, trained_on, training_lines, training_of
from modxfer.registry.licences import check_licence, normalise

__all__ = ["PIPELINES", "alignment_card", "code", "escape", "module_card", "python_blocks"]

LIBRARIES = {"peft": "peft", "adapters": "adapter-transformers"}
"""Format to the Hub's key of its library; the one of `adapters` is still its former name."""

CITATION = """\
The method is that of Mateusz Klimaszewski, Piotr Andruszkiewicz and Alexandra Birch,
*Is Modularity Transferable? A Case Study through the Lens of Knowledge Distillation*, LREC-COLING 2024
([arXiv 2403.18804](https://arxiv.org/abs/2403.18804)).

```bibtex
@inproceedings{klimaszewski2024modularity,
  title     = {Is Modularity Transferable? A Case Study through the Lens of Knowledge Distillation},
  author    = {Klimaszewski, Mateusz and Andruszkiewicz, Piotr and Birch, Alexandra},
  booktitle = {Proceedings of LREC-COLING 2024},
  year      = {2024},
  note      = {arXiv:2403.18804},
}
```"""

_CORRELATION = (
    "The correlation is that of each student unit with the teacher unit or units that serve it, over the matched tokens: 1 is "
    "the best. It says how well units correspond, not how well a module does its task."
)
_TAG = re.compile(r"[A-Za-z0-9][\w.:/+-]{0,95}", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*|code|multilingual")
_BRANCH = re.compile(r"[A-Za-z0-9][\w.+/-]*", re.ASCII)


def module_card(
    record: Mapping[str, Any], *, licence: str | None = None, repository: str | None = None, branch: str | None = None
) -> str:
    """Write the card of a module that was moved, trained, or both.

    Args:
        record: What `transfer.json` holds.
        licence: The licence to state; None for the teacher module's, as the record has it.
        repository: The Hub id that the module is pushed to; None for a folder.
        branch: The branch that it is pushed to; None for the main one.

    Returns:
        Markdown with a YAML head; every text from outside is escaped.

    Raises:
        UsageError: the licence or the repository is none that the Hub could have, or the branch has odd characters.
    """
    _check(licence, repository, branch)
    module, student = (mapping(record.get(key)) for key in ("module", "student"))
    purpose = f", trained for {task_name(record)}" if training_of(record) else ""
    sections = {
        f"{span(module.get('name'))} for {span(student.get('name'))}{purpose}": _what_it_is(record),
        "How to load it": module_loading(record, repository=repository, branch=branch),
        "How it was trained": training_lines(record),
        "Where it comes from": _origin(record),
        "What was measured": _measured(record),
        "Dropped": bullets(items(record.get("dropped"))),
        "Not exact": bullets(items(record.get("approximated"))),
        "Warnings": bullets(items(record.get("warnings"))),
        "Limits": _module_limits(record),
        "Licence": [_licence_line(record, licence)],
        "Citation": [CITATION],
    }
    return _card(_module_metadata(record, licence=licence, repository=repository), sections)


def alignment_card(
    alignment: AlignmentMap,
    *,
    licence: str | None = None,
    repository: str | None = None,
    branch: str | None = None,
    tags: Sequence[str] = (),
) -> str:
    """Write the card of an alignment map.

    Args:
        alignment: The map.
        licence: The licence to state, if any.
        repository: The Hub id that the map is pushed to; None for a folder.
        branch: The branch that it is pushed to; None for the main one.
        tags: Tags to add, such as the one that finds the maps of a pair.

    Returns:
        Markdown with a YAML head; every text from outside is escaped.

    Raises:
        UsageError: the licence or the repository is none that the Hub could have, or the branch has odd characters.
    """
    _check(licence, repository, branch)
    teacher, student = alignment.teacher, alignment.student
    on_hub = [base.name for base in (teacher, student) if card_text.is_on_hub(base.name, base.revision)]
    metadata = {
        "base_model": on_hub or None,
        "library_name": "modxfer",
        "license": normalise(licence),
        "tags": _tags("modxfer", "alignment-map", *tags),
    }
    sections = {
        f"Alignment map: {span(teacher.name)} to {span(student.name)}": [
            f"How the units of the student {linked(student.name, student.revision)} correspond to those of the teacher "
            f"{linked(teacher.name, teacher.revision)}. With it, modxfer moves modules from the teacher to the student."
        ],
        "How to use it": alignment_loading(alignment, repository=repository, branch=branch),
        "How it was obtained": _obtained(alignment),
        "Scores": _score_table(alignment),
        "Warnings": bullets(alignment.warnings),
        "Limits": [
            "* It is valid for exactly these two base models, at these revisions.",
            "* It has maps for the sites in the table only; a module that uses others needs its own.",
            f"* It was measured on {escape(alignment.corpus.name)}. How well units correspond on other text was not measured.",
        ],
        "Licence": [f"{span(normalise(licence))}, as stated by whoever published this map." if licence else "None is stated."],
        "Citation": [CITATION],
    }
    return _card(metadata, sections)


def _what_it_is(record: Mapping[str, Any]) -> list[str]:
    module, teacher, student = (mapping(record.get(key)) for key in ("module", "teacher", "student"))
    version = escape(mapping(record.get("versions")).get("modxfer", ""))
    what = f"A module ({escape(module.get('method'))}, {escape(module.get('format'))} format) for {_link(student)}"
    moved = f", moved there from {_link(teacher)} by modxfer {version}"
    if not training_of(record):
        return [f"{what}{moved}.", "", "It is an initialisation: it was not trained on the base model that it is for."]
    trained = f"trained there for {task_name(record)} on {trained_on(record)}"
    if is_transfer(record):
        return [f"{what}{moved}, then {trained}."]
    return [f"{what}, {trained} with modxfer {version}.", "", began_as(record)]


def _check(licence: str | None, repository: str | None, branch: str | None) -> None:
    if licence is not None:
        check_licence(licence)
    if repository is not None and not card_text.is_hub_id(repository):
        raise UsageError(f"`{code(repository)}` is no id that the Hub could have.", do="Give one such as `name/repository`.")
    if branch is not None and not _BRANCH.fullmatch(branch):
        raise UsageError(
            f"The branch `{code(branch)}` could not be written into the card's code.",
            do="Name it with letters, digits, `.`, `_`, `-` and `/` only.",
        )


def _card(metadata: Mapping[str, Any], sections: Mapping[str, Sequence[str]]) -> str:
    """Put metadata and sections together; the first section is the title's, and empty ones are left out."""
    # Not ModelCard: it would import the Hub's whole client, to put dashes around the metadata.
    from huggingface_hub import ModelCardData

    lines = ["---", ModelCardData(**metadata).to_yaml(), "---"]
    for index, (title, body) in enumerate(sections.items()):
        if body:
            lines += ["", f"{'##' if index else '#'} {title}", "", *body]
    return "\n".join(lines) + "\n"


def _module_metadata(record: Mapping[str, Any], *, licence: str | None, repository: str | None) -> dict[str, Any]:
    module, student = mapping(record.get("module")), mapping(record.get("student"))
    is_on_hub = card_text.is_on_hub(student.get("name"), student.get("revision"))
    is_adapters = module.get("format") == "adapters"
    results = eval_results(record)
    return {
        "base_model": student["name"] if is_on_hub else None,
        "base_model_relation": "adapter" if is_on_hub else None,
        "library_name": LIBRARIES.get(str(module.get("format"))),
        "pipeline_tag": PIPELINES.get(str(mapping(record.get("head")).get("task"))),
        "license": normalise(licence or record.get("licence")),
        "language": _languages(record) or None,
        "datasets": _datasets(record) or None,
        "tags": _tags(
            "modxfer",
            module.get("method"),
            *([LIBRARIES["adapters"], student.get("model_type")] if is_adapters else []),  # `adapters` finds modules by them
        ),
        "model_name": (repository or code(module.get("name"))) if results else None,
        "eval_results": results or None,
    }


def _tags(*tags: object) -> list[str]:
    return list(dict.fromkeys(tag for tag in tags if isinstance(tag, str) and _TAG.fullmatch(tag)))


def _languages(record: Mapping[str, Any]) -> list[str]:
    named = [*items(record.get("languages")), *items(training_of(record).get("languages"))]
    return list(dict.fromkeys(text for text in named if isinstance(text, str) and _LANGUAGE.fullmatch(text)))


def _datasets(record: Mapping[str, Any]) -> list[str]:
    """Name the data sets of the teacher module, and the one that the module was trained on."""
    trained = mapping(mapping(training_of(record).get("data")).get("train")).get("type")
    return list(dict.fromkeys(name for name in [*items(record.get("datasets")), trained] if card_text.is_hub_id(name)))


def _base(base: Mapping[str, Any]) -> str:
    return named(base.get("name"), base.get("revision"))


def _link(base: Mapping[str, Any]) -> str:
    return linked(base.get("name"), base.get("revision"))


def _origin(record: Mapping[str, Any]) -> list[str]:
    module, alignment = mapping(record.get("module")), mapping(record.get("alignment"))
    layers = mapping(record.get("layers"))
    if not is_transfer(record):
        return _own_origin(record)
    lines = [
        f"* Teacher module: {_base(module)}{_entry(module)}",
        *_listed("Data sets that its card names", record.get("datasets")),
        *_listed("Languages that its card names", record.get("languages")),
        f"* Teacher: {_base(mapping(record.get('teacher')))}",
        f"* Student: {_base(mapping(record.get('student')))}",
        f"* Alignment: {_alignment_line(alignment)}",
        *([f"* Why this aligner: {escape(alignment['reason'])}"] if alignment.get("reason") else []),
        f"* Tensors converted: {number(mapping(record.get('tensors')).get('converted'))}",
        f"* Layer map: {escape(layers.get('mode'))}, as in the table",
        "",
        *_layer_table(mapping(layers.get("map"))),
    ]
    scores = mapping(alignment.get("scores"))
    if scores:
        rows = [(span(title), number(mean)) for title, mean in scores.items()]
        lines += ["", *table(["Student layer <- teacher layer".replace("<", "&lt;"), "Mean matched correlation"], rows)]
        lines += ["", _CORRELATION]
    return [*lines, "", "Hashes of all files are in `transfer.json`."]


def _own_origin(record: Mapping[str, Any]) -> list[str]:
    """Say where a module comes from that was not moved."""
    is_new = not mapping(training_of(record).get("init_module"))
    return [
        f"* Base model: {_base(mapping(record.get('student')))}",
        f"* {began_as(record)}",
        *([] if is_new else _listed("Data sets that its card names", record.get("datasets"))),
        *([] if is_new else _listed("Languages that its card names", record.get("languages"))),
        "",
        "Hashes of all files are in `transfer.json`.",
    ]


def _listed(what: str, names: object) -> list[str]:
    return [f"* {what}: {', '.join(map(span, items(names)))}"] if items(names) else []


def _alignment_line(alignment: Mapping[str, Any]) -> str:
    if alignment.get("source") == "identity":
        return "identity, as stated; nothing was measured"
    published = mapping(alignment.get("published"))
    at = named(published.get("repository"), published.get("revision"))
    where = f", published as {at}{_entry(published)}" if published else ""
    return (
        f"{span(alignment.get('aligner'))}, mean matched correlation {number(alignment.get('mean_correlation'))} over "
        f"{number(alignment.get('tokens'))} tokens of {escape(alignment.get('corpus'))}{where}"
    )


def _entry(source: Mapping[str, Any]) -> str:
    """Say by which entry of a registry something was found."""
    return f", the entry {span(source['entry'])} of a registry" if source.get("entry") else ""


def _layer_table(stacks: Mapping[str, Any]) -> list[str]:
    rows = [
        (span(stack), str(layer), _feeds(teachers))
        for stack, layers in stacks.items()
        for layer, teachers in enumerate(items(layers))
    ]
    return table(["Stack", "Student layer", "Teacher layers"], rows) if rows else []


def _feeds(teachers: object) -> str:
    """Write the teacher layers of one student layer: "4", or "0.5 × 2 + 0.5 × 3"."""
    feeds = [(*items(feed), None, None)[:2] for feed in items(teachers)]
    return (
        " + ".join(number(layer) if weight == 1 else f"{number(weight, 2)} × {number(layer)}" for layer, weight in feeds)
        or "none"
    )


def _measured(record: Mapping[str, Any]) -> list[str]:
    rows = result_table(record)
    if rows:
        return rows
    if training_of(record):
        return ["No result was written down but the one that the step was chosen by."]
    return ["Nothing was measured on a task: how well this module does its task on its new base model is not known."]


def _module_limits(record: Mapping[str, Any]) -> list[str]:
    module = mapping(record.get("module"))
    is_on_hub = card_text.is_on_hub(module.get("name"), module.get("revision"))
    url = card_text.hub_url(module["name"]) if is_on_hub else ""
    on_card = f" What its author says of them is on [its own card]({url})." if url else ""
    if not training_of(record):
        lines = [
            "* An initialisation: fine-tune it, and measure it on your task, before its predictions are used.",
            "* Only for the student that is named above: with another one it does something else, or does not load.",
            f"* What the teacher module learned from its data may come along, its errors and biases too.{on_card}",
        ]
    else:
        first = f"* What the {_first_module(record)} learned from its data may have stayed, its errors and biases too.{on_card}"
        lines = [
            "* Trained for one task on the data that is named above: how well it does on data that is not among the results is "
            "not known.",
            "* What was measured on the data that it was chosen on is likely to be better than on new data.",
            "* Only for the base model that is named above: with another one it does something else, or does not load.",
            "* What it learned from its data, errors and biases too, is in its predictions.",
            *([first] if training_of(record).get("init_module") else []),
        ]
    if not mapping(record.get("head")) and mapping(record.get("module")).get("loaded_for") not in ("CAUSAL_LM", "SEQ_2_SEQ_LM"):
        lines.append("* It has no prediction head: one has to be trained for any task.")
    return lines


def _licence_line(record: Mapping[str, Any], licence: str | None) -> str:
    own = record.get("licence")
    if licence and normalise(licence) != normalise(own):
        return f"{span(normalise(licence))}, as stated by whoever published this module."
    if not own:
        return "None is stated."
    if normalise(own) is None:
        return f"The card of the {_first_module(record)} says {escape(own)}, which is no licence that the Hub has an id for."
    return f"{span(normalise(own))}: what the card of the {_first_module(record)} says."


def _first_module(record: Mapping[str, Any]) -> str:
    return "teacher module" if is_transfer(record) else "module that it began with"


def _obtained(alignment: AlignmentMap) -> list[str]:
    corpus = alignment.corpus
    measured = [score.chance for score in alignment.scores.values() if score.chance is not None]
    chance = f"; by chance it would be {number(sum(measured) / len(measured))}" if measured else ""
    mean = [f"* Mean matched correlation: {number(alignment.mean_correlation)}{chance}"] if alignment.scores else []
    return [
        *(_base_line(what, base) for what, base in (("Teacher", alignment.teacher), ("Student", alignment.student))),
        f"* Corpus: {escape(corpus.name)}{f' at {span(corpus.revision)}' if corpus.revision else ''}; {number(corpus.tokens)} "
        f"matched tokens of {number(corpus.texts)} texts, matched by {escape(corpus.matching)}",
        f"* Aligner: {span(alignment.aligner)}, asked for: {span(alignment.requested)}",
        *([f"* Why this aligner: {escape(alignment.reason)}"] if alignment.reason else []),
        *mean,
        *([f"* Id: {span(alignment.key)}"] if alignment.key else []),
    ]


def _base_line(what: str, base: BaseRecord) -> str:
    return f"* {what}: {named(base.name, base.revision)} ({escape(base.model_type)}; fingerprint {span(base.fingerprint[:12])})"


def _score_table(alignment: AlignmentMap) -> list[str]:
    """Layers down, kinds of sites across; sites outside the layers have rows of their own."""
    layers = list(alignment.layers())
    points = list(
        dict.fromkeys(str(pair.student.point) for _, pairs in layers for pair, _ in pairs if pair.student.layer is not None)
    )
    rows = [[span(title), *_cells(pairs, points), number(_mean(pairs))] for title, pairs in layers]
    return [*table(["Layer", *map(span, points), "Mean"], rows), "", _CORRELATION] if rows else []


def _cells(pairs: Sequence[tuple[SitePair, SiteScore]], points: Sequence[str]) -> list[str]:
    means = {str(pair.student.point): score.mean_correlation for pair, score in pairs}
    return [number(means[point]) if point in means else "" for point in points]


def _mean(pairs: Sequence[tuple[SitePair, SiteScore]]) -> float:
    return sum(score.mean_correlation for _, score in pairs) / len(pairs)
