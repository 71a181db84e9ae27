"""Cards say where a module or a map comes from, how to use it and what is known of it, in the form that the Hub reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import EvalResult, ModelCard, constants

from modxfer.alignments.alignment_map import AlignmentMap, BaseRecord, SitePair
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.errors import UsageError
from modxfer.registry.cards import alignment_card, module_card
from tests.builders import (
    make_adapters_module,
    make_peft_module,
    outputs,
    tiny_architecture,
    tiny_config,
    tiny_inputs,
    tiny_model,
)
from tests.modules import assignment_map, map_of
from tests.registry.cards import body_of, head_of, parse, python_blocks

A, B, C, D = ("abcd"[index] * 40 for index in range(4))

RESULT = {
    "task": "token-classification",
    "dataset": {"name": "CoNLL 2003", "type": "eriktks/conll2003", "config": "en", "split": "test", "revision": D},
    "metric": "f1",
    "value": 83.12345678901234,
    "seed": 1,
    "ran": "modxfer 0.2 on 3,453 sentences",
}


def record(**changes: Any) -> dict[str, Any]:
    """Make what `transfer.json` holds; all from the Hub, but with nothing that may be missing."""
    return {
        "module": {"name": "acme/my-ner", "revision": A, "format": "peft", "method": "lora", "files": {}},
        "teacher": {"name": "acme/big", "revision": B, "fingerprint": "f" * 64, "model_type": "bert"},
        "student": {"name": "acme/small", "revision": C, "fingerprint": "e" * 64, "model_type": "xlm-roberta"},
        "layers": {"mode": "skip", "map": {"encoder": [[[0, 1.0]], [[2, 0.5], [3, 0.5]]]}},
        "alignment": {
            "source": "map",
            "aligner": "lsa",
            "mean_correlation": 0.87654,
            "tokens": 1234,
            "corpus": "some text",
        },
        "tensors": {"converted": 24, "bytes": 999},
        "dropped": ["layer 3: gone"],
        "approximated": [],
        "warnings": ["Few tokens."],
        "versions": {"modxfer": "0.1.0"},
        **changes,
    }


def full_record(**changes: Any) -> dict[str, Any]:
    """Make a record with all that may be in it."""
    alignment = record()["alignment"] | {
        "reason": "units correspond",
        "published": {"repository": "acme/big-to-small", "revision": D},
        "scores": {"encoder 0 <- 0": 0.91, "final.output": 0.5},
    }
    extra = {
        "licence": "Apache-2.0",
        "languages": ["en", "pt-BR"],
        "datasets": ["eriktks/conll2003"],
        "head": {"task": "TOKEN_CLS", "labels": 7},
        "alignment": alignment,
        "results": [RESULT],
    }
    return record(**extra) | changes


def in_folder(part: dict[str, Any], name: str = "small") -> dict[str, Any]:
    """Say that a part of a record was a folder."""
    return {**part, "name": name, "revision": None}


# --- metadata ----------------------------------------------------------------------------------------------------------


def test_module_metadata_is_what_the_hub_understands() -> None:
    """Every key of the head is meant, and `huggingface_hub` reads the same back."""
    expected = {
        "base_model": "acme/small",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "token-classification",
        "license": "apache-2.0",
        "language": ["en", "pt-BR"],
        "datasets": ["eriktks/conll2003"],
        "tags": ["modxfer", "lora"],
    }
    card = module_card(full_record(results=[]))
    assert head_of(card) == expected
    assert ModelCard(card).data.to_dict() == expected
    assert str(ModelCard(card)) == card


def test_results_become_a_model_index() -> None:
    """Results come back as `EvalResult`s in order; what is a percentage here is a fraction on the Hub."""
    second = {**RESULT, "metric": "accuracy", "value": 50.0, "seed": None}
    other = {"task": "text-classification", "dataset": {"name": "IMDB", "type": "imdb"}, "metric": "perplexity", "value": 1}
    data: Any = ModelCard(module_card(full_record(results=[RESULT, second, other]), repository="me/mine")).data
    assert data.model_name == "me/mine"
    dataset: Any = {
        "dataset_name": "CoNLL 2003",
        "dataset_type": "eriktks/conll2003",
        "dataset_config": "en",
        "dataset_split": "test",
        "dataset_revision": D,
    }
    assert data.eval_results == [
        EvalResult(
            task_type="token-classification",
            metric_type="f1",
            metric_value=0.83123457,
            metric_name="f1, seed 1",
            **dataset,
        ),
        EvalResult(task_type="token-classification", metric_type="accuracy", metric_value=0.5, **dataset),
        EvalResult(
            task_type="text-classification",
            dataset_type="imdb",
            dataset_name="IMDB",
            metric_type="perplexity",
            metric_value=1,
        ),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"value": float("nan")},
        {"value": "0.9"},
        {"value": True},
        {"metric": "f1 <b>"},
        {"task": None},
        {"dataset": {"name": "mine", "type": "/home/me/data"}},
        {"dataset": None},
    ],
)
def test_results_that_the_hub_cannot_hold_are_left_out_of_the_head(change: dict[str, Any]) -> None:
    """A result without a number, a task or a data set by its id is no model-index; the body still shows it."""
    card = module_card(full_record(results=[{**RESULT, **change}]))
    assert "model-index" not in head_of(card)
    assert "| Task | Data set | Split | Metric |" in card


def test_module_card_of_adapters_has_the_tags_that_its_library_looks_for() -> None:
    """The Hub's key of the `adapters` library is `adapter-transformers`; the library also tags the family."""
    head = head_of(module_card(record(module={**record()["module"], "format": "adapters", "method": "bottleneck"})))
    assert head["library_name"] == "adapter-transformers"
    assert head["tags"] == ["modxfer", "bottleneck", "adapter-transformers", "xlm-roberta"]


@pytest.mark.parametrize("name", ["small", "bert-base-uncased", "../x", "a/b/c"])
def test_module_card_names_no_base_model_that_the_hub_cannot_have(name: str) -> None:
    """A folder's name is not put forward as a Hub id: what came from the Hub has a revision."""
    head = head_of(module_card(record(student=in_folder(record()["student"], name))))
    assert not head.keys() & {"base_model", "base_model_relation"}


def test_unknown_values_are_left_out_of_the_head() -> None:
    """What is no language, data set, licence or task of the Hub does not get into the metadata."""
    odd = full_record(
        languages=["English", "no", 3], datasets=["a/b/c", "--"], licence="my own", head={"task": "X"}, results=None
    )
    head = head_of(module_card(odd))
    assert head["language"] == ["no"]
    assert not head.keys() & {"datasets", "license", "pipeline_tag", "model-index"}


def test_alignment_metadata() -> None:
    """A map is no derived model: it names both base models and no relation; the tags given are added once."""
    alignment = example_alignment(teacher=BaseRecord(name="acme/big", revision=A, fingerprint=A, model_type="bert"))
    expected = {
        "base_model": ["acme/big", "acme/small"],
        "library_name": "modxfer",
        "license": "cc0-1.0",
        "tags": ["modxfer", "alignment-map", "modxfer-pair:0123abcd"],
    }
    card = alignment_card(alignment, licence="CC0-1.0", tags=["modxfer-pair:0123abcd", "modxfer", "no <tag>"])
    assert head_of(card) == expected
    assert ModelCard(card).data.to_dict() == expected
    folder = BaseRecord(name="small", revision=None, fingerprint=C, model_type="roberta")
    assert "base_model" not in head_of(alignment_card(example_alignment(student=folder)))


# --- body --------------------------------------------------------------------------------------------------------------


def test_module_card_says_where_it_comes_from() -> None:
    """Teacher module, base models and the published map are linked at their commits; all figures are there."""
    card = module_card(full_record())
    parsed = parse(card)
    for name, revision in (("my-ner", A), ("big", B), ("small", C), ("big-to-small", D)):
        assert f"{constants.ENDPOINT}/acme/{name}/tree/{revision}" in parsed.links
    assert parsed.headings == [
        "`acme/my-ner` for `acme/small`", "How to load it", "Where it comes from", "What was measured", "Dropped",
        "Warnings", "Limits", "Licence", "Citation",
    ]  # fmt: skip
    text = " ".join(parsed.texts + parsed.codes)
    for part in (
        "skip",
        "0.877",
        "1,234 tokens",
        "some text",
        "24",
        "layer 3: gone",
        "Few tokens.",
        "modxfer 0.1.0",
        "conll2003",
    ):
        assert part in text
    assert "| `encoder` | 1 | 0.50 × 2 + 0.50 × 3 |" in card
    assert "| `encoder` | 0 | 0 |" in card
    assert "| `encoder 0 <- 0` | 0.910 |" in card
    assert "Klimaszewski" in card


def test_module_card_credits_the_teachers_card_by_link() -> None:
    """What is known of the teacher module is said on its own card, which is linked and not copied; a folder has none."""
    assert f"{constants.ENDPOINT}/acme/my-ner" in parse(module_card(record())).links
    card = module_card(record(module=in_folder(record()["module"], "my-ner")))
    assert "acme/my-ner" not in card
    assert "its own card" not in card


def test_module_card_says_what_was_measured() -> None:
    """Results are a table with data set, seed and who measured; without any the card says so plainly."""
    row = (
        "| token-classification | `eriktks/conll2003`, `CoNLL 2003`, `en` at `" + D[:12] + "` | `test` | f1 | 83.12 % | 1 "
        "| modxfer 0.2 on 3,453 sentences |"
    )
    assert row in module_card(full_record())
    assert "Nothing was measured on a task" in module_card(record())
    assert "Nothing was measured on a task" not in module_card(full_record())


@pytest.mark.parametrize("part", ["training", "settings", "data", "fit", "labels", "init_module", "options", "versions"])
@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [[1], None], {"train": 3, "name": None}])
def test_a_training_of_another_shape_still_gives_a_card(part: str, value: Any) -> None:
    """What is missing or of another type is shown as nothing."""
    training = {"task": "ner", "data": {"train": {"type": "a/b"}}, "fit": {"steps": 3}}
    changed = value if part == "training" else {**training, part: value}
    card = module_card(full_record(training=changed))
    assert ModelCard(card).data.to_dict()["tags"][0] == "modxfer"


def test_columns_that_say_nothing_are_left_out() -> None:
    """A module that was only moved was measured at one time."""
    card = module_card(full_record())
    assert "| Task | Data set | Split | Metric | Value | Seed | Measured by |" in card


def test_snippet_names_the_labels() -> None:
    """Where there are as many as rows, and all are plain; a name with a quote could end the text that it is in."""
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
    (source,) = python_blocks(module_card(full_record(head={"task": "TOKEN_CLS", "labels": 7, "names": names})))
    assert 'labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]\n' in source
    assert "num_labels=7, id2label=dict(enumerate(labels)))" in source
    for odd in (names[:-1], [*names[:-1], 'x"]; import os'], [*names[:-1], 3], "O"):
        (source,) = python_blocks(module_card(full_record(head={"task": "TOKEN_CLS", "labels": 7, "names": odd})))
        assert "labels = " not in source
        assert "num_labels=7)" in source


def test_module_card_of_a_stated_identity() -> None:
    """Without a map the card claims no figures."""
    card = module_card(record(alignment={"source": "identity", "mean_correlation": None, "tokens": 0}))
    assert "identity, as stated" in card
    assert "correlation" not in card


@pytest.mark.parametrize(
    ("licence", "own", "said", "key"),
    [
        (None, "mit", "`mit`: what the card of the teacher module says.", "mit"),
        ("MIT", "mit", "`mit`: what the card of the teacher module says.", "mit"),
        ("apache-2.0", "mit", "`apache-2.0`, as stated by whoever published this module.", "apache-2.0"),
        ("other", None, "`other`, as stated by whoever published this module.", "other"),
        (None, None, "None is stated.", None),
        (None, "my own", "says my own, which is no licence that the Hub has an id for.", None),
    ],
)
def test_licence_line_says_where_the_licence_comes_from(
    licence: str | None, own: str | None, said: str, key: str | None
) -> None:
    """The stated licence wins over the teacher module's; the card says whose it is."""
    card = module_card(record(licence=own), licence=licence)
    assert said in body_of(card)
    assert head_of(card).get("license") == key


def test_limits_are_those_of_this_module() -> None:
    """A module without a head says so, and one with a head does not."""
    assert "no prediction head" in module_card(record())
    assert "no prediction head" not in module_card(full_record())


def test_a_card_is_refused_for_what_the_hub_cannot_have() -> None:
    """An id or a licence that the Hub cannot have is the caller's mistake."""
    with pytest.raises(UsageError, match="`a/b/c`"):
        module_card(record(), repository="a/b/c")
    with pytest.raises(UsageError, match="`my own`"):
        module_card(record(), licence="my own")
    with pytest.raises(UsageError, match="`a--b`"):
        alignment_card(example_alignment(), repository="a--b")
    for branch in ('x"', "a b", "`", "x\n", ""):
        with pytest.raises(UsageError, match="could not be written into the card's code"):
            module_card(record(), repository="me/mine", branch=branch)


@pytest.mark.parametrize(
    "part", ["module", "teacher", "student", "layers", "alignment", "tensors", "versions", "results", "head"]
)
@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [[1], None], {"map": 3, "name": None, "scores": [1]}])
def test_a_record_of_another_shape_still_gives_a_card(part: str, value: Any) -> None:
    """Records come from outside: what is missing or of another type is shown as nothing."""
    card = module_card(full_record(**{part: value}))
    assert ModelCard(card).data.to_dict()["tags"][0] == "modxfer"


def example_alignment(**fields: Any) -> AlignmentMap:
    """Make a map with sites in two layers and outside of them."""
    names = ("encoder.0.query.output<-encoder.0.query.output", "encoder.1.query.output<-encoder.2.query.output")
    pairs = [
        SitePair.parse(name)
        for name in (*names, "encoder.0.ffn_up.output<-encoder.0.ffn_up.output", "final.output<-final.output")
    ]
    student = BaseRecord(name="acme/small", revision=C, fingerprint=C, model_type="roberta")
    return map_of({pair: assignment_map(np.arange(3)) for pair in pairs}, **{"student": student, **fields})


def test_alignment_card_gives_the_measured_figures() -> None:
    """Names, tokens, correlations by layer and kind of site, and warnings are those of the map."""
    card = alignment_card(example_alignment(reason="units correspond", warnings=("Only 100 matched tokens.",), key="9" * 64))
    for part in ("100 matched tokens of 5 texts", "Only 100 matched tokens", "units correspond", "9" * 64, "matched by spans"):
        assert part in card
    assert "Mean matched correlation: 0.500; by chance it would be 0.100" in card
    assert "| Layer | `ffn_up.output` | `query.output` | Mean |" in card
    assert "| `encoder 0 <- 0` | 0.500 | 0.500 | 0.500 |" in card
    assert "| `encoder 1 <- 2` |  | 0.500 | 0.500 |" in card
    assert "| `final.output` |  |  | 0.500 |" in card
    assert f"{constants.ENDPOINT}/acme/small/tree/{C}" in parse(card).links


def test_alignment_card_says_how_to_use_it() -> None:
    """The command and the Python name the repository, and the student at its commit; for a folder, its own place."""
    card = alignment_card(example_alignment(), repository="me/map")
    assert f"$ modxfer convert MODULE --to acme/small@{C} --alignment me/map\n" in card
    assert python_blocks(card) == ['import modxfer\n\nalignment = modxfer.AlignmentMap.from_pretrained("me/map")\n']
    card = alignment_card(example_alignment(), repository="me/map", branch="dev")
    assert "--alignment me/map@dev\n" in card
    assert 'from_pretrained("me/map@dev")' in card
    folder = BaseRecord(name="small", revision=None, fingerprint=C, model_type="roberta")
    card = alignment_card(example_alignment(student=folder))
    assert "$ modxfer convert MODULE --to ./small --alignment .\n" in card
    assert 'from_pretrained(".")' in card


def test_alignment_card_without_scores_gives_no_figures() -> None:
    """A number that was not measured is not in the card."""
    card = alignment_card(map_of({}))
    assert "nan" not in card
    assert "Mean matched" not in card


# --- snippets ----------------------------------------------------------------------------------------------------------


def run_snippet(card: str) -> dict[str, Any]:
    """Run the Python of a card as a reader would paste it."""
    (source,) = python_blocks(card)
    names: dict[str, Any] = {}
    exec(compile(source, "card", "exec"), names)
    return names


def rewritten(folder: Path, config: Any, target: Path) -> Path:
    """Let modxfer read a module and write it again, so that its files are as modxfer leaves them."""
    structure = tiny_architecture(config)
    target.mkdir()
    write_module(read_module(inspect_files(folder), structure), structure, target)
    return target


@pytest.mark.parametrize(
    ("task", "head"),
    [
        (None, None),
        ("TOKEN_CLS", {"task": "TOKEN_CLS", "labels": 5}),
        ("SEQ_CLS", {"task": "SEQ_CLS", "labels": 5}),
        ("QUESTION_ANS", {"task": "QUESTION_ANS", "labels": 2}),
    ],
)
def test_peft_snippet_loads_the_module(
    task: str | None, head: dict[str, Any] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pasted beside the two folders, it gives the outputs of the model that was saved."""
    config = tiny_config("bert")
    model = tiny_model(config, task=task)
    ids = tiny_inputs(config)
    options: Any = {} if task is None else {"task_type": task}
    base = model if task is None else model.base_model
    base.save_pretrained(tmp_path / "out" / "small")
    expected = outputs(make_peft_module(tmp_path / "saved", model, **options), ids)
    folder = rewritten(tmp_path / "saved", config, tmp_path / "module")
    (tmp_path / "out" / "small").rename(folder / "small")
    monkeypatch.chdir(folder)

    card = module_card(record(student=in_folder(record()["student"]), head=head))
    assert '`"."` stands for the folder of this file. `"./small"` stands for the folder of the student.' in card
    loaded = run_snippet(card)["model"].eval()
    for found, wanted in zip(outputs(loaded, ids), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.adapters
@pytest.mark.parametrize("head", [None, "tagging"])
def test_adapters_snippet_loads_the_module(head: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pasted beside the two folders, it gives the outputs of the model that was saved, with its head active."""
    import adapters

    config = tiny_config("bert")
    tiny_model(config).save_pretrained(tmp_path / "small")
    model = adapters.AutoAdapterModel.from_pretrained(str(tmp_path / "small"))
    ids = tiny_inputs(config)
    options: Any = {"head": head, "head_options": {"num_labels": 4}} if head else {}
    expected = outputs(make_adapters_module(tmp_path / "saved", model, "seq_bn[reduction_factor=4]", **options), ids)
    folder = rewritten(tmp_path / "saved", config, tmp_path / "module")
    (tmp_path / "small").rename(folder / "small")
    monkeypatch.chdir(folder)

    module = {**record()["module"], "format": "adapters"}
    loaded = run_snippet(module_card(record(module=module, student=in_folder(record()["student"]))))["model"].eval()
    assert loaded.active_head == ("mine" if head else None)
    for found, wanted in zip(outputs(loaded, ids), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_snippets_pin_what_is_on_the_hub() -> None:
    """The student is named at its commit and the module by the id that it is pushed to; nothing stands for anything else."""
    card = module_card(full_record(), repository="me/mine")
    assert python_blocks(card) == [
        "from peft import PeftModel\n"
        "from transformers import AutoModelForTokenClassification\n\n"
        f'model = AutoModelForTokenClassification.from_pretrained("acme/small", revision="{C}", num_labels=7)\n'
        'model = PeftModel.from_pretrained(model, "me/mine")\n'
    ]
    assert hasattr(transformers, "AutoModelForTokenClassification")
    assert "stands for" not in card
    card = module_card(full_record(module={**record()["module"], "format": "adapters"}), repository="me/mine")
    assert python_blocks(card) == [
        "from adapters import AutoAdapterModel\n\n"
        f'model = AutoAdapterModel.from_pretrained("acme/small", revision="{C}")\n'
        'model.load_adapter("me/mine", set_active=True, use_safetensors=True)\n'
    ]


@pytest.mark.parametrize(
    ("format", "line"),
    [
        ("peft", 'PeftModel.from_pretrained(model, "me/mine", revision="dev/2")\n'),
        ("adapters", 'load_adapter("me/mine", version="dev/2", set_active=True, use_safetensors=True)\n'),
    ],
)
def test_snippets_name_the_branch(format: str, line: str) -> None:
    """Where a module lies on another branch than the main one."""
    card = module_card(full_record(module={**record()["module"], "format": format}), repository="me/mine", branch="dev/2")
    assert python_blocks(card)[0].endswith(line)


@pytest.mark.parametrize("name", ['x"); import os #', "a b", "..", "", "é", "x" * 97, None])
def test_snippets_hold_no_name_that_is_not_plain(name: Any) -> None:
    """A folder whose name could be anything but a name is called `student`; and no folder can be taken for a Hub id."""
    (source,) = python_blocks(module_card(full_record(student=in_folder(record()["student"], name))))
    assert 'from_pretrained("./student", num_labels=7)' in source
