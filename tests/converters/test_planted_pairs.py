"""Ground truth: on a student that is its teacher with units permuted, every converted module computes what the teacher's did.

Modules are made by the real `peft` and `adapters` on the teacher, and loaded by them on the student.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.alignments.compute import compute_alignment
from modxfer.alignments.corpus import open_corpus
from modxfer.alignments.layer_maps import layer_map
from modxfer.alignments.request import AlignmentRequest
from modxfer.converters.convert import convert_module, request_for
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.module import BaseReference, Module
from tests.builders import (
    ADAPTERS_FAMILIES,
    FAMILIES,
    load_adapters_module,
    load_peft_module,
    make_adapters_module,
    make_peft_module,
    outputs,
    tiny_inputs,
)
from tests.planted import PlantedPair, base_model, planted_pair, small_text

TOKENS = 800
ALL_LINEAR = {
    "distilbert": ["q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"],
    "electra": ["query", "key", "value", "dense", "embeddings_project"],
}
"""What has a LoRA in "every role"; elsewhere `dense` is the attention output, the FFN, and BERT's pooler."""

_TASK_MODELS = {
    "TOKEN_CLS": transformers.AutoModelForTokenClassification,
    "SEQ_CLS": transformers.AutoModelForSequenceClassification,
    "QUESTION_ANS": transformers.AutoModelForQuestionAnswering,
}


def peft_options(case: str, family: str) -> dict[str, Any]:
    """Give the options of a LoRA."""
    ends = ["q_lin", "v_lin"] if family == "distilbert" else ["query", "value"]
    every = ALL_LINEAR.get(family, ["query", "key", "value", "dense"])
    if family not in ALL_LINEAR:  # RoBERTa's head has a `dense` too, which is saved whole
        every = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
    if family == "electra":
        every = [*every[:3], "attention.output.dense", "intermediate.dense", "output.dense", "embeddings_project"]
    options: dict[str, dict[str, Any]] = {
        "every role": {"task_type": "TOKEN_CLS", "target_modules": every, "use_rslora": True},
        "biases": {"task_type": "SEQ_CLS", "target_modules": ends, "bias": "lora_only"},
        "two layers": {
            "task_type": "QUESTION_ANS",
            "target_modules": every[:4],
            "layers_to_transform": [0, 2],
            "rank_pattern": {ends[0]: 2},
        },
    }
    return options[case]


ADAPTERS_CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "pfeiffer": ("seq_bn[reduction_factor=2.4]", "tagging", {"num_labels": 5}),
    "houlsby": ("double_seq_bn[reduction_factor=4]", "classification", {"num_labels": 4}),
    "parallel": ("par_bn[reduction_factor=3]", "qa", {"num_labels": 2}),
    "all options": (
        "double_seq_bn[reduction_factor=2.4,ln_before=True,ln_after=True,use_gating=True,scaling='channel',"
        "residual_before_ln='post_add',original_ln_before=True,adapter_residual_before_ln=True]",
        "classification",
        {"num_labels": 4, "layers": 1},
    ),
    "no normalisation after": (
        "seq_bn[original_ln_after=False,residual_before_ln=False,leave_out=[1],reduction_factor=0.5]",
        "tagging",
        {"num_labels": 3, "layers": 2},
    ),
    "lora": (
        "lora[r=3,alpha=7,attn_matrices=['q','k','v'],intermediate_lora=True,output_lora=True]",
        "tagging",
        {"num_labels": 5},
    ),
}
PEFT_CASES = ("every role", "biases", "two layers")


@dataclass(frozen=True, kw_only=True)
class Made:
    """A module on a planted teacher, and how to load another one like it."""

    module: Module
    outputs: tuple[torch.Tensor, ...]
    load: Callable[[Path, Path], Any]


@dataclass(frozen=True, kw_only=True)
class Family:
    """A planted pair with all modules on it, and its alignment maps by aligner."""

    pair: PlantedPair
    made: dict[str, Made]
    alignments: dict[str, AlignmentMap]
    ids: torch.Tensor


def make_peft(pair: PlantedPair, case: str, folder: Path, ids: torch.Tensor) -> Made:
    """Make a module with `peft`."""
    options = peft_options(case, pair.family)
    classes = _TASK_MODELS[options["task_type"]]
    labels = 2 if options["task_type"] == "QUESTION_ANS" else 5
    model = make_peft_module(folder, classes.from_pretrained(pair.teacher, num_labels=labels), **options)
    return Made(
        module=read_module(inspect_files(folder), base_model(pair.teacher).architecture),
        outputs=outputs(model, ids),
        load=lambda module, base: load_peft_module(module, classes.from_pretrained(base, num_labels=labels)),
    )


def make_adapters(pair: PlantedPair, case: str, folder: Path, ids: torch.Tensor) -> Made:
    """Make a module with `adapters`."""
    import adapters

    config, head, options = ADAPTERS_CASES[case]
    model = adapters.AutoAdapterModel.from_pretrained(str(pair.teacher))
    pickled = "ln_before" in config  # two keys for one tensor, which safetensors does not store
    model = make_adapters_module(folder, model, config, head=head, head_options=options, safetensors=not pickled)
    return Made(
        module=read_module(inspect_files(folder), base_model(pair.teacher).architecture),
        outputs=outputs(model, ids),
        load=lambda module, base: load_adapters_module(module, adapters.AutoAdapterModel.from_pretrained(str(base))),
    )


def with_adapters(family: str) -> bool:
    """Tell whether `adapters` is installed and has the family."""
    is_installed = any(distributions(name="adapters"))  # the imported module itself has no spec to find
    return is_installed and family in ADAPTERS_FAMILIES


@pytest.fixture(scope="session")
def family_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Family]:
    """Plant each family once, put all modules on it, and align it once for all of them by each aligner."""
    known: dict[str, Family] = {}

    def plant(family: str) -> Family:
        folder = tmp_path_factory.mktemp(family)
        pair = planted_pair(folder, family)
        ids = tiny_inputs(transformers.AutoConfig.from_pretrained(pair.teacher), texts=3, tokens=9)
        made = {case: make_peft(pair, case, folder / f"peft {case}", ids) for case in PEFT_CASES}
        if with_adapters(family):
            made |= {case: make_adapters(pair, case, folder / case, ids) for case in ADAPTERS_CASES}
        layers = layer_map("skip", teacher={"encoder": 3}, student={"encoder": 3})
        requests = [request_for(item.module, layers) for item in made.values()]
        request = AlignmentRequest.of(
            layers,
            inside=[use for one in requests for use in one.inside],
            outside=[use for one in requests for use in one.outside],
        )
        (folder / "text.txt").write_text(small_text(), encoding="utf-8")
        alignments = {
            aligner: compute_alignment(
                request,
                teacher=base_model(pair.teacher),
                student=base_model(pair.student),
                corpus=open_corpus(str(folder / "text.txt")),
                tokens=TOKENS,
                aligner=aligner,
            )
            for aligner in ("lsa", "auto")
        }
        return Family(pair=pair, made=made, alignments=alignments, ids=ids)

    def get(family: str) -> Family:
        if family not in known:
            known[family] = plant(family)
        return known[family]

    return get


def test_auto_sees_that_a_permutation_explains_the_pair(family_of: Callable[[str], Family]) -> None:
    """`auto` chooses `lsa` on every planted pair, says why, and finds the same as `lsa`."""
    for family in FAMILIES:
        found = family_of(family).alignments
        assert (found["auto"].aligner, found["auto"].requested) == ("lsa", "auto")
        count = len(found["auto"].maps)
        assert f"`lsa` at {count} of {count} pairs of sites: one-to-one partners explain 100%" in found["auto"].reason
        assert found["lsa"].maps.keys() == found["auto"].maps.keys()


@pytest.mark.parametrize("aligner", ["lsa", "auto"])
@pytest.mark.parametrize("family", FAMILIES)
def test_alignment_recovers_the_permutation(family: str, aligner: str, family_of: Callable[[str], Family]) -> None:
    """At every site that any module needs, every student unit gets exactly the teacher unit that it was."""
    planted = family_of(family)
    alignment = planted.alignments[aligner]
    assert len(alignment.maps) > 15
    for pair, site_map in alignment.maps.items():
        assert site_map.assignment is not None
        np.testing.assert_array_equal(site_map.assignment, planted.pair.plan.expected(pair), err_msg=str(pair))
        assert alignment.scores[pair].tokens == alignment.corpus.tokens == TOKENS
        assert alignment.scores[pair].mean_correlation == pytest.approx(1.0, abs=1e-5)  # float32 forward passes


def check_converted(planted: Family, case: str, aligner: str, folder: Path) -> None:
    """Convert a module, load it with its own library on the student, and hold its outputs against the teacher's."""
    made, pair = planted.made[case], planted.pair
    teacher, student = base_model(pair.teacher).architecture, base_model(pair.student).architecture
    conversion = convert_module(
        made.module,
        teacher=teacher,
        student=student,
        layers=layer_map("skip", teacher=teacher.depths, student=student.depths),
        alignment=planted.alignments[aligner],
    )
    assert conversion.dropped == ()
    assert conversion.approximated == ()
    assert conversion.tensors == sum(len(piece.parts) for piece in made.module.pieces.values())
    base = BaseReference(name=str(pair.student), model_type=student.model_type, hidden_size=12)
    folder.mkdir()
    write_module(replace(conversion.module, base=base), student, folder)
    model = made.load(folder, pair.student)
    found = outputs(model, planted.ids)
    assert len(found) == len(made.outputs) > 0
    for mine, expected in zip(found, made.outputs, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)  # float32 sums in another order
    silence(model)
    for mine, expected in zip(outputs(model, planted.ids), made.outputs, strict=True):
        assert (mine - expected).abs().max() > 1e-2


def silence(model: Any) -> None:
    """Turn off what a module adds to its base model, and leave the head: outputs without it must differ."""
    ends = ("lora_B", "adapter_up")
    parameters = [parameter for key, parameter in model.named_parameters() if any(end in key for end in ends)]
    assert parameters
    with torch.no_grad():
        for parameter in parameters:
            parameter.zero_()


@pytest.mark.parametrize("case", PEFT_CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_peft_module_gives_the_teachers_outputs(
    family: str, case: str, family_of: Callable[[str], Family], tmp_path: Path
) -> None:
    """A converted LoRA and its head give the teacher's logits on the student, and do so by what they add."""
    check_converted(family_of(family), case, "auto" if case == "biases" else "lsa", tmp_path / "converted")


@pytest.mark.adapters
@pytest.mark.parametrize("case", ADAPTERS_CASES)
@pytest.mark.parametrize("family", ADAPTERS_FAMILIES)
def test_adapters_module_gives_the_teachers_outputs(
    family: str, case: str, family_of: Callable[[str], Family], tmp_path: Path
) -> None:
    """A converted bottleneck or LoRA and its head give the teacher's logits on the student."""
    check_converted(family_of(family), case, "auto" if case == "houlsby" else "lsa", tmp_path / "converted")
