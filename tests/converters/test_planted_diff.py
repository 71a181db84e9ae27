"""Ground truth for parameter differences: on a student that is its teacher with units permuted, base and difference together
compute what they do on the teacher.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from modxfer.alignments.layer_maps import layer_map
from modxfer.converters.convert import Conversion, convert_module
from modxfer.converters.formats import inspect_files, read_module, write_module
from tests import differences
from tests.planting import architecture_of, assert_differ, assert_same, inputs, make, plant, run, tiny

_CLASSIFIER = ("classifier",)


def every(name: str) -> bool:
    """Fine-tune every parameter, as LT-SFT does."""
    return True


def biases(name: str) -> bool:
    """Fine-tune biases only, as BitFit does."""
    return name.endswith("bias")


def queries(name: str) -> bool:
    """Fine-tune some layer's projections only."""
    return ".1." in name and "attn" in name


CASES: dict[str, tuple[str, Any, Callable[[str], bool], tuple[str, ...]]] = {
    "bert, sparse": ("bert", transformers.AutoModelForTokenClassification, every, _CLASSIFIER),
    "bert, biases": ("bert", transformers.AutoModelForSequenceClassification, biases, _CLASSIFIER),
    "bert alone, biases": ("bert", transformers.AutoModel, biases, ()),
    "electra, sparse": ("electra", transformers.AutoModelForTokenClassification, every, _CLASSIFIER),
    "roberta, sparse": ("roberta", transformers.AutoModelForSequenceClassification, every, _CLASSIFIER),
    "distilbert, sparse": (
        "distilbert",
        transformers.AutoModelForSequenceClassification,
        every,
        ("classifier", "pre_classifier"),
    ),
    "gpt2, sparse": ("gpt2", transformers.AutoModelForCausalLM, every, ()),
    "gpt2, biases": ("gpt2", transformers.AutoModelForCausalLM, biases, ()),
    "gpt2, one layer": ("gpt2", transformers.AutoModelForCausalLM, queries, ()),
    "gpt_neox, sparse": ("gpt_neox", transformers.AutoModelForCausalLM, every, ()),
    "llama, sparse": ("llama", transformers.AutoModelForCausalLM, every, ()),
    "phi3, sparse": ("phi3", transformers.AutoModelForCausalLM, every, ()),
}


def move(folder: Path, base: Any, alignment: Any, target: Path) -> Conversion:
    """Convert a module along a planted map, and write it."""
    conversion = convert_module(
        read_module(inspect_files(folder), base),
        teacher=base,
        student=base,
        layers=layer_map("skip", teacher=base.depths, student=base.depths),
        alignment=alignment,
    )
    target.mkdir()
    write_module(conversion.module, base, target)
    return conversion


@pytest.mark.parametrize("case", CASES)
def test_base_and_difference_compute_what_they_do_on_the_teacher(case: str, tmp_path: Path) -> None:
    """All of it arrives, exactly, and a sparse difference has as many entries as before."""
    family, auto_class, trained, whole = CASES[case]
    teacher = make(tiny(family), auto_class)
    base = architecture_of(teacher.config)
    planted, given = plant(teacher, base), inputs(teacher.config)
    before = run(teacher, given)
    assert_same(run(planted.student, given), planted.as_student(before))
    folder = differences.fine_tune(teacher, tmp_path / "module", trained=trained, whole=whole)
    after = run(teacher, given)
    assert_differ(after, before)
    conversion = move(folder, base, planted.alignment, tmp_path / "moved")
    assert (conversion.dropped, conversion.approximated) == ((), ())
    differences.apply(tmp_path / "moved", planted.student)
    assert_same(run(planted.student, given), planted.as_student(after))
    assert count_entries(tmp_path / "moved") == count_entries(folder)


def count_entries(folder: Path) -> dict[str, int]:
    """Count the values of every difference."""
    return {name: len(entry["values"]) for name, entry in differences.load(folder)["diffs"].items()}


def test_parameters_without_a_role_are_left_behind_and_named(tmp_path: Path) -> None:
    """What no role covers is not guessed at: Qwen3's norms of queries and keys stay, and the rest arrives."""
    teacher = make(tiny("qwen3"), transformers.AutoModelForCausalLM)
    base = architecture_of(teacher.config)
    planted, given = plant(teacher, base), inputs(teacher.config)
    norms = ("q_norm.weight", "k_norm.weight")
    folder = differences.fine_tune(teacher, tmp_path / "module", trained=lambda name: not name.endswith(norms))
    after = run(teacher, given)
    content = differences.load(folder)
    content["diffs"]["model.layers.0.self_attn.q_norm.weight"] = differences.encode(torch.ones(8))
    content["abs"]["cls.predictions.bias"] = torch.ones(50)
    torch.save(content, folder / differences.FILE)
    conversion = move(folder, base, planted.alignment, tmp_path / "moved")
    assert [sentence.partition(":")[0] for sentence in conversion.dropped] == [
        "model.layers.0.self_attn.q_norm.weight",
        "cls.predictions.bias",
    ]
    differences.apply(tmp_path / "moved", planted.student)
    assert_same(run(planted.student, given), planted.as_student(after))
