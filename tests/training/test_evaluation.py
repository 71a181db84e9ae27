"""Measuring models and modules: against predictions made one by one, and what is refused."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from modxfer.errors import DataError, FormatError, ModxferError, UsageError
from modxfer.registry.transfers import read_transfer
from modxfer.training.data.rows import SplitRecord
from modxfer.training.evaluating import DataSource, Evaluated, EvaluationRequest, evaluate_module
from modxfer.training.evaluation import join_records, result_rows
from modxfer.training.evaluation_request import parse_source, split_labels
from modxfer.training.settings import TrainingSettings
from modxfer.training.tasks import TASKS
from tests.builders import randomise
from tests.hub.server import HubServer
from tests.training.libraries.bases import save_decoder
from tests.training.made import WORDS, make_base, tagged_sentences, write_pairs, write_tagged
from tests.training.oracles import load_plain, logits, tags_of
from tests.training.trained import train

LABELS = ("B-PER", "O", "B-LOC")
"""In no usual order, so that names and not places must decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What tests read and never change.

    Attributes:
        base: A BERT.
        twin: Another BERT of the same shape.
        wide: A BERT of another width.
        module: A LoRA with a head for tags on the base model.
        other: Another one.
        data: 30 tagged sentences.
        evaluated: What was measured of the module on them.
    """

    base: Path
    twin: Path
    wide: Path
    module: Path
    other: Path
    data: Path
    evaluated: Evaluated


def noise(seed: int) -> Callable[[Any], None]:
    """Fill what a model trains with noise, and shift its head so that on average no label is predicted rather than another."""

    def change(model: Any) -> None:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        randomise(trained, seed=seed, size=1.0)
        ids = torch.randint(5, 23, (40, 9), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            found = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            biases = [parameter for parameter in trained if tuple(parameter.shape) == (found.shape[-1],)]
            for bias in biases[-1:]:
                bias -= found.reshape(-1, found.shape[-1]).mean(dim=0)

    return change


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Make base models, modules and data."""
    folder = tmp_path_factory.mktemp("made")
    base = make_base(folder / "base")
    data = write_tagged(folder / "names.conll", 30)
    for name, seed in (("module", 1), ("other", 2)):
        train(folder / name, str(base), labels=LABELS, change=noise(seed))
    return Made(
        base=base,
        twin=make_base(folder / "twin", seed=9),
        wide=make_base(folder / "wide", hidden=18),
        module=folder / "module",
        other=folder / "other",
        data=data,
        evaluated=measure(folder / "module", data),
    )


def measure(module: Path | str, *data: Path, task: str = "ner", **changes: Any) -> Evaluated:
    """Measure a module."""
    return evaluate_module(
        EvaluationRequest(
            module=str(module), task=task, data=[DataSource(spec=str(path)) for path in data], draws=50, **changes
        )
    )


@pytest.mark.parametrize("max_tokens", [None, 5])
def test_evaluate_gives_what_predictions_one_by_one_give(made: Made, max_tokens: int | None) -> None:
    """In batches, sorted and padded, F1 is seqeval's of predictions made alone; with words cut off too."""
    import seqeval.metrics as seqeval

    evaluation = measure(made.module, made.data, settings=TrainingSettings(max_tokens=max_tokens)).evaluation

    model = load_plain(made.base, made.module, num_labels=len(LABELS))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(made.base))
    sentences = tagged_sentences(30)
    truth = [[tag for _, tag in sentence] for sentence in sentences]
    found = [
        tags_of(model, tokenizer, [word for word, _ in sentence], LABELS, max_tokens=max_tokens or 36) for sentence in sentences
    ]
    assert {tag for tags in found for tag in tags} == set(LABELS)  # else the comparison says little
    assert evaluation.metrics["f1"] == pytest.approx(100 * seqeval.f1_score(truth, found))
    report = seqeval.classification_report(truth, found, output_dict=True)
    assert {kind: own["f1"] for kind, own in evaluation.per_label.items()} == pytest.approx(
        {kind: 100 * report[kind]["f1-score"] for kind in ("LOC", "PER")}
    )
    assert (evaluation.examples, evaluation.cut) == (30, 30 if max_tokens else 0)
    assert evaluation.units == {"spans": 60, "words": 150}
    assert evaluation.intervals["f1"].low <= evaluation.metrics["f1"] <= evaluation.intervals["f1"].high


@pytest.mark.adapters
def test_evaluate_measures_a_bottleneck(made: Made, tmp_path: Path) -> None:
    """A bottleneck's F1 is seqeval's of what `adapters` predicts one by one."""
    import adapters
    import seqeval.metrics as seqeval

    train(tmp_path / "module", str(made.base), method="bottleneck", labels=LABELS, change=noise(3))
    evaluation = measure(tmp_path / "module", made.data).evaluation

    model = adapters.AutoAdapterModel.from_pretrained(str(made.base))
    name = model.load_adapter(str(tmp_path / "module"), use_safetensors=True)
    model.set_active_adapters(name)
    model.active_head = name
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(made.base))
    sentences = tagged_sentences(30)
    found = [tags_of(model.eval(), tokenizer, [word for word, _ in sentence], LABELS, max_tokens=36) for sentence in sentences]
    truth = [[tag for _, tag in sentence] for sentence in sentences]
    assert evaluation.metrics["f1"] == pytest.approx(100 * seqeval.f1_score(truth, found))
    assert evaluation.metrics["f1"] > 0


def test_evaluate_measures_pairs_of_texts(made: Made, tmp_path: Path) -> None:
    """Accuracy is the part of the pairs whose class is predicted, one by one; the head's own order of classes counts."""
    labels, data = ("same", "other"), write_pairs(tmp_path / "pairs.tsv", 25)
    train(tmp_path / "module", str(made.base), task="pi", labels=labels, change=noise(4))

    evaluated = measure(tmp_path / "module", data, task="pi")

    model = load_plain(made.base, tmp_path / "module", task_class="AutoModelForSequenceClassification", num_labels=len(labels))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(made.base))
    rows = [line.split("\t") for line in data.read_text().splitlines()[1:]]
    with torch.no_grad():
        found = [
            labels[int(model(**tokenizer(first, second, return_tensors="pt")).logits[0].argmax())] for first, second, _ in rows
        ]
    right = np.mean([guess == label for guess, (_, _, label) in zip(found, rows, strict=True)])
    assert set(found) == set(labels)
    assert evaluated.evaluation.metrics["accuracy"] == pytest.approx(100 * right)
    assert list(evaluated.evaluation.metrics) == ["accuracy", "macro_f1"]


def test_evaluate_measures_the_perplexity_of_text(made: Made, tmp_path: Path) -> None:
    """Perplexity is exp of the mean loss over all predicted tokens of all rows."""
    base = save_decoder(tmp_path / "decoder", "gpt2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(made.base))
    tokenizer.save_pretrained(base)
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=size)) for size in (3, 9, 6, 2)]
    data = tmp_path / "texts.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    train(tmp_path / "module", str(base), task="causal-lm", labels=(), change=noise(5))

    evaluated = measure(tmp_path / "module", data, task="causal-lm")

    model = load_plain(base, tmp_path / "module", task_class="AutoModelForCausalLM")
    loss, tokens = 0.0, 0
    for text in texts:
        encoding = tokenizer(text, return_tensors="pt")
        scores = logits(model, encoding).log_softmax(dim=-1)
        ids = encoding["input_ids"][0]
        loss -= float(scores[:-1].gather(1, ids[1:, None]).sum())
        tokens += len(ids) - 1
    assert evaluated.evaluation.units == {"tokens": tokens}
    assert evaluated.evaluation.metrics == pytest.approx(
        {"perplexity": math.exp(loss / tokens), "loss": loss / tokens}, rel=1e-5
    )


def test_evaluate_tells_languages_and_sources_apart(made: Made, tmp_path: Path) -> None:
    """What is measured together is also measured by language and by source, as each would be by itself."""
    more = write_tagged(tmp_path / "more.conll", 12, seed=5)
    sources = [DataSource(spec=str(made.data), language="en"), DataSource(spec=str(more), language="de")]
    request = EvaluationRequest(module=str(made.module), task="ner", data=sources, draws=50)

    together = evaluate_module(request).evaluation

    alone = [evaluate_module(replace(request, data=[source])).evaluation for source in sources]
    assert list(together.per_language) == ["de", "en"]
    assert together.per_language["en"].metrics == alone[0].metrics
    assert together.per_language["de"].intervals == alone[1].intervals
    assert [scores.metrics for _, scores in together.per_source] == [one.metrics for one in alone]
    assert [record for record, _ in together.per_source] == [one.data for one in alone]
    assert together.data.rows == together.examples == 42
    assert together.units["spans"] == sum(one.units["spans"] for one in alone)
    assert alone[0].per_language == {}


def test_evaluate_goes_by_the_names_of_labels(made: Made, tmp_path: Path) -> None:
    """A head whose rows are in another order, and whose record says so, predicts the same."""
    shutil.copytree(made.module, tmp_path / "turned")
    turned = [2, 0, 1]

    def turn(model: Any) -> None:
        source = load_plain(made.base, made.module, num_labels=3).state_dict()
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(source[key][turned] if "classifier" in key else source[key])

    train(tmp_path / "turned", str(made.base), labels=[LABELS[place] for place in turned], change=turn, force=True)

    assert measure(tmp_path / "turned", made.data).evaluation.metrics == made.evaluated.evaluation.metrics


def test_evaluate_compares_two_modules(made: Made) -> None:
    """The comparison is of the two main metrics on the same sentences; a module does not differ from itself."""
    evaluated = measure(made.module, made.data, compare=str(made.other), comparison_draws=200)
    same = measure(made.module, made.data, compare=str(made.module), comparison_draws=200)

    assert evaluated.comparison is not None
    assert evaluated.other_evaluation is not None
    assert same.comparison is not None
    assert evaluated.evaluation.metrics == made.evaluated.evaluation.metrics
    difference = evaluated.evaluation.metrics["f1"] - evaluated.other_evaluation.metrics["f1"]
    assert evaluated.comparison.difference == pytest.approx(difference)
    assert difference != 0
    assert evaluated.comparison.metric == "f1"
    assert evaluated.as_json()["comparison"]["p_value"] == evaluated.comparison.p_value
    assert (same.comparison.p_value, same.comparison.difference) == (1.0, 0.0)


def test_evaluate_compares_heads_with_other_labels(made: Made, tmp_path: Path) -> None:
    """A head that knows one kind more is compared by the names of kinds."""
    labels = ("O", "B-LOC", "B-MISC", "B-PER")
    train(tmp_path / "more", str(made.base), labels=labels, change=noise(2))

    evaluated = measure(made.module, made.data, compare=str(tmp_path / "more"), comparison_draws=200)

    assert evaluated.other_evaluation is not None
    assert evaluated.other_evaluation.metrics == measure(tmp_path / "more", made.data).evaluation.metrics


def strip_names(module: Path, target: Path) -> Path:
    """Copy a module as `peft` alone would have saved it: nothing names the head's labels."""
    shutil.copytree(module, target, ignore=shutil.ignore_patterns("transfer.json", "README.md"))
    return target


def test_evaluate_takes_the_order_that_labels_state(made: Made, tmp_path: Path) -> None:
    """For a head without names `--labels` says the order; without it the data's order is taken, with a warning."""
    plain = strip_names(made.module, tmp_path / "plain")

    named = measure(plain, made.data, labels=LABELS)
    unnamed = measure(plain, made.data)

    assert named.evaluation.metrics == made.evaluated.evaluation.metrics
    assert unnamed.evaluation.metrics != named.evaluation.metrics
    assert any("`O`, `B-LOC`, `B-PER`" in warning for warning in unnamed.warnings)
    assert named.warnings == ()


def test_evaluate_refuses_labels_that_do_not_fit_the_head(made: Made, tmp_path: Path) -> None:
    """`--labels` must be as many as the head has, each once, and not contradict the module's files."""
    plain = strip_names(made.module, tmp_path / "plain")
    with pytest.raises(UsageError, match=r"names 2 labels, and the head of .* has 3"):
        measure(plain, made.data, labels=("O", "B-PER"))
    with pytest.raises(UsageError, match="not what the files of"):
        measure(made.module, made.data, labels=("O", "B-PER", "B-LOC"))
    with pytest.raises(UsageError, match="a label twice"):
        measure(plain, made.data, labels=("O", "O", "B-LOC"))


def test_evaluate_refuses_labels_that_the_head_lacks(made: Made, tmp_path: Path) -> None:
    """Data with a kind that the head has never heard of is no fair measure, and says which."""
    data = tmp_path / "other.conll"
    data.write_text("ada\tB-PER\nrome\tB-MISC\n")
    with pytest.raises(DataError, match="`B-MISC`"):
        measure(made.module, data)


def test_evaluate_takes_data_that_has_fewer_labels(made: Made, tmp_path: Path) -> None:
    """Labels of the head that the data lacks are no reason to refuse or to warn; false spans of that kind count."""
    data = tmp_path / "few.conll"
    data.write_text("\n\n".join("\n".join(f"{word}\t{'B-PER' if word == 'ada' else 'O'}" for word in WORDS) for _ in range(3)))

    evaluated = measure(made.module, data)

    assert evaluated.warnings == ()
    assert evaluated.evaluation.per_label["LOC"]["support"] == 0


def test_evaluate_refuses_a_module_without_a_head(made: Made, tmp_path: Path) -> None:
    """It says that there is none, and how to train one."""
    import peft

    model = transformers.AutoModel.from_pretrained(str(made.base))
    peft.get_peft_model(model, peft.LoraConfig(target_modules=["query"])).save_pretrained(str(tmp_path / "bare"))
    with pytest.raises(DataError, match=r"no prediction head for the task `ner`\. Train one with `modxfer train .*--init"):
        measure(tmp_path / "bare", made.data)


def test_evaluate_refuses_the_head_of_another_task(made: Made, tmp_path: Path) -> None:
    """A head for tags is none for pairs, and the other way round."""
    pairs = write_pairs(tmp_path / "pairs.tsv", 4)
    with pytest.raises(DataError, match="a prediction head for TOKEN_CLS, and the task `pi` needs one for SEQ_CLS"):
        measure(made.module, pairs, task="pi")


def test_evaluate_refuses_a_module_of_another_base(made: Made, tmp_path: Path) -> None:
    """A base model of another width does not take it, and one of the same shape is told apart by its fingerprint."""
    with pytest.raises(ModxferError, match="`twin` is not the same base model"):
        measure(made.module, made.data, model=str(made.twin))
    plain = strip_names(made.module, tmp_path / "plain")
    with pytest.raises(FormatError, match="does not fit the base model `wide`"):
        measure(plain, made.data, model=str(made.wide), labels=LABELS)


def test_evaluate_warns_of_data_that_says_little(made: Made, tmp_path: Path) -> None:
    """Sentences without a span, and examples of one class, are measured with a warning."""
    data = tmp_path / "outside.conll"
    data.write_text("the\tO\nold\tO\n\ntown\tO\n")
    assert "no span" in measure(made.module, data).warnings[-1]


def test_evaluate_writes_results_into_record_and_card(made: Made, tmp_path: Path) -> None:
    """Rows have value, interval, data with hash, and the seed of the training; measuring again replaces them."""
    shutil.copytree(made.module, tmp_path / "module")

    evaluated = measure(tmp_path / "module", made.data, write=True, limit=20)
    measure(tmp_path / "module", made.data, write=True, limit=20, settings=TrainingSettings(seed=5))

    record = read_transfer(tmp_path / "module")
    assert [row["metric"] for row in record["results"]] == ["f1", "precision", "recall", "macro_f1"]
    row = record["results"][0]
    assert row["value"] == evaluated.evaluation.metrics["f1"]
    assert (row["task"], row["seed"], row["stage"], row["examples"]) == ("token-classification", 3, "after training", 20)
    assert row["dataset"]["part"] == "the first 20 of 30 rows"
    assert row["dataset"]["sha256"] is not None
    assert row["interval"] != evaluated.evaluation.intervals["f1"].as_json()  # of the second time, by another seed
    assert "the first 20 of 30 rows" in (tmp_path / "module" / "README.md").read_text()
    assert evaluated.written == tmp_path / "module"


def test_evaluate_refuses_to_write_elsewhere(made: Made, tmp_path: Path) -> None:
    """Where modxfer wrote no record there is nowhere to write, and it says so before it measures."""
    plain = strip_names(made.module, tmp_path / "plain")
    with pytest.raises(UsageError, match="`--write` has nowhere to write"):
        measure(plain, tmp_path / "no such data", write=True)


def test_evaluate_takes_modules_of_the_hub(made: Made, hub: HubServer) -> None:
    """A module on the Hub is measured as its folder is, with the base model named."""
    hub.add_repo("acme/names", {path.name: path.read_bytes() for path in made.module.iterdir()})

    evaluated = measure("acme/names", made.data, model=str(made.base))

    assert evaluated.module == "acme/names"
    assert evaluated.evaluation.metrics == made.evaluated.evaluation.metrics


@pytest.mark.parametrize(("changes", "message"), [({"limit": 0}, "`--limit 0`"), ({"draws": 0}, "`--draws 0`")])
def test_request_refuses_numbers_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    """Limits and draws are above 0."""
    with pytest.raises(UsageError, match=message):
        replace(EvaluationRequest(module="m", task="ner", data=[DataSource(spec="d")]), **changes)


def test_parse_source_takes_a_language_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what can be a language is one, and a file of that whole name comes first."""
    monkeypatch.chdir(tmp_path)
    Path("fr=there.conll").touch()

    assert parse_source("de=test.conll") == DataSource(spec="test.conll", language="de")
    assert parse_source("zh-Hant=acme/data:zh") == DataSource(spec="acme/data:zh", language="zh-Hant")
    for text in ("fr=there.conll", "runs/lr=3/test.conll", "acme/data:en", "de="):
        assert parse_source(text) == DataSource(spec=text)


def test_split_labels_keeps_their_order() -> None:
    """Labels are separated by commas; an empty one is refused."""
    assert split_labels("O, B-PER,B-LOC") == ("O", "B-PER", "B-LOC")
    with pytest.raises(UsageError, match="`--labels O,,B` has an empty label"):
        split_labels("O,,B")


def test_join_records_names_all() -> None:
    """Rows of several splits have no one hash, revision or split."""
    one = SplitRecord(
        name="a/b",
        dataset="a/b",
        config="en",
        split="test",
        revision="c" * 40,
        sha256=None,
        part="the first 3 of 9 rows",
        rows=3,
    )
    joined = join_records([one, replace(one, split="test_de", rows=4)])

    assert (joined.name, joined.rows, joined.part) == ("a/b", 7, "2 splits together")
    assert (joined.dataset, joined.config, joined.split, joined.revision, joined.sha256) == (None,) * 5
    assert join_records([one]) is one


def test_result_rows_have_one_row_a_metric_and_source(made: Made, tmp_path: Path) -> None:
    """Each source's own value is written down with where it comes from, never the sum under one of the names."""
    more = write_tagged(tmp_path / "more.conll", 5, seed=5)
    evaluation = measure(made.module, made.data, more).evaluation

    rows = result_rows(evaluation, task=TASKS["ner"], seed=4, stage="before training")

    assert [(row["metric"], row["examples"]) for row in rows] == [
        (metric, examples) for examples in (30, 5) for metric in ("f1", "precision", "recall", "macro_f1")
    ]
    assert rows[4]["dataset"]["name"].endswith("/more.conll")
    assert rows[4]["value"] == evaluation.per_source[1][1].metrics["f1"]
    assert {(row["seed"], row["stage"], row["ran"]) for row in rows} == {(4, "before training", "modxfer 0.1.0")}
