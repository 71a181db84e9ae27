"""Which submodules a config means, against what `peft` itself takes it to mean."""

from typing import Any

import peft
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key

from modxfer.converters.formats.peft.targets import (
    by_pattern,
    known_submodules,
    selected,
    shortest_suffixes,
)
from tests.builders import FAMILIES, tiny_architecture, tiny_config, tiny_model

BERT = tiny_architecture(tiny_config("bert", layers=12))
KNOWN = known_submodules(BERT, task="TOKEN_CLS", inside_task_model=True)
LINEAR = {path for path, e in KNOWN.items() if not e.submodule.elementwise and e.place.name != "embeddings"} | {
    "classifier",
    "qa_outputs",
}

NAMES = st.sampled_from(
    [
        *("query", "self.key", "dense", "output.dense", "attention.output.dense", "1.attention.self.value"),
        *("encoder", "ery"),
        *sorted(LINEAR)[:9],
    ]
)
EXPRESSIONS = st.sampled_from([r".*query", r"bert\.encoder\.layer\.[0-4]\..*dense", "query", r".*(key|value)$", r".*\.1.*"])


@given(
    targets=st.lists(NAMES, max_size=3) | EXPRESSIONS | st.just("all-linear"),
    excluded=st.none() | st.lists(NAMES, max_size=2) | EXPRESSIONS,
    saved=st.none() | st.lists(st.sampled_from(["classifier", "score", "bert.pooler", "output", "key"]), max_size=2),
    layers=st.none() | st.integers(0, 12) | st.lists(st.integers(0, 12), max_size=3),
    pattern=st.none() | st.sampled_from(["layer", "layers", "", "encoder.layer"]) | st.lists(st.just("layer"), max_size=1),
)
def test_selected_is_what_peft_selects(targets: Any, excluded: Any, saved: Any, layers: Any, pattern: Any) -> None:
    """For any mixture of options the same submodules are targeted as by `peft`'s own function."""
    if isinstance(targets, str):  # peft refuses layers with a regular expression
        layers = pattern = None
    if not layers and layers != 0:
        pattern = None
    options = {"layers_to_transform": layers, "layers_pattern": pattern, "modules_to_save": saved, "exclude_modules": excluded}
    theirs = peft.LoraConfig(target_modules=sorted(LINEAR) if targets == "all-linear" else targets, **options)
    wanted = {path for path in LINEAR if check_target_module_exists(theirs, path)}
    ours = {"target_modules": targets, **options}
    assert selected(ours, BERT, KNOWN, where="here") & LINEAR == wanted


@given(
    patterns=st.dictionaries(
        st.sampled_from(
            ["query", "dense", r"layer\.1\..*", ".*key", "^bert.*value", "output.dense", "ery", *sorted(LINEAR)[:5]]
        ),
        st.integers(1, 9),
        max_size=4,
    ),
    path=st.sampled_from(sorted(LINEAR)),
)
def test_by_pattern_is_what_peft_looks_up(patterns: dict[str, int], path: str) -> None:
    """Rank and alpha of a submodule come from the same pattern as in `peft`."""
    assert by_pattern(patterns, path, 0, where="here") == patterns.get(get_pattern_key(list(patterns), path), 0)


@given(wanted=st.sets(st.sampled_from(sorted(LINEAR)), min_size=1))
def test_shortest_suffixes_select_exactly_what_is_wanted(wanted: set[str]) -> None:
    """The suffixes select every wanted submodule and no other, and none of them can be left out."""
    suffixes = shortest_suffixes(wanted, LINEAR - wanted)
    config = {"target_modules": suffixes}
    assert selected(config, BERT, KNOWN, where="here") & LINEAR == wanted
    for left_out in suffixes:
        fewer = {"target_modules": [suffix for suffix in suffixes if suffix != left_out]}
        assert selected(fewer, BERT, KNOWN, where="here") & LINEAR < wanted


def test_shortest_suffixes_are_short() -> None:
    """A role in all layers takes one word; BERT's two `output.dense` are told apart."""
    queries = {path for path in LINEAR if path.endswith("query")}
    assert shortest_suffixes(queries, LINEAR - queries) == ["query"]
    downs = {path for path in LINEAR if path.endswith("output.dense") and "attention" not in path}
    assert shortest_suffixes(downs, LINEAR - downs) == sorted(f"{layer}.output.dense" for layer in range(12))


@pytest.mark.parametrize("task", [None, "TOKEN_CLS", "SEQ_CLS", "QUESTION_ANS"])
@pytest.mark.parametrize("family", FAMILIES)
def test_known_submodules_are_in_the_real_model(family: str, task: str | None) -> None:
    """What is surely there is in the real task model, and the model has no linear layer but these and the head."""
    import torch

    config = tiny_config(family, layers=2)
    architecture = tiny_architecture(config)
    known = known_submodules(architecture, task=task, inside_task_model=task is not None)
    modules = dict(tiny_model(config, task=task).named_modules())
    assert {path for path, entry in known.items() if entry.certain} <= set(modules)
    linear = {path for path, module in modules.items() if isinstance(module, torch.nn.Linear)}
    linear |= {path for path in modules if path.endswith("word_embeddings")}
    heads = set(architecture.family.heads[task].values()) if task else set()
    assert linear == {path for path, e in known.items() if not e.submodule.elementwise and path in modules} | heads


def test_targets_default_to_what_peft_takes() -> None:
    """A config without targets means those of `peft` for every family that it has any for."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS

    for family in FAMILIES:
        architecture = tiny_architecture(tiny_config(family))
        known = known_submodules(architecture, task=None, inside_task_model=False)
        paths = {path.rpartition(".")[2] for path in selected({}, architecture, known, where="here")}
        if family in DEFAULTS:
            assert paths == set(DEFAULTS[family])
