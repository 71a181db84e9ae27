"""Rules that show in one entry: lists, files, pins, widths, and what is only a warning."""

from typing import Any

import pytest

from modxfer.architectures import FAMILIES, OPTIONAL_DIMENSIONS
from modxfer.registry.checks.alone import check_alone, parts_of, weights_of
from modxfer.registry.entries.models import HubSource
from modxfer.registry.entries.reading import read_file
from tests.entries import COMMIT, alignment_entry, as_yaml, base, entry_path, module_entry, sha256, source, transferred_entry

RESULT = module_entry()["results"][0]


def alone(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """Check an entry alone: rule of each problem, and what is wrong."""
    path = entry_path(entry)
    read = read_file(path, as_yaml(entry).encode())
    assert read.problems == ()
    return [(problem.rule, problem.what) for problem in check_alone(read, parts_of(read))]


def files(*paths: str) -> dict[str, Any]:
    """Pin files."""
    return source("acme/ner", *paths)


@pytest.mark.parametrize("entry", [module_entry(), alignment_entry(), transferred_entry()])
def test_valid_entries_are_right(entry: dict[str, Any]) -> None:
    """Nothing is reported of a module, an alignment map and a transferred module."""
    assert alone(entry) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"tags": ["news", "News"]}, "`tags` names `News` twice, first as item 1."),
        ({"datasets": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}, "`datasets` names `a` twice, first as item 1."),
        ({"authors": [{"name": "A"}, {"name": "A"}]}, "`authors` names `A` twice, first as item 1."),
        ({"results": [RESULT, {**RESULT, "value": 0.5}]}, "`results` names `f1` twice, first as item 1."),
        (
            {"method": {"name": "lora", "inner_sizes": [8, 4, 8]}},
            "`method.inner_sizes` names `8` twice, first as item 1.",
        ),
        (
            {"source": files("adapter_config.json", "adapter_model.safetensors", "adapter_config.json")},
            "`source.files` names `adapter_config.json` twice, first as item 1.",
        ),
    ],
)
def test_no_list_names_a_thing_twice(changes: dict[str, Any], what: str) -> None:
    """Plain values by what they are, files by path, results by what was measured on what."""
    assert ("duplicate-item", what) in alone(module_entry(**changes))


def test_what_only_looks_alike_is_no_repetition() -> None:
    """Other revisions, splits and scalings are other things; teacher layers may feed several student layers."""
    entry = transferred_entry(
        datasets=[{"name": "a"}, {"name": "a", "revision": COMMIT}],
        results=[RESULT, {**RESULT, "split": "dev"}, {**RESULT, "metric": "precision"}],
        authors=[{"name": "A"}, {"name": "A", "github": "a"}],
    )
    entry["lineage"]["layers"]["map"]["encoder"] = [[[0, 1.0]] for _ in range(6)]
    assert alone(entry) == []


@pytest.mark.parametrize(
    ("format", "paths"),
    [
        ("peft", ["adapter_config.json", "adapter_model.safetensors"]),
        ("peft", ["README.md", "v2/adapter_model.safetensors", "v2/adapter_config.json"]),
        ("adapters", ["adapter_config.json", "adapter.safetensors", "head_config.json"]),
        (
            "peft",
            ["adapter_config.json", "adapter_model.safetensors", "old/adapter_config.json", "old/adapter_model.safetensors"],
        ),
    ],
)
def test_modules_with_config_and_tensors_are_whole(format: str, paths: list[str]) -> None:
    """Both in the root, which then counts, or both in the same folder."""
    assert alone(module_entry(format=format, source=files(*paths))) == []


@pytest.mark.parametrize(
    ("format", "paths"),
    [
        ("peft", ["adapter_config.json"]),
        ("peft", ["adapter_model.safetensors"]),
        ("peft", ["adapter_config.json", "adapter.safetensors"]),
        ("adapters", ["adapter_config.json", "adapter_model.safetensors"]),
        ("peft", ["a/adapter_config.json", "b/adapter_model.safetensors"]),
        ("peft", ["adapter_config.json", "a/adapter_model.safetensors"]),
        ("peft", [f"{folder}/{name}" for folder in "ab" for name in ("adapter_config.json", "adapter_model.safetensors")]),
    ],
)
def test_modules_without_config_or_tensors_are_not(format: str, paths: list[str]) -> None:
    """Missing, of the other format, not together, or twice."""
    ((rule, what),) = alone(module_entry(format=format, source=files(*paths)))
    tensors = "adapter_model.safetensors" if format == "peft" else "adapter.safetensors"
    assert rule == "no-weights"
    assert what == f"The pinned files are not one `adapter_config.json` with `{tensors}` beside it."


def test_an_alignment_map_has_its_own_files() -> None:
    """Record and tensors."""
    ((rule, what),) = alone(alignment_entry(source=files("alignment.json")))
    assert (rule, what) == (
        "no-weights",
        "The pinned files are not one `alignment.json` with `alignment.safetensors` beside it.",
    )


def test_weights_of_finds_the_tensors() -> None:
    """Index and folder of the file, for those who fetch it."""
    pinned = HubSource.model_validate(files("README.md", "x/adapter_model.safetensors", "x/adapter_config.json"))
    assert weights_of(pinned, "peft") == (1, "x/")
    assert weights_of(pinned, "adapters") is None


def test_base_models_are_pinned() -> None:
    """A module's by commit; an alignment map's by commit or by fingerprint, since it may have been a folder."""
    assert alone(module_entry(base=base() | {"revision": None})) == [
        ("unpinned", "`base` names `acme/bert-student` without a revision.")
    ]
    assert alone(alignment_entry(student=base() | {"revision": None})) == []
    assert alone(alignment_entry(student=base() | {"revision": None, "fingerprint": None})) == [
        ("unpinned", "`student` names `acme/bert-student` without a revision.")
    ]


def test_archives_of_older_registries_may_say_less() -> None:
    """One warning names all that is missing; sizes that are there must be right."""
    archive = {"archive": "https://example.com/ner.zip", "sha256": sha256("zip")}
    old = {"name": "bert-base-uncased", "family": "bert"}
    assert alone(module_entry(source=archive, base=old)) == [
        ("incomplete", "`base` does not say `revision`, `widths` and `depths`.")
    ]
    assert alone(module_entry(source=archive)) == []
    wrong = alone(module_entry(source=archive, base=base() | {"widths": {"hiden": 384}}))
    assert [rule for rule, _ in wrong] == ["widths"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"widths": {"hidden": 384, "heads": 384}}, "`base.widths` does not say `ffn`."),
        ({"widths": {}}, "`base.widths` does not say `hidden`, `heads` and `ffn`."),
        ({"depths": {}}, "`base.depths` does not say `encoder`."),
        (
            {"widths": {"hidden": 384, "heads": 384, "ffn": 1536, "kv": 64}},
            "`base.widths` has `kv`, and the family has `hidden`, `heads` and `ffn`.",
        ),
        ({"depths": {"encoder": 6, "decoder": 6}}, "`base.depths` has `decoder`, and the family has `encoder`."),
        (
            {"widths": {"hidden": 384, "heads": 512, "ffn": 1536}},
            "`heads` is 512 and `hidden` is 384, though both are `hidden_size` of the config.",
        ),
    ],
)
def test_widths_and_depths_are_those_of_the_family(changes: dict[str, Any], what: str) -> None:
    """None is missing, none is of another family, and those that are one number in the config are equal."""
    assert alone(module_entry(base=base() | changes)) == [("widths", what)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_the_table_can_be_registered(family: str) -> None:
    """With all its dimensions and stacks, nothing is reported."""
    row = FAMILIES[family]
    widths = dict.fromkeys(set(row.dimensions) - OPTIONAL_DIMENSIONS, 64)
    described = base() | {"family": family, "widths": widths, "depths": dict.fromkeys(row.stacks, 2)}
    assert alone(module_entry(base=described)) == []


def test_inner_sizes_are_below_the_widths() -> None:
    """A rank above all widths is a slip."""
    assert alone(module_entry(method={"name": "lora", "inner_sizes": [8, 5000]})) == [
        ("widths", "The inner size 5,000 is above all widths of the base model, of which the largest is 1,536.")
    ]


def test_an_unknown_family_is_a_warning_with_a_guess() -> None:
    """Nothing more can be said of its widths then."""
    entry = module_entry(base=base() | {"family": "distillbert", "widths": {"anything": 3000}})
    read = read_file(entry_path(entry), as_yaml(entry).encode())
    (problem,) = check_alone(read, parts_of(read))
    assert (problem.rule, problem.do) == ("unknown-family", "Did you mean `distilbert`?")


@pytest.mark.parametrize("licence", ["NOASSERTION", "NONE"])
def test_no_licence_is_a_warning(licence: str) -> None:
    """It can be registered, and its readers are told."""
    assert [rule for rule, _ in alone(module_entry(license=licence))] == ["license-unknown"]


@pytest.mark.parametrize(
    ("metric", "value", "is_odd"),
    [
        ("accuracy", 87.5, True), ("Accuracy", 1.0, False), ("macro-f1", 2, True), ("f1", -0.1, True),
        ("seqeval/precision", 50, True),
        ("perplexity", 87.5, False), ("rouge1", 41.2, False), ("recall", 0, False), ("bleu", 30.1, False),
    ],
)  # fmt: skip
def test_fractions_are_fractions(metric: str, value: float, is_odd: bool) -> None:
    """A metric that is a fraction is not a percentage; others may be anything."""
    found = alone(module_entry(results=[{**RESULT, "metric": metric, "value": value}]))
    assert [rule for rule, _ in found] == ["odd-score"] * is_odd


def test_a_mistake_elsewhere_does_not_hide_what_is_wrong() -> None:
    """Parts that are right by themselves are checked, though the entry as a whole is not."""
    entry = module_entry(title=7, source=files("adapter_config.json"), tags=["a", "a"])
    read = read_file(entry_path(entry), as_yaml(entry).encode())
    assert read.model is None
    parts = parts_of(read)
    assert {problem.rule for problem in check_alone(read, parts)} == {"no-weights", "duplicate-item"}
    entry["base"]["name"] = "/here"
    again = read_file(entry_path(entry), as_yaml(entry).encode())
    assert (parts_of(again).base, parts_of(again).method) == (None, parts.method)
